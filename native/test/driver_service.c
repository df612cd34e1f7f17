/*
 * driver_service.c - scenarios of requests that cost more than their echo: work, and a wait.
 */
#include <string.h>

#include "driver.h"

#define MESSAGE_BYTES 64u
#define WAIT_NS (3 * NS_PER_MS)
#define WORK_NS (50 * NS_PER_US)

static bool service_start(struct fixture *fixture, uint64_t work_ns, uint64_t wait_ns)
{
	fixture->options.message_size_bytes = MESSAGE_BYTES;
	fixture->options.work_ns = work_ns;
	fixture->options.wait_ns = wait_ns;
	return server_start(fixture);
}

/* Waits until so many requests are served. */
static bool await_served(struct fixture *fixture, uint64_t count)
{
	for (int attempt = 0; attempt < TIMEOUT_MS / 10 && stats_now(fixture).served < count; attempt++) {
		pause_ms(10);
	}
	uint64_t served = stats_now(fixture).served;
	return served == count ||
	       failed(fixture, "served %llu, expected %llu", (unsigned long long)served, (unsigned long long)count);
}

/* Requests one after another: each takes at least its work and its wait, and the server counts them. */
static bool one_after_another(struct fixture *fixture)
{
	enum { COUNT = 20 };
	struct client client;
	REQUIRE(fixture, service_start(fixture, WORK_NS, WAIT_NS));
	REQUIRE(fixture, client_open(&client, 1, fixture->target));
	uint64_t start_ns = clock_now_ns();
	REQUIRE(fixture, clients_echo(&client, 1, COUNT * MESSAGE_BYTES, MESSAGE_BYTES, true, TIMEOUT_MS));
	uint64_t took_ns = clock_now_ns() - start_ns;
	REQUIRE(fixture, took_ns >= COUNT * WAIT_NS);
	REQUIRE(fixture, await_served(fixture, COUNT));
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.waits == COUNT && stats.waited_ns >= COUNT * WAIT_NS);
	REQUIRE(fixture, stats.dropped == 0);
	/* The first burn is measured; a clock that cannot measure one is unknown. */
	REQUIRE(fixture, stats.work_measured > 0);
	REQUIRE(fixture, (stats.work_measured == IB_UNKNOWN) == (stats.work_burnt_ns == IB_UNKNOWN));
	client_close(&client);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* Many requests in one receive are served one after another, and their replies come in order. */
static bool many_in_one_receive(struct fixture *fixture)
{
	enum { COUNT = 30 };
	struct client client;
	REQUIRE(fixture, service_start(fixture, 0, WAIT_NS));
	REQUIRE(fixture, client_open(&client, 2, fixture->target));
	uint64_t start_ns = clock_now_ns();
	REQUIRE(fixture, clients_echo(&client, 1, COUNT * MESSAGE_BYTES, 0, false, TIMEOUT_MS));
	REQUIRE(fixture, clock_now_ns() - start_ns >= COUNT * WAIT_NS);
	REQUIRE(fixture, await_served(fixture, COUNT));
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.waits == COUNT);
	client_close(&client);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* A request that comes in pieces is one request, also when pieces of two come together. */
static bool split_requests(struct fixture *fixture)
{
	enum { COUNT = 10 };
	static const size_t chunks[] = {1, 7, MESSAGE_BYTES - 1, MESSAGE_BYTES + 1, 100};
	struct client client;
	REQUIRE(fixture, service_start(fixture, 1000, NS_PER_MS));
	uint64_t served = 0;
	for (size_t index = 0; index < sizeof chunks / sizeof chunks[0]; index++) {
		REQUIRE(fixture, client_open(&client, (uint32_t)index, fixture->target));
		REQUIRE(fixture, clients_echo(&client, 1, COUNT * MESSAGE_BYTES, chunks[index], false, TIMEOUT_MS));
		served += COUNT;
		REQUIRE(fixture, await_served(fixture, served));
		client_close(&client);
	}
	/* Bytes that never make a request are echoed, too, and none is counted for them. */
	REQUIRE(fixture, client_open(&client, 9, fixture->target));
	REQUIRE(fixture, clients_echo(&client, 1, MESSAGE_BYTES - 1, 0, false, TIMEOUT_MS));
	client_close(&client);
	REQUIRE(fixture, await_closed(fixture, 6));
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.served == served);
	REQUIRE(fixture, stats.dropped == 0);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* Requests larger than a receive. */
static bool large_requests(struct fixture *fixture)
{
	enum { BYTES = 100000, COUNT = 5 };
	struct client client;
	fixture->options.message_size_bytes = BYTES;
	fixture->options.wait_ns = NS_PER_MS;
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, client_open(&client, 1, fixture->target));
	REQUIRE(fixture, clients_echo(&client, 1, (uint64_t)COUNT * BYTES, 0, false, TIMEOUT_MS));
	REQUIRE(fixture, await_served(fixture, COUNT));
	client_close(&client);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* The waits of many connections overlap. */
static bool waits_overlap(struct fixture *fixture)
{
	enum { CLIENTS = 100, COUNT = 4, LONG_WAIT_MS = 100 };
	struct client clients[CLIENTS];
	REQUIRE(fixture, service_start(fixture, 0, LONG_WAIT_MS * NS_PER_MS));
	for (uint32_t number = 0; number < CLIENTS; number++) {
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	}
	uint64_t start_ns = clock_now_ns();
	REQUIRE(fixture, clients_echo(clients, CLIENTS, COUNT * MESSAGE_BYTES, MESSAGE_BYTES, true, TIMEOUT_MS));
	/* One after another they would take forty seconds. */
	REQUIRE(fixture, clock_now_ns() - start_ns < 10 * NS_PER_S);
	REQUIRE(fixture, await_served(fixture, CLIENTS * COUNT));
	for (uint32_t number = 0; number < CLIENTS; number++) {
		client_close(&clients[number]);
	}
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* --wait-blocks: every connection of a worker waits for the one that sleeps. */
static bool waits_block(struct fixture *fixture)
{
	enum { CLIENTS = 8, COUNT = 4 };
	struct client clients[CLIENTS];
	fixture->options.flags |= IB_SERVER_WAIT_BLOCKS;
	fixture->options.workers = 1;
	REQUIRE(fixture, service_start(fixture, 0, 2 * WAIT_NS));
	for (uint32_t number = 0; number < CLIENTS; number++) {
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	}
	uint64_t start_ns = clock_now_ns();
	REQUIRE(fixture, clients_echo(clients, CLIENTS, COUNT * MESSAGE_BYTES, MESSAGE_BYTES, true, TIMEOUT_MS));
	REQUIRE(fixture, clock_now_ns() - start_ns >= CLIENTS * COUNT * 2 * WAIT_NS);
	REQUIRE(fixture, await_served(fixture, CLIENTS * COUNT));
	for (uint32_t number = 0; number < CLIENTS; number++) {
		client_close(&clients[number]);
	}
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* While a request waits, its peer sends more, ends its half, or resets: nothing is lost, and nothing spins. */
static bool more_while_waiting(struct fixture *fixture)
{
	enum { CLIENTS = 30, LONG_WAIT_MS = 100 };
	struct client clients[CLIENTS];
	REQUIRE(fixture, service_start(fixture, 0, LONG_WAIT_MS * NS_PER_MS));
	for (uint32_t number = 0; number < CLIENTS; number++) {
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
		REQUIRE(fixture, client_send(&clients[number], MESSAGE_BYTES) == MESSAGE_BYTES);
	}
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.bytes_received == CLIENTS * MESSAGE_BYTES);
	for (uint32_t number = 0; number < CLIENTS; number++) {
		if (number % 3 == 0) {
			client_reset(&clients[number]);
		} else {
			REQUIRE(fixture, client_send(&clients[number], 2 * MESSAGE_BYTES) == 2 * MESSAGE_BYTES);
			client_half_close(&clients[number]);
		}
	}
	for (uint32_t number = 0; number < CLIENTS; number++) {
		if (number % 3 == 0) {
			continue;
		}
		REQUIRE(fixture, client_await_end(&clients[number], TIMEOUT_MS));
		REQUIRE(fixture, clients[number].received == 3 * MESSAGE_BYTES);
		client_close(&clients[number]);
	}
	REQUIRE(fixture, await_closed(fixture, CLIENTS));
	/* Of a connection that was reset, the request may have been served or dropped. */
	EVENTUALLY(fixture, stats, stats.served + stats.dropped == CLIENTS + 2 * (CLIENTS - CLIENTS / 3));
	REQUIRE(fixture, stats.served >= 3 * (CLIENTS - CLIENTS / 3));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* Two requests of each client, which the server has or is about to receive. */
static bool send_two_each(struct fixture *fixture, struct client *clients, uint32_t count)
{
	for (uint32_t number = 0; number < count; number++) {
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
		REQUIRE(fixture, client_send(&clients[number], 2 * MESSAGE_BYTES) == 2 * MESSAGE_BYTES);
	}
	/* A worker that sleeps publishes what it has received when it wakes. */
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.accepted == count);
	return true;
}

/* A stop serves what has been received, waits included. */
static bool stop_serves_what_waits(struct fixture *fixture)
{
	enum { CLIENTS = 20 };
	struct client clients[CLIENTS];
	REQUIRE(fixture, service_start(fixture, WORK_NS, 100 * NS_PER_MS));
	REQUIRE(fixture, send_two_each(fixture, clients, CLIENTS));
	struct ib_server_stats stats = {.size = sizeof stats, .abi_version = IB_ABI_VERSION};
	int32_t status = ib_server_stop(fixture->server, 10000, &stats, &fixture->error);
	fixture->server = NULL;
	REQUIRE(fixture, status == IB_STATUS_OK && stats.threads == 0);
	REQUIRE(fixture, stats.served == CLIENTS * 2 && stats.dropped == 0);
	for (uint32_t number = 0; number < CLIENTS; number++) {
		REQUIRE(fixture, client_await_end(&clients[number], TIMEOUT_MS));
		REQUIRE(fixture, clients[number].received == 2 * MESSAGE_BYTES);
		client_close(&clients[number]);
	}
	return true;
}

/* What waits longer than the deadline of a stop is counted as dropped, and the stop does not wait for it. */
static bool deadline_drops(struct fixture *fixture, uint32_t flags)
{
	enum { CLIENTS = 10 };
	struct client clients[CLIENTS];
	fixture->options.flags |= flags;
	REQUIRE(fixture, service_start(fixture, 0, 30 * NS_PER_S));
	REQUIRE(fixture, send_two_each(fixture, clients, flags == 0 ? CLIENTS : 1));
	struct ib_server_stats stats = {.size = sizeof stats, .abi_version = IB_ABI_VERSION};
	uint64_t start_ns = clock_now_ns();
	/* Long enough for every thread to receive what was sent. */
	int32_t status = ib_server_stop(fixture->server, 1000, &stats, &fixture->error);
	fixture->server = NULL;
	REQUIRE(fixture, clock_now_ns() - start_ns < 10 * NS_PER_S);
	REQUIRE(fixture, status == IB_STATUS_DEADLINE && stats.threads == 0 && stats.accepted == stats.closed);
	REQUIRE(fixture, stats.served == 0 && stats.dropped == (flags == 0 ? CLIENTS : 1u) * 2);
	for (uint32_t number = 0; number < (flags == 0 ? CLIENTS : 1u); number++) {
		client_close(&clients[number]);
	}
	return true;
}

static bool deadline_drops_what_waits(struct fixture *fixture)
{
	return deadline_drops(fixture, 0);
}

static bool deadline_ends_a_sleep(struct fixture *fixture)
{
	return deadline_drops(fixture, IB_SERVER_WAIT_BLOCKS);
}

/* Work alone: replies are not held back, and a burn of the deadline's length is cut. */
static bool work_alone(struct fixture *fixture)
{
	enum { COUNT = 50 };
	struct client client;
	REQUIRE(fixture, service_start(fixture, WORK_NS, 0));
	REQUIRE(fixture, client_open(&client, 1, fixture->target));
	REQUIRE(fixture, clients_echo(&client, 1, COUNT * MESSAGE_BYTES, 0, false, TIMEOUT_MS));
	REQUIRE(fixture, await_served(fixture, COUNT));
	struct ib_server_stats stats = stats_now(fixture);
	REQUIRE(fixture, stats.waits == 0 && stats.waited_ns == 0);
	client_close(&client);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool echo_has_no_service(struct fixture *fixture)
{
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, echo_once(fixture, 1, 1000));
	struct ib_server_stats stats = stats_now(fixture);
	REQUIRE(fixture, stats.served == IB_UNKNOWN && stats.dropped == IB_UNKNOWN && stats.waits == IB_UNKNOWN);
	REQUIRE(fixture, stats.work_burnt_ns == IB_UNKNOWN && stats.work_spread_ppm == IB_UNKNOWN);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool bad_options(struct fixture *fixture)
{
	static const struct {
		uint64_t work_ns, wait_ns;
		uint32_t message_bytes, flags;
	} rows[] = {
	    {10 * NS_PER_S + 1, 0, 64, 0}, {0, 60 * NS_PER_S + 1, 64, 0},        {1000, 0, 0, 0},
	    {1000, 0, 1024 * 1024 + 1, 0}, {1000, 0, 64, IB_SERVER_WAIT_BLOCKS},
	};
	for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
		struct ib_server_options options = fixture->options;
		uint32_t port;
		options.work_ns = rows[row].work_ns;
		options.wait_ns = rows[row].wait_ns;
		options.message_size_bytes = rows[row].message_bytes;
		options.flags |= rows[row].flags;
		int32_t status = ib_server_start(&options, &fixture->server, &port, &fixture->error);
		if (status != IB_STATUS_USAGE) {
			return failed(fixture, "row %u: status %d", (unsigned)row, status);
		}
	}
	return true;
}

static const struct scenario scenarios[] = {
    {.name = "one_after_another", .run = one_after_another},
    {.name = "many_in_one_receive", .run = many_in_one_receive},
    {.name = "split_requests", .run = split_requests},
    {.name = "large_requests", .run = large_requests},
    {.name = "waits_overlap", .run = waits_overlap},
    {.name = "waits_block", .run = waits_block, .needs_workers = true},
    {.name = "more_while_waiting", .run = more_while_waiting},
    {.name = "stop_serves_what_waits", .run = stop_serves_what_waits},
    {.name = "deadline_drops_what_waits", .run = deadline_drops_what_waits},
    {.name = "deadline_ends_a_sleep", .run = deadline_ends_a_sleep},
    {.name = "work_alone", .run = work_alone},
    {.name = "echo_has_no_service", .run = echo_has_no_service},
    {.name = "bad_options", .run = bad_options},
};
const struct scenario_list service_scenarios = {scenarios, sizeof scenarios / sizeof scenarios[0]};
