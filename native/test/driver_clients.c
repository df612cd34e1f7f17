/*
 * driver_clients.c - small clients of the driver on Linux: plain non-blocking sockets that check every echoed byte.
 */
#include "driver_clients.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_CHUNK_MAX 65536

/* Differs by client and by offset, and repeats with no period that could be a buffer size. */
static uint8_t payload_byte(uint32_t number, uint64_t offset)
{
	uint64_t mixed = (offset + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)number * 0xff51afd7ed558ccdu;
	return (uint8_t)(mixed >> 32 ^ mixed >> 56);
}

static socklen_t target_address(struct target target, struct sockaddr_storage *out)
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
	client->socket = socket(target.last == 0 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->socket < 0) {
		return false;
	}
	int one = 1;
	setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (receive_buffer_bytes > 0) {
		setsockopt(client->socket, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
	}
	return true;
}

bool client_connect(struct client *client, struct target target)
{
	struct sockaddr_storage address;
	socklen_t length = target_address(target, &address);
	return connect(client->socket, (struct sockaddr *)&address, length) == 0 || errno == EINPROGRESS;
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
	ssize_t sent = send(client->socket, bytes, length, MSG_NOSIGNAL);
	if (sent >= 0) {
		client->sent += (uint64_t)sent;
		return sent;
	}
	/* ENOTCONN: still connecting. */
	if (errno == EAGAIN || errno == EINTR || errno == ENOTCONN) {
		return 0;
	}
	client->code = errno;
	return -1;
}

ptrdiff_t client_receive(struct client *client)
{
	uint8_t bytes[SEND_CHUNK_MAX];
	ssize_t received = recv(client->socket, bytes, sizeof bytes, 0);
	if (received < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ENOTCONN) {
			return 0;
		}
		client->code = errno;
		return -1;
	}
	if (received == 0) {
		client->ended = true;
		return -1;
	}
	for (ssize_t index = 0; index < received; index++) {
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
			polls[open].events = (short)(POLLIN | (sending ? POLLOUT : 0));
			open++;
		}
		if (!right || open == 0) {
			break;
		}
		if (!progress && poll(polls, open, timeout_ms) == 0) {
			right = false;
		}
	}
	free(polls);
	return right;
}

bool client_await_end(struct client *client, int timeout_ms)
{
	for (;;) {
		struct pollfd wait = {.fd = client->socket, .events = POLLIN};
		if (poll(&wait, 1, timeout_ms) == 0) {
			return false;
		}
		if (client_receive(client) < 0) {
			return client->ended;
		}
	}
}

void client_half_close(struct client *client)
{
	shutdown(client->socket, SHUT_WR);
}

void client_close(struct client *client)
{
	if (client->socket >= 0) {
		close(client->socket);
	}
	client->socket = -1;
}

void client_reset(struct client *client)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	setsockopt(client->socket, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	client_close(client);
}

uint64_t descriptors_used(void)
{
	struct ib_process_usage usage = {.size = sizeof usage, .abi_version = IB_ABI_VERSION};
	ib_process_usage(0, &usage, NULL);
	return usage.descriptors;
}

bool descriptor_limit_set(uint64_t soft)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
		return false;
	}
	limit.rlim_cur = soft == 0 ? limit.rlim_max : soft;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

uint64_t descriptor_numbers_end(void)
{
	int next = dup(0);
	close(next);
	return (uint64_t)next;
}
