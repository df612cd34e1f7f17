/*
 * iocp_worker.c - the worker threads of the completion-port server: dequeue, tell the operation, do what comes next.
 */
#include <stdlib.h>
#include <string.h>

#include "completion_port.h"
#include "server/windows/iocp.h"

/* Operations that completed at once and are handled before the port is looked at again. */
#define READY_PER_ROUND 256
/* How often a worker whose connections wait looks whether they are to be reset: nothing wakes it for that. */
#define SERVICE_LOOK_MS 50

#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static void queue_push(struct iocp_queue *queue, struct iocp_operation *operation)
{
	operation->next = NULL;
	if (queue->last != NULL) {
		queue->last->next = operation;
	} else {
		queue->first = operation;
	}
	queue->last = operation;
}

static struct iocp_operation *queue_pop(struct iocp_queue *queue)
{
	struct iocp_operation *operation = queue->first;
	if (operation != NULL) {
		queue->first = operation->next;
		if (queue->first == NULL) {
			queue->last = NULL;
		}
	}
	return operation;
}

/* Counts an error, and puts the operation off: posted again at once, it would fail again at once. */
static void operation_retry_later(struct iocp_worker *worker, struct iocp_operation *operation, int code)
{
	counters_error(&worker->counters, code == WSAEWOULDBLOCK ? WSAENOBUFS : code);
	if (worker->retry.first == NULL) {
		worker->retry_at_ns = clock_now_ns() + IOCP_RETRY_MS * NS_PER_MS;
	}
	queue_push(&worker->retry, operation);
}

static void operation_came_back(struct iocp_operation *operation)
{
	ib_assert(operation->is_out);
	if (IB_ASSERTS) {
		operation->is_out = false;
	}
}

/* Before the call, for another thread may own the operation after it. */
static void operation_prepare(struct iocp_operation *operation)
{
	ib_assert(!operation->is_out);
	memset(&operation->overlapped, 0, sizeof operation->overlapped);
	if (IB_ASSERTS) {
		operation->is_out = true;
	}
}

/*
 * What became of an overlapped call. `code` is 0 or what WSAGetLastError() said. Returns 0 when the operation is in the
 * kernel's hands or in a queue of ours, in which case another thread may own it already; else the error, and no packet comes.
 */
static int operation_posted(struct iocp_worker *worker, struct iocp_operation *operation, int code, DWORD bytes)
{
	if (code == WSAENOBUFS || code == WSAEWOULDBLOCK) {
		/* Too many operations are out. */
		operation_came_back(operation);
		operation_retry_later(worker, operation, code);
		return 0;
	}
	if (code != 0 && code != WSA_IO_PENDING) {
		operation_came_back(operation);
		return code;
	}
	counter_add(&worker->posted, 1);
	if (code == 0 && worker->server->skip_on_success) {
		/* Done, and no packet comes. Not handled here, or a busy peer would make us recurse. */
		counter_add(&worker->completed, 1);
		operation->bytes = bytes;
		queue_push(&worker->ready, operation);
	}
	return 0;
}

static bool server_flag(_Atomic bool *flag)
{
	return atomic_load_explicit(flag, memory_order_acquire);
}

/* --------------------------------------------------------------------------------------- connections */

static void buffer_release(struct iocp_worker *worker, struct iocp_connection *connection)
{
	if ((worker->server->options.flags & IB_SERVER_ZERO_BYTE_RECV) == 0 || connection->buffer == NULL) {
		return;
	}
	struct iocp_spare_buffer *spare = (struct iocp_spare_buffer *)(void *)connection->buffer;
	spare->next = worker->spare_buffers;
	worker->spare_buffers = spare;
	connection->buffer = NULL;
}

static bool buffer_lend(struct iocp_worker *worker, struct iocp_connection *connection)
{
	struct iocp_spare_buffer *spare = worker->spare_buffers;
	if (spare != NULL) {
		worker->spare_buffers = spare->next;
	} else {
		spare = malloc(worker->server->options.receive_buffer_bytes);
	}
	connection->buffer = (char *)spare;
	return spare != NULL;
}

static void connection_close(struct iocp_worker *worker, struct iocp_connection *connection, int code)
{
	struct iocp_server *server = worker->server;
	bool resetting = server_flag(&server->resetting);
	/* While stopping, an aborted operation is our own cancel and no error. */
	if (code != 0 && !server_flag(&server->stopping)) {
		counters_error(&worker->counters, code);
	}
	if (worker->service.service != NULL) {
		service_abandon(&worker->service, &connection->request, connection->length - connection->sent);
		connection->length = connection->sent = 0;
	}
	buffer_release(worker, connection);
	counter_add(&worker->counters.closed, 1);
	counter_add(&worker->counters.system_calls, resetting ? 2 : 1);
	iocp_connection_end(server, connection, resetting);
}

/* While stopping, a connection is served as long as something is there to be read, and then closed. */
static bool connection_done(struct iocp_server *server, struct iocp_connection *connection)
{
	if (!server_flag(&server->stopping)) {
		return false;
	}
	u_long waiting = 0;
	if (server_flag(&server->resetting) || ioctlsocket(connection->socket, (long)FIONREAD, &waiting) != 0) {
		return true;
	}
	return waiting == 0;
}

/* Posts the one receive of a connection; of zero bytes where it has no buffer, to learn when there is something to read. */
static void receive_post(struct iocp_worker *worker, struct iocp_connection *connection)
{
	struct iocp_operation *operation = &connection->receive;
	if (connection_done(worker->server, connection)) {
		connection_close(worker, connection, 0);
		return;
	}
	WSABUF buffer = {.buf = connection->buffer,
	                 .len = connection->buffer == NULL ? 0 : worker->server->options.receive_buffer_bytes};
	DWORD bytes = 0, flags = 0;
	ib_assert(!connection->send.is_out);
	operation_prepare(operation);
	counter_add(&worker->counters.system_calls, 1);
	int code = WSARecv(connection->socket, &buffer, 1, &bytes, &flags, &operation->overlapped, NULL) == 0
	               ? 0
	               : WSAGetLastError();
	code = operation_posted(worker, operation, code, bytes);
	if (code != 0) {
		connection_close(worker, connection, code);
	}
}

/* Posts what is left of the buffer, or the reply to a request that gets more than its echo. */
static void send_post(struct iocp_worker *worker, struct iocp_connection *connection)
{
	struct iocp_operation *operation = &connection->send;
	WSABUF buffer = {.buf = connection->buffer + connection->sent, .len = connection->length - connection->sent};
	if (worker->service.service != NULL) {
		/* WSASend does not change the bytes, although its buffers are not const. */
		buffer.buf = (char *)(uintptr_t)connection->request.reply_bytes;
		buffer.len = connection->request.reply;
	}
	DWORD bytes = 0;
	ib_assert(!connection->receive.is_out);
	operation_prepare(operation);
	counter_add(&worker->counters.system_calls, 1);
	int code =
	    WSASend(connection->socket, &buffer, 1, &bytes, 0, &operation->overlapped, NULL) == 0 ? 0 : WSAGetLastError();
	/* Pending means that the peer's window and our send buffer are full; nothing is read of this peer until it is through. */
	if (code == WSA_IO_PENDING) {
		counter_add(&worker->counters.receives_paused, 1);
	}
	code = operation_posted(worker, operation, code, bytes);
	if (code != 0) {
		connection_close(worker, connection, code);
	}
}

/* Serves the bytes of the buffer, until a reply can be sent, a request waits, or all is answered. */
static void connection_serve(struct iocp_worker *worker, struct iocp_connection *connection)
{
	switch (service_advance(&worker->service, &connection->request, connection->socket, connection->buffer,
	                        &connection->sent, connection->length)) {
	case SERVICE_REPLY:
		send_post(worker, connection);
		break;
	case SERVICE_READ:
		buffer_release(worker, connection);
		receive_post(worker, connection);
		break;
	case SERVICE_CUT:
		connection_close(worker, connection, 0);
		break;
	case SERVICE_END:
	case SERVICE_WAIT:
		break;
	}
}

/* Serves the requests whose wait is over. Once connections are reset, none is waited for. */
static void service_due_handle(struct iocp_worker *worker)
{
	struct service_request *request;
	if (server_flag(&worker->server->resetting)) {
		while ((request = worker->service.first) != NULL) {
			connection_close(worker, container_of(request, struct iocp_connection, request), 0);
		}
		return;
	}
	uint64_t now_ns = clock_now_ns();
	while ((request = service_due(&worker->service, now_ns)) != NULL) {
		connection_serve(worker, container_of(request, struct iocp_connection, request));
	}
}

static void receive_finished(struct iocp_worker *worker, struct iocp_connection *connection, int code, DWORD bytes)
{
	if (code != 0) {
		/* While stopping, our cancel may have hit a receive with data behind it. */
		if (socket_condition_of(code) == SOCKET_CLOSED && server_flag(&worker->server->stopping)) {
			receive_post(worker, connection);
		} else {
			connection_close(worker, connection, code);
		}
		return;
	}
	if (connection->buffer == NULL) {
		/* The answer to a receive of zero bytes: something is there, if only the end of the stream. */
		if (buffer_lend(worker, connection)) {
			receive_post(worker, connection);
		} else {
			operation_retry_later(worker, &connection->receive, WSAENOBUFS);
		}
		return;
	}
	if (bytes == 0) {
		/* The peer's end of stream; all that came before it is echoed already. */
		connection_close(worker, connection, 0);
		return;
	}
	counter_add(&worker->counters.requests, 1);
	counter_add(&worker->counters.bytes_received, bytes);
	connection->length = bytes;
	connection->sent = 0;
	if (worker->service.service != NULL) {
		connection_serve(worker, connection);
	} else {
		send_post(worker, connection);
	}
}

static void send_finished(struct iocp_worker *worker, struct iocp_connection *connection, int code, DWORD bytes)
{
	if (code != 0) {
		connection_close(worker, connection, code);
		return;
	}
	counter_add(&worker->counters.bytes_sent, bytes);
	if (worker->service.service != NULL) {
		connection->sent += service_replied(&worker->service, &connection->request, bytes);
		connection_serve(worker, connection);
		return;
	}
	connection->sent += bytes;
	if (connection->sent < connection->length) {
		send_post(worker, connection); /* a short send */
		return;
	}
	buffer_release(worker, connection);
	receive_post(worker, connection);
}

/* --------------------------------------------------------------------------------------------- accept */

static void accept_drop(struct iocp_server *server, struct iocp_accept *slot)
{
	if (slot->socket != SOCKET_NONE) {
		socket_close(slot->socket);
	}
	slot->socket = SOCKET_NONE;
	mutex_lock(&server->mutex);
	ib_count_down(server->accepts_left, 1);
	if (server->accepts_left == 0) {
		condition_broadcast(&server->changed);
	}
	mutex_unlock(&server->mutex);
}

/* Calls AcceptEx unless the server stops: under the mutex, for the number of a closed listener may be another socket's. */
static int accept_call(struct iocp_server *server, struct iocp_accept *slot, bool *stopping)
{
	const DWORD address_bytes = sizeof(struct sockaddr_storage) + 16;
	DWORD bytes = 0;
	int code = 0;
	operation_prepare(&slot->operation);
	mutex_lock(&server->mutex);
	*stopping = server_flag(&server->stopping);
	/* Receive length 0: with any other, a client that connects and says nothing would hold the slot. */
	if (!*stopping && !server->accept_ex(slot->listener, slot->socket, slot->addresses, 0, address_bytes, address_bytes,
	                                     &bytes, &slot->operation.overlapped)) {
		code = WSAGetLastError();
	}
	mutex_unlock(&server->mutex);
	return code;
}

/* Makes the socket and posts the accept. It is the end of every path of a slot, failures included. */
static void accept_post(struct iocp_worker *worker, struct iocp_accept *slot)
{
	bool stopping = server_flag(&worker->server->stopping);
	int code = 0;
	if (slot->socket == SOCKET_NONE && !stopping) {
		counter_add(&worker->counters.system_calls, 1);
		slot->socket = WSASocketW(slot->family, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
		                          WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
		if (slot->socket == SOCKET_NONE) {
			operation_retry_later(worker, &slot->operation, WSAGetLastError());
			return;
		}
	}
	if (!stopping) {
		counter_add(&worker->counters.system_calls, 1);
		code = accept_call(worker->server, slot, &stopping);
	}
	if (stopping) {
		accept_drop(worker->server, slot);
		return;
	}
	code = operation_posted(worker, &slot->operation, code, 0);
	if (code != 0) {
		operation_retry_later(worker, &slot->operation, code);
	}
}

/* Two options and the port; the skip flag is a fourth call. */
#define ADOPT_SYSTEM_CALLS 3u

/* Makes an accepted socket one of ours: it inherits the listener's properties only now, and joins the port. */
static int socket_adopt(struct iocp_server *server, socket_handle socket, socket_handle listener)
{
	DWORD one = 1;
	if (setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (const char *)&listener, sizeof listener) != 0) {
		return WSAGetLastError();
	}
	if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&one, sizeof one) != 0) {
		return WSAGetLastError();
	}
	return completion_port_join(server->port, socket, server->skip_on_success);
}

static void serve(struct iocp_worker *worker, socket_handle socket, socket_handle listener)
{
	counter_add(&worker->counters.accepted, 1);
	counter_add(&worker->counters.system_calls, ADOPT_SYSTEM_CALLS + worker->server->skip_on_success);
	int code = socket_adopt(worker->server, socket, listener);
	struct iocp_connection *connection = code == 0 ? iocp_connection_take(worker->server, socket) : NULL;
	if (connection != NULL) {
		/* The first receive, straight after the accept: without one nothing would ever complete. */
		receive_post(worker, connection);
		return;
	}
	if (!server_flag(&worker->server->stopping)) {
		counters_error(&worker->counters, code != 0 ? code : WSAENOBUFS);
		counter_add(&worker->counters.refused, 1);
	}
	socket_close(socket);
	counter_add(&worker->counters.closed, 1);
}

static void accept_finished(struct iocp_worker *worker, struct iocp_accept *slot, int code)
{
	struct iocp_server *server = worker->server;
	socket_handle socket = slot->socket;
	slot->socket = SOCKET_NONE;
	if (code == 0) {
		serve(worker, socket, slot->listener);
		accept_post(worker, slot);
		return;
	}
	socket_close(socket);
	if (server_flag(&server->stopping)) {
		accept_drop(server, slot);
		return;
	}
	enum socket_condition condition = socket_condition_of(code);
	if (condition == SOCKET_RESET || condition == SOCKET_ABORTED) {
		/* The peer left before its turn came: its own affair. */
		counters_error(&worker->counters, WSAECONNABORTED);
		accept_post(worker, slot);
	} else {
		operation_retry_later(worker, &slot->operation, code);
	}
}

/* ------------------------------------------------------------------------------------------- dispatch */

static void operation_finished(struct iocp_worker *worker, struct iocp_operation *operation, int code, DWORD bytes)
{
	operation_came_back(operation);
	switch (operation->kind) {
	case IOCP_ACCEPT:
		accept_finished(worker, container_of(operation, struct iocp_accept, operation), code);
		break;
	case IOCP_RECEIVE:
		receive_finished(worker, container_of(operation, struct iocp_connection, receive), code, bytes);
		break;
	case IOCP_SEND:
		send_finished(worker, container_of(operation, struct iocp_connection, send), code, bytes);
		break;
	}
}

static void operation_post_again(struct iocp_worker *worker, struct iocp_operation *operation)
{
	switch (operation->kind) {
	case IOCP_ACCEPT:
		accept_post(worker, container_of(operation, struct iocp_accept, operation));
		break;
	case IOCP_RECEIVE:
		receive_post(worker, container_of(operation, struct iocp_connection, receive));
		break;
	case IOCP_SEND:
		send_post(worker, container_of(operation, struct iocp_connection, send));
		break;
	}
}

static void retries_post(struct iocp_worker *worker)
{
	if (worker->retry.first == NULL || clock_now_ns() < worker->retry_at_ns) {
		return;
	}
	/* What fails once more makes a new list, with a new time. */
	struct iocp_queue due = worker->retry;
	worker->retry = (struct iocp_queue){NULL, NULL};
	for (struct iocp_operation *operation = queue_pop(&due); operation != NULL; operation = queue_pop(&due)) {
		operation_post_again(worker, operation);
	}
}

/* The code of a dequeued operation: the port delivers failed ones as well, with an NTSTATUS that Winsock translates as long as
 * the socket is open. */
static int operation_code(struct iocp_operation *operation, struct iocp_server *server)
{
	if ((LONG)operation->overlapped.Internal >= 0) {
		return 0;
	}
	/* The listener is closed once the server stops. */
	if (operation->kind == IOCP_ACCEPT && server_flag(&server->stopping)) {
		return WSA_OPERATION_ABORTED;
	}
	socket_handle socket = SOCKET_NONE;
	switch (operation->kind) {
	case IOCP_ACCEPT:
		socket = container_of(operation, struct iocp_accept, operation)->listener;
		break;
	case IOCP_RECEIVE:
		socket = container_of(operation, struct iocp_connection, receive)->socket;
		break;
	case IOCP_SEND:
		socket = container_of(operation, struct iocp_connection, send)->socket;
		break;
	}
	DWORD bytes = 0, flags = 0;
	if (WSAGetOverlappedResult(socket, &operation->overlapped, &bytes, FALSE, &flags)) {
		return 0;
	}
	int code = WSAGetLastError();
	return code != 0 ? code : WSAECONNRESET;
}

/* Handles a batch; false when one of its packets tells this worker to end. */
static bool batch_handle(struct iocp_worker *worker, const OVERLAPPED_ENTRY *entries, ULONG count)
{
	bool go_on = true;
	for (ULONG index = 0; index < count; index++) {
		if (entries[index].lpCompletionKey == IOCP_KEY_STOP) {
			/* A batch may hold the packets of other workers too: those go back. */
			if (!go_on) {
				PostQueuedCompletionStatus(worker->server->port, 0, IOCP_KEY_STOP, NULL);
			}
			go_on = false;
			continue;
		}
		struct iocp_operation *operation = container_of(entries[index].lpOverlapped, struct iocp_operation, overlapped);
		counter_add(&worker->completed, 1);
		operation_finished(worker, operation, operation_code(operation, worker->server),
		                   entries[index].dwNumberOfBytesTransferred);
	}
	return go_on;
}

static void ready_handle(struct iocp_worker *worker)
{
	/* In rounds: a few peers that always have more to say must not keep the others waiting at the port. */
	for (int round = 0; round < READY_PER_ROUND; round++) {
		struct iocp_operation *operation = queue_pop(&worker->ready);
		if (operation == NULL) {
			return;
		}
		operation_finished(worker, operation, 0, operation->bytes);
	}
}

static void spare_buffers_free(struct iocp_worker *worker)
{
	while (worker->spare_buffers != NULL) {
		struct iocp_spare_buffer *spare = worker->spare_buffers;
		worker->spare_buffers = spare->next;
		free(spare);
	}
}

static DWORD wait_ms(const struct iocp_worker *worker)
{
	if (worker->ready.first != NULL) {
		return 0;
	}
	DWORD longest_ms = worker->retry.first != NULL ? IOCP_RETRY_MS : INFINITE;
	uint64_t due_ns = service_next_due(&worker->service);
	if (due_ns == IB_UNKNOWN) {
		return longest_ms;
	}
	uint64_t now_ns = clock_now_ns();
	uint64_t left_ms = due_ns > now_ns ? (due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
	if (left_ms > SERVICE_LOOK_MS) {
		left_ms = SERVICE_LOOK_MS;
	}
	return left_ms < longest_ms ? (DWORD)left_ms : longest_ms;
}

void iocp_worker_main(void *argument)
{
	struct iocp_worker *worker = argument;
	struct iocp_server *server = worker->server;
	const struct service *service = &server->base.service;
	service_worker_start(&worker->service, &server->base.service, &worker->counters.service,
	                     &worker->counters.system_calls);
	/* A handler that takes long takes one packet at a time, and leaves the others to the other workers. */
	ULONG batch = service->waits_block || service->work.work_ns > 0 ? 1 : IOCP_BATCH;
	/* A thread's end cancels what it has begun, hence accepts are posted by those that outlive them. */
	for (uint32_t index = worker->index; index < server->accept_count; index += server->options.workers) {
		accept_post(worker, &server->accepts[index]);
	}
	for (bool go_on = true; go_on;) {
		OVERLAPPED_ENTRY entries[IOCP_BATCH];
		ULONG count = 0;
		counter_add(&worker->counters.system_calls, 1);
		if (GetQueuedCompletionStatusEx(server->port, entries, batch, &count, wait_ms(worker), FALSE)) {
			go_on = batch_handle(worker, entries, count);
		}
		ready_handle(worker);
		if (worker->service.first != NULL) {
			service_due_handle(worker);
		}
		retries_post(worker);
	}
	spare_buffers_free(worker);
}
