/*
 * listeners.h - the listening sockets of a server: one per address, all on one port.
 */
#ifndef LISTENERS_H
#define LISTENERS_H

#include "platform/platform.h"
#include "server/backend.h"

struct listeners {
	socket_handle *sockets;
	uint32_t count;
	uint32_t port;
	uint32_t backlog; /* what the system made of it; IB_UNKNOWN_32: cannot be read */
};

/* Opens them all, or none. `flags` as for socket_listen. */
int32_t listeners_open(struct listeners *out, const struct ib_server_options *options, int flags,
                       struct ib_error *error);
/* Closes those still open and frees the array. */
void listeners_close(struct listeners *listeners);

#endif /* LISTENERS_H */
