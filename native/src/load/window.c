/*
 * window.c - resets, takes and completes the figures of a measured window, and publishes the live figures.
 */
#include <string.h>

#include "load/engine.h"

/* ------------------------------------------------------------------------------------------ timeline */

void engine_bucket_advance(struct engine *engine, uint64_t now)
{
	while (now >= engine->bucket_end_ns) {
		if (engine->bucket == engine->bucket_last) {
			engine->bucket_end_ns = UINT64_MAX;
			return;
		}
		engine->bucket++;
		engine->bucket_end_ns += engine->timeline_bucket_ns;
	}
}

void engine_count_bucket_errors(struct engine *engine, uint64_t errors, uint64_t now)
{
	if (now >= engine->window_start_ns) {
		engine_bucket_advance(engine, now);
		engine->bucket->errors += errors;
	}
}

/* -------------------------------------------------------------------------------------------- window */

void window_reset(struct engine *engine)
{
	struct ib_engine_block *block = engine->block;
	struct ib_timeline_bucket *timeline = (struct ib_timeline_bucket *)(void *)(block + 1);
	size_t totals = offsetof(struct ib_engine_block, window_start_ns);

	memset((unsigned char *)block + totals, 0, offsetof(struct ib_engine_block, service) - totals);
	histogram_reset(&block->service);
	histogram_reset(&block->response);
	histogram_reset(&block->send_lag);
	histogram_reset(&block->turn_lag);
	histogram_reset(&block->turn_noticed);
	histogram_reset(&block->connect);
	histogram_reset(&block->first_echo);
	histogram_reset(&block->round_trip);
	engine->network_next = 0;
	histogram_reset(&block->handshake);
	block->run_delay_ns = IB_UNKNOWN;
	block->instructions = IB_UNKNOWN;
	block->cycles = IB_UNKNOWN;
	block->execution_scope = IB_UNKNOWN;
	memset(timeline, 0, (size_t)(engine->bucket_last - timeline + 1) * sizeof *timeline);
	engine->bucket = timeline;
	for (uint32_t index = 0; index < engine->count; index++) {
		engine_connection(engine, index)->window_requests = 0;
	}
}

/* The difference of two figures, either of which may be unknown. */
static uint64_t difference(uint64_t after, uint64_t before)
{
	return after == IB_UNKNOWN || before == IB_UNKNOWN ? IB_UNKNOWN : after - before;
}

/* ------------------------------------------------------------------------------------------- stops */

static void stop_count(struct engine *engine, uint64_t stopped_ns)
{
	struct ib_engine_block *block = engine->block;

	block->stopped_ns += stopped_ns;
	block->stopped_longest_ns = stopped_ns > block->stopped_longest_ns ? stopped_ns : block->stopped_longest_ns;
}

void window_watch_start(struct engine *engine)
{
	engine->counters.system_calls += thread_times_now(&engine->looked_times);
	engine->looked_before = engine->looked_times;
}

/*
 * turn_ns is when the engine planned to look at its commands, at most a tick after its last look. A thread that works or waits for a CPU
 * may be late too, but then its own times explain the delay and the saturation figures report it. If they do not explain it, the thread
 * was stopped. This counts until all echoes of the window have come, because a stop delays each of them.
 *
 * The times of the last two intervals count: `now` is read before the times, so a delay between the two is in the times of one look and in
 * the lateness of the next.
 */
void window_watch(struct engine *engine, uint64_t now)
{
	uint64_t due_ns = engine->turn_ns > engine->window_start_ns ? engine->turn_ns : engine->window_start_ns;
	uint64_t late_ns = now > due_ns ? now - due_ns : 0;
	struct thread_times before = engine->looked_before;

	engine->looked_before = engine->looked_times;
	engine->counters.system_calls += thread_times_now(&engine->looked_times);
	if (late_ns <= ENGINE_WAIT_BELIEVED_NS) {
		return;
	}
	uint64_t cpu_ns = difference(engine->looked_times.cpu_ns, before.cpu_ns);
	uint64_t delay_ns = difference(engine->looked_times.run_delay_ns, before.run_delay_ns);
	uint64_t explained_ns = (cpu_ns != IB_UNKNOWN ? cpu_ns : 0) + (delay_ns != IB_UNKNOWN ? delay_ns : 0);
	if (explained_ns < late_ns / 2) {
		stop_count(engine, late_ns);
	}
}

/* -------------------------------------------------------------------------------------------- edges */

/* The time waited since the start of the window. A thread that used CPU time did not wait meanwhile, even if it did so inside a wait call. */
static uint64_t waited_ns(const struct engine *engine, const struct thread_usage *usage)
{
	uint64_t wait_ns = engine->counters.wait_ns - engine->edge_wait_ns;
	uint64_t user_ns = difference(usage->cpu_user_ns, engine->edge_usage.cpu_user_ns);
	uint64_t system_ns = difference(usage->cpu_system_ns, engine->edge_usage.cpu_system_ns);

	if (!engine->works_in_wait || user_ns == IB_UNKNOWN || system_ns == IB_UNKNOWN) {
		return wait_ns;
	}
	uint64_t cpu_ns = user_ns + system_ns;
	uint64_t idle_ns = engine->block->wall_ns > cpu_ns ? engine->block->wall_ns - cpu_ns : 0;
	return wait_ns < idle_ns ? wait_ns : idle_ns;
}

static void window_begins(struct engine *engine, uint64_t now)
{
	thread_usage_now(&engine->edge_usage);
	execution_counter_read(&engine->execution, &engine->edge_execution);
	engine->edge_suspended_ns = clock_suspended_ns();
	engine->edge_at_ns = now;
	engine->block->window_begun_ns = now;
	engine->edge_wait_ns = engine->counters.wait_ns;
	engine->edge_waits = engine->counters.waits;
	engine->edge_events = engine->counters.events;
	engine->edge_system_calls = engine->counters.system_calls;
	engine->edge_operations = engine->counters.operations;
	engine->edge = WINDOW_EDGE_END;
	engine->edge_ns = engine->window_start_ns + engine->window_length_ns;
}

static void window_ends(struct engine *engine, uint64_t now)
{
	struct ib_engine_block *block = engine->block;
	struct thread_usage usage;
	struct execution execution;

	thread_usage_now(&usage);
	execution_counter_read(&engine->execution, &execution);
	/* The two clocks are read one after the other, and both are adjusted, so a smaller difference is not a suspension. */
	uint64_t suspended_ns = clock_suspended_ns();
	if (suspended_ns > engine->edge_suspended_ns + ENGINE_WAIT_BELIEVED_NS) {
		stop_count(engine, suspended_ns - engine->edge_suspended_ns);
	}
	block->wall_ns = now - engine->edge_at_ns;
	block->wait_ns = waited_ns(engine, &usage);
	block->waits = engine->counters.waits - engine->edge_waits;
	block->events = engine->counters.events - engine->edge_events;
	block->window_system_calls = engine->counters.system_calls - engine->edge_system_calls;
	block->window_operations =
	    engine->counts_operations ? engine->counters.operations - engine->edge_operations : IB_UNKNOWN;
	block->cpu_user_ns = difference(usage.cpu_user_ns, engine->edge_usage.cpu_user_ns);
	block->cpu_system_ns = difference(usage.cpu_system_ns, engine->edge_usage.cpu_system_ns);
	block->run_delay_ns = difference(usage.run_delay_ns, engine->edge_usage.run_delay_ns);
	block->voluntary_switches = difference(usage.voluntary_switches, engine->edge_usage.voluntary_switches);
	block->involuntary_switches = difference(usage.involuntary_switches, engine->edge_usage.involuntary_switches);
	block->instructions = difference(execution.instructions, engine->edge_execution.instructions);
	block->cycles = difference(execution.cycles, engine->edge_execution.cycles);
	block->execution_scope = execution.scope != IB_UNKNOWN_32 ? execution.scope : IB_UNKNOWN;

	/* The timetable has ended by itself, because nothing is due at or after its end_ns. The closed loop continues: window_tail(). */
	engine->edge = WINDOW_EDGE_GIVE_UP;
	engine->edge_ns = engine->window_start_ns + engine->window_length_ns + engine->timeout_ns;
}

/*
 * After its window a closed loop continues, unrecorded, until the last request of the window is answered. Otherwise these last requests
 * would be served under a falling load, and faster than the others. With thousands of connections they are a large part of all. A
 * connection that hangs holds up the others for at most the length of the window.
 */
void window_tail(struct engine *engine, uint64_t now)
{
	const struct ib_engine_block *block = engine->block;

	if (engine->mode != ENGINE_MODE_CLOSED || engine->edge == WINDOW_EDGE_START || engine->edge == WINDOW_EDGE_END) {
		return;
	}
	if (engine->edge == WINDOW_EDGE_NONE || block->window_requests + block->window_errors >= block->window_offered ||
	    now - engine->window_start_ns >= 2 * engine->window_length_ns) {
		engine->mode = ENGINE_MODE_NONE;
		engine->thought_queue.count = 0;
	}
}

void window_edge(struct engine *engine, uint64_t now)
{
	if (engine->edge == WINDOW_EDGE_START && now >= engine->edge_ns) {
		window_begins(engine, now);
	}
	if (engine->edge == WINDOW_EDGE_END && now >= engine->edge_ns) {
		window_ends(engine, now);
	}
	if (engine->edge == WINDOW_EDGE_GIVE_UP && now >= engine->edge_ns) {
		/* Each of these was due at least a full timeout ago. Requests in flight have their own timeout. */
		uint64_t dropped = timetable_drop_all_waiting(engine);
		engine->counters.errors[IB_ERROR_TIMEOUT] += dropped;
		engine_count_bucket_errors(engine, dropped, now);
		engine->edge = WINDOW_EDGE_NONE;
		engine->edge_ns = UINT64_MAX;
	}
}

static void fairness(struct engine *engine)
{
	struct ib_engine_block *block = engine->block;
	uint64_t smallest = UINT64_MAX;

	for (uint32_t index = 0; index < engine->active_count; index++) {
		const struct connection *connection = engine_connection(engine, index);
		uint64_t requests = connection->window_requests;

		if (!connection->made) {
			continue;
		}
		block->fairness_connections++;
		block->fairness_sum += (double)requests;
		block->fairness_sum_squares += (double)requests * (double)requests;
		block->fairness_max = requests > block->fairness_max ? requests : block->fairness_max;
		block->fairness_starved += requests == 0;
		if (requests < smallest) {
			smallest = requests;
			block->fairness_slowest = engine_connection_number(engine, index);
		}
	}
	block->fairness_min = block->fairness_connections != 0 ? smallest : 0;
}

/* ------------------------------------------------------------------------------------------- network */

/* Reading one may need a descriptor for a moment. */
#define NETWORK_AT_ONCE 32u

bool window_network_is_read(struct engine *engine)
{
	uint32_t all = engine->active_count < IB_NETWORK_CONNECTIONS ? engine->active_count : IB_NETWORK_CONNECTIONS;

	if (engine->backend->network_read == NULL) {
		return true;
	}
	while (engine->network_next < all && engine->network_open < NETWORK_AT_ONCE) {
		uint32_t index = (uint32_t)((uint64_t)engine->network_next++ * engine->active_count / all);

		if (engine_connection(engine, index)->state == CONNECTION_LIVE) {
			engine->network_open++;
			engine->backend->network_read(engine, index);
		}
	}
	return engine->network_next == all && engine->network_open == 0;
}

void engine_network_read(struct engine *engine, uint64_t round_trip_ns, uint64_t retransmits)
{
	struct ib_engine_block *block = engine->block;

	engine->network_open--;
	if (round_trip_ns != 0) {
		block->network_connections++;
		block->network_retransmits += retransmits;
		histogram_record(&block->round_trip, round_trip_ns);
	}
}

/* --------------------------------------------------------------------------------------------- end */

void window_finish(struct engine *engine)
{
	fairness(engine);
	if (engine->exchange == NULL) {
		engine->block->window_bytes = engine->block->window_requests * engine->message_size_bytes;
	}
	engine->window_start_ns = UINT64_MAX;
	engine->window_length_ns = 0;
	engine->open_loop_window = false;
	engine->edge = WINDOW_EDGE_NONE;
	engine->edge_ns = UINT64_MAX;
}

/* ---------------------------------------------------------------------------------------- publishing */

void engine_publish(struct engine *engine)
{
	struct ib_engine_block *block = engine->block;
	const struct engine_counters *counters = &engine->counters;

	__atomic_store_n(&block->phase,
	                 engine->phase_done && engine->phase != IB_PHASE_WARMUP ? IB_PHASE_IDLE : engine->phase,
	                 __ATOMIC_RELAXED);
	block_store(&block->connections_started, counters->started);
	block_store(&block->connections_made, counters->made);
	block_store(&block->connections_failed, counters->failed);
	block_store(&block->connections_lost, counters->lost);
	block_store(&block->connections_live, counters->live);
	block_store(&block->connections_active, counters->active);
	block_store(&block->connections_echoed, counters->echoed);
	block_store(&block->connect_first_ns, counters->connect_first_ns);
	block_store(&block->connect_last_ns, counters->connect_last_ns);
	block_store(&block->requests_completed, counters->completed);
	block_store(&block->requests_outstanding, counters->outstanding);
	block_store(&block->bytes_sent, counters->bytes_sent);
	block_store(&block->bytes_received, counters->bytes_received);
	block_store(&block->data_errors, counters->data_errors);
	block_store(&block->connections_closed_idle, counters->closed_idle);
	block_store(&block->connections_closed_idle_active, counters->closed_idle_active);
	block_store(&block->connections_ended, counters->ended);
	block_store(&block->timeouts_at_newline, counters->timeouts_at_newline);
	block_store(&block->timeouts_off_newline, counters->timeouts_off_newline);
	block_store(&block->timeouts_at_zero, counters->timeouts_at_zero);
	block_store(&block->timeouts_off_zero, counters->timeouts_off_zero);
	block_store(&block->fins_unanswered, counters->fins_unanswered);
	block_store(&block->fins_undecided, counters->fins_undecided);
	block_store(&block->replies_differing, counters->replies_differing);
	block_store(&block->connections_ended_by_reply, counters->ended_by_reply);
	block_store(&block->connects_begun, counters->connects_begun);
	block_store(&block->handshakes, counters->handshakes);
	block_store(&block->handshakes_resumed, counters->handshakes_resumed);
	block_store(&block->system_calls, counters->system_calls);
	block_store(&block->closed_idle_after_min_ns, counters->closed_idle_min_ns);
	block_store(&block->closed_idle_after_max_ns, counters->closed_idle_max_ns);
	block_store(&block->ended_echoes_min, counters->ended_echoes_min);
	block_store(&block->ended_echoes_max, counters->ended_echoes_max);
	for (uint32_t error_class = 0; error_class < IB_ERROR_CLASS_COUNT; error_class++) {
		block_store(&block->errors[error_class], counters->errors[error_class]);
	}
}
