/*
 * io_uring.h - what the three files of the io_uring model share: the server, its workers, their connections.
 *
 * io_uring.c has the loops, start and stop; io_uring_accept.c has how connections come in and are handed out;
 * io_uring_connection.c has what happens to one.
 */
#ifndef SERVER_IO_URING_H
#define SERVER_IO_URING_H

#include "platform/linux/ring.h"
#include "server/backend.h"
#include "server/counters.h"
#include "server/listeners.h"
#include "server/workers.h"

#define NO_BUFFER UINT16_MAX
#define NO_SLOT UINT32_MAX
/* Slots kept for connections on their way to another worker. */
#define SLOTS_RESERVE 256u

/* What a completion is about: the upper byte of user_data; below it, the slot of the connection or the number of the listener. */
enum operation {
	OP_RECEIVE = 1,
	OP_SEND,
	OP_CANCEL,
	OP_RESET,
	OP_CLOSE,
	OP_SHUTDOWN, /* http: the end of our stream, after the last reply */
	OP_ACCEPT,
	OP_CANCEL_ACCEPT,
	OP_WAKE,           /* the server stops */
	OP_HAND_OVER,      /* worker 0: a connection was sent to another ring, or could not be */
	OP_CLOSE_HANDED,   /* worker 0: its own slot of that connection is free again */
	OP_NEW_CONNECTION, /* posted by worker 0: the result is the slot */
};
#define OPERATION_SHIFT 56

enum connection_flag {
	CONNECTION_OPEN = 1u << 0,
	CONNECTION_RECEIVING = 1u << 1,  /* a receive is outstanding */
	CONNECTION_SENDING = 1u << 2,    /* a send, or the end of the stream, is outstanding */
	CONNECTION_CANCELLING = 1u << 3, /* the outstanding receive was told to end */
	CONNECTION_PAUSED = 1u << 4,     /* not to be read until all is sent */
	CONNECTION_STARVED = 1u << 5,    /* waits for a buffer, in the list of those */
	CONNECTION_ENDED = 1u << 6,      /* the peer sent its FIN */
	CONNECTION_BROKEN = 1u << 7,     /* to be closed without sending what is left */
	CONNECTION_DRAINING = 1u << 8,   /* the server stops: read what is there, then close */
	CONNECTION_RESET = 1u << 9,      /* close with RST */
	CONNECTION_CLOSING = 1u << 10,   /* the close is outstanding */
	CONNECTION_BULK = 1u << 11,      /* was paused: receive one buffer at a time */
};

/* Sixteen bytes a connection. The unsent buffers are a list through the buffers' own records. */
struct connection {
	uint16_t flags;
	uint16_t unsent_first; /* the one that is being sent or served */
	uint16_t unsent_last;
	uint16_t unsent_count;
	uint32_t next_starved;
	uint32_t receives_drained; /* receives since the stop */
};

/* What a buffer holds while it is in no ring. */
struct held_buffer {
	uint32_t offset;
	uint32_t length;
	uint16_t next;
};

struct uring_server;

struct worker {
	_Alignas(CACHE_LINE_BYTES) struct counters counters;
	_Atomic uint64_t posted;
	_Atomic uint64_t completed;
	_Atomic uint64_t assigned; /* connections given to this worker; written by worker 0 */

	_Alignas(CACHE_LINE_BYTES) struct uring_server *server;
	uint32_t number;
	uint32_t slots; /* of the table of direct descriptors */
	struct ring ring;
	struct ring_buffers buffers;
	struct held_buffer *held;
	struct connection *connections; /* by slot */
	struct service_worker service;
	struct service_request *serving; /* by slot; NULL: the server only echoes */
	uint32_t open;                   /* connections that are not closed yet */
	uint32_t starved_first;          /* list of those that wait for a buffer */
	uint32_t starved_last;
	uint16_t *handed_to; /* worker 0: by slot, the worker that a connection is on its way to */
	uint64_t wake_value; /* read from the eventfd */
	bool draining;
	bool resetting;
	/* Counted in the batch of completions at hand, published after it. */
	uint64_t requests, bytes_received, bytes_sent, batch_posted, batch_completed;

	int ring_fd; /* for messages from worker 0 */
	int32_t start_code;
	/* The ring takes nothing more: the worker has given up, and its connections end with the ring. */
	atomic_bool failed;
	struct uring_sqe spare_sqe; /* filled in vain once the ring takes nothing */
	bool has_left_operations;   /* ended before all operations came back; for whoever has joined it */
	struct worker_thread thread;
};

/* A listener, as worker 0 sees it. */
struct accepting {
	bool armed;
	bool multishot;
	bool cancelling;
};

enum start_state { START_WAIT, START_GO, START_GIVE_UP };

struct uring_server {
	struct server base;
	struct ib_server_options options;
	struct listeners listeners;
	uint32_t backlog;
	uint32_t worker_count;
	struct worker *workers;
	char features[256];
	atomic_bool stopping;
	uint64_t stop_due_ns; /* written before stopping */
	_Atomic uint32_t threads;
	int wake_acceptor; /* eventfds that a stop writes: worker 0 reads this one */
	int wake_others;   /* and each of the others takes one from this semaphore, once accepting has ended */

	/* Worker 0 alone. */
	struct accepting *accepting;
	uint32_t armed;       /* listeners with an accept outstanding */
	uint32_t in_transit;  /* slots of connections that go to other workers */
	uint32_t next_worker; /* where the search for the emptiest begins */
	uint64_t accept_again_ns;

	/* Starting. */
	struct mutex mutex;
	struct condition changed;
	uint32_t reports;
	enum start_state state;
	/* Stopping; under the same mutex. */
	bool accepting_ended;
};

static inline uint64_t uring_user_data(enum operation operation, uint32_t number)
{
	return (uint64_t)operation << OPERATION_SHIFT | number;
}

/* An entry to fill with everything but user_data. Never NULL: of a ring that has failed it is one that goes nowhere. */
struct uring_sqe *uring_worker_sqe(struct worker *worker, enum operation operation, uint32_t number);

static inline uint64_t uring_worker_connections(const struct worker *worker)
{
	return workers_connections(&worker->assigned, &worker->counters);
}

/* io_uring_accept.c: all of it is worker 0's. */
/* Connections that a worker with a table of this size may hold: the rest is for those on their way to other workers. */
uint32_t uring_worker_capacity(uint32_t slots, uint32_t worker_count);
/* Arms the listeners that have no accept outstanding, as the table allows. */
void uring_accept_arm(struct uring_server *server);
void uring_accept_cancel(struct uring_server *server, uint32_t index);
/* Completions: of an accept, of the message that carries a connection to another ring, of the close that follows it. */
void uring_accept_completed(struct uring_server *server, uint32_t index, const struct uring_cqe *cqe);
void uring_connection_handed_over(struct uring_server *server, uint32_t slot, int32_t result);
void uring_own_slot_closed(struct uring_server *server);

/* io_uring_connection.c */
void uring_connection_open(struct worker *worker, uint32_t slot);
/* Breaks the connection in a slot off with RST: an entry that is linked to the close that has to be posted next. */
void uring_reset_post(struct worker *worker, uint32_t slot);
void uring_connection_received(struct worker *worker, uint32_t slot, const struct uring_cqe *cqe);
void uring_connection_sent(struct worker *worker, uint32_t slot, int32_t result);
/* The end of our stream was sent. */
void uring_connection_shut_down(struct worker *worker, uint32_t slot);
/* Serves the requests whose wait is over (--wait). */
void uring_service_due(struct worker *worker);
void uring_connection_closed(struct worker *worker, uint32_t slot);
/* The server stops: echo what the socket holds, then close. */
void uring_connection_drain(struct worker *worker, uint32_t slot);
/* The deadline is over: drop what is unsent and close with RST. */
void uring_connection_reset(struct worker *worker, uint32_t slot);
/* Arms the receives of connections that wait for a buffer, as many as there are buffers. */
void uring_connections_feed(struct worker *worker);

#endif /* SERVER_IO_URING_H */
