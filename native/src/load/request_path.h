/*
 * request_path.h - the path of a request through the common half: a due message is released, filled and sent, and its echo is verified
 * and recorded. All functions are inline, so that each I/O half compiles to straight code. engine.h includes this file last and holds
 * the state and the contract with the I/O half.
 */
#ifndef LOAD_REQUEST_PATH_H
#define LOAD_REQUEST_PATH_H

#include "load/engine.h"

static inline struct connection *engine_connection(const struct engine *engine, uint32_t index)
{
	return (struct connection *)(void *)(engine->connections + (size_t)index * engine->connection_stride);
}

/* Number of the connection in the whole run. */
static inline uint64_t engine_connection_number(const struct engine *engine, uint32_t index)
{
	return (uint64_t)index * engine->engine_count + engine->engine_index;
}

static inline bool engine_in_window(const struct engine *engine, uint64_t at_ns)
{
	return at_ns - engine->window_start_ns < engine->window_length_ns;
}

static inline struct request *engine_ring_at(const struct engine *engine, struct connection *connection, uint32_t ahead)
{
	uint32_t at = connection->head + ahead;
	return &connection->ring[at >= engine->pipeline ? at - engine->pipeline : at];
}

/* With nothing in flight: holds the time of the last traffic, see struct request. */
static inline struct request *engine_last_request(const struct engine *engine, struct connection *connection)
{
	return engine_ring_at(engine, connection, engine->pipeline - 1);
}

/* Churn: has had all of its requests, but was not closed for it because nothing more had to be sent in that phase. */
static inline bool engine_is_ripe(const struct engine *engine, struct connection *connection)
{
	return engine->churn_requests != 0 && connection->state == CONNECTION_LIVE && connection->queued_ahead == 0 &&
	       connection->received % engine->churn_requests == 0 &&
	       engine_last_request(engine, connection)->intended_ns != REQUEST_NONE;
}

/* How many messages may be in flight now: churn ends a connection at a whole number of requests. */
static inline uint32_t engine_room(const struct engine *engine, struct connection *connection)
{
	uint32_t allowed = engine->in_flight_most;

	if (unlikely(engine->churn_requests != 0)) {
		uint64_t left = engine->churn_requests - connection->received % engine->churn_requests;
		allowed = left < allowed ? (uint32_t)left : allowed;
		allowed = engine_is_ripe(engine, connection) ? 0 : allowed;
	}
	return connection->queued_ahead < allowed ? allowed - connection->queued_ahead : 0;
}

/* Releases one message. There must be room for it. `lags` is the histogram for its send lag. */
static inline void engine_release_late(struct engine *engine, struct connection *connection, uint64_t intended_ns,
                                       uint64_t now, struct ib_histogram *lags)
{
	struct request *request = engine_ring_at(engine, connection, connection->queued_ahead);

	ib_assert(connection->queued_ahead < engine->pipeline);
	ib_assert(connection->state == CONNECTION_FIRST || connection->state == CONNECTION_LIVE);
	request->sent_ns = now;
	request->intended_ns = intended_ns;
	connection->queued_ahead++;
	engine->counters.outstanding++;
	if (engine->open_loop_window && engine_in_window(engine, intended_ns)) {
		uint64_t lag_ns = now > intended_ns ? now - intended_ns : 0;
		histogram_record(lags, lag_ns);
		engine->block->window_sent_late += lag_ns > NS_PER_MS;
	} else if (!engine->open_loop_window) {
		engine->block->window_offered += engine_in_window(engine, intended_ns);
	}
}

/* The same for a message that did not wait for its turn. */
static inline void engine_release(struct engine *engine, struct connection *connection, uint64_t intended_ns,
                                  uint64_t now)
{
	engine_release_late(engine, connection, intended_ns, now, &engine->block->send_lag);
}

/* When the oldest waiting message of a connection was due. Even arrivals: m = slot, counted back from the current round. */
static inline uint64_t engine_waiting_due_ns(const struct engine *engine, const struct connection *connection)
{
	const struct timetable *t = &engine->timetable;
	uint64_t latest = t->round_first + connection->slot;

	if (t->is_random) {
		return waiting_first_due_ns(&t->pool, connection->slot);
	}

	if (connection->slot >= t->position) {
		latest -= t->slot_count;
	}
	latest -= (uint64_t)(connection->waiting - 1) * t->slot_count;
	return (uint64_t)(t->base_ns + ((double)latest + t->offset) * t->interval_ns);
}

/* The oldest waiting message of a connection no longer waits. */
static inline void engine_waiting_remove(struct engine *engine, struct connection *connection)
{
	if (engine->timetable.is_random) {
		waiting_remove_first(&engine->timetable.pool, connection->slot);
	}
	ib_count_down(connection->waiting, 1);
	ib_count_down(engine->timetable.waiting, 1);
}

/* The due time of a message that waited because we awaited a FIN that did not come. */
uint64_t engine_held_due_ns(struct engine *engine, struct connection *connection, uint64_t due_ns, uint64_t now);

static inline void engine_release_waiting(struct engine *engine, struct connection *connection, uint64_t now)
{
	uint64_t due_ns = engine_waiting_due_ns(engine, connection);

	if (unlikely(connection->held)) {
		due_ns = engine_held_due_ns(engine, connection, due_ns, now);
	}
	engine_waiting_remove(engine, connection);
	engine_release_late(engine, connection, due_ns, now, &engine->block->turn_lag);
}

/* The connection of the next message, as its place in slots[], and the time of the one after it. */
static inline uint32_t engine_timetable_take(struct timetable *t)
{
	uint32_t position = t->position;

	t->next++;
	if (t->is_random) {
		if (likely(t->round_left == 0)) {
			position = random_below(random_next(&t->random), t->slot_count);
		} else {
			t->round_left--;
			t->position++;
		}
		t->elapsed_ns += t->interval_ns * random_exponential(random_next(&t->random));
		t->next_due_ns = (uint64_t)(t->base_ns + t->elapsed_ns);
		return position;
	}
	if (++t->position == t->slot_count) {
		t->position = 0;
		t->round_first = t->next;
	}
	t->next_due_ns = (uint64_t)(t->base_ns + ((double)t->next + t->offset) * t->interval_ns);
	return position;
}

/* Takes the next message from the timetable. False if its connection cannot send it now. */
bool engine_timetable_miss(struct engine *engine, uint32_t index, uint64_t due_ns, uint64_t now);
static inline bool engine_timetable_step(struct engine *engine, uint64_t now, uint32_t *index)
{
	struct timetable *t = &engine->timetable;
	uint64_t due_ns = t->next_due_ns;
	uint32_t at = t->slots[engine_timetable_take(t)];
	struct connection *connection = engine_connection(engine, at);

	if (t->next_due_ns >= t->end_ns) {
		t->next_due_ns = UINT64_MAX;
	}
	engine->block->window_offered += engine_in_window(engine, due_ns);
	if (connection->waiting != 0 || engine_room(engine, connection) == 0 || connection->state != CONNECTION_LIVE) {
		return engine_timetable_miss(engine, at, due_ns, now);
	}
	engine_release(engine, connection, due_ns, now);
	*index = at;
	return true;
}

/* A message released on a blocked connection is sent when the connection is no longer blocked. */
static inline bool engine_next_send(struct engine *engine, uint64_t now, uint32_t *index)
{
	while (engine->timetable.next_due_ns <= now && engine->kick_budget != 0) {
		engine->kick_budget--;
		if (engine_timetable_step(engine, now, index) && !engine_connection(engine, *index)->blocked) {
			return true;
		}
	}
	while (engine->mode != ENGINE_MODE_OPEN && engine->mode != ENGINE_MODE_NONE &&
	       engine_next_send_slow(engine, now, index)) {
		if (!engine_connection(engine, *index)->blocked) {
			return true;
		}
	}
	return false;
}

/* Bytes that are released but not yet accepted by the system. */
static inline size_t engine_to_send(const struct engine *engine, const struct connection *connection)
{
	size_t bytes = (size_t)(connection->queued_ahead - connection->sent_ahead) * engine->message_size_bytes -
	               connection->sent_bytes;

	return likely(engine->hello_bytes == 0) ? bytes : bytes + exchange_hello_left(engine, connection);
}

static inline struct payload_place engine_place(const struct engine *engine, uint32_t index, uint64_t sequence,
                                                uint32_t position)
{
	uint64_t number = engine_connection_number(engine, index);
	return (struct payload_place){
	    .key = payload_key(engine->seed, number),
	    .connection = number,
	    .sequence = sequence,
	    .position = position,
	    .message_size_bytes = engine->message_size_bytes,
	};
}

/* Writes the next bytes to send, at most `capacity`. Returns how many. */
static inline size_t engine_fill(const struct engine *engine, uint32_t index, uint8_t *out, size_t capacity)
{
	if (unlikely(engine->exchange != NULL)) {
		return exchange_fill(engine, index, out, capacity);
	}
	const struct connection *connection = engine_connection(engine, index);
	size_t length = engine_to_send(engine, connection);
	struct payload_place place = engine_place(
	    engine, index, connection->received + (uint64_t)(int64_t)connection->sent_ahead, connection->sent_bytes);

	length = length < capacity ? length : capacity;
	for (size_t at = 0; at < length;) {
		size_t part = engine->message_size_bytes - place.position;
		part = part < length - at ? part : length - at;
		payload_message_fill(out + at, part, &place);
		at += part;
		place.sequence++;
		place.position = 0;
	}
	return length;
}

/* The system accepted `bytes` of the bytes that engine_fill() wrote. */
static inline void engine_sent(struct engine *engine, uint32_t index, size_t bytes)
{
	struct connection *connection = engine_connection(engine, index);
	uint32_t size = engine->message_size_bytes;

	engine->counters.bytes_sent += bytes;
	if (unlikely(engine->hello_bytes != 0)) {
		bytes = exchange_hello_sent(engine, index, bytes);
	}
	uint64_t sent = (uint64_t)connection->sent_bytes + bytes;
	while (sent >= size) {
		sent -= size;
		connection->sent_ahead++;
	}
	connection->sent_bytes = (uint32_t)sent;
	/* A send that completes after the connection was given up is of no more interest. */
	ib_assert(connection->state != CONNECTION_LIVE || connection->sent_ahead <= (int)connection->queued_ahead);
}

/* Records a complete and right echo. */
static inline void engine_record(struct engine *engine, struct connection *connection, const struct request *request,
                                 uint64_t service_ns, uint64_t now)
{
	struct ib_engine_block *block = engine->block;
	uint64_t intended_ns = request->intended_ns;
	uint64_t response_ns = engine->open_loop_window ? (now > intended_ns ? now - intended_ns : 0) : 0;

	if (now < engine->window_start_ns) {
		return;
	}
	if (now >= engine->bucket_end_ns) {
		engine_bucket_advance(engine, now);
	}
	engine->bucket->requests++;
	engine->bucket->service_max_ns =
	    service_ns > engine->bucket->service_max_ns ? service_ns : engine->bucket->service_max_ns;
	engine->bucket->response_max_ns =
	    response_ns > engine->bucket->response_max_ns ? response_ns : engine->bucket->response_max_ns;
	block->window_completions += engine_in_window(engine, now);
	if (!engine_in_window(engine, intended_ns)) {
		return;
	}
	block->window_requests++;
	connection->window_requests++;
	histogram_record(&block->service, service_ns);
	if (engine->open_loop_window) {
		histogram_record(&block->response, response_ns);
	}
}

/* Decides what follows an echo: the next message, a pause, or the end of the connection. */
static inline enum engine_verdict engine_continue(struct engine *engine, uint32_t index, struct connection *connection,
                                                  uint64_t now)
{
	if (unlikely(engine->churn_requests != 0) && connection->received % engine->churn_requests == 0 &&
	    engine->mode != ENGINE_MODE_VERIFY && engine->phase != IB_PHASE_CONNECT) {
		connection->state = CONNECTION_CLOSING;
		connection->again = 1;
		connection->ring[0].sent_ns = now;
		engine->closing++;
		engine->pending_again++;
		return ENGINE_CLOSE;
	}
	if (engine->mode == ENGINE_MODE_CLOSED && index < engine->active_count) {
		if (unlikely(engine->options.think_time_ns != 0)) {
			engine_think(engine, index, now);
		} else if (engine_room(engine, connection) != 0) {
			engine_release(engine, connection, now, now);
			return ENGINE_IDLE;
		}
	} else if (connection->waiting != 0 && engine_room(engine, connection) != 0) {
		engine_release_waiting(engine, connection, now);
		return ENGINE_IDLE;
	}
	engine_last_request(engine, connection)->sent_ns = now;
	return ENGINE_IDLE;
}

/* The oldest request in flight has its whole reply. */
static inline void engine_answered(struct engine *engine, struct connection *connection)
{
	connection->received++;
	ib_count_down(connection->queued_ahead, 1);
	connection->sent_ahead--;
	connection->head = (uint16_t)(connection->head + 1u == engine->pipeline ? 0 : connection->head + 1u);
	ib_count_down(engine->counters.outstanding, 1);
}

/* A reply came on the connection, which is made by the first one. */
static inline void engine_replied(struct engine *engine, uint32_t index, struct connection *connection, uint64_t now)
{
	if (unlikely(connection->state != CONNECTION_LIVE)) {
		engine_made(engine, index, now);
	}
	if (unlikely(connection->epoch != engine->epoch)) {
		connection->epoch = engine->epoch;
		engine->counters.echoed += index < engine->active_count || engine->mode == ENGINE_MODE_VERIFY;
	}
}

/* One echo is complete and right. */
static inline enum engine_verdict engine_echo(struct engine *engine, uint32_t index, struct connection *connection,
                                              uint64_t now)
{
	struct request *request = &connection->ring[connection->head];
	uint64_t service_ns = now > request->sent_ns ? now - request->sent_ns : 0;

	if (unlikely(service_ns > engine->timeout_ns)) {
		return engine_timed_out(engine, index, now);
	}
	engine_answered(engine, connection);
	engine->counters.completed++;
	engine_record(engine, connection, request, service_ns, now);
	engine_replied(engine, index, connection, now);
	return engine_continue(engine, index, connection, now);
}

/* `length` bytes came on the connection. They are verified in place. */
static inline enum engine_verdict engine_received(struct engine *engine, uint32_t index, const uint8_t *bytes,
                                                  size_t length, uint64_t now)
{
	if (unlikely(engine->exchange != NULL)) {
		return exchange_received(engine, index, bytes, length, now);
	}
	struct connection *connection = engine_connection(engine, index);
	struct payload_place place = engine_place(engine, index, connection->received, connection->received_bytes);

	engine->counters.bytes_received += length;
	while (length != 0) {
		size_t part = engine->message_size_bytes - place.position;

		part = part < length ? part : length;
		if (unlikely(connection->queued_ahead == 0 || !payload_message_matches(bytes, part, &place))) {
			return engine_data_error(engine, index, bytes, length, now);
		}
		bytes += part;
		length -= part;
		place.position += (uint32_t)part;
		if (place.position == engine->message_size_bytes) {
			place.position = 0;
			place.sequence++;
			if (unlikely(engine_echo(engine, index, connection, now) == ENGINE_CLOSE)) {
				connection->received_bytes = 0;
				return ENGINE_CLOSE;
			}
		}
		connection->received_bytes = place.position;
	}
	return !connection->blocked && engine_to_send(engine, connection) != 0 ? ENGINE_SEND : ENGINE_IDLE;
}

#endif /* LOAD_REQUEST_PATH_H */
