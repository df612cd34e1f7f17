/*
 * epoll.h - what the three files of the epoll model share: the server, its workers, their connections.
 *
 * epoll.c has the loops, start and stop; epoll_accept.c has how connections come in and are handed out; epoll_connection.c has
 * what happens to one, and epoll_service.c the same for requests that get more than their echo.
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
	struct service_hold *hold; /* its requests, if they get more than their echo */
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
	struct service_worker service;
	struct epoll_event events[EVENTS_MAX];
};

struct epoll_server {
	struct server base;
	struct ib_server_options options;
	struct listeners listeners;
	uint32_t backlog;
	bool edge_triggered;
	bool echoes_level_triggered; /* the plain case: level-triggered, and requests get no more than their echo */
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

/* What is left to do for a connection after some bytes of it were handled. */
enum epoll_step {
	STEP_EMPTY,   /* the socket has nothing more to read, or nothing is known: leave it to epoll */
	STEP_FULL,    /* the buffer was filled: more may be there */
	STEP_BLOCKED, /* bytes are unsent, or a request waits */
	STEP_CLOSED,
};

/* Sockets that are read so often in a row, edge-triggered, go behind the others. */
#define EDGE_ROUNDS_MAX 16
/* Rounds in which a connection is echoed when the server stops, before it is closed although its peer still sends. */
#define DRAIN_ROUNDS_MAX 256

/* epoll_service.c: for a server whose requests get more than their echo. */
/* Serves what came, or sends on what waits for the socket. */
void epoll_service_ready(struct worker *worker, int socket, uint32_t events);
/* Serves what the stopped server's connection still holds, then closes it; stays open while a request waits or its peer does not read. */
void epoll_service_drain(struct worker *worker, int socket);
/* Serves the requests whose wait is over. */
void epoll_service_due(struct worker *worker);
/* As epoll_wait(), until an event comes, timeout_ms has passed (-1: never), or the next wait is over. */
int epoll_service_wait(struct worker *worker, int timeout_ms);

/* epoll_connection.c */
void epoll_connection_close(struct worker *worker, int socket, bool reset);
void epoll_connection_fail(struct worker *worker, int socket, int code);
/* False when the connection had to be closed: with a wrong interest it would hang, or be read while bytes are unsent. */
bool epoll_interest_set(struct worker *worker, int socket, uint32_t interest);
/* Echoes what came, or sends on what waits. */
void epoll_connection_ready(struct worker *worker, int socket, uint32_t events);
/* Echoes what the stopped server's connection still holds, then closes it; stays open only while its peer does not read. */
void epoll_connection_drain(struct worker *worker, int socket);
/* The deadline is over: drop what is unsent and close with RST. */
void epoll_connection_reset(struct worker *worker, int socket);

#endif /* SERVER_EPOLL_H */
