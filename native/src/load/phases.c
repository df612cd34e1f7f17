/*
 * phases.c - takes the conductor's commands and reports when each is complete.
 */
#include <string.h>

#include "load/engine.h"

/* How often an idle engine looks at its commands. The contract requires at least every 20 ms. */
#define TICK_NS (10 * NS_PER_MS)
/* While an engine awaits the end of a phase and records nothing, looking more often affects no measurement. */
#define TICK_SHORT_NS NS_PER_MS
/* Every connection's timeout is checked once in this time, so a timeout may be noticed this late. */
#define SWEEP_LONGEST_NS NS_PER_S
#define SWEEP_SHORTEST_NS (20 * NS_PER_MS)

static void sending_stops(struct engine *engine)
{
	engine->ripe_end = 0;
	timetable_stop(engine);
	engine->mode = ENGINE_MODE_NONE;
	engine->thought_queue.count = 0;
}

/* Churn: closes those of the first `count` connections that had all of their requests in a phase that closes none. */
static void ripe_ones_end(struct engine *engine, uint32_t count)
{
	engine->ripe_cursor = 0;
	engine->ripe_end = engine->churn_requests != 0 ? count : 0;
}

/* WARMUP and MEASURE. Continues as before if the loop is the same. */
static void sending_starts(struct engine *engine, uint64_t now, uint64_t end_ns)
{
	double rate_per_second = engine->control->rate_per_second;

	if (engine->mode != ENGINE_MODE_CLOSED && engine->mode != ENGINE_MODE_OPEN) {
		ripe_ones_end(engine, engine->active_count);
	}
	if (rate_per_second > 0) {
		engine->thought_queue.count = 0;
		engine->mode = ENGINE_MODE_OPEN;
		timetable_start(engine, now, rate_per_second, engine->control->connections_total, end_ns);
		return;
	}
	timetable_stop(engine);
	if (engine->mode != ENGINE_MODE_CLOSED) {
		engine->mode = ENGINE_MODE_CLOSED;
		engine->kick_cursor = 0;
	}
}

static void measure_starts(struct engine *engine, uint64_t now)
{
	/* A command that is taken late (the machine was busy) begins its window now. Messages due or sent before were not counted as
	 * offered, so they must not be recorded either. The block reports the actual window. */
	uint64_t start_ns = engine->control->window_start_ns > now ? engine->control->window_start_ns : now;
	uint64_t end_ns = engine->control->window_end_ns > start_ns ? engine->control->window_end_ns : start_ns;

	window_reset(engine);
	engine->block->window_start_ns = start_ns;
	engine->block->window_end_ns = end_ns;
	engine->open_loop_window = engine->control->rate_per_second > 0;
	/* The timetable comes first: it may drop messages that waited before, which belong to no window. */
	sending_starts(engine, now, end_ns);
	engine->window_start_ns = start_ns;
	engine->window_length_ns = end_ns - start_ns;
	engine->bucket_end_ns = start_ns + engine->timeline_bucket_ns;
	engine->edge = WINDOW_EDGE_START;
	engine->edge_ns = start_ns;
	window_watch_start(engine);
}

static void verify_starts(struct engine *engine, uint64_t now)
{
	sending_stops(engine);
	window_reset(engine);
	engine->mode = ENGINE_MODE_VERIFY;
	engine->block->window_start_ns = now;
	engine->window_start_ns = now;
	engine->window_length_ns = UINT64_MAX - now;
	engine->bucket_end_ns = now + engine->timeline_bucket_ns;
	engine->kick_cursor = 0;
	engine->verify_ready = false;
	ripe_ones_end(engine, engine->count);
}

static void connect_starts(struct engine *engine)
{
	sending_stops(engine);
	histogram_reset(&engine->block->connect);
	histogram_reset(&engine->block->first_echo);
	histogram_reset(&engine->block->handshake);
}

static void command_take(struct engine *engine, uint32_t sequence, uint64_t now)
{
	engine->sequence = sequence;
	engine->phase = __atomic_load_n(&engine->control->phase, __ATOMIC_RELAXED);
	engine->phase_done = false;
	engine->phase_started_ns = now;
	engine->epoch = (uint8_t)(engine->epoch == UINT8_MAX ? 1 : engine->epoch + 1);
	engine->counters.echoed = 0;
	engine->window_start_ns = UINT64_MAX;
	engine->window_length_ns = 0;
	engine->open_loop_window = false;
	engine->edge = WINDOW_EDGE_NONE;
	engine->edge_ns = UINT64_MAX;

	switch (engine->phase) {
	case IB_PHASE_CONNECT:
		connect_starts(engine);
		break;
	case IB_PHASE_WARMUP:
		sending_starts(engine, now, UINT64_MAX);
		break;
	case IB_PHASE_MEASURE:
		measure_starts(engine, now);
		break;
	case IB_PHASE_VERIFY:
		verify_starts(engine, now);
		break;
	case IB_PHASE_CLOSE:
		sending_stops(engine);
		engine->kick_cursor = 0;
		break;
	default: /* IDLE, DRAIN */
		sending_stops(engine);
		break;
	}
}

/* Nothing is in flight, and no connection is being made again. Closed connections wait until there is something to send. */
static bool is_quiet(const struct engine *engine)
{
	uint64_t resting = engine_begins_again(engine) ? 0 : engine->again_queue.count;

	return engine->counters.outstanding == 0 && engine->timetable.waiting == 0 && engine->awaiting == 0 &&
	       engine->ripe_cursor >= engine->ripe_end && engine->pending_again == resting;
}

static bool phase_is_done(struct engine *engine, uint64_t now)
{
	switch (engine->phase) {
	case IB_PHASE_CONNECT:
		return engine->connect_cursor == engine->count && engine->awaiting == 0;
	case IB_PHASE_WARMUP:
		return engine->counters.echoed >= engine->counters.active;
	case IB_PHASE_MEASURE:
		return (engine->edge == WINDOW_EDGE_GIVE_UP || engine->edge == WINDOW_EDGE_NONE) &&
		       engine->timetable.next_due_ns == UINT64_MAX && is_quiet(engine) && window_network_is_read(engine);
	case IB_PHASE_VERIFY:
		if (!engine->verify_ready) {
			engine->verify_ready = is_quiet(engine);
			return false;
		}
		engine->block->window_end_ns = now;
		return engine->kick_cursor == engine->count && is_quiet(engine);
	case IB_PHASE_CLOSE:
		return engine->kick_cursor == engine->count && engine->open == 0;
	case IB_PHASE_DRAIN:
		return is_quiet(engine);
	default:
		return true;
	}
}

static void phase_complete(struct engine *engine)
{
	engine->phase_done = true;
	if (engine->phase == IB_PHASE_MEASURE || engine->phase == IB_PHASE_VERIFY) {
		engine->mode = ENGINE_MODE_NONE;
		window_finish(engine);
	}
	engine->finished = engine->phase == IB_PHASE_CLOSE;
	ib_assert(!engine->finished || (engine->closing == 0 && engine->awaiting == 0 && engine->counters.live == 0 &&
	                                engine->counters.outstanding == 0));
	engine_publish(engine);
	__atomic_store_n(&engine->block->sequence_done, engine->sequence, __ATOMIC_RELEASE);
}

static uint64_t sweep_period_ns(const struct engine *engine)
{
	uint64_t period_ns = engine->timeout_ns / 8;

	period_ns = period_ns > SWEEP_LONGEST_NS ? SWEEP_LONGEST_NS : period_ns;
	return period_ns < SWEEP_SHORTEST_NS ? SWEEP_SHORTEST_NS : period_ns;
}

static bool fins_are_undecided(const struct engine *engine, uint64_t now)
{
	if (!engine->fin || engine->churn_requests == 0 || engine->fins_answered != 0) {
		return false;
	}
	if (engine->counters.fins_unanswered == 0) {
		return engine->closing != 0;
	}
	return now < engine->fins_settled_ns + sweep_period_ns(engine);
}

/* A sweep goes round all connections in even steps to find timeouts. It needs no list of timers and no work per request. */
static void sweep_grant(struct engine *engine, uint64_t now)
{
	engine->sweep_credit +=
	    (double)engine->count * (double)(now - engine->sweep_last_ns) / (double)sweep_period_ns(engine);
	engine->sweep_last_ns = now;
	if (engine->sweep_credit > engine->count) {
		engine->sweep_credit = engine->count;
	}
	engine->sweep_budget = (uint32_t)engine->sweep_credit;
	engine->sweep_credit -= engine->sweep_budget;
}

bool engine_turn_slow(struct engine *engine, uint64_t now)
{
	uint32_t sequence = __atomic_load_n(&engine->control->sequence, __ATOMIC_ACQUIRE);

	if (__atomic_load_n(&engine->control->stop, __ATOMIC_RELAXED)) {
		engine_publish(engine);
		return false;
	}
	if (engine->phase == IB_PHASE_MEASURE && !engine->phase_done) {
		window_watch(engine, now);
	}
	if (sequence != engine->sequence) {
		command_take(engine, sequence, now);
	}
	if (now >= engine->edge_ns) {
		window_edge(engine, now);
	}
	if (engine->phase == IB_PHASE_MEASURE && !engine->phase_done) {
		window_tail(engine, now);
	}
	if (!engine->phase_done && phase_is_done(engine, now)) {
		phase_complete(engine);
	}
	if (now >= engine->next_tick_ns) {
		sweep_grant(engine, now);
		engine->counters.fins_undecided = fins_are_undecided(engine, now);
		engine_publish(engine);
	}
	bool recording = engine->edge == WINDOW_EDGE_START || engine->edge == WINDOW_EDGE_END;
	engine->next_tick_ns = now + (engine->phase_done || recording ? TICK_NS : TICK_SHORT_NS);
	engine->turn_ns = engine->next_tick_ns < engine->edge_ns ? engine->next_tick_ns : engine->edge_ns;
	return !engine->finished;
}

/* The time of the next work that no event triggers. */
static uint64_t next_work_ns(const struct engine *engine, uint64_t now)
{
	const struct timetable *t = &engine->timetable;
	uint64_t next = engine->turn_ns < t->next_due_ns ? engine->turn_ns : t->next_due_ns;
	bool may_connect = engine->awaiting < engine->options.connect_window;

	if (engine->mode == ENGINE_MODE_CLOSED) {
		if (engine->kick_cursor < engine->active_count) {
			return now;
		}
		if (engine->thought_queue.count != 0) {
			uint64_t thought_ns = engine->thoughts[engine->thought_queue.head].due_ns;
			next = thought_ns < next ? thought_ns : next;
		}
	}
	if (engine->mode == ENGINE_MODE_VERIFY && engine->verify_ready && engine->kick_cursor < engine->count &&
	    engine->counters.outstanding < engine->options.connect_window) {
		return now;
	}
	if (engine->phase == IB_PHASE_CLOSE && engine->kick_cursor < engine->count) {
		return now;
	}
	if (engine->ripe_cursor < engine->ripe_end ||
	    (may_connect && engine->again_queue.count != 0 && engine_begins_again(engine))) {
		return now;
	}
	if (may_connect && engine->phase == IB_PHASE_CONNECT && engine->connect_cursor < engine->count) {
		uint64_t connect_ns = engine_connect_due_ns(engine);
		next = connect_ns < next ? connect_ns : next;
	}
	return next;
}

uint64_t engine_wait_ns(const struct engine *engine, uint64_t now)
{
	uint64_t next = next_work_ns(engine, now);
	uint64_t due = engine->timetable.next_due_ns;
	uint64_t spin = engine->options.spin_ns;

	if (due - now <= spin) {
		return 0;
	}
	next = due - spin < next ? due - spin : next;
	return next > now ? next - now : 0;
}
