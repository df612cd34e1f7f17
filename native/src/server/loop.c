/*
 * loop.c - what the models share whose workers each wait for many sockets at a time by portable calls. See loop.h.
 *
 * The path of a request is receive_and_echo: one recv and one send, no memory but the worker's buffer.
 *
 * Traps
 *   - A send that is short: the rest is copied aside (at most one receive buffer), the socket is waited for until it can be written, and not
 *     read until all is sent. A peer that never reads thus stops being read.
 *   - After a recv the socket is left to the next wait, never read again until it would block: one that sends without end must not hold the
 *     worker.
 *   - Descriptors exhausted: a listener stays readable and would make the loop spin. Worker 0 does not wait for it for a while.
 *   - The last connection takes the place of one that ends, so a round walks the connections from the last to the first: what moves was
 *     looked at already.
 */
#include "server/loop.h"

#include <stdlib.h>
#include <string.h>

#include "server/hand_out.h"

#define ACCEPT_PAUSE_NS (20 * NS_PER_MS)
#define WAIT_FAILED_PAUSE_NS (20 * NS_PER_MS)
#define GROWTH 1024

static void wake(void *argument)
{
	const struct loop_worker *worker = argument;
	char one = 1;
	if (worker->server->model->wake != NULL) {
		worker->server->model->wake(worker);
		return;
	}
	/* Where the pair is full, a wake-up is under way already. */
	(void)socket_send(worker->wake_send, &one, 1);
}

static void wake_acknowledge(struct loop_worker *worker)
{
	char bytes[64];
	if (worker->wake_receive == SOCKET_NONE) {
		return;
	}
	do {
		worker->system_calls++;
	} while (socket_receive(worker->wake_receive, bytes, sizeof bytes) == (ptrdiff_t)sizeof bytes);
}

static uint64_t worker_connections(const void *base, uint32_t number)
{
	const struct loop_worker *worker = &((const struct loop_server *)base)->workers[number];
	return workers_connections(&worker->assigned, &worker->counters);
}

/* --------------------------------------------------------------------------------------- connections */

void loop_connection_close(struct loop_worker *worker, uint32_t index, bool reset)
{
	ib_assert(index < worker->count && worker->connections[index].socket != SOCKET_NONE);
	struct loop_connection *connection = &worker->connections[index];
	socket_handle socket = connection->socket;
	free(connection->unsent);
	service_hold_end(&worker->service, connection->hold);
	worker->server->model->removed(worker, index);
	*connection = worker->connections[--worker->count];
	if (index < worker->count && connection->hold != NULL) {
		connection->hold->number = index;
	}
	worker->system_calls++;
	if (reset) {
		worker->system_calls++;
		socket_close_reset(socket);
	} else {
		socket_close(socket);
	}
	counter_add(&worker->counters.closed, 1);
	ib_assert(counter_read(&worker->counters.closed) <= counter_read(&worker->assigned));
}

void loop_connection_fail(struct loop_worker *worker, uint32_t index, int code)
{
	counters_error(&worker->counters, code);
	loop_connection_close(worker, index, false);
}

bool loop_would_wait(ptrdiff_t result)
{
	enum socket_condition condition = socket_condition_of((int)-result);
	return condition == SOCKET_WOULD_BLOCK || condition == SOCKET_INTERRUPTED;
}

/* With a wrong interest the connection would hang, or be read while bytes are unsent: without memory for another it is closed. */
bool loop_interest_set(struct loop_worker *worker, uint32_t index, enum loop_interest interest)
{
	if (worker->server->model->interest(worker, index, interest)) {
		return true;
	}
	counter_add(&worker->counters.errors_memory, 1);
	loop_connection_close(worker, index, false);
	return false;
}

/* Puts the bytes aside that send would not take. */
static enum loop_step unsent_keep(struct loop_worker *worker, uint32_t index, const char *bytes, size_t length)
{
	struct loop_connection *connection = &worker->connections[index];
	ib_assert(connection->unsent == NULL && length > 0);
	connection->unsent = malloc(length);
	if (connection->unsent == NULL) {
		counter_add(&worker->counters.errors_memory, 1);
		loop_connection_close(worker, index, false);
		return STEP_CLOSED;
	}
	memcpy(connection->unsent, bytes, length);
	connection->unsent_offset = 0;
	connection->unsent_length = (uint32_t)length;
	counter_add(&worker->counters.receives_paused, 1);
	return loop_interest_set(worker, index, LOOP_WRITE) ? STEP_BLOCKED : STEP_CLOSED;
}

/*
 * Sends until all is sent or the socket takes no more. WSAEventSelect reports that a socket can be written again only after a send that failed,
 * not after one that was short. Returns the bytes sent, or minus the error's code.
 */
static inline ptrdiff_t send_now(struct loop_worker *worker, socket_handle socket, const char *bytes, size_t length)
{
	size_t total = 0;
	while (total < length) {
		ptrdiff_t sent = socket_send(socket, bytes + total, length - total);
		worker->system_calls++;
		if (sent < 0) {
			return loop_would_wait(sent) ? (ptrdiff_t)total : sent;
		}
		total += (size_t)sent;
	}
	return (ptrdiff_t)total;
}

/* One recv and one send: the whole of a request. */
static inline enum loop_step receive_and_echo(struct loop_worker *worker, uint32_t index, socket_handle socket)
{
	ib_assert(index < worker->count && worker->connections[index].unsent == NULL);
	ib_assert(worker->connections[index].socket == socket);
	ptrdiff_t received = socket_receive(socket, worker->buffer, worker->server->options.receive_buffer_bytes);
	worker->system_calls++;
	if (received <= 0) {
		if (received < 0 && loop_would_wait(received)) {
			return STEP_EMPTY;
		}
		if (received == 0) {
			loop_connection_close(worker, index, false);
		} else {
			loop_connection_fail(worker, index, (int)-received);
		}
		return STEP_CLOSED;
	}
	worker->requests++;
	worker->bytes_received += (uint64_t)received;
	ptrdiff_t sent = send_now(worker, socket, worker->buffer, (size_t)received);
	if (sent < 0) {
		loop_connection_fail(worker, index, (int)-sent);
		return STEP_CLOSED;
	}
	worker->bytes_sent += (uint64_t)sent;
	if (sent < received) {
		return unsent_keep(worker, index, worker->buffer + sent, (size_t)(received - sent));
	}
	return STEP_ECHOED;
}

/* Sends what waits. STEP_ECHOED when all is sent: the socket is read again. */
static enum loop_step unsent_flush(struct loop_worker *worker, uint32_t index)
{
	struct loop_connection *connection = &worker->connections[index];
	ib_assert(connection->unsent != NULL && connection->unsent_offset < connection->unsent_length);
	ptrdiff_t sent = send_now(worker, connection->socket, connection->unsent + connection->unsent_offset,
	                          connection->unsent_length - connection->unsent_offset);
	if (sent < 0) {
		loop_connection_fail(worker, index, (int)-sent);
		return STEP_CLOSED;
	}
	worker->bytes_sent += (uint64_t)sent;
	connection->unsent_offset += (uint32_t)sent;
	if (connection->unsent_offset < connection->unsent_length) {
		return STEP_BLOCKED;
	}
	free(connection->unsent);
	connection->unsent = NULL;
	return loop_interest_set(worker, index, LOOP_READ) ? STEP_ECHOED : STEP_CLOSED;
}

/* Echoes what the stopped server's connection still holds, then closes it; it stays open only while its peer does not read. */
static void connection_drain(struct loop_worker *worker, uint32_t index)
{
	if (worker->service.service != NULL) {
		loop_service_drain(worker, index);
		return;
	}
	enum loop_step step = worker->connections[index].unsent != NULL ? unsent_flush(worker, index) : STEP_ECHOED;
	for (int round = 0; step == STEP_ECHOED && round < LOOP_DRAIN_ROUNDS_MAX; round++) {
		step = receive_and_echo(worker, index, worker->connections[index].socket);
	}
	if (step == STEP_EMPTY || step == STEP_ECHOED) {
		loop_connection_close(worker, index, false);
	}
}

void loop_connection_ready(struct loop_worker *worker, uint32_t index)
{
	if (unlikely(worker->draining)) {
		connection_drain(worker, index);
	} else if (unlikely(worker->service.service != NULL)) {
		loop_service_ready(worker, index);
	} else if (worker->connections[index].unsent == NULL) {
		receive_and_echo(worker, index, worker->connections[index].socket);
	} else {
		unsent_flush(worker, index);
	}
}

void loop_connection_readable(struct loop_worker *worker, uint32_t index, socket_handle socket)
{
	if (likely(!worker->draining && worker->service.service == NULL)) {
		receive_and_echo(worker, index, socket);
	} else {
		loop_connection_ready(worker, index);
	}
}

/* ------------------------------------------------------------------------------------------- workers */

static void worker_main(void *argument)
{
	struct loop_worker *worker = argument;
	service_worker_start(&worker->service, &worker->server->base.service, &worker->counters.service,
	                     &worker->counters.system_calls);
	worker->server->model->main(worker);
	atomic_fetch_sub_explicit(&worker->server->threads, 1, memory_order_relaxed);
}

static int32_t worker_create(struct loop_server *server, uint32_t number, struct ib_error *error)
{
	struct loop_worker *worker = &server->workers[number];
	worker->server = server;
	worker->number = number;
	worker->buffer = malloc(server->options.receive_buffer_bytes);
	if (worker->buffer == NULL || !server->model->create(worker)) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the buffer of worker %u", number);
	}
	if (server->model->wake != NULL) {
		return IB_STATUS_OK;
	}
	socket_handle pair[2];
	int code = socket_pair_open(pair);
	if (code != 0) {
		bool descriptors = socket_condition_of(code) == SOCKET_DESCRIPTORS;
		return error_set(error, descriptors ? IB_STATUS_DESCRIPTORS : IB_STATUS_OS, code,
		                 "the wake-up of worker %u could not be made: %s", number, error_text(code));
	}
	worker->wake_receive = pair[0];
	worker->wake_send = pair[1];
	return IB_STATUS_OK;
}

static void worker_destroy(struct loop_worker *worker)
{
	if (worker->wake_receive != SOCKET_NONE) {
		socket_close(worker->wake_receive);
		socket_close(worker->wake_send);
	}
	if (worker->server != NULL) {
		worker->server->model->destroy(worker);
	}
	free(worker->inbox);
	free(worker->connections);
	free(worker->buffer);
	mutex_destroy(&worker->inbox_mutex);
}

static void worker_clear(struct loop_worker *worker)
{
	memset(worker, 0, sizeof *worker);
	worker->wake_receive = worker->wake_send = SOCKET_NONE;
	mutex_init(&worker->inbox_mutex);
}

/* ----------------------------------------------------------------------------------------- accepting */

static bool connection_add(struct loop_worker *worker, socket_handle socket)
{
	if (worker->count == worker->capacity) {
		uint32_t capacity = worker->capacity + GROWTH;
		struct loop_connection *grown = realloc(worker->connections, capacity * sizeof *grown);
		if (grown == NULL) {
			return false;
		}
		worker->connections = grown;
		worker->capacity = capacity;
	}
	ib_assert(worker->server->model->connections_max == 0 || worker->count < worker->server->model->connections_max);
	worker->connections[worker->count++] = (struct loop_connection){.socket = socket};
	if (worker->server->model->added(worker)) {
		return true;
	}
	worker->count--;
	return false;
}

/* Closes a socket that the worker cannot serve. It already counts as the worker's. `errors`: the counter of the resource that is missing. */
static void connection_refuse(struct loop_worker *worker, socket_handle socket, _Atomic uint64_t *errors)
{
	counter_add(errors, 1);
	counter_add(&worker->counters.refused, 1);
	counter_add(&worker->counters.closed, 1);
	worker->system_calls++;
	socket_close(socket);
}

static bool inbox_put(struct loop_worker *worker, socket_handle socket)
{
	bool put = true;
	mutex_lock(&worker->inbox_mutex);
	if (worker->inbox_count == worker->inbox_capacity) {
		uint32_t capacity = worker->inbox_capacity + GROWTH;
		socket_handle *grown = realloc(worker->inbox, capacity * sizeof *grown);
		put = grown != NULL;
		if (put) {
			worker->inbox = grown;
			worker->inbox_capacity = capacity;
		}
	}
	if (put) {
		worker->inbox[worker->inbox_count++] = socket;
	}
	/* One wake-up for all that it finds when it looks. */
	bool first = put && worker->inbox_count == 1;
	mutex_unlock(&worker->inbox_mutex);
	if (first) {
		wake(worker);
	}
	return put;
}

static void inbox_take(struct loop_worker *worker)
{
	mutex_lock(&worker->inbox_mutex);
	for (uint32_t index = 0; index < worker->inbox_count; index++) {
		if (!connection_add(worker, worker->inbox[index])) {
			connection_refuse(worker, worker->inbox[index], &worker->counters.errors_memory);
		}
	}
	worker->inbox_count = 0;
	mutex_unlock(&worker->inbox_mutex);
}

static uint32_t worker_count(const struct loop_server *server)
{
	return atomic_load_explicit(&server->worker_count, memory_order_acquire);
}

/* The worker that gets the next connection: the emptiest, or a new one if all are full. NULL: none can be added. */
static struct loop_worker *worker_choose(struct loop_server *server)
{
	uint32_t count = worker_count(server);
	uint32_t number = hand_out_emptiest(count, &server->next_worker, worker_connections, server);
	uint32_t most = server->model->connections_max;
	if (most == 0 || worker_connections(server, number) < most) {
		return &server->workers[number];
	}
	if (count == server->worker_capacity) {
		return NULL;
	}
	struct loop_worker *added = &server->workers[count];
	if (worker_create(server, count, NULL) == IB_STATUS_OK &&
	    worker_start(WORKERS_OF(server, count + 1), count, worker_main, &server->threads, NULL) == IB_STATUS_OK) {
		atomic_store_explicit(&server->worker_count, count + 1, memory_order_release);
		return added;
	}
	worker_destroy(added);
	worker_clear(added);
	return NULL;
}

static void connection_hand_out(struct loop_worker *acceptor, socket_handle socket)
{
	counter_add(&acceptor->counters.accepted, 1);
	struct loop_worker *worker = worker_choose(acceptor->server);
	_Atomic uint64_t *errors = worker == NULL ? &acceptor->counters.errors_threads : &acceptor->counters.errors_memory;
	if (worker != NULL) {
		/* Before the other worker can close it: assigned is never behind closed. */
		counter_add(&worker->assigned, 1);
		if (worker == acceptor ? connection_add(worker, socket) : inbox_put(worker, socket)) {
			return;
		}
		atomic_store_explicit(&worker->assigned, counter_read(&worker->assigned) - 1, memory_order_relaxed);
	}
	counter_add(&acceptor->assigned, 1);
	connection_refuse(acceptor, socket, errors);
}

void loop_listener_ready(struct loop_worker *acceptor, socket_handle listener, int most)
{
	ib_assert(acceptor->number == 0 && !acceptor->draining);
	for (int count = 0; count < most; count++) {
		int code;
		socket_handle socket = socket_accept_ready(listener, &code);
		acceptor->system_calls++;
		if (socket != SOCKET_NONE) {
			connection_hand_out(acceptor, socket);
			continue;
		}
		enum socket_condition condition = socket_condition_of(code);
		if (condition == SOCKET_WOULD_BLOCK) {
			return;
		}
		if (condition == SOCKET_INTERRUPTED) {
			continue;
		}
		counters_error(&acceptor->counters, code);
		/* The peer's own affair, as is a network error that Linux passes on; all else would fail again at once. */
		if (condition != SOCKET_ABORTED && condition != SOCKET_UNREACHABLE) {
			acceptor->accept_again_ns = clock_now_ns() + ACCEPT_PAUSE_NS;
			return;
		}
	}
}

/* --------------------------------------------------------------------------------------------- rounds */

uint64_t loop_wait_ns(const struct loop_worker *worker)
{
	uint64_t due_ns = worker->draining ? worker->server->stop_due_ns : worker->accept_again_ns;
	uint64_t served_ns = service_next_due(&worker->service);
	if (due_ns == 0 || served_ns < due_ns) {
		due_ns = served_ns;
	}
	if (due_ns == IB_UNKNOWN) {
		return IB_UNKNOWN;
	}
	uint64_t now_ns = clock_now_ns();
	return due_ns > now_ns ? due_ns - now_ns : 0;
}

void loop_wait_failed(struct loop_worker *worker, int code)
{
	if (socket_condition_of(code) == SOCKET_INTERRUPTED) {
		return;
	}
	counters_error(&worker->counters, code);
	clock_sleep_ns(WAIT_FAILED_PAUSE_NS);
}

/* Worker 0 ends the accepting first and then wakes the others, so that no connection comes to a worker that has looked. */
static void drain_start(struct loop_worker *worker)
{
	struct loop_server *server = worker->server;
	worker->draining = true;
	if (worker->number == 0) {
		listeners_close(&server->listeners);
		atomic_store_explicit(&server->accepting_ended, true, memory_order_release);
		for (uint32_t index = 1; index < worker_count(server); index++) {
			wake(&server->workers[index]);
		}
	}
	for (uint32_t index = worker->count; index-- > 0;) {
		connection_drain(worker, index);
	}
}

static void round_publish(struct loop_worker *worker)
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

bool loop_round_end(struct loop_worker *worker, bool woken)
{
	struct loop_server *server = worker->server;
	if (woken) {
		wake_acknowledge(worker);
		/*
		 * The others stop only after worker 0 has, which may still have connections for them. Looked at before the inbox, which then has
		 * all that will come.
		 */
		const atomic_bool *stops = worker->number == 0 ? &server->stopping : &server->accepting_ended;
		bool stopping = atomic_load_explicit(stops, memory_order_acquire);
		inbox_take(worker);
		if (stopping && !worker->draining) {
			drain_start(worker);
		}
	}
	if (unlikely(worker->service.first != NULL)) {
		loop_service_due(worker);
	}
	if (worker->accept_again_ns != 0 && clock_now_ns() >= worker->accept_again_ns) {
		worker->accept_again_ns = 0;
	}
	round_publish(worker);
	if (!worker->draining || (worker->count > 0 && clock_now_ns() < server->stop_due_ns)) {
		return false;
	}
	worker->thread.reset_count += worker->count;
	while (worker->count > 0) {
		loop_connection_close(worker, worker->count - 1, true);
	}
	return true;
}

/* ------------------------------------------------------------------------------------- start and stop */

static void server_free(struct loop_server *server)
{
	ib_assert(atomic_load(&server->threads) == 0);
	for (uint32_t index = 0; server->workers != NULL && index < server->worker_capacity; index++) {
		ib_assert(server->workers[index].count == 0 && server->workers[index].inbox_count == 0);
		worker_destroy(&server->workers[index]);
	}
	memory_free_aligned(server->workers);
	listeners_close(&server->listeners);
	free(server);
}

/* Ends the workers that run. Returns how many connections were reset. */
static uint32_t server_drain(struct loop_server *server, uint64_t due_ns)
{
	server->stop_due_ns = due_ns;
	service_cut(&server->base.service, due_ns);
	atomic_store_explicit(&server->stopping, true, memory_order_release);
	/* Worker 0 first: it adds no workers after its end. */
	uint32_t reset = workers_stop(WORKERS_OF(server, 1), wake);
	atomic_store_explicit(&server->accepting_ended, true, memory_order_release);
	return reset + workers_stop(WORKERS_OF(server, worker_count(server)), wake);
}

static int32_t workers_create(struct loop_server *server, struct ib_error *error)
{
	uint32_t count = server->options.workers;
	uint32_t capacity = server->model->connections_max == 0 ? count : server->model->workers_max;
	server->workers = memory_allocate_aligned(CACHE_LINE_BYTES, capacity * sizeof *server->workers);
	if (server->workers == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for %u workers", capacity);
	}
	server->worker_capacity = capacity;
	for (uint32_t index = 0; index < capacity; index++) {
		worker_clear(&server->workers[index]);
	}
	atomic_store_explicit(&server->worker_count, count, memory_order_relaxed);
	for (uint32_t index = 0; index < count; index++) {
		int32_t status = worker_create(server, index, error);
		if (status != IB_STATUS_OK) {
			return status;
		}
	}
	return workers_start(WORKERS_OF(server, count), worker_main, &server->threads, error);
}

int32_t loop_server_start(const struct loop_model *model, const struct server_config *config, struct server **out,
                          uint32_t *bound_port, struct ib_error *error)
{
	struct loop_server *server = calloc(1, sizeof *server);
	if (server == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the server");
	}
	server_base_init(&server->base, model->backend, config);
	server->model = model;
	server->options = config->options;
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

void loop_server_stats(struct server *base, struct ib_server_stats *out)
{
	struct loop_server *server = (struct loop_server *)base;
	uint32_t count = worker_count(server);
	for (uint32_t index = 0; index < count; index++) {
		counters_sum(&server->workers[index].counters, out);
		counters_system_calls(&server->workers[index].counters.system_calls, out);
		counters_worker_connections(worker_connections(server, index), out);
	}
	out->workers = count;
	out->threads = atomic_load_explicit(&server->threads, memory_order_relaxed);
	out->threads_max = count;
	out->backlog = server->backlog;
}

int32_t loop_server_stop(struct server *base, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                         struct ib_error *error)
{
	struct loop_server *server = (struct loop_server *)base;
	uint32_t reset = server_drain(server, clock_now_ns() + deadline_ms * NS_PER_MS);
	loop_server_stats(base, final_stats);
	server_free(server);
	return server_stopped(reset, deadline_ms, error);
}
