/*
 * epoll.c - readiness: one event loop per worker.
 *
 * Technique. Each worker owns an epoll instance and a receive buffer that all its connections share. A readable socket costs one
 * recv and one send; epoll_wait is shared by all that are ready. Nothing is allocated and no state of the connection is touched
 * on that path: under level triggering the interest set is either EPOLLIN or EPOLLOUT, so that the event itself says whether
 * unsent bytes wait. Worker 0 also accepts, and gives each connection to the worker that has the fewest.
 *
 * Floor: Linux 2.6.28 (accept4). No fallback is needed.
 *
 * Traps
 *   - A send that is short: the rest is copied aside (at most one receive buffer), the interest becomes EPOLLOUT, and the socket
 *     is not read until all is sent. A peer that never reads thus stops being read.
 *   - Level triggering: after a recv the socket is left to the next epoll_wait, never read again until EAGAIN.
 *   - Edge triggering: a recv that does not fill the buffer has emptied the socket, unless the same event reports the end of the
 *     stream, for which no other edge comes. A peer that sends without end must not hold the worker: after a number of rounds
 *     EPOLL_CTL_MOD puts the socket behind the others.
 *   - Descriptors exhausted: a listener stays readable and would make the loop spin. It is taken out of the interest set for a
 *     while.
 *   - The number of a closed socket is reused at once, by worker 0 while another worker closes. State in the table is therefore
 *     given up before close(), and taken after accept4().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/backend.h"
#include "server/counters.h"
#include "server/listeners.h"

#define CACHE_LINE_BYTES 64
#define EVENTS_MAX 1024
#define ACCEPTS_PER_EVENT 64
#define ACCEPT_PAUSE_NS 20000000u
#define EDGE_ROUNDS_MAX 16
/* Rounds in which a connection is echoed when the server stops, before it is closed although its peer still sends. */
#define DRAIN_ROUNDS_MAX 256
#define WORKER_STACK_BYTES (256 * 1024)
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
	bool started;
	bool draining;
	uint64_t accept_again_ns; /* worker 0: when the listeners are watched again; 0: they are */
	uint32_t reset_count;
	struct thread thread;
	char *buffer;
	/* Counted in the batch of events at hand, published after it. */
	uint64_t requests;
	uint64_t bytes_received;
	uint64_t bytes_sent;
	struct epoll_event events[EVENTS_MAX];
};

struct epoll_server {
	struct server base;
	struct ib_server_options options;
	struct listeners listeners;
	uint32_t backlog;
	bool edge_triggered;
	atomic_bool stopping;
	uint64_t stop_due_ns; /* written before stopping */
	_Atomic uint32_t threads;
	uint32_t next_worker; /* worker 0: where the search for the emptiest begins */
	struct worker *workers;
	_Atomic(struct connection *) *chunks;
	uint32_t chunk_count;
};

/* ------------------------------------------------------------------------------- table of connections */

static struct connection *connection_of(struct epoll_server *server, int socket)
{
	struct connection *chunk =
	    atomic_load_explicit(&server->chunks[(uint32_t)socket / CHUNK_CONNECTIONS], memory_order_acquire);
	struct connection *connection = &chunk[(uint32_t)socket % CHUNK_CONNECTIONS];
	/* The owner is what hands the state from one thread to the next. */
	(void)atomic_load_explicit(&connection->owner, memory_order_acquire);
	return connection;
}

/* Makes sure that the table reaches the descriptor. Worker 0 only. */
static bool table_reach(struct epoll_server *server, int socket)
{
	uint32_t index = (uint32_t)socket / CHUNK_CONNECTIONS;
	if (index >= server->chunk_count)
		return false;
	if (atomic_load_explicit(&server->chunks[index], memory_order_relaxed) != NULL)
		return true;
	struct connection *chunk = calloc(CHUNK_CONNECTIONS, sizeof *chunk);
	if (chunk == NULL)
		return false;
	atomic_store_explicit(&server->chunks[index], chunk, memory_order_release);
	return true;
}

/* A pointer per chunk up to the hard limit of descriptors: the soft one may be raised while the server runs. */
static bool table_create(struct epoll_server *server)
{
	struct rlimit limit = {.rlim_max = RLIM_INFINITY};
	getrlimit(RLIMIT_NOFILE, &limit);
	rlim_t highest = limit.rlim_max < (1u << 30) ? limit.rlim_max : (1u << 30);
	server->chunk_count = (uint32_t)(highest / CHUNK_CONNECTIONS + 1);
	server->chunks = calloc(server->chunk_count, sizeof *server->chunks);
	return server->chunks != NULL;
}

static void table_free(struct epoll_server *server)
{
	for (uint32_t index = 0; server->chunks != NULL && index < server->chunk_count; index++)
		free(atomic_load_explicit(&server->chunks[index], memory_order_relaxed));
	free(server->chunks);
}

/* --------------------------------------------------------------------------------------- connections */

static uint32_t interest_reading(const struct epoll_server *server)
{
	return server->edge_triggered ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN;
}

static void interest_set(struct worker *worker, int socket, uint32_t interest)
{
	struct epoll_event event = {.events = interest, .data.u64 = (uint64_t)(uint32_t)socket};
	if (epoll_ctl(worker->epoll, EPOLL_CTL_MOD, socket, &event) != 0)
		counters_error(&worker->counters, errno);
}

static void connection_close(struct worker *worker, int socket, bool reset)
{
	struct connection *connection = connection_of(worker->server, socket);
	free(connection->unsent);
	connection->unsent = NULL;
	atomic_store_explicit(&connection->owner, 0, memory_order_release);
	/* Closing takes the socket out of the epoll instance too: no descriptor is ever duplicated. */
	if (reset)
		socket_close_reset(socket);
	else
		socket_close(socket);
	counter_add(&worker->counters.closed, 1);
}

static void connection_fail(struct worker *worker, int socket, int code)
{
	counters_error(&worker->counters, code);
	connection_close(worker, socket, false);
}

/* Puts the bytes aside that send would not take. False when the connection had to be closed. */
static bool unsent_keep(struct worker *worker, int socket, const char *bytes, size_t length)
{
	struct connection *connection = connection_of(worker->server, socket);
	connection->unsent = malloc(length);
	if (connection->unsent == NULL) {
		connection_fail(worker, socket, ENOMEM);
		return false;
	}
	memcpy(connection->unsent, bytes, length);
	connection->unsent_offset = 0;
	connection->unsent_length = (uint32_t)length;
	counter_add(&worker->counters.receives_paused, 1);
	if (!worker->server->edge_triggered)
		interest_set(worker, socket, EPOLLOUT);
	return true;
}

enum step {
	STEP_EMPTY,   /* the socket has nothing more to read, or nothing is known: leave it to epoll */
	STEP_FULL,    /* the buffer was filled: more may be there */
	STEP_BLOCKED, /* bytes are unsent */
	STEP_CLOSED,
};

/* One recv and one send: the whole of a request. */
static inline enum step receive_and_echo(struct worker *worker, int socket)
{
	size_t size = worker->server->options.receive_buffer_bytes;
	ssize_t received = recv(socket, worker->buffer, size, 0);
	if (received <= 0) {
		if (received < 0 && (errno == EAGAIN || errno == EINTR))
			return STEP_EMPTY;
		if (received == 0)
			connection_close(worker, socket, false);
		else
			connection_fail(worker, socket, errno);
		return STEP_CLOSED;
	}
	worker->requests++;
	worker->bytes_received += (uint64_t)received;
	ssize_t sent = send(socket, worker->buffer, (size_t)received, MSG_NOSIGNAL);
	if (sent < 0) {
		if (errno != EAGAIN && errno != EINTR) {
			connection_fail(worker, socket, errno);
			return STEP_CLOSED;
		}
		sent = 0;
	}
	worker->bytes_sent += (uint64_t)sent;
	if (sent < received)
		return unsent_keep(worker, socket, worker->buffer + sent, (size_t)(received - sent)) ? STEP_BLOCKED
		                                                                                     : STEP_CLOSED;
	return (size_t)received == size ? STEP_FULL : STEP_EMPTY;
}

/* Sends what waits. STEP_FULL when all is sent: the socket may be read again. */
static enum step unsent_flush(struct worker *worker, int socket, struct connection *connection)
{
	ssize_t sent = send(socket, connection->unsent + connection->unsent_offset,
	                    connection->unsent_length - connection->unsent_offset, MSG_NOSIGNAL);
	if (sent < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return STEP_BLOCKED;
		connection_fail(worker, socket, errno);
		return STEP_CLOSED;
	}
	worker->bytes_sent += (uint64_t)sent;
	connection->unsent_offset += (uint32_t)sent;
	if (connection->unsent_offset < connection->unsent_length)
		return STEP_BLOCKED;
	free(connection->unsent);
	connection->unsent = NULL;
	return STEP_FULL;
}

/* Echoes what the stopped server's connection still holds, then closes it; stays open only while its peer does not read. */
static void connection_drain(struct worker *worker, int socket)
{
	struct connection *connection = connection_of(worker->server, socket);
	enum step step = connection->unsent != NULL ? unsent_flush(worker, socket, connection) : STEP_FULL;
	/* Until recv says that there is nothing: a short read does not tell that the stream ends behind it. */
	for (int round = 0; step <= STEP_FULL && round < DRAIN_ROUNDS_MAX; round++) {
		uint64_t before = worker->requests;
		step = receive_and_echo(worker, socket);
		if (worker->requests == before)
			break;
	}
	if (step == STEP_EMPTY || step == STEP_FULL)
		connection_close(worker, socket, false);
}

static void level_triggered(struct worker *worker, int socket, uint32_t events)
{
	if ((events & EPOLLIN) != 0) {
		receive_and_echo(worker, socket);
		return;
	}
	struct connection *connection = connection_of(worker->server, socket);
	if (connection->unsent == NULL)
		receive_and_echo(worker, socket); /* an error alone: recv tells which */
	else if (unsent_flush(worker, socket, connection) == STEP_FULL)
		interest_set(worker, socket, EPOLLIN);
}

static void edge_triggered(struct worker *worker, int socket, uint32_t events)
{
	struct connection *connection = connection_of(worker->server, socket);
	bool ended = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	if (connection->unsent != NULL) {
		if (unsent_flush(worker, socket, connection) != STEP_FULL)
			return;
		/* The end of the stream may have been an event that was not acted upon while bytes waited. */
		ended = true;
	}
	for (int round = 0; round < EDGE_ROUNDS_MAX; round++) {
		uint64_t before = worker->requests;
		enum step step = receive_and_echo(worker, socket);
		if (step == STEP_BLOCKED || step == STEP_CLOSED)
			return;
		if (step == STEP_EMPTY && (!ended || worker->requests == before))
			return;
	}
	interest_set(worker, socket, interest_reading(worker->server));
}

/* ----------------------------------------------------------------------------------------- accepting */

static uint64_t worker_connections(const struct worker *worker)
{
	uint64_t closed = counter_read(&worker->counters.closed);
	uint64_t assigned = counter_read(&worker->assigned);
	return assigned > closed ? assigned - closed : 0;
}

/* The worker with the fewest connections; the search starts behind the last chosen, so that equals take turns. */
static struct worker *emptiest_worker(struct epoll_server *server)
{
	struct worker *best = &server->workers[server->next_worker];
	uint64_t fewest = worker_connections(best);
	for (uint32_t step = 1; step < server->options.workers; step++) {
		struct worker *worker = &server->workers[(server->next_worker + step) % server->options.workers];
		uint64_t open = worker_connections(worker);
		if (open < fewest) {
			fewest = open;
			best = worker;
		}
	}
	server->next_worker = (best->number + 1) % server->options.workers;
	return best;
}

/* Adds the socket to a worker's epoll instance: no queue and no wake-up stand between. */
static void connection_hand_out(struct worker *acceptor, int socket)
{
	struct epoll_server *server = acceptor->server;
	counter_add(&acceptor->counters.accepted, 1);
	struct worker *worker = emptiest_worker(server);
	int code = ENOMEM;
	if (table_reach(server, socket)) {
		struct connection *connection = connection_of(server, socket);
		struct epoll_event event = {.events = interest_reading(server), .data.u64 = (uint64_t)(uint32_t)socket};
		atomic_store_explicit(&connection->owner, worker->number + 1, memory_order_release);
		/* Before the other worker can close it: assigned is never behind closed. */
		counter_add(&worker->assigned, 1);
		if (epoll_ctl(worker->epoll, EPOLL_CTL_ADD, socket, &event) == 0)
			return;
		code = errno;
		atomic_store_explicit(&worker->assigned, counter_read(&worker->assigned) - 1, memory_order_relaxed);
		atomic_store_explicit(&connection->owner, 0, memory_order_release);
	}
	counters_error(&acceptor->counters, code);
	counter_add(&acceptor->counters.refused, 1);
	socket_close(socket);
}

static void listeners_watch(struct worker *acceptor, uint32_t interest)
{
	struct listeners *listeners = &acceptor->server->listeners;
	for (uint32_t index = 0; index < listeners->count; index++) {
		struct epoll_event event = {.events = interest,
		                            .data.u64 = (uint64_t)EVENT_LISTENER << 32 | (uint32_t)listeners->sockets[index]};
		epoll_ctl(acceptor->epoll, EPOLL_CTL_MOD, listeners->sockets[index], &event);
	}
	acceptor->accept_again_ns = interest != 0 ? 0 : clock_now_ns() + ACCEPT_PAUSE_NS;
}

static void listener_ready(struct worker *acceptor, int listener)
{
	for (int count = 0; count < ACCEPTS_PER_EVENT; count++) {
		/* TCP_NODELAY comes from the listener: see socket_listen. */
		int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (socket >= 0) {
			connection_hand_out(acceptor, socket);
			continue;
		}
		enum socket_condition condition = socket_condition_of(errno);
		if (condition == SOCKET_WOULD_BLOCK)
			return;
		if (condition == SOCKET_INTERRUPTED)
			continue;
		counters_error(&acceptor->counters, errno);
		/* The peer's own affair, as is a network error that Linux passes on; all else would fail again at once. */
		if (condition != SOCKET_ABORTED && condition != SOCKET_UNREACHABLE) {
			listeners_watch(acceptor, 0);
			return;
		}
	}
}

/* --------------------------------------------------------------------------------------------- loops */

static void wake(struct worker *worker)
{
	uint64_t one = 1;
	while (write(worker->wake, &one, sizeof one) < 0 && errno == EINTR)
		continue;
}

static void wake_acknowledge(struct worker *worker)
{
	uint64_t count;
	while (read(worker->wake, &count, sizeof count) < 0 && errno == EINTR)
		continue;
}

/* Calls an action on every connection of this worker. */
static void worker_each(struct worker *worker, void (*action)(struct worker *, int))
{
	struct epoll_server *server = worker->server;
	for (uint32_t chunk = 0; chunk < server->chunk_count; chunk++) {
		struct connection *connections = atomic_load_explicit(&server->chunks[chunk], memory_order_acquire);
		for (uint32_t index = 0; connections != NULL && index < CHUNK_CONNECTIONS; index++)
			if (atomic_load_explicit(&connections[index].owner, memory_order_acquire) == worker->number + 1)
				action(worker, (int)(chunk * CHUNK_CONNECTIONS + index));
	}
}

static void connection_reset(struct worker *worker, int socket)
{
	worker->reset_count++;
	connection_close(worker, socket, true);
}

/* Worker 0 ends the accepting first and then tells the others, so that no connection comes to a worker that has looked. */
static void worker_drain_start(struct worker *worker)
{
	struct epoll_server *server = worker->server;
	worker->draining = true;
	if (worker->number == 0) {
		listeners_close(&server->listeners);
		for (uint32_t index = 1; index < server->options.workers; index++)
			wake(&server->workers[index]);
	}
	worker_each(worker, connection_drain);
}

static void event_handle(struct worker *worker, const struct epoll_event *event)
{
	int descriptor = (int)(uint32_t)event->data.u64;
	switch ((enum event_kind)(event->data.u64 >> 32)) {
	case EVENT_CONNECTION:
		if (worker->draining)
			connection_drain(worker, descriptor);
		else if (worker->server->edge_triggered)
			edge_triggered(worker, descriptor, event->events);
		else
			level_triggered(worker, descriptor, event->events);
		break;
	case EVENT_LISTENER:
		if (!worker->draining)
			listener_ready(worker, descriptor);
		break;
	case EVENT_WAKE:
		wake_acknowledge(worker);
		break;
	}
}

static void batch_publish(struct worker *worker)
{
	counter_add(&worker->counters.requests, worker->requests);
	counter_add(&worker->counters.bytes_received, worker->bytes_received);
	counter_add(&worker->counters.bytes_sent, worker->bytes_sent);
	worker->requests = 0;
	worker->bytes_received = 0;
	worker->bytes_sent = 0;
}

/* How long epoll_wait may wait: for ever but for a pause in accepting or the deadline of a stop. */
static int wait_ms(const struct worker *worker)
{
	uint64_t due_ns = worker->draining ? worker->server->stop_due_ns : worker->accept_again_ns;
	if (due_ns == 0)
		return -1;
	uint64_t now_ns = clock_now_ns();
	return now_ns >= due_ns ? 0 : (int)((due_ns - now_ns) / 1000000u + 1);
}

static void worker_main(void *argument)
{
	struct worker *worker = argument;
	struct epoll_server *server = worker->server;
	for (;;) {
		int count = epoll_wait(worker->epoll, worker->events, EVENTS_MAX, wait_ms(worker));
		for (int index = 0; index < count; index++)
			event_handle(worker, &worker->events[index]);
		batch_publish(worker);
		if (worker->accept_again_ns != 0 && !worker->draining && clock_now_ns() >= worker->accept_again_ns)
			listeners_watch(worker, EPOLLIN);
		if (!worker->draining && atomic_load_explicit(&server->stopping, memory_order_acquire))
			worker_drain_start(worker);
		if (worker->draining && (worker_connections(worker) == 0 || clock_now_ns() >= server->stop_due_ns))
			break;
	}
	worker_each(worker, connection_reset);
	batch_publish(worker);
	atomic_fetch_sub_explicit(&server->threads, 1, memory_order_relaxed);
}

/* ------------------------------------------------------------------------------------- start and stop */

static void epoll_probe(struct ib_probe *out)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0) {
		out->os_code = errno;
		snprintf(out->reason, sizeof out->reason, "epoll_create1 failed: %s", error_text(errno));
		return;
	}
	close(epoll);
	out->available = 1;
	snprintf(out->features, sizeof out->features, "level-triggered edge-triggered");
}

static bool watch(int epoll, int descriptor, enum event_kind kind)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)kind << 32 | (uint32_t)descriptor};
	return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

static int32_t worker_create(struct epoll_server *server, uint32_t number, struct ib_error *error)
{
	struct worker *worker = &server->workers[number];
	worker->server = server;
	worker->number = number;
	worker->epoll = epoll_create1(EPOLL_CLOEXEC);
	worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	worker->buffer = malloc(server->options.receive_buffer_bytes);
	if (worker->buffer == NULL)
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the buffer of worker %u", number);
	bool watched = worker->epoll >= 0 && worker->wake >= 0 && watch(worker->epoll, worker->wake, EVENT_WAKE);
	for (uint32_t index = 0; watched && number == 0 && index < server->listeners.count; index++)
		watched = watch(worker->epoll, server->listeners.sockets[index], EVENT_LISTENER);
	if (watched)
		return IB_STATUS_OK;
	int code = errno;
	bool descriptors = socket_condition_of(code) == SOCKET_DESCRIPTORS;
	return error_set(error, descriptors ? IB_STATUS_DESCRIPTORS : IB_STATUS_OS, code,
	                 "the event loop of worker %u could not be made: %s", number, error_text(code));
}

static void server_free(struct epoll_server *server)
{
	for (uint32_t index = 0; server->workers != NULL && index < server->options.workers; index++) {
		struct worker *worker = &server->workers[index];
		if (worker->epoll >= 0)
			close(worker->epoll);
		if (worker->wake >= 0)
			close(worker->wake);
		free(worker->buffer);
	}
	free(server->workers);
	table_free(server);
	listeners_close(&server->listeners);
	free(server);
}

/* Ends the workers that run. Returns how many connections were reset. */
static uint32_t workers_stop(struct epoll_server *server, uint64_t due_ns)
{
	server->stop_due_ns = due_ns;
	atomic_store_explicit(&server->stopping, true, memory_order_release);
	/* Worker 0 wakes the others, unless it never ran. */
	bool leader = server->workers[0].started;
	for (uint32_t index = 0; index < (leader ? 1 : server->options.workers); index++)
		if (server->workers[index].started)
			wake(&server->workers[index]);
	uint32_t reset = 0;
	for (uint32_t index = 0; index < server->options.workers; index++) {
		if (!server->workers[index].started)
			continue;
		thread_join(&server->workers[index].thread);
		reset += server->workers[index].reset_count;
	}
	return reset;
}

static int32_t workers_start(struct epoll_server *server, struct ib_error *error)
{
	size_t bytes = server->options.workers * sizeof *server->workers;
	server->workers = aligned_alloc(CACHE_LINE_BYTES, bytes);
	if (server->workers == NULL)
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for %u workers", server->options.workers);
	memset(server->workers, 0, bytes);
	for (uint32_t index = 0; index < server->options.workers; index++)
		server->workers[index].epoll = server->workers[index].wake = -1;
	for (uint32_t index = 0; index < server->options.workers; index++) {
		int32_t status = worker_create(server, index, error);
		if (status != IB_STATUS_OK)
			return status;
	}
	/* Worker 0 last: it gives connections to the others, and none may come before all are there. */
	for (uint32_t index = server->options.workers; index-- > 0;) {
		struct worker *worker = &server->workers[index];
		atomic_fetch_add_explicit(&server->threads, 1, memory_order_relaxed);
		int code = thread_start(&worker->thread, worker_main, worker, WORKER_STACK_BYTES);
		if (code != 0) {
			atomic_fetch_sub_explicit(&server->threads, 1, memory_order_relaxed);
			return error_set(error, IB_STATUS_THREADS, code, "worker %u could not be started: %s", index,
			                 error_text(code));
		}
		worker->started = true;
	}
	return IB_STATUS_OK;
}

extern const struct backend epoll_backend;

static int32_t epoll_start(const struct server_config *config, struct server **out, uint32_t *bound_port,
                           struct ib_error *error)
{
	struct epoll_server *server = calloc(1, sizeof *server);
	if (server == NULL || !table_create(server)) {
		free(server);
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the server");
	}
	server->base.backend = &epoll_backend;
	server->options = config->options;
	server->edge_triggered = (config->options.flags & IB_SERVER_EDGE_TRIGGERED) != 0;
	int32_t status = listeners_open(&server->listeners, &server->options, SOCKET_NONBLOCKING, error);
	if (status == IB_STATUS_OK) {
		*bound_port = server->listeners.port;
		server->backlog = server->listeners.backlog;
		status = workers_start(server, error);
	}
	if (status != IB_STATUS_OK) {
		if (server->workers != NULL)
			workers_stop(server, clock_now_ns());
		server_free(server);
		return status;
	}
	*out = &server->base;
	return IB_STATUS_OK;
}

static void epoll_stats(struct server *base, struct ib_server_stats *out)
{
	struct epoll_server *server = (struct epoll_server *)base;
	out->worker_connections_min = UINT64_MAX;
	for (uint32_t index = 0; index < server->options.workers; index++) {
		const struct worker *worker = &server->workers[index];
		counters_sum(&worker->counters, out);
		uint64_t open = worker_connections(worker);
		if (open < out->worker_connections_min)
			out->worker_connections_min = open;
		if (open > out->worker_connections_max)
			out->worker_connections_max = open;
	}
	out->closed += out->refused; /* a worker's own count of closed has its connections alone */
	out->operations_posted = IB_UNKNOWN;
	out->operations_completed = IB_UNKNOWN;
	out->workers = server->options.workers;
	out->threads = atomic_load_explicit(&server->threads, memory_order_relaxed);
	out->threads_max = server->options.workers;
	out->backlog = server->backlog;
	snprintf(out->features, sizeof out->features, "%s", server->edge_triggered ? "edge-triggered" : "level-triggered");
}

static int32_t epoll_stop(struct server *base, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                          struct ib_error *error)
{
	struct epoll_server *server = (struct epoll_server *)base;
	uint32_t reset = workers_stop(server, clock_now_ns() + (uint64_t)deadline_ms * 1000000u);
	epoll_stats(base, final_stats);
	server_free(server);
	if (reset == 0)
		return IB_STATUS_OK;
	return error_set(error, IB_STATUS_DEADLINE, 0, "%u connections were not drained within %u ms and were reset", reset,
	                 deadline_ms);
}

const struct backend epoll_backend = {
    .name = "epoll",
    .probe = epoll_probe,
    .start = epoll_start,
    .stats = epoll_stats,
    .stop = epoll_stop,
};
