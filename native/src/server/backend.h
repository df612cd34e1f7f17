/*
 * backend.h - the contract between the server half of the ABI and a model of I/O.
 *
 * The cut is the whole server, never a hook per operation: each model is written the way an expert would write it, in one file
 * that exports one `const struct backend`. backends.c holds the table of them.
 */
#ifndef BACKEND_H
#define BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>

#include "iocp_bench.h"
#include "server/service.h"

/* What every backend is given: checked, and with the defaults filled in (workers >= 1). */
struct server_config {
	struct ib_server_options options;
	struct service service; /* calibrated */
};

/* Base of every backend's own server struct: the first member of it. */
struct server {
	const struct backend *backend;
	struct server *abandoned_next; /* see server_abandon() */
	struct service service;        /* what it does for a request besides the echo */
};

struct backend {
	/* Name of the table, at most 23 characters. Required. */
	const char *name;
	bool speaks_http;
	/* Tells whether this machine can run the backend, and why not: fills available, os_code, reason, hint, features of *out
	 * (the rest is filled by the caller). Cheap, without side effects that last. Required. */
	void (*probe)(struct ib_probe *out);
	/* Starts serving: listeners open, threads running, *bound_port set. On failure nothing is left behind. Required. */
	int32_t (*start)(const struct server_config *config, struct server **out, uint32_t *bound_port,
	                 struct ib_error *error);
	/* Fills *out, which counters_clear() started. Any thread, any time between
	 * start and the end of stop. Required. */
	void (*stats)(struct server *server, struct ib_server_stats *out);
	/* Fills usage and stats as ib_server_sample says. Optional: for a server with processes of its own. */
	int32_t (*sample)(struct server *server, bool memory, struct ib_process_usage *usage, struct ib_server_stats *stats,
	                  struct ib_error *error);
	/* Stops as ib_server_stop says, fills *final_stats (never NULL here), frees the server. Required. */
	int32_t (*stop)(struct server *server, uint32_t deadline_ms, struct ib_server_stats *final_stats,
	                struct ib_error *error);
};

/* The table: every backend that this library was built with, in the order in which they are listed and run. */
extern const struct backend *const backends[];
extern const uint32_t backends_count;

/* Fills the base of a backend's server, before any of its threads is started. */
static inline void server_base_init(struct server *server, const struct backend *backend,
                                    const struct server_config *config)
{
	server->backend = backend;
	server->service = config->service;
}

/*
 * Leaves a server to the end of the process, for the system or a thread may still use its memory: the one rule of all backends for what
 * has not come back although it was broken off. It stays reachable, so that leak checkers do not report it. Fills *error (which may be
 * NULL) and returns IB_STATUS_DEADLINE. Any thread.
 */
int32_t server_abandon(struct server *server, struct ib_error *error);
/* The result of a stop: IB_STATUS_OK, or IB_STATUS_DEADLINE when `reset` connections were left after deadline_ms. */
int32_t server_stopped(uint32_t reset, uint32_t deadline_ms, struct ib_error *error);

#endif /* BACKEND_H */
