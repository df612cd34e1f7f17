/*
 * driver_http.c - scenarios of servers that speak HTTP.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "driver_system.h"

#define BODY_BYTES 13u
#define REPLY_BYTES_MAX 256u

#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n" HOST "\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"
#define CHUNKED "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
#define LAST "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"

/* The reply to GET, as a server of ours gives it. */
static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
#define REPLY_BYTES (sizeof reply - 1)

static bool http_start(struct fixture *fixture, uint32_t body_bytes)
{
	fixture->options.protocol = IB_PROTOCOL_HTTP;
	fixture->options.body_size_bytes = body_bytes;
	return server_start(fixture);
}

static ptrdiff_t send_some(struct client *client, const char *bytes, size_t length)
{
	return system_send(client->socket, (const uint8_t *)bytes, length, &client->code);
}

static ptrdiff_t receive_some(struct client *client, char *bytes, size_t length)
{
	return system_receive(client->socket, (uint8_t *)bytes, length, &client->code, &client->ended);
}

/* Sends the text in pieces, and receives until `expected` bytes have come or, with SIZE_MAX, to the end. Returns how many came. */
static size_t exchange(struct client *client, const char *text, size_t piece, char *back, size_t expected, size_t room)
{
	size_t sent = 0, received = 0, length = strlen(text);
	for (int idle = 0; idle < TIMEOUT_MS && received < expected; idle++) {
		size_t left = length - sent;
		ptrdiff_t count = left == 0 ? 0 : send_some(client, text + sent, left < piece ? left : piece);
		sent += count > 0 ? (size_t)count : 0;
		ptrdiff_t more = receive_some(client, back + received, room - received);
		if (more < 0) {
			break;
		}
		received += (size_t)more;
		if (count > 0 || more > 0) {
			idle = 0;
		} else {
			pause_ms(1);
		}
	}
	return received;
}

static char *repeated(const char *text, size_t count)
{
	size_t length = strlen(text);
	char *all = malloc(length * count + 1);
	for (size_t index = 0; index < count; index++) {
		memcpy(all + index * length, text, length);
	}
	all[length * count] = '\0';
	return all;
}

/* Whether the bytes are so many right replies and nothing else. */
static bool are_replies(const char *bytes, size_t length, size_t count)
{
	for (size_t index = 0; index < count && length == count * REPLY_BYTES; index++) {
		if (memcmp(bytes + index * REPLY_BYTES, reply, REPLY_BYTES) != 0) {
			return false;
		}
	}
	return length == count * REPLY_BYTES;
}

/* Requests of every form, pipelined, in pieces of several sizes, are answered in full and counted. */
static bool http_pipelined(struct fixture *fixture)
{
	enum { COUNT = 900 };
	static const char *const forms[] = {GET, POST, CHUNKED, GET POST CHUNKED};
	static const size_t pieces[] = {11, 1000, 60000};
	uint64_t requests = 0;
	REQUIRE(fixture, http_start(fixture, BODY_BYTES));
	char *back = malloc(3 * COUNT * REPLY_BYTES + 1);
	for (size_t index = 0; index < 12; index++) {
		struct client client;
		size_t count = index % 4 == 3 ? 3 * COUNT : COUNT;
		size_t piece = pieces[index / 4];
		if (piece < 100) {
			count /= 10;
		}
		char *text = repeated(forms[index % 4], index % 4 == 3 ? count / 3 : count);
		REQUIRE(fixture, client_open(&client, 1, fixture->target));
		size_t length = exchange(&client, text, piece, back, count * REPLY_BYTES, 3 * COUNT * REPLY_BYTES + 1);
		free(text);
		REQUIRE(fixture, are_replies(back, length, count));
		client_close(&client);
		requests += count;
	}
	free(back);
	REQUIRE(fixture, await_closed(fixture, 12));
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.requests == requests);
	REQUIRE(fixture, stats.rejected == 0);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/* The last request of a connection and what is not a request: a reply that begins so, then the end of the stream. */
static bool http_ends(struct fixture *fixture)
{
	static const char *const cases[][2] = {
	    {LAST, "HTTP/1.1 200 OK\r\n"},
	    {LAST GET GET, "HTTP/1.1 200 OK\r\n"},
	    {"GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
	    {"HEAD / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
	    {"no request\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
	    {"GET / HTTP/1.1\r\n\r\n" GET, "HTTP/1.1 400 Bad Request\r\n"},
	};
	REQUIRE(fixture, http_start(fixture, BODY_BYTES));
	for (size_t index = 0; index < sizeof cases / sizeof cases[0]; index++) {
		struct client client;
		char back[REPLY_BYTES_MAX] = "";
		REQUIRE(fixture, client_open(&client, 1, fixture->target));
		size_t length = exchange(&client, cases[index][0], 1000, back, SIZE_MAX, sizeof back - 1);
		REQUIRE(fixture, length > 0 && client.ended);
		REQUIRE(fixture, strncmp(back, cases[index][1], strlen(cases[index][1])) == 0);
		REQUIRE(fixture, strstr(back, "Connection: close\r\n") != NULL && strstr(back + 1, "HTTP/1.1") == NULL);
		client_close(&client);
	}
	/* What a client still sends behind it does not turn the reply into a reset. */
	struct client client;
	char back[REPLY_BYTES_MAX] = "";
	char *large = repeated("GET / HTTP/1.1\r\n" HOST "Name: value", 4000);
	REQUIRE(fixture, client_open(&client, 1, fixture->target));
	size_t length = exchange(&client, large + strlen("GET / HTTP/1.1\r\n"), 1000, back, SIZE_MAX, sizeof back - 1);
	free(large);
	REQUIRE(fixture, length > 0 && client.ended && strncmp(back, "HTTP/1.1 400 ", 13) == 0);
	client_close(&client);
	REQUIRE(fixture, await_closed(fixture, 7));
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.requests == 4 && stats.rejected == 3);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

/*
 * Clients that send requests and do not read. Some read everything in the end, some reset, and some are left to the stop: several,
 * because one may still be drained (see stop_deadline).
 */
static bool http_unread(struct fixture *fixture)
{
	enum { CLIENTS = 15, BODY = 2000 };
	struct client clients[CLIENTS];
	char *text = repeated(GET, 2000);
	size_t sent[CLIENTS] = {0};
	REQUIRE(fixture, http_start(fixture, BODY));
	for (uint32_t number = 0; number < CLIENTS; number++) {
		REQUIRE(fixture, client_create(&clients[number], number, fixture->target, 65536));
		REQUIRE(fixture, client_connect(&clients[number], fixture->target));
	}
	for (int idle = 0; idle < 30;) {
		bool moved = false;
		for (uint32_t number = 0; number < CLIENTS; number++) {
			size_t at = sent[number] % strlen(text);
			ptrdiff_t count = send_some(&clients[number], text + at, strlen(text) - at);
			REQUIRE(fixture, count >= 0);
			sent[number] += (size_t)count;
			moved = moved || count > 0;
		}
		idle = moved ? 0 : idle + 1;
		if (!moved) {
			pause_ms(10);
		}
	}
	free(text);
	char back[65536];
	for (uint32_t number = 0; number < CLIENTS; number++) {
		if (number % 3 == 0) {
			client_half_close(&clients[number]);
			uint64_t received = 0;
			ptrdiff_t more;
			for (int idle = 0; (more = receive_some(&clients[number], back, sizeof back)) >= 0 && idle < TIMEOUT_MS;
			     idle++) {
				received += (uint64_t)more;
				if (more > 0) {
					idle = 0;
				} else {
					pause_ms(1);
				}
			}
			REQUIRE(fixture, clients[number].ended);
			REQUIRE(fixture, received >= sent[number] / strlen(GET) * BODY);
			client_close(&clients[number]);
		} else if (number % 3 == 1) {
			client_reset(&clients[number]);
		}
	}
	bool right = server_stop(fixture, 300, IB_STATUS_DEADLINE);
	for (uint32_t number = 2; number < CLIENTS; number += 3) {
		client_close(&clients[number]);
	}
	return right;
}

/* Connections that end within a request, before and at a stop. */
static bool http_cut(struct fixture *fixture)
{
	enum { CLIENTS = 30 };
	struct client clients[CLIENTS];
	REQUIRE(fixture, http_start(fixture, BODY_BYTES));
	for (uint32_t number = 0; number < CLIENTS; number++) {
		static const char text[] = GET CHUNKED;
		char back[4 * REPLY_BYTES_MAX];
		size_t length = sizeof text - 1 - number;
		char cut[sizeof text];
		memcpy(cut, text, length);
		cut[length] = '\0';
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
		size_t expected = number == 0 ? 2 * REPLY_BYTES : REPLY_BYTES;
		REQUIRE(fixture, exchange(&clients[number], cut, 20, back, expected, sizeof back) == expected);
		if (number % 3 == 0) {
			client_reset(&clients[number]);
		} else if (number % 3 == 1) {
			client_half_close(&clients[number]);
		}
	}
	bool right = server_stop(fixture, 5000, IB_STATUS_OK);
	for (uint32_t number = 0; number < CLIENTS; number++) {
		if (number % 3 != 0) {
			client_close(&clients[number]);
		}
	}
	return right;
}

/* Work and waits of HTTP requests, one after another on a connection; some clients leave while theirs wait. */
static bool http_served(struct fixture *fixture)
{
	enum { CLIENTS = 20, COUNT = 5 };
	struct client clients[CLIENTS];
	fixture->options.work_ns = 20 * NS_PER_US;
	fixture->options.wait_ns = 3 * NS_PER_MS;
	REQUIRE(fixture, http_start(fixture, BODY_BYTES));
	char *text = repeated(GET, COUNT);
	uint64_t start_ns = clock_now_ns();
	for (uint32_t number = 0; number < CLIENTS; number++) {
		REQUIRE(fixture, client_open(&clients[number], number, fixture->target));
		for (size_t sent = 0; sent < strlen(text);) {
			ptrdiff_t count = send_some(&clients[number], text + sent, strlen(text) - sent);
			REQUIRE(fixture, count >= 0);
			sent += (size_t)count;
		}
	}
	free(text);
	for (uint32_t number = 0; number < CLIENTS; number++) {
		char back[COUNT * REPLY_BYTES_MAX];
		if (number % 4 == 3) {
			client_reset(&clients[number]);
			continue;
		}
		size_t length = exchange(&clients[number], "", 1, back, COUNT * REPLY_BYTES, sizeof back);
		REQUIRE(fixture, are_replies(back, length, COUNT));
		client_close(&clients[number]);
	}
	REQUIRE(fixture, clock_now_ns() - start_ns >= COUNT * fixture->options.wait_ns);
	REQUIRE(fixture, await_closed(fixture, CLIENTS));
	struct ib_server_stats stats;
	EVENTUALLY(fixture, stats, stats.served >= CLIENTS / 4 * 3 * COUNT && stats.requests == stats.served);
	REQUIRE(fixture, stats.served + stats.dropped <= CLIENTS * COUNT);
	return server_stop(fixture, 5000, IB_STATUS_OK);
}

static const struct scenario scenarios[] = {
    {.name = "http-pipelined", .run = http_pipelined}, {.name = "http-ends", .run = http_ends},
    {.name = "http-unread", .run = http_unread},       {.name = "http-cut", .run = http_cut},
    {.name = "http-served", .run = http_served},
};
const struct scenario_list http_scenarios = {scenarios, sizeof scenarios / sizeof scenarios[0]};
