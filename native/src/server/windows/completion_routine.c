/*
 * completion_routine.c - overlapped calls whose completions are procedure calls to the thread that made them.
 *
 * Technique. A connection has one overlapped operation out at a time, WSARecv or WSASend, with a completion routine. When the operation is
 * done, the kernel queues the routine to the thread that began it, and runs it when that thread next waits alertably. A worker does nothing
 * else: it waits in SleepEx, and the routine begins the next operation. An accepting thread gives each connection to a worker in the same
 * way, by QueueUserAPC.
 *
 * As with a completion port, one thread serves any number of sockets, and the kernel works on the buffers itself. But here the work is bound
 * to the thread that began it. Nothing evens out between threads, and a routine that waits stops all connections of its thread. That is why
 * servers use ports instead.
 *
 * Floor: Windows Vista (CancelIoEx); the model itself exists since Windows 2000.
 * Limits: none of its own. Each connection holds a buffer.
 *
 * Traps
 *   - Routines run in alertable waits only. A thread that waits in any other way serves none of its connections meanwhile.
 *   - An alertable wait does not return while routines are pending, so under load a loop around it never gets to anything else. That is why
 *     accepting has threads of its own, why everything a worker is asked to do comes as a routine, and why a connection that still sends
 *     after the deadline of a stop is broken off by its routine.
 *   - A call that completes at once queues its routine too, so there is one path. Routines are not nested, because none of them waits.
 *   - The OVERLAPPED and the buffer belong to the kernel until the routine has run, after CancelIoEx too. The OVERLAPPED leads to the
 *     connection that it is a member of; hEvent is not used.
 *   - A routine that is queued before its thread runs is the first thing that thread does, before its own function. So a worker is complete before
 *     its thread is started.
 *   - The end of a thread ends its operations, so a worker outlives its connections.
 *   - A client that never reads: its send stays pending, no receive is posted behind it, and its memory is one buffer.
 *   - A request that waits (--wait) has no operation out. The end of SleepEx serves it when its wait is over, and so does every routine, because
 *     under load SleepEx does not end.
 *   - Stop. The worker cancels the receives of its connections itself, so it needs no lock against the reuse of a socket's number.
 */
#include <stdlib.h>
#include <string.h>

#include "server/acceptors.h"
#include "server/backend.h"
#include "server/hand_out.h"
#include "server/workers.h"

#define CANCEL_REPEAT_NS (20 * NS_PER_MS)
/* After this many repetitions the kernel is taken to have lost an operation: see server_abandon(). */
#define RESET_REPEATS 500

#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

struct routine_worker;

/* Owned by its worker's thread once it is adopted. */
struct routine_connection {
	OVERLAPPED overlapped;
	struct routine_worker *worker;
	struct routine_connection *previous, *next; /* of the same worker */
	socket_handle socket;
	bool is_out; /* an operation was begun and its routine has not run */
	bool sending;
	uint32_t length;                /* bytes in the buffer */
	uint32_t sent;                  /* of these, or taken */
	struct service_request request; /* zero if the server only echoes */
	char buffer[];
};

struct routine_server;

struct routine_worker {
	_Alignas(CACHE_LINE_BYTES) struct counters counters; /* written by this worker alone */
	_Atomic uint64_t posted;
	_Atomic uint64_t completed;
	_Atomic uint64_t assigned; /* under the server's mutex */
	struct routine_server *server;
	struct worker_thread thread;
	bool draining;
	bool resetting;
	uint32_t open;
	struct routine_connection *first;
	struct service_worker service;
};

struct routine_server {
	struct server base;
	struct ib_server_options options;
	struct listeners listeners;
	uint32_t backlog;
	struct acceptors acceptors;
	struct routine_worker *workers;
	uint64_t stop_due_ns; /* written before the workers drain */
	_Atomic uint32_t threads;

	struct mutex mutex; /* guards all below, and assigned of the workers */
	uint32_t next_worker;
	struct counters totals; /* of connections that no worker got */
};

/* --------------------------------------------------------------------------------------- connections */

static void connection_end(struct routine_connection *connection, bool reset)
{
	struct routine_worker *worker = connection->worker;
	ib_assert(!connection->is_out);
	if (worker->service.service != NULL) {
		service_abandon(&worker->service, &connection->request, connection->length - connection->sent);
	}
	if (reset) {
		socket_close_reset(connection->socket);
	} else {
		socket_shutdown_send(connection->socket);
		socket_close(connection->socket);
	}
	if (connection->previous != NULL) {
		connection->previous->next = connection->next;
	} else {
		worker->first = connection->next;
	}
	if (connection->next != NULL) {
		connection->next->previous = connection->previous;
	}
	ib_count_down(worker->open, 1);
	counter_add(&worker->counters.closed, 1);
	free(connection);
}

static void connection_close(struct routine_connection *connection, int code)
{
	struct routine_worker *worker = connection->worker;
	/* While stopping, an aborted operation is our own cancel and no error. */
	if (code != 0 && !worker->draining) {
		counters_error(&worker->counters, code);
	}
	connection_end(connection, worker->resetting);
}

static void CALLBACK operation_done(DWORD code, DWORD bytes, LPWSAOVERLAPPED overlapped, DWORD flags);

/* From now on the connections that are left are reset. */
static void reset_begin(struct routine_worker *worker)
{
	if (!worker->resetting) {
		worker->resetting = true;
		worker->thread.reset_count += worker->open;
	}
}

/* While stopping, a connection is served as long as it has data to read, at most until the deadline, and then closed. */
static bool connection_done(const struct routine_connection *connection)
{
	struct routine_worker *worker = connection->worker;
	u_long waiting = 0;
	if (!worker->draining) {
		return false;
	}
	if (worker->resetting || ioctlsocket(connection->socket, (long)FIONREAD, &waiting) != 0 || waiting == 0) {
		return true;
	}
	if (clock_now_ns() < worker->server->stop_due_ns) {
		return false;
	}
	reset_begin(worker);
	return true;
}

/*
 * Serves what was received. SERVICE_REPLY: a send is next. SERVICE_READ: a receive. SERVICE_WAIT: neither, because the request waits or the
 * connection has ended.
 */
static enum service_verdict connection_serve(struct routine_connection *connection)
{
	struct routine_worker *worker = connection->worker;
	if (worker->service.service == NULL) {
		return connection->sent < connection->length ? SERVICE_REPLY : SERVICE_READ;
	}
	enum service_verdict verdict = service_advance(&worker->service, &connection->request, connection->socket,
	                                               connection->buffer, &connection->sent, connection->length);
	if (verdict == SERVICE_CUT) {
		worker->thread.reset_count += !worker->resetting;
		connection_end(connection, true);
		return SERVICE_WAIT;
	}
	return verdict;
}

/* Begins the next operation of a connection: the rest of a send, or a receive. */
static void operation_begin(struct routine_connection *connection)
{
	struct routine_worker *worker = connection->worker;
	ib_assert(!connection->is_out && connection->sent <= connection->length);
	enum service_verdict next = connection_serve(connection);
	if (next == SERVICE_WAIT) {
		return;
	}
	connection->sending = next == SERVICE_REPLY;
	if (!connection->sending && connection_done(connection)) {
		connection_close(connection, 0);
		return;
	}
	WSABUF buffer = {.buf = connection->buffer, .len = worker->server->options.receive_buffer_bytes};
	DWORD flags = 0;
	memset(&connection->overlapped, 0, sizeof connection->overlapped);
	int failed;
	if (connection->sending) {
		buffer.buf += connection->sent;
		buffer.len = connection->length - connection->sent;
		if (worker->service.service != NULL) {
			/* WSASend does not change the bytes, although its buffers are not const. */
			buffer.buf = (char *)(uintptr_t)connection->request.reply_bytes;
			buffer.len = connection->request.reply;
		}
		failed = WSASend(connection->socket, &buffer, 1, NULL, 0, &connection->overlapped, operation_done);
	} else {
		failed = WSARecv(connection->socket, &buffer, 1, NULL, &flags, &connection->overlapped, operation_done);
	}
	int code = failed != 0 ? WSAGetLastError() : 0;
	if (code != 0 && code != WSA_IO_PENDING) {
		connection_close(connection, code); /* no routine is queued */
		return;
	}
	connection->is_out = true;
	/* Pending means that the peer's window and our send buffer are full. Nothing is read from this peer until the send is done. */
	if (connection->sending && code == WSA_IO_PENDING) {
		counter_add(&worker->counters.receives_paused, 1);
	}
	counter_add(&worker->posted, 1);
}

/* Serves the requests whose wait is over. */
static void service_due_handle(struct routine_worker *worker)
{
	uint64_t now_ns = clock_now_ns();
	struct service_request *request;
	while ((request = service_due(&worker->service, now_ns)) != NULL) {
		operation_begin(container_of(request, struct routine_connection, request));
	}
}

/* Ends the connections whose request waits: they have no operation that a cancel would end. */
static void service_waits_end(struct routine_worker *worker)
{
	while (worker->service.first != NULL) {
		connection_close(container_of(worker->service.first, struct routine_connection, request), 0);
	}
}

static void operation_finished(struct routine_connection *connection, DWORD code, DWORD bytes)
{
	struct routine_worker *worker = connection->worker;
	ib_assert(connection->is_out);
	connection->is_out = false;
	counter_add(&worker->completed, 1);
	if (code != 0) {
		/* While stopping, our cancel may have hit a receive with data behind it. */
		bool cancelled = worker->draining && !connection->sending && socket_condition_of((int)code) == SOCKET_CLOSED;
		if (cancelled) {
			operation_begin(connection);
		} else {
			connection_close(connection, (int)code);
		}
		return;
	}
	if (connection->sending) {
		counter_add(&worker->counters.bytes_sent, bytes);
		connection->sent +=
		    worker->service.service == NULL ? bytes : service_replied(&worker->service, &connection->request, bytes);
	} else if (bytes == 0) {
		/* The peer's end of stream; all that came before it is echoed already. */
		connection_close(connection, 0);
		return;
	} else {
		counter_add(&worker->counters.requests, 1);
		counter_add(&worker->counters.bytes_received, bytes);
		connection->length = bytes;
		connection->sent = 0;
	}
	operation_begin(connection);
}

/* The completion routine of every operation. */
static void CALLBACK operation_done(DWORD code, DWORD bytes, LPWSAOVERLAPPED overlapped, DWORD flags)
{
	struct routine_connection *connection = container_of(overlapped, struct routine_connection, overlapped);
	struct routine_worker *worker = connection->worker;
	(void)flags;
	operation_finished(connection, code, bytes);
	if (worker->service.first != NULL) {
		service_due_handle(worker);
	}
}

/* ----------------------------------------------------------------------------------------- accepting */

/* On the worker's thread, because a routine runs on the thread that began its operation: the first receive. */
static void CALLBACK connection_adopt(ULONG_PTR argument)
{
	struct routine_connection *connection = (struct routine_connection *)argument;
	struct routine_worker *worker = connection->worker;
	connection->next = worker->first;
	if (worker->first != NULL) {
		worker->first->previous = connection;
	}
	worker->first = connection;
	worker->open++;
	operation_begin(connection);
}

static uint64_t worker_connections(const void *base, uint32_t number)
{
	const struct routine_worker *worker = &((const struct routine_server *)base)->workers[number];
	return workers_connections(&worker->assigned, &worker->counters);
}

/* On an accepting thread. */
static void connection_hand_out(void *context, socket_handle socket)
{
	struct routine_server *server = context;
	struct routine_connection *connection = malloc(sizeof *connection + server->options.receive_buffer_bytes);
	bool given = false;
	mutex_lock(&server->mutex);
	if (connection != NULL) {
		memset(connection, 0, sizeof *connection);
		connection->socket = socket;
		uint32_t number = hand_out_emptiest(server->options.workers, &server->next_worker, worker_connections, server);
		connection->worker = &server->workers[number];
		/* Before the worker can close it: assigned is never behind closed. */
		counter_add(&connection->worker->assigned, 1);
		given = QueueUserAPC(connection_adopt, connection->worker->thread.thread.handle, (ULONG_PTR)connection) != 0;
		if (!given) {
			atomic_store_explicit(&connection->worker->assigned, counter_read(&connection->worker->assigned) - 1,
			                      memory_order_relaxed);
		}
	}
	if (!given) {
		counter_add(&server->totals.errors_memory, 1);
		counter_add(&server->totals.refused, 1);
		counter_add(&server->totals.closed, 1);
	}
	mutex_unlock(&server->mutex);
	if (!given) {
		free(connection);
		socket_close(socket);
	}
}

/* ------------------------------------------------------------------------------------------- workers */

static void connections_cancel(struct routine_worker *worker, bool sends_too)
{
	for (struct routine_connection *one = worker->first; one != NULL; one = one->next) {
		if (sends_too || !one->sending) {
			CancelIoEx((HANDLE)one->socket, &one->overlapped);
		}
	}
}

/* The stop. It is queued behind every connection that was handed out. */
static void CALLBACK worker_drain(ULONG_PTR argument)
{
	struct routine_worker *worker = (struct routine_worker *)argument;
	worker->draining = true;
	connections_cancel(worker, false);
}

static DWORD milliseconds_until(uint64_t due_ns)
{
	uint64_t now_ns = clock_now_ns();
	return now_ns >= due_ns ? 0 : (DWORD)((due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

/* Sleeps until routines have run, a request's wait is over, or due_ns (IB_UNKNOWN: for ever). Then serves the requests that are due. */
static void worker_sleep(struct routine_worker *worker, uint64_t due_ns)
{
	uint64_t served_ns = service_next_due(&worker->service);
	uint64_t until_ns = served_ns < due_ns ? served_ns : due_ns;
	SleepEx(until_ns == IB_UNKNOWN ? INFINITE : milliseconds_until(until_ns), TRUE);
	if (worker->service.first != NULL) {
		service_due_handle(worker);
	}
}

static void worker_main(void *argument)
{
	struct routine_worker *worker = argument;
	service_worker_start(&worker->service, &worker->server->base.service, &worker->counters.service,
	                     &worker->counters.system_calls);
	while (!worker->draining) {
		worker_sleep(worker, IB_UNKNOWN);
	}
	uint64_t due_ns = worker->server->stop_due_ns;
	/* The routines that are queued run even if the deadline has passed. */
	SleepEx(0, TRUE);
	while (worker->open > 0 && clock_now_ns() < due_ns) {
		worker_sleep(worker, due_ns);
	}
	if (worker->open > 0) {
		reset_begin(worker);
	}
	for (int repeat = 0; repeat < RESET_REPEATS && worker->open > 0; repeat++) {
		service_waits_end(worker);
		connections_cancel(worker, true);
		uint64_t until_ns = clock_now_ns() + CANCEL_REPEAT_NS;
		while (worker->open > 0 && clock_now_ns() < until_ns) {
			SleepEx(milliseconds_until(until_ns), TRUE);
		}
	}
	if (worker->open == 0) {
		atomic_fetch_sub_explicit(&worker->server->threads, 1, memory_order_relaxed);
	}
}

/* Ends the workers that run. Returns how many connections were reset. */
static uint32_t server_drain(struct routine_server *server, uint64_t due_ns)
{
	server->stop_due_ns = due_ns;
	service_cut(&server->base.service, due_ns);
	for (uint32_t index = 0; index < server->options.workers; index++) {
		struct worker_thread *worker = &server->workers[index].thread;
		if (worker->started &&
		    QueueUserAPC(worker_drain, worker->thread.handle, (ULONG_PTR)&server->workers[index]) == 0) {
			worker->started = false; /* no memory for the call: the thread stays, and the server is abandoned */
		}
	}
	return workers_join(WORKERS_OF(server, server->options.workers));
}

static int32_t workers_create(struct routine_server *server, struct ib_error *error)
{
	uint32_t count = server->options.workers;
	server->workers = memory_allocate_aligned(CACHE_LINE_BYTES, count * sizeof *server->workers);
	if (server->workers == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for %u workers", count);
	}
	memset(server->workers, 0, count * sizeof *server->workers);
	for (uint32_t index = 0; index < count; index++) {
		struct routine_worker *worker = &server->workers[index];
		worker->server = server;
		/* Here, because a thread begins with the routines that were queued to it before it ran. */
		service_worker_assign(&worker->service, &server->base.service, &worker->counters.service,
		                      &worker->counters.system_calls);
	}
	return workers_start(WORKERS_OF(server, count), worker_main, &server->threads, error);
}

/* ------------------------------------------------------------------------------------- start and stop */

static void completion_routine_probe(struct ib_probe *out)
{
	out->available = 1;
}

static void server_free(struct routine_server *server)
{
	ib_assert(atomic_load(&server->threads) == 0);
	listeners_close(&server->listeners);
	acceptors_free(&server->acceptors);
	memory_free_aligned(server->workers);
	mutex_destroy(&server->mutex);
	free(server);
}

extern const struct backend completion_routine_backend;

static int32_t completion_routine_start(const struct server_config *config, struct server **out, uint32_t *bound_port,
                                        struct ib_error *error)
{
	struct routine_server *server = calloc(1, sizeof *server);
	if (server == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the server");
	}
	server_base_init(&server->base, &completion_routine_backend, config);
	server->options = config->options;
	mutex_init(&server->mutex);
	int32_t status = listeners_open(&server->listeners, &server->options, 0, error);
	if (status == IB_STATUS_OK) {
		*bound_port = server->listeners.port;
		server->backlog = server->listeners.backlog;
		status = workers_create(server, error);
	}
	if (status == IB_STATUS_OK) {
		status = acceptors_start(&server->acceptors, &server->listeners, connection_hand_out, server, error);
	}
	if (status != IB_STATUS_OK) {
		acceptors_stop(&server->acceptors);
		if (server->workers != NULL) {
			server_drain(server, clock_now_ns());
		}
		if (atomic_load(&server->threads) == 0) {
			server_free(server);
		} else {
			(void)server_abandon(&server->base, NULL);
		}
		return status;
	}
	*out = &server->base;
	return IB_STATUS_OK;
}

static void completion_routine_stats(struct server *base, struct ib_server_stats *out)
{
	struct routine_server *server = (struct routine_server *)base;
	for (uint32_t index = 0; index < server->options.workers; index++) {
		const struct routine_worker *worker = &server->workers[index];
		counters_sum(&worker->counters, out);
		counters_operations(&worker->posted, &worker->completed, out);
		counters_worker_connections(worker_connections(server, index), out);
	}
	mutex_lock(&server->mutex);
	counters_sum(&server->totals, out);
	mutex_unlock(&server->mutex);
	acceptors_sum(&server->acceptors, out);
	out->workers = server->options.workers;
	out->threads = atomic_load_explicit(&server->threads, memory_order_relaxed) + acceptors_running(&server->acceptors);
	out->threads_max = server->options.workers + server->options.address_count;
	out->backlog = server->backlog;
}

static int32_t completion_routine_stop(struct server *base, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                                       struct ib_error *error)
{
	struct routine_server *server = (struct routine_server *)base;
	uint64_t due_ns = clock_now_ns() + deadline_ms * NS_PER_MS;
	acceptors_stop(&server->acceptors);
	uint32_t reset = server_drain(server, due_ns);
	completion_routine_stats(base, final_stats);
	if (final_stats->threads != 0) {
		return server_abandon(base, error);
	}
	server_free(server);
	return server_stopped(reset, deadline_ms, error);
}

const struct backend completion_routine_backend = {
    .name = "completion_routine",
    .speaks_http = true,
    .probe = completion_routine_probe,
    .start = completion_routine_start,
    .stats = completion_routine_stats,
    .stop = completion_routine_stop,
};
