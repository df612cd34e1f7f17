/*
 * iocp_connection.c - one connection of the client's completion port engine: connects, posts operations, handles their completions and
 * closes.
 */
#include <string.h>

#include "load/windows/iocp.h"

#define RETRY_NS (5 * NS_PER_MS)
/* To make a socket, set three options, bind it, add it to the port and connect it; close mode FIN sets one option less, and the skip
 * flag is one call more. */
#define CONNECT_SYSTEM_CALLS 7u
/* An alert of TLS is shorter. */
#define LAST_BYTES 256

static char *receive_buffer(const struct poller *poller, uint32_t index)
{
	return poller->buffers + (size_t)index * 2 * poller->buffer_bytes;
}

static char *send_buffer(const struct poller *poller, uint32_t index)
{
	return receive_buffer(poller, index) + poller->buffer_bytes;
}

/* ------------------------------------------------------------------------------------------- closing */

/* Reports the connection as closed to the engine when it has no operation and no socket left. */
static void client_settle(struct poller *poller, uint32_t index)
{
	struct client *client = &poller->clients[index];
	if (client->out == 0 && client->socket == SOCKET_NONE && client->begun && !client->retry_listed) {
		client->begun = false;
		engine_closed(poller->engine, index);
	}
}

void iocp_socket_end(struct poller *poller, struct client *client, bool set_linger)
{
	if (client->socket == SOCKET_NONE) {
		return;
	}
	if (client->out != 0) {
		poller->system_calls++;
		CancelIoEx((HANDLE)client->socket, NULL);
	}
	poller->system_calls += set_linger ? 2 : 1;
	client_socket_close(client->socket, set_linger);
	client->socket = SOCKET_NONE;
	poller->descriptors--;
}

/* What has to be sent before our FIN. Everything sent before was answered, so the socket has room for it. */
static void last_send(struct poller *poller, uint32_t index)
{
	char bytes[LAST_BYTES];
	size_t length = wire_last(poller->engine, index, (uint8_t *)bytes, sizeof bytes);
	if (length != 0) {
		poller->system_calls++;
		(void)send(poller->clients[index].socket, bytes, (int)length, 0);
	}
}

void iocp_client_close(struct poller *poller, uint32_t index, enum engine_close_way way)
{
	struct client *client = &poller->clients[index];
	if (way == ENGINE_CLOSE_FIN && client->socket != SOCKET_NONE) {
		last_send(poller, index);
		poller->system_calls++;
	}
	/* After our FIN the outstanding receive sees the peer's FIN. */
	if (way == ENGINE_CLOSE_FIN && client->socket != SOCKET_NONE && shutdown(client->socket, SD_SEND) == 0) {
		return;
	}
	iocp_socket_end(poller, client, poller->engine->fin && way != ENGINE_CLOSE_BOTH);
	client_settle(poller, index);
}

static void client_close_after_verdict(struct poller *poller, uint32_t index)
{
	iocp_client_close(poller, index, engine_close_way(poller->engine, index));
}

static void client_failed(struct poller *poller, uint32_t index, int code)
{
	enum engine_close_way way = ENGINE_CLOSE_RESET;
	/* Failures of a closing connection do not matter, but they end it. */
	if (engine_connection(poller->engine, index)->state != CONNECTION_CLOSING) {
		engine_failed(poller->engine, index, code, clock_now_ns());
		way = engine_close_way(poller->engine, index);
	}
	iocp_client_close(poller, index, way);
}

/* ------------------------------------------------------------------------------------------- posting */

static void retry_later(struct poller *poller, uint32_t index, enum operation_kind kind)
{
	struct client *client = &poller->clients[index];
	client->retry_receive |= kind == OPERATION_RECEIVE;
	client->retry_send |= kind == OPERATION_SEND;
	if (client->retry_listed) {
		return;
	}
	if (poller->retry_first == NO_CLIENT) {
		poller->retry_at_ns = clock_now_ns() + RETRY_NS;
	}
	client->retry_listed = true;
	client->retry_next = poller->retry_first;
	poller->retry_first = index;
}

static bool short_of_memory(int code)
{
	return code == WSAENOBUFS || code == WSAEWOULDBLOCK;
}

/* Records the outcome of a call. `code` is 0 or that of WSAGetLastError(). False: it failed, and no completion will come. */
static bool operation_posted(struct poller *poller, struct operation *operation, int code, DWORD bytes)
{
	if (code != 0 && code != WSA_IO_PENDING) {
		return false;
	}
	poller->engine->counters.operations++;
	poller->clients[operation->index].out++;
	poller->out++;
	if (code == 0 && poller->skip_on_success) {
		operation->bytes = bytes;
		operation->next = NULL;
		if (poller->ready_last != NULL) {
			poller->ready_last->next = operation;
		} else {
			poller->ready_first = operation;
		}
		poller->ready_last = operation;
	}
	return true;
}

static struct operation *operation_prepare(struct operation *operation, enum operation_kind kind)
{
	memset(&operation->overlapped, 0, sizeof operation->overlapped);
	operation->kind = kind;
	return operation;
}

static void client_receive(struct poller *poller, uint32_t index)
{
	struct client *client = &poller->clients[index];
	struct operation *operation = operation_prepare(&client->receive, OPERATION_RECEIVE);
	WSABUF buffer = {.buf = receive_buffer(poller, index), .len = poller->buffer_bytes};
	DWORD bytes = 0, flags = 0;
	poller->system_calls++;
	int code =
	    WSARecv(client->socket, &buffer, 1, &bytes, &flags, &operation->overlapped, NULL) == 0 ? 0 : WSAGetLastError();
	if (short_of_memory(code)) {
		retry_later(poller, index, OPERATION_RECEIVE);
	} else if (!operation_posted(poller, operation, code, bytes)) {
		client_failed(poller, index, code);
	}
}

void iocp_client_send(struct poller *poller, uint32_t index)
{
	struct client *client = &poller->clients[index];
	struct operation *operation = operation_prepare(&client->send, OPERATION_SEND);
	WSABUF buffer = {.buf = send_buffer(poller, index)};
	buffer.len = (ULONG)wire_fill(poller->engine, index, (uint8_t *)buffer.buf, poller->buffer_bytes);
	DWORD bytes = 0;
	engine_connection(poller->engine, index)->blocked = 1;
	poller->system_calls++;
	int code =
	    WSASend(client->socket, &buffer, 1, &bytes, 0, &operation->overlapped, NULL) == 0 ? 0 : WSAGetLastError();
	if (short_of_memory(code)) {
		retry_later(poller, index, OPERATION_SEND);
	} else if (!operation_posted(poller, operation, code, bytes)) {
		client_failed(poller, index, code);
	}
}

void iocp_retries_post(struct poller *poller)
{
	if (poller->retry_first == NO_CLIENT || clock_now_ns() < poller->retry_at_ns) {
		return;
	}
	uint32_t index = poller->retry_first;
	poller->retry_first = NO_CLIENT;
	while (index != NO_CLIENT) {
		struct client *client = &poller->clients[index];
		uint32_t next = client->retry_next;
		bool receive = client->retry_receive, send = client->retry_send;
		client->retry_listed = client->retry_receive = client->retry_send = false;
		if (receive && client->socket != SOCKET_NONE) {
			client_receive(poller, index);
		}
		if (send && client->socket != SOCKET_NONE &&
		    engine_connection(poller->engine, index)->state != CONNECTION_CLOSING) {
			iocp_client_send(poller, index);
		}
		client_settle(poller, index);
		index = next;
	}
}

/* ---------------------------------------------------------------------------------------- connecting */

/* Makes the socket and calls ConnectEx. Returns 0 if its completion will come, else the error code. */
static int connect_try(struct poller *poller, uint32_t index, const struct engine_route *route, bool plain)
{
	struct client *client = &poller->clients[index];
	int code = 0;
	poller->system_calls += CONNECT_SYSTEM_CALLS - poller->engine->fin + poller->skip_on_success;
	socket_handle socket = client_socket_open(poller->engine, route, plain, &code);
	if (socket == SOCKET_NONE) {
		return code;
	}
	code = completion_port_join(poller->port, socket, poller->skip_on_success);
	if (code == 0) {
		struct operation *operation = operation_prepare(&client->receive, OPERATION_CONNECT);
		DWORD bytes = 0;
		code = poller->connect_ex(socket, (const struct sockaddr *)&route->target->storage, route->target->length, NULL,
		                          0, &bytes, &operation->overlapped)
		           ? 0
		           : WSAGetLastError();
		if (operation_posted(poller, operation, code, 0)) {
			client->socket = socket;
			poller->descriptors++;
			return 0;
		}
	}
	closesocket(socket);
	return code;
}

static bool descriptors_used_up(const struct poller *poller)
{
	uint32_t bound = poller->engine->options.descriptors;
	return bound != 0 && poller->descriptors >= bound;
}

void iocp_client_begin(struct poller *poller, uint32_t index)
{
	struct engine *engine = poller->engine;
	poller->clients[index].begun = true;
	if (descriptors_used_up(poller)) {
		engine_failed_because(engine, index, IB_ERROR_DESCRIPTORS, WSAEMFILE, clock_now_ns(),
		                      "all descriptors planned for this engine are in use");
		client_settle(poller, index);
		return;
	}
	struct engine_route route = engine_route(engine, index);
	int code = connect_try(poller, index, &route, false);
	if (code != 0 && route.source_port != 0 && socket_condition_of(code) == SOCKET_PORTS) {
		/* Another program uses that port. Let the system choose one. */
		engine->port_retries++;
		code = connect_try(poller, index, &route, true);
	}
	if (code != 0) {
		engine_failed(engine, index, code, clock_now_ns());
		client_settle(poller, index);
	}
}

/* -------------------------------------------------------------------------------------------- events */

static void connect_finished(struct poller *poller, uint32_t index, int code)
{
	struct engine *engine = poller->engine;
	struct client *client = &poller->clients[index];
	poller->system_calls += code == 0;
	if (code == 0 && setsockopt(client->socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0) != 0) {
		code = WSAGetLastError();
	}
	if (code != 0) {
		client_failed(poller, index, code);
		return;
	}
	enum engine_verdict verdict = engine_connected(engine, index, clock_now_ns());
	client_receive(poller, index);
	if (verdict == ENGINE_SEND && engine_connection(engine, index)->state == CONNECTION_FIRST) {
		iocp_client_send(poller, index);
	} else if (verdict == ENGINE_CLOSE) {
		client_close_after_verdict(poller, index);
	}
}

static void receive_finished(struct poller *poller, uint32_t index, int code, uint32_t bytes)
{
	struct engine *engine = poller->engine;
	struct connection *connection = engine_connection(engine, index);
	if (unlikely(code != 0 || bytes == 0)) {
		client_failed(poller, index, code);
		return;
	}
	if (likely(connection->state != CONNECTION_CLOSING)) {
		enum engine_verdict verdict =
		    wire_received(engine, index, (const uint8_t *)receive_buffer(poller, index), bytes, clock_now_ns());
		if (verdict == ENGINE_CLOSE) {
			client_close_after_verdict(poller, index);
		} else if (verdict == ENGINE_SEND) {
			iocp_client_send(poller, index);
		}
	}
	/* Also after our FIN: data is dropped until the peer's FIN comes. */
	if (poller->clients[index].socket != SOCKET_NONE) {
		client_receive(poller, index);
	}
}

static void send_finished(struct poller *poller, uint32_t index, int code, uint32_t bytes)
{
	struct engine *engine = poller->engine;
	struct connection *connection = engine_connection(engine, index);
	connection->blocked = 0;
	if (connection->state == CONNECTION_CLOSING) {
		return;
	}
	if (code != 0) {
		client_failed(poller, index, code);
		return;
	}
	wire_sent(engine, index, bytes);
	if (wire_to_send(engine, connection) != 0) {
		iocp_client_send(poller, index);
	}
}

/* The code of an operation whose socket is still open. */
static int operation_code(const struct poller *poller, struct operation *operation)
{
	DWORD bytes = 0, flags = 0;
	if ((LONG)operation->overlapped.Internal >= 0 ||
	    WSAGetOverlappedResult(poller->clients[operation->index].socket, &operation->overlapped, &bytes, FALSE,
	                           &flags)) {
		return 0;
	}
	int code = WSAGetLastError();
	return code != 0 ? code : WSAECONNRESET;
}

void iocp_operation_finished(struct poller *poller, struct operation *operation, uint32_t bytes)
{
	uint32_t index = operation->index;
	struct client *client = &poller->clients[index];
	ib_count_down(client->out, 1);
	ib_count_down(poller->out, 1);
	if (client->socket != SOCKET_NONE) {
		int code = operation_code(poller, operation);
		switch (operation->kind) {
		case OPERATION_CONNECT:
			connect_finished(poller, index, code);
			break;
		case OPERATION_RECEIVE:
			receive_finished(poller, index, code, bytes);
			break;
		case OPERATION_SEND:
			send_finished(poller, index, code, bytes);
			break;
		}
	} else if (operation->kind == OPERATION_SEND) {
		engine_connection(poller->engine, index)->blocked = 0;
	}
	client_settle(poller, index);
}
