/*
 * load_harness.h - for the tests of the load generator: an echo server with chosen faults, and a small conductor. The server has a
 * thread per connection and uses only platform.h, so that it runs wherever the library runs.
 */
#ifndef LOAD_HARNESS_H
#define LOAD_HARNESS_H

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "iocp_bench.h"
#include "platform/platform.h"

/* --------------------------------------------------------------------------------------- echo server */

enum fault {
	FAULT_NONE,
	FAULT_CLOSE_AT_ONCE, /* closes every connection it accepts */
	FAULT_RESET_AT_ONCE,
	FAULT_SILENT,           /* reads and never answers */
	FAULT_CORRUPT,          /* flips one bit of byte fault_at of the first connection */
	FAULT_CLOSE_AFTER,      /* closes each connection after fault_at bytes */
	FAULT_DRIBBLE,          /* echoes in pieces of 1 to 7 bytes */
	FAULT_SILENT_AFTER,     /* each connection stops answering after fault_at bytes */
	FAULT_EXTRA,            /* sends one byte too many after fault_at bytes */
	FAULT_ANSWER_AND_CLOSE, /* answers fault_at bytes of each connection and closes it with the last of them */
	FAULT_CLOSE_IDLE,       /* closes a connection that sends nothing for fault_at ms */
	FAULT_KEEP_OPEN,        /* does not close when the client has sent its FIN */
	FAULT_LINES,            /* answers the received bytes up to the last newline */
	FAULT_STRINGS,          /* answers the received bytes before the first zero byte */
};

enum { SERVER_CONNECTIONS_MAX = 512 };

struct echo_connection;

struct echo_server {
	socket_handle listener;
	uint32_t port;
	enum fault fault;
	uint64_t fault_at;
	/* Other servers than echo: answers one receive; false ends the connection. NULL: echo. Called with length 0 when a connection begins. */
	bool (*answer)(struct echo_connection *connection, const uint8_t *bytes, size_t length);
	const void *script; /* for `answer` */
	struct thread acceptor;
	struct mutex mutex;
	struct condition changed;
	socket_handle sockets[SERVER_CONNECTIONS_MAX]; /* open ones; guarded by mutex */
	uint32_t open;
	uint32_t accepted;
	bool stopping;
};

struct echo_connection {
	struct echo_server *server;
	socket_handle socket;
	uint32_t number;
	uint32_t matched;  /* for `answer`: of the end of a request */
	uint64_t requests; /* for `answer` */
};

static inline bool send_all(socket_handle socket, const uint8_t *bytes, size_t length, size_t piece)
{
	for (size_t at = 0; at < length;) {
		size_t part = piece != 0 && piece < length - at ? piece : length - at;
		ptrdiff_t sent = socket_send(socket, bytes + at, part);
		if (sent <= 0) {
			return false;
		}
		at += (size_t)sent;
		piece = piece != 0 ? piece % 7 + 1 : 0;
	}
	return true;
}

/* On systems with a "more follows" flag, the FIN of the following close is in the same segment as these bytes. */
static inline void send_last(socket_handle socket, const uint8_t *bytes, size_t length)
{
#ifdef MSG_MORE
	(void)send(socket, bytes, length, MSG_MORE | MSG_NOSIGNAL);
#else
	(void)send_all(socket, bytes, length, 0);
#endif
}

/* Makes a receive on this socket give up after `milliseconds`. */
static inline void receive_bound(socket_handle socket, uint32_t milliseconds)
{
#ifdef _WIN32
	DWORD bound = milliseconds;
#else
	struct timeval bound = {.tv_sec = milliseconds / 1000, .tv_usec = (long)(milliseconds % 1000) * 1000};
#endif
	CHECK(setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, (const void *)&bound, sizeof bound) == 0);
}

/* Waits until the client has reset the connection or the server stops. */
static inline void keep_open(struct echo_server *server, socket_handle socket)
{
	bool goes_on = true;

	while (goes_on) {
		int code = 0;
		socklen_t length = sizeof code;
		clock_sleep_ns(5000000);
		mutex_lock(&server->mutex);
		goes_on = !server->stopping;
		mutex_unlock(&server->mutex);
		(void)getsockopt(socket, SOL_SOCKET, SO_ERROR, (void *)&code, &length);
		goes_on = goes_on && code == 0;
	}
}

/* Answers one receive. False: the connection is over. */
static inline bool echo_answer(const struct echo_connection *connection, uint8_t *bytes, size_t length, uint64_t before)
{
	const struct echo_server *server = connection->server;
	uint64_t at = server->fault_at;
	bool reached = before + length > at;

	switch (server->fault) {
	case FAULT_SILENT:
		return true;
	case FAULT_SILENT_AFTER:
		return before >= at || send_all(connection->socket, bytes, length, 0);
	case FAULT_CLOSE_AFTER:
		return !reached && send_all(connection->socket, bytes, length, 0);
	case FAULT_CORRUPT:
		if (connection->number == 0 && before <= at && reached) {
			bytes[at - before] ^= 0x20;
		}
		return send_all(connection->socket, bytes, length, 0);
	case FAULT_EXTRA:
		return send_all(connection->socket, bytes, length, 0) &&
		       (!reached || send_all(connection->socket, bytes, 1, 0));
	case FAULT_ANSWER_AND_CLOSE:
		return before + length < at ? send_all(connection->socket, bytes, length, 0)
		                            : (send_last(connection->socket, bytes, length), false);
	case FAULT_DRIBBLE:
		return send_all(connection->socket, bytes, length, 1);
	case FAULT_LINES:
		while (length != 0 && bytes[length - 1] != '\n') {
			length--;
		}
		return send_all(connection->socket, bytes, length, 0);
	case FAULT_STRINGS:
		return send_all(connection->socket, bytes, strnlen((const char *)bytes, length), 0);
	default:
		return send_all(connection->socket, bytes, length, 0);
	}
}

static inline void echo_connection_forget(struct echo_server *server, socket_handle socket)
{
	mutex_lock(&server->mutex);
	for (uint32_t at = 0; at < server->open; at++) {
		if (server->sockets[at] == socket) {
			server->sockets[at] = server->sockets[--server->open];
			break;
		}
	}
	if (server->fault == FAULT_RESET_AT_ONCE) {
		socket_close_reset(socket);
	} else {
		socket_close(socket);
	}
	condition_broadcast(&server->changed);
	mutex_unlock(&server->mutex);
}

static inline void echo_connection_main(void *argument)
{
	struct echo_connection connection = *(struct echo_connection *)argument;
	uint8_t *buffer = malloc(65536);
	uint64_t total = 0;
	bool goes_on = buffer != NULL && connection.server->fault != FAULT_CLOSE_AT_ONCE &&
	               connection.server->fault != FAULT_RESET_AT_ONCE;

	free(argument);
	goes_on = goes_on && (connection.server->answer == NULL || connection.server->answer(&connection, NULL, 0));
	if (connection.server->fault == FAULT_CLOSE_IDLE) {
		receive_bound(connection.socket, (uint32_t)connection.server->fault_at);
	}
	while (goes_on) {
		ptrdiff_t received = socket_receive(connection.socket, buffer, 65536);
		goes_on = received > 0 &&
		          (connection.server->answer != NULL ? connection.server->answer(&connection, buffer, (size_t)received)
		                                             : echo_answer(&connection, buffer, (size_t)received, total));
		total += received > 0 ? (uint64_t)received : 0;
	}
	free(buffer);
	if (connection.server->fault == FAULT_KEEP_OPEN) {
		keep_open(connection.server, connection.socket);
	}
	echo_connection_forget(connection.server, connection.socket);
}

static inline void echo_accept(struct echo_server *server, socket_handle socket)
{
	struct echo_connection *connection = malloc(sizeof *connection);

	mutex_lock(&server->mutex);
	bool taken = connection != NULL && !server->stopping && server->open < SERVER_CONNECTIONS_MAX;
	if (taken) {
		*connection = (struct echo_connection){.server = server, .socket = socket, .number = server->accepted++};
		server->sockets[server->open++] = socket;
	}
	mutex_unlock(&server->mutex);
	if (!taken) {
		free(connection);
		socket_close(socket);
	} else if (thread_start_detached(echo_connection_main, connection, 131072) != 0) {
		free(connection);
		echo_connection_forget(server, socket);
	}
}

static inline void echo_acceptor_main(void *argument)
{
	struct echo_server *server = argument;
	int code = 0;

	for (;;) {
		socket_handle socket = socket_accept(server->listener, &code);
		mutex_lock(&server->mutex);
		bool stopping = server->stopping;
		mutex_unlock(&server->mutex);
		if (socket != SOCKET_NONE && !stopping) {
			echo_accept(server, socket);
		} else if (socket != SOCKET_NONE) {
			socket_close(socket);
		}
		if (stopping) {
			return;
		}
	}
}

static inline bool echo_server_listen(struct echo_server *server, const struct socket_address *address)
{
	struct socket_listener listener;
	struct ib_error error;

	if (!CHECK(socket_listen(&listener, address, 512, 0, &error) == IB_STATUS_OK)) {
		return false;
	}
	server->listener = listener.socket;
	server->port = listener.port;
	return true;
}

static inline bool echo_server_open(struct echo_server *server)
{
	struct socket_address address;
	struct ib_error error;

	mutex_init(&server->mutex);
	condition_init(&server->changed);
	return CHECK(socket_library_start(&error) == IB_STATUS_OK) &&
	       CHECK(socket_address_parse(&address, "127.0.0.1", 0, 0, &error) == IB_STATUS_OK) &&
	       echo_server_listen(server, &address) &&
	       CHECK(thread_start(&server->acceptor, echo_acceptor_main, server, 0) == 0);
}

static inline bool echo_server_start(struct echo_server *server, enum fault fault, uint64_t fault_at)
{
	memset(server, 0, sizeof *server);
	server->fault = fault;
	server->fault_at = fault_at;
	return echo_server_open(server);
}

/* Wakes the acceptor with a connection, which works on every system. Shuts down the rest and waits for their threads. */
static inline void echo_server_stop(struct echo_server *server)
{
	struct socket_address address;
	struct ib_error error;
	uint64_t until_ns = clock_now_ns() + 10000000000ull;

	(void)socket_address_parse(&address, "127.0.0.1", server->port, 0, &error);
	mutex_lock(&server->mutex);
	server->stopping = true;
	for (uint32_t at = 0; at < server->open; at++) {
		socket_shutdown(server->sockets[at]);
	}
	mutex_unlock(&server->mutex);
	socket_handle waker = socket(AF_INET, SOCK_STREAM, 0);
	(void)connect(waker, (const struct sockaddr *)&address.storage, address.length);
	thread_join(&server->acceptor);
	socket_close(waker);
	socket_close(server->listener);
	mutex_lock(&server->mutex);
	while (server->open != 0 && clock_now_ns() < until_ns) {
		condition_wait(&server->changed, &server->mutex, 100000000);
	}
	CHECK_EQUAL(server->open, 0);
	mutex_unlock(&server->mutex);
	/* The last thread still holds the mutex for a moment after its signal. Taking the mutex once more waits for that. */
	mutex_lock(&server->mutex);
	mutex_unlock(&server->mutex);
	condition_destroy(&server->changed);
	mutex_destroy(&server->mutex);
}

/* ----------------------------------------------------------------------------------------- conductor */

enum { ENGINES_MAX = 4, TIMELINE_CAPACITY = 100 };

struct run {
	struct ib_engine_options options[ENGINES_MAX];
	struct ib_engine_result result[ENGINES_MAX];
	struct ib_error error[ENGINES_MAX];
	int32_t status[ENGINES_MAX];
	struct thread thread[ENGINES_MAX];
	uint32_t engines;
	struct ib_control *control;
	const struct ib_exchange *exchange; /* NULL: echo */
	const struct ib_tls *tls;           /* NULL: without TLS */
};

struct run_thread {
	struct run *run;
	uint32_t index;
};

static inline struct ib_engine_block *run_block(const struct run *run, uint32_t index)
{
	return (void *)((unsigned char *)run->control + IB_CONTROL_HEADER_BYTES +
	                index * run->control->engine_stride_bytes);
}

static inline struct ib_timeline_bucket *run_timeline(const struct run *run, uint32_t index)
{
	return (void *)(run_block(run, index) + 1);
}

static inline void run_thread_main(void *argument)
{
	struct run_thread thread = *(struct run_thread *)argument;
	struct run *run = thread.run;

	free(argument);
	run->status[thread.index] = ib_engine_run(&run->options[thread.index], run->exchange, run->tls, run->control,
	                                          &run->result[thread.index], &run->error[thread.index]);
}

/*
 * Calls `test` for every engine that can run here, with its name in *engine. Checks that the others say why they cannot. Returns how many can.
 */
static inline uint32_t each_engine(const char **engine, void (*test)(void))
{
	uint32_t tested = 0;

	for (uint32_t index = 0; index < ib_engine_count(); index++) {
		struct ib_probe probe = {.size = sizeof probe, .abi_version = IB_ABI_VERSION};

		CHECK_EQUAL(ib_engine_probe(index, &probe), IB_STATUS_OK);
		if (probe.available == 0) {
			CHECK(probe.reason[0] != '\0');
			continue;
		}
		*engine = probe.name;
		test();
		*engine = NULL;
		tested++;
	}
	return tested;
}

/* The plan of most tests. The caller may change it before run_start(). */
static inline void run_plan(struct run *run, const char *engine, uint32_t engines, uint32_t port, uint64_t connections)
{
	memset(run, 0, sizeof *run);
	run->engines = engines;
	for (uint32_t index = 0; index < engines; index++) {
		run->options[index] = (struct ib_engine_options){
		    .size = sizeof(struct ib_engine_options),
		    .abi_version = IB_ABI_VERSION,
		    .host = "127.0.0.1",
		    .port = port,
		    .address_count = 1,
		    .engine_index = index,
		    .engine_count = engines,
		    .connections = connections,
		    .connections_active = connections,
		    .seed = 1,
		    .message_size_bytes = 64,
		    .pipeline = 1,
		    .timeout_ns = 20000000000ull,
		    .connect_window = 64,
		    .cpu = IB_UNKNOWN_32,
		};
		snprintf(run->options[index].engine, sizeof run->options[index].engine, "%s", engine);
		run->result[index].size = sizeof run->result[index];
		run->result[index].abi_version = IB_ABI_VERSION;
	}
	uint64_t stride = sizeof(struct ib_engine_block) + TIMELINE_CAPACITY * sizeof(struct ib_timeline_bucket);
	run->control = calloc(1, IB_CONTROL_HEADER_BYTES + engines * stride);
	if (run->control == NULL) {
		abort();
	}
	run->control->size = sizeof *run->control;
	run->control->abi_version = IB_ABI_VERSION;
	run->control->engine_count = engines;
	run->control->timeline_capacity = TIMELINE_CAPACITY;
	run->control->engine_stride_bytes = stride;
	run->control->timeline_bucket_ns = 100000000;
}

static inline void run_start(struct run *run)
{
	for (uint32_t index = 0; index < run->engines; index++) {
		struct run_thread *thread = malloc(sizeof *thread);
		*thread = (struct run_thread){.run = run, .index = index};
		CHECK(thread_start(&run->thread[index], run_thread_main, thread, 0) == 0);
	}
}

static inline void run_command(struct run *run, uint32_t phase)
{
	__atomic_store_n(&run->control->phase, phase, __ATOMIC_RELAXED);
	__atomic_fetch_add(&run->control->sequence, 1, __ATOMIC_RELEASE);
}

/* Waits until every engine has completed the last command, at most a minute. */
static inline bool run_await(struct run *run)
{
	uint64_t until_ns = clock_now_ns() + 60000000000ull;
	uint32_t sequence = __atomic_load_n(&run->control->sequence, __ATOMIC_RELAXED);

	for (uint32_t index = 0; index < run->engines;) {
		if (__atomic_load_n(&run_block(run, index)->sequence_done, __ATOMIC_ACQUIRE) == sequence) {
			index++;
		} else if (clock_now_ns() > until_ns) {
			return CHECK(!"the phase was done within a minute");
		} else {
			clock_sleep_ns(1000000);
		}
	}
	return true;
}

static inline void run_phase(struct run *run, uint32_t phase)
{
	run_command(run, phase);
	run_await(run);
}

/*
 * Time from a command to its window. Messages that are due before an engine has taken the command are in no window. So the lead must be
 * longer than a thread may have to wait for a CPU on a busy machine under a sanitizer.
 */
#define LEAD_NS 300000000ull

/* The window begins `lead_ns` from now. Until then the engines send and record nothing. */
static inline void run_measure_start(struct run *run, uint64_t lead_ns, uint64_t length_ns, double rate_per_second)
{
	run->control->window_start_ns = clock_now_ns() + lead_ns;
	run->control->window_end_ns = run->control->window_start_ns + length_ns;
	run->control->rate_per_second = rate_per_second;
	run_command(run, IB_PHASE_MEASURE);
}

static inline void run_join(struct run *run)
{
	for (uint32_t index = 0; index < run->engines; index++) {
		thread_join(&run->thread[index]);
		CHECK_EQUAL(run->status[index], IB_STATUS_OK);
		CHECK_EQUAL(run_block(run, index)->running, 0);
	}
}

/* Prints the errors that the engines recorded, for the reader of a failed test. */
static inline void run_tell(const struct run *run)
{
	for (uint32_t index = 0; index < run->engines && check_failures != 0; index++) {
		const struct ib_engine_block *block = run_block(run, index);
		for (uint64_t sample = 0; sample < block->error_samples_count; sample++) {
			(void)fprintf(stderr, "  %s: class %u: %s\n", run->result[index].engine, block->samples[sample].error_class,
			              block->samples[sample].message);
		}
	}
}

static inline void run_free(struct run *run)
{
	run_tell(run);
	free(run->control);
}

/* Sum of a 64-bit field over the engines, which may be storing live figures at this moment. */
#define RUN_SUM(run, field) run_sum((run), offsetof(struct ib_engine_block, field))
static inline uint64_t run_sum(const struct run *run, size_t offset)
{
	uint64_t sum = 0;
	for (uint32_t index = 0; index < run->engines; index++) {
		const unsigned char *block = (const unsigned char *)run_block(run, index);
		sum += __atomic_load_n((const uint64_t *)(const void *)(block + offset), __ATOMIC_RELAXED);
	}
	return sum;
}

static inline void run_close(struct run *run)
{
	run_phase(run, IB_PHASE_CLOSE);
	run_join(run);
	CHECK_EQUAL(RUN_SUM(run, connections_live), 0);
	CHECK_EQUAL(RUN_SUM(run, requests_outstanding), 0);
	run_free(run);
}

/* The usual beginning of a run: connect and warm up. */
static inline void run_connect(struct run *run)
{
	run_start(run);
	run_phase(run, IB_PHASE_CONNECT);
	run->control->connections_total = RUN_SUM(run, connections_active);
}

static inline void run_warm_up(struct run *run, double rate_per_second)
{
	run->control->rate_per_second = rate_per_second;
	run_phase(run, IB_PHASE_WARMUP);
}

/* Checks a completed window: each offered request has an echo or is an error. */
static inline void run_check_window(const struct run *run)
{
	CHECK_EQUAL(RUN_SUM(run, requests_outstanding), 0);
	for (uint32_t index = 0; index < run->engines; index++) {
		const struct ib_engine_block *block = run_block(run, index);
		uint64_t timeline = 0;

		CHECK_EQUAL(block->window_requests + block->window_errors, block->window_offered);
		CHECK(block->window_begun_ns >= block->window_start_ns);
		CHECK_EQUAL(block->service.count, block->window_requests);
		CHECK_EQUAL((uint64_t)block->fairness_sum, block->window_requests);
		for (uint32_t bucket = 0; bucket < TIMELINE_CAPACITY; bucket++) {
			timeline += run_timeline(run, index)[bucket].requests;
		}
		CHECK(timeline >= block->window_requests);
	}
}

/*
 * The number of due messages depends only on the timetable, not on the speed of this machine. Under Poisson arrivals it varies by its
 * square root. Five standard deviations are exceeded once in a million windows.
 */
static inline void run_check_offered(const struct run *run, double rate_per_second)
{
	for (uint32_t index = 0; index < run->engines; index++) {
		const struct ib_engine_block *block = run_block(run, index);
		double expected =
		    rate_per_second / run->engines * (double)(block->window_end_ns - block->window_start_ns) / 1e9;
		double apart = (double)block->window_offered - expected;
		bool is_even = run->options[index].arrivals == IB_ARRIVALS_EVEN;
		CHECK(is_even ? apart >= -1 && apart <= 1 : apart * apart <= 25 * expected);
	}
}

/* Measures windows until one has more than `least` of a field, at most 20: on a busy machine, little may run in a short window. */
#define RUN_MEASURE_UNTIL(run, length_ns, rate_per_second, field, least)                                               \
	run_measure_until((run), (length_ns), (rate_per_second), offsetof(struct ib_engine_block, field), (least))
static inline void run_measure_until(struct run *run, uint64_t length_ns, double rate_per_second, size_t offset,
                                     uint64_t least)
{
	for (int window = 0; window < 20; window++) {
		run_measure_start(run, LEAD_NS, length_ns, rate_per_second);
		run_await(run);
		run_check_window(run);
		if (run_sum(run, offset) > least) {
			return;
		}
	}
}

#endif /* LOAD_HARNESS_H */
