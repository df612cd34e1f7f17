/*
 * io_uring_connection.c - begins and ends the connections of the io_uring engine.
 *
 * Traps
 *  - The sockets are blocking: with O_NONBLOCK the kernel would complete a receive with EAGAIN rather than wait.
 *  - Closing a slot of the table does not end a receive that is posted on it, and the socket lives as long as the receive. So the
 *    receive is cancelled by its user_data (by descriptor the kernel would search all posted operations).
 *  - A shutdown runs on a kernel thread, which looks up the slot only then. The slot must not be emptied before the shutdown is over.
 *    Otherwise, if the peer's FIN had already come, it would shut down the slot's next connection.
 *  - A connection is closed when the completions of all its operations have come. Only then may its slot be used again.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "load/linux/client_socket.h"
#include "load/linux/io_uring.h"

/* --------------------------------------------------------------------------------------------- close */

static void cancel(struct rings *rings, uint32_t index, enum operation operation)
{
	struct uring_sqe *sqe = entry(rings, ring_of(rings, index), OP_CANCEL, index);

	if (sqe != NULL) {
		sqe->opcode = URING_OP_ASYNC_CANCEL;
		sqe->flags = URING_SQE_CQE_SKIP_SUCCESS;
		sqe->fd = -1;
		sqe->addr = (uint64_t)operation << OPERATION_SHIFT | index;
	}
}

void rings_connection_closed_when_over(struct rings *rings, uint32_t index)
{
	struct connection *connection = engine_connection(rings->engine, index);

	if (connection->state == CONNECTION_CLOSING && (connection->handle & (FLAGS_OUTSTANDING | FLAG_INSTALLED)) == 0) {
		engine_closed(rings->engine, index);
	}
}

void rings_connection_close_now(struct rings *rings, uint32_t index)
{
	struct connection *connection = engine_connection(rings->engine, index);

	if ((connection->handle & FLAG_CLOSING) != 0 || (connection->handle & FLAG_INSTALLED) == 0) {
		rings_connection_closed_when_over(rings, index);
		return;
	}
	if ((connection->handle & FLAG_SHUTTING) != 0) {
		connection->handle |= FLAG_CLOSE_DUE;
		return;
	}
	if ((connection->handle & FLAG_CONNECTING) != 0) {
		cancel(rings, index, OP_CONNECT);
	}
	if ((connection->handle & FLAG_RECEIVING) != 0) {
		cancel(rings, index, OP_RECEIVE);
	}
	if ((connection->handle & FLAG_POLLING) != 0) {
		cancel(rings, index, OP_WRITABLE);
	}
	struct uring_sqe *sqe = entry(rings, ring_of(rings, index), OP_CLOSE, index);
	if (sqe != NULL) {
		sqe->opcode = URING_OP_CLOSE;
		sqe->flags = 0;
		sqe->fd = 0;
		sqe->file_index = slot_of(rings, index) + 1;
		connection->handle |= FLAG_CLOSING;
	}
}

void rings_connection_close(struct rings *rings, uint32_t index, enum engine_close_way way)
{
	struct connection *connection = engine_connection(rings->engine, index);

	if (way != ENGINE_CLOSE_FIN) {
		rings_connection_close_now(rings, index);
		return;
	}
	if ((connection->handle & FLAG_RECEIVING) == 0) {
		rings_receive_post(rings, index, true); /* for the peer's FIN */
	}
	rings_last_send(rings, index);
	struct uring_sqe *sqe = entry(rings, ring_of(rings, index), OP_SHUTDOWN, index);
	if (sqe != NULL) {
		sqe->opcode = URING_OP_SHUTDOWN;
		sqe->len = SHUT_WR;
		connection->handle |= FLAG_SHUTTING;
	}
}

void rings_connection_fail(struct rings *rings, uint32_t index, int code)
{
	(void)engine_failed(rings->engine, index, code, clock_now_ns());
	rings_connection_close_now(rings, index);
}

/* ------------------------------------------------------------------------------------------- connect */

/* Puts a bound socket into its slot. Returns 0 or an errno value. If the explicit port of a route is taken, the system chooses one. */
static int socket_install(struct rings *rings, uint32_t index, bool plain)
{
	struct engine *engine = rings->engine;
	struct engine_route route = engine_route(engine, index);
	int code = 0;
	int handle = client_socket_open(engine, &route, plain, 0, &code);

	if (handle < 0 && !plain && route.source_port != 0 && (code == EADDRINUSE || code == EADDRNOTAVAIL)) {
		engine->port_retries++;
		handle = client_socket_open(engine, &route, true, 0, &code);
	}
	if (handle < 0) {
		return code;
	}
	code = -ring_install_file(&ring_of(rings, index)->ring, slot_of(rings, index), handle);
	engine->counters.system_calls++;
	close(handle);
	return code;
}

static void connect_post(struct rings *rings, uint32_t index)
{
	struct connection *connection = engine_connection(rings->engine, index);
	struct engine_route route = engine_route(rings->engine, index);
	struct uring_sqe *sqe = entry(rings, ring_of(rings, index), OP_CONNECT, index);

	if (sqe != NULL) {
		sqe->opcode = URING_OP_CONNECT;
		sqe->addr = (uint64_t)(uintptr_t)&route.target->storage;
		sqe->off = route.target->length;
		connection->handle |= FLAG_CONNECTING;
	}
}

void rings_connection_begin(struct rings *rings, uint32_t index)
{
	struct connection *connection = engine_connection(rings->engine, index);
	int code = socket_install(rings, index, false);

	connection->handle &= FLAGS_QUEUED;
	if (code != 0) {
		rings_connection_fail(rings, index, code);
		return;
	}
	connection->handle |= FLAG_INSTALLED;
	connect_post(rings, index);
}

bool rings_connection_connect_again(struct rings *rings, uint32_t index, int code)
{
	struct connection *connection = engine_connection(rings->engine, index);
	struct engine_route route = engine_route(rings->engine, index);

	if (route.source_port == 0 || (code != EADDRINUSE && code != EADDRNOTAVAIL) || connection->port_retried ||
	    connection->state != CONNECTION_CONNECTING) {
		return false;
	}
	connection->port_retried = 1;
	rings->engine->port_retries++;
	if (socket_install(rings, index, true) != 0) {
		return false;
	}
	connect_post(rings, index);
	return true;
}

/* ------------------------------------------------------------------------------------------- network */

/*
 * TCP_INFO needs an ordinary descriptor: the ring's own getsockopt (SOCKET_URING_OP_GETSOCKOPT) only has options of SOL_SOCKET. Linux
 * makes one of a direct descriptor from 6.8 on. Before, the operation fails, and the figures are unknown.
 */
void rings_connection_network_ask(struct engine *engine, uint32_t index)
{
	struct rings *rings = engine->half;
	struct uring_sqe *sqe = entry(rings, ring_of(rings, index), OP_NETWORK, index);

	if (sqe == NULL) {
		engine_network_read(engine, 0, 0);
		return;
	}
	sqe->opcode = URING_OP_FIXED_FD_INSTALL;
}

void rings_connection_network_read(struct rings *rings, int32_t descriptor)
{
	if (descriptor < 0) {
		engine_network_read(rings->engine, 0, 0);
		return;
	}
	client_socket_network_read(rings->engine, descriptor);
	rings->engine->counters.system_calls++;
	close(descriptor);
}
