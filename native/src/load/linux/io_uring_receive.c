/*
 * io_uring_receive.c - decides which receives of the io_uring engine to post, and when.
 *
 * There are two ways. A multishot receive serves a connection for its whole life, and an echo costs no entry. But every echo wakes it:
 * on the server's CPU the kernel queues work for this thread, which looks up the receive, the file and the socket when it runs that
 * work. It is used when the next echo cannot be predicted: for idle connections, the timetable, several messages in flight, and large
 * messages.
 *
 * A deferred receive is used in the closed loop with one small message in flight. There the engine knows which connections will be
 * answered, and about when. It posts a connection's receive after it has sent to others for long enough that the echo is there. The
 * receive then completes within its own submission, and the echo wakes nobody. "Long enough" means: while more than half of the
 * messages in flight have no receive yet, the client is the slow side, and the oldest receives are posted, batch by batch. When the
 * client has nothing else to do, it posts all of them before it waits. So an idle client notices every echo. A busy client only handles
 * the echoes in the order of the sends instead of the order of arrival.
 *
 * Deferred receives lower the client's CPU per request against a fast server and change little against a slow one.
 */
#include "load/linux/io_uring.h"

/* As many as the sends of one submission. */
#define POST_BATCH 32u
/* Most of these find nothing. A large batch lets the server get ahead meanwhile, so that the client uses less CPU. */
#define POST_BATCH_BEFORE_WAIT 512u

static bool receives_are_deferred(const struct rings *rings)
{
	return rings->may_defer && rings->engine->mode == ENGINE_MODE_CLOSED;
}

void rings_receive_post(struct rings *rings, uint32_t index, bool in_vain)
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

/* A connection's flag shows that it is in the queue. It is there at most once, so the queue has room for all of a ring. */
static void enqueue(struct rings *rings, struct index_queue *queue, uint32_t index, uint64_t flag)
{
	struct connection *connection = engine_connection(rings->engine, index);

	if ((connection->handle & flag) == 0) {
		uint64_t place = queue->at.head + queue->at.count++;
		queue->places[place >= queue->at.capacity ? place - queue->at.capacity : place] = index;
		connection->handle |= flag;
	}
}

/* Posts the receives of at most `budget` connections of a queue, the oldest first. Closed connections are only removed. `in_vain`: see
 * rings_receive_post(). */
static void post_queued(struct rings *rings, struct index_queue *queue, uint64_t flag, uint32_t budget, bool in_vain)
{
	for (; queue->at.count != 0 && budget != 0; queue->at.count--) {
		uint32_t index = queue->places[queue->at.head];
		struct connection *connection = engine_connection(rings->engine, index);

		queue->at.head = queue->at.head + 1 == queue->at.capacity ? 0 : queue->at.head + 1;
		connection->handle &= ~flag;
		if (is_alive(connection) && (connection->handle & FLAG_RECEIVING) == 0) {
			rings_receive_post(rings, index, in_vain);
			budget--;
		}
	}
}

/*
 * A receive that ended because no buffer was left is posted again when there is one, first come, first served. If it were posted at
 * once, it would fail again and again, and the receives that are still outstanding would take every buffer that becomes free.
 */
void rings_receive_again(struct rings *rings, uint32_t index, int32_t result, enum engine_verdict verdict)
{
	struct client_ring *at = ring_of(rings, index);

	if (result == -ENOBUFS) {
		enqueue(rings, &at->starved, index, FLAG_STARVED);
	} else if (verdict == ENGINE_SEND && receives_are_deferred(rings)) {
		enqueue(rings, &at->deferred, index, FLAG_DEFERRED);
	} else {
		rings_receive_post(rings, index, engine_connection(rings->engine, index)->queued_ahead == 0);
	}
}

/* Half of the buffers are for the waiting receives, the other half for those already posted. */
void rings_receives_feed(struct rings *rings, struct client_ring *at)
{
	post_queued(rings, &at->starved, FLAG_STARVED, at->buffers.in_ring / 2, false);
}

void rings_receives_post_due(struct rings *rings, struct client_ring *at)
{
	/* Each of several rings has about its share of the messages in flight. */
	if (at->deferred.at.count * rings->count * 2 >= rings->engine->counters.outstanding) {
		post_queued(rings, &at->deferred, FLAG_DEFERRED, POST_BATCH, false);
	}
}

void rings_receives_post_sent(struct rings *rings, struct client_ring *at)
{
	post_queued(rings, &at->deferred, FLAG_DEFERRED, UINT32_MAX, true);
}

bool rings_receives_post_all(struct rings *rings, struct client_ring *at)
{
	while (at->deferred.at.count != 0) {
		post_queued(rings, &at->deferred, FLAG_DEFERRED, POST_BATCH_BEFORE_WAIT, false);
		if (at->deferred.at.count != 0) {
			rings_submit(rings, at);
			if (ring_ready(&at->ring) != 0) {
				return true;
			}
		}
	}
	return false;
}
