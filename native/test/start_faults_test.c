/*
 * start_faults_test.c - starts that fail half way, when threads already run. The linker replaces NAME with __wrap_NAME.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "server/backend.h"

/* Number of the thread_start that fails, from 1; 0: none. Then the one that is held back until `released`. */
static uint32_t failing_start, held_start, starts;
static atomic_bool released;
static struct thread *held_thread;
static struct fixture *connecting; /* whose client connects before the failure */
static struct client client;
static bool client_served;
static _Atomic uint32_t abandoned;
/* Every look at the clock finds it a second later, so that a wait with a deadline ends at once. */
static atomic_bool clock_runs;
static _Atomic uint64_t clock_ahead_ns;

struct held {
	thread_function function;
	void *argument;
};

int __real_thread_start(struct thread *out, thread_function function, void *argument, size_t stack_size_bytes);
int __wrap_thread_start(struct thread *out, thread_function function, void *argument, size_t stack_size_bytes);
int32_t __real_server_abandon(struct server *server, struct ib_error *error);
int32_t __wrap_server_abandon(struct server *server, struct ib_error *error);
uint64_t __real_clock_now_ns(void);
uint64_t __wrap_clock_now_ns(void);

uint64_t __wrap_clock_now_ns(void)
{
	if (clock_runs) {
		clock_ahead_ns += NS_PER_S;
	}
	return __real_clock_now_ns() + clock_ahead_ns;
}

static void held_main(void *argument)
{
	struct held held = *(struct held *)argument;
	free(argument);
	while (!released) {
		pause_ms(1);
	}
	held.function(held.argument);
}

int __wrap_thread_start(struct thread *out, thread_function function, void *argument, size_t stack_size_bytes)
{
	starts++;
	if (starts == failing_start) {
		if (connecting != NULL) {
			client_served =
			    client_open(&client, 1, connecting->target) && clients_echo(&client, 1, 100, 0, false, TIMEOUT_MS);
		}
		return ENOMEM;
	}
	if (starts != held_start) {
		return __real_thread_start(out, function, argument, stack_size_bytes);
	}
	struct held *held = malloc(sizeof *held);
	*held = (struct held){function, argument};
	held_thread = out;
	return __real_thread_start(out, held_main, held, stack_size_bytes);
}

int32_t __wrap_server_abandon(struct server *server, struct ib_error *error)
{
	abandoned++;
	return __real_server_abandon(server, error);
}

static bool start_fails(struct fixture *fixture)
{
	struct ib_server *server;
	uint32_t port;
	REQUIRE(fixture, ib_server_start(&fixture->options, &server, &port, &fixture->error) == IB_STATUS_THREADS);
	REQUIRE(fixture, server == NULL && fixture->error.message[0] != '\0');
	return true;
}

/* One listener already serves a connection when the thread of the next cannot be started. Nothing of the server may be left. */
static bool blocking_serves_already(struct fixture *fixture)
{
	/* A port that is free now, because the client has to know it before the start is done. */
	REQUIRE(fixture, server_start(fixture) && server_stop(fixture, 5000, IB_STATUS_OK));
	fixture->options.port = fixture->target.port;
	fixture->options.address_count = 2;
	connecting = fixture;
	starts = 0;
	failing_start = 3; /* after the check of the stack's size and the first acceptor */
	bool right = start_fails(fixture);
	failing_start = 0;
	connecting = NULL; /* later scenarios have fixtures of their own */
	REQUIRE(fixture, right && client_served);
	REQUIRE(fixture, client_await_end(&client, TIMEOUT_MS) || client.code > 0);
	client_close(&client);
	REQUIRE(fixture, abandoned == 0);
	return true;
}

/* A thread of the pool has not ended when the start gives up. Its memory must still be there when it continues. */
static bool pool_thread_runs_on(struct fixture *fixture)
{
	fixture->options.pool_threads = 2;
	starts = abandoned = 0;
	released = false;
	held_start = 1;
	failing_start = 2;
	clock_runs = true;
	bool gave_up = start_fails(fixture);
	clock_runs = false;
	released = true;
	failing_start = held_start = 0;
	REQUIRE(fixture, gave_up);
	REQUIRE(fixture, abandoned == 1);
	thread_join(held_thread);
	REQUIRE(fixture, server_start(fixture) && echo_once(fixture, 1, 1000));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* A running worker has not returned its accepts when the start gives up. Its memory must still be there when it continues. */
static bool iocp_worker_runs_on(struct fixture *fixture)
{
	starts = abandoned = 0;
	released = false;
	held_start = 1;
	failing_start = 2;
	REQUIRE(fixture, start_fails(fixture));
	released = true;
	REQUIRE(fixture, abandoned == 1);
	failing_start = held_start = 0;
	/* Other servers are not affected. */
	REQUIRE(fixture, server_start(fixture) && echo_once(fixture, 1, 1000));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool is_available(const char *backend)
{
	for (uint32_t index = 0; index < ib_backend_count(); index++) {
		struct ib_probe probe = {.size = sizeof probe, .abi_version = IB_ABI_VERSION};
		if (ib_backend_probe(index, &probe) == IB_STATUS_OK && strcmp(probe.name, backend) == 0) {
			return probe.available != 0;
		}
	}
	return false;
}

/* Not a scenario, because it leaves memory and handles behind on purpose. */
static bool runs_on(const struct variant *variant, bool (*run)(struct fixture *fixture))
{
	struct fixture fixture = fixture_make(variant);
	bool right = run(&fixture);
	printf("%s %s runs-on%s%s\n", right ? "ok  " : "FAIL", variant->name, right ? "" : ": ", fixture.failure);
	return right;
}

int main(void)
{
	static const struct variant blocking = {.name = "blocking", .backend = "blocking"};
	static const struct variant pool = {.name = "pool", .backend = "pool"};
	static const struct variant iocp = {.name = "iocp", .backend = "iocp", .workers = 2};
	static const struct scenario serves_already = {.name = "serves-already", .run = blocking_serves_already};
	/* Wine opens handles at the first refused start and keeps them. The second shows what is left behind. */
	struct fixture first = fixture_make(&blocking);
	bool right = blocking_serves_already(&first) && scenario_run(&blocking, &serves_already);
	right = runs_on(&pool, pool_thread_runs_on) && right;
	if (is_available("iocp")) {
		right = runs_on(&iocp, iocp_worker_runs_on) && right;
	}
	return right ? 0 : 1;
}
