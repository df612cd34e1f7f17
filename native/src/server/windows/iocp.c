/*
 * iocp.c - the completion-port server of Windows, the model that this tool is named after.
 *
 * Technique. A fixed number of worker threads, one per CPU by default, serve any number of sockets through one I/O completion
 * port. A call is handed to the kernel with an OVERLAPPED and returns at once; when the work is done the kernel queues a packet
 * on the port, and a worker that waits there takes it and begins what comes next. The port wakes the thread that slept last,
 * and lets no more of them run than it was told, so that a CPU keeps its caches and no thread waits for a CPU.
 *
 * A connection goes round: WSARecv completes -> WSASend of the same bytes -> WSASend completes -> WSARecv. One operation of it
 * is out at any time, so whoever dequeues that one owns the connection: no lock and no order to restore. On loopback and on any
 * peer that reads, WSASend completes at once, and the cost of the turn is one packet and two calls.
 *
 * Floor: Windows 8 (backlog hint). GetQueuedCompletionStatusEx is of Vista, SetFileCompletionNotificationModes too.
 *
 * The steps by which completion ports are taught, and where they stand here:
 *    1  WSAStartup                      socket_library_start, once for the process
 *    2  CreateIoCompletionPort          iocp_start: the port, its concurrency the number of workers
 *    3  GetSystemInfo: number of cores  cpu_count, from the affinity mask rather than from the machine
 *    4  CreateThread per core           workers_start
 *    5  WSASocket  6 bind  7 listen     listeners_open -> socket_listen
 *    8  the loop                        iocp_worker_main: accepting is one more operation of the same loop
 *    9  WSAAccept                       accept_post posts AcceptEx ahead, serve takes its completion: no thread blocks in accept
 *   10  CreateIoCompletionPort again    socket_adopt binds the accepted socket to the port
 *   11  WSARecv straight after          serve -> receive_post
 *   12  WSACleanup                      left to the end of the process (see socket_library_start)
 *   13  GetQueuedCompletionStatus       iocp_worker_main dequeues in batches; operation_finished tells receive from send
 *
 * Traps, and how each is kept
 *   - An OVERLAPPED and its buffer belong to the kernel until the completion is dequeued, after CancelIoEx too. They are members
 *     of the connection or slot, which goes to the free list only when nothing of it is out; memory is freed when all threads
 *     have ended. The WSABUF alone may be on the stack.
 *   - The operation is told by its OVERLAPPED (container_of). The completion key says "I/O" or "stop".
 *   - Another thread may dequeue before the call returns: everything is written before it, and nothing of the connection is
 *     touched after it (operation_posted counts on the worker).
 *   - Two receives, or two sends, of one socket may finish on different threads in any order: there is never more than one.
 *   - A client that never reads: its send stays pending, no receive is posted behind it, and its memory is one buffer.
 *   - A slot whose accept fails is lost unless it is posted again: accept_post ends every path. With a receive length a silent
 *     client would hold a slot; it is 0. The accepted socket takes SO_UPDATE_ACCEPT_CONTEXT with the *listening* socket, else
 *     shutdown and getpeername fail on it.
 *   - FILE_SKIP_COMPLETION_PORT_ON_SUCCESS spares the packet of what completes at once, but a layered provider without real
 *     handles queues it anyway: used only where every TCP provider has XP1_IFS_HANDLES. A call that *fails* at once queues no
 *     packet, with the flag or without. What completed at once goes through a queue of the worker, never through recursion;
 *     the queue is made of the operations themselves and so no longer than there are connections.
 *   - GetQueuedCompletionStatusEx succeeds for failed operations: operation_code looks at each one's status, and translates it
 *     before the socket is closed.
 *   - WSAENOBUFS and WSAEWOULDBLOCK on an overlapped call mean that too many are out: counted, and tried again a little later.
 *   - A thread's exit cancels its I/O: workers post everything, the first accepts included, and outlive it.
 *   - The number of a closed socket is reused at once: sockets leave the registry under the mutex before they are closed, and
 *     AcceptEx is called under the mutex that the listener is closed under.
 *   - Stop: the listeners are closed, which ends the waiting accepts; receives are cancelled, what was received is echoed; when
 *     nothing is left, one packet per worker (a batch may take several: all but one are put back). Operations posted and
 *     completed are then equal.
 *   - SO_REUSEADDR lets another process steal the port on Windows: socket_listen sets SO_EXCLUSIVEADDRUSE. Its backlog is a
 *     hint, for a plain listen(n) queues 200.
 *   - A pending receive locks the pages of its buffer, for every idle connection. With IB_SERVER_ZERO_BYTE_RECV idle ones wait on a
 *     receive of no bytes instead, and a buffer is lent for the request: one call more per request, measured, not assumed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "completion_port.h"
#include "server/windows/iocp.h"

#define WORKER_STACK_BYTES (256 * 1024)
/* Accepts that wait ahead: over all listeners, and per listener. The backlog holds what comes faster than they are renewed. */
#define ACCEPTS_TOTAL 512u
#define ACCEPTS_PER_LISTENER_MAX 128u
#define ACCEPTS_PER_LISTENER_MIN 4u
#define CANCEL_REPEAT_NS (20 * NS_PER_MS)
/* After this many repetitions the kernel is taken to have lost an operation: see server_abandon(). */
#define RESET_REPEATS 500

extern const struct backend iocp_backend;

/* ------------------------------------------------------------------------------------- start and stop */

static void features_print(char *out, size_t size, bool skip_on_success)
{
	snprintf(out, size, "acceptex batch=%d %s", IOCP_BATCH, completion_port_skip_name(skip_on_success));
}

static void iocp_probe(struct ib_probe *out)
{
	struct ib_error error;
	HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
	if (port == NULL) {
		out->os_code = (int32_t)GetLastError();
		snprintf(out->reason, sizeof out->reason, "no completion port can be made: %s", error_text(out->os_code));
		return;
	}
	CloseHandle(port);
	if (socket_library_start(&error) != IB_STATUS_OK) {
		out->os_code = error.os_code;
		snprintf(out->reason, sizeof out->reason, "%.250s", error.message);
		return;
	}
	out->available = 1;
	features_print(out->features, sizeof out->features, completion_port_can_skip());
}

/* AcceptEx is of the provider, so asked of a socket, and one lookup serves them all. */
static int32_t accept_ex_find(struct iocp_server *server, struct ib_error *error)
{
	GUID id = WSAID_ACCEPTEX;
	int code =
	    completion_port_extension(server->listeners.sockets[0], id, &server->accept_ex, sizeof server->accept_ex);
	if (code == 0) {
		return IB_STATUS_OK;
	}
	return error_set(error, IB_STATUS_OS, code, "this network provider has no AcceptEx: %s", error_text(code));
}

static uint32_t accepts_per_listener(const struct iocp_server *server)
{
	uint32_t count = ACCEPTS_TOTAL / server->listeners.count;
	if (count > ACCEPTS_PER_LISTENER_MAX) {
		return ACCEPTS_PER_LISTENER_MAX;
	}
	return count < ACCEPTS_PER_LISTENER_MIN ? ACCEPTS_PER_LISTENER_MIN : count;
}

static int32_t accepts_make(struct iocp_server *server, int family, struct ib_error *error)
{
	uint32_t each = accepts_per_listener(server);
	server->accept_count = each * server->listeners.count;
	server->accepts = calloc(server->accept_count, sizeof *server->accepts);
	if (server->accepts == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for %u accepts", server->accept_count);
	}
	for (uint32_t index = 0; index < server->accept_count; index++) {
		struct iocp_accept *slot = &server->accepts[index];
		slot->operation.kind = IOCP_ACCEPT;
		slot->listener = server->listeners.sockets[index % server->listeners.count];
		slot->socket = SOCKET_NONE;
		slot->family = family;
	}
	server->accepts_left = server->accept_count;
	return IB_STATUS_OK;
}

static int32_t listen_all(struct iocp_server *server, struct ib_error *error)
{
	struct socket_address address;
	int32_t status = socket_address_parse(&address, server->options.host, server->options.port, 0, error);
	if (status == IB_STATUS_OK) {
		status = listeners_open(&server->listeners, &server->options, 0, error);
	}
	if (status != IB_STATUS_OK) {
		return status;
	}
	server->backlog = server->listeners.backlog;
	for (uint32_t index = 0; index < server->listeners.count; index++) {
		int code = completion_port_join(server->port, server->listeners.sockets[index], server->skip_on_success);
		if (code != 0) {
			return error_set(error, IB_STATUS_OS, code, "a listening socket cannot join the port: %s",
			                 error_text(code));
		}
	}
	status = accept_ex_find(server, error);
	return status == IB_STATUS_OK ? accepts_make(server, address.storage.ss_family, error) : status;
}

static void workers_stop(struct iocp_server *server)
{
	for (uint32_t index = 0; index < server->workers_running; index++) {
		PostQueuedCompletionStatus(server->port, 0, IOCP_KEY_STOP, NULL);
	}
	for (uint32_t index = 0; index < server->workers_running; index++) {
		thread_join(&server->workers[index].thread);
	}
	server->workers_running = 0;
}

static void server_free(struct iocp_server *server)
{
	listeners_close(&server->listeners);
	if (server->port != NULL) {
		CloseHandle(server->port);
	}
	iocp_connections_free(server);
	free(server->accepts);
	memory_free_aligned(server->workers);
	mutex_destroy(&server->mutex);
	condition_destroy(&server->changed);
	free(server);
}

static void listeners_shut(struct iocp_server *server)
{
	mutex_lock(&server->mutex);
	atomic_store(&server->stopping, true);
	listeners_close(&server->listeners);
	mutex_unlock(&server->mutex);
}

static bool drained(const struct iocp_server *server)
{
	return server->live == 0 && server->accepts_left == 0;
}

/* Waits until nothing is left, at most until due_ns. */
static bool await_drained(struct iocp_server *server, uint64_t due_ns)
{
	mutex_lock(&server->mutex);
	for (uint64_t now_ns = clock_now_ns(); !drained(server) && now_ns < due_ns; now_ns = clock_now_ns()) {
		condition_wait(&server->changed, &server->mutex, due_ns - now_ns);
	}
	bool done = drained(server);
	mutex_unlock(&server->mutex);
	return done;
}

/* Cancels receives until all connections have ended or the deadline passes. Repeated, since one that is being handled just now
 * may post another receive after we have looked at it. */
static bool drain(struct iocp_server *server, uint64_t due_ns)
{
	for (;;) {
		iocp_connections_cancel(server, true);
		uint64_t until_ns = clock_now_ns() + CANCEL_REPEAT_NS;
		if (await_drained(server, until_ns < due_ns ? until_ns : due_ns)) {
			return true;
		}
		if (clock_now_ns() >= due_ns) {
			return false;
		}
	}
}

/* Breaks off what is left. False when the kernel does not give everything back. */
static bool reset_rest(struct iocp_server *server)
{
	atomic_store(&server->resetting, true);
	service_cut(&server->base.service, 0);
	for (int repeat = 0; repeat < RESET_REPEATS; repeat++) {
		iocp_connections_cancel(server, false);
		if (await_drained(server, clock_now_ns() + CANCEL_REPEAT_NS)) {
			return true;
		}
	}
	return false;
}

static int32_t workers_start(struct iocp_server *server, struct ib_error *error)
{
	uint32_t count = server->options.workers;
	/* On cache lines of their own: each is written by one thread. */
	server->workers = memory_allocate_aligned(_Alignof(struct iocp_worker), count * sizeof *server->workers);
	if (server->workers == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for %u workers", count);
	}
	memset(server->workers, 0, count * sizeof *server->workers);
	for (uint32_t index = 0; index < count; index++) {
		struct iocp_worker *worker = &server->workers[index];
		worker->server = server;
		worker->index = index;
		int code = thread_start(&worker->thread, iocp_worker_main, worker, WORKER_STACK_BYTES);
		if (code == 0) {
			server->workers_running++;
			continue;
		}
		/* Those that run hold accepts and may serve already. */
		mutex_lock(&server->mutex);
		for (uint32_t slot = 0; slot < server->accept_count; slot++) {
			server->accepts_left -= slot % count >= index;
		}
		mutex_unlock(&server->mutex);
		listeners_shut(server);
		if (reset_rest(server)) {
			workers_stop(server);
		}
		return error_set(error, IB_STATUS_THREADS, code, "worker thread %u could not be started: %s", index,
		                 error_text(code));
	}
	return IB_STATUS_OK;
}

static int32_t iocp_start(const struct server_config *config, struct server **out, uint32_t *bound_port,
                          struct ib_error *error)
{
	struct iocp_server *server = calloc(1, sizeof *server);
	if (server == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the server");
	}
	server_base_init(&server->base, &iocp_backend, config);
	server->options = config->options;
	/* An operation that is done at once stays with its worker. Behind a handler that blocks it would wait, although others are free. */
	bool blocks = config->service.waits_block;
	server->skip_on_success = !blocks && completion_port_can_skip();
	mutex_init(&server->mutex);
	condition_init(&server->changed);
	/* The port lets as many threads run at a time as there are workers. Where handlers block it is as many as there are CPUs, and while one
	 * sleeps, the port lets another run: that is what its concurrency value is for. */
	uint32_t cpus = cpu_count();
	uint32_t running = blocks && cpus < server->options.workers ? cpus : server->options.workers;
	server->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, running);
	int code = (int)GetLastError();
	int32_t status = server->port != NULL
	                     ? IB_STATUS_OK
	                     : error_set(error, IB_STATUS_OS, code, "no completion port can be made: %s", error_text(code));
	if (status == IB_STATUS_OK) {
		status = listen_all(server, error);
	}
	if (status == IB_STATUS_OK) {
		*bound_port = server->listeners.port;
		status = workers_start(server, error);
	}
	if (status != IB_STATUS_OK) {
		if (server->workers_running == 0) {
			server_free(server);
		} else {
			(void)server_abandon(&server->base, NULL);
		}
		return status;
	}
	*out = &server->base;
	return IB_STATUS_OK;
}

static void iocp_stats(struct server *base, struct ib_server_stats *out)
{
	struct iocp_server *server = (struct iocp_server *)base;
	for (uint32_t index = 0; index < server->options.workers; index++) {
		struct iocp_worker *worker = &server->workers[index];
		counters_sum(&worker->counters, out);
		counters_operations(&worker->posted, &worker->completed, out);
		counters_system_calls(&worker->counters.system_calls, out);
	}
	out->workers = server->options.workers;
	out->threads = server->options.workers;
	out->threads_max = server->options.workers;
	out->backlog = server->backlog;
	features_print(out->features, sizeof out->features, server->skip_on_success);
	if ((server->options.flags & IB_SERVER_ZERO_BYTE_RECV) != 0) {
		size_t used = strlen(out->features);
		snprintf(out->features + used, sizeof out->features - used, " zero-byte-recv");
	}
}

static int32_t iocp_stop(struct server *base, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                         struct ib_error *error)
{
	struct iocp_server *server = (struct iocp_server *)base;
	uint64_t due_ns = clock_now_ns() + deadline_ms * NS_PER_MS;
	listeners_shut(server);
	bool in_time = drain(server, due_ns);
	mutex_lock(&server->mutex);
	uint32_t left = server->live;
	mutex_unlock(&server->mutex);
	bool complete = in_time || reset_rest(server);
	if (complete) {
		workers_stop(server);
	}
	iocp_stats(base, final_stats);
	if (!complete) {
		return server_abandon(base, error);
	}
	final_stats->threads = 0;
	server_free(server);
	return server_stopped(in_time ? 0 : left, deadline_ms, error);
}

const struct backend iocp_backend = {
    .name = "iocp",
    .speaks_http = true,
    .probe = iocp_probe,
    .start = iocp_start,
    .stats = iocp_stats,
    .stop = iocp_stop,
};
