/*
 * driver.h - what the files of the driver share: the scenarios, the fixture that one runs on, and what most of them do.
 *
 * driver_serving.c has the scenarios of connections that are served, driver_lifecycle.c those of starting and stopping, driver.c
 * runs them. The *_faults_test.c of the platforms run their own, with system calls that fail.
 */
#ifndef DRIVER_H
#define DRIVER_H

#include "driver_clients.h"
#include "iocp_bench.h"

/* How long what must come is waited for. */
#define TIMEOUT_MS 20000

/* A row of what is tested: a backend in one of its forms. */
struct variant {
	const char *name;
	const char *backend;
	uint32_t workers;
	uint32_t flags;
};

struct fixture {
	const struct variant *variant;
	struct ib_server_options options;
	struct ib_server *server;
	struct target target;
	struct ib_error error;
	char failure[512]; /* the first; "" while there is none */
};

struct scenario {
	const char *name;
	bool (*run)(struct fixture *fixture);
	bool needs_workers; /* that own connections */
	bool needs_limit;   /* of descriptors */
	bool needs_many;    /* more connections at once than a pool has threads */
};

struct scenario_list {
	const struct scenario *first;
	size_t count;
};

extern const struct scenario_list serving_scenarios;
extern const struct scenario_list lifecycle_scenarios;

/* Keeps the reason, unless there is one already; false, so that a scenario can end with it. */
bool failed(struct fixture *fixture, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define REQUIRE(fixture, condition)                                                                                    \
	do {                                                                                                               \
		if (!(condition))                                                                                              \
			return failed((fixture), "line %d: %s", __LINE__, #condition);                                             \
	} while (0)

/* A server's options for the variant, and nothing started. */
struct fixture fixture_make(const struct variant *variant);
/* Runs the scenario, prints its line, and stops what it left running. False when it failed or left descriptors behind. */
bool scenario_run(const struct variant *variant, const struct scenario *scenario);
bool server_start(struct fixture *fixture);
struct ib_server_stats stats_now(struct fixture *fixture);
/* Stops and checks what must hold at every end: nothing open, nothing outstanding. */
bool server_stop(struct fixture *fixture, uint32_t deadline_ms, int32_t expected);
void pause_ms(uint32_t duration_ms);
/* Waits until as many connections are closed as were accepted, `count` at least. */
bool await_closed(struct fixture *fixture, uint64_t count);
/* Sends until nothing has moved for a while. */
void send_until_stuck(struct client *clients, uint32_t count);
/* One client sends `bytes` and has them back. */
bool echo_once(struct fixture *fixture, uint32_t number, uint64_t bytes);

#endif /* DRIVER_H */
