/*
 * thread_pool_io.c - the completion port as Windows Vista and later offer it: CreateThreadpoolIo.
 *
 * Technique. A pool of threads that Windows manages waits at a completion port that it made. Each socket is bound to a callback, which the
 * pool calls for every operation that is done. What iocp.c does by hand is the system's work here: the port, its threads, the loop that
 * dequeues, the choice of a thread. A connection has one operation out at a time, so its callback has it to itself. An accepting thread
 * brings the connections.
 *
 * Floor: Windows Vista.
 * Limits: none of its own. --workers bounds the threads of the pool, which belongs to this server alone.
 *
 * Traps
 *   - StartThreadpoolIo comes before each operation, and CancelThreadpoolIo after one that will not call back: one that failed at once, or that
 *     completed at once on a handle that skips packets. With one call too few the pool loses a callback, or waits for one for ever.
 *   - Another thread may run the callback before the call returns. Everything is written before the call, and nothing of the connection is
 *     touched after one that is pending.
 *   - The end of a thread may cancel the operations that it began. Accepting threads end first, so the pool begins the first receive too.
 *   - What completes at once is handled in a loop, not by recursion, and only for some rounds, or a busy peer would keep a thread to itself.
 *     Then the rest goes to the pool as a piece of work.
 *   - A callback may call CloseThreadpoolIo itself; the object lives until the callback has returned. A callback that has closed its connection
 *     reports that under the mutex, as the last thing it does with the server.
 *   - A request that waits (--wait) has a timer of the pool, and no operation out. A stop takes such connections from their timers: under the
 *     mutex it clears `waiting`, and then waits for a callback that has begun, which finds that it has nothing to do.
 *   - The number of a closed socket is reused at once: sockets leave the list under the mutex before they are closed.
 *   - A client that never reads: its send stays pending, no receive is posted behind it, and its memory is one buffer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "completion_port.h"
#include "server/acceptors.h"
#include "server/backend.h"

#define CANCEL_REPEAT_NS (20 * NS_PER_MS)
/* After this many repetitions the kernel is taken to have lost an operation: see server_abandon(). */
#define RESET_REPEATS 500
/* Operations of one connection that complete at once and are handled one after the other, before others get the thread. */
#define ROUNDS_MAX 16

struct pooled_server;

/*
 * At any time one operation is out, or its request waits, or one thread handles it, so the fields have one owner. The socket and the list are
 * under the mutex.
 */
struct pooled_connection {
	/* One for each kind, so that a stop can cancel a receive and never a send. */
	OVERLAPPED receive;
	OVERLAPPED send;
	struct pooled_server *server;
	struct pooled_connection *previous, *next;
	PTP_IO io;
	socket_handle socket; /* SOCKET_NONE: being closed */
	bool sending;
	uint32_t length;     /* bytes in the buffer */
	uint32_t sent;       /* of these, or taken */
	DWORD bytes;         /* of an operation that is handed to the pool as work */
	PTP_TIMER timer;     /* ends the wait of its request; NULL: no request waits without a thread */
	atomic_bool waiting; /* the timer's callback is to handle it; set under the mutex, cleared by who handles it */
	struct pooled_connection *taken_next; /* of those that a stop has taken from their timers */
	/* Of this connection, since any thread of the pool may serve it; zero if the server only echoes. */
	struct service_worker service;
	struct service_request request;
	struct counters counters;
	_Atomic uint64_t posted;
	_Atomic uint64_t completed;
	char buffer[];
};

struct pooled_server {
	struct server base;
	struct ib_server_options options;
	struct listeners listeners;
	uint32_t backlog;
	struct acceptors acceptors;
	bool skip_on_success;
	PTP_POOL pool;
	TP_CALLBACK_ENVIRON environment;
	_Atomic bool stopping;
	_Atomic bool resetting;
	_Atomic uint32_t threads;

	struct mutex mutex; /* guards all below, and the sockets of connections */
	struct condition changed;
	struct counters totals; /* of connections that have ended */
	_Atomic uint64_t posted;
	_Atomic uint64_t completed;
	uint32_t live;
	struct pooled_connection *first;
};

static bool server_flag(_Atomic bool *flag)
{
	return atomic_load_explicit(flag, memory_order_acquire);
}

/* ------------------------------------------------------------------------------------------ registry */

/* Adds the counters of a connection that has ended to those of the server. The mutex is held. */
static void counters_fold(struct pooled_server *server, struct pooled_connection *connection)
{
	counter_add(&server->totals.requests, counter_read(&connection->counters.requests));
	counter_add(&server->totals.bytes_received, counter_read(&connection->counters.bytes_received));
	counter_add(&server->totals.bytes_sent, counter_read(&connection->counters.bytes_sent));
	counter_add(&server->totals.receives_paused, counter_read(&connection->counters.receives_paused));
	service_counts_move(&server->totals.service, &connection->counters.service);
	counter_add(&server->posted, counter_read(&connection->posted));
	counter_add(&server->completed, counter_read(&connection->completed));
}

static void connection_link(struct pooled_server *server, struct pooled_connection *connection)
{
	mutex_lock(&server->mutex);
	connection->next = server->first;
	if (server->first != NULL) {
		server->first->previous = connection;
	}
	server->first = connection;
	server->live++;
	mutex_unlock(&server->mutex);
}

/* Ends a connection that has no operation out, and frees it. `code`: what ended it, or 0. */
static void connection_close(struct pooled_connection *connection, int code)
{
	struct pooled_server *server = connection->server;
	/* While stopping, an aborted operation is our own cancel and no error. */
	bool counts = code != 0 && !server_flag(&server->stopping);
	ib_assert(counter_read(&connection->posted) == counter_read(&connection->completed));
	if (connection->service.service != NULL) {
		service_abandon(&connection->service, &connection->request, connection->length - connection->sent);
	}
	mutex_lock(&server->mutex);
	socket_handle socket = connection->socket;
	connection->socket = SOCKET_NONE;
	mutex_unlock(&server->mutex);
	if (server_flag(&server->resetting)) {
		socket_close_reset(socket);
	} else {
		socket_shutdown_send(socket);
		socket_close(socket);
	}
	CloseThreadpoolIo(connection->io);
	if (connection->timer != NULL) {
		CloseThreadpoolTimer(connection->timer);
	}
	mutex_lock(&server->mutex);
	if (counts) {
		counters_error(&server->totals, code);
	}
	counters_fold(server, connection);
	counter_add(&server->totals.closed, 1);
	if (connection->previous != NULL) {
		connection->previous->next = connection->next;
	} else {
		server->first = connection->next;
	}
	if (connection->next != NULL) {
		connection->next->previous = connection->previous;
	}
	ib_count_down(server->live, 1);
	if (server->live == 0) {
		condition_broadcast(&server->changed);
	}
	mutex_unlock(&server->mutex);
	free(connection);
}

/* Cancels the receives of all connections, or everything. */
static void connections_cancel(struct pooled_server *server, bool receives_only)
{
	mutex_lock(&server->mutex);
	for (struct pooled_connection *one = server->first; one != NULL; one = one->next) {
		/* An operation that is not out is not found. */
		if (one->socket != SOCKET_NONE) {
			CancelIoEx((HANDLE)one->socket, receives_only ? &one->receive : NULL);
		}
	}
	mutex_unlock(&server->mutex);
}

/* Ends the connections whose request waits. An operation that a cancel would end is not out. Not on a thread of the pool. */
static void waiting_end(struct pooled_server *server)
{
	struct pooled_connection *taken = NULL;
	mutex_lock(&server->mutex);
	for (struct pooled_connection *one = server->first; one != NULL; one = one->next) {
		if (atomic_exchange(&one->waiting, false)) {
			one->taken_next = taken;
			taken = one;
		}
	}
	mutex_unlock(&server->mutex);
	while (taken != NULL) {
		struct pooled_connection *one = taken;
		taken = one->taken_next;
		SetThreadpoolTimer(one->timer, NULL, 0, 0);
		WaitForThreadpoolTimerCallbacks(one->timer, TRUE);
		connection_close(one, 0);
	}
}

/* --------------------------------------------------------------------------------------- connections */

/* Lets the timer handle the connection when the wait of its request is over. Nothing of it may be touched afterwards. */
static void wait_begin(struct pooled_connection *connection)
{
	struct pooled_server *server = connection->server;
	uint64_t now_ns = clock_now_ns();
	uint64_t due_ns = service_next_due(&connection->service);
	/* Negative: relative, in units of 100 ns. */
	LARGE_INTEGER left = {.QuadPart = due_ns > now_ns ? -(LONGLONG)((due_ns - now_ns + 99) / 100) : -1};
	FILETIME due = {.dwLowDateTime = left.LowPart, .dwHighDateTime = (DWORD)left.HighPart};
	mutex_lock(&server->mutex);
	ib_assert(!atomic_load(&connection->waiting));
	atomic_store(&connection->waiting, true);
	SetThreadpoolTimer(connection->timer, &due, 0, 0);
	mutex_unlock(&server->mutex);
}

/*
 * Serves what was received. SERVICE_REPLY: a send is next. SERVICE_READ: a receive. SERVICE_WAIT: neither, because the request waits or the
 * connection has ended.
 */
static enum service_verdict connection_serve(struct pooled_connection *connection)
{
	if (connection->service.service == NULL) {
		return connection->sent < connection->length ? SERVICE_REPLY : SERVICE_READ;
	}
	enum service_verdict verdict = service_advance(&connection->service, &connection->request, connection->socket,
	                                               connection->buffer, &connection->sent, connection->length);
	if (verdict == SERVICE_CUT) {
		connection_close(connection, 0);
		return SERVICE_WAIT;
	}
	if (verdict == SERVICE_WAIT) {
		wait_begin(connection);
	}
	return verdict;
}

/*
 * Counts a send as one that waits, or takes that back. It is counted before the call, because a send that is pending no longer belongs to this
 * thread. It waits for the peer's window and our send buffer, and nothing is read from this peer until it is done.
 */
static void paused_set(struct pooled_connection *connection, uint64_t waits)
{
	_Atomic uint64_t *paused = &connection->counters.receives_paused;
	atomic_store_explicit(paused, counter_read(paused) + (waits != 0 ? 1 : UINT64_MAX), memory_order_relaxed);
}

/* While stopping, a connection is served as long as it has data to read, and then closed. */
static bool connection_done(struct pooled_connection *connection)
{
	struct pooled_server *server = connection->server;
	u_long waiting = 0;
	if (!server_flag(&server->stopping)) {
		return false;
	}
	return server_flag(&server->resetting) || ioctlsocket(connection->socket, (long)FIONREAD, &waiting) != 0 ||
	       waiting == 0;
}

/*
 * Begins the next operation of a connection: the rest of a send, or a receive. True if it completed at once with *bytes, and no callback will
 * come. Otherwise the connection belongs to the kernel, or has ended.
 */
static bool operation_begin(struct pooled_connection *connection, DWORD *bytes)
{
	struct pooled_server *server = connection->server;
	bool skips = server->skip_on_success;
	PTP_IO io = connection->io;
	ib_assert(counter_read(&connection->posted) == counter_read(&connection->completed));
	ib_assert(connection->sent <= connection->length);
	enum service_verdict next = connection_serve(connection);
	if (next == SERVICE_WAIT) {
		return false;
	}
	connection->sending = next == SERVICE_REPLY;
	if (!connection->sending && connection_done(connection)) {
		connection_close(connection, 0);
		return false;
	}
	WSABUF buffer = {.buf = connection->buffer, .len = server->options.receive_buffer_bytes};
	DWORD flags = 0;
	int failed;
	OVERLAPPED *overlapped = connection->sending ? &connection->send : &connection->receive;
	bool sending = connection->sending;
	memset(overlapped, 0, sizeof *overlapped);
	counter_add(&connection->posted, 1);
	if (sending) {
		paused_set(connection, 1);
	}
	StartThreadpoolIo(io);
	if (sending) {
		buffer.buf += connection->sent;
		buffer.len = connection->length - connection->sent;
		if (connection->service.service != NULL) {
			/* WSASend does not change the bytes, although its buffers are not const. */
			buffer.buf = (char *)(uintptr_t)connection->request.reply_bytes;
			buffer.len = connection->request.reply;
		}
		failed = WSASend(connection->socket, &buffer, 1, bytes, 0, overlapped, NULL);
	} else {
		failed = WSARecv(connection->socket, &buffer, 1, bytes, &flags, overlapped, NULL);
	}
	int code = failed != 0 ? WSAGetLastError() : 0;
	if (code == WSA_IO_PENDING || (code == 0 && !skips)) {
		return false;
	}
	CancelThreadpoolIo(io);
	counter_add(&connection->completed, 1);
	if (sending) {
		paused_set(connection, 0);
	}
	if (code != 0) {
		connection_close(connection, code);
	}
	return code == 0;
}

/* Handles an operation that is done. False if the connection has ended. */
static bool operation_end(struct pooled_connection *connection, int code, DWORD bytes)
{
	struct pooled_server *server = connection->server;
	if (code != 0) {
		/* While stopping, our cancel may have hit a receive with data behind it. */
		if (!connection->sending && socket_condition_of(code) == SOCKET_CLOSED && server_flag(&server->stopping)) {
			return true;
		}
		connection_close(connection, code);
		return false;
	}
	if (connection->sending) {
		counter_add(&connection->counters.bytes_sent, bytes);
		connection->sent += connection->service.service == NULL
		                        ? bytes
		                        : service_replied(&connection->service, &connection->request, bytes);
	} else if (bytes == 0) {
		/* The peer's end of stream; all that came before it is echoed already. */
		connection_close(connection, 0);
		return false;
	} else {
		counter_add(&connection->counters.requests, 1);
		counter_add(&connection->counters.bytes_received, bytes);
		connection->length = bytes;
		connection->sent = 0;
	}
	return true;
}

static void CALLBACK work_run(PTP_CALLBACK_INSTANCE instance, PVOID context);

/* Continues after an operation that is done, as long as the next ones complete at once. */
static void connection_go_on(struct pooled_connection *connection, int code, DWORD bytes)
{
	for (int round = 0; operation_end(connection, code, bytes) && operation_begin(connection, &bytes); round++) {
		code = 0;
		if (round < ROUNDS_MAX) {
			continue;
		}
		connection->bytes = bytes;
		if (TrySubmitThreadpoolCallback(work_run, connection, &connection->server->environment)) {
			return;
		}
		round = 0; /* no memory for a piece of work: the others have to wait */
	}
}

static void CALLBACK work_run(PTP_CALLBACK_INSTANCE instance, PVOID context)
{
	struct pooled_connection *connection = context;
	(void)instance;
	connection_go_on(connection, 0, connection->bytes);
}

static void CALLBACK operation_done(PTP_CALLBACK_INSTANCE instance, PVOID context, PVOID overlapped, ULONG code,
                                    ULONG_PTR bytes, PTP_IO io)
{
	struct pooled_connection *connection = context;
	(void)instance;
	(void)overlapped;
	(void)io;
	counter_add(&connection->completed, 1);
	connection_go_on(connection, (int)code, (DWORD)bytes);
}

static void operation_begin_and_go_on(struct pooled_connection *connection)
{
	DWORD bytes = 0;
	if (operation_begin(connection, &bytes)) {
		connection_go_on(connection, 0, bytes);
	}
}

static void CALLBACK connection_begin(PTP_CALLBACK_INSTANCE instance, PVOID context)
{
	(void)instance;
	operation_begin_and_go_on(context);
}

static void CALLBACK wait_over(PTP_CALLBACK_INSTANCE instance, PVOID context, PTP_TIMER timer)
{
	struct pooled_connection *connection = context;
	(void)instance;
	(void)timer;
	if (!atomic_exchange(&connection->waiting, false)) {
		return; /* a stop has taken the connection */
	}
	if (service_due(&connection->service, clock_now_ns()) != NULL) {
		operation_begin_and_go_on(connection);
	} else {
		wait_begin(connection); /* early by our clock */
	}
}

/* False without memory, or if the pool is short of something. */
static bool connection_prepare(struct pooled_connection *connection)
{
	struct pooled_server *server = connection->server;
	struct service *service = &server->base.service;
	service_worker_assign(&connection->service, service, &connection->counters.service,
	                      &connection->counters.system_calls);
	if (service->wait_ns == 0 || service->waits_block) {
		return true;
	}
	connection->timer = CreateThreadpoolTimer(wait_over, connection, &server->environment);
	return connection->timer != NULL;
}

/* Closes a socket for which memory is short. */
static void refuse(struct pooled_server *server, socket_handle socket)
{
	mutex_lock(&server->mutex);
	counter_add(&server->totals.errors_memory, 1);
	counter_add(&server->totals.refused, 1);
	counter_add(&server->totals.closed, 1);
	mutex_unlock(&server->mutex);
	socket_close(socket);
}

/* On an accepting thread. */
static void connection_start(void *context, socket_handle socket)
{
	struct pooled_server *server = context;
	struct pooled_connection *connection = malloc(sizeof *connection + server->options.receive_buffer_bytes);
	if (connection != NULL) {
		memset(connection, 0, sizeof *connection);
		connection->server = server;
		connection->socket = socket;
		connection->io = CreateThreadpoolIo((HANDLE)socket, operation_done, connection, &server->environment);
	}
	if (connection == NULL || connection->io == NULL) {
		free(connection);
		refuse(server, socket);
		return;
	}
	bool as_agreed = !server->skip_on_success ||
	                 SetFileCompletionNotificationModes((HANDLE)socket, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS |
	                                                                        FILE_SKIP_SET_EVENT_ON_HANDLE);
	connection_link(server, connection);
	if (!as_agreed || !connection_prepare(connection) ||
	    !TrySubmitThreadpoolCallback(connection_begin, connection, &server->environment)) {
		mutex_lock(&server->mutex);
		counter_add(&server->totals.errors_memory, 1);
		counter_add(&server->totals.refused, 1);
		mutex_unlock(&server->mutex);
		connection_close(connection, 0);
	}
}

/* ------------------------------------------------------------------------------------- start and stop */

static void thread_pool_io_probe(struct ib_probe *out)
{
	out->available = 1;
	snprintf(out->features, sizeof out->features, "%s", completion_port_skip_name(completion_port_can_skip()));
}

static int32_t pool_make(struct pooled_server *server, struct ib_error *error)
{
	server->pool = CreateThreadpool(NULL);
	if (server->pool == NULL) {
		int code = (int)GetLastError();
		return error_set(error, IB_STATUS_OS, code, "no pool of threads can be made: %s", error_text(code));
	}
	SetThreadpoolThreadMaximum(server->pool, server->options.workers);
	if (!SetThreadpoolThreadMinimum(server->pool, server->options.workers)) {
		int code = (int)GetLastError();
		return error_set(error, IB_STATUS_THREADS, code, "the pool cannot have %u threads: %s", server->options.workers,
		                 error_text(code));
	}
	SetThreadpoolCallbackPool(&server->environment, server->pool);
	if (server->base.service.wait_ns > 0) {
		thread_waits_precisely(); /* also those of the pool: the system has one period for the process */
	}
	atomic_store(&server->threads, server->options.workers);
	return IB_STATUS_OK;
}

/* After the last connection has ended. Its callback may still be about to return, but touches nothing of ours. */
static void pool_unmake(struct pooled_server *server)
{
	if (server->pool != NULL) {
		CloseThreadpool(server->pool);
	}
	atomic_store(&server->threads, 0);
}

static void server_free(struct pooled_server *server)
{
	ib_assert(server->live == 0 && atomic_load(&server->threads) == 0);
	listeners_close(&server->listeners);
	acceptors_free(&server->acceptors);
	DestroyThreadpoolEnvironment(&server->environment);
	mutex_destroy(&server->mutex);
	condition_destroy(&server->changed);
	free(server);
}

/* Waits until no connection is left, at most until due_ns. */
static bool await_drained(struct pooled_server *server, uint64_t due_ns)
{
	mutex_lock(&server->mutex);
	for (uint64_t now_ns = clock_now_ns(); server->live > 0 && now_ns < due_ns; now_ns = clock_now_ns()) {
		condition_wait(&server->changed, &server->mutex, due_ns - now_ns);
	}
	bool done = server->live == 0;
	mutex_unlock(&server->mutex);
	return done;
}

/* Cancels receives until all connections have ended or the deadline passes. It repeats that, because a connection that is being handled
 * may begin another receive afterwards. */
static bool drain(struct pooled_server *server, uint64_t due_ns)
{
	for (;;) {
		connections_cancel(server, true);
		uint64_t until_ns = clock_now_ns() + CANCEL_REPEAT_NS;
		if (await_drained(server, until_ns < due_ns ? until_ns : due_ns)) {
			return true;
		}
		if (clock_now_ns() >= due_ns) {
			return false;
		}
	}
}

/* Breaks off what is left. Returns how many connections there were. */
static uint32_t reset_rest(struct pooled_server *server)
{
	atomic_store(&server->resetting, true);
	mutex_lock(&server->mutex);
	uint32_t count = server->live;
	mutex_unlock(&server->mutex);
	service_cut(&server->base.service, 0);
	for (int repeat = 0; repeat < RESET_REPEATS; repeat++) {
		waiting_end(server);
		connections_cancel(server, false);
		if (await_drained(server, clock_now_ns() + CANCEL_REPEAT_NS)) {
			break;
		}
	}
	return count;
}

extern const struct backend thread_pool_io_backend;

static int32_t thread_pool_io_start(const struct server_config *config, struct server **out, uint32_t *bound_port,
                                    struct ib_error *error)
{
	struct pooled_server *server = calloc(1, sizeof *server);
	if (server == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the server");
	}
	server_base_init(&server->base, &thread_pool_io_backend, config);
	server->options = config->options;
	server->skip_on_success = completion_port_can_skip();
	mutex_init(&server->mutex);
	condition_init(&server->changed);
	InitializeThreadpoolEnvironment(&server->environment);
	int32_t status = listeners_open(&server->listeners, &server->options, 0, error);
	if (status == IB_STATUS_OK) {
		*bound_port = server->listeners.port;
		server->backlog = server->listeners.backlog;
		status = pool_make(server, error);
	}
	if (status == IB_STATUS_OK) {
		status = acceptors_start(&server->acceptors, &server->listeners, connection_start, server, error);
	}
	if (status != IB_STATUS_OK) {
		acceptors_stop(&server->acceptors);
		atomic_store(&server->stopping, true);
		reset_rest(server);
		if (await_drained(server, 0)) {
			pool_unmake(server);
			server_free(server);
		} else {
			(void)server_abandon(&server->base, NULL);
		}
		return status;
	}
	*out = &server->base;
	return IB_STATUS_OK;
}

static void thread_pool_io_stats(struct server *base, struct ib_server_stats *out)
{
	struct pooled_server *server = (struct pooled_server *)base;
	mutex_lock(&server->mutex);
	counters_sum(&server->totals, out);
	counters_operations(&server->posted, &server->completed, out);
	for (const struct pooled_connection *one = server->first; one != NULL; one = one->next) {
		counters_sum(&one->counters, out);
		counters_operations(&one->posted, &one->completed, out);
	}
	mutex_unlock(&server->mutex);
	acceptors_sum(&server->acceptors, out);
	if (!server->skip_on_success) {
		out->receives_paused = IB_UNKNOWN; /* each send calls back, whether it waited or not */
	}
	out->workers = server->options.workers;
	out->threads = atomic_load(&server->threads) + acceptors_running(&server->acceptors);
	out->threads_max = server->options.workers + server->options.address_count;
	out->backlog = server->backlog;
	snprintf(out->features, sizeof out->features, "%s", completion_port_skip_name(server->skip_on_success));
}

static int32_t thread_pool_io_stop(struct server *base, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                                   struct ib_error *error)
{
	struct pooled_server *server = (struct pooled_server *)base;
	uint64_t due_ns = clock_now_ns() + deadline_ms * NS_PER_MS;
	acceptors_stop(&server->acceptors);
	atomic_store(&server->stopping, true);
	uint32_t reset = drain(server, due_ns) ? 0 : reset_rest(server);
	bool drained = await_drained(server, 0);
	if (drained) {
		pool_unmake(server);
	}
	thread_pool_io_stats(base, final_stats);
	if (!drained) {
		return server_abandon(base, error);
	}
	server_free(server);
	return server_stopped(reset, deadline_ms, error);
}

const struct backend thread_pool_io_backend = {
    .name = "thread_pool_io",
    .speaks_http = true,
    .probe = thread_pool_io_probe,
    .start = thread_pool_io_start,
    .stats = thread_pool_io_stats,
    .stop = thread_pool_io_stop,
};
