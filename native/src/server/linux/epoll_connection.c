/*
 * epoll_connection.c - what happens to one connection of the epoll model.
 *
 * The path of a request is receive_and_echo: one recv and one send, no memory but the worker's buffer. Only a send that is short
 * touches the state of the connection.
 */
#include <errno.h>
#include <string.h>

#include "server/linux/epoll.h"

void epoll_connection_close(struct worker *worker, int socket, bool reset)
{
	struct connection *connection = connection_of(worker->server, socket);
	ib_assert(connection->owner == worker->number + 1); /* closed once, by its worker */
	free(connection->unsent);
	connection->unsent = NULL;
	service_hold_end(&worker->service, connection->hold);
	connection->hold = NULL;
	atomic_store_explicit(&connection->owner, 0, memory_order_release);
	/* Closing takes the socket out of the epoll instance too: no descriptor is ever duplicated. */
	worker->system_calls++;
	if (reset) {
		worker->system_calls++;
		socket_close_reset(socket);
	} else {
		socket_close(socket);
	}
	counter_add(&worker->counters.closed, 1);
}

void epoll_connection_fail(struct worker *worker, int socket, int code)
{
	counters_error(&worker->counters, code);
	epoll_connection_close(worker, socket, false);
}

bool epoll_interest_set(struct worker *worker, int socket, uint32_t interest)
{
	struct epoll_event event = {.events = interest, .data.u64 = (uint64_t)(uint32_t)socket};
	worker->system_calls++;
	if (epoll_ctl(worker->epoll, EPOLL_CTL_MOD, socket, &event) == 0) {
		return true;
	}
	epoll_connection_fail(worker, socket, errno);
	return false;
}

/* Puts the bytes aside that send would not take. False when the connection had to be closed. */
static bool unsent_keep(struct worker *worker, int socket, const char *bytes, size_t length)
{
	struct connection *connection = connection_of(worker->server, socket);
	ib_assert(connection->unsent == NULL);
	connection->unsent = malloc(length);
	if (connection->unsent == NULL) {
		epoll_connection_fail(worker, socket, ENOMEM);
		return false;
	}
	memcpy(connection->unsent, bytes, length);
	connection->unsent_offset = 0;
	connection->unsent_length = (uint32_t)length;
	counter_add(&worker->counters.receives_paused, 1);
	return worker->server->edge_triggered || epoll_interest_set(worker, socket, EPOLLOUT);
}

/* One recv and one send: the whole of a request. */
static inline enum epoll_step receive_and_echo(struct worker *worker, int socket)
{
	size_t size = worker->server->options.receive_buffer_bytes;
	ssize_t received = recv(socket, worker->buffer, size, 0);
	worker->system_calls++;
	if (received <= 0) {
		if (received < 0 && (errno == EAGAIN || errno == EINTR)) {
			return STEP_EMPTY;
		}
		if (received == 0) {
			epoll_connection_close(worker, socket, false);
		} else {
			epoll_connection_fail(worker, socket, errno);
		}
		return STEP_CLOSED;
	}
	worker->requests++;
	worker->bytes_received += (uint64_t)received;
	ssize_t sent = send(socket, worker->buffer, (size_t)received, MSG_NOSIGNAL);
	worker->system_calls++;
	if (sent < 0) {
		if (errno != EAGAIN && errno != EINTR) {
			epoll_connection_fail(worker, socket, errno);
			return STEP_CLOSED;
		}
		sent = 0;
	}
	worker->bytes_sent += (uint64_t)sent;
	if (sent < received) {
		return unsent_keep(worker, socket, worker->buffer + sent, (size_t)(received - sent)) ? STEP_BLOCKED
		                                                                                     : STEP_CLOSED;
	}
	return (size_t)received == size ? STEP_FULL : STEP_EMPTY;
}

/* Sends what waits. STEP_FULL when all is sent: the socket may be read again. */
static enum epoll_step unsent_flush(struct worker *worker, int socket, struct connection *connection)
{
	ssize_t sent = send(socket, connection->unsent + connection->unsent_offset,
	                    connection->unsent_length - connection->unsent_offset, MSG_NOSIGNAL);
	worker->system_calls++;
	if (sent < 0) {
		if (errno == EAGAIN || errno == EINTR) {
			return STEP_BLOCKED;
		}
		epoll_connection_fail(worker, socket, errno);
		return STEP_CLOSED;
	}
	worker->bytes_sent += (uint64_t)sent;
	connection->unsent_offset += (uint32_t)sent;
	if (connection->unsent_offset < connection->unsent_length) {
		return STEP_BLOCKED;
	}
	free(connection->unsent);
	connection->unsent = NULL;
	return STEP_FULL;
}

void epoll_connection_drain(struct worker *worker, int socket)
{
	if (worker->service.service != NULL) {
		epoll_service_drain(worker, socket);
		return;
	}
	struct connection *connection = connection_of(worker->server, socket);
	enum epoll_step step = connection->unsent != NULL ? unsent_flush(worker, socket, connection) : STEP_FULL;
	/* Until recv says that there is nothing: a short read does not tell that the stream ends behind it. */
	for (int round = 0; step <= STEP_FULL && round < DRAIN_ROUNDS_MAX; round++) {
		uint64_t before = worker->requests;
		step = receive_and_echo(worker, socket);
		if (worker->requests == before) {
			break;
		}
	}
	if (step == STEP_EMPTY || step == STEP_FULL) {
		epoll_connection_close(worker, socket, false);
	}
}

static void level_triggered(struct worker *worker, int socket, uint32_t events)
{
	if ((events & EPOLLIN) != 0) {
		receive_and_echo(worker, socket);
		return;
	}
	struct connection *connection = connection_of(worker->server, socket);
	if (connection->unsent == NULL) {
		receive_and_echo(worker, socket); /* an error alone: recv tells which */
	} else if (unsent_flush(worker, socket, connection) == STEP_FULL) {
		(void)epoll_interest_set(worker, socket, EPOLLIN);
	}
}

static void edge_triggered(struct worker *worker, int socket, uint32_t events)
{
	struct connection *connection = connection_of(worker->server, socket);
	bool ended = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	if (connection->unsent != NULL) {
		if (unsent_flush(worker, socket, connection) != STEP_FULL) {
			return;
		}
		/* The end of the stream may have been an event that was not acted upon while bytes waited. */
		ended = true;
	}
	for (int round = 0; round < EDGE_ROUNDS_MAX; round++) {
		uint64_t before = worker->requests;
		enum epoll_step step = receive_and_echo(worker, socket);
		if (step == STEP_BLOCKED || step == STEP_CLOSED) {
			return;
		}
		if (step == STEP_EMPTY && (!ended || worker->requests == before)) {
			return;
		}
	}
	(void)epoll_interest_set(worker, socket, interest_reading(worker->server));
}

void epoll_connection_ready(struct worker *worker, int socket, uint32_t events)
{
	if (worker->server->echoes_level_triggered) {
		level_triggered(worker, socket, events);
	} else if (worker->service.service != NULL) {
		epoll_service_ready(worker, socket, events);
	} else {
		edge_triggered(worker, socket, events);
	}
}

void epoll_connection_reset(struct worker *worker, int socket)
{
	worker->thread.reset_count++;
	epoll_connection_close(worker, socket, true);
}
