/*
 * epoll_service.c - connections of the epoll model whose requests get more than their echo (--work, --wait, --protocol http).
 *
 * A request that waits leaves the loop free for the other connections: the loop's own wait ends when the first of them is due. The worker has
 * one buffer for all connections, so bytes of a connection that cannot be answered at once are copied to a buffer of its own, and its socket
 * is not read until they are answered.
 *
 * Traps
 *   - Level triggering: a socket that has more to read while its request waits would be reported at once by every epoll_wait. Its interest is
 *     changed only when that happens, since most peers send nothing before they have the reply.
 *   - An error or a hang-up is reported whatever the interest is. Only EPOLLONESHOT silences a socket entirely; a last event is harmless.
 *   - epoll_wait counts in milliseconds. epoll_pwait2 (Linux 5.11) takes ns; before, ppoll() on the epoll instance does.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/linux/epoll.h"
#include "system_time.h"

/* glibc has the wrapper only since 2.35, and this library is built for older versions too. */
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

/* Level-triggered: what the socket is waited for. Edge-triggered the interest never changes. */
static bool interest_change(struct worker *worker, struct service_hold *hold, uint32_t interest)
{
	if (worker->server->edge_triggered || hold->interest == interest) {
		return true;
	}
	hold->interest = interest;
	return epoll_interest_set(worker, (int)hold->number, interest);
}

/* Serves what a connection holds, until it is all answered (STEP_FULL), a request waits, or the socket takes no more. */
static enum epoll_step hold_serve(struct worker *worker, struct service_hold *hold)
{
	int socket = (int)hold->number;
	for (;;) {
		switch (service_hold_step(&worker->service, hold)) {
		case SERVICE_READ:
			return interest_change(worker, hold, EPOLLIN) ? STEP_FULL : STEP_CLOSED;
		case SERVICE_WAIT:
			return STEP_BLOCKED;
		case SERVICE_CUT:
			epoll_connection_reset(worker, socket);
			return STEP_CLOSED;
		case SERVICE_END:
			socket_shutdown_send(socket);
			worker->system_calls++;
			continue;
		case SERVICE_REPLY:
			break;
		}
		ssize_t sent = send(socket, hold->request.reply_bytes, hold->request.reply, MSG_NOSIGNAL);
		worker->system_calls++;
		if (sent < 0) {
			if (errno != EAGAIN && errno != EINTR) {
				epoll_connection_fail(worker, socket, errno);
				return STEP_CLOSED;
			}
			counter_add(&worker->counters.receives_paused, 1);
			return interest_change(worker, hold, EPOLLOUT) ? STEP_BLOCKED : STEP_CLOSED;
		}
		worker->bytes_sent += (uint64_t)sent;
		service_hold_sent(&worker->service, hold, (uint32_t)sent);
	}
}

/* What a step has left unanswered outlives the worker's buffer. */
static enum epoll_step hold_keep(struct worker *worker, struct service_hold *hold)
{
	if (service_hold_keep(hold)) {
		return STEP_BLOCKED;
	}
	epoll_connection_fail(worker, (int)hold->number, ENOMEM);
	return STEP_CLOSED;
}

/* One recv, and the requests that it completes. Only for a connection that holds nothing. */
static enum epoll_step receive_and_serve(struct worker *worker, int socket, struct connection *connection)
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
	bool first = connection->hold == NULL;
	if (!service_hold_lend(&connection->hold, worker->buffer, (uint32_t)received)) {
		epoll_connection_fail(worker, socket, ENOMEM);
		return STEP_CLOSED;
	}
	if (first) {
		connection->hold->number = (uint32_t)socket;
		connection->hold->interest = EPOLLIN;
	}
	enum epoll_step step = hold_serve(worker, connection->hold);
	if (step == STEP_BLOCKED) {
		return hold_keep(worker, connection->hold);
	}
	return step == STEP_FULL && (size_t)received < size ? STEP_EMPTY : step;
}

/* Reads until the socket has no more: the edge that told of it comes once. */
static void edge_read(struct worker *worker, int socket, struct connection *connection, bool ended)
{
	for (int round = 0; round < EDGE_ROUNDS_MAX; round++) {
		uint64_t before = worker->requests;
		enum epoll_step step = receive_and_serve(worker, socket, connection);
		if (step == STEP_BLOCKED || step == STEP_CLOSED) {
			return;
		}
		if (step == STEP_EMPTY && (!ended || worker->requests == before)) {
			return;
		}
	}
	(void)epoll_interest_set(worker, socket, interest_reading(worker->server));
}

/* All is answered: the socket is read again. */
static void read_again(struct worker *worker, int socket, struct connection *connection)
{
	if (worker->draining) {
		epoll_service_drain(worker, socket);
	} else if (worker->server->edge_triggered) {
		/* What came while a request waited, be it the end of the stream, was an event that was not acted upon. */
		edge_read(worker, socket, connection, true);
	}
}

void epoll_service_ready(struct worker *worker, int socket, uint32_t events)
{
	struct connection *connection = connection_of(worker->server, socket);
	struct service_hold *hold = connection->hold;
	if (hold != NULL && hold->request.state == SERVICE_WAITING) {
		(void)interest_change(worker, hold, EPOLLONESHOT);
	} else if (hold != NULL && service_hold_is_busy(hold)) {
		if (hold_serve(worker, hold) == STEP_FULL) {
			read_again(worker, socket, connection);
		}
	} else if (worker->server->edge_triggered) {
		edge_read(worker, socket, connection, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
	} else {
		(void)receive_and_serve(worker, socket, connection);
	}
}

void epoll_service_drain(struct worker *worker, int socket)
{
	struct connection *connection = connection_of(worker->server, socket);
	struct service_hold *hold = connection->hold;
	enum epoll_step step = STEP_FULL;
	if (hold != NULL && hold->request.state == SERVICE_WAITING) {
		(void)interest_change(worker, hold, EPOLLONESHOT);
		return;
	}
	if (hold != NULL && service_hold_is_busy(hold)) {
		step = hold_serve(worker, hold);
	}
	for (int round = 0; step <= STEP_FULL && round < DRAIN_ROUNDS_MAX; round++) {
		uint64_t before = worker->requests;
		step = receive_and_serve(worker, socket, connection);
		if (step <= STEP_FULL && worker->requests == before) {
			break;
		}
	}
	if (step <= STEP_FULL) {
		epoll_connection_close(worker, socket, false);
	}
}

void epoll_service_due(struct worker *worker)
{
	uint64_t now_ns = clock_now_ns();
	struct service_request *request;
	while ((request = service_due(&worker->service, now_ns)) != NULL) {
		struct service_hold *hold = service_hold_of(request);
		int socket = (int)hold->number;
		if (hold_serve(worker, hold) == STEP_FULL) {
			read_again(worker, socket, connection_of(worker->server, socket));
		}
	}
}

int epoll_service_wait(struct worker *worker, int timeout_ms)
{
	uint64_t now_ns = clock_now_ns();
	uint64_t due_ns = service_next_due(&worker->service);
	uint64_t timeout_ns = due_ns > now_ns ? due_ns - now_ns : 0;
	uint64_t limit_ns = timeout_ms < 0 ? UINT64_MAX : (unsigned)timeout_ms * NS_PER_MS;
	if (limit_ns < timeout_ns) {
		timeout_ns = limit_ns;
	}
	if (timeout_ns == 0) {
		return epoll_wait(worker->epoll, worker->events, EVENTS_MAX, 0);
	}
	struct timespec timeout = timespec_of_ns(timeout_ns);
	long count = syscall(SYS_epoll_pwait2, worker->epoll, worker->events, EVENTS_MAX, &timeout, NULL, (size_t)0);
	/* Old kernels and strict sandboxes lack it. */
	if (count < 0 && (errno == ENOSYS || errno == EPERM)) {
		struct pollfd loop = {.fd = worker->epoll, .events = POLLIN};
		count = ppoll(&loop, 1, &timeout, NULL) > 0 ? epoll_wait(worker->epoll, worker->events, EVENTS_MAX, 0) : 0;
	}
	return (int)count;
}
