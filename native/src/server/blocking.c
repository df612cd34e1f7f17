/*
 * blocking.c - the ordinary way: one thread per accepted socket, blocking recv and send.
 *
 * Technique. One thread per listener accepts; each accepted socket gets a detached thread with a small explicit stack that
 * repeats recv and send until the peer ends the stream: two system calls a request, and one switch to the thread and one away.
 * Everything of the system goes through platform.h, so the same file serves pthreads and CreateThread.
 *
 * Limits are part of the model and no failure of it: where no more threads can be started, that one socket is closed and
 * counted as refused, and accepting goes on.
 *
 * Traps
 *   - The number of a closed socket is reused at once. A thread therefore takes its socket out of the registry, under the lock,
 *     before it closes it, or stopping could shut a stranger's socket down.
 *   - A detached thread cannot be joined. It reports its end under the lock, as the last thing it does with the server.
 *   - Counters on the path of a request belong to the connection, alone on their cache line; they are summed by whoever asks
 *     and folded into the totals when the connection ends.
 *   - A wait (--wait) sleeps in the thread: that is what this model does with one.
 *   - The receive buffer lives on the thread's stack where it fits, so that only the pages that messages fill are resident.
 */
#include <stdlib.h>
#include <string.h>

#include "server/acceptors.h"
#include "server/backend.h"
#include "server/counters.h"
#include "server/listeners.h"

#define CHUNK_CONNECTIONS 1024
#define CHUNKS_MAX 1024
/* What a connection's thread needs of its stack beside the buffer: thread-local storage, and the frames of recv and send. */
#define STACK_RESERVE_BYTES (24 * 1024)
#define RESET_REPEAT_NS (50 * NS_PER_MS)
/* After this many repetitions a thread is taken for lost: see server_abandon(). */
#define RESET_REPEATS 200

struct blocking_server;

struct connection {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t requests;
	_Atomic uint64_t bytes_received;
	_Atomic uint64_t bytes_sent;
	_Atomic uint64_t system_calls;
	struct service_counts *served; /* NULL: the server only echoes */
	struct blocking_server *server;
	struct connection *next_free;
	socket_handle socket; /* SOCKET_NONE: not in use, or being closed by its thread */
};

struct blocking_server {
	struct server base;
	struct ib_server_options options;
	struct listeners listeners;
	uint32_t backlog;
	struct acceptors acceptors;
	bool buffer_on_stack;

	struct mutex mutex; /* guards all below */
	struct condition changed;
	bool stopping;
	bool resetting;
	struct counters totals; /* of connections that have ended; written only under the mutex */
	uint32_t live;          /* connections with a thread */
	uint32_t live_max;
	struct connection *free_list;
	void *chunk_memory[CHUNKS_MAX]; /* as malloc gave it */
	struct connection *chunks[CHUNKS_MAX];
	struct service_counts *served[CHUNKS_MAX]; /* of the connections of each chunk; NULL: the server only echoes */
	uint32_t chunk_count;
};

/* ------------------------------------------------------------------------------------------ registry */

/* Adds a chunk of connections to the free list. The mutex is held. */
static bool registry_grow(struct blocking_server *server)
{
	if (server->chunk_count == CHUNKS_MAX) {
		return false;
	}
	void *memory = calloc(1, CHUNK_CONNECTIONS * sizeof(struct connection) + CACHE_LINE_BYTES);
	struct service_counts *served = NULL;
	if (memory != NULL && service_is_used(&server->base.service)) {
		served = calloc(CHUNK_CONNECTIONS, sizeof *served);
		if (served == NULL) {
			free(memory);
			memory = NULL;
		}
	}
	if (memory == NULL) {
		return false;
	}
	uintptr_t aligned = ((uintptr_t)memory + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
	struct connection *chunk = (struct connection *)aligned;
	for (uint32_t index = CHUNK_CONNECTIONS; index-- > 0;) {
		chunk[index].socket = SOCKET_NONE;
		chunk[index].server = server;
		chunk[index].served = served != NULL ? &served[index] : NULL;
		chunk[index].next_free = server->free_list;
		server->free_list = &chunk[index];
	}
	server->chunk_memory[server->chunk_count] = memory;
	server->chunks[server->chunk_count] = chunk;
	server->served[server->chunk_count] = served;
	server->chunk_count++;
	return true;
}

/* Takes a connection for an accepted socket. NULL where there is no memory for one. */
static struct connection *registry_take(struct blocking_server *server, socket_handle socket)
{
	mutex_lock(&server->mutex);
	struct connection *connection = NULL;
	if (server->free_list != NULL || registry_grow(server)) {
		connection = server->free_list;
		server->free_list = connection->next_free;
		ib_assert(connection->socket == SOCKET_NONE);
		connection->socket = socket;
		server->live++;
		if (server->live > server->live_max) {
			server->live_max = server->live;
		}
	}
	mutex_unlock(&server->mutex);
	return connection;
}

/* Folds the counters of a connection into the totals and gives it back. The mutex is held. */
static void registry_give_back(struct blocking_server *server, struct connection *connection)
{
	counter_add(&server->totals.requests, counter_read(&connection->requests));
	counter_add(&server->totals.bytes_received, counter_read(&connection->bytes_received));
	counter_add(&server->totals.bytes_sent, counter_read(&connection->bytes_sent));
	counter_add(&server->totals.system_calls, counter_read(&connection->system_calls));
	counter_add(&server->totals.closed, 1);
	atomic_store_explicit(&connection->requests, 0, memory_order_relaxed);
	atomic_store_explicit(&connection->bytes_received, 0, memory_order_relaxed);
	atomic_store_explicit(&connection->bytes_sent, 0, memory_order_relaxed);
	atomic_store_explicit(&connection->system_calls, 0, memory_order_relaxed);
	if (connection->served != NULL) {
		service_counts_move(&server->totals.service, connection->served);
	}
	connection->socket = SOCKET_NONE;
	connection->next_free = server->free_list;
	server->free_list = connection;
	ib_count_down(server->live, 1);
	if (server->live == 0) {
		condition_broadcast(&server->changed);
	}
}

/* Does something to the socket of every connection. Locks chunk by chunk, lest threads that end pile up behind it. */
static uint32_t registry_each(struct blocking_server *server, void (*action)(socket_handle))
{
	uint32_t count = 0;
	for (uint32_t chunk = 0; chunk < server->chunk_count; chunk++) {
		mutex_lock(&server->mutex);
		for (uint32_t index = 0; index < CHUNK_CONNECTIONS; index++) {
			socket_handle socket = server->chunks[chunk][index].socket;
			if (socket != SOCKET_NONE) {
				action(socket);
				count++;
			}
		}
		mutex_unlock(&server->mutex);
	}
	return count;
}

/* --------------------------------------------------------------------------------------- connections */

/* Sends it all. Returns 0 or the error's code. */
static int send_all(struct connection *connection, const char *bytes, size_t length)
{
	while (length > 0) {
		ptrdiff_t sent = socket_send(connection->socket, bytes, length);
		counter_add(&connection->system_calls, 1);
		if (sent < 0) {
			return (int)-sent;
		}
		counter_add(&connection->bytes_sent, (uint64_t)sent);
		bytes += sent;
		length -= (size_t)sent;
	}
	return 0;
}

/* The model itself: echoes until the stream ends. Returns 0, or the code of the error that ended it. */
static int connection_echo(struct connection *connection, char *buffer, size_t size)
{
	for (;;) {
		ptrdiff_t received = socket_receive(connection->socket, buffer, size);
		counter_add(&connection->system_calls, 1);
		if (received <= 0) {
			return (int)-received;
		}
		counter_add(&connection->requests, 1);
		counter_add(&connection->bytes_received, (uint64_t)received);
		int code = send_all(connection, buffer, (size_t)received);
		if (code != 0) {
			return code;
		}
	}
}

/* The same for requests that get more than their echo. */
static int connection_serve(struct connection *connection, char *buffer, size_t size)
{
	struct service_worker worker = {0};
	struct service_request request = {0};
	service_worker_start(&worker, &connection->server->base.service, connection->served, &connection->system_calls);
	for (;;) {
		ptrdiff_t received = socket_receive(connection->socket, buffer, size);
		counter_add(&connection->system_calls, 1);
		if (received <= 0) {
			return (int)-received;
		}
		counter_add(&connection->requests, 1);
		counter_add(&connection->bytes_received, (uint64_t)received);
		int code =
		    service_answer(&worker, &request, connection->socket, buffer, (uint32_t)received, &connection->bytes_sent);
		if (code != 0) {
			return code == SERVICE_WAS_CUT ? 0 : code;
		}
	}
}

/* What a connection's thread does with its buffer. */
typedef int (*connection_action)(struct connection *connection, char *buffer, size_t size);

static int connection_run_on_stack(connection_action action, struct connection *connection, size_t size)
{
	char buffer[size];
	return action(connection, buffer, size);
}

static int connection_run_on_heap(connection_action action, struct connection *connection, size_t size)
{
	char *buffer = malloc(size);
	if (buffer == NULL) {
		mutex_lock(&connection->server->mutex);
		counter_add(&connection->server->totals.refused, 1);
		counter_add(&connection->server->totals.errors_memory, 1);
		mutex_unlock(&connection->server->mutex);
		return 0;
	}
	int code = action(connection, buffer, size);
	free(buffer);
	return code;
}

static void connection_main(void *argument)
{
	struct connection *connection = argument;
	struct blocking_server *server = connection->server;
	size_t size = server->options.receive_buffer_bytes;
	connection_action action = connection->served != NULL ? connection_serve : connection_echo;
	int code = server->buffer_on_stack ? connection_run_on_stack(action, connection, size)
	                                   : connection_run_on_heap(action, connection, size);

	mutex_lock(&server->mutex);
	socket_handle socket = connection->socket;
	bool resetting = server->resetting;
	connection->socket = SOCKET_NONE;
	mutex_unlock(&server->mutex);
	counter_add(&connection->system_calls, resetting ? 2 : 1);
	if (resetting) {
		socket_close_reset(socket);
	} else {
		socket_close(socket);
	}

	mutex_lock(&server->mutex);
	if (code != 0 && !server->stopping) {
		counters_error(&server->totals, code);
	}
	registry_give_back(server, connection);
	mutex_unlock(&server->mutex);
}

/* ----------------------------------------------------------------------------------------- accepting */

/* Closes a socket that the model cannot carry: `code` of the thread that could not be started, or 0 where memory is short. */
static void refuse(struct blocking_server *server, struct connection *connection, socket_handle socket, int code)
{
	mutex_lock(&server->mutex);
	counter_add(&server->totals.refused, 1);
	counter_add(&server->totals.system_calls, 1); /* the close */
	if (connection != NULL) {
		counter_add(&server->totals.errors_threads, 1);
		atomic_store_explicit(&server->totals.last_os_code, code, memory_order_relaxed);
		registry_give_back(server, connection);
	} else {
		counter_add(&server->totals.errors_memory, 1);
		counter_add(&server->totals.closed, 1);
	}
	mutex_unlock(&server->mutex);
	socket_close(socket);
}

static void serve(void *context, socket_handle socket)
{
	struct blocking_server *server = context;
	struct connection *connection = registry_take(server, socket);
	if (connection == NULL) {
		refuse(server, NULL, socket, 0);
		return;
	}
	int code = thread_start_detached(connection_main, connection, (size_t)server->options.stack_size_bytes);
	if (code != 0) {
		refuse(server, connection, socket, code);
	}
}

/* ------------------------------------------------------------------------------------- start and stop */

static void blocking_probe(struct ib_probe *out)
{
	out->available = 1;
}

static void nothing(void *argument)
{
	(void)argument;
}

/* A stack that is too small for the thread-local storage of this process fails at every thread: tell it now. */
static int32_t stack_check(const struct ib_server_options *options, struct ib_error *error)
{
	struct thread thread;
	int code = thread_start(&thread, nothing, NULL, (size_t)options->stack_size_bytes);
	if (code == 0) {
		thread_join(&thread);
		return IB_STATUS_OK;
	}
	error_set(error, IB_STATUS_THREADS, code, "no thread with a stack of %llu bytes can be started: %s",
	          (unsigned long long)options->stack_size_bytes, error_text(code));
	error_hint(error, "give a larger stack, or raise the limit of threads");
	return IB_STATUS_THREADS;
}

static void server_free(struct blocking_server *server)
{
	ib_assert(server->live == 0 && acceptors_running(&server->acceptors) == 0);
	listeners_close(&server->listeners);
	for (uint32_t chunk = 0; chunk < server->chunk_count; chunk++) {
		free(server->chunk_memory[chunk]);
		free(server->served[chunk]);
	}
	mutex_destroy(&server->mutex);
	condition_destroy(&server->changed);
	acceptors_free(&server->acceptors);
	free(server);
}

/* After it no connection is added. */
static void accepting_stop(struct blocking_server *server)
{
	acceptors_stop(&server->acceptors);
	mutex_lock(&server->mutex);
	server->stopping = true;
	mutex_unlock(&server->mutex);
}

/* Waits for the last connection, at most until due_ns. True when there is none left. */
static bool await_drained(struct blocking_server *server, uint64_t due_ns)
{
	mutex_lock(&server->mutex);
	for (;;) {
		uint64_t now_ns = clock_now_ns();
		if (server->live == 0 || now_ns >= due_ns) {
			break;
		}
		condition_wait(&server->changed, &server->mutex, due_ns - now_ns);
	}
	bool drained = server->live == 0;
	mutex_unlock(&server->mutex);
	return drained;
}

/* Breaks off the connections that are left. Returns how many there were. */
static uint32_t reset_rest(struct blocking_server *server)
{
	mutex_lock(&server->mutex);
	server->resetting = true;
	service_cut(&server->base.service, 0);
	uint32_t count = server->live;
	mutex_unlock(&server->mutex);
	for (int repeat = 0; repeat < RESET_REPEATS; repeat++) {
		registry_each(server, socket_shutdown);
		if (await_drained(server, clock_now_ns() + RESET_REPEAT_NS)) {
			break;
		}
	}
	return count;
}

extern const struct backend blocking_backend;

static int32_t blocking_start(const struct server_config *config, struct server **out, uint32_t *bound_port,
                              struct ib_error *error)
{
	int32_t status = stack_check(&config->options, error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	struct blocking_server *server = calloc(1, sizeof *server);
	if (server == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the server");
	}
	server_base_init(&server->base, &blocking_backend, config);
	server->base.service.waits_block = true;
	server->options = config->options;
	server->buffer_on_stack =
	    config->options.receive_buffer_bytes + STACK_RESERVE_BYTES <= config->options.stack_size_bytes;
	mutex_init(&server->mutex);
	condition_init(&server->changed);
	status = listeners_open(&server->listeners, &server->options, 0, error);
	if (status == IB_STATUS_OK) {
		*bound_port = server->listeners.port;
		server->backlog = server->listeners.backlog;
		status = acceptors_start(&server->acceptors, &server->listeners, serve, server, error);
	}
	if (status != IB_STATUS_OK) {
		accepting_stop(server);
		/* One listener may have accepted before the thread of another could not be started. */
		(void)reset_rest(server);
		if (await_drained(server, 0)) {
			server_free(server);
		} else {
			(void)server_abandon(&server->base, NULL);
		}
		return status;
	}
	*out = &server->base;
	return IB_STATUS_OK;
}

static void blocking_stats(struct server *base, struct ib_server_stats *out)
{
	struct blocking_server *server = (struct blocking_server *)base;
	mutex_lock(&server->mutex);
	counters_sum(&server->totals, out);
	counters_system_calls(&server->totals.system_calls, out);
	for (uint32_t chunk = 0; chunk < server->chunk_count; chunk++) {
		const struct connection *connections = server->chunks[chunk];
		for (uint32_t index = 0; index < CHUNK_CONNECTIONS; index++) {
			out->requests += counter_read(&connections[index].requests);
			out->bytes_received += counter_read(&connections[index].bytes_received);
			out->bytes_sent += counter_read(&connections[index].bytes_sent);
			out->system_calls += counter_read(&connections[index].system_calls);
			if (connections[index].served != NULL) {
				service_counts_sum(connections[index].served, out);
			}
		}
	}
	acceptors_sum(&server->acceptors, out);
	out->threads = server->live + acceptors_running(&server->acceptors);
	out->threads_max = server->live_max + server->options.address_count;
	mutex_unlock(&server->mutex);
	out->backlog = server->backlog;
}

static int32_t blocking_stop(struct server *base, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                             struct ib_error *error)
{
	struct blocking_server *server = (struct blocking_server *)base;
	uint64_t due_ns = clock_now_ns() + deadline_ms * NS_PER_MS;
	accepting_stop(server);
	/* Each thread echoes what its socket has received, sees the end of the stream, and closes. */
	registry_each(server, socket_shutdown_receive);
	uint32_t reset = await_drained(server, due_ns) ? 0 : reset_rest(server);

	blocking_stats(base, final_stats);
	if (final_stats->threads != 0) {
		return server_abandon(base, error);
	}
	server_free(server);
	return server_stopped(reset, deadline_ms, error);
}

const struct backend blocking_backend = {
    .name = "blocking",
    .speaks_http = true,
    .probe = blocking_probe,
    .start = blocking_start,
    .stats = blocking_stats,
    .stop = blocking_stop,
};
