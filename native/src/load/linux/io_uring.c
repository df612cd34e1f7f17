/*
 * io_uring.c - client engine over io_uring.
 *
 * Technique. Every socket is a direct descriptor. Receives take buffers from a ring of provided buffers. They are multishot, so that an
 * echo costs no entry of its own, or each is posted at the moment its echo is there, if that is known (io_uring_receive.c). An echo is
 * verified in its buffer, which is returned at once. Sends are filled into an arena and submitted in small batches, together with the
 * receives and the wait, so that a request costs a fraction of a system call.
 *
 * A send carries MSG_DONTWAIT, so it has ended (complete, short or refused) when io_uring_enter() returns. The arena is reused after
 * every submission, and a connection whose peer does not read holds no buffer. A poll reports when it is writable.
 *
 * A table of direct descriptors has at most RLIMIT_NOFILE slots, but uses no descriptors of the process. An engine with more
 * connections has several rings, each with a table, on its one thread. An epoll set of eventfds reports which rings have work.
 *
 * Floor: Linux 6.0 (multishot receive, SINGLE_ISSUER); DEFER_TASKRUN from 6.1 on. Fallback: the epoll engine.
 *
 * Traps
 *  - Multishot receives can end by themselves (ENOBUFS, a full completion queue), so every completion is checked for MORE.
 *  - With DEFER_TASKRUN completions appear only when the ring is entered, however many operations have completed.
 *  - A large batch of completions must not delay the sends that it causes, because their clocks already run: see SUBMIT_BATCH. A
 *    message that is due by the timetable is submitted on its own.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "load/linux/io_uring.h"

/* Sends are submitted when this many are filled. So a send leaves at most this many verifications after its recorded time. */
#define SUBMIT_BATCH 32u
#define CHUNK_COMPLETIONS 64u
/* The most completions of one ring in one round, so that commands, timeouts and due messages get their turn too. */
#define TAKE_MAX 1024u
#define SEND_LONGEST_BYTES (128u * 1024u)
#define ROUND_NS NS_PER_MS
/* An alert of TLS is shorter. */
#define LAST_BYTES 256

static void io_uring_engine_probe(struct ib_probe *out)
{
	struct ring_support support;

	ring_support_probe(&support);
	out->available = support.code == 0;
	out->os_code = support.code;
	snprintf(out->reason, sizeof out->reason, "%s", support.reason);
	snprintf(out->hint, sizeof out->hint, "%s", support.hint);
	snprintf(out->features, sizeof out->features, "%s", support.features);
}

/* ---------------------------------------------------------------------------------------------- send */

void rings_submit(struct rings *rings, struct client_ring *at)
{
	while (entries_pending(at)) {
		int result = ring_submit(&at->ring);
		if (result <= 0 && result != -EINTR) {
			/* The kernel accepts no entries now (memory). The next round tries again. */
			if (result != -EAGAIN && result != -EBUSY) {
				rings->fatal = result != 0 ? -result : EIO;
			}
			return;
		}
	}
	at->arena_used = 0;
	at->sends_filled = 0;
}

static void connection_send(struct rings *rings, uint32_t index)
{
	struct engine *engine = rings->engine;
	struct connection *connection = engine_connection(engine, index);
	struct client_ring *at = ring_of(rings, index);
	size_t length = wire_to_send(engine, connection);

	length = length < SEND_LONGEST_BYTES ? length : SEND_LONGEST_BYTES;
	if (at->ring.sqe_tail - at->ring.sqe_submitted >= SUBMIT_BATCH || at->arena_used + length > ARENA_BYTES) {
		rings_submit(rings, at);
	}
	if (at->arena_used + length > ARENA_BYTES) {
		return; /* the kernel accepts nothing: the request times out, or the engine ends and reports the reason */
	}
	struct uring_sqe *sqe = entry(rings, at, OP_SEND, index);
	if (sqe == NULL) {
		return;
	}
	uint8_t *bytes = at->arena + at->arena_used;
	at->arena_used += wire_fill(engine, index, bytes, length);
	sqe->opcode = URING_OP_SEND;
	sqe->addr = (uint64_t)(uintptr_t)bytes;
	sqe->len = (uint32_t)length;
	sqe->op_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
	connection->handle |= FLAG_SENDING;
	connection->blocked = 1;
	at->sends_filled++;
}

/* With MSG_DONTWAIT the send ends within its submission, so before the shutdown that is posted next. */
void rings_last_send(struct rings *rings, uint32_t index)
{
	struct client_ring *at = ring_of(rings, index);
	uint8_t last[LAST_BYTES];
	size_t length = wire_last(rings->engine, index, last, sizeof last);

	if (likely(length == 0)) {
		return;
	}
	if (at->arena_used + length > ARENA_BYTES) {
		rings_submit(rings, at);
	}
	struct uring_sqe *sqe = at->arena_used + length <= ARENA_BYTES ? entry(rings, at, OP_LAST, index) : NULL;
	if (sqe != NULL) {
		memcpy(at->arena + at->arena_used, last, length);
		sqe->opcode = URING_OP_SEND;
		sqe->addr = (uint64_t)(uintptr_t)(at->arena + at->arena_used);
		sqe->len = (uint32_t)length;
		sqe->op_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
		at->arena_used += length;
		at->sends_filled++;
	}
}

static void writable_await(struct rings *rings, uint32_t index)
{
	struct uring_sqe *sqe = entry(rings, ring_of(rings, index), OP_WRITABLE, index);

	if (sqe != NULL) {
		sqe->opcode = URING_OP_POLL_ADD;
		sqe->op_flags = POLLOUT;
		engine_connection(rings->engine, index)->handle |= FLAG_POLLING;
	}
}

static void act(struct rings *rings, uint32_t index, enum engine_verdict verdict)
{
	if (likely(verdict == ENGINE_SEND)) {
		connection_send(rings, index);
	} else if (verdict == ENGINE_CLOSE) {
		rings_connection_close(rings, index, engine_close_way(rings->engine, index));
	}
}

/* ----------------------------------------------------------------------------------------- completions */

static void connect_completed(struct rings *rings, uint32_t index, int32_t result)
{
	struct connection *connection = engine_connection(rings->engine, index);

	connection->handle &= ~FLAG_CONNECTING;
	if (result < 0 && rings_connection_connect_again(rings, index, -result)) {
		return;
	}
	connection->port_retried = 0;
	if (connection->state != CONNECTION_CONNECTING) {
		rings_connection_closed_when_over(rings, index);
	} else if (result < 0) {
		rings_connection_fail(rings, index, -result);
	} else {
		enum engine_verdict verdict = engine_connected(rings->engine, index, clock_now_ns());
		rings_receive_post(rings, index, true);
		act(rings, index, verdict);
	}
}

/* After our FIN, or while the close is in progress. Data is dropped: only the end matters. */
static void receive_while_closing(struct rings *rings, uint32_t index, int32_t result)
{
	struct connection *connection = engine_connection(rings->engine, index);

	if ((connection->handle & FLAG_RECEIVING) != 0) {
		return;
	}
	if (result > 0 && (connection->handle & FLAG_CLOSING) == 0) {
		rings_receive_post(rings, index, false);
	} else if ((connection->handle & FLAG_CLOSING) == 0) {
		rings_connection_close_now(rings, index);
	} else {
		rings_connection_closed_when_over(rings, index);
	}
}

static void receive_completed(struct rings *rings, uint32_t index, const struct uring_cqe *cqe)
{
	struct client_ring *at = ring_of(rings, index);
	struct connection *connection = engine_connection(rings->engine, index);
	uint64_t now = clock_now_ns();
	enum engine_verdict verdict = ENGINE_IDLE;
	bool alive = is_alive(connection);

	if ((cqe->flags & URING_CQE_MORE) == 0) {
		connection->handle &= ~FLAG_RECEIVING;
	}
	if (likely((cqe->flags & URING_CQE_BUFFER) != 0)) {
		uint16_t number = ring_buffers_taken(&at->buffers, cqe);
		if (likely(alive && cqe->res > 0)) {
			const uint8_t *bytes = (const uint8_t *)ring_buffers_memory(&at->buffers, number);
			verdict = wire_received(rings->engine, index, bytes, (size_t)cqe->res, now);
		}
		ring_buffers_give_back(&at->buffers, number);
	}
	if (unlikely(!alive)) {
		receive_while_closing(rings, index, cqe->res);
		return;
	}
	if (unlikely(cqe->res <= 0 && cqe->res != -ENOBUFS)) {
		rings_connection_fail(rings, index, -cqe->res);
		return;
	}
	if ((connection->handle & FLAG_RECEIVING) == 0 && verdict != ENGINE_CLOSE) {
		rings_receive_again(rings, index, cqe->res, verdict);
	}
	if (verdict != ENGINE_IDLE) {
		act(rings, index, verdict);
	}
}

static void send_completed(struct rings *rings, uint32_t index, int32_t result)
{
	struct engine *engine = rings->engine;
	struct connection *connection = engine_connection(engine, index);

	connection->handle &= ~FLAG_SENDING;
	connection->blocked = 0;
	if (unlikely(connection->state == CONNECTION_CLOSING)) {
		rings_connection_closed_when_over(rings, index);
	} else if (likely(result >= 0)) {
		wire_sent(engine, index, (size_t)result);
		if (unlikely(wire_to_send(engine, connection) != 0)) {
			connection_send(rings, index);
		}
	} else if (result == -EAGAIN) {
		connection->blocked = 1;
		writable_await(rings, index);
	} else {
		rings_connection_fail(rings, index, -result);
	}
}

static void writable_completed(struct rings *rings, uint32_t index)
{
	struct connection *connection = engine_connection(rings->engine, index);

	connection->handle &= ~FLAG_POLLING;
	connection->blocked = 0;
	if (connection->state == CONNECTION_CLOSING) {
		rings_connection_closed_when_over(rings, index);
	} else if (wire_to_send(rings->engine, connection) != 0) {
		connection_send(rings, index);
	}
}

static void close_completed(struct rings *rings, uint32_t index)
{
	engine_connection(rings->engine, index)->handle &= ~(FLAG_CLOSING | FLAG_INSTALLED);
	rings_connection_closed_when_over(rings, index);
}

/* If the shutdown failed, there is no FIN to wait for. */
static void shutdown_completed(struct rings *rings, uint32_t index, int32_t result)
{
	struct connection *connection = engine_connection(rings->engine, index);

	connection->handle &= ~FLAG_SHUTTING;
	if (result < 0 || (connection->handle & FLAG_CLOSE_DUE) != 0) {
		rings_connection_close_now(rings, index);
	}
}

static void completion(struct rings *rings, const struct uring_cqe *cqe)
{
	uint32_t index = (uint32_t)cqe->user_data;

	switch ((enum operation)(cqe->user_data >> OPERATION_SHIFT)) {
	case OP_RECEIVE:
		receive_completed(rings, index, cqe);
		break;
	case OP_SEND:
		send_completed(rings, index, cqe->res);
		break;
	case OP_CONNECT:
		connect_completed(rings, index, cqe->res);
		break;
	case OP_WRITABLE:
		writable_completed(rings, index);
		break;
	case OP_CLOSE:
		close_completed(rings, index);
		break;
	case OP_SHUTDOWN:
		shutdown_completed(rings, index, cqe->res);
		break;
	case OP_NETWORK:
		rings_connection_network_read(rings, cqe->res);
		break;
	case OP_LAST:
	case OP_CANCEL: /* there was nothing left to cancel: the operation's own completion is coming */
		break;
	}
}

/* Takes the completions that are there, in chunks. Their slots are returned before they are handled, to make room for new ones. */
static uint32_t completions_take(struct rings *rings, struct client_ring *at)
{
	uint32_t ready = ring_ready(&at->ring);
	uint32_t total = ready < TAKE_MAX ? ready : TAKE_MAX;
	struct uring_cqe chunk[CHUNK_COMPLETIONS];

	for (uint32_t taken = 0; taken < total;) {
		uint32_t count = total - taken < CHUNK_COMPLETIONS ? total - taken : CHUNK_COMPLETIONS;
		for (uint32_t place = 0; place < count; place++) {
			chunk[place] = *ring_cqe(&at->ring, place);
		}
		ring_advance(&at->ring, count);
		for (uint32_t place = 0; place < count; place++) {
			completion(rings, &chunk[place]);
		}
		taken += count;
		(void)ring_buffers_replenish(&at->buffers);
		if (at->starved.at.count != 0) {
			rings_receives_feed(rings, at);
		}
	}
	return total;
}

/* ---------------------------------------------------------------------------------------------- loop */

/* Does what is due now. Returns the time. */
static uint64_t work(struct rings *rings, uint64_t now)
{
	struct engine *engine = rings->engine;
	enum engine_close_way way;
	uint32_t index;

	while (engine_next_close(engine, now, &index, &way)) {
		rings_connection_close(rings, index, way);
		now = clock_now_ns();
	}
	while (rings->fatal == 0 && engine_has_connects(engine) && engine_next_connect(engine, clock_now_ns(), &index)) {
		rings_connection_begin(rings, index);
		now = clock_now_ns();
	}
	while (rings->fatal == 0 && engine_next_send(engine, now, &index)) {
		connection_send(rings, index);
		if (engine->mode == ENGINE_MODE_OPEN) {
			/* At once, so that its wait behind other messages counts as send lag and not as the server's time. */
			rings_submit(rings, ring_of(rings, index));
		}
		now = clock_now_ns();
	}
	return now;
}

/* Submission, wait and completions in one system call. */
static void enter(struct rings *rings, struct client_ring *at, uint32_t wait_count, uint64_t timeout_ns)
{
	int result = ring_enter(&at->ring, wait_count, timeout_ns);

	if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
		rings->fatal = -result;
	}
	if (!entries_pending(at)) {
		at->arena_used = 0;
		at->sends_filled = 0;
	}
}

/*
 * With so few messages in flight, polling never finds a batch, and an echo never waits in its socket for the client. So their sends, their
 * receives and the wait for the echo are one call. The sends complete within it and must not end the wait.
 */
#define FEW_IN_FLIGHT 3u

static bool few_in_flight(const struct rings *rings)
{
	const struct engine *engine = rings->engine;
	return rings->may_defer && engine->mode == ENGINE_MODE_CLOSED && engine->counters.outstanding <= FEW_IN_FLIGHT;
}

static uint32_t fetch_few(struct rings *rings, uint64_t now, uint64_t timeout_ns)
{
	struct client_ring *at = &rings->rings[0];

	rings->engine->works_in_wait = true;
	rings_receives_post_sent(rings, at);
	engine_wait_begin(rings->engine, now);
	enter(rings, at, at->sends_filled + 1, timeout_ns);
	engine_wait_end(rings->engine, clock_now_ns(), ring_ready(&at->ring), false);
	return completions_take(rings, at);
}

static uint32_t fetch_from_one(struct rings *rings, uint64_t now)
{
	struct engine *engine = rings->engine;
	struct client_ring *at = &rings->rings[0];
	uint64_t timeout_ns = engine_wait_ns(engine, now);

	if (timeout_ns != 0 && ring_ready(&at->ring) == 0 && few_in_flight(rings)) {
		return fetch_few(rings, now, timeout_ns);
	}
	if (timeout_ns == 0 || engine_poll_first(engine) || ring_ready(&at->ring) != 0 || at->deferred.at.count != 0) {
		/* Completions of a submission are taken without another system call. */
		if (ring_ready(&at->ring) == 0 || entries_pending(at)) {
			rings_receives_post_due(rings, at);
			enter(rings, at, 0, 0);
		}
		uint32_t ready = ring_ready(&at->ring);
		engine_wait_end(engine, now, ready, true);
		if (ready != 0 || timeout_ns == 0) {
			return completions_take(rings, at);
		}
	}
	if (rings_receives_post_all(rings, at)) {
		return completions_take(rings, at);
	}
	engine_wait_begin(engine, now);
	enter(rings, at, 1, timeout_ns);
	engine_wait_end(engine, clock_now_ns(), ring_ready(&at->ring), false);
	return completions_take(rings, at);
}

/*
 * Several rings: enters those that were signalled, have entries to submit, or had completions the last time (the kernel does only
 * part of a long list of deferred work at once). Now and then it enters all of them, so that no missed signal matters for long.
 */
static uint32_t enter_hot(struct rings *rings, uint64_t now)
{
	bool all = now >= rings->next_round_ns;
	uint32_t taken = 0;

	if (all) {
		rings->next_round_ns = now + ROUND_NS;
	}
	for (uint32_t number = 0; number < rings->count; number++) {
		struct client_ring *at = &rings->rings[number];
		rings_receives_post_due(rings, at);
		if (!all && !at->hot && !entries_pending(at)) {
			continue;
		}
		enter(rings, at, 0, 0);
		uint32_t count = completions_take(rings, at);
		at->hot = count != 0;
		taken += count;
	}
	return taken;
}

/* Posts all deferred receives before a wait, which may be long. True if one of them found its echo. */
static bool post_all(struct rings *rings)
{
	bool any = false;

	for (uint32_t number = 0; number < rings->count; number++) {
		struct client_ring *at = &rings->rings[number];
		(void)rings_receives_post_all(rings, at);
		rings_submit(rings, at);
		if (ring_ready(&at->ring) != 0) {
			at->hot = any = true;
		}
	}
	return any;
}

static void fetch_from_set(struct rings *rings)
{
	struct engine *engine = rings->engine;
	uint32_t taken = enter_hot(rings, clock_now_ns());
	uint64_t now = clock_now_ns();
	bool busy = taken != 0 || post_all(rings);
	uint64_t timeout_ns = busy ? 0 : engine_wait_ns(engine, now);
	struct epoll_event events[64];

	engine_wait_begin(engine, now);
	int count = timed_epoll_wait(&rings->epoll, events, 64, timeout_ns);
	engine_wait_end(engine, clock_now_ns(), taken, timeout_ns == 0);
	for (int at = 0; at < count; at++) {
		if (events[at].data.u64 < rings->count) {
			rings->rings[events[at].data.u64].hot = true;
		}
	}
}

static void calls_count(struct rings *rings)
{
	struct engine_counters *counters = &rings->engine->counters;

	for (uint32_t number = 0; number < rings->count; number++) {
		struct ring *ring = &rings->rings[number].ring;
		counters->system_calls += ring->system_calls;
		counters->operations += ring->operations;
		ring->system_calls = ring->operations = 0;
	}
	counters->system_calls += rings->epoll.system_calls;
	rings->epoll.system_calls = 0;
}

static void loop(struct rings *rings)
{
	uint64_t now = clock_now_ns();

	while (rings->fatal == 0 && engine_turn(rings->engine, now)) {
		now = work(rings, now);
		if (rings->count == 1) {
			(void)fetch_from_one(rings, now);
		} else {
			fetch_from_set(rings);
		}
		calls_count(rings);
		now = clock_now_ns();
	}
}

/* ----------------------------------------------------------------------------------------------- run */

static int32_t io_uring_engine_run(struct engine *engine, struct ib_error *error)
{
	struct rings rings = {.engine = engine, .epoll = {.epoll = -1, .timer = -1}};
	int32_t status = rings_open(&rings, error);

	engine->half = &rings;
	if (status == IB_STATUS_OK) {
		loop(&rings);
		if (rings.fatal != 0) {
			status = error_set(error, IB_STATUS_OS, rings.fatal, "the kernel accepts no more entries of a ring: %s",
			                   error_text(rings.fatal));
		}
	}
	rings_close(&rings);
	return status;
}

const struct engine_backend io_uring_engine = {
    .name = "io_uring",
    .counts_operations = true,
    .probe = io_uring_engine_probe,
    .network_read = rings_connection_network_ask,
    .run = io_uring_engine_run,
};
