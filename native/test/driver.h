/*
 * driver.h - shared by the files of the driver: the scenarios, their fixture and their common steps.
 *
 * driver_serving.c has the scenarios of served connections, driver_lifecycle.c those of starting and stopping, and driver.c runs them.
 * The *_faults_test.c files run their own scenarios, with system calls that fail.
 */
#ifndef DRIVER_H
#define DRIVER_H

#include "driver_clients.h"
#include "iocp_bench.h"

/* How long to wait for an expected event. */
#define TIMEOUT_MS 20000

/* A backend in one of its configurations. */
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
	char failure[512]; /* the first failure; "" if none */
};

struct scenario {
	const char *name;
	bool (*run)(struct fixture *fixture);
	bool needs_workers; /* workers that own connections */
	bool needs_limit;   /* of descriptors */
	bool needs_many;    /* more connections at once than a pool has threads */
};

struct scenario_list {
	const struct scenario *first;
	size_t count;
};

extern const struct scenario_list serving_scenarios;
extern const struct scenario_list lifecycle_scenarios;
extern const struct scenario_list service_scenarios;
extern const struct scenario_list http_scenarios;

/* Keeps the first reason. Returns false, so that a scenario can return its result. */
bool failed(struct fixture *fixture, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define REQUIRE(fixture, condition)                                                                                    \
	do {                                                                                                               \
		if (!(condition))                                                                                              \
			return failed((fixture), "line %d: %s", __LINE__, #condition);                                             \
	} while (0)

/* Requires a condition of `stats`, which it reads until the condition holds: what a server counts becomes visible at the end of a
 * round of its loop, and that may be after the reply. */
#define EVENTUALLY(fixture, stats, condition)                                                                          \
	do {                                                                                                               \
		for (int attempt = 0; (stats) = stats_now(fixture), !(condition) && attempt < TIMEOUT_MS / 10; attempt++) {    \
			pause_ms(10);                                                                                              \
		}                                                                                                              \
		REQUIRE(fixture, condition);                                                                                   \
	} while (0)

/* A server's options for the variant, and nothing started. */
struct fixture fixture_make(const struct variant *variant);
/* Runs the scenario, prints its line and stops a server it left running. False if it failed or left descriptors behind. */
bool scenario_run(const struct variant *variant, const struct scenario *scenario);
bool server_start(struct fixture *fixture);
struct ib_server_stats stats_now(struct fixture *fixture);
/* Stops the server and checks that nothing is open or outstanding. */
bool server_stop(struct fixture *fixture, uint32_t deadline_ms, int32_t expected);
void pause_ms(uint32_t duration_ms);
/* Waits until all accepted connections, at least `count`, are closed. */
bool await_closed(struct fixture *fixture, uint64_t count);
/* Sends until nothing has moved for a while. */
void send_until_stuck(struct client *clients, uint32_t count);
/* One client sends `bytes` and receives them back. */
bool echo_once(struct fixture *fixture, uint32_t number, uint64_t bytes);

/* Windows loads its providers and pools threads once per process and keeps them. This makes it do so beforehand, so that the
 * descriptors before and after a scenario show only what the scenario left behind. */
void warm_up(const struct variant *variant);

#endif /* DRIVER_H */
