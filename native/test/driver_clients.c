/*
 * driver_clients.c - see driver_clients.h.
 */
#include "driver_clients.h"

#include <stdlib.h>
#include <string.h>

#include "driver_system.h"

#define SEND_CHUNK_MAX 65536

/* Differs by client and by offset, and repeats with no period that could be a buffer size. */
static uint8_t payload_byte(uint32_t number, uint64_t offset)
{
	uint64_t mixed = (offset + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)number * 0xff51afd7ed558ccdu;
	return (uint8_t)(mixed >> 32 ^ mixed >> 56);
}

static int target_address(struct target target, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof *out);
	if (target.last == 0) {
		struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)out;
		ipv6->sin6_family = AF_INET6;
		ipv6->sin6_port = htons((uint16_t)target.port);
		ipv6->sin6_addr = in6addr_loopback;
		return sizeof *ipv6;
	}
	struct sockaddr_in *ipv4 = (struct sockaddr_in *)out;
	ipv4->sin_family = AF_INET;
	ipv4->sin_port = htons((uint16_t)target.port);
	ipv4->sin_addr.s_addr = htonl(0x7f000000u + target.last);
	return sizeof *ipv4;
}

bool client_create(struct client *client, uint32_t number, struct target target, int receive_buffer_bytes)
{
	memset(client, 0, sizeof *client);
	client->number = number;
	client->socket = system_socket(target.last == 0 ? AF_INET6 : AF_INET);
	if (client->socket == SOCKET_NONE) {
		return false;
	}
	int one = 1;
	/* The cast is for Windows, whose option is a char pointer. */
	setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&one, sizeof one);
	if (receive_buffer_bytes > 0) {
		setsockopt(client->socket, SOL_SOCKET, SO_RCVBUF, (const char *)&receive_buffer_bytes,
		           sizeof receive_buffer_bytes);
	}
	return true;
}

bool client_connect(struct client *client, struct target target)
{
	struct sockaddr_storage address;
	int length = target_address(target, &address);
	return system_connect(client->socket, (struct sockaddr *)&address, length);
}

bool client_open(struct client *client, uint32_t number, struct target target)
{
	return client_create(client, number, target, 0) && client_connect(client, target);
}

ptrdiff_t client_send(struct client *client, size_t length)
{
	uint8_t bytes[SEND_CHUNK_MAX];
	if (length > sizeof bytes) {
		length = sizeof bytes;
	}
	for (size_t index = 0; index < length; index++) {
		bytes[index] = payload_byte(client->number, client->sent + index);
	}
	ptrdiff_t sent = system_send(client->socket, bytes, length, &client->code);
	client->sent += sent > 0 ? (uint64_t)sent : 0;
	return sent;
}

ptrdiff_t client_receive(struct client *client)
{
	uint8_t bytes[SEND_CHUNK_MAX];
	ptrdiff_t received = system_receive(client->socket, bytes, sizeof bytes, &client->code, &client->ended);
	for (ptrdiff_t index = 0; index < received; index++) {
		if (bytes[index] != payload_byte(client->number, client->received)) {
			client->code = -1;
			return -1;
		}
		client->received++;
	}
	return received;
}

static size_t sendable(const struct client *client, uint64_t total, size_t chunk, bool lockstep)
{
	if (lockstep && client->sent != client->received) {
		return 0;
	}
	uint64_t left = total - client->sent;
	return chunk != 0 && left > chunk ? chunk : (size_t)left;
}

/* One turn of one client. False if it failed. Sets *progress if bytes moved. */
static bool client_turn(struct client *client, uint64_t total, size_t chunk, bool lockstep, bool *progress)
{
	if (client->received == total) {
		return true;
	}
	size_t length = sendable(client, total, chunk, lockstep);
	ptrdiff_t sent = length > 0 ? client_send(client, length) : 0;
	ptrdiff_t received = client_receive(client);
	*progress |= sent > 0 || received > 0;
	return sent >= 0 && received >= 0;
}

bool clients_echo(struct client *clients, size_t count, uint64_t total, size_t chunk, bool lockstep, int timeout_ms)
{
	struct pollfd *polls = calloc(count, sizeof *polls);
	bool right = polls != NULL;
	while (right) {
		bool progress = false;
		size_t open = 0;
		for (size_t index = 0; right && index < count; index++) {
			struct client *client = &clients[index];
			right = client_turn(client, total, chunk, lockstep, &progress);
			if (client->received == total) {
				continue;
			}
			bool sending = sendable(client, total, chunk, lockstep) > 0;
			polls[open].fd = client->socket;
			polls[open].events = (short)(POLLRDNORM | (sending ? POLLWRNORM : 0));
			open++;
		}
		if (!right || open == 0) {
			break;
		}
		if (!progress && system_poll(polls, open, timeout_ms) == 0) {
			right = false;
		}
	}
	free(polls);
	return right;
}

bool client_await_end(struct client *client, int timeout_ms)
{
	for (;;) {
		struct pollfd wait = {.fd = client->socket, .events = POLLRDNORM};
		if (system_poll(&wait, 1, timeout_ms) == 0) {
			return false;
		}
		if (client_receive(client) < 0) {
			return client->ended;
		}
	}
}

void client_half_close(struct client *client)
{
	socket_shutdown_send(client->socket);
}

void client_close(struct client *client)
{
	if (client->socket != SOCKET_NONE) {
		socket_close(client->socket);
	}
	client->socket = SOCKET_NONE;
}

void client_reset(struct client *client)
{
	socket_close_reset(client->socket);
	client->socket = SOCKET_NONE;
}
