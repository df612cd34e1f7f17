/*
 * loop.h - what the models share whose workers each wait for many sockets at a time for readiness: poll, select,
 * event_select.
 *
 * A model is a loop of its own (its thread function) around its own way to wait. Shared are what comes before and after it: listeners, how a
 * connection is accepted and handed to a worker, what is done with a socket that is ready, counters, and the stop.
 *
 * Worker 0 accepts. A connection for another worker goes through that worker's inbox, and a wake-up ends its wait: a byte on its pair of sockets,
 * unless the model has a way of its own.
 */
#ifndef LOOP_H
#define LOOP_H

#include "server/backend.h"
#include "server/counters.h"
#include "server/listeners.h"
#include "server/workers.h"

/* A connection, owned by its worker. */
struct loop_connection {
	socket_handle socket;
	uint32_t unsent_offset;
	uint32_t unsent_length;
	char *unsent;              /* bytes that send would not take; NULL: none, and the socket is read */
	struct service_hold *hold; /* its requests, if they get more than their echo; hold->number is its index */
};

/* Whether it has to send before it reads again. */
static inline bool loop_connection_is_blocked(const struct loop_connection *connection)
{
	return connection->unsent != NULL || (connection->hold != NULL && service_hold_is_busy(connection->hold));
}

/* What a connection is waited for. */
enum loop_interest { LOOP_READ, LOOP_WRITE, LOOP_NONE };

struct loop_server;

struct loop_worker {
	_Alignas(CACHE_LINE_BYTES) struct counters counters;
	_Atomic uint64_t assigned; /* connections given to this worker; written by worker 0 */
	struct loop_server *server;
	uint32_t number;
	bool draining;
	uint64_t accept_again_ns; /* worker 0: when it looks at the listeners again; 0: it does */
	struct worker_thread thread;
	char *buffer; /* one receive, for all its connections */
	/* Its connections, without gaps: the last takes the place of one that has ended. */
	struct loop_connection *connections;
	uint32_t count;
	uint32_t capacity;
	/* Counted in the round at hand, published after it. */
	uint64_t requests;
	uint64_t bytes_received;
	uint64_t bytes_sent;
	uint64_t system_calls;
	struct service_worker service;
	void *state; /* the model's own */
	socket_handle wake_receive;
	socket_handle wake_send;
	struct mutex inbox_mutex;
	socket_handle *inbox;
	uint32_t inbox_count;
	uint32_t inbox_capacity;
};

/* What a model is made of, beside its thread function. */
struct loop_model {
	const struct backend *backend;
	/* The most connections that a worker can wait for. When all workers are full, one is added. 0: no limit, and no workers are added. */
	uint32_t connections_max;
	/* The most workers, if connections_max is not 0. At least 1024, the most that a user can ask for. */
	uint32_t workers_max;
	/* Runs a worker until loop_round_end() says that it has ended. */
	void (*main)(struct loop_worker *worker);
	/* Makes worker->state for a worker whose number and server are filled. Returns false without memory. */
	bool (*create)(struct loop_worker *worker);
	/* Frees worker->state, which may be NULL. */
	void (*destroy)(struct loop_worker *worker);
	/* Takes note of connections[count - 1], which is new. False without memory: it is refused. */
	bool (*added)(struct loop_worker *worker);
	/* Ends the wait of a worker, from another thread, so that its round ends as woken. NULL: a byte on its pair of sockets does that. */
	void (*wake)(const struct loop_worker *worker);
	/* connections[index] has ended; its socket is still open. The last one takes its place at once. */
	void (*removed)(struct loop_worker *worker, uint32_t index);
	/* From now on connections[index] is waited for until it can be read, until it can be written, or not at all. False without memory: it
	 * is closed. */
	bool (*interest)(struct loop_worker *worker, uint32_t index, enum loop_interest interest);
};

struct loop_server {
	struct server base;
	const struct loop_model *model;
	struct ib_server_options options;
	struct listeners listeners;
	uint32_t backlog;
	atomic_bool stopping;
	atomic_bool accepting_ended; /* worker 0 hands out no more connections */
	uint64_t stop_due_ns;        /* written before stopping */
	_Atomic uint32_t threads;
	_Atomic uint32_t worker_count; /* after the start written by worker 0 only */
	uint32_t worker_capacity;      /* length of the array */
	uint32_t next_worker;          /* worker 0: where the search for the emptiest begins */
	struct loop_worker *workers;
};

/* backend.start, stats and stop of every such model. */
int32_t loop_server_start(const struct loop_model *model, const struct server_config *config, struct server **out,
                          uint32_t *bound_port, struct ib_error *error);
void loop_server_stats(struct server *base, struct ib_server_stats *out);
int32_t loop_server_stop(struct server *base, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                         struct ib_error *error);

/* Whether this worker waits for the listeners now: worker 0 does, but for a while after it had no descriptors, and not once it stops. */
static inline bool loop_accepts(const struct loop_worker *worker)
{
	return worker->number == 0 && worker->accept_again_ns == 0 && !worker->draining;
}

/*
 * How long the wait may take: IB_UNKNOWN, for ever, but for a pause in accepting, the deadline of a stop, or a request whose wait ends
 * (--wait).
 */
uint64_t loop_wait_ns(const struct loop_worker *worker);
/* `most` for models whose next wait reports the connections that are still waiting. */
#define LOOP_ACCEPTS_PER_ROUND 64
/* Worker 0: accepts the connections that wait at a listener, at most `most`, and hands them out. */
void loop_listener_ready(struct loop_worker *acceptor, socket_handle listener, int most);
/* Echoes what came to connections[index], or sends on what waits. The connection may end, and another stand in its place. */
void loop_connection_ready(struct loop_worker *worker, uint32_t index);
/*
 * The same for one that is waited for to be read, so nothing of it is unsent. `socket` is connections[index].socket: a model that knows it
 * from its own table spares the request a cache line.
 */
void loop_connection_readable(struct loop_worker *worker, uint32_t index, socket_handle socket);
/* Counts a wait that failed, and lets a moment pass, since the next would fail at once. */
void loop_wait_failed(struct loop_worker *worker, int code);
/*
 * After every round: publishes what it counted, takes new connections from the inbox, and follows a stop. True when the worker has ended: its
 * connections are closed. `woken`: the model's wake was called, or wake_receive is readable.
 */
bool loop_round_end(struct loop_worker *worker, bool woken);

/* ---- for loop_service.c: what loop.c does with one connection ---- */
enum loop_step {
	STEP_EMPTY,   /* there was nothing to read */
	STEP_ECHOED,  /* and nothing waits; there may be more to read */
	STEP_BLOCKED, /* bytes are unsent, or a request waits */
	STEP_CLOSED,
};
/* Rounds in which a connection is echoed when the server stops, before it is closed although its peer still sends. */
#define LOOP_DRAIN_ROUNDS_MAX 256
void loop_connection_close(struct loop_worker *worker, uint32_t index, bool reset);
void loop_connection_fail(struct loop_worker *worker, uint32_t index, int code);
bool loop_interest_set(struct loop_worker *worker, uint32_t index, enum loop_interest interest);
bool loop_would_wait(ptrdiff_t result);

/* ---- loop_service.c: for a server whose requests get more than their echo ---- */
/* As loop_connection_ready(). */
void loop_service_ready(struct loop_worker *worker, uint32_t index);
/* Serves what the stopped server's connection still holds, then closes it; stays open while a request waits or its peer does not read. */
void loop_service_drain(struct loop_worker *worker, uint32_t index);
/* Serves the requests whose wait is over. */
void loop_service_due(struct loop_worker *worker);

#endif /* LOOP_H */
