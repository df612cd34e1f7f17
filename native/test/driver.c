/*
 * driver.c - conformance scenarios against every backend, in one process: the form in which sanitizers can see the library.
 *
 *   driver [--backend NAME] [--scenario NAME]
 *
 * Prints one line per scenario and backend, and exits with 1 when one failed.
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_clients.h"
#include "platform/platform.h"
#include "server/backend.h"

#define TIMEOUT_MS 20000
#define BUFFER_BYTES 16384u

/* A row of what is tested: a backend in one of its forms. */
struct variant {
	const char *name;
	const char *backend;
	uint32_t workers;
	uint32_t flags;
};

static const struct variant variants[] = {
    {"blocking", "blocking", 0, 0},
    {"epoll", "epoll", 2, 0},
    {"epoll-1-worker", "epoll", 1, 0},
    {"epoll-edge", "epoll", 2, IB_SERVER_EDGE_TRIGGERED},
    {"io_uring", "io_uring", 2, 0},
    {"io_uring-1-worker", "io_uring", 1, 0},
    {"iocp", "iocp", 2, 0},
    {"iocp-1-worker", "iocp", 1, 0},
    {"iocp-zero-byte", "iocp", 2, IB_SERVER_ZERO_BYTE_RECV},
};

struct fixture {
	const struct variant *variant;
	struct ib_server_options options;
	struct ib_server *server;
	struct target target;
	struct ib_error error;
	char failure[512];
};

typedef bool (*scenario_function)(struct fixture *fixture);

/* ------------------------------------------------------------------------------------------- helpers */

static bool failed(struct fixture *fixture, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool failed(struct fixture *fixture, const char *format, ...)
{
	if (fixture->failure[0] == '\0') {
		va_list arguments;
		va_start(arguments, format);
		vsnprintf(fixture->failure, sizeof fixture->failure, format, arguments);
		va_end(arguments);
	}
	return false;
}

#define REQUIRE(fixture, condition)                                                                                    \
	do {                                                                                                               \
		if (!(condition))                                                                                              \
			return failed((fixture), "line %d: %s", __LINE__, #condition);                                             \
	} while (0)

static bool server_start(struct fixture *fixture)
{
	uint32_t port;
	if (ib_server_start(&fixture->options, &fixture->server, &port, &fixture->error) != IB_STATUS_OK)
		return failed(fixture, "start: %s", fixture->error.message);
	fixture->target.port = port;
	return true;
}

static struct ib_server_stats stats_now(struct fixture *fixture)
{
	struct ib_server_stats stats = {.size = sizeof stats, .abi_version = IB_ABI_VERSION};
	ib_server_stats(fixture->server, &stats, NULL);
	return stats;
}

/* Stops and checks what must hold at every end: nothing open, nothing outstanding. */
static bool server_stop(struct fixture *fixture, uint32_t deadline_ms, int32_t expected)
{
	struct ib_server_stats stats = {.size = sizeof stats, .abi_version = IB_ABI_VERSION};
	uint64_t start_ns = clock_now_ns();
	int32_t status = ib_server_stop(fixture->server, deadline_ms, &stats, &fixture->error);
	uint64_t took_ms = (clock_now_ns() - start_ns) / 1000000u;
	fixture->server = NULL;
	if (status != expected)
		return failed(fixture, "stop gave %d, expected %d: %s", status, expected, fixture->error.message);
	if (took_ms > deadline_ms + 10000u)
		return failed(fixture, "stop took %llu ms", (unsigned long long)took_ms);
	if (stats.accepted != stats.closed)
		return failed(fixture, "accepted %llu, closed %llu", (unsigned long long)stats.accepted,
		              (unsigned long long)stats.closed);
	if (stats.threads != 0)
		return failed(fixture, "%u threads left", stats.threads);
	if (stats.operations_posted != stats.operations_completed)
		return failed(fixture, "posted %llu, completed %llu", (unsigned long long)stats.operations_posted,
		              (unsigned long long)stats.operations_completed);
	return true;
}

static void pause_ms(uint32_t duration_ms)
{
	clock_sleep_ns((uint64_t)duration_ms * 1000000u);
}

/* Waits until as many connections are closed as were accepted, `count` at least. */
static bool await_closed(struct fixture *fixture, uint64_t count)
{
	for (int attempt = 0; attempt < TIMEOUT_MS / 10; attempt++) {
		struct ib_server_stats stats = stats_now(fixture);
		if (stats.closed == stats.accepted && stats.closed >= count)
			return true;
		pause_ms(10);
	}
	struct ib_server_stats stats = stats_now(fixture);
	return failed(fixture, "accepted %llu, closed %llu, expected %llu", (unsigned long long)stats.accepted,
	              (unsigned long long)stats.closed, (unsigned long long)count);
}

static bool echo_once(struct fixture *fixture, uint32_t number, uint64_t bytes)
{
	struct client client;
	REQUIRE(fixture, client_open(&client, number, fixture->target));
	bool right = clients_echo(&client, 1, bytes, 0, false, TIMEOUT_MS);
	client_close(&client);
	if (!right)
		return failed(fixture, "echo of %llu bytes: %llu came, code %d", (unsigned long long)bytes,
		              (unsigned long long)client.received, client.code);
	return true;
}

/* ----------------------------------------------------------------------------------------- scenarios */

static bool one_byte_at_a_time(struct fixture *fixture)
{
	struct client client;
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, client_open(&client, 1, fixture->target));
	REQUIRE(fixture, clients_echo(&client, 1, 200, 1, true, TIMEOUT_MS));
	REQUIRE(fixture, clients_echo(&client, 1, 1000, 1, false, TIMEOUT_MS));
	struct ib_server_stats stats = stats_now(fixture);
	REQUIRE(fixture, stats.requests >= 200 && stats.bytes_received == 1000);
	client_close(&client);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool megabyte_at_once(struct fixture *fixture)
{
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < 4; number++)
		REQUIRE(fixture, echo_once(fixture, number, 1024 * 1024));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* Sends until nothing has moved for a while. */
static void send_until_stuck(struct client *clients, uint32_t count)
{
	for (int idle = 0; idle < 40;) {
		bool sent = false;
		for (uint32_t number = 0; number < count; number++)
			sent = client_send(&clients[number], 65536) > 0 || sent;
		idle = sent ? 0 : idle + 1;
		if (idle > 0)
			pause_ms(10);
	}
}

static bool never_reads(struct fixture *fixture)
{
	struct client client;
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, client_create(&client, 7, fixture->target, 65536));
	REQUIRE(fixture, client_connect(&client, fixture->target));
	send_until_stuck(&client, 1);
	struct ib_server_stats before = stats_now(fixture);
	REQUIRE(fixture, before.bytes_received > 0);
	/* What was taken from the socket and not yet given back to the system is what the server holds. */
	uint64_t held = before.bytes_received - before.bytes_sent;
	if (held >
	    128u * BUFFER_BYTES) /* io_uring delivers up to a socket's receive buffer before its receive is cancelled */
		return failed(fixture, "holds %llu bytes of one connection", (unsigned long long)held);
	if (strcmp(fixture->variant->backend, "blocking") != 0)
		REQUIRE(fixture, before.receives_paused > 0);
	send_until_stuck(&client, 1);
	REQUIRE(fixture, stats_now(fixture).bytes_received == before.bytes_received);
	REQUIRE(fixture, echo_once(fixture, 8, 100000)); /* others are served meanwhile */
	/* When it reads again, everything comes, in order. */
	REQUIRE(fixture, clients_echo(&client, 1, client.sent + 1000, 0, false, TIMEOUT_MS));
	client_close(&client);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* A crowd that never reads holds its own memory and nobody else's: others are served, and no buffer is lost when it leaves. */
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
		for (uint32_t number = 0; number < COUNT; number++)
			for (int repeat = 0; repeat < 4; repeat++)
				REQUIRE(fixture, client_send(&clients[number], 65536) >= 0);
		REQUIRE(fixture, echo_once(fixture, 1000, 50000));
		pause_ms(20);
	}
	for (uint32_t number = 0; number < COUNT; number++) {
		if (number % 2 == 0)
			client_reset(&clients[number]);
		else
			REQUIRE(fixture, clients_echo(&clients[number], 1, clients[number].sent + 100, 0, false, TIMEOUT_MS));
	}
	REQUIRE(fixture, echo_once(fixture, 1001, 300000));
	for (uint32_t number = 1; number < COUNT; number += 2)
		client_close(&clients[number]);
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
		while (client.sent < length)
			if (client_send(&client, (size_t)(length - client.sent)) == 0)
				pause_ms(1);
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
		/* Enough that some of it is unsent when the reset comes. */
		for (int round = 0; round < (number % 5 == 0 ? 200 : 1); round++)
			client_send(&client, 65536);
		client_reset(&client);
	}
	REQUIRE(fixture, await_closed(fixture, 50));
	REQUIRE(fixture, stats_now(fixture).errors_reset > 0);
	REQUIRE(fixture, stats_now(fixture).errors_other == 0);
	REQUIRE(fixture, echo_once(fixture, 1, 1000));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool connects_and_closes(struct fixture *fixture)
{
	struct client client;
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < 2000; number++) {
		REQUIRE(fixture, client_open(&client, number, fixture->target));
		if (number % 4 == 1)
			REQUIRE(fixture, clients_echo(&client, 1, 10, 0, false, TIMEOUT_MS));
		if (number % 4 == 2)
			client_send(&client, 100);
		if (number % 4 == 3)
			client_reset(&client);
		else
			client_close(&client);
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
	for (uint32_t number = 0; number < COUNT; number++)
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	REQUIRE(fixture, echo_once(fixture, 1, 1000));
	for (int attempt = 0; attempt < 500 && stats_now(fixture).accepted < COUNT + 1; attempt++)
		pause_ms(10);
	REQUIRE(fixture, stats_now(fixture).accepted == COUNT + 1);
	/* A connection that says nothing must not hold a stop up to its deadline. */
	uint64_t start_ns = clock_now_ns();
	REQUIRE(fixture, server_stop(fixture, 60000, IB_STATUS_OK));
	REQUIRE(fixture, clock_now_ns() - start_ns < 30000000000u);
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_await_end(&clients[number], TIMEOUT_MS));
		client_close(&clients[number]);
	}
	return true;
}

/* Clients that say nothing, and others that reset at once, hold no place that an accept needs. */
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
	for (uint32_t number = 0; number < 2 * COUNT; number++)
		REQUIRE(fixture, echo_once(fixture, number, 100));
	struct ib_server_stats stats = stats_now(fixture);
	REQUIRE(fixture, stats.accepted >= 3 * COUNT);
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
	for (uint32_t number = 0; number < COUNT; number++)
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	REQUIRE(fixture, clients_echo(clients, COUNT, 1000, 0, false, TIMEOUT_MS));
	struct ib_server_stats stats = stats_now(fixture);
	REQUIRE(fixture, stats.worker_connections_min == 10 && stats.worker_connections_max == 10);
	for (uint32_t number = 0; number < COUNT; number++)
		client_close(&clients[number]);
	REQUIRE(fixture, await_closed(fixture, COUNT));
	REQUIRE(fixture, stats_now(fixture).worker_connections_max == 0);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static bool many_payloads(struct fixture *fixture)
{
	enum { COUNT = 64 };
	struct client clients[COUNT];
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < COUNT; number++)
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	REQUIRE(fixture, clients_echo(clients, COUNT, 2000, 37, true, TIMEOUT_MS));
	REQUIRE(fixture, clients_echo(clients, COUNT, 300000, 0, false, TIMEOUT_MS));
	for (uint32_t number = 0; number < COUNT; number++)
		client_close(&clients[number]);
	REQUIRE(fixture, await_closed(fixture, COUNT));
	struct ib_server_stats stats = stats_now(fixture);
	REQUIRE(fixture, stats.bytes_received == COUNT * 300000u && stats.bytes_sent == stats.bytes_received);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/*
 * 200 clients, and descriptors for a part of them. The server must neither spin nor stop listening: when some leave, and when
 * the limit is raised, the rest is served.
 */
static bool descriptors_exhausted(struct fixture *fixture)
{
	enum { COUNT = 200, SPARE = 40 };
	struct client clients[COUNT];
	/* io_uring: the table of sockets takes its size from the limit that it meets at the start. */
	REQUIRE(fixture, descriptor_limit_set(descriptor_numbers_end() + SPARE));
	bool started = server_start(fixture);
	descriptor_limit_set(0);
	REQUIRE(fixture, started);
	for (uint32_t number = 0; number < COUNT; number++)
		REQUIRE(fixture, client_create(&clients[number], number, fixture->target, 0));
	REQUIRE(fixture, descriptor_limit_set(descriptor_numbers_end() + SPARE));
	for (uint32_t number = 0; number < COUNT; number++)
		REQUIRE(fixture, client_connect(&clients[number], fixture->target));
	for (int attempt = 0; attempt < 500 && stats_now(fixture).errors_descriptors == 0; attempt++)
		pause_ms(10);
	struct ib_server_stats stats = stats_now(fixture);
	REQUIRE(fixture, stats.errors_descriptors > 0);
	REQUIRE(fixture, stats.accepted < COUNT && stats.accepted > 0);
	pause_ms(400);
	REQUIRE(fixture, stats_now(fixture).errors_descriptors - stats.errors_descriptors < 100); /* no busy loop */
	/* A few leave: as many others come in. */
	REQUIRE(fixture, clients_echo(clients, 10, 100, 0, false, TIMEOUT_MS));
	for (uint32_t number = 0; number < 10; number++)
		client_close(&clients[number]);
	descriptor_limit_set(0);
	for (uint32_t first = 10; first < COUNT; first += 10) {
		REQUIRE(fixture, clients_echo(clients + first, 10, 100, 0, false, TIMEOUT_MS));
		for (uint32_t number = first; number < first + 10; number++)
			client_close(&clients[number]);
	}
	REQUIRE(fixture, await_closed(fixture, COUNT));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* io_uring: more connections than one table of direct descriptors holds are spread over more workers than were asked for. */
static bool more_than_one_table(struct fixture *fixture)
{
	enum { COUNT = 300, SPARE = 60 };
	struct client clients[COUNT];
	fixture->options.connections_expected = COUNT;
	REQUIRE(fixture, descriptor_limit_set(descriptor_numbers_end() + SPARE));
	bool started = server_start(fixture);
	descriptor_limit_set(0);
	REQUIRE(fixture, started);
	if (strcmp(fixture->variant->backend, "io_uring") == 0)
		REQUIRE(fixture, stats_now(fixture).workers > 4);
	for (uint32_t number = 0; number < COUNT; number++)
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	REQUIRE(fixture, clients_echo(clients, COUNT, 1000, 0, false, TIMEOUT_MS));
	struct ib_server_stats stats = stats_now(fixture);
	REQUIRE(fixture, stats.accepted == COUNT && stats.errors_descriptors == 0);
	REQUIRE(fixture, stats.worker_connections_max - stats.worker_connections_min <= 1);
	for (uint32_t number = 0; number < COUNT; number++)
		client_close(&clients[number]);
	REQUIRE(fixture, await_closed(fixture, COUNT));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/*
 * TCP_NODELAY comes to a connection from the listener. Two small echoes in a row show it: without it the second waits for the
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
		delayed += clock_now_ns() - start_ns > 20000000u;
	}
	REQUIRE(fixture, delayed < 10); /* of 20: a busy machine delays some, Nagle's algorithm nearly all */
	client_close(&client);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

struct load {
	struct fixture *fixture;
	uint32_t first;
	atomic_bool end;
	uint64_t echoes;
};

/* 32 clients in lockstep until they are cut off or told to end. */
static void load_main(void *argument)
{
	enum { COUNT = 32 };
	struct load *load = argument;
	struct client clients[COUNT];
	for (uint32_t number = 0; number < COUNT; number++)
		if (!client_open(&clients[number], load->first + number, load->fixture->target))
			abort();
	for (uint64_t total = 64; !atomic_load(&load->end); total += 64) {
		if (!clients_echo(clients, COUNT, total, 0, false, 1000))
			break;
		load->echoes++;
	}
	for (uint32_t number = 0; number < COUNT; number++)
		client_close(&clients[number]);
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
		/* The load is on when every client has had an echo or two; how long that takes is the machine's affair. */
		for (int attempt = 0; attempt < TIMEOUT_MS / 10 && stats_now(fixture).requests < 3 * 32 * 3; attempt++)
			pause_ms(10);
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
 * A peer that does not read cannot be drained: the deadline holds, and the connection is reset. Several of them, because Linux may
 * have up to a third of a socket's send buffer free without waking who waits for it: the end of the stream wakes them, and one
 * of which little was received at that moment is drained after all.
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

/* What the server has received when it is told to stop is still echoed. */
static bool stop_echoes_first(struct fixture *fixture)
{
	enum { COUNT = 50 };
	struct client clients[COUNT];
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < COUNT; number++)
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
	REQUIRE(fixture, clients_echo(clients, COUNT, 10, 0, false, TIMEOUT_MS));
	for (uint32_t number = 0; number < COUNT; number++)
		REQUIRE(fixture, client_send(&clients[number], 30000) == 30000);
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
	for (fixture->target.last = 1; fixture->target.last <= 3; fixture->target.last++)
		REQUIRE(fixture, echo_once(fixture, fixture->target.last, 10000));
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

/* Starts on the port that was just left, often: nothing may be left behind. */
static bool started_often(struct fixture *fixture)
{
	for (int round = 0; round < 20; round++) {
		REQUIRE(fixture, server_start(fixture));
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

/* --------------------------------------------------------------------------------------------- table */

static const struct scenario {
	const char *name;
	scenario_function run;
	bool needs_workers; /* that own connections */
	bool needs_limit;   /* of descriptors */
} scenarios[] = {
    {"one-byte-at-a-time", one_byte_at_a_time, false, false},
    {"megabyte-at-once", megabyte_at_once, false, false},
    {"never-reads", never_reads, false, false},
    {"many-never-read", many_never_read, false, false},
    {"half-close", half_close, false, false},
    {"reset-in-message", reset_in_message, false, false},
    {"connects-and-closes", connects_and_closes, false, false},
    {"silent-connections", silent_connections, false, false},
    {"accept-stays-alive", accept_stays_alive, false, false},
    {"balanced", balanced, true, false},
    {"many-payloads", many_payloads, false, false},
    {"more-than-one-table", more_than_one_table, true, true},
    {"descriptors-exhausted", descriptors_exhausted, false, true},
    {"no-delay", no_delay, false, false},
    {"stop-under-load", stop_under_load, false, false},
    {"stop-deadline", stop_deadline, false, false},
    {"stop-echoes-first", stop_echoes_first, false, false},
    {"ipv6", ipv6, false, false},
    {"several-addresses", several_addresses, false, false},
    {"port-in-use", port_in_use, false, false},
    {"started-often", started_often, false, false},
    {"buffer-sizes", buffer_sizes, false, false},
};

/* Why the backend cannot run here; "" when it can. */
static const char *unavailable(const char *backend)
{
	static struct ib_probe probe;
	for (uint32_t index = 0; index < ib_backend_count(); index++) {
		probe = (struct ib_probe){.size = sizeof probe, .abi_version = IB_ABI_VERSION};
		ib_backend_probe(index, &probe);
		if (strcmp(probe.name, backend) == 0)
			return probe.available != 0 ? "" : probe.reason;
	}
	return "no such backend";
}

/* The kernel closes the files of a ring a moment after the ring itself. */
static bool descriptors_back(uint64_t before)
{
	for (int attempt = 0; attempt < 200 && descriptors_used() > before; attempt++)
		pause_ms(10);
	return descriptors_used() <= before;
}

/* Why the scenario says nothing of this variant; NULL when it does. */
static const char *unsuited(const struct variant *variant, const struct scenario *scenario)
{
	if (scenario->needs_workers && (variant->workers == 0 || strcmp(variant->backend, "iocp") == 0))
		return "has no workers with connections of their own";
	if (scenario->needs_limit && !descriptor_limit_set(0))
		return "this system limits no descriptors";
	return NULL;
}

static struct fixture fixture_make(const struct variant *variant)
{
	struct fixture fixture = {
	    .variant = variant,
	    .options = {.size = sizeof fixture.options,
	                .abi_version = IB_ABI_VERSION,
	                .host = "127.0.0.1",
	                .address_count = 1,
	                .workers = variant->workers,
	                .backlog = 1024,
	                .receive_buffer_bytes = BUFFER_BYTES,
	                .flags = variant->flags,
	                .stack_size_bytes = 256 * 1024},
	    .target = {.last = 1},
	};
	snprintf(fixture.options.backend, sizeof fixture.options.backend, "%s", variant->backend);
	return fixture;
}

/* What the system makes once per process and keeps (Windows loads its providers and pools threads) is made here, so that the
 * descriptors before and after a scenario show what it left behind. */
static void warm_up(const struct variant *variant)
{
	struct fixture fixture = fixture_make(variant);
	if (server_start(&fixture)) {
		echo_once(&fixture, 1, 100);
		ib_server_stop(fixture.server, 1000, NULL, &fixture.error);
	}
}

static bool scenario_run(const struct variant *variant, const struct scenario *scenario)
{
	struct fixture fixture = fixture_make(variant);
	uint64_t before = descriptors_used();
	uint64_t start_ns = clock_now_ns();
	bool right = scenario->run(&fixture);
	descriptor_limit_set(0);
	if (fixture.server != NULL)
		ib_server_stop(fixture.server, 0, NULL, &fixture.error);
	if (right && !descriptors_back(before))
		right = failed(&fixture, "%llu descriptors before, %llu after", (unsigned long long)before,
		               (unsigned long long)descriptors_used());
	printf("%s %s %s (%llu ms)%s%s\n", right ? "ok  " : "FAIL", variant->name, scenario->name,
	       (unsigned long long)((clock_now_ns() - start_ns) / 1000000u), right ? "" : ": ", fixture.failure);
	fflush(stdout);
	return right;
}

static int usage(const char *program)
{
	fprintf(stderr, "usage: %s [--backend NAME] [--scenario NAME]\n", program);
	return 2;
}

int main(int argc, char **argv)
{
	const char *only_backend = NULL;
	const char *only_scenario = NULL;
	for (int index = 1; index < argc; index += 2) {
		if (index + 1 == argc)
			return usage(argv[0]);
		if (strcmp(argv[index], "--backend") == 0)
			only_backend = argv[index + 1];
		else if (strcmp(argv[index], "--scenario") == 0)
			only_scenario = argv[index + 1];
		else
			return usage(argv[0]);
	}
	unsigned passed = 0, wrong = 0, skipped = 0;
	for (size_t row = 0; row < sizeof variants / sizeof variants[0]; row++) {
		const struct variant *variant = &variants[row];
		if (only_backend != NULL && strcmp(only_backend, variant->name) != 0 &&
		    strcmp(only_backend, variant->backend) != 0)
			continue;
		const char *reason = unavailable(variant->backend);
		if (reason[0] == '\0')
			warm_up(variant);
		for (size_t index = 0; index < sizeof scenarios / sizeof scenarios[0]; index++) {
			if (only_scenario != NULL && strcmp(only_scenario, scenarios[index].name) != 0)
				continue;
			const char *why = unsuited(variant, &scenarios[index]);
			if (why == NULL)
				why = reason;
			if (why[0] != '\0') {
				printf("skip %s %s: %s\n", variant->name, scenarios[index].name, why);
				skipped++;
			} else if (scenario_run(variant, &scenarios[index])) {
				passed++;
			} else {
				wrong++;
			}
		}
	}
	printf("%u passed, %u failed, %u skipped\n", passed, wrong, skipped);
	return wrong == 0 && passed + skipped > 0 ? 0 : 1;
}
