/*
 * timetable.c - releases the messages that no echo releases: those of the open loop's timetable, those after a pause of think time,
 * and the first message of each connection when a phase begins.
 *
 * The timetable needs no heap. The engine's share of the rate is proportional to its connections.
 *
 * Even arrivals: messages are due at even intervals, and message m belongs to connection m modulo the number of connections. So the
 * load is spread evenly over time and over connections, and each connection's own messages are evenly spaced too. If a message is due
 * while its connection is full, only the number of waiting messages goes up. The due time is computed when the message is sent. The
 * engines of a load count from a common origin and take turns. Between engines with different numbers of connections, which have
 * different intervals, the gaps vary.
 *
 * Poisson arrivals: gaps and connections are random (arrivals.h). Only one random gap ahead is known. If a message is due while its
 * connection is full, it waits behind the earlier ones of that connection, and its due time is kept.
 */
#include <stdlib.h>

#include "load/engine.h"

/* Engines that take a command within the same 20 ms start at the same time. */
#define START_GRID_NS (20 * NS_PER_MS)

/* The place of this engine's messages within an interval. The engines of a process take turns, and within each turn its shares do. */
static double offset_of(const struct engine *engine)
{
	const struct ib_engine_options *options = &engine->options;
	double share = options->share_count != 0 ? (options->share_index + 0.5) / options->share_count : 0.5;

	return (engine->engine_index + share) / engine->engine_count;
}

/*
 * The base of even arrivals whose first message is due at begin_ns or less than one interval later. It is whole intervals from the common
 * origin, so the messages of all engines interleave whenever each took its command.
 */
static double base_of(const struct engine *engine, double begin_ns, double interval_ns, double offset)
{
	double origin_ns = (double)engine->options.share_origin_ns;
	double intervals = (begin_ns - origin_ns) / interval_ns - offset;
	double whole = (double)(int64_t)intervals;

	return origin_ns + (whole < intervals ? whole + 1 : whole) * interval_ns;
}

static uint32_t slots_fill(struct engine *engine)
{
	struct timetable *t = &engine->timetable;
	uint32_t slots = 0;

	for (uint32_t index = 0; index < engine->active_count; index++) {
		struct connection *connection = engine_connection(engine, index);
		bool lives = connection->made && connection->state != CONNECTION_GONE &&
		             (connection->state != CONNECTION_CLOSING || connection->again);
		if (lives) {
			connection->slot = slots & INT32_MAX;
			t->slots[slots++] = index;
		}
	}
	return slots;
}

void timetable_start(struct engine *engine, uint64_t now, double rate_per_second, uint64_t connections_total,
                     uint64_t end_ns)
{
	struct timetable *t = &engine->timetable;
	bool running = t->next_due_ns != UINT64_MAX;
	double begin_ns = running ? (double)t->next_due_ns : (double)((now / START_GRID_NS + 1) * START_GRID_NS);

	t->end_ns = end_ns;
	if (running && !t->broken && t->rate_per_second == rate_per_second && t->connections_total == connections_total) {
		t->round_left = engine->phase == IB_PHASE_WARMUP ? t->round_left : 0;
		return;
	}
	/* Waiting messages belong to the old timetable, and to no window that is still open. */
	timetable_drop_all_waiting(engine);
	t->next_due_ns = UINT64_MAX;
	t->slot_count = slots_fill(engine);
	t->broken = false;
	t->rate_per_second = rate_per_second;
	t->connections_total = connections_total;
	if (t->slot_count == 0) {
		return;
	}
	double total =
	    connections_total >= t->slot_count ? (double)connections_total : (double)t->slot_count * engine->engine_count;
	t->interval_ns = 1e9 * total / (rate_per_second * t->slot_count);
	t->offset = offset_of(engine);
	/* A timetable that replaces another begins now, or with the earliest message that is overdue. */
	t->base_ns = base_of(engine, running && (double)now < begin_ns ? (double)now : begin_ns, t->interval_ns, t->offset);
	t->next = 0;
	t->round_first = 0;
	t->position = 0;
	t->next_due_ns = (uint64_t)(t->base_ns + t->offset * t->interval_ns);
	if (t->is_random) {
		t->round_left = engine->phase == IB_PHASE_WARMUP ? t->slot_count : 0;
		t->base_ns = begin_ns;
		t->elapsed_ns = running ? 0 : t->interval_ns * random_exponential(random_next(&t->random));
		t->next_due_ns = (uint64_t)(t->base_ns + t->elapsed_ns);
	}
	if (t->next_due_ns >= end_ns) {
		t->next_due_ns = UINT64_MAX;
	}
}

void timetable_stop(struct engine *engine)
{
	timetable_drop_all_waiting(engine);
	engine->timetable.next_due_ns = UINT64_MAX;
}

uint64_t timetable_drop_waiting(struct engine *engine, struct connection *connection)
{
	uint64_t dropped = 0;

	while (connection->waiting != 0) {
		dropped += engine_in_window(engine, engine_waiting_due_ns(engine, connection));
		engine_waiting_remove(engine, connection);
	}
	engine->block->window_errors += dropped;
	engine->block->window_unsent += dropped;
	return dropped;
}

uint64_t timetable_drop_all_waiting(struct engine *engine)
{
	uint64_t dropped = 0;

	for (uint32_t slot = 0; slot < engine->timetable.slot_count && engine->timetable.waiting != 0; slot++) {
		dropped += timetable_drop_waiting(engine, engine_connection(engine, engine->timetable.slots[slot]));
	}
	return dropped;
}

/*
 * A message that fell due while our own wait for a FIN delayed the new connection counts as due when that wait is over, because the
 * server did not cause the delay. It then counts in the window of that later time.
 */
uint64_t engine_held_due_ns(struct engine *engine, struct connection *connection, uint64_t due_ns, uint64_t now)
{
	uint64_t begun_ns = now - engine_since_begun_ns(engine, connection, now);

	if (connection->waiting == 1) {
		connection->held = 0;
	}
	if (due_ns >= begun_ns) {
		return due_ns;
	}
	engine->block->held += engine_in_window(engine, begun_ns);
	engine->block->window_offered += engine_in_window(engine, begun_ns);
	engine->block->window_offered -= engine_in_window(engine, due_ns);
	return begun_ns;
}

/* False: the due time cannot be kept, because there is no memory. */
static bool waiting_add(struct timetable *t, struct connection *connection, uint64_t due_ns)
{
	if (t->is_random) {
		uint32_t before = connection->waiting != 0 ? connection->slot : WAITING_NONE;
		uint32_t last = waiting_append(&t->pool, before, due_ns);

		if (last == WAITING_NONE) {
			return false;
		}
		connection->slot = last & INT32_MAX;
	}
	connection->waiting++;
	t->waiting++;
	return true;
}

bool timetable_wait_first(struct engine *engine, struct connection *connection, uint64_t due_ns)
{
	uint32_t last = connection->slot;
	bool was_waiting = connection->waiting != 0;

	if (!waiting_add(&engine->timetable, connection, due_ns)) {
		return false;
	}
	/* The list is circular: behind its last message is before its first. Even arrivals: the due times follow from the number of messages
	 * that wait, since these are the last ones of the connection. */
	if (engine->timetable.is_random && was_waiting) {
		connection->slot = last & INT32_MAX;
	}
	return true;
}

bool engine_timetable_miss(struct engine *engine, uint32_t index, uint64_t due_ns, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);
	bool lost = connection->state == CONNECTION_GONE || (connection->state == CONNECTION_CLOSING && !connection->again);
	bool in_window = engine_in_window(engine, due_ns);

	if (!lost && waiting_add(&engine->timetable, connection, due_ns)) {
		if (in_window && engine->open_loop_window) {
			histogram_record(&engine->block->turn_noticed, now > due_ns ? now - due_ns : 0);
		}
		return false;
	}
	engine->counters.errors[IB_ERROR_MEMORY] += !lost;
	if (in_window) {
		/* The loss itself is counted once, by its class. This counts the requests it cost. */
		engine->block->window_errors++;
		engine->block->window_unsent++;
		engine_count_bucket_errors(engine, 1, due_ns);
	}
	return false;
}

/* ---------------------------------------------------------------------------------------- think time */

void engine_think(struct engine *engine, uint32_t index, uint64_t now)
{
	struct queue *queue = &engine->thought_queue;

	if (queue->count == queue->capacity) {
		return; /* some of the queued pauses are stale, and each of them will release a message */
	}
	uint64_t at = queue->head + queue->count++;
	struct thought *thought = &engine->thoughts[at >= queue->capacity ? at - queue->capacity : at];
	thought->due_ns = now + engine->options.think_time_ns;
	thought->connection = index;
}

static bool next_thought(struct engine *engine, uint64_t now, uint32_t *index)
{
	struct queue *queue = &engine->thought_queue;

	while (queue->count != 0 && engine->thoughts[queue->head].due_ns <= now) {
		uint32_t at = (uint32_t)engine->thoughts[queue->head].connection;
		struct connection *connection = engine_connection(engine, at);

		queue->head = queue->head + 1 == queue->capacity ? 0 : queue->head + 1;
		queue->count--;
		if (connection->state == CONNECTION_LIVE && engine_room(engine, connection) != 0) {
			engine_release(engine, connection, now, now);
			*index = at;
			return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------------------------- beginning of a phase */

static bool next_kick(struct engine *engine, uint64_t now, uint32_t *index)
{
	while (engine->kick_cursor < engine->active_count && engine->kick_budget != 0) {
		uint32_t at = engine->kick_cursor++;
		struct connection *connection = engine_connection(engine, at);

		engine->kick_budget--;
		if (connection->state != CONNECTION_LIVE || engine_room(engine, connection) == 0) {
			continue;
		}
		for (uint32_t room = engine_room(engine, connection); room != 0; room--) {
			engine_release(engine, connection, now, now);
		}
		*index = at;
		return true;
	}
	return false;
}

static bool next_verification(struct engine *engine, uint64_t now, uint32_t *index)
{
	if (!engine->verify_ready) {
		return false;
	}
	while (engine->kick_cursor < engine->count && engine->kick_budget != 0 &&
	       engine->counters.outstanding < engine->options.connect_window) {
		uint32_t at = engine->kick_cursor++;
		struct connection *connection = engine_connection(engine, at);

		engine->kick_budget--;
		if (connection->state == CONNECTION_LIVE) {
			engine_release(engine, connection, now, now);
			*index = at;
			return true;
		}
	}
	return false;
}

bool engine_next_send_slow(struct engine *engine, uint64_t now, uint32_t *index)
{
	if (engine->mode == ENGINE_MODE_VERIFY) {
		return next_verification(engine, now, index);
	}
	return next_thought(engine, now, index) || next_kick(engine, now, index);
}
