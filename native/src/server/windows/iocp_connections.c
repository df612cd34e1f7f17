/*
 * iocp_connections.c - the memory of connections: chunks that are made as they are needed and given back at the end, and a
 * free list. It is touched when a connection comes or goes, never on the path of a request, hence one lock for all.
 */
#include <stdlib.h>
#include <string.h>

#include "server/windows/iocp.h"

#define CHUNK_BYTES (4u * 1024 * 1024)
#define CHUNK_CONNECTIONS_MAX 256u

struct iocp_chunk {
	struct iocp_chunk *next;
	char *buffers; /* NULL in zero-byte mode */
	uint32_t count;
	struct iocp_connection connections[];
};

/* Buffers are reserved per connection, unless idle ones wait without: then a worker lends one for the time of a request. */
static bool buffers_per_connection(const struct iocp_server *server)
{
	return (server->options.flags & IB_SERVER_ZERO_BYTE_RECV) == 0;
}

static uint32_t chunk_count_of(const struct iocp_server *server)
{
	uint32_t count = CHUNK_BYTES / server->options.receive_buffer_bytes;
	if (count > CHUNK_CONNECTIONS_MAX) {
		return CHUNK_CONNECTIONS_MAX;
	}
	return count < 1 ? 1 : count;
}

/* Adds a chunk to the free list. The mutex is held. */
static bool chunk_add(struct iocp_server *server)
{
	uint32_t count = chunk_count_of(server);
	struct iocp_chunk *chunk = calloc(1, sizeof *chunk + count * sizeof chunk->connections[0]);
	if (chunk == NULL) {
		return false;
	}
	if (buffers_per_connection(server)) {
		/* Page-aligned, so that a receive locks no page of a neighbour. Pages are made when first used. */
		size_t bytes = (size_t)count * server->options.receive_buffer_bytes;
		chunk->buffers = VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
		if (chunk->buffers == NULL) {
			free(chunk);
			return false;
		}
	}
	chunk->count = count;
	for (uint32_t index = count; index-- > 0;) {
		struct iocp_connection *connection = &chunk->connections[index];
		connection->receive.kind = IOCP_RECEIVE;
		connection->send.kind = IOCP_SEND;
		connection->socket = SOCKET_NONE;
		if (chunk->buffers != NULL) {
			connection->buffer = chunk->buffers + (size_t)index * server->options.receive_buffer_bytes;
		}
		connection->next_free = server->free_list;
		server->free_list = connection;
	}
	chunk->next = server->chunks;
	server->chunks = chunk;
	return true;
}

struct iocp_connection *iocp_connection_take(struct iocp_server *server, socket_handle socket)
{
	struct iocp_connection *connection = NULL;
	mutex_lock(&server->mutex);
	if (server->free_list != NULL || chunk_add(server)) {
		connection = server->free_list;
		server->free_list = connection->next_free;
		connection->length = 0;
		connection->sent = 0;
		ib_assert(connection->socket == SOCKET_NONE && !connection->receive.is_out && !connection->send.is_out);
		connection->socket = socket;
		server->live++;
	}
	mutex_unlock(&server->mutex);
	return connection;
}

void iocp_connection_end(struct iocp_server *server, struct iocp_connection *connection, bool reset)
{
	/* Out of sight of whoever stops the server first: the number of a closed socket is reused at once. */
	mutex_lock(&server->mutex);
	socket_handle socket = connection->socket;
	ib_assert(socket != SOCKET_NONE && !connection->receive.is_out && !connection->send.is_out);
	connection->socket = SOCKET_NONE;
	mutex_unlock(&server->mutex);
	if (reset) {
		socket_close_reset(socket);
	} else {
		socket_shutdown_send(socket);
		socket_close(socket);
	}
	mutex_lock(&server->mutex);
	connection->next_free = server->free_list;
	server->free_list = connection;
	ib_count_down(server->live, 1);
	if (server->live == 0) {
		condition_broadcast(&server->changed);
	}
	mutex_unlock(&server->mutex);
}

void iocp_connections_cancel(struct iocp_server *server, bool receives_only)
{
	mutex_lock(&server->mutex);
	for (struct iocp_chunk *chunk = server->chunks; chunk != NULL; chunk = chunk->next) {
		for (uint32_t index = 0; index < chunk->count; index++) {
			struct iocp_connection *connection = &chunk->connections[index];
			/* By its address alone: an operation that is not out is simply not found. */
			if (connection->socket != SOCKET_NONE) {
				CancelIoEx((HANDLE)connection->socket, receives_only ? &connection->receive.overlapped : NULL);
			}
		}
	}
	mutex_unlock(&server->mutex);
}

void iocp_connections_free(struct iocp_server *server)
{
	while (server->chunks != NULL) {
		struct iocp_chunk *chunk = server->chunks;
		server->chunks = chunk->next;
		if (chunk->buffers != NULL) {
			VirtualFree(chunk->buffers, 0, MEM_RELEASE);
		}
		free(chunk);
	}
	server->free_list = NULL;
}
