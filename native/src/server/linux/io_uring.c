/*
 * io_uring.c - completion: one ring per worker.
 *
 * Technique. Each worker is a thread that creates its ring and alone submits to it. A multishot accept on worker 0's ring puts
 * sockets straight into its table of direct descriptors; each is given to the worker with the fewest connections, by a message
 * to its ring that carries the file. A multishot receive per connection takes buffers from the worker's ring of buffers, the
 * echo goes out of the same buffer, and one io_uring_enter hands over all sends and waits for the next completions: a fraction
 * of a system call a request. Accepting stands in io_uring_accept.c, what happens to one connection in
 * io_uring_connection.c.
 *
 * Floor: Linux 6.0 (multishot receive, SINGLE_ISSUER). Found at run time and used where the kernel has it: DEFER_TASKRUN (6.1),
 * so that completions are produced when this thread asks for them and not in the middle of its work; NO_SQARRAY (6.6); a
 * registered ring descriptor. Where io_uring is refused, the probe says by what.
 *
 * Traps
 *   - SINGLE_ISSUER binds the ring to the thread that created it: each worker creates its own.
 *   - A table of direct descriptors may have as many slots as RLIMIT_NOFILE, but its entries are no descriptors of the process:
 *     where more connections are expected than one table holds, more workers are started.
 *   - An accept that finds the table full has accepted already and drops the connection. Accepting is therefore multishot only
 *     while the table has room for a whole backlog, then one at a time, and stops before the table is full.
 *   - A direct descriptor has no number that setsockopt takes: TCP_NODELAY comes from the listener (see socket_listen), and a
 *     reset is a connect to AF_UNSPEC.
 *   - O_NONBLOCK on a socket would turn every wait into EAGAIN: the sockets stay blocking.
 *   - A multishot receive ends for reasons of the kernel's own (no buffer, queue of completions full): URING_CQE_MORE tells.
 *   - A multishot receive would read a peer that never reads without end: at a number of unsent buffers it is cancelled.
 *   - Without a buffer the receive fails with ENOBUFS. It is armed again when a buffer is there, never at once.
 *   - Buffers and slots are used again only after the last completion that refers to them. Where one is still out some time after the
 *     deadline of a stop, the ring is closed and the memory left alone: see server_abandon().
 *   - io_uring_enter may fail for good (EBADF, EFAULT): waiting would then be a busy loop. The worker counts it and gives up; closing
 *     its ring ends its connections, and worker 0 hands it no more.
 */
#include "server/linux/io_uring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define SQ_ENTRIES 256
#define CQ_ENTRIES 4096
#define BUFFER_RING_ENTRIES 2048
/*
 * Buffers that a ring starts with; it grows with the load. Few, since the kernel takes them in turn, and each is another page: 64, more
 * than the 40 receives of one round, serve 1.02 times the requests of 256 at 1000 connections, 1.05 at 6000 and 1.06 at 15,000.
 */
#define BUFFERS_FIRST 64
/* All buffers of a worker together, most of which are never made. */
#define BUFFERS_BYTES_MAX (1ull << 30)
#define BUFFERS_MIN 1024
/* Slots where the limit of descriptors is higher: 16 bytes each, and 8 in the kernel. */
#define SLOTS_DEFAULT 65536u
#define SLOTS_MAX (1u << 20)
#define WORKERS_MAX 1024u
/* How long operations may take to come back once they are cancelled. */
#define RESET_GRACE_NS (5 * NS_PER_S)
/* A ring that has no memory for an entry is tried again after a pause; one that takes none for so long has failed. */
#define RING_PAUSE_NS NS_PER_MS
#define RING_PAUSES_MAX 5000

/* ------------------------------------------------------------------------------------------ operations */

static bool worker_failed(const struct worker *worker)
{
	return atomic_load_explicit(&worker->failed, memory_order_relaxed);
}

static void worker_fail(struct worker *worker, int code)
{
	if (worker_failed(worker)) {
		return;
	}
	counters_error(&worker->counters, code);
	atomic_store_explicit(&worker->failed, true, memory_order_relaxed);
}

/* The queue is full and could not be handed over. For want of memory that passes, and nothing else can be done meanwhile. */
static struct uring_sqe *worker_sqe_later(struct worker *worker)
{
	struct uring_sqe *sqe = NULL;
	for (int pause = 0; sqe == NULL && !worker_failed(worker); pause++) {
		if (pause == RING_PAUSES_MAX) {
			worker_fail(worker, EBUSY);
		}
		clock_sleep_ns(RING_PAUSE_NS);
		sqe = ring_sqe(&worker->ring);
	}
	if (sqe != NULL) {
		return sqe;
	}
	worker->spare_sqe = (struct uring_sqe){0};
	return &worker->spare_sqe;
}

struct uring_sqe *uring_worker_sqe(struct worker *worker, enum operation operation, uint32_t number)
{
	struct uring_sqe *sqe = ring_sqe(&worker->ring);
	if (unlikely(sqe == NULL)) {
		sqe = worker_sqe_later(worker);
	}
	sqe->user_data = uring_user_data(operation, number);
	worker->batch_posted++;
	return sqe;
}

/* --------------------------------------------------------------------------------------------- loops */

static void worker_each(struct worker *worker, void (*action)(struct worker *, uint32_t))
{
	for (uint32_t slot = 0; slot < worker->slots && worker->open > 0; slot++) {
		if ((worker->connections[slot].flags & CONNECTION_OPEN) != 0) {
			action(worker, slot);
		}
	}
}

static void drain_start(struct worker *worker)
{
	if (worker->draining) {
		return;
	}
	/* The order that a completion gives is the kernel's own: this load states it in C, for the deadline. */
	(void)atomic_load_explicit(&worker->server->stopping, memory_order_acquire);
	worker->draining = true;
	worker_each(worker, uring_connection_drain);
}

static void wake_post(struct worker *worker)
{
	struct uring_sqe *sqe = uring_worker_sqe(worker, OP_WAKE, 0);
	sqe->opcode = URING_OP_READ;
	sqe->fd = worker->number == 0 ? worker->server->wake_acceptor : worker->server->wake_others;
	sqe->addr = (uint64_t)(uintptr_t)&worker->wake_value;
	sqe->len = sizeof worker->wake_value;
}

/* A completion of worker 0's own duties, a message from it, or a stop. */
static void duty_completed(struct worker *worker, enum operation operation, uint32_t number,
                           const struct uring_cqe *cqe)
{
	struct uring_server *server = worker->server;
	switch (operation) {
	case OP_ACCEPT:
		uring_accept_completed(server, number, cqe);
		break;
	case OP_HAND_OVER:
		uring_connection_handed_over(server, number, cqe->res);
		break;
	case OP_CLOSE_HANDED:
		uring_own_slot_closed(server);
		break;
	case OP_NEW_CONNECTION:
		uring_connection_open(worker, (uint32_t)cqe->res);
		break;
	case OP_WAKE:
		/* Worker 0 has to end the accepting before. */
		if (worker->number != 0) {
			drain_start(worker);
		}
		break;
	default: /* a cancellation: nothing follows from it */
		break;
	}
}

static inline void completed(struct worker *worker, const struct uring_cqe *cqe)
{
	enum operation operation = (enum operation)(cqe->user_data >> OPERATION_SHIFT);
	uint32_t number = (uint32_t)cqe->user_data;
	/* A message was posted by another ring. */
	if ((cqe->flags & URING_CQE_MORE) == 0 && operation != OP_NEW_CONNECTION) {
		worker->batch_completed++;
	}
	switch (operation) {
	case OP_RECEIVE:
		uring_connection_received(worker, number, cqe);
		break;
	case OP_SEND:
		uring_connection_sent(worker, number, cqe->res);
		break;
	case OP_CLOSE:
		uring_connection_closed(worker, number);
		break;
	case OP_SHUTDOWN:
		uring_connection_shut_down(worker, number);
		break;
	case OP_CANCEL:
	case OP_RESET:
		break;
	default:
		duty_completed(worker, operation, number, cqe);
		break;
	}
}

static void batch_publish(struct worker *worker)
{
	counter_add(&worker->counters.requests, worker->requests);
	counter_add(&worker->counters.bytes_received, worker->bytes_received);
	counter_add(&worker->counters.bytes_sent, worker->bytes_sent);
	counter_add(&worker->counters.system_calls, worker->ring.system_calls);
	worker->ring.system_calls = 0;
	counter_add(&worker->posted, worker->batch_posted);
	counter_add(&worker->completed, worker->batch_completed);
	worker->requests = worker->bytes_received = worker->bytes_sent = 0;
	worker->batch_posted = worker->batch_completed = 0;
	ib_assert(counter_read(&worker->posted) >= counter_read(&worker->completed));
}

static void batch_handle(struct worker *worker)
{
	uint32_t count = ring_ready(&worker->ring);
	for (uint32_t index = 0; index < count; index++) {
		completed(worker, ring_cqe(&worker->ring, index));
	}
	ring_advance(&worker->ring, count);
	ring_buffers_replenish(&worker->buffers);
	if (worker->starved_first != NO_SLOT) {
		uring_connections_feed(worker);
	}
}

/* Worker 0 accepts no more. Whoever stops the server waits for it. */
static void accepting_end(struct uring_server *server)
{
	listeners_close(&server->listeners);
	mutex_lock(&server->mutex);
	server->accepting_ended = true;
	condition_broadcast(&server->changed);
	mutex_unlock(&server->mutex);
}

/* Worker 0 ends the accepting first, and then the others are told, so that no connection comes to a worker that has looked: all that is
 * on its way is waited for, within the deadline. */
static void acceptor_stop(struct uring_server *server)
{
	for (uint32_t index = 0; index < server->listeners.count; index++) {
		uring_accept_cancel(server, index);
	}
	if ((server->armed > 0 || server->in_transit > 0) && clock_now_ns() < server->stop_due_ns) {
		return;
	}
	accepting_end(server);
	drain_start(&server->workers[0]);
}

/* How long the next wait may last: for ever but for a pause in accepting or the deadline of a stop. */
static uint64_t wait_ns(const struct worker *worker)
{
	const struct uring_server *server = worker->server;
	uint64_t due_ns = 0;
	if (worker->draining) {
		due_ns = server->stop_due_ns + (worker->resetting ? RESET_GRACE_NS : 0);
	} else if (worker->number == 0) {
		due_ns = atomic_load_explicit(&server->stopping, memory_order_acquire) ? server->stop_due_ns
		                                                                       : server->accept_again_ns;
	}
	uint64_t served_ns = service_next_due(&worker->service);
	if (due_ns == 0 || served_ns < due_ns) {
		due_ns = served_ns;
	}
	if (due_ns == IB_UNKNOWN) {
		return IB_UNKNOWN;
	}
	uint64_t now_ns = clock_now_ns();
	return due_ns > now_ns ? due_ns - now_ns : 1;
}

/* Whether the worker, which drains, is done; starts the resets when the deadline passes. */
static bool drained(struct worker *worker)
{
	const struct uring_server *server = worker->server;
	if (worker->open == 0 && counter_read(&worker->posted) == counter_read(&worker->completed)) {
		return true;
	}
	uint64_t now_ns = clock_now_ns();
	if (now_ns >= server->stop_due_ns && !worker->resetting) {
		worker->resetting = true;
		worker_each(worker, uring_connection_reset);
		uring_connections_feed(worker);
		batch_publish(worker);
	}
	return now_ns >= server->stop_due_ns + RESET_GRACE_NS;
}

/* Hands over what is filled and waits for completions; what is there is taken next, whatever the call said. */
static void worker_wait(struct worker *worker)
{
	int result = ring_enter(&worker->ring, 1, wait_ns(worker));
	switch (result < 0 ? result : 0) {
	case 0:
	case -ETIME:
	case -EINTR:
	case -EBUSY: /* completions have to be taken first */
		break;
	case -EAGAIN:
	case -ENOMEM:
		clock_sleep_ns(RING_PAUSE_NS);
		break;
	default:
		worker_fail(worker, -result);
	}
}

static void worker_run(struct worker *worker)
{
	struct uring_server *server = worker->server;
	bool acceptor = worker->number == 0;
	wake_post(worker);
	while (!worker_failed(worker)) {
		if (acceptor && !worker->draining) {
			if (atomic_load_explicit(&server->stopping, memory_order_acquire)) {
				acceptor_stop(server);
			} else {
				uring_accept_arm(server);
			}
		}
		batch_publish(worker);
		if (worker->draining && drained(worker)) {
			break;
		}
		worker_wait(worker);
		batch_handle(worker);
		if (unlikely(worker->service.first != NULL)) {
			uring_service_due(worker);
		}
	}
	batch_publish(worker);
	if (acceptor) {
		accepting_end(server);
	}
}

/* ------------------------------------------------------------------------------- the worker's own start */

static int worker_create(struct worker *worker)
{
	const struct ib_server_options *options = &worker->server->options;
	uint64_t buffers_max = BUFFERS_BYTES_MAX / options->receive_buffer_bytes;
	if (buffers_max < BUFFERS_MIN) {
		buffers_max = BUFFERS_MIN;
	}
	worker->starved_first = NO_SLOT;
	worker->connections = calloc(worker->slots, sizeof *worker->connections);
	worker->held = calloc(UINT16_MAX, sizeof *worker->held);
	bool serves = service_is_used(&worker->server->base.service);
	if (serves) {
		worker->serving = calloc(worker->slots, sizeof *worker->serving);
		service_worker_start(&worker->service, &worker->server->base.service, &worker->counters.service,
		                     &worker->counters.system_calls);
	}
	if (worker->number == 0) {
		worker->handed_to = calloc(worker->slots, sizeof *worker->handed_to);
	}
	if (worker->connections == NULL || worker->held == NULL || (serves && worker->serving == NULL) ||
	    (worker->number == 0 && worker->handed_to == NULL)) {
		return -ENOMEM;
	}
	int code = ring_create(&worker->ring, SQ_ENTRIES, CQ_ENTRIES);
	if (code != 0) {
		return code;
	}
	worker->ring_fd = worker->ring.fd;
	code = ring_register_files(&worker->ring, worker->slots);
	if (code != 0) {
		return code;
	}
	const struct ring_buffers_shape shape = {
	    .size_bytes = options->receive_buffer_bytes,
	    .entries = BUFFER_RING_ENTRIES,
	    .target = BUFFERS_FIRST,
	    .count_max = buffers_max < UINT16_MAX ? (uint32_t)buffers_max : UINT16_MAX,
	};
	return ring_buffers_create(&worker->buffers, &worker->ring, &shape);
}

/* Reports how the start went and waits for the verdict on all. */
static bool start_report(struct worker *worker, int code)
{
	struct uring_server *server = worker->server;
	mutex_lock(&server->mutex);
	worker->start_code = -code;
	server->reports++;
	condition_broadcast(&server->changed);
	while (server->state == START_WAIT) {
		condition_wait(&server->changed, &server->mutex, NS_PER_S);
	}
	bool go = server->state == START_GO;
	mutex_unlock(&server->mutex);
	return go;
}

static void worker_main(void *argument)
{
	struct worker *worker = argument;
	struct uring_server *server = worker->server;
	int code = worker_create(worker);
	if (code == 0 && worker->number == 0) {
		/* Before any report, so that whoever started the server reads it after the start. */
		ring_features(&worker->ring, server->features, sizeof server->features);
		size_t used = strlen(server->features);
		snprintf(server->features + used, sizeof server->features - used,
		         " multishot-accept multishot-receive buffer-ring direct-descriptors%s",
		         server->worker_count > 1 ? " ring-messages" : "");
	}
	if (start_report(worker, code)) {
		worker_run(worker);
	}
	worker->has_left_operations = counter_read(&worker->posted) != counter_read(&worker->completed);
	/* On this thread, which owns the registration of the ring. Connections that are left are closed with it; the kernel cancels their
	 * operations in its own time, and may write to buffers until then. */
	ring_destroy(&worker->ring);
	counter_add(&worker->counters.closed, worker->open);
	if (!worker->has_left_operations) {
		ring_buffers_destroy(&worker->buffers);
	}
	free(worker->connections);
	free(worker->serving);
	free(worker->held);
	free(worker->handed_to);
	atomic_fetch_sub_explicit(&server->threads, 1, memory_order_relaxed);
}

/* ------------------------------------------------------------------------------------- start and stop */

static void io_uring_probe(struct ib_probe *out)
{
	struct ring_support support;
	ring_support_probe(&support);
	out->available = support.code == 0;
	out->os_code = support.code;
	snprintf(out->reason, sizeof out->reason, "%s", support.reason);
	snprintf(out->hint, sizeof out->hint, "%s", support.hint);
	snprintf(out->features, sizeof out->features, "%s", support.features);
}

/* Sizes the tables, and starts more workers than asked where the expected connections do not fit. */
static void size_tables(struct uring_server *server, uint32_t *slots)
{
	struct rlimit limit = {.rlim_cur = SLOTS_DEFAULT};
	getrlimit(RLIMIT_NOFILE, &limit);
	uint64_t possible = limit.rlim_cur < SLOTS_MAX ? limit.rlim_cur : SLOTS_MAX;
	uint64_t expected = server->options.connections_expected;
	uint64_t workers = server->options.workers;
	uint64_t wanted = expected / workers + 2 * SLOTS_RESERVE;
	if (wanted < SLOTS_DEFAULT) {
		wanted = SLOTS_DEFAULT;
	}
	uint32_t table = (uint32_t)(wanted < possible ? wanted : possible);
	if (workers * uring_worker_capacity(table, (uint32_t)workers) < expected) {
		uint64_t capacity = uring_worker_capacity(table, 2);
		uint64_t needed = (expected + capacity - 1) / capacity;
		workers = needed < WORKERS_MAX ? needed : WORKERS_MAX;
	}
	server->worker_count = (uint32_t)workers;
	*slots = table;
}

static int32_t start_error(const struct worker *worker, struct ib_error *error)
{
	int code = worker->start_code;
	switch (socket_condition_of(code)) {
	case SOCKET_DESCRIPTORS:
		error_set(error, IB_STATUS_DESCRIPTORS, code, "no descriptor is left for the ring of worker %u",
		          worker->number);
		error_hint(error, "raise the limit with 'ulimit -n'");
		return IB_STATUS_DESCRIPTORS;
	case SOCKET_MEMORY:
		return error_set(error, IB_STATUS_MEMORY, code, "no memory for the ring of worker %u", worker->number);
	default:
		return error_set(error, IB_STATUS_OS, code, "the ring of worker %u could not be made: %s", worker->number,
		                 error_text(code));
	}
}

/* Starts the threads, waits until each has its ring, and lets all run or none. */
static int32_t rings_start(struct uring_server *server, uint32_t slots, struct ib_error *error)
{
	int32_t status = IB_STATUS_OK;
	uint32_t started = 0;
	for (; started < server->worker_count; started++) {
		struct worker *worker = &server->workers[started];
		worker->server = server;
		worker->number = started;
		worker->slots = slots;
		worker->ring.fd = -1;
		status = worker_start(WORKERS_OF(server, server->worker_count), started, worker_main, &server->threads, error);
		if (status != IB_STATUS_OK) {
			break;
		}
	}
	mutex_lock(&server->mutex);
	while (server->reports < started) {
		condition_wait(&server->changed, &server->mutex, NS_PER_S);
	}
	for (uint32_t index = 0; index < started && status == IB_STATUS_OK; index++) {
		if (server->workers[index].start_code != 0) {
			status = start_error(&server->workers[index], error);
		}
	}
	server->state = status == IB_STATUS_OK ? START_GO : START_GIVE_UP;
	condition_broadcast(&server->changed);
	mutex_unlock(&server->mutex);
	return status;
}

static void descriptors_close(struct uring_server *server)
{
	listeners_close(&server->listeners);
	if (server->wake_acceptor >= 0) {
		close(server->wake_acceptor);
	}
	if (server->wake_others >= 0) {
		close(server->wake_others);
	}
}

static void server_free(struct uring_server *server)
{
	descriptors_close(server);
	mutex_destroy(&server->mutex);
	condition_destroy(&server->changed);
	free(server->accepting);
	free(server->workers);
	free(server);
}

/* Memory and descriptors that the server has beside its workers' rings. */
static int32_t server_create(struct uring_server *server, struct ib_error *error)
{
	int32_t status = listeners_open(&server->listeners, &server->options, 0, error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	server->backlog = server->listeners.backlog;
	size_t bytes = server->worker_count * sizeof *server->workers;
	server->workers = aligned_alloc(CACHE_LINE_BYTES, bytes);
	server->accepting = calloc(server->listeners.count, sizeof *server->accepting);
	if (server->workers == NULL || server->accepting == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for %u workers", server->worker_count);
	}
	memset(server->workers, 0, bytes);
	server->wake_acceptor = eventfd(0, EFD_CLOEXEC);
	server->wake_others = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	if (server->wake_acceptor < 0 || server->wake_others < 0) {
		return error_set(error, IB_STATUS_DESCRIPTORS, errno, "no descriptor is left for the server's eventfds");
	}
	return IB_STATUS_OK;
}

extern const struct backend io_uring_backend;

static int32_t io_uring_start(const struct server_config *config, struct server **out, uint32_t *bound_port,
                              struct ib_error *error)
{
	struct uring_server *server = calloc(1, sizeof *server);
	if (server == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the server");
	}
	server_base_init(&server->base, &io_uring_backend, config);
	server->options = config->options;
	server->wake_acceptor = server->wake_others = -1;
	mutex_init(&server->mutex);
	condition_init(&server->changed);
	uint32_t slots;
	size_tables(server, &slots);
	int32_t status = server_create(server, error);
	if (status == IB_STATUS_OK) {
		*bound_port = server->listeners.port;
		status = rings_start(server, slots, error);
		if (status != IB_STATUS_OK) {
			workers_join(WORKERS_OF(server, server->worker_count));
		}
	}
	if (status != IB_STATUS_OK) {
		server_free(server);
		return status;
	}
	*out = &server->base;
	return IB_STATUS_OK;
}

static void io_uring_stats(struct server *base, struct ib_server_stats *out)
{
	struct uring_server *server = (struct uring_server *)base;
	for (uint32_t index = 0; index < server->worker_count; index++) {
		const struct worker *worker = &server->workers[index];
		counters_sum(&worker->counters, out);
		counters_operations(&worker->posted, &worker->completed, out);
		counters_system_calls(&worker->counters.system_calls, out);
		counters_worker_connections(uring_worker_connections(worker), out);
	}
	out->closed += out->refused; /* a worker's own count of closed has its connections alone */
	out->workers = server->worker_count;
	out->threads = atomic_load_explicit(&server->threads, memory_order_relaxed);
	out->threads_max = server->worker_count;
	out->backlog = server->backlog;
	snprintf(out->features, sizeof out->features, "%s", server->features);
}

static void eventfd_write_count(int fd, uint64_t count)
{
	while (write(fd, &count, sizeof count) < 0 && errno == EINTR) {
		continue;
	}
}

/* Tells worker 0, and when it has ended the accepting, the others. It does so by the deadline, or when its ring fails. */
static void workers_tell_stop(struct uring_server *server)
{
	atomic_store_explicit(&server->stopping, true, memory_order_release);
	eventfd_write_count(server->wake_acceptor, 1);
	mutex_lock(&server->mutex);
	while (!server->accepting_ended) {
		condition_wait(&server->changed, &server->mutex, NS_PER_S);
	}
	mutex_unlock(&server->mutex);
	eventfd_write_count(server->wake_others, server->worker_count);
}

static bool has_left_operations(const struct uring_server *server)
{
	for (uint32_t index = 0; index < server->worker_count; index++) {
		if (server->workers[index].has_left_operations) {
			return true;
		}
	}
	return false;
}

static int32_t io_uring_stop(struct server *base, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                             struct ib_error *error)
{
	struct uring_server *server = (struct uring_server *)base;
	server->stop_due_ns = clock_now_ns() + deadline_ms * NS_PER_MS;
	service_cut(&server->base.service, server->stop_due_ns);
	workers_tell_stop(server);
	uint32_t reset = workers_join(WORKERS_OF(server, server->worker_count));
	io_uring_stats(base, final_stats);
	if (has_left_operations(server)) {
		descriptors_close(server);
		return server_abandon(base, error);
	}
	server_free(server);
	return server_stopped(reset, deadline_ms, error);
}

const struct backend io_uring_backend = {
    .name = "io_uring",
    .speaks_http = true,
    .probe = io_uring_probe,
    .start = io_uring_start,
    .stats = io_uring_stats,
    .stop = io_uring_stop,
};
