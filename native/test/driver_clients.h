/*
 * driver_clients.h - small clients of the driver: plain non-blocking sockets, whose every echoed byte is checked.
 */
#ifndef DRIVER_CLIENTS_H
#define DRIVER_CLIENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/platform.h"

struct client {
	socket_handle socket;
	uint32_t number; /* gives the payload */
	uint64_t sent;
	uint64_t received; /* and right */
	bool ended;        /* the server closed its half */
	int code;          /* the system's code that ended it, 0: none; -1: a wrong byte */
};

/* Address that clients connect to: IPv4 loopback address 127.0.0.`last`, or ::1 where last is 0. */
struct target {
	uint32_t last;
	uint32_t port;
};

/* A non-blocking socket that is not connected yet; false with errno. receive_buffer_bytes 0: the system's. */
bool client_create(struct client *client, uint32_t number, struct target target, int receive_buffer_bytes);
/* Starts to connect. The connection is there when the first echo is. */
bool client_connect(struct client *client, struct target target);
bool client_open(struct client *client, uint32_t number, struct target target);
/* Sends up to `length` bytes of the payload at once. Returns what was sent, 0 where it would block, -1 on an error. */
ptrdiff_t client_send(struct client *client, size_t length);
/* Reads and checks what is there. Returns bytes read, 0 where there are none, -1 at the end (ended or code tell which). */
ptrdiff_t client_receive(struct client *client);
/*
 * Runs clients until each has sent and got back `total` bytes, `chunk` at a time (0: as much as fits). With `lockstep` a chunk
 * is sent only when all before is echoed. False when one failed, or after timeout_ms without any progress.
 */
bool clients_echo(struct client *clients, size_t count, uint64_t total, size_t chunk, bool lockstep, int timeout_ms);
/* Waits for the end of the stream. */
bool client_await_end(struct client *client, int timeout_ms);
void client_half_close(struct client *client);
void client_close(struct client *client);
void client_reset(struct client *client);

/* A number that grows when descriptors (or handles) are left open. */
uint64_t descriptors_used(void);
/* Limits the descriptors of this process; 0: as many as it may have. False where the system has no such limit. */
bool descriptor_limit_set(uint64_t soft);
/* The first number that no descriptor has: the limit counts numbers, not descriptors. */
uint64_t descriptor_numbers_end(void);

#endif /* DRIVER_CLIENTS_H */
