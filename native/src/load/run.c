/*
 * run.c - the load half of the ABI: checks its arguments, sets up an engine and runs it on the calling thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "load/engine.h"

#define MESSAGE_SIZE_MAX_BYTES (1024u * 1024u)
#define PIPELINE_MAX 1024u
#define ADDRESSES_MAX 65536u
#define SPIN_MAX_NS NS_PER_MS
/* 256 ns is shorter than any first echo takes. The slack allows for a timeout that is noticed late. */
#define STAMP_SHIFT_LEAST 8u
#define STAMP_SLACK_NS (60 * NS_PER_S)
/* Descriptors that the process has open for other purposes: Node's, the library's, and an engine's epoll set. */
#define DESCRIPTORS_SPARE 128u

/* --------------------------------------------------------------------------------------- the table */

uint32_t ib_engine_count(void)
{
	return engine_backends_count;
}

static void probe_fill(const struct engine_backend *backend, struct ib_probe *out)
{
	abi_probe_start(out, backend->name);
	backend->probe(out);
}

int32_t ib_engine_probe(uint32_t index, struct ib_probe *out)
{
	int32_t status = abi_check(out->size, out->abi_version, sizeof *out, "ib_probe", NULL);

	if (status != IB_STATUS_OK) {
		return status;
	}
	if (index >= engine_backends_count) {
		return IB_STATUS_USAGE;
	}
	probe_fill(engine_backends[index], out);
	return IB_STATUS_OK;
}

static const struct engine_backend *engine_named(const char *name)
{
	for (uint32_t index = 0; index < engine_backends_count; index++) {
		if (strcmp(name, engine_backends[index]->name) == 0) {
			return engine_backends[index];
		}
	}
	return NULL;
}

/* Whether the process may have a descriptor for every connection of the run. All engines share the process's descriptors. */
static bool descriptors_suffice(const struct ib_engine_options *options)
{
	struct ib_limits limits = {.size = sizeof limits, .abi_version = IB_ABI_VERSION};
	struct ib_error error;

	return ib_limits(&limits, &error) != IB_STATUS_OK || limits.descriptors_soft == IB_UNKNOWN ||
	       options->connections + DESCRIPTORS_SPARE <= limits.descriptors_soft;
}

static uint32_t share_of(uint64_t total, const struct ib_engine_options *options);

/* "auto": the first available engine that can serve all connections, else the first available one. With one message in flight it is the one
 * that makes the fewest system calls then. */
static const struct engine_backend *engine_automatic(const struct ib_engine_options *options)
{
	bool suffice = descriptors_suffice(options);
	bool alone =
	    options->pipeline == 1 && options->think_time_ns == 0 && share_of(options->connections_active, options) <= 1;
	const struct engine_backend *second_best = NULL;
	struct ib_probe probe;

	for (uint32_t index = 0; index < engine_backends_count; index++) {
		const struct engine_backend *backend = engine_backends[index];
		probe_fill(backend, &probe);
		if (probe.available == 0) {
			continue;
		}
		bool can_serve = suffice || !backend->takes_descriptors;
		if (can_serve && (backend->quickest_alone || !alone)) {
			return backend;
		}
		second_best = second_best != NULL ? second_best : backend;
	}
	return second_best;
}

static int32_t engine_choose(const struct ib_engine_options *options, const struct engine_backend **out,
                             struct ib_error *error)
{
	struct ib_probe probe;

	if (strcmp(options->engine, "auto") == 0) {
		*out = engine_automatic(options);
		return *out != NULL ? IB_STATUS_OK
		                    : error_set(error, IB_STATUS_UNAVAILABLE, 0, "no client engine can run here");
	}
	*out = engine_named(options->engine);
	if (*out == NULL) {
		return error_set(error, IB_STATUS_USAGE, 0, "there is no engine \"%s\"", options->engine);
	}
	probe_fill(*out, &probe);
	if (probe.available != 0) {
		return IB_STATUS_OK;
	}
	error_set(error, IB_STATUS_UNAVAILABLE, probe.os_code, "engine %s cannot run here: %.200s", options->engine,
	          probe.reason);
	error_hint(error, "%s", probe.hint);
	return IB_STATUS_UNAVAILABLE;
}

/* ----------------------------------------------------------------------------------------- checks */

static int32_t options_check(const struct ib_engine_options *options, struct ib_error *error)
{
	if (memchr(options->engine, '\0', sizeof options->engine) == NULL ||
	    memchr(options->host, '\0', sizeof options->host) == NULL) {
		return error_set(error, IB_STATUS_USAGE, 0, "engine or host name is too long");
	}
	const struct abi_range ranges[] = {
	    {"port", options->port, 1, UINT16_MAX},
	    {"address_count", options->address_count, 1, ADDRESSES_MAX},
	    {"engine_count", options->engine_count, 1, 1024},
	    {"engine_index", options->engine_index, 0, options->engine_count - 1ull},
	    {"connections", options->connections, 1, 1ull << 31},
	    {"connections_active", options->connections_active, 0, options->connections},
	    {"message_size_bytes", options->message_size_bytes, 1, MESSAGE_SIZE_MAX_BYTES},
	    {"pipeline", options->pipeline, 1, PIPELINE_MAX},
	    {"timeout_ns", options->timeout_ns, NS_PER_MS, IB_HISTOGRAM_HIGHEST_NS},
	    {"connect_window", options->connect_window, 1, UINT32_MAX},
	    {"close_mode", options->close_mode, IB_CLOSE_RESET, IB_CLOSE_FIN},
	    {"arrivals", options->arrivals, IB_ARRIVALS_EVEN, IB_ARRIVALS_POISSON},
	    {"source_port_first", options->source_port_first, options->source_port_count != 0 ? 1 : 0, UINT16_MAX},
	    {"source_port_count", options->source_port_count, 0, UINT16_MAX + 1ull - options->source_port_first},
	    {"spin_ns", options->spin_ns, 0, SPIN_MAX_NS},
	    {"count_execution", options->count_execution, 0, 1},
	    {"share_index", options->share_index, 0, options->share_count != 0 ? options->share_count - 1ull : 0},
	};
	if (!(options->connect_rate_per_second >= 0)) {
		return error_set(error, IB_STATUS_USAGE, 0, "connect_rate_per_second is negative");
	}
	return abi_ranges_check(ranges, sizeof ranges / sizeof ranges[0], error);
}

static int32_t control_check(const struct ib_control *control, const struct ib_engine_options *options,
                             struct ib_error *error)
{
	int32_t status = abi_check(control->size, control->abi_version, sizeof *control, "ib_control", error);
	uint64_t needed_bytes =
	    sizeof(struct ib_engine_block) + (uint64_t)control->timeline_capacity * sizeof(struct ib_timeline_bucket);

	if (status != IB_STATUS_OK) {
		return status;
	}
	if (control->engine_count != options->engine_count || control->timeline_capacity == 0 ||
	    control->timeline_bucket_ns == 0 || control->engine_stride_bytes < needed_bytes ||
	    control->engine_stride_bytes % 8 != 0) {
		return error_set(error, IB_STATUS_USAGE, 0, "the control block does not fit its engines: each needs %llu bytes",
		                 (unsigned long long)needed_bytes);
	}
	return IB_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------- setup */

/* How many of the first `total` connections of the run belong to this engine. */
static uint32_t share_of(uint64_t total, const struct ib_engine_options *options)
{
	if (total <= options->engine_index) {
		return 0;
	}
	return (uint32_t)((total - options->engine_index - 1) / options->engine_count + 1);
}

static void *table(struct engine *engine, size_t count, size_t size)
{
	void *memory = calloc(count != 0 ? count : 1, size);

	engine->result.memory_bytes += memory != NULL ? count * size : 0;
	return memory;
}

static bool tables_allocate(struct engine *engine)
{
	const struct ib_engine_options *options = &engine->options;
	size_t lines = engine->connection_stride * engine->count / CACHE_LINE_BYTES + 2;

	engine->connections_allocation = table(engine, lines, CACHE_LINE_BYTES);
	engine->timetable.slots = table(engine, engine->active_count, sizeof *engine->timetable.slots);
	engine->targets = table(engine, options->address_count, sizeof *engine->targets);
	if (engine->connections_allocation == NULL || engine->timetable.slots == NULL || engine->targets == NULL) {
		return false;
	}
	if (engine->timetable.is_random) {
		if (!waiting_open(&engine->timetable.pool)) {
			return false;
		}
		engine->result.memory_bytes += WAITING_CHUNK * sizeof(struct waiting_message);
	}
	uintptr_t start = (uintptr_t)engine->connections_allocation;
	engine->connections = (unsigned char *)((start + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES);
	if (options->think_time_ns != 0) {
		engine->thought_queue.capacity = 2ull * options->pipeline * engine->active_count + 1;
		engine->thoughts = table(engine, engine->thought_queue.capacity, sizeof *engine->thoughts);
	}
	if (options->requests_per_connection != 0 || engine->exchange != NULL) {
		engine->again_queue.capacity = engine->count + 1ull;
		engine->again = table(engine, engine->again_queue.capacity, sizeof *engine->again);
	}
	return (options->think_time_ns == 0 || engine->thoughts != NULL) &&
	       (engine->again_queue.capacity == 0 || engine->again != NULL);
}

static int32_t targets_parse(struct engine *engine, struct ib_error *error)
{
	int32_t status = IB_STATUS_OK;

	for (uint32_t index = 0; index < engine->options.address_count && status == IB_STATUS_OK; index++) {
		status =
		    socket_address_parse(&engine->targets[index], engine->options.host, engine->options.port, index, error);
	}
	return status;
}

static void block_attach(struct engine *engine, void *control)
{
	unsigned char *blocks = (unsigned char *)control + IB_CONTROL_HEADER_BYTES;

	engine->control = control;
	engine->block = (void *)(blocks + engine->engine_index * engine->control->engine_stride_bytes);
	engine->block->size = sizeof *engine->block;
	engine->bucket_last =
	    (struct ib_timeline_bucket *)(void *)(engine->block + 1) + (engine->control->timeline_capacity - 1);
	engine->timeline_bucket_ns = engine->control->timeline_bucket_ns;
	engine->bucket_end_ns = UINT64_MAX;
	window_reset(engine);
}

/* The exchange, if there is one. */
static int32_t exchange_set(struct engine *engine, const struct ib_exchange *exchange, struct ib_error *error)
{
	if (exchange == NULL) {
		return IB_STATUS_OK;
	}
	int32_t status = exchange_open(&engine->exchange, exchange, engine->count, engine->message_size_bytes, error);
	if (status == IB_STATUS_OK) {
		engine->hello_bytes = engine->exchange->options.hello_bytes;
		engine->result.memory_bytes += exchange_memory_bytes(engine->exchange, engine->count);
	}
	return status;
}

int32_t engine_init(struct engine *engine, const struct ib_engine_options *options, const struct ib_exchange *exchange,
                    const struct ib_tls *tls, void *control, struct ib_error *error)
{
	memset(engine, 0, sizeof *engine);
	execution_counter_none(&engine->execution);
	engine->options = *options;
	engine->message_size_bytes = options->message_size_bytes;
	engine->pipeline = options->pipeline;
	engine->in_flight_most = options->pipeline;
	engine->engine_index = options->engine_index;
	engine->engine_count = options->engine_count;
	engine->seed = options->seed;
	engine->timeout_ns = options->timeout_ns;
	engine->churn_requests = options->requests_per_connection;
	engine->fin = options->close_mode == IB_CLOSE_FIN;
	engine->count = share_of(options->connections, options);
	engine->active_count = share_of(options->connections_active, options);
	engine->stamp_shift = STAMP_SHIFT_LEAST;
	while ((uint64_t)UINT32_MAX << engine->stamp_shift < 2 * options->timeout_ns + STAMP_SLACK_NS) {
		engine->stamp_shift++;
	}
	engine->connection_stride = sizeof(struct connection) + options->pipeline * sizeof(struct request);
	engine->window_start_ns = UINT64_MAX;
	engine->timetable.next_due_ns = UINT64_MAX;
	engine->timetable.is_random = options->arrivals == IB_ARRIVALS_POISSON;
	engine->timetable.random = random_stream_of(options->seed, options->arrivals_stream, options->engine_index);
	engine->edge_ns = UINT64_MAX;
	engine->phase_done = true;
	engine->reserved = SOCKET_NONE;
	engine->sweep_last_ns = clock_now_ns();

	int32_t status = exchange_set(engine, exchange, error);
	if (status == IB_STATUS_OK && tls != NULL) {
		status = wire_tls_open(&engine->tls, tls, engine->count, &engine->result.memory_bytes, error);
	}
	if (status != IB_STATUS_OK) {
		engine_destroy(engine);
		return status;
	}
	if (!tables_allocate(engine)) {
		engine_destroy(engine);
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for %u connections with %u requests in flight each",
		                 engine->count, options->pipeline);
	}
	status = targets_parse(engine, error);
	if (status != IB_STATUS_OK) {
		engine_destroy(engine);
		return status;
	}
	/* Several addresses are those of our own server, which listens already. */
	if (options->address_count == 1) {
		engine->reserved = socket_reserve(&engine->targets[0]);
	}
	block_attach(engine, control);
	return IB_STATUS_OK;
}

void engine_destroy(struct engine *engine)
{
	if (engine->reserved != SOCKET_NONE) {
		socket_close(engine->reserved);
	}
	exchange_close(engine->exchange, engine->count);
	wire_tls_close(engine->tls, engine->count);
	free(engine->connections_allocation);
	free(engine->timetable.slots);
	waiting_close(&engine->timetable.pool);
	free(engine->targets);
	free(engine->thoughts);
	free(engine->again);
}

/* --------------------------------------------------------------------------------------------- run */

/* The most bytes of a receive buffer for a guessed reply, and how much all of them may need. */
#define GUESS_MOST_BYTES 16384u
#define GUESS_LEAST_BYTES 4096u
#define GUESSES_BYTES_MOST (32u * 1024u * 1024u)

uint64_t engine_receive_bytes(const struct engine *engine)
{
	uint64_t in_flight = (uint64_t)engine->message_size_bytes * engine->pipeline;

	if (engine->exchange == NULL) {
		return engine->tls == NULL ? in_flight : wire_tls_receive_bytes(in_flight, engine->pipeline);
	}
	/* Replies are rarely smaller than requests, and pipelined ones are short. */
	uint64_t guess =
	    engine->count * (uint64_t)GUESS_MOST_BYTES <= GUESSES_BYTES_MOST ? GUESS_MOST_BYTES : GUESS_LEAST_BYTES;
	in_flight = engine->tls == NULL ? in_flight : wire_tls_receive_bytes(in_flight, engine->pipeline);
	return guess > in_flight ? guess : in_flight;
}

static int32_t run_borrowed(const struct engine_backend *backend, const struct ib_engine_options *options,
                            const struct ib_exchange *exchange, const struct ib_tls *tls, void *control,
                            struct ib_engine_result *result, struct ib_error *error)
{
	struct engine engine;
	struct thread_state state;

	thread_borrow(&state, options->cpu);
	/* After the thread is bound to its CPU, so that the memory is allocated near that CPU. */
	int32_t status = engine_init(&engine, options, exchange, tls, control, error);
	if (status == IB_STATUS_OK) {
		__atomic_store_n(&engine.block->running, 1, __ATOMIC_RELEASE);
		engine.counts_operations = backend->counts_operations;
		engine.backend = backend;
		if (options->count_execution != 0) {
			execution_counter_open(&engine.execution);
		}
		status = backend->run(&engine, error);
		execution_counter_close(&engine.execution);
		engine_publish(&engine);
		__atomic_store_n(&engine.block->running, 0, __ATOMIC_RELEASE);
		result->memory_bytes = engine.result.memory_bytes;
		memcpy(result->features, engine.result.features, sizeof result->features);
		if (engine.port_retries != 0) {
			size_t used = strlen(result->features);
			snprintf(result->features + used, sizeof result->features - used, "%sport-retries:%llu",
			         used != 0 ? " " : "", (unsigned long long)engine.port_retries);
		}
		if (engine.tls != NULL) {
			wire_tls_features(engine.tls, result->features, sizeof result->features);
		}
		engine_destroy(&engine);
	}
	thread_give_back(&state);
	return status;
}

int32_t ib_engine_run(const struct ib_engine_options *options, const struct ib_exchange *exchange,
                      const struct ib_tls *tls, void *control, struct ib_engine_result *result, struct ib_error *error)
{
	const struct engine_backend *backend = NULL;

	error_set(error, IB_STATUS_OK, 0, "%s", "");
	int32_t status = abi_check(options->size, options->abi_version, sizeof *options, "ib_engine_options", error);
	if (status == IB_STATUS_OK) {
		status = abi_check(result->size, result->abi_version, sizeof *result, "ib_engine_result", error);
	}
	if (status == IB_STATUS_OK) {
		status = options_check(options, error);
	}
	if (status == IB_STATUS_OK) {
		status = control_check(control, options, error);
	}
	if (status == IB_STATUS_OK) {
		status = engine_choose(options, &backend, error);
	}
	if (status == IB_STATUS_OK) {
		status = socket_library_start(error);
	}
	if (status != IB_STATUS_OK) {
		return status;
	}
	snprintf(result->engine, sizeof result->engine, "%s", backend->name);
	return run_borrowed(backend, options, exchange, tls, control, result, error);
}
