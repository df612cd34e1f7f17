/*
 * io_uring_faults_test.c - the io_uring server when the kernel fails: io_uring_enter fails for a while or for good, accepts do not come
 * back, or the message about a connection does not reach another ring. The linker replaces NAME with __wrap_NAME.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "driver.h"
#include "server/linux/io_uring.h"
#include "wrapped_syscall.h"

/* The error with which io_uring_enter of one worker fails, and how often it has failed. */
static _Atomic int enter_code;
static _Atomic uint32_t enter_victim;
static _Atomic uint64_t enter_failures;
static _Atomic uint64_t enter_calls;
/* Cancellations of accepts get lost. */
static atomic_bool loses_cancels;
/* Other workers do not learn of the connections handed to them. */
static atomic_bool loses_messages;
static _Atomic uint32_t lost_messages;

static const struct variant variants[] = {
    {.name = "1-worker", .backend = "io_uring", .workers = 1},
    {.name = "2-workers", .backend = "io_uring", .workers = 2},
};

void __real_uring_accept_cancel(struct uring_server *server, uint32_t index);
void __wrap_uring_accept_cancel(struct uring_server *server, uint32_t index);
void __real_uring_connection_handed_over(struct uring_server *server, uint32_t slot, int32_t result);
void __wrap_uring_connection_handed_over(struct uring_server *server, uint32_t slot, int32_t result);
void __real_uring_connection_open(struct worker *worker, uint32_t slot);
void __wrap_uring_connection_open(struct worker *worker, uint32_t slot);

/* Threads of the workers, known after their first connection. */
static _Atomic int worker_threads[2];

static long syscall_wrapped(long number, long arguments[6])
{
	if (number == URING_SYSCALL_ENTER) {
		enter_calls++;
		if (enter_code != 0 && gettid() == worker_threads[enter_victim]) {
			enter_failures++;
			errno = enter_code;
			return -1;
		}
	}
	return syscall_passed_on(number, arguments);
}

void __wrap_uring_accept_cancel(struct uring_server *server, uint32_t index)
{
	if (!loses_cancels) {
		__real_uring_accept_cancel(server, index);
	} else {
		server->accept_again_ns = clock_now_ns() - 1; /* as another listener's failure leaves it behind */
	}
}

void __wrap_uring_connection_handed_over(struct uring_server *server, uint32_t slot, int32_t result)
{
	__real_uring_connection_handed_over(server, slot, loses_messages ? -EOVERFLOW : result);
}

void __wrap_uring_connection_open(struct worker *worker, uint32_t slot)
{
	worker_threads[worker->number] = gettid();
	if (!loses_messages || worker->number == 0) {
		__real_uring_connection_open(worker, slot);
	} else {
		lost_messages++;
	}
}

/* As many clients as workers, each served by the worker with its number. */
static bool clients_serve(struct fixture *fixture, struct client *clients)
{
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < fixture->options.workers; number++) {
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
		REQUIRE(fixture, clients_echo(&clients[number], 1, 100, 0, false, TIMEOUT_MS));
	}
	return true;
}

static bool ends(struct client *client)
{
	return client_await_end(client, TIMEOUT_MS) || client->code > 0;
}

/* A stop must end although operations of a ring were lost, and report that. */
static bool stop_abandons(struct fixture *fixture, uint32_t deadline_ms, uint64_t at_most_ms)
{
	struct ib_server_stats stats = {.size = sizeof stats, .abi_version = IB_ABI_VERSION};
	uint64_t start_ns = clock_now_ns();
	int32_t status = ib_server_stop(fixture->server, deadline_ms, &stats, &fixture->error);
	fixture->server = NULL;
	REQUIRE(fixture, status == IB_STATUS_DEADLINE && strstr(fixture->error.message, "left to the end of the process"));
	REQUIRE(fixture, clock_now_ns() - start_ns < at_most_ms * NS_PER_MS);
	REQUIRE(fixture, stats.threads == 0 && stats.operations_posted > stats.operations_completed);
	REQUIRE(fixture, stats.accepted == stats.closed);
	return true;
}

/* The ring of the worker that serves the client accepts nothing more. The client sees the end, and the worker does not spin. */
static bool ring_fails(struct fixture *fixture, uint32_t number, struct client *client)
{
	enter_victim = number;
	enter_code = EBADF;
	REQUIRE(fixture, client_send(client, 100) == 100);
	REQUIRE(fixture, ends(client));
	client_close(client);
	REQUIRE(fixture, enter_failures < 5);
	REQUIRE(fixture, stats_now(fixture).errors_other == 1 && stats_now(fixture).last_os_code == EBADF);
	return true;
}

/* Worker 0 fails: nobody accepts any more, and a client is refused rather than left waiting. The other worker keeps serving. */
static bool acceptor_fails(struct fixture *fixture)
{
	struct client clients[2], late;
	REQUIRE(fixture, clients_serve(fixture, clients));
	if (!ring_fails(fixture, 0, &clients[0])) {
		return false;
	}
	REQUIRE(fixture, client_open(&late, 9, fixture->target));
	REQUIRE(fixture, !clients_echo(&late, 1, 10, 0, false, TIMEOUT_MS) && late.code > 0);
	client_close(&late);
	if (fixture->options.workers == 1) {
		return stop_abandons(fixture, 20000, 10000);
	}
	REQUIRE(fixture, clients_echo(&clients[1], 1, 1000, 0, false, TIMEOUT_MS));
	if (!stop_abandons(fixture, 20000, 10000)) {
		return false;
	}
	REQUIRE(fixture, client_await_end(&clients[1], TIMEOUT_MS));
	client_close(&clients[1]);
	return true;
}

/* Another worker fails: worker 0 serves all later connections. */
static bool other_fails(struct fixture *fixture)
{
	struct client clients[2];
	if (fixture->options.workers == 1) {
		return true;
	}
	REQUIRE(fixture, clients_serve(fixture, clients));
	if (!ring_fails(fixture, 1, &clients[1])) {
		return false;
	}
	for (uint32_t number = 2; number < 20; number++) {
		REQUIRE(fixture, echo_once(fixture, number, 1000));
	}
	REQUIRE(fixture, clients_echo(&clients[0], 1, 1000, 0, false, TIMEOUT_MS));
	client_close(&clients[0]);
	return stop_abandons(fixture, 20000, 10000);
}

/* The kernel has no memory for a while. The worker waits and then continues. */
static bool memory_is_short(struct fixture *fixture)
{
	struct client clients[2];
	REQUIRE(fixture, clients_serve(fixture, clients));
	enter_code = EAGAIN;
	REQUIRE(fixture, client_send(&clients[0], 100) == 100);
	for (int attempt = 0; attempt < TIMEOUT_MS / 10 && enter_failures < 3; attempt++) {
		pause_ms(10);
	}
	uint64_t before = enter_failures, since_ns = clock_now_ns();
	pause_ms(200);
	uint64_t more = enter_failures - before;
	/* It does not spin: at most two attempts in a millisecond. */
	REQUIRE(fixture, before >= 3 && more < 2 * (clock_now_ns() - since_ns) / NS_PER_MS);
	enter_code = 0;
	REQUIRE(fixture, clients_echo(clients, fixture->options.workers, 1000, 0, false, TIMEOUT_MS));
	for (uint32_t number = 0; number < fixture->options.workers; number++) {
		client_close(&clients[number]);
	}
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* Pending accepts do not come back. Connections are still drained by the deadline, and nothing spins meanwhile. */
static bool accepts_are_lost(struct fixture *fixture)
{
	struct client clients[2];
	fixture->options.address_count = 2;
	REQUIRE(fixture, clients_serve(fixture, clients));
	loses_cancels = true;
	uint64_t calls = enter_calls;
	if (!stop_abandons(fixture, 500, 10000)) {
		return false;
	}
	REQUIRE(fixture, enter_calls - calls < 200);
	for (uint32_t number = 0; number < fixture->options.workers; number++) {
		REQUIRE(fixture, ends(&clients[number]));
		client_close(&clients[number]);
	}
	return true;
}

/* A connection that was handed to another ring, whose message was lost. Its client must not wait for it. */
static bool message_is_lost(struct fixture *fixture)
{
	struct client clients[2], lost;
	if (fixture->options.workers == 1) {
		return true;
	}
	REQUIRE(fixture, clients_serve(fixture, clients));
	/* Worker 1 now has the fewest connections and gets the next. */
	client_close(&clients[1]);
	for (int attempt = 0; attempt < TIMEOUT_MS / 10 && stats_now(fixture).closed == 0; attempt++) {
		pause_ms(10);
	}
	loses_messages = true;
	REQUIRE(fixture, client_open(&lost, 3, fixture->target));
	(void)client_send(&lost, 10);
	REQUIRE(fixture, ends(&lost) && lost.received == 0);
	client_close(&lost);
	/* Both workers have their part in this, and neither waits for the other. */
	for (int attempt = 0; attempt < TIMEOUT_MS / 10 && (lost_messages == 0 || stats_now(fixture).refused == 0);
	     attempt++) {
		pause_ms(10);
	}
	loses_messages = false;
	REQUIRE(fixture, lost_messages == 1 && stats_now(fixture).refused == 1);
	REQUIRE(fixture, echo_once(fixture, 4, 10000) && echo_once(fixture, 5, 10000));
	client_close(&clients[0]);
	REQUIRE(fixture, await_closed(fixture, 5));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool is_available(void)
{
	struct ring_support support;
	ring_support_probe(&support);
	if (support.code != 0) {
		printf("skip: %s\n", support.reason);
	}
	return support.code == 0;
}

int main(void)
{
	static const struct scenario scenarios[] = {
	    {.name = "acceptor-fails", .run = acceptor_fails},   {.name = "other-fails", .run = other_fails},
	    {.name = "memory-is-short", .run = memory_is_short}, {.name = "accepts-are-lost", .run = accepts_are_lost},
	    {.name = "message-is-lost", .run = message_is_lost},
	};
	bool right = true;
	if (!is_available()) {
		return 0;
	}
	for (size_t row = 0; row < sizeof variants / sizeof variants[0]; row++) {
		for (size_t index = 0; index < sizeof scenarios / sizeof scenarios[0]; index++) {
			enter_code = 0;
			enter_victim = 0;
			enter_failures = 0;
			loses_cancels = loses_messages = false;
			lost_messages = 0;
			right = scenario_run(&variants[row], &scenarios[index]) && right;
		}
	}
	return right ? 0 : 1;
}
