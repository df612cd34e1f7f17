/*
 * driver_fixture.c - the fixture of the driver's scenarios and their common steps: start, stop, wait, echo once.
 */
#include <stdarg.h>
#include <stdio.h>

#include "driver.h"

#define BUFFER_BYTES 16384u

struct fixture fixture_make(const struct variant *variant)
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

bool failed(struct fixture *fixture, const char *format, ...)
{
	if (fixture->failure[0] == '\0') {
		va_list arguments;
		va_start(arguments, format);
		vsnprintf(fixture->failure, sizeof fixture->failure, format, arguments);
		va_end(arguments);
	}
	return false;
}

bool server_start(struct fixture *fixture)
{
	uint32_t port;
	if (ib_server_start(&fixture->options, &fixture->server, &port, &fixture->error) != IB_STATUS_OK) {
		return failed(fixture, "start: %s", fixture->error.message);
	}
	fixture->target.port = port;
	return true;
}

struct ib_server_stats stats_now(struct fixture *fixture)
{
	struct ib_server_stats stats = {.size = sizeof stats, .abi_version = IB_ABI_VERSION};
	ib_server_stats(fixture->server, &stats, NULL);
	return stats;
}

bool server_stop(struct fixture *fixture, uint32_t deadline_ms, int32_t expected)
{
	struct ib_server_stats stats = {.size = sizeof stats, .abi_version = IB_ABI_VERSION};
	uint64_t start_ns = clock_now_ns();
	int32_t status = ib_server_stop(fixture->server, deadline_ms, &stats, &fixture->error);
	uint64_t took_ms = (clock_now_ns() - start_ns) / NS_PER_MS;
	fixture->server = NULL;
	if (status != expected) {
		return failed(fixture, "stop gave %d, expected %d: %s", status, expected, fixture->error.message);
	}
	if (took_ms > deadline_ms + 10000u) {
		return failed(fixture, "stop took %llu ms", (unsigned long long)took_ms);
	}
	if (stats.accepted != stats.closed) {
		return failed(fixture, "accepted %llu, closed %llu", (unsigned long long)stats.accepted,
		              (unsigned long long)stats.closed);
	}
	if (stats.threads != 0) {
		return failed(fixture, "%u threads left", stats.threads);
	}
	if (stats.operations_posted != stats.operations_completed) {
		return failed(fixture, "posted %llu, completed %llu", (unsigned long long)stats.operations_posted,
		              (unsigned long long)stats.operations_completed);
	}
	return true;
}

void pause_ms(uint32_t duration_ms)
{
	clock_sleep_ns((uint64_t)duration_ms * NS_PER_MS);
}

bool await_closed(struct fixture *fixture, uint64_t count)
{
	for (int attempt = 0; attempt < TIMEOUT_MS / 10; attempt++) {
		struct ib_server_stats stats = stats_now(fixture);
		if (stats.closed == stats.accepted && stats.closed >= count) {
			return true;
		}
		pause_ms(10);
	}
	struct ib_server_stats stats = stats_now(fixture);
	return failed(fixture, "accepted %llu, closed %llu, expected %llu", (unsigned long long)stats.accepted,
	              (unsigned long long)stats.closed, (unsigned long long)count);
}

bool echo_once(struct fixture *fixture, uint32_t number, uint64_t bytes)
{
	struct client client;
	REQUIRE(fixture, client_open(&client, number, fixture->target));
	bool right = clients_echo(&client, 1, bytes, 0, false, TIMEOUT_MS);
	client_close(&client);
	if (!right) {
		return failed(fixture, "echo of %llu bytes: %llu came, code %d", (unsigned long long)bytes,
		              (unsigned long long)client.received, client.code);
	}
	return true;
}

void send_until_stuck(struct client *clients, uint32_t count)
{
	for (int idle = 0; idle < 40;) {
		bool sent = false;
		for (uint32_t number = 0; number < count; number++) {
			sent = client_send(&clients[number], 65536) > 0 || sent;
		}
		idle = sent ? 0 : idle + 1;
		if (idle > 0) {
			pause_ms(10);
		}
	}
}

/* Waits, because the kernel closes the files of a ring a moment after the ring itself. */
static bool descriptors_back(uint64_t before)
{
	for (int attempt = 0; attempt < 200 && descriptors_used() > before; attempt++) {
		pause_ms(10);
	}
	return descriptors_used() <= before;
}

bool scenario_run(const struct variant *variant, const struct scenario *scenario)
{
	struct fixture fixture = fixture_make(variant);
	uint64_t before = descriptors_used();
	uint64_t start_ns = clock_now_ns();
	bool right = scenario->run(&fixture);
	descriptor_limit_set(0);
	if (fixture.server != NULL) {
		ib_server_stop(fixture.server, 0, NULL, &fixture.error);
	}
	if (right && !descriptors_back(before)) {
		right = failed(&fixture, "%llu descriptors before, %llu after", (unsigned long long)before,
		               (unsigned long long)descriptors_used());
	}
	printf("%s %s %s (%llu ms)%s%s\n", right ? "ok  " : "FAIL", variant->name, scenario->name,
	       (unsigned long long)((clock_now_ns() - start_ns) / NS_PER_MS), right ? "" : ": ", fixture.failure);
	fflush(stdout);
	return right;
}

void warm_up(const struct variant *variant)
{
	struct fixture fixture = fixture_make(variant);
	if (server_start(&fixture)) {
		echo_once(&fixture, 1, 100);
		ib_server_stop(fixture.server, 1000, NULL, &fixture.error);
	}
}
