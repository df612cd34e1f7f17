/*
 * io_uring_receive.c - which receives of the io_uring engine are posted, and when.
 *
 * Two ways. Multishot: one receive serves a connection for its whole life, and an echo costs no entry. But every echo wakes it: the
 * kernel, on the server's CPU, queues work for this thread, which looks for the receive, the file and the socket when it runs it. So it
 * is for what is not known in advance: idle connections, the timetable, several messages in flight, large ones.
 *
 * Deferred: in the closed loop with one small message in flight it is known who will be answered, and about when. The receive of a
 * connection is posted when others have been sent to for long enough that its echo is there; then it completes within its own
 * submission, and the echo has woken nobody. "Long enough": while more than half of what is in flight has no receive yet, the client is
 * what is slow, and the oldest are posted, batch by batch. When there is nothing else to do all are posted before the client waits: no
 * echo is kept from being noticed by a client that has nothing to do. Only the order differs in which a busy one comes to what has
 * arrived: that of the sends, not of the echoes.
 *
 * By measurement (Linux 6.18, two CPUs, medians of five interleaved pairs, as a multiple of what it is with multishot receives): at 6000
 * connections CPU per request 0.80 to 0.94 and requests/s 1.21 to 1.47 against the server epoll, 0.91 to 1.00 and 1.04 to 1.13 against
 * io_uring; at 100 and 1000 connections 0.95 to 1.02 and 1.00 to 1.12. Against a server that is slower than the client (libuv's) most
 * receives are posted before their echo is there: CPU 1.03 to 1.10, requests/s 0.96 to 1.06. Tried and not better: a quarter or three
 * quarters instead of the half, batches of 16 or 64 (within 4%); posting no more than 32 and a short wait for these; probing with
 * MSG_DONTWAIT between short sleeps (CPU against epoll 1.04 and 1.11); multishot again once the client has waited for a tenth of
 * its time (two stable states, and figures that depend on which of them a trial fell into).
 */
#include "load/linux/io_uring.h"

/* As many as the sends of one submission. */
#define POST_BATCH 32u
/* Most of these find nothing; large, so that the server gets ahead meanwhile (batches of 32 or 128: CPU up to 1.28 of this). */
#define POST_BATCH_BEFORE_WAIT 512u

static bool receives_are_deferred(const struct rings *rings)
{
	return rings->may_defer && rings->engine->mode == ENGINE_MODE_CLOSED;
}

void receive_post(struct rings *rings, uint32_t index, bool in_vain)
{
	struct client_ring *at = ring_of(rings, index);
	struct uring_sqe *sqe = entry(rings, at, OP_RECEIVE, index);
	bool once = rings->may_defer && rings->engine->mode != ENGINE_MODE_OPEN;

	if (sqe == NULL) {
		return;
	}
	sqe->opcode = URING_OP_RECV;
	sqe->flags |= URING_SQE_BUFFER_SELECT;
	sqe->ioprio = (uint16_t)((once ? 0u : URING_RECV_MULTISHOT) | (in_vain ? URING_RECVSEND_POLL_FIRST : 0u));
	sqe->buf_group = at->buffers.group;
	engine_connection(rings->engine, index)->handle |= FLAG_RECEIVING;
}

/* A connection is in a queue once at most, which its flag tells; so a queue has room for all of a ring. */
static void enqueue(struct rings *rings, struct index_queue *queue, uint32_t index, uint64_t flag)
{
	struct connection *connection = engine_connection(rings->engine, index);

	if ((connection->handle & flag) == 0) {
		uint64_t place = queue->at.head + queue->at.count++;
		queue->places[place >= queue->at.capacity ? place - queue->at.capacity : place] = index;
		connection->handle |= flag;
	}
}

/* Posts the receives of at most `budget` connections of a queue, the oldest first. Those that are closed meanwhile only leave it. */
static void post_queued(struct rings *rings, struct index_queue *queue, uint64_t flag, uint32_t budget)
{
	for (; queue->at.count != 0 && budget != 0; queue->at.count--) {
		uint32_t index = queue->places[queue->at.head];
		struct connection *connection = engine_connection(rings->engine, index);

		queue->at.head = queue->at.head + 1 == queue->at.capacity ? 0 : queue->at.head + 1;
		connection->handle &= ~flag;
		if (is_alive(connection) && (connection->handle & FLAG_RECEIVING) == 0) {
			receive_post(rings, index, false);
			budget--;
		}
	}
}

/*
 * A receive that ended for want of a buffer is posted again when there is one, first come, first served: posted at once it would
 * fail again and again, and those whose receive is still outstanding would take every buffer that comes free.
 */
void receive_again(struct rings *rings, uint32_t index, int32_t result, enum engine_verdict verdict)
{
	struct client_ring *at = ring_of(rings, index);

	if (result == -ENOBUFS) {
		enqueue(rings, &at->starved, index, FLAG_STARVED);
	} else if (verdict == ENGINE_SEND && receives_are_deferred(rings)) {
		enqueue(rings, &at->deferred, index, FLAG_DEFERRED);
	} else {
		receive_post(rings, index, engine_connection(rings->engine, index)->queued_ahead == 0);
	}
}

/* Half of the buffers are for those that wait, the other half for those that are posted already. */
void receives_feed(struct rings *rings, struct client_ring *at)
{
	post_queued(rings, &at->starved, FLAG_STARVED, at->buffers.in_ring / 2);
}

void receives_post_due(struct rings *rings, struct client_ring *at)
{
	/* Of several rings each has about its share of what is in flight. */
	if (at->deferred.at.count * rings->count * 2 >= rings->engine->counters.outstanding) {
		post_queued(rings, &at->deferred, FLAG_DEFERRED, POST_BATCH);
	}
}

bool receives_post_all(struct rings *rings, struct client_ring *at)
{
	while (at->deferred.at.count != 0) {
		post_queued(rings, &at->deferred, FLAG_DEFERRED, POST_BATCH_BEFORE_WAIT);
		if (at->deferred.at.count != 0) {
			submit(rings, at);
			if (ring_ready(&at->ring) != 0) {
				return true;
			}
		}
	}
	return false;
}
