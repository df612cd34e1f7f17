/*
 * pool.c - a fixed number of threads, each serving one connection at a time with blocking calls.
 *
 * Technique. The threads are made once, before the first connection: what blocking.c pays for each connection (a thread started, a stack, an
 * end) is paid once here, and their number bounds the memory and the switching. One thread per listener accepts and puts sockets into a
 * queue; a thread of the pool takes one, repeats recv and send until the peer ends the stream, and takes the next. (Stevens, UNIX Network
 * Programming, chapter 30: the prethreaded server, the main thread accepting.)
 *
 * Limits are the lesson of this model. A thread belongs to its connection from the first byte to the last, in its pauses too. As many
 * connections as there are threads are served; the next one is accepted, waits in the queue, and is answered when another connection ends,
 * which a keep-alive client need never do. A pool fits short connections, or needs readiness to know which of many has work.
 *
 * Floor: none. Everything of the system goes through platform.h.
 *
 * Traps
 *   - A connection in the queue is open to its peer, which may have sent its request: nothing tells it that it waits.
 *   - One that its peer has given up stays in the queue until a thread looks at it, and costs that thread a recv.
 *   - Waking all threads for each connection would have all but one find nothing: one is signalled.
 *   - Stop. Threads block in recv on a peer that says nothing, and what waits in the queue has bytes to echo too. Receiving is shut down on
 *     those that are served; those that come from the queue then get the same, so that each is echoed what it sent, and closed.
 *   - The number of a closed socket is reused at once. A thread takes its socket out of its place, under the lock, before it closes it, or
 *     stopping could shut a stranger's socket down.
 */
#include <stdlib.h>
#include <string.h>

#include "server/acceptors.h"
#include "server/backend.h"
#include "server/counters.h"
#include "server/listeners.h"

#define IDLE_WAIT_NS 3600000000000ull
#define RESET_REPEAT_NS (50 * NS_PER_MS)
/* After this many repetitions a thread is taken for lost: see server_abandon(). */
#define RESET_REPEATS 200
#define QUEUE_GROWTH 1024

struct pool_server;

struct pool_thread {
	_Alignas(CACHE_LINE_BYTES) struct counters counters; /* written by this thread alone */
	struct pool_server *server;
	struct service_worker service;
	socket_handle socket; /* that it serves; under the mutex */
	char *buffer;
	struct thread thread;
};

struct pool_server {
	struct server base;
	struct ib_server_options options;
	struct listeners listeners;
	uint32_t backlog;
	struct acceptors acceptors;
	struct pool_thread *threads;

	struct mutex mutex;       /* guards all below */
	struct condition work;    /* the queue has a socket, or the server stops */
	struct condition changed; /* for those who wait for an end */
	bool stopping;            /* no connection comes any more: a thread that finds the queue empty ends */
	bool resetting;
	struct counters totals; /* of connections that never had a thread */
	uint32_t threads_started;
	uint32_t threads_running;
	uint32_t serving;     /* threads that have a connection */
	socket_handle *queue; /* a ring */
	uint32_t queue_capacity;
	uint32_t queue_first;
	uint32_t queue_count;
	uint32_t queue_count_max;
};

/* --------------------------------------------------------------------------------------------- queue */

/* Makes room for one more. The mutex is held. */
static bool queue_reserve(struct pool_server *server)
{
	if (server->queue_count < server->queue_capacity) {
		return true;
	}
	uint32_t capacity = server->queue_capacity + QUEUE_GROWTH;
	socket_handle *grown = malloc(capacity * sizeof *grown);
	if (grown == NULL) {
		return false;
	}
	for (uint32_t index = 0; index < server->queue_count; index++) {
		grown[index] = server->queue[(server->queue_first + index) % server->queue_capacity];
	}
	free(server->queue);
	server->queue = grown;
	server->queue_capacity = capacity;
	server->queue_first = 0;
	return true;
}

/* Puts an accepted socket into the queue. */
static void queue_put(void *context, socket_handle socket)
{
	struct pool_server *server = context;
	mutex_lock(&server->mutex);
	bool put = queue_reserve(server);
	if (put) {
		server->queue[(server->queue_first + server->queue_count) % server->queue_capacity] = socket;
		server->queue_count++;
		/* Those that a free thread is about to take do not wait for one. */
		ib_assert(server->queue_count <= server->queue_capacity && server->serving <= server->threads_running);
		uint32_t idle = server->threads_running - server->serving;
		uint32_t waiting = server->queue_count > idle ? server->queue_count - idle : 0;
		if (waiting > server->queue_count_max) {
			server->queue_count_max = waiting;
		}
		condition_signal(&server->work);
	} else {
		counter_add(&server->totals.errors_memory, 1);
		counter_add(&server->totals.refused, 1);
		counter_add(&server->totals.system_calls, 1); /* the close */
		counter_add(&server->totals.closed, 1);
	}
	mutex_unlock(&server->mutex);
	if (!put) {
		socket_close(socket);
	}
}

/* Waits for a socket and takes it. False when the server stops and none is left. */
static bool queue_take(struct pool_thread *thread)
{
	struct pool_server *server = thread->server;
	mutex_lock(&server->mutex);
	while (server->queue_count == 0 && !server->stopping) {
		condition_wait(&server->work, &server->mutex, IDLE_WAIT_NS);
	}
	bool taken = server->queue_count > 0;
	if (taken) {
		thread->socket = server->queue[server->queue_first];
		server->queue_first = (server->queue_first + 1) % server->queue_capacity;
		ib_count_down(server->queue_count, 1);
		server->serving++;
		ib_assert(thread->socket != SOCKET_NONE && server->serving <= server->threads_running);
		if (server->stopping) {
			socket_shutdown_receive(thread->socket);
		}
		if (server->resetting) {
			socket_shutdown(thread->socket);
		}
	}
	mutex_unlock(&server->mutex);
	return taken;
}

/* ------------------------------------------------------------------------------------------ the pool */

/* Sends it all. Returns 0 or the error's code. */
static int send_all(struct pool_thread *thread, size_t length)
{
	const char *bytes = thread->buffer;
	while (length > 0) {
		ptrdiff_t sent = socket_send(thread->socket, bytes, length);
		counter_add(&thread->counters.system_calls, 1);
		if (sent < 0) {
			return (int)-sent;
		}
		counter_add(&thread->counters.bytes_sent, (uint64_t)sent);
		bytes += sent;
		length -= (size_t)sent;
	}
	return 0;
}

/* The model itself: echoes until the stream ends. Returns 0, or the code of the error that ended it. */
static int connection_echo(struct pool_thread *thread)
{
	size_t size = thread->server->options.receive_buffer_bytes;
	for (;;) {
		ptrdiff_t received = socket_receive(thread->socket, thread->buffer, size);
		counter_add(&thread->counters.system_calls, 1);
		if (received <= 0) {
			return (int)-received;
		}
		counter_add(&thread->counters.requests, 1);
		counter_add(&thread->counters.bytes_received, (uint64_t)received);
		int code = send_all(thread, (size_t)received);
		if (code != 0) {
			return code;
		}
	}
}

/* The same for requests that get more than their echo. A wait sleeps in the thread, which its connection occupies anyway. */
static int connection_serve(struct pool_thread *thread)
{
	size_t size = thread->server->options.receive_buffer_bytes;
	struct service_request request = {0};
	for (;;) {
		ptrdiff_t received = socket_receive(thread->socket, thread->buffer, size);
		counter_add(&thread->counters.system_calls, 1);
		if (received <= 0) {
			return (int)-received;
		}
		counter_add(&thread->counters.requests, 1);
		counter_add(&thread->counters.bytes_received, (uint64_t)received);
		int code = service_answer(&thread->service, &request, thread->socket, thread->buffer, (uint32_t)received,
		                          &thread->counters.bytes_sent);
		if (code != 0) {
			return code == SERVICE_WAS_CUT ? 0 : code;
		}
	}
}

static void connection_end(struct pool_thread *thread, int code)
{
	struct pool_server *server = thread->server;
	mutex_lock(&server->mutex);
	socket_handle socket = thread->socket;
	bool resetting = server->resetting;
	bool stopping = server->stopping;
	thread->socket = SOCKET_NONE;
	mutex_unlock(&server->mutex);
	counter_add(&thread->counters.system_calls, resetting ? 2 : 1);
	if (resetting) {
		socket_close_reset(socket);
	} else {
		socket_close(socket);
	}
	if (code != 0 && !stopping) {
		counters_error(&thread->counters, code);
	}
	counter_add(&thread->counters.closed, 1);
	mutex_lock(&server->mutex);
	ib_count_down(server->serving, 1);
	mutex_unlock(&server->mutex);
}

static void thread_main(void *argument)
{
	struct pool_thread *thread = argument;
	struct pool_server *server = thread->server;
	service_worker_start(&thread->service, &server->base.service, &thread->counters.service,
	                     &thread->counters.system_calls);
	bool serves = service_is_used(&server->base.service);
	while (queue_take(thread)) {
		connection_end(thread, serves ? connection_serve(thread) : connection_echo(thread));
	}
	mutex_lock(&server->mutex);
	ib_count_down(server->threads_running, 1);
	condition_broadcast(&server->changed);
	mutex_unlock(&server->mutex);
}

/* ------------------------------------------------------------------------------------- start and stop */

static void pool_probe(struct ib_probe *out)
{
	out->available = 1;
}

static void server_free(struct pool_server *server)
{
	ib_assert(server->threads_running == 0 && server->serving == 0 && server->queue_count == 0);
	listeners_close(&server->listeners);
	for (uint32_t index = 0; server->threads != NULL && index < server->options.pool_threads; index++) {
		free(server->threads[index].buffer);
	}
	memory_free_aligned(server->threads);
	mutex_destroy(&server->mutex);
	condition_destroy(&server->work);
	condition_destroy(&server->changed);
	acceptors_free(&server->acceptors);
	free(server->queue);
	free(server);
}

/* After it no connection is added, and a thread that finds the queue empty ends. */
static void accepting_stop(struct pool_server *server)
{
	acceptors_stop(&server->acceptors);
	mutex_lock(&server->mutex);
	server->stopping = true;
	condition_broadcast(&server->work);
	mutex_unlock(&server->mutex);
}

/* Does something to the socket of every connection that is served now. */
static void serving_each(struct pool_server *server, void (*action)(socket_handle))
{
	mutex_lock(&server->mutex);
	for (uint32_t index = 0; index < server->threads_started; index++) {
		if (server->threads[index].socket != SOCKET_NONE) {
			action(server->threads[index].socket);
		}
	}
	mutex_unlock(&server->mutex);
}

/* Waits for the last thread, at most until due_ns. True when none is left. */
static bool await_ended(struct pool_server *server, uint64_t due_ns)
{
	mutex_lock(&server->mutex);
	for (uint64_t now_ns = clock_now_ns(); server->threads_running > 0 && now_ns < due_ns; now_ns = clock_now_ns()) {
		condition_wait(&server->changed, &server->mutex, due_ns - now_ns);
	}
	bool ended = server->threads_running == 0;
	mutex_unlock(&server->mutex);
	return ended;
}

/* Breaks off the connections that are left. Returns how many there were. */
static uint32_t reset_rest(struct pool_server *server)
{
	mutex_lock(&server->mutex);
	server->resetting = true;
	service_cut(&server->base.service, 0);
	uint32_t count = server->serving + server->queue_count;
	mutex_unlock(&server->mutex);
	for (int repeat = 0; repeat < RESET_REPEATS; repeat++) {
		serving_each(server, socket_shutdown);
		if (await_ended(server, clock_now_ns() + RESET_REPEAT_NS)) {
			break;
		}
	}
	return count;
}

/* Ends the threads. Returns how many connections were reset. */
static uint32_t threads_stop(struct pool_server *server, uint64_t due_ns)
{
	/* Each thread echoes what its socket has received, sees the end of the stream, and goes on with the queue. */
	serving_each(server, socket_shutdown_receive);
	uint32_t reset = await_ended(server, due_ns) ? 0 : reset_rest(server);
	/* One that is lost is not waited for. */
	if (await_ended(server, 0)) {
		for (uint32_t index = 0; index < server->threads_started; index++) {
			thread_join(&server->threads[index].thread);
		}
	}
	return reset;
}

static int32_t threads_start(struct pool_server *server, struct ib_error *error)
{
	uint32_t count = server->options.pool_threads;
	server->threads = memory_allocate_aligned(CACHE_LINE_BYTES, count * sizeof *server->threads);
	if (server->threads == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for %u threads", count);
	}
	memset(server->threads, 0, count * sizeof *server->threads);
	for (uint32_t index = 0; index < count; index++) {
		struct pool_thread *thread = &server->threads[index];
		thread->server = server;
		thread->socket = SOCKET_NONE;
		thread->buffer = malloc(server->options.receive_buffer_bytes);
		if (thread->buffer == NULL) {
			return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the buffer of thread %u", index);
		}
		mutex_lock(&server->mutex);
		server->threads_running++;
		mutex_unlock(&server->mutex);
		int code = thread_start(&thread->thread, thread_main, thread, (size_t)server->options.stack_size_bytes);
		mutex_lock(&server->mutex);
		server->threads_running -= code != 0;
		server->threads_started += code == 0;
		mutex_unlock(&server->mutex);
		if (code == 0) {
			continue;
		}
		error_set(error, IB_STATUS_THREADS, code, "thread %u of the pool's %u could not be started: %s", index + 1,
		          count, error_text(code));
		error_hint(error, "ask for fewer threads, or raise the limit of threads");
		return IB_STATUS_THREADS;
	}
	return IB_STATUS_OK;
}

extern const struct backend pool_backend;

static int32_t pool_start(const struct server_config *config, struct server **out, uint32_t *bound_port,
                          struct ib_error *error)
{
	struct pool_server *server = calloc(1, sizeof *server);
	if (server == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the server");
	}
	server_base_init(&server->base, &pool_backend, config);
	server->base.service.waits_block = true;
	server->options = config->options;
	mutex_init(&server->mutex);
	condition_init(&server->work);
	condition_init(&server->changed);
	int32_t status = listeners_open(&server->listeners, &server->options, 0, error);
	if (status == IB_STATUS_OK) {
		*bound_port = server->listeners.port;
		server->backlog = server->listeners.backlog;
		status = threads_start(server, error);
	}
	if (status == IB_STATUS_OK) {
		status = acceptors_start(&server->acceptors, &server->listeners, queue_put, server, error);
	}
	if (status != IB_STATUS_OK) {
		accepting_stop(server);
		threads_stop(server, clock_now_ns());
		if (await_ended(server, 0)) {
			server_free(server);
		} else {
			(void)server_abandon(&server->base, NULL);
		}
		return status;
	}
	*out = &server->base;
	return IB_STATUS_OK;
}

static void pool_stats(struct server *base, struct ib_server_stats *out)
{
	struct pool_server *server = (struct pool_server *)base;
	mutex_lock(&server->mutex);
	for (uint32_t index = 0; index < server->threads_started; index++) {
		counters_sum(&server->threads[index].counters, out);
		counters_system_calls(&server->threads[index].counters.system_calls, out);
	}
	counters_sum(&server->totals, out);
	counters_system_calls(&server->totals.system_calls, out);
	acceptors_sum(&server->acceptors, out);
	out->connections_queued = server->queue_count;
	out->connections_queued_max = server->queue_count_max;
	out->threads = server->threads_running + acceptors_running(&server->acceptors);
	out->threads_max = server->threads_started + server->options.address_count;
	mutex_unlock(&server->mutex);
	out->backlog = server->backlog;
}

static int32_t pool_stop(struct server *base, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                         struct ib_error *error)
{
	struct pool_server *server = (struct pool_server *)base;
	uint64_t due_ns = clock_now_ns() + deadline_ms * NS_PER_MS;
	accepting_stop(server);
	uint32_t reset = threads_stop(server, due_ns);
	pool_stats(base, final_stats);
	if (final_stats->threads != 0) {
		return server_abandon(base, error);
	}
	server_free(server);
	return server_stopped(reset, deadline_ms, error);
}

const struct backend pool_backend = {
    .name = "pool",
    .speaks_http = true,
    .probe = pool_probe,
    .start = pool_start,
    .stats = pool_stats,
    .stop = pool_stop,
};
