/*
 * epoll.c - client engine over epoll.
 *
 * Technique. Each connection has one edge-triggered registration for its whole life (in, out and the peer's half-close), so there
 * is no epoll_ctl after the connect. One recv drains an edge, because a recv that returns less than requested has emptied the
 * socket (epoll(7)). Only after an event that reports the peer's end does the engine read up to that end. So a request costs one
 * recv, one send and its share of an epoll_wait.
 *
 * With a single message in flight in a closed loop, the engine waits in recv() itself: a request costs one recv and one send, the least
 * possible with sockets. See lone_receive().
 *
 * Sending needs no buffer per connection. The bytes are generated into one buffer of the engine just before the call, and the rest
 * of a short send is generated again when the socket is writable.
 *
 * Floor: Linux 2.6.28. epoll_pwait2 (5.11) waits in ns. Before 5.11 a timerfd in the epoll set does the same.
 *
 * Traps
 *  - connect() of a non-blocking socket succeeds before the server accepts. So a connection counts only after a right first echo.
 *  - An event may carry EPOLLERR or EPOLLHUP without EPOLLIN. recv() then returns the reason.
 *  - After a short send EPOLLOUT comes as an edge, because the kernel noted the lack of room during that call.
 *  - close() of a socket with SO_LINGER 0 sends RST and leaves no TIME_WAIT. Closing many sockets takes long at the end of a stopped
 *    run, so after a bounded time a separate thread closes the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load/engine.h"
#include "load/linux/client_socket.h"
#include "load/linux/receive_timer.h"
#include "load/linux/timed_epoll.h"

#define BATCH_EVENTS 512
#define BUFFER_BYTES (128u * 1024u)

struct poller {
	struct engine *engine;
	struct timed_epoll set;
	uint64_t descriptors; /* open sockets */
	uint8_t *receive_buffer;
	uint8_t *send_buffer;
	uint32_t last_sent; /* connection of the last send */
	struct receive_timer receive_timer;
	int lone_socket;        /* the one that recv() may block on; -1: none */
	bool lone_is_slow;      /* the last echo took too long to wait for it in recv() */
	uint64_t lone_until_ns; /* when the other sockets are looked at again */
	struct epoll_event events[BATCH_EVENTS];
};

static void epoll_engine_probe(struct ib_probe *out)
{
	out->available = 1;
}

/* ------------------------------------------------------------------------------------------ connections */

static int socket_of(const struct connection *connection)
{
	return (int)connection->handle;
}

static void connection_close(struct poller *poller, uint32_t index, enum engine_close_way way)
{
	struct connection *connection = engine_connection(poller->engine, index);
	int socket = socket_of(connection);

	if (way == ENGINE_CLOSE_FIN) {
		size_t last = wire_last(poller->engine, index, poller->send_buffer, BUFFER_BYTES);
		if (last != 0) {
			poller->engine->counters.system_calls++;
			(void)send(socket, poller->send_buffer, last, MSG_NOSIGNAL | MSG_DONTWAIT);
		}
		/* The close follows when the peer's FIN comes, or when the engine stops waiting for it. */
		poller->engine->counters.system_calls++;
		if (shutdown(socket, SHUT_WR) == 0) {
			return;
		}
	}
	client_socket_close(poller->engine, socket, poller->engine->fin && way != ENGINE_CLOSE_BOTH);
	poller->lone_socket = socket == poller->lone_socket ? -1 : poller->lone_socket;
	poller->descriptors--;
	engine_closed(poller->engine, index);
}

static void connection_close_after_verdict(struct poller *poller, uint32_t index)
{
	connection_close(poller, index, engine_close_way(poller->engine, index));
}

static void connection_send(struct poller *poller, uint32_t index)
{
	struct engine *engine = poller->engine;
	struct connection *connection = engine_connection(engine, index);
	int socket = socket_of(connection);

	do {
		size_t length = wire_fill(engine, index, poller->send_buffer, BUFFER_BYTES);
		ssize_t sent = send(socket, poller->send_buffer, length, MSG_NOSIGNAL | MSG_DONTWAIT);

		engine->counters.system_calls++;
		if (unlikely(sent < 0)) {
			if (errno == EAGAIN) {
				connection->blocked = 1;
			} else if (errno != EINTR) {
				engine_failed(engine, index, errno, clock_now_ns());
				connection_close_after_verdict(poller, index);
			}
			return;
		}
		poller->last_sent = index;
		wire_sent(engine, index, (size_t)sent);
		if ((size_t)sent < length) {
			connection->blocked = 1;
			return;
		}
	} while (unlikely(wire_to_send(engine, connection) != 0));
}

static bool descriptors_used_up(const struct poller *poller)
{
	uint32_t bound = poller->engine->options.descriptors;
	return bound != 0 && poller->descriptors >= bound;
}

static struct epoll_event interest(uint32_t index)
{
	return (struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = index};
}

static void connection_begin(struct poller *poller, uint32_t index)
{
	struct engine *engine = poller->engine;
	struct connection *connection = engine_connection(engine, index);
	struct epoll_event event = interest(index);
	int code = 0;

	if (descriptors_used_up(poller)) {
		engine_failed_because(engine, index, IB_ERROR_DESCRIPTORS, EMFILE, clock_now_ns(),
		                      "all descriptors planned for this engine are in use");
		engine_closed(engine, index);
		return;
	}
	int socket = client_socket_connect(engine, index, &code);
	engine->counters.system_calls += socket >= 0;
	if (socket >= 0 && epoll_ctl(poller->set.epoll, EPOLL_CTL_ADD, socket, &event) != 0) {
		code = errno;
		client_socket_close(engine, socket, engine->fin);
		socket = -1;
	}
	if (socket < 0) {
		engine_failed(engine, index, code, clock_now_ns());
		engine_closed(engine, index);
		return;
	}
	connection->handle = (uint64_t)socket;
	poller->descriptors++;
}

/* -------------------------------------------------------------------------------------------- events */

static void connect_finished(struct poller *poller, uint32_t index, uint32_t events)
{
	struct engine *engine = poller->engine;
	int code = 0;
	socklen_t length = sizeof code;

	if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
		engine->counters.system_calls++;
		getsockopt(socket_of(engine_connection(engine, index)), SOL_SOCKET, SO_ERROR, &code, &length);
	}
	if (code != 0) {
		engine_failed(engine, index, code, clock_now_ns());
		connection_close_after_verdict(poller, index);
	} else {
		enum engine_verdict verdict = engine_connected(engine, index, clock_now_ns());
		if (verdict == ENGINE_SEND) {
			connection_send(poller, index);
		} else if (unlikely(verdict == ENGINE_CLOSE)) {
			connection_close_after_verdict(poller, index);
		}
	}
}

/*
 * How many full buffers one connection may receive in a row. Otherwise a server as fast as this client could keep it in one
 * connection's loop for ever: the echoes of other connections would time out in their sockets, and commands would stay unread.
 */
#define FULL_RECEIVES_MOST 8

/* Requests a new event for bytes that wait already. In edge-triggered mode a change of interest checks the socket again. */
static bool connection_later(struct poller *poller, uint32_t index, int socket)
{
	struct epoll_event event = interest(index);
	poller->engine->counters.system_calls++;
	return epoll_ctl(poller->set.epoll, EPOLL_CTL_MOD, socket, &event) == 0;
}

/* Handles what one recv() returned, `code` being its errno. False: the connection is closed. */
static bool received_handle(struct poller *poller, uint32_t index, ssize_t received, int code, uint64_t now)
{
	struct engine *engine = poller->engine;

	if (unlikely(received <= 0)) {
		engine_failed(engine, index, received < 0 ? code : 0, now);
		connection_close_after_verdict(poller, index);
		return false;
	}
	enum engine_verdict verdict = wire_received(engine, index, poller->receive_buffer, (size_t)received, now);
	if (unlikely(verdict == ENGINE_CLOSE)) {
		connection_close_after_verdict(poller, index);
		return false;
	}
	if (verdict == ENGINE_SEND) {
		connection_send(poller, index);
		if (unlikely(engine_connection(engine, index)->state != CONNECTION_LIVE) &&
		    engine_connection(engine, index)->state != CONNECTION_FIRST) {
			return false; /* the send failed */
		}
	}
	return true;
}

/* Reads the bytes that have come. False: the connection is closed. */
static bool connection_receive(struct poller *poller, uint32_t index, uint32_t events)
{
	struct engine *engine = poller->engine;
	int socket = socket_of(engine_connection(engine, index));
	bool ends = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;

	for (int full = 0;; full++) {
		if (unlikely(full == FULL_RECEIVES_MOST)) {
			if (connection_later(poller, index, socket)) {
				return true;
			}
			full = 0; /* no event would report these bytes again, so read on, although it is unfair to the others */
		}
		ssize_t received = recv(socket, poller->receive_buffer, BUFFER_BYTES, MSG_DONTWAIT);
		int code = errno;
		uint64_t now = clock_now_ns();

		engine->counters.system_calls++;
		if (unlikely(received < 0 && code == EAGAIN)) {
			return true;
		}
		if (unlikely(!received_handle(poller, index, received, code, now))) {
			return false;
		}
		if (received < (ssize_t)BUFFER_BYTES && !ends) {
			return true;
		}
	}
}

/* After our FIN, data is dropped until the peer's FIN comes. */
static void closing_receive(struct poller *poller, uint32_t index)
{
	int socket = socket_of(engine_connection(poller->engine, index));

	for (;;) {
		ssize_t received = recv(socket, poller->receive_buffer, BUFFER_BYTES, MSG_DONTWAIT);
		poller->engine->counters.system_calls++;
		if (received < 0 && errno == EAGAIN) {
			return;
		}
		if (received <= 0) {
			connection_close(poller, index, ENGINE_CLOSE_RESET);
			return;
		}
	}
}

static void connection_event(struct poller *poller, uint32_t index, uint32_t events)
{
	struct connection *connection = engine_connection(poller->engine, index);

	if (unlikely(connection->state == CONNECTION_CONNECTING)) {
		connect_finished(poller, index, events);
		if ((events & (EPOLLIN | EPOLLRDHUP)) == 0 || connection->state != CONNECTION_FIRST) {
			return;
		}
	}
	if (unlikely(connection->state == CONNECTION_CLOSING)) {
		closing_receive(poller, index);
		return;
	}
	if (likely((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) &&
	    !connection_receive(poller, index, events)) {
		return;
	}
	if (unlikely(connection->blocked && (events & EPOLLOUT) != 0)) {
		connection->blocked = 0;
		if (wire_to_send(poller->engine, connection) != 0) {
			connection_send(poller, index);
		}
	}
}

/* ---------------------------------------------------------------------------------------------- loop */

/* Does what is due now. Returns the time. */
static uint64_t work(struct poller *poller, uint64_t now)
{
	struct engine *engine = poller->engine;
	enum engine_close_way way;
	uint32_t index;

	while (engine_next_close(engine, now, &index, &way)) {
		connection_close(poller, index, way);
		now = clock_now_ns();
	}
	while (engine_has_connects(engine) && engine_next_connect(engine, clock_now_ns(), &index)) {
		connection_begin(poller, index);
		now = clock_now_ns();
	}
	while (engine_next_send(engine, now, &index)) {
		connection_send(poller, index);
		now = clock_now_ns();
	}
	return now;
}

static uint32_t fetch(struct poller *poller, uint64_t now)
{
	struct engine *engine = poller->engine;
	uint64_t timeout_ns = engine_wait_ns(engine, now);

	if (timeout_ns == 0 || engine_poll_first(engine)) {
		uint32_t events = (uint32_t)timed_epoll_wait(&poller->set, poller->events, BATCH_EVENTS, 0);
		engine_wait_end(engine, now, events, true);
		if (events != 0 || timeout_ns == 0) {
			return events;
		}
	}
	engine_wait_begin(engine, now);
	uint32_t events = (uint32_t)timed_epoll_wait(&poller->set, poller->events, BATCH_EVENTS, timeout_ns);
	engine_wait_end(engine, clock_now_ns(), events, false);
	return events;
}

/* ------------------------------------------------------------------------------- one message in flight */

/* How long echoes are awaited in recv() before the set is looked at again. The commands may wait this long, by the contract. */
#define LONE_LOOK_NS (10 * NS_PER_MS)
/* A slower echo is awaited with the set, whose timeouts are exact. */
#define LONE_ECHO_LONGEST_NS NS_PER_MS
/*
 * A timer ends a recv() after at most this time. While it is due within a tick of the kernel, an idle CPU does not stop its tick. Stopping it
 * and starting it again programs the clock twice for each wait, which is expensive on a virtual machine (Documentation/timers/no_hz.rst).
 */
#define LONE_PERIOD_NS (2 * NS_PER_MS)

/* Whether the only thing to wait for is the echo of the last message sent, and it is likely to come soon. */
static inline bool lone_waits(const struct poller *poller, uint64_t now)
{
	const struct engine *engine = poller->engine;

	if (engine->mode != ENGINE_MODE_CLOSED || engine->counters.outstanding != 1 || engine->awaiting != 0 ||
	    engine->options.think_time_ns != 0 || poller->receive_timer.id < 0 || poller->lone_is_slow ||
	    now >= poller->lone_until_ns || engine_wait_ns(engine, now) == 0) {
		return false;
	}
	const struct connection *connection = engine_connection(engine, poller->last_sent);
	return connection->state == CONNECTION_LIVE && connection->queued_ahead == 1 && !connection->blocked;
}

/* Lets recv() block on the socket, until the timer ends it. False on failure. */
static bool lone_allow(struct poller *poller, int socket)
{
	if (socket != poller->lone_socket) {
		poller->engine->counters.system_calls++;
		if (fcntl(socket, F_SETFL, 0) != 0) {
			return false;
		}
		poller->lone_socket = socket;
	}
	poller->engine->counters.system_calls++;
	return receive_timer_start(&poller->receive_timer, LONE_PERIOD_NS);
}

/*
 * Awaits the echo in recv(). The set collects events meanwhile, including those of bytes read here. It is looked at every 10 ms, so that
 * the end of an idle connection is noticed.
 */
static void lone_receive(struct poller *poller, uint64_t now)
{
	struct engine *engine = poller->engine;
	uint32_t index = poller->last_sent;
	int socket = socket_of(engine_connection(engine, index));

	if (unlikely(socket != poller->lone_socket || !poller->receive_timer.runs) && !lone_allow(poller, socket)) {
		poller->lone_is_slow = true;
		return;
	}
	engine->works_in_wait = true;
	engine_wait_begin(engine, now);
	ssize_t received = recv(socket, poller->receive_buffer, BUFFER_BYTES, 0);
	int code = errno;
	uint64_t after = clock_now_ns();
	engine_wait_end(engine, after, received > 0, false);
	engine->counters.system_calls++;
	poller->lone_is_slow = after - now > LONE_ECHO_LONGEST_NS;
	if (received >= 0 || (code != EAGAIN && code != EINTR)) {
		(void)received_handle(poller, index, received, code, after);
	}
}

static void loop(struct poller *poller)
{
	uint64_t now = clock_now_ns();

	while (engine_turn(poller->engine, now)) {
		now = work(poller, now);
		if (lone_waits(poller, now)) {
			lone_receive(poller, now);
			now = clock_now_ns();
			continue;
		}
		if (poller->receive_timer.runs) {
			poller->engine->counters.system_calls++;
			receive_timer_stop(&poller->receive_timer);
		}
		uint32_t count = fetch(poller, now);
		uint64_t fetch_ns = now;
		poller->lone_until_ns = now + LONE_LOOK_NS;
		poller->engine->counters.system_calls += poller->set.system_calls;
		poller->set.system_calls = 0;
		for (uint32_t at = 0; at < count; at++) {
			if (likely(poller->events[at].data.u64 != TIMED_EPOLL_TIMER)) {
				connection_event(poller, (uint32_t)poller->events[at].data.u64, poller->events[at].events);
			}
		}
		now = clock_now_ns();
		/* An echo that came soon after its wait began: the next one may be awaited in recv() again. */
		poller->lone_is_slow = poller->lone_is_slow && now - fetch_ns > LONE_ECHO_LONGEST_NS;
	}
}

static int32_t poller_open(struct poller *poller, struct ib_error *error)
{
	poller->receive_buffer = malloc(BUFFER_BYTES);
	poller->send_buffer = malloc(BUFFER_BYTES);
	if (poller->receive_buffer == NULL || poller->send_buffer == NULL) {
		return error_set(error, IB_STATUS_MEMORY, ENOMEM, "no memory for the buffers of an engine");
	}
	poller->engine->result.memory_bytes += 2ull * BUFFER_BYTES + sizeof *poller;
	if (!timed_epoll_open(&poller->set)) {
		return error_set(error, errno == EMFILE || errno == ENFILE ? IB_STATUS_DESCRIPTORS : IB_STATUS_OS, errno,
		                 "an epoll set could not be created: %s", error_text(errno));
	}
	snprintf(poller->engine->result.features, sizeof poller->engine->result.features, "edge-triggered %s",
	         poller->set.timer < 0 ? "epoll_pwait2" : "timerfd");
	return IB_STATUS_OK;
}

static void poller_close(struct poller *poller)
{
	timed_epoll_close(&poller->set);
	receive_timer_close(&poller->receive_timer);
	free(poller->receive_buffer);
	free(poller->send_buffer);
	free(poller);
}

static int32_t epoll_engine_run(struct engine *engine, struct ib_error *error)
{
	struct poller *poller = calloc(1, sizeof *poller);

	if (poller == NULL) {
		return error_set(error, IB_STATUS_MEMORY, ENOMEM, "no memory for an engine");
	}
	poller->engine = engine;
	poller->lone_socket = -1;
	/* Without a timer, every echo is awaited with the set. */
	(void)receive_timer_open(&poller->receive_timer);
	poller->set = (struct timed_epoll){.epoll = -1, .timer = -1};
	int32_t status = poller_open(poller, error);
	if (status == IB_STATUS_OK) {
		loop(poller);
		client_sockets_abandon(engine);
	}
	poller_close(poller);
	return status;
}

static void network_read(struct engine *engine, uint32_t index)
{
	client_socket_network_read(engine, socket_of(engine_connection(engine, index)));
}

const struct engine_backend epoll_engine = {
    .name = "epoll",
    .takes_descriptors = true,
    .quickest_alone = true,
    .probe = epoll_engine_probe,
    .network_read = network_read,
    .run = epoll_engine_run,
};
