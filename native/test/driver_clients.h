/*
 * driver_clients.h - small clients of the driver: plain non-blocking sockets that check every echoed byte.
 */
#ifndef DRIVER_CLIENTS_H
#define DRIVER_CLIENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/platform.h"

struct client {
	socket_handle socket;
	uint32_t number; /* selects the payload */
	uint64_t sent;
	uint64_t received; /* received and right */
	bool ended;        /* the server closed its half */
	int code;          /* the system's code that ended it, 0: none; -1: a wrong byte */
};

/* The address that clients connect to: 127.0.0.`last`, or ::1 if last is 0. */
struct target {
	uint32_t last;
	uint32_t port;
};

/* Opens a non-blocking socket without connecting it. False on failure, with errno. receive_buffer_bytes 0: the system's default. */
bool client_create(struct client *client, uint32_t number, struct target target, int receive_buffer_bytes);
/* Starts to connect. The connection is established when the first echo comes. */
bool client_connect(struct client *client, struct target target);
bool client_open(struct client *client, uint32_t number, struct target target);
/* Sends up to `length` bytes of the payload at once. Returns the bytes sent, 0 if it would block, -1 on an error. */
ptrdiff_t client_send(struct client *client, size_t length);
/* Reads and checks the available bytes. Returns the bytes read, 0 if there are none, -1 at the end (see ended and code). */
ptrdiff_t client_receive(struct client *client);
/*
 * Runs clients until each has sent and received back `total` bytes, `chunk` at a time (0: as much as fits). With `lockstep` a chunk is
 * sent only when all earlier bytes have been echoed. False if one failed, or after timeout_ms without progress.
 */
bool clients_echo(struct client *clients, size_t count, uint64_t total, size_t chunk, bool lockstep, int timeout_ms);
/* Waits for the end of the stream. */
bool client_await_end(struct client *client, int timeout_ms);
void client_half_close(struct client *client);
void client_close(struct client *client);
void client_reset(struct client *client);

/* A number that grows when descriptors (or handles) are left open. */
uint64_t descriptors_used(void);
/* Limits the descriptors of this process; 0: as many as it may have. False if the system has no such limit. */
bool descriptor_limit_set(uint64_t soft);
/* The first number that no descriptor has: the limit counts numbers, not descriptors. */
uint64_t descriptor_numbers_end(void);

#endif /* DRIVER_CLIENTS_H */
