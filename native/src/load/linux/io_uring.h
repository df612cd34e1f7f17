/*
 * io_uring.h - shared by the three files of the io_uring engine: operations, flags of a connection, entries.
 *
 * io_uring.c handles sends and completions and runs the loop. io_uring_receive.c decides which receives to post and when.
 * io_uring_connection.c begins and ends connections.
 */
#ifndef LOAD_LINUX_IO_URING_H
#define LOAD_LINUX_IO_URING_H

#include <errno.h>

#include "load/linux/rings.h"

/* The upper byte of user_data is the operation that a completion belongs to. Below it is the number of the connection. */
enum operation {
	OP_CONNECT = 1,
	OP_RECEIVE,
	OP_SEND,
	OP_WRITABLE,
	OP_CANCEL,
	OP_SHUTDOWN,
	OP_CLOSE,
	OP_NETWORK,
	OP_LAST
};
#define OPERATION_SHIFT 56

/* A connection's handle holds the flags of its outstanding operations. */
#define FLAG_CONNECTING (1ull << 32)
#define FLAG_RECEIVING (1ull << 33)
#define FLAG_SENDING (1ull << 34)
#define FLAG_POLLING (1ull << 35)
#define FLAG_CLOSING (1ull << 36) /* the close of its slot */
#define FLAG_INSTALLED (1ull << 37)
#define FLAG_STARVED (1ull << 38)   /* in the queue for a buffer, even if closed meanwhile */
#define FLAG_DEFERRED (1ull << 39)  /* in the queue of receives to post, even if closed meanwhile */
#define FLAG_SHUTTING (1ull << 40)  /* the shutdown of our half */
#define FLAG_CLOSE_DUE (1ull << 41) /* close it when the shutdown is over */
#define FLAGS_OUTSTANDING                                                                                              \
	(FLAG_CONNECTING | FLAG_RECEIVING | FLAG_SENDING | FLAG_POLLING | FLAG_CLOSING | FLAG_SHUTTING)
#define FLAGS_QUEUED (FLAG_STARVED | FLAG_DEFERRED)

static inline struct client_ring *ring_of(struct rings *rings, uint32_t index)
{
	return rings->count == 1 ? &rings->rings[0] : &rings->rings[index / rings->slots];
}

static inline uint32_t slot_of(const struct rings *rings, uint32_t index)
{
	return rings->count == 1 ? index : index % rings->slots;
}

/* Connected, and neither closing nor closed. */
static inline bool is_alive(const struct connection *connection)
{
	return connection->state == CONNECTION_LIVE || connection->state == CONNECTION_FIRST;
}

static inline bool entries_pending(const struct client_ring *at)
{
	return at->ring.sqe_tail != at->ring.sqe_submitted;
}

/* An entry for connection `index`. If the kernel accepts no entries for a second, the engine gives up and this returns NULL. */
static inline struct uring_sqe *entry(struct rings *rings, struct client_ring *at, enum operation operation,
                                      uint32_t index)
{
	struct uring_sqe *sqe = NULL;

	for (int tries = 0; sqe == NULL && tries < 1000 && rings->fatal == 0; tries++) {
		sqe = ring_sqe(&at->ring);
		if (sqe == NULL) {
			clock_sleep_ns(NS_PER_MS);
		}
	}
	if (sqe == NULL) {
		rings->fatal = rings->fatal != 0 ? rings->fatal : EBUSY;
		return NULL;
	}
	sqe->fd = (int32_t)slot_of(rings, index);
	sqe->flags = URING_SQE_FIXED_FILE;
	sqe->user_data = (uint64_t)operation << OPERATION_SHIFT | index;
	return sqe;
}

/* io_uring_receive.c */

/* Posts the receive of a connection that has none. `in_vain`: nothing can have come yet, so the kernel should not try first. */
void rings_receive_post(struct rings *rings, uint32_t index, bool in_vain);
/* A receive ended with `result`, and the connection continues with `verdict`. Posts the next receive, now or later. */
void rings_receive_again(struct rings *rings, uint32_t index, int32_t result, enum engine_verdict verdict);
/* Called when a batch of completions has returned its buffers. Posts the receives that waited for a buffer. */
void rings_receives_feed(struct rings *rings, struct client_ring *at);
/* Posts a batch of the oldest deferred receives if the client is behind. */
void rings_receives_post_due(struct rings *rings, struct client_ring *at);
/* Posts all deferred receives of connections whose send is not submitted yet, so that no echo can be there. */
void rings_receives_post_sent(struct rings *rings, struct client_ring *at);
/*
 * Before a wait: posts the deferred receives until one completes at once. The last of them are submitted together with the wait.
 * Returns true if one completed. Then some may still be deferred, and there is no need to wait.
 */
bool rings_receives_post_all(struct rings *rings, struct client_ring *at);

/* io_uring.c */

/* Posts what has to be sent before our FIN. Its outcome does not matter. */
void rings_last_send(struct rings *rings, uint32_t index);
/* Submits the pending entries without running deferred work. */
void rings_submit(struct rings *rings, struct client_ring *at);

/* io_uring_connection.c */

/* Begins a connection: makes its socket and posts the entry that connects it. */
void rings_connection_begin(struct rings *rings, uint32_t index);
/* If connect() found the four-tuple taken, tries once more from a port that the system chooses. False: no retry, it failed. */
bool rings_connection_connect_again(struct rings *rings, uint32_t index, int code);
void rings_connection_close(struct rings *rings, uint32_t index, enum engine_close_way way);
/* Ends all outstanding operations and empties the slot. This sends RST, because SO_LINGER is set. */
void rings_connection_close_now(struct rings *rings, uint32_t index);
/* Reports to the other half that the connection failed with an errno value, and closes it. */
void rings_connection_fail(struct rings *rings, uint32_t index, int code);
/* Reports the end of a closing connection to the other half, once it has no outstanding operation. */
void rings_connection_closed_when_over(struct rings *rings, uint32_t index);
/* Asks for an ordinary descriptor of a connection, to read its network. */
void rings_connection_network_ask(struct engine *engine, uint32_t index);
/* Reads the network with this descriptor and closes it. Negative: there is none. */
void rings_connection_network_read(struct rings *rings, int32_t descriptor);

#endif /* LOAD_LINUX_IO_URING_H */
