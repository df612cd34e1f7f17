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
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/linux/epoll.h"

/* --------------------------------------------------------------------------------------------- loops */

static void wake(void *argument)
{
	const struct worker *worker = argument;
	uint64_t one = 1;
	while (write(worker->wake, &one, sizeof one) < 0 && errno == EINTR) {
		continue;
	}
}

static void wake_acknowledge(struct worker *worker)
{
	uint64_t count;
	worker->system_calls++;
	while (read(worker->wake, &count, sizeof count) < 0 && errno == EINTR) {
		continue;
	}
}

/* Calls an action on every connection of this worker. */
static void worker_each(struct worker *worker, void (*action)(struct worker *, int))
{
	struct epoll_server *server = worker->server;
	for (uint32_t chunk = 0; chunk < server->chunk_count; chunk++) {
		struct connection *connections = atomic_load_explicit(&server->chunks[chunk], memory_order_acquire);
		for (uint32_t index = 0; connections != NULL && index < CHUNK_CONNECTIONS; index++) {
			if (atomic_load_explicit(&connections[index].owner, memory_order_acquire) == worker->number + 1) {
				action(worker, (int)(chunk * CHUNK_CONNECTIONS + index));
			}
		}
	}
}

/* Worker 0 ends the accepting first and then tells the others, so that no connection comes to a worker that has looked. */
static void worker_drain_start(struct worker *worker)
{
	struct epoll_server *server = worker->server;
	worker->draining = true;
	if (worker->number == 0) {
		listeners_close(&server->listeners);
		atomic_store_explicit(&server->accepting_ended, true, memory_order_release);
		for (uint32_t index = 1; index < server->options.workers; index++) {
			wake(&server->workers[index]);
		}
	}
	worker_each(worker, epoll_connection_drain);
}

static void event_handle(struct worker *worker, const struct epoll_event *event)
{
	int descriptor = (int)(uint32_t)event->data.u64;
	switch ((enum event_kind)(event->data.u64 >> 32)) {
	case EVENT_CONNECTION:
		if (worker->draining) {
			epoll_connection_drain(worker, descriptor);
		} else {
			epoll_connection_ready(worker, descriptor, event->events);
		}
		break;
	case EVENT_LISTENER:
		if (!worker->draining) {
			epoll_listener_ready(worker, descriptor);
		}
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
	counter_add(&worker->counters.system_calls, worker->system_calls);
	worker->requests = 0;
	worker->bytes_received = 0;
	worker->bytes_sent = 0;
	worker->system_calls = 0;
}

/* How long epoll_wait may wait: for ever but for a pause in accepting or the deadline of a stop. */
static int wait_ms(const struct worker *worker)
{
	uint64_t due_ns = worker->draining ? worker->server->stop_due_ns : worker->accept_again_ns;
	if (due_ns == 0) {
		return -1;
	}
	uint64_t now_ns = clock_now_ns();
	return now_ns >= due_ns ? 0 : (int)((due_ns - now_ns) / NS_PER_MS + 1);
}

static void worker_main(void *argument)
{
	struct worker *worker = argument;
	struct epoll_server *server = worker->server;
	/* The others stop only after worker 0 has, which may still have connections for them. */
	const atomic_bool *stops = worker->number == 0 ? &server->stopping : &server->accepting_ended;
	service_worker_start(&worker->service, &server->base.service, &worker->counters.service,
	                     &worker->counters.system_calls);
	for (;;) {
		int count = unlikely(worker->service.first != NULL)
		                ? epoll_service_wait(worker, wait_ms(worker))
		                : epoll_wait(worker->epoll, worker->events, EVENTS_MAX, wait_ms(worker));
		worker->system_calls++;
		for (int index = 0; index < count; index++) {
			event_handle(worker, &worker->events[index]);
		}
		if (unlikely(worker->service.first != NULL)) {
			epoll_service_due(worker);
		}
		batch_publish(worker);
		if (worker->accept_again_ns != 0 && !worker->draining && clock_now_ns() >= worker->accept_again_ns) {
			epoll_listeners_watch(worker, EPOLLIN);
		}
		if (!worker->draining && atomic_load_explicit(stops, memory_order_acquire)) {
			worker_drain_start(worker);
		}
		if (worker->draining && (epoll_worker_connections(worker) == 0 || clock_now_ns() >= server->stop_due_ns)) {
			break;
		}
	}
	worker_each(worker, epoll_connection_reset);
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
	for (uint32_t index = 0; server->chunks != NULL && index < server->chunk_count; index++) {
		free(atomic_load_explicit(&server->chunks[index], memory_order_relaxed));
	}
	free(server->chunks);
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
	if (worker->buffer == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the buffer of worker %u", number);
	}
	bool watched = worker->epoll >= 0 && worker->wake >= 0 && watch(worker->epoll, worker->wake, EVENT_WAKE);
	for (uint32_t index = 0; watched && number == 0 && index < server->listeners.count; index++) {
		watched = watch(worker->epoll, server->listeners.sockets[index], EVENT_LISTENER);
	}
	if (watched) {
		return IB_STATUS_OK;
	}
	int code = errno;
	bool descriptors = socket_condition_of(code) == SOCKET_DESCRIPTORS;
	return error_set(error, descriptors ? IB_STATUS_DESCRIPTORS : IB_STATUS_OS, code,
	                 "the event loop of worker %u could not be made: %s", number, error_text(code));
}

static void server_free(struct epoll_server *server)
{
	for (uint32_t index = 0; server->workers != NULL && index < server->options.workers; index++) {
		struct worker *worker = &server->workers[index];
		if (worker->epoll >= 0) {
			close(worker->epoll);
		}
		if (worker->wake >= 0) {
			close(worker->wake);
		}
		free(worker->buffer);
	}
	free(server->workers);
	table_free(server);
	listeners_close(&server->listeners);
	free(server);
}

/* Ends the workers that run. Returns how many connections were reset. */
static uint32_t server_drain(struct epoll_server *server, uint64_t due_ns)
{
	server->stop_due_ns = due_ns;
	service_cut(&server->base.service, due_ns);
	atomic_store_explicit(&server->stopping, true, memory_order_release);
	if (!server->workers[0].thread.started) {
		atomic_store_explicit(&server->accepting_ended, true, memory_order_release);
	}
	return workers_stop(WORKERS_OF(server, server->options.workers), wake);
}

static int32_t workers_create(struct epoll_server *server, struct ib_error *error)
{
	size_t bytes = server->options.workers * sizeof *server->workers;
	server->workers = aligned_alloc(CACHE_LINE_BYTES, bytes);
	if (server->workers == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for %u workers", server->options.workers);
	}
	memset(server->workers, 0, bytes);
	for (uint32_t index = 0; index < server->options.workers; index++) {
		server->workers[index].epoll = server->workers[index].wake = -1;
	}
	for (uint32_t index = 0; index < server->options.workers; index++) {
		int32_t status = worker_create(server, index, error);
		if (status != IB_STATUS_OK) {
			return status;
		}
	}
	return workers_start(WORKERS_OF(server, server->options.workers), worker_main, &server->threads, error);
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
	server_base_init(&server->base, &epoll_backend, config);
	server->options = config->options;
	server->edge_triggered = (config->options.flags & IB_SERVER_EDGE_TRIGGERED) != 0;
	server->echoes_level_triggered = !server->edge_triggered && !service_is_used(&config->service);
	int32_t status = listeners_open(&server->listeners, &server->options, SOCKET_NONBLOCKING, error);
	if (status == IB_STATUS_OK) {
		*bound_port = server->listeners.port;
		server->backlog = server->listeners.backlog;
		status = workers_create(server, error);
	}
	if (status != IB_STATUS_OK) {
		if (server->workers != NULL) {
			server_drain(server, clock_now_ns());
		}
		server_free(server);
		return status;
	}
	*out = &server->base;
	return IB_STATUS_OK;
}

static void epoll_stats(struct server *base, struct ib_server_stats *out)
{
	struct epoll_server *server = (struct epoll_server *)base;
	for (uint32_t index = 0; index < server->options.workers; index++) {
		const struct worker *worker = &server->workers[index];
		counters_sum(&worker->counters, out);
		counters_system_calls(&worker->counters.system_calls, out);
		counters_worker_connections(epoll_worker_connections(worker), out);
	}
	out->closed += out->refused; /* a worker's own count of closed has its connections alone */
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
	uint32_t reset = server_drain(server, clock_now_ns() + deadline_ms * NS_PER_MS);
	epoll_stats(base, final_stats);
	server_free(server);
	return server_stopped(reset, deadline_ms, error);
}

const struct backend epoll_backend = {
    .name = "epoll",
    .speaks_http = true,
    .probe = epoll_probe,
    .start = epoll_start,
    .stats = epoll_stats,
    .stop = epoll_stop,
};
