/*
 * driver_serving.c - scenarios of served connections: what they send, how they end, how many there are.
 */

#include <string.h>

#include "driver.h"
#include "driver_system.h"

static bool one_byte_at_a_time(struct fixture *fixture)
{
	struct client client;
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, client_open(&client, 1, fixture->target));
	REQUIRE(fixture, clients_echo(&client, 1, 200, 1, true, TIMEOUT_MS));
	REQUIRE(fixture, clients_echo(&client, 1, 1000, 1, false, TIMEOUT_MS));
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.requests >= 200 && stats.bytes_received == 1000);
	client_close(&client);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool megabyte_at_once(struct fixture *fixture)
{
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < 4; number++) {
		REQUIRE(fixture, echo_once(fixture, number, 1024 * 1024));
	}
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool never_reads(struct fixture *fixture)
{
	struct client client;
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, client_create(&client, 7, fixture->target, 65536));
	REQUIRE(fixture, client_connect(&client, fixture->target));
	/* Stuck when the server has received nothing more in two rounds: in one it may only have had no CPU. */
	struct ib_server_stats before, after = stats_now(fixture);
	int round = 0;
	do {
		before = after;
		send_until_stuck(&client, 1);
		after = stats_now(fixture);
	} while (after.bytes_received != before.bytes_received && ++round < 20);
	REQUIRE(fixture, before.bytes_received > 0);
	/* The server holds the bytes that it has received and not yet sent. io_uring delivers up to a socket's receive buffer before its
	 * receive is cancelled. */
	uint64_t held = before.bytes_received - before.bytes_sent;
	if (held > 128u * fixture->options.receive_buffer_bytes) {
		return failed(fixture, "holds %llu bytes of one connection", (unsigned long long)held);
	}
	const char *backend = fixture->variant->backend;
	bool blocks = strcmp(backend, "blocking") == 0 || strcmp(backend, "process") == 0 || strcmp(backend, "pool") == 0;
	if (!blocks) {
		REQUIRE(fixture, before.receives_paused > 0);
	}
	REQUIRE(fixture, after.bytes_received == before.bytes_received);
	REQUIRE(fixture, echo_once(fixture, 8, 100000)); /* others are served meanwhile */
	/* When it reads again, everything comes, in order. */
	REQUIRE(fixture, clients_echo(&client, 1, client.sent + 1000, 0, false, TIMEOUT_MS));
	client_close(&client);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* Many clients that never read use only their own memory: others are served, and no buffer is lost when they leave. */
static bool many_never_read(struct fixture *fixture)
{
	enum { COUNT = 100, ROUNDS = 10 };
	struct client clients[COUNT];
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_create(&clients[number], number, fixture->target, 4096));
		REQUIRE(fixture, client_connect(&clients[number], fixture->target));
	}
	for (int round = 0; round < ROUNDS; round++) {
		for (uint32_t number = 0; number < COUNT; number++) {
			for (int repeat = 0; repeat < 4; repeat++) {
				REQUIRE(fixture, client_send(&clients[number], 65536) >= 0);
			}
		}
		REQUIRE(fixture, echo_once(fixture, 1000, 50000));
		pause_ms(20);
	}
	for (uint32_t number = 0; number < COUNT; number++) {
		if (number % 2 == 0) {
			client_reset(&clients[number]);
		} else {
			REQUIRE(fixture, clients_echo(&clients[number], 1, clients[number].sent + 100, 0, false, TIMEOUT_MS));
		}
	}
	REQUIRE(fixture, echo_once(fixture, 1001, 300000));
	for (uint32_t number = 1; number < COUNT; number += 2) {
		client_close(&clients[number]);
	}
	REQUIRE(fixture, await_closed(fixture, COUNT + ROUNDS + 1));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool half_close(struct fixture *fixture)
{
	struct client client;
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < 20; number++) {
		uint64_t length = number % 2 == 0 ? 64 : 200000;
		REQUIRE(fixture, client_open(&client, number, fixture->target));
		REQUIRE(fixture, clients_echo(&client, 1, 64, 0, false, TIMEOUT_MS));
		while (client.sent < length) {
			if (client_send(&client, (size_t)(length - client.sent)) == 0) {
				pause_ms(1);
			}
		}
		client_half_close(&client);
		REQUIRE(fixture, client_await_end(&client, TIMEOUT_MS));
		REQUIRE(fixture, client.received == length);
		client_close(&client);
	}
	REQUIRE(fixture, await_closed(fixture, 20));
	REQUIRE(fixture, stats_now(fixture).errors_reset == 0);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool reset_in_message(struct fixture *fixture)
{
	struct client client;
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < 50; number++) {
		REQUIRE(fixture, client_open(&client, number, fixture->target));
		REQUIRE(fixture, clients_echo(&client, 1, 64, 0, false, TIMEOUT_MS));
		/* Enough data that some of it is unsent when the reset comes. */
		for (int round = 0; round < (number % 5 == 0 ? 200 : 1); round++) {
			client_send(&client, 65536);
		}
		client_reset(&client);
	}
	REQUIRE(fixture, await_closed(fixture, 50));
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.errors_reset > 0);
	REQUIRE(fixture, stats.errors_other == 0);
	REQUIRE(fixture, echo_once(fixture, 1, 1000));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool connects_and_closes(struct fixture *fixture)
{
	struct client client;
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < 2000; number++) {
		REQUIRE(fixture, client_open(&client, number, fixture->target));
		if (number % 4 == 1) {
			REQUIRE(fixture, clients_echo(&client, 1, 10, 0, false, TIMEOUT_MS));
		}
		if (number % 4 == 2) {
			client_send(&client, 100);
		}
		if (number % 4 == 3) {
			client_reset(&client);
		} else {
			client_close(&client);
		}
	}
	REQUIRE(fixture, await_closed(fixture, 1500));
	REQUIRE(fixture, echo_once(fixture, 1, 1000));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool silent_connections(struct fixture *fixture)
{
	enum { COUNT = 300 };
	struct client clients[COUNT];
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	}
	REQUIRE(fixture, echo_once(fixture, 1, 1000));
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.accepted == COUNT + 1);
	/* A silent connection must not delay a stop until its deadline. */
	uint64_t start_ns = clock_now_ns();
	REQUIRE(fixture, server_stop(fixture, 60000, IB_STATUS_OK));
	REQUIRE(fixture, clock_now_ns() - start_ns < 30000000000u);
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_await_end(&clients[number], TIMEOUT_MS));
		client_close(&clients[number]);
	}
	return true;
}

/* Silent clients, and clients that reset at once, must not block accepts. */
static bool accept_stays_alive(struct fixture *fixture)
{
	enum { COUNT = 200 };
	struct client silent[COUNT];
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < COUNT; number++) {
		struct client client;
		REQUIRE(fixture, client_open(&silent[number], number, fixture->target));
		REQUIRE(fixture, client_open(&client, number, fixture->target));
		client_reset(&client);
	}
	for (uint32_t number = 0; number < 2 * COUNT; number++) {
		REQUIRE(fixture, echo_once(fixture, number, 100));
	}
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.accepted >= 3 * COUNT);
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, clients_echo(&silent[number], 1, 100, 0, false, TIMEOUT_MS));
		client_close(&silent[number]);
	}
	REQUIRE(fixture, await_closed(fixture, 3 * COUNT));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool balanced(struct fixture *fixture)
{
	enum { COUNT = 40 };
	struct client clients[COUNT];
	fixture->options.workers = 4;
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	}
	REQUIRE(fixture, clients_echo(clients, COUNT, 1000, 0, false, TIMEOUT_MS));
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.worker_connections_min == 10 && stats.worker_connections_max == 10);
	for (uint32_t number = 0; number < COUNT; number++) {
		client_close(&clients[number]);
	}
	REQUIRE(fixture, await_closed(fixture, COUNT));
	EVENTUALLY(fixture, stats, stats.worker_connections_max == 0);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool many_payloads(struct fixture *fixture)
{
	enum { COUNT = 64 };
	struct client clients[COUNT];
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	}
	REQUIRE(fixture, clients_echo(clients, COUNT, 2000, 37, true, TIMEOUT_MS));
	REQUIRE(fixture, clients_echo(clients, COUNT, 300000, 0, false, TIMEOUT_MS));
	for (uint32_t number = 0; number < COUNT; number++) {
		client_close(&clients[number]);
	}
	REQUIRE(fixture, await_closed(fixture, COUNT));
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.bytes_received == COUNT * 300000u && stats.bytes_sent == stats.bytes_received);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/*
 * 200 clients, and descriptors for only some of them. The server must neither spin nor stop listening. When some leave, and when the
 * limit is raised, the rest is served.
 */
static bool descriptors_exhausted(struct fixture *fixture)
{
	enum { COUNT = 200, SPARE = 40 };
	struct client clients[COUNT];
	/* io_uring: the size of the socket table comes from the limit at the start. */
	REQUIRE(fixture, descriptor_limit_set(descriptor_numbers_end() + SPARE));
	bool started = server_start(fixture);
	descriptor_limit_set(0);
	REQUIRE(fixture, started);
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_create(&clients[number], number, fixture->target, 0));
	}
	REQUIRE(fixture, descriptor_limit_set(descriptor_numbers_end() + SPARE));
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_connect(&clients[number], fixture->target));
	}
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.errors_descriptors > 0 && stats.accepted > 0);
	REQUIRE(fixture, stats.accepted < COUNT);
	uint64_t since_ns = clock_now_ns();
	pause_ms(400);
	struct ib_server_stats later = stats_now(fixture);
	/* No busy loop: at most one attempt in 4 ms. */
	uint64_t most = (clock_now_ns() - since_ns) / (4 * NS_PER_MS);
	REQUIRE(fixture, later.errors_descriptors - stats.errors_descriptors < most);
	/* A few leave, and as many others are accepted. */
	REQUIRE(fixture, clients_echo(clients, 10, 100, 0, false, TIMEOUT_MS));
	for (uint32_t number = 0; number < 10; number++) {
		client_close(&clients[number]);
	}
	descriptor_limit_set(0);
	for (uint32_t first = 10; first < COUNT; first += 10) {
		REQUIRE(fixture, clients_echo(clients + first, 10, 100, 0, false, TIMEOUT_MS));
		for (uint32_t number = first; number < first + 10; number++) {
			client_close(&clients[number]);
		}
	}
	REQUIRE(fixture, await_closed(fixture, COUNT));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* io_uring: more connections than one table of direct descriptors can hold are spread over more workers than requested. */
static bool more_than_one_table(struct fixture *fixture)
{
	enum { COUNT = 300, SPARE = 60 };
	struct client clients[COUNT];
	fixture->options.connections_expected = COUNT;
	REQUIRE(fixture, descriptor_limit_set(descriptor_numbers_end() + SPARE));
	bool started = server_start(fixture);
	descriptor_limit_set(0);
	REQUIRE(fixture, started);
	struct ib_server_stats stats;
	if (strcmp(fixture->variant->backend, "io_uring") == 0) {
		EVENTUALLY(fixture, stats, stats.workers > 4);
	}
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	}
	REQUIRE(fixture, clients_echo(clients, COUNT, 1000, 0, false, TIMEOUT_MS));
	EVENTUALLY(fixture, stats,
	           stats.accepted == COUNT && stats.worker_connections_max - stats.worker_connections_min <= 1);
	REQUIRE(fixture, stats.errors_descriptors == 0);
	for (uint32_t number = 0; number < COUNT; number++) {
		client_close(&clients[number]);
	}
	REQUIRE(fixture, await_closed(fixture, COUNT));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/*
 * A connection inherits TCP_NODELAY from the listener. Two small echoes in a row show it: without TCP_NODELAY the second waits for the
 * acknowledgement of the first, which a peer that sends nothing delays by 40 ms.
 */
static bool no_delay(struct fixture *fixture)
{
	struct client client;
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, client_open(&client, 5, fixture->target));
	REQUIRE(fixture, clients_echo(&client, 1, 100, 0, false, TIMEOUT_MS));
	int delayed = 0;
	for (uint64_t total = 200; total <= 4000; total += 200) {
		uint64_t start_ns = clock_now_ns();
		REQUIRE(fixture, clients_echo(&client, 1, total, 5, false, TIMEOUT_MS));
		delayed += clock_now_ns() - start_ns > 35 * NS_PER_MS;
	}
	/* Of 20. Nagle's algorithm waits for the delayed acknowledgement, 40 ms at least, in nearly all; a busy machine delays some. */
	REQUIRE(fixture, delayed < 10);
	client_close(&client);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* The system calls of one round trip, if a server has one connection. They follow from how a model works. */
static const struct {
	const char *backend;
	uint64_t per_round_trip;
	bool has_acceptor; /* a thread that only accepts, whose waits count too */
} calls_known[] = {
    {"blocking", 2, true},      /* recv, send */
    {"pool", 2, true},          /* the same */
    {"select", 3, false},       /* select, recv, send */
    {"poll", 3, false},         /* poll, recv, send */
    {"event_select", 4, false}, /* WSAWaitForMultipleEvents, WSAEnumNetworkEvents, recv, send */
};

/*
 * Waits until the server has counted so many requests and publishes no more system calls. A thread without a CPU publishes its last ones
 * late, so one look in which nothing has changed is enough only where the waits for connections are counted, too.
 */
static struct ib_server_stats stats_settled(struct fixture *fixture, uint64_t requests)
{
	struct ib_server_stats stats = stats_now(fixture);
	int unchanged = 0, enough = system_accept_wait_ns() == 0 ? 8 : 1;
	for (int waited_ms = 0; waited_ms < TIMEOUT_MS && unchanged < enough; waited_ms += 20) {
		uint64_t before = stats.system_calls;
		pause_ms(20);
		stats = stats_now(fixture);
		unchanged = stats.requests >= requests && stats.system_calls == before ? unchanged + 1 : 0;
	}
	return stats;
}

static bool system_calls_counted(struct fixture *fixture)
{
	enum { WARM = 5, COUNT = 1000, BYTES = 100 };
	struct client client;
	uint64_t expected = IB_UNKNOWN;
	uint64_t accept_wait_ns = 0;
	for (size_t row = 0; row < sizeof calls_known / sizeof calls_known[0]; row++) {
		if (strcmp(calls_known[row].backend, fixture->variant->backend) == 0) {
			expected = COUNT * calls_known[row].per_round_trip;
			accept_wait_ns = calls_known[row].has_acceptor ? system_accept_wait_ns() : 0;
		}
	}
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, client_open(&client, 1, fixture->target));
	REQUIRE(fixture, clients_echo(&client, 1, WARM * BYTES, BYTES, true, TIMEOUT_MS));
	uint64_t began_ns = clock_now_ns();
	struct ib_server_stats before = stats_settled(fixture, WARM);
	REQUIRE(fixture, clients_echo(&client, 1, (WARM + COUNT) * BYTES, BYTES, true, TIMEOUT_MS));
	struct ib_server_stats after = stats_settled(fixture, WARM + COUNT);
	REQUIRE(fixture, after.requests - before.requests == COUNT);
	uint64_t counted = after.system_calls - before.system_calls;
	uint64_t accepts = accept_wait_ns == 0 ? 0 : (clock_now_ns() - began_ns) / accept_wait_ns + 1;
	if (expected != IB_UNKNOWN && (counted < expected || counted > expected + accepts)) {
		return failed(fixture, "%llu system calls counted, expected %llu and %llu waits for connections at most",
		              (unsigned long long)counted, (unsigned long long)expected, (unsigned long long)accepts);
	}
	/* Where the system makes a part of the calls itself, there is no figure at all. */
	bool unknown = strcmp(fixture->variant->backend, "completion_routine") == 0 ||
	               strcmp(fixture->variant->backend, "thread_pool_io") == 0;
	REQUIRE(fixture, (after.system_calls == IB_UNKNOWN) == unknown);
	client_close(&client);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static const struct scenario scenarios[] = {
    {"one-byte-at-a-time", one_byte_at_a_time, false, false, false},
    {"megabyte-at-once", megabyte_at_once, false, false, false},
    {"never-reads", never_reads, false, false, false},
    {"many-never-read", many_never_read, false, false, false},
    {"half-close", half_close, false, false, false},
    {"reset-in-message", reset_in_message, false, false, false},
    {"connects-and-closes", connects_and_closes, false, false, false},
    {"silent-connections", silent_connections, false, false, true},
    {"accept-stays-alive", accept_stays_alive, false, false, true},
    {"balanced", balanced, true, false, false},
    {"many-payloads", many_payloads, false, false, false},
    {"more-than-one-table", more_than_one_table, true, true, false},
    {"descriptors-exhausted", descriptors_exhausted, false, true, false},
    {"no-delay", no_delay, false, false, false},
    {"system-calls-counted", system_calls_counted, false, false, false},
};

const struct scenario_list serving_scenarios = {scenarios, sizeof scenarios / sizeof scenarios[0]};
