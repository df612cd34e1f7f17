/*
 * epoll.h - what the three files of the epoll model share: the server, its workers, their connections.
 *
 * epoll.c has the loops, start and stop; epoll_accept.c has how connections come in and are handed out; epoll_connection.c has
 * what happens to one.
 */
#ifndef SERVER_EPOLL_H
#define SERVER_EPOLL_H

#include <stdlib.h>
#include <sys/epoll.h>

#include "server/backend.h"
#include "server/counters.h"
#include "server/listeners.h"
#include "server/workers.h"

#define EVENTS_MAX 1024
#define CHUNK_CONNECTIONS 1024

/* What an event is about, above the descriptor in epoll_data. */
enum event_kind { EVENT_CONNECTION = 0, EVENT_LISTENER = 1, EVENT_WAKE = 2 };

/* State of a connection, found by its descriptor; all zero while there is nothing unsent. */
struct connection {
	char *unsent;
	uint32_t unsent_offset;
	uint32_t unsent_length;
	_Atomic uint32_t owner; /* number of the worker + 1; 0: no connection */
};

struct epoll_server;

struct worker {
	_Alignas(CACHE_LINE_BYTES) struct counters counters;
	_Atomic uint64_t assigned; /* written by worker 0 */
	struct epoll_server *server;
	uint32_t number;
	int epoll;
	int wake;
	bool draining;
	uint64_t accept_again_ns; /* worker 0: when the listeners are watched again; 0: they are */
	struct worker_thread thread;
	char *buffer;
	/* Counted in the batch of events at hand, published after it. */
	uint64_t requests;
	uint64_t bytes_received;
	uint64_t bytes_sent;
	uint64_t system_calls;
	struct epoll_event events[EVENTS_MAX];
};

struct epoll_server {
	struct server base;
	struct ib_server_options options;
	struct listeners listeners;
	uint32_t backlog;
	bool edge_triggered;
	atomic_bool stopping;
	atomic_bool accepting_ended; /* worker 0 hands out no more connections */
	uint64_t stop_due_ns;        /* written before stopping */
	_Atomic uint32_t threads;
	uint32_t next_worker; /* worker 0: where the search for the emptiest begins */
	struct worker *workers;
	_Atomic(struct connection *) *chunks;
	uint32_t chunk_count;
};

/* By its descriptor, which a worker owns. */
static inline struct connection *connection_of(struct epoll_server *server, int socket)
{
	struct connection *chunk =
	    atomic_load_explicit(&server->chunks[(uint32_t)socket / CHUNK_CONNECTIONS], memory_order_acquire);
	struct connection *connection = &chunk[(uint32_t)socket % CHUNK_CONNECTIONS];
	/* The owner is what hands the state from one thread to the next. */
	(void)atomic_load_explicit(&connection->owner, memory_order_acquire);
	return connection;
}

static inline uint32_t interest_reading(const struct epoll_server *server)
{
	return server->edge_triggered ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN;
}

static inline uint64_t epoll_worker_connections(const struct worker *worker)
{
	return workers_connections(&worker->assigned, &worker->counters);
}

/* epoll_accept.c: all of it is worker 0's. */
/* Takes what waits at a listener and hands it out. */
void epoll_listener_ready(struct worker *acceptor, int listener);
/* Watches the listeners for EPOLLIN, or with 0 leaves them alone for a while. */
void epoll_listeners_watch(struct worker *acceptor, uint32_t interest);

/* epoll_connection.c */
/* Echoes what came, or sends on what waits. */
void epoll_connection_ready(struct worker *worker, int socket, uint32_t events);
/* Echoes what the stopped server's connection still holds, then closes it; stays open only while its peer does not read. */
void epoll_connection_drain(struct worker *worker, int socket);
/* The deadline is over: drop what is unsent and close with RST. */
void epoll_connection_reset(struct worker *worker, int socket);

#endif /* SERVER_EPOLL_H */
