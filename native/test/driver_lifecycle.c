/*
 * driver_lifecycle.c - scenarios of starting and stopping: under load, with peers that do not read, on every kind of address.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

struct load {
	struct fixture *fixture;
	uint32_t first;
	atomic_bool end;
	uint64_t echoes;
};

/* Runs 32 clients in lockstep until they are cut off or stopped. */
static void load_main(void *argument)
{
	enum { COUNT = 32 };
	struct load *load = argument;
	struct client clients[COUNT];
	for (uint32_t number = 0; number < COUNT; number++) {
		if (!client_open(&clients[number], load->first + number, load->fixture->target)) {
			abort();
		}
	}
	for (uint64_t total = 64; !atomic_load(&load->end); total += 64) {
		if (!clients_echo(clients, COUNT, total, 0, false, 1000)) {
			break;
		}
		load->echoes++;
	}
	for (uint32_t number = 0; number < COUNT; number++) {
		client_close(&clients[number]);
	}
}

static bool stop_under_load(struct fixture *fixture)
{
	for (uint32_t round = 0; round < 5; round++) {
		struct load loads[3];
		struct thread threads[3];
		REQUIRE(fixture, server_start(fixture));
		for (uint32_t index = 0; index < 3; index++) {
			loads[index] = (struct load){.fixture = fixture, .first = index * 1000};
			REQUIRE(fixture, thread_start(&threads[index], load_main, &loads[index], 0) == 0);
		}
		/* The load is running when every client has had an echo or two. How long that takes depends on the machine. */
		for (int attempt = 0; attempt < TIMEOUT_MS / 10 && stats_now(fixture).requests < 3 * 32 * 3; attempt++) {
			pause_ms(10);
		}
		pause_ms(round * 20);
		bool stopped = server_stop(fixture, 30000, IB_STATUS_OK);
		uint64_t echoes = 0;
		for (uint32_t index = 0; index < 3; index++) {
			atomic_store(&loads[index].end, true);
			thread_join(&threads[index]);
			echoes += loads[index].echoes;
		}
		REQUIRE(fixture, stopped);
		REQUIRE(fixture, echoes > 0);
	}
	return true;
}

/* Wine delivers a reset as an orderly end (test/windows/wine-defects.ts: reset-read-as-end). */
static bool system_hides_resets(void)
{
	struct ib_limits limits = {.size = sizeof limits, .abi_version = IB_ABI_VERSION};
	return ib_limits(&limits, NULL) == IB_STATUS_OK && strncmp(limits.compatibility, "Wine", 4) == 0;
}

/*
 * A peer that does not read cannot be drained, so the deadline holds and the connection is reset. The test uses several peers, because
 * Linux may have up to a third of a socket's send buffer free without waking its waiter. The end of the stream wakes it, and a
 * connection with little received data is then drained after all.
 */
static bool stop_deadline(struct fixture *fixture)
{
	enum { COUNT = 8 };
	struct client clients[COUNT];
	uint32_t cut_off = 0, reset = 0;
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_create(&clients[number], 7 + number, fixture->target, 65536));
		REQUIRE(fixture, client_connect(&clients[number], fixture->target));
	}
	send_until_stuck(clients, COUNT);
	REQUIRE(fixture, server_stop(fixture, 300, IB_STATUS_DEADLINE));
	for (uint32_t number = 0; number < COUNT; number++) {
		bool orderly = client_await_end(&clients[number], TIMEOUT_MS);
		REQUIRE(fixture, orderly || socket_condition_of(clients[number].code) == SOCKET_RESET);
		cut_off += clients[number].received < clients[number].sent;
		reset += !orderly;
		client_close(&clients[number]);
	}
	REQUIRE(fixture, cut_off > 0 && (reset > 0 || system_hides_resets()));
	return true;
}

/* The server still echoes what it has received when it is asked to stop. */
static bool stop_echoes_first(struct fixture *fixture)
{
	enum { COUNT = 50 };
	struct client clients[COUNT];
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	}
	REQUIRE(fixture, clients_echo(clients, COUNT, 10, 0, false, TIMEOUT_MS));
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_send(&clients[number], 30000) == 30000);
	}
	pause_ms(50); /* on loopback the bytes are in the server's sockets when send returns; be generous */
	REQUIRE(fixture, server_stop(fixture, 20000, IB_STATUS_OK));
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_await_end(&clients[number], TIMEOUT_MS));
		REQUIRE(fixture, clients[number].received == 30010);
		client_close(&clients[number]);
	}
	return true;
}

static bool ipv6(struct fixture *fixture)
{
	snprintf(fixture->options.host, sizeof fixture->options.host, "::1");
	fixture->target.last = 0;
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, echo_once(fixture, 3, 100000));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool several_addresses(struct fixture *fixture)
{
	fixture->options.address_count = 3;
	REQUIRE(fixture, server_start(fixture));
	for (fixture->target.last = 1; fixture->target.last <= 3; fixture->target.last++) {
		REQUIRE(fixture, echo_once(fixture, fixture->target.last, 10000));
	}
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool port_in_use(struct fixture *fixture)
{
	REQUIRE(fixture, server_start(fixture));
	struct ib_server_options options = fixture->options;
	options.port = fixture->target.port;
	struct ib_server *second;
	uint32_t port;
	int32_t status = ib_server_start(&options, &second, &port, &fixture->error);
	REQUIRE(fixture, status == IB_STATUS_ADDRESS_IN_USE && second == NULL);
	REQUIRE(fixture, fixture->error.message[0] != '\0' && fixture->error.hint[0] != '\0');
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* Whether a connection to the target is refused: no socket listens there, not even one that nobody serves. */
static bool connection_refused(struct fixture *fixture)
{
	struct client client;
	if (!client_create(&client, 1, fixture->target, 0)) {
		return false;
	}
	bool refused =
	    !client_connect(&client, fixture->target) || (!clients_echo(&client, 1, 1, 0, false, 1000) && client.code > 0);
	client_close(&client);
	return refused;
}

/* Starts many times on the port that was just released. Nothing may be left behind. */
static bool started_often(struct fixture *fixture)
{
	int taken = 0;
	for (int round = 0; round < 20; round++) {
		if (!server_start(fixture)) {
			/* Rarely the system gives the port to a connection of another process meanwhile. A listener that was left behind would accept. */
			REQUIRE(fixture, fixture->error.code == IB_STATUS_ADDRESS_IN_USE && ++taken <= 2);
			REQUIRE(fixture, connection_refused(fixture));
			fixture->failure[0] = '\0';
			fixture->options.port = 0;
			REQUIRE(fixture, server_start(fixture));
		}
		fixture->options.port = fixture->target.port;
		REQUIRE(fixture, echo_once(fixture, 1, 100));
		REQUIRE(fixture, server_stop(fixture, 5000, IB_STATUS_OK));
	}
	return true;
}

/* Buffers of the smallest and of the largest size carry the same bytes. */
static bool buffer_sizes(struct fixture *fixture)
{
	const uint32_t sizes[] = {1024, 1024 * 1024, 40000};
	for (size_t index = 0; index < sizeof sizes / sizeof sizes[0]; index++) {
		fixture->options.receive_buffer_bytes = sizes[index];
		REQUIRE(fixture, server_start(fixture));
		REQUIRE(fixture, echo_once(fixture, (uint32_t)index, 500000));
		REQUIRE(fixture, server_stop(fixture, 5000, IB_STATUS_OK));
	}
	return true;
}

static const struct scenario scenarios[] = {
    {"stop-under-load", stop_under_load, false, false, false},
    {"stop-deadline", stop_deadline, false, false, false},
    {"stop-echoes-first", stop_echoes_first, false, false, false},
    {"ipv6", ipv6, false, false, false},
    {"several-addresses", several_addresses, false, false, false},
    {"port-in-use", port_in_use, false, false, false},
    {"started-often", started_often, false, false, false},
    {"buffer-sizes", buffer_sizes, false, false, false},
};

const struct scenario_list lifecycle_scenarios = {scenarios, sizeof scenarios / sizeof scenarios[0]};
