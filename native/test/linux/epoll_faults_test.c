/*
 * epoll_faults_test.c - the epoll server when epoll_ctl fails. No connection stays open without being served, and a listener is tried
 * again. The linker replaces epoll_ctl with __wrap_epoll_ctl.
 */
#include <errno.h>
#include <sys/epoll.h>

#include "driver.h"
#include "server/backend.h"

/* Which changes of a registration fail. */
enum failing { FAIL_NONE, FAIL_TO_WRITING, FAIL_TO_READING, FAIL_LISTENER };
static _Atomic enum failing failing;
static _Atomic uint32_t failed_calls;

int __real_epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event);

int __wrap_epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event)
{
	bool fails = false;
	if (operation == EPOLL_CTL_MOD) {
		bool is_connection = event->data.u64 >> 32 == 0; /* a listener has a kind above its descriptor */
		switch (failing) {
		case FAIL_TO_WRITING:
			fails = is_connection && event->events == EPOLLOUT;
			break;
		case FAIL_TO_READING:
			fails = is_connection && (event->events & EPOLLIN) != 0;
			break;
		case FAIL_LISTENER:
			fails = !is_connection && event->events == EPOLLIN && failed_calls < 3;
			break;
		case FAIL_NONE:
			break;
		}
	}
	if (!fails) {
		return __real_epoll_ctl(epoll, operation, descriptor, event);
	}
	failed_calls++;
	errno = ENOMEM;
	return -1;
}

/* The client of a connection that the server gave up sees the end, and the server has counted the reason. */
static bool given_up(struct fixture *fixture, struct client *client)
{
	REQUIRE(fixture, client_await_end(client, TIMEOUT_MS) || client->code > 0);
	REQUIRE(fixture, await_closed(fixture, 1));
	REQUIRE(fixture, stats_now(fixture).errors_memory == 1 && failed_calls == 1);
	client_close(client);
	failing = FAIL_NONE;
	REQUIRE(fixture, echo_once(fixture, 2, 100000));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* A peer that does not read, while the server cannot register for the moment it does. */
static bool to_writing(struct fixture *fixture)
{
	struct client client;
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, client_create(&client, 1, fixture->target, 65536));
	REQUIRE(fixture, client_connect(&client, fixture->target));
	failing = FAIL_TO_WRITING;
	/* Bounded, because a server that keeps reading bytes it cannot send back would take all of them. */
	for (int attempt = 0; attempt < TIMEOUT_MS && failed_calls == 0; attempt++) {
		if (client_send(&client, 65536) == 0) {
			pause_ms(1);
		}
	}
	return given_up(fixture, &client);
}

/* The peer reads again, but the server cannot register for the bytes it sends. */
static bool to_reading(struct fixture *fixture)
{
	struct client client;
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, client_create(&client, 1, fixture->target, 65536));
	REQUIRE(fixture, client_connect(&client, fixture->target));
	send_until_stuck(&client, 1);
	failing = FAIL_TO_READING;
	return given_up(fixture, &client);
}

/* Edge-triggered: a connection that has had its turn cannot be queued after the others. */
static bool to_behind(struct fixture *fixture)
{
	struct client client;
	fixture->options.flags = IB_SERVER_EDGE_TRIGGERED;
	fixture->options.receive_buffer_bytes = 1024;
	REQUIRE(fixture, server_start(fixture));
	REQUIRE(fixture, client_open(&client, 1, fixture->target));
	REQUIRE(fixture, clients_echo(&client, 1, 10, 0, false, TIMEOUT_MS));
	failing = FAIL_TO_READING;
	while (client_send(&client, 65536) > 0 && failed_calls == 0) {
		continue;
	}
	return given_up(fixture, &client);
}

/* Descriptors were exhausted, and the listener cannot be watched again at the first attempts. */
static bool listener(struct fixture *fixture)
{
	enum { COUNT = 20 };
	struct client clients[COUNT];
	REQUIRE(fixture, server_start(fixture));
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_create(&clients[number], number, fixture->target, 0));
	}
	REQUIRE(fixture, descriptor_limit_set(descriptor_numbers_end() + COUNT / 2));
	failing = FAIL_LISTENER;
	for (uint32_t number = 0; number < COUNT; number++) {
		REQUIRE(fixture, client_connect(&clients[number], fixture->target));
	}
	for (int attempt = 0; attempt < TIMEOUT_MS / 10 && failed_calls < 3; attempt++) {
		pause_ms(10);
	}
	descriptor_limit_set(0);
	REQUIRE(fixture, failed_calls == 3);
	REQUIRE(fixture, clients_echo(clients, COUNT, 100, 0, false, TIMEOUT_MS));
	for (uint32_t number = 0; number < COUNT; number++) {
		client_close(&clients[number]);
	}
	REQUIRE(fixture, await_closed(fixture, COUNT));
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

int main(void)
{
	static const struct variant variant = {.name = "epoll", .backend = "epoll", .workers = 1};
	static const struct scenario scenarios[] = {
	    {.name = "to-writing", .run = to_writing},
	    {.name = "to-reading", .run = to_reading},
	    {.name = "to-behind", .run = to_behind},
	    {.name = "listener", .run = listener, .needs_limit = true},
	};
	bool right = true;
	for (size_t index = 0; index < sizeof scenarios / sizeof scenarios[0]; index++) {
		failing = FAIL_NONE;
		failed_calls = 0;
		right = scenario_run(&variant, &scenarios[index]) && right;
	}
	return right ? 0 : 1;
}
