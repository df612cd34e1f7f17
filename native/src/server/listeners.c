/*
 * listeners.c - the listening sockets of a server: one per address, all on one port.
 */
#include <stdlib.h>
#include <string.h>

#include "server/listeners.h"

/* With port 0 the first listener gets any free port, which may be taken on one of the other addresses. */
#define PORT_ATTEMPTS 16

static int32_t open_all(struct listeners *listeners, const struct ib_server_options *options, int flags,
                        struct ib_error *error)
{
	uint32_t port = options->port;
	for (uint32_t index = 0; index < options->address_count; index++) {
		struct socket_address address;
		struct socket_listener listener;
		int32_t status = socket_address_parse(&address, options->host, port, index, error);
		if (status == IB_STATUS_OK) {
			status = socket_listen(&listener, &address, options->backlog, flags, error);
		}
		if (status != IB_STATUS_OK) {
			return status;
		}
		listeners->sockets[index] = listener.socket;
		listeners->backlog = listener.backlog;
		port = listener.port;
		listeners->count = index + 1;
	}
	listeners->port = port;
	return IB_STATUS_OK;
}

int32_t listeners_open(struct listeners *out, const struct ib_server_options *options, int flags,
                       struct ib_error *error)
{
	int32_t status = IB_STATUS_OK;
	for (int attempt = 0; attempt < PORT_ATTEMPTS; attempt++) {
		memset(out, 0, sizeof *out);
		out->sockets = calloc(options->address_count, sizeof *out->sockets);
		if (out->sockets == NULL) {
			return error_set(error, IB_STATUS_MEMORY, 0, "no memory for %u listening sockets", options->address_count);
		}
		status = open_all(out, options, flags, error);
		if (status == IB_STATUS_OK) {
			return status;
		}
		listeners_close(out);
		if (status != IB_STATUS_ADDRESS_IN_USE || options->port != 0) {
			break;
		}
	}
	return status;
}

void listeners_close(struct listeners *listeners)
{
	for (uint32_t index = 0; index < listeners->count; index++) {
		if (listeners->sockets[index] != SOCKET_NONE) {
			socket_close(listeners->sockets[index]);
		}
	}
	free(listeners->sockets);
	memset(listeners, 0, sizeof *listeners);
}
