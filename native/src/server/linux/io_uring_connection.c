/*
 * io_uring_connection.c - what happens to one connection of the io_uring model.
 *
 * A connection has at most one receive (multishot) and one send outstanding. The kernel fills a buffer of the worker's ring of
 * buffers, the send goes out from the same buffer, and its completion gives the buffer back: no byte is touched here. What
 * comes while a send is outstanding queues behind it. A server that speaks HTTP sends replies of its own instead, and gives a buffer back when
 * it is parsed.
 *
 * Every function ends in connection_settle, which alone decides what follows from the state: send, receive again, or close. A
 * slot is closed only when no operation of it is outstanding, and used again only after that, so that no completion can reach
 * a stranger.
 */
#include <errno.h>
#include <sys/socket.h>

#include "server/linux/io_uring.h"

/* Unsent buffers at which a connection's receive is stopped. */
#define UNSENT_MAX 8
/* The same once half of all buffers exist: with 65,535 of them and two or three a connection nobody starves. */
#define UNSENT_MAX_SCARCE 2
/* The same while requests cost work or a wait: one that is served, and the one that shows that there is more. */
#define UNSENT_MAX_SERVED 2
/* Receives after a stop, before a connection is closed although its peer still sends. */
#define DRAIN_RECEIVES_MAX 256

/* ------------------------------------------------------------------------------------------ operations */

/*
 * Usually multishot: one submission serves every message to come. The kernel then reads a flood up to 32 buffers at a time, and
 * goes on until the cancellation reaches it. A connection that was paused is therefore received from one buffer at a time,
 * each after the last is sent, until a receive does not fill its buffer.
 */
static void receive_post(struct worker *worker, uint32_t slot, struct connection *connection)
{
	struct uring_sqe *sqe = uring_worker_sqe(worker, OP_RECEIVE, slot);
	sqe->opcode = URING_OP_RECV;
	sqe->flags = URING_SQE_FIXED_FILE | URING_SQE_BUFFER_SELECT;
	sqe->fd = (int32_t)slot;
	sqe->buf_group = worker->buffers.group;
	ib_assert((connection->flags & (CONNECTION_RECEIVING | CONNECTION_CLOSING)) == 0);
	if ((connection->flags & CONNECTION_DRAINING) != 0) {
		sqe->op_flags = MSG_DONTWAIT; /* tells with EAGAIN that the socket holds nothing more */
	} else if ((connection->flags & CONNECTION_BULK) == 0) {
		sqe->ioprio = URING_RECV_MULTISHOT;
	}
	connection->flags |= CONNECTION_RECEIVING;
}

/* Where the bytes of an unsent buffer are. */
static inline const char *held_bytes(const struct worker *worker, uint16_t number)
{
	return ring_buffers_memory(&worker->buffers, number) + worker->held[number].offset;
}

static void send_post(struct worker *worker, uint32_t slot, struct connection *connection, const char *bytes,
                      uint32_t length)
{
	struct uring_sqe *sqe = uring_worker_sqe(worker, OP_SEND, slot);
	sqe->opcode = URING_OP_SEND;
	sqe->flags = URING_SQE_FIXED_FILE;
	sqe->fd = (int32_t)slot;
	sqe->addr = (uint64_t)(uintptr_t)bytes;
	sqe->len = length;
	/* MSG_WAITALL: the kernel goes on with a short send by itself. */
	sqe->op_flags = MSG_NOSIGNAL | MSG_WAITALL;
	ib_assert((connection->flags & (CONNECTION_SENDING | CONNECTION_CLOSING)) == 0);
	connection->flags |= CONNECTION_SENDING;
}

static void shutdown_post(struct worker *worker, uint32_t slot, struct connection *connection)
{
	struct uring_sqe *sqe = uring_worker_sqe(worker, OP_SHUTDOWN, slot);
	sqe->opcode = URING_OP_SHUTDOWN;
	sqe->flags = URING_SQE_FIXED_FILE;
	sqe->fd = (int32_t)slot;
	sqe->len = SHUT_WR;
	ib_assert((connection->flags & (CONNECTION_SENDING | CONNECTION_CLOSING)) == 0);
	connection->flags |= CONNECTION_SENDING;
}

static void cancel_post(struct worker *worker, uint32_t slot, enum operation target)
{
	struct uring_sqe *sqe = uring_worker_sqe(worker, OP_CANCEL, slot);
	sqe->opcode = URING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = uring_user_data(target, slot);
}

static void receive_cancel(struct worker *worker, uint32_t slot, struct connection *connection)
{
	if ((connection->flags & (CONNECTION_RECEIVING | CONNECTION_CANCELLING)) != CONNECTION_RECEIVING) {
		return;
	}
	connection->flags |= CONNECTION_CANCELLING;
	cancel_post(worker, slot, OP_RECEIVE);
}

/* A direct descriptor has no setsockopt(SO_LINGER) before 6.7. Connecting to "no address" is the other way to break a TCP connection
 * off: the kernel sends the RST. The hard link keeps the order and closes in any case. */
void uring_reset_post(struct worker *worker, uint32_t slot)
{
	static const struct sockaddr no_address = {.sa_family = AF_UNSPEC};
	struct uring_sqe *sqe = uring_worker_sqe(worker, OP_RESET, slot);
	sqe->opcode = URING_OP_CONNECT;
	sqe->flags = URING_SQE_FIXED_FILE | URING_SQE_IO_HARDLINK;
	sqe->fd = (int32_t)slot;
	sqe->addr = (uint64_t)(uintptr_t)&no_address;
	sqe->off = sizeof no_address;
}

static void close_post(struct worker *worker, uint32_t slot, struct connection *connection)
{
	/* A slot is closed when nothing of it is outstanding. */
	ib_assert((connection->flags & CONNECTION_OPEN) != 0);
	ib_assert((connection->flags &
	           (CONNECTION_RECEIVING | CONNECTION_SENDING | CONNECTION_STARVED | CONNECTION_CLOSING)) == 0);
	ib_assert(connection->unsent_count == 0);
	connection->flags |= CONNECTION_CLOSING;
	if ((connection->flags & CONNECTION_RESET) != 0) {
		uring_reset_post(worker, slot);
	}
	struct uring_sqe *sqe = uring_worker_sqe(worker, OP_CLOSE, slot);
	sqe->opcode = URING_OP_CLOSE;
	sqe->file_index = slot + 1;
}

/* --------------------------------------------------------------------------------------- unsent buffers */

static void unsent_push(struct worker *worker, struct connection *connection, uint16_t number, uint32_t length)
{
	worker->held[number] = (struct held_buffer){.length = length, .next = NO_BUFFER};
	if (connection->unsent_first == NO_BUFFER) {
		connection->unsent_first = number;
	} else {
		worker->held[connection->unsent_last].next = number;
	}
	connection->unsent_last = number;
	connection->unsent_count++;
}

static void unsent_pop(struct worker *worker, struct connection *connection)
{
	uint16_t number = connection->unsent_first;
	connection->unsent_first = worker->held[number].next;
	ib_count_down(connection->unsent_count, 1);
	ring_buffers_give_back(&worker->buffers, number);
}

static uint32_t unsent_max(const struct worker *worker)
{
	if (unlikely(worker->serving != NULL) && worker->service.service->has_cost) {
		return UNSENT_MAX_SERVED;
	}
	return worker->buffers.count > worker->buffers.count_max / 2 ? UNSENT_MAX_SCARCE : UNSENT_MAX;
}

/* ----------------------------------------------------------------------------------------------- state */

static void starved_push(struct worker *worker, uint32_t slot, struct connection *connection)
{
	connection->flags |= CONNECTION_STARVED;
	connection->next_starved = NO_SLOT;
	if (worker->starved_first == NO_SLOT) {
		worker->starved_first = slot;
	} else {
		worker->connections[worker->starved_last].next_starved = slot;
	}
	worker->starved_last = slot;
}

/* Gives the connection up: no byte of it matters any more, but its operations still have to come back. */
static void connection_break(struct worker *worker, uint32_t slot, struct connection *connection)
{
	if ((connection->flags & (CONNECTION_BROKEN | CONNECTION_CLOSING)) != 0) {
		return;
	}
	connection->flags |= CONNECTION_BROKEN;
	receive_cancel(worker, slot, connection);
	if ((connection->flags & CONNECTION_SENDING) != 0) {
		cancel_post(worker, slot, OP_SEND);
	}
}

/* ------------------------------------------------------------------ requests that get more than their echo */

static uint32_t unsent_bytes(const struct worker *worker, const struct connection *connection)
{
	uint32_t bytes = 0;
	for (uint16_t number = connection->unsent_first; number != NO_BUFFER; number = worker->held[number].next) {
		bytes += worker->held[number].length;
	}
	return bytes;
}

/* Gives up bytes of the first unsent buffer. */
static void unsent_take(struct worker *worker, struct connection *connection, uint32_t bytes)
{
	struct held_buffer *held = &worker->held[connection->unsent_first];
	held->offset += bytes;
	ib_count_down(held->length, bytes);
	if (held->length == 0) {
		unsent_pop(worker, connection);
	}
}

/* Serves the unsent buffers, as far as requests do not wait and nothing is to be sent. True if all are served. */
static bool unsent_serve(struct worker *worker, uint32_t slot, struct connection *connection)
{
	struct service_request *request = &worker->serving[slot];
	for (;;) {
		uint16_t first = connection->unsent_first;
		const char *bytes = first != NO_BUFFER ? held_bytes(worker, first) : NULL;
		uint32_t length = first != NO_BUFFER ? worker->held[first].length : 0;
		enum service_verdict verdict = service_step(&worker->service, request, bytes, length);
		if (request->taken > 0) {
			unsent_take(worker, connection, request->taken);
		}
		switch (verdict) {
		case SERVICE_REPLY:
			send_post(worker, slot, connection, request->reply_bytes, request->reply);
			return false;
		case SERVICE_END:
			shutdown_post(worker, slot, connection);
			return false;
		case SERVICE_CUT:
			uring_connection_reset(worker, slot);
			return false;
		case SERVICE_WAIT:
			return false;
		case SERVICE_READ:
			if (connection->unsent_first == NO_BUFFER) {
				return true;
			}
		}
	}
}

/* What follows from the state, in an order in which each step makes the next possible. */
static void connection_settle(struct worker *worker, uint32_t slot, struct connection *connection)
{
	uint16_t flags = connection->flags;
	if ((flags & (CONNECTION_CLOSING | CONNECTION_SENDING)) != 0) {
		return;
	}
	if ((flags & CONNECTION_BROKEN) != 0) {
		if (unlikely(worker->serving != NULL)) {
			service_abandon(&worker->service, &worker->serving[slot], unsent_bytes(worker, connection));
		}
		while (connection->unsent_first != NO_BUFFER) {
			unsent_pop(worker, connection);
		}
		if ((flags & (CONNECTION_RECEIVING | CONNECTION_STARVED)) == 0) {
			close_post(worker, slot, connection);
		}
		return;
	}
	if (unlikely(worker->serving != NULL)) {
		if (!unsent_serve(worker, slot, connection)) {
			return;
		}
	} else if (connection->unsent_first != NO_BUFFER) {
		uint16_t first = connection->unsent_first;
		send_post(worker, slot, connection, held_bytes(worker, first), worker->held[first].length);
		return;
	}
	if ((flags & (CONNECTION_RECEIVING | CONNECTION_STARVED)) != 0) {
		return;
	}
	connection->flags &= (uint16_t)~CONNECTION_PAUSED;
	if ((flags & CONNECTION_ENDED) != 0) {
		close_post(worker, slot, connection);
	} else {
		receive_post(worker, slot, connection);
	}
}

void uring_connection_open(struct worker *worker, uint32_t slot)
{
	struct connection *connection = &worker->connections[slot];
	ib_assert(slot < worker->slots && connection->flags == 0);
	*connection = (struct connection){
	    .flags = CONNECTION_OPEN, .unsent_first = NO_BUFFER, .unsent_last = NO_BUFFER, .next_starved = NO_SLOT};
	worker->open++;
	if (worker->draining) {
		connection->flags |= CONNECTION_DRAINING;
	}
	connection_settle(worker, slot, connection);
	/* It came after the deadline. */
	if (worker->resetting) {
		uring_connection_reset(worker, slot);
	}
}

/* A receive that ended without data: the end of the stream, a reason to wait, or an error. */
static void receive_ended(struct worker *worker, uint32_t slot, struct connection *connection, int32_t result)
{
	switch (result) {
	case 0:
		connection->flags |= CONNECTION_ENDED;
		break;
	case -ENOBUFS:
		starved_push(worker, slot, connection);
		break;
	case -EAGAIN:
		/* Only the receive after a stop does not wait: the socket is empty. */
		if ((connection->flags & CONNECTION_DRAINING) != 0) {
			connection->flags |= CONNECTION_ENDED;
		}
		break;
	case -ECANCELED: /* by us: settling sees what for */
	case -EINTR:
		break;
	default:
		if ((connection->flags & CONNECTION_BROKEN) == 0) {
			counters_error(&worker->counters, -result);
		}
		connection_break(worker, slot, connection);
	}
}

void uring_connection_received(struct worker *worker, uint32_t slot, const struct uring_cqe *cqe)
{
	struct connection *connection = &worker->connections[slot];
	ib_assert((connection->flags & CONNECTION_RECEIVING) != 0);
	if ((cqe->flags & URING_CQE_MORE) == 0) {
		connection->flags &= (uint16_t) ~(CONNECTION_RECEIVING | CONNECTION_CANCELLING);
	}
	if ((cqe->flags & URING_CQE_BUFFER) != 0) {
		uint16_t number = ring_buffers_taken(&worker->buffers, cqe);
		if (cqe->res > 0 && (connection->flags & CONNECTION_BROKEN) == 0) {
			worker->requests++;
			worker->bytes_received += (uint32_t)cqe->res;
			unsent_push(worker, connection, number, (uint32_t)cqe->res);
			if ((uint32_t)cqe->res < worker->buffers.size_bytes) {
				connection->flags &= (uint16_t)~CONNECTION_BULK;
			}
		} else {
			ring_buffers_give_back(&worker->buffers, number);
		}
	}
	if (cqe->res <= 0) {
		receive_ended(worker, slot, connection, cqe->res);
	} else if ((connection->flags & CONNECTION_DRAINING) != 0 && ++connection->receives_drained > DRAIN_RECEIVES_MAX) {
		connection->flags |= CONNECTION_ENDED;
	}
	if (connection->unsent_count >= unsent_max(worker) && (connection->flags & CONNECTION_PAUSED) == 0) {
		connection->flags |= CONNECTION_PAUSED | CONNECTION_BULK;
		counter_add(&worker->counters.receives_paused, 1);
		receive_cancel(worker, slot, connection);
	}
	connection_settle(worker, slot, connection);
}

void uring_connection_sent(struct worker *worker, uint32_t slot, int32_t result)
{
	struct connection *connection = &worker->connections[slot];
	ib_assert((connection->flags & CONNECTION_SENDING) != 0);
	connection->flags &= (uint16_t)~CONNECTION_SENDING;
	if (result == -EINTR || result == -EAGAIN) {
		result = 0; /* settling sends it again */
	}
	if (result < 0) {
		if ((connection->flags & CONNECTION_BROKEN) == 0) {
			counters_error(&worker->counters, -result);
		}
		connection_break(worker, slot, connection);
	} else {
		worker->bytes_sent += (uint32_t)result;
		uint32_t taken = (uint32_t)result;
		if (unlikely(worker->serving != NULL)) {
			taken = service_replied(&worker->service, &worker->serving[slot], taken);
		}
		if (likely(taken > 0)) {
			unsent_take(worker, connection, taken);
		}
	}
	connection_settle(worker, slot, connection);
}

void uring_connection_shut_down(struct worker *worker, uint32_t slot)
{
	struct connection *connection = &worker->connections[slot];
	ib_assert((connection->flags & CONNECTION_SENDING) != 0);
	connection->flags &= (uint16_t)~CONNECTION_SENDING;
	connection_settle(worker, slot, connection);
}

void uring_service_due(struct worker *worker)
{
	uint64_t now_ns = clock_now_ns();
	struct service_request *request;
	while ((request = service_due(&worker->service, now_ns)) != NULL) {
		uint32_t slot = (uint32_t)(request - worker->serving);
		connection_settle(worker, slot, &worker->connections[slot]);
	}
}

void uring_connection_closed(struct worker *worker, uint32_t slot)
{
	ib_assert((worker->connections[slot].flags & CONNECTION_CLOSING) != 0);
	worker->connections[slot].flags = 0;
	if (unlikely(worker->serving != NULL)) {
		worker->serving[slot] = (struct service_request){0}; /* part of a request may have come */
	}
	ib_count_down(worker->open, 1);
	counter_add(&worker->counters.closed, 1);
}

void uring_connection_drain(struct worker *worker, uint32_t slot)
{
	struct connection *connection = &worker->connections[slot];
	connection->flags |= CONNECTION_DRAINING;
	/* The multishot receive has to end first: the next one reads what is there and then says so. */
	receive_cancel(worker, slot, connection);
	connection_settle(worker, slot, connection);
}

void uring_connection_reset(struct worker *worker, uint32_t slot)
{
	struct connection *connection = &worker->connections[slot];
	if ((connection->flags & CONNECTION_CLOSING) != 0) {
		return;
	}
	worker->thread.reset_count++;
	connection->flags |= CONNECTION_RESET;
	connection_break(worker, slot, connection);
	connection_settle(worker, slot, connection);
}

void uring_connections_feed(struct worker *worker)
{
	uint32_t buffers = worker->buffers.in_ring;
	while (worker->starved_first != NO_SLOT && (buffers > 0 || worker->resetting)) {
		uint32_t slot = worker->starved_first;
		struct connection *connection = &worker->connections[slot];
		worker->starved_first = connection->next_starved;
		connection->flags &= (uint16_t)~CONNECTION_STARVED;
		connection_settle(worker, slot, connection);
		if (buffers > 0) {
			buffers--;
		}
	}
}
