/*
 * connections.c - the life of a connection apart from its requests: begun, connected, made, failed or lost, closed, begun again.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "load/engine.h"

/* A FIN that the peer does not answer would hold up the end of the run, so after this time the connection is reset. */
#define FIN_LONGEST_NS NS_PER_S
/* Only the first few errors of each class are kept, so that many of one class do not hide the others. */
#define SAMPLES_PER_CLASS 3

/* ------------------------------------------------------------------------------------------- connect */

uint64_t engine_connect_due_ns(const struct engine *engine)
{
	double rate_per_second = engine->options.connect_rate_per_second;
	uint64_t number = engine_connection_number(engine, engine->connect_cursor);

	if (rate_per_second <= 0) {
		return engine->phase_started_ns;
	}
	return engine->phase_started_ns + (uint64_t)(1e9 * (double)number / rate_per_second);
}

uint64_t engine_since_begun_ns(const struct engine *engine, const struct connection *connection, uint64_t now)
{
	uint32_t elapsed = (uint32_t)(now >> engine->stamp_shift) - connection->connect_stamp;
	return (uint64_t)elapsed << engine->stamp_shift;
}

static void connection_begin(struct engine *engine, uint32_t index, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);

	ib_assert(connection->state == CONNECTION_NEW);
	ib_assert(connection->queued_ahead == 0);
	connection->state = CONNECTION_CONNECTING;
	connection->again = 0;
	connection->forced = 0;
	connection->blocked = 0;
	connection->head = 0;
	connection->queued_ahead = 0;
	connection->sent_ahead = 0;
	connection->sent_bytes = 0;
	connection->received_bytes = 0;
	connection->ring[0].sent_ns = now;
	connection->connect_stamp = (uint32_t)(now >> engine->stamp_shift);
	if (engine->exchange != NULL) {
		exchange_begin(engine, index);
	}
	engine->awaiting++;
	engine->open++;
	engine->counters.connects_begun++;
	if (!connection->made) {
		engine->counters.started++;
	}
	if (engine->counters.connect_first_ns == 0) {
		engine->counters.connect_first_ns = now;
	}
}

bool engine_begins_again(const struct engine *engine)
{
	return engine->mode == ENGINE_MODE_CLOSED || engine->mode == ENGINE_MODE_OPEN ||
	       (engine->mode == ENGINE_MODE_VERIFY && !engine->verify_ready);
}

bool engine_next_connect(struct engine *engine, uint64_t now, uint32_t *index)
{
	struct queue *queue = &engine->again_queue;

	if (engine->awaiting >= engine->options.connect_window || engine->phase == IB_PHASE_CLOSE) {
		return false;
	}
	if (queue->count != 0 && engine_begins_again(engine)) {
		*index = engine->again[queue->head];
		queue->head = queue->head + 1 == queue->capacity ? 0 : queue->head + 1;
		queue->count--;
		ib_count_down(engine->pending_again, 1);
	} else if (engine->phase == IB_PHASE_CONNECT && engine->connect_cursor < engine->count &&
	           engine_connect_due_ns(engine) <= now) {
		*index = engine->connect_cursor++;
	} else {
		return false;
	}
	connection_begin(engine, *index, now);
	return true;
}

struct engine_route engine_route(const struct engine *engine, uint32_t index)
{
	const struct ib_engine_options *options = &engine->options;
	uint64_t number = engine_connection_number(engine, index);
	struct engine_route route = {.target = &engine->targets[number % options->address_count]};

	if (options->source_address_count == 0) {
		return route;
	}
	if (options->source_port_count == 0) {
		route.source_address = options->source_address_first + (uint32_t)(number % options->source_address_count);
		return route;
	}
	route.source_address =
	    options->source_address_first + (uint32_t)(number / options->source_port_count % options->source_address_count);
	route.source_port = options->source_port_first + (uint32_t)(number % options->source_port_count);
	return route;
}

enum engine_verdict engine_connected(struct engine *engine, uint32_t index, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);
	uint64_t began_ns = connection->ring[0].sent_ns;

	histogram_record(&engine->block->connect, now > began_ns ? now - began_ns : 0);
	ib_assert(connection->state == CONNECTION_CONNECTING);
	connection->state = CONNECTION_FIRST;
	return unlikely(engine->tls != NULL) ? wire_tls_connected(engine, index, now) : engine_ready(engine, index, now);
}

enum engine_verdict engine_ready(struct engine *engine, uint32_t index, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);

	if (engine->exchange != NULL && exchange_connected(engine, index)) {
		connection->ring[0].sent_ns = now;
		return engine_to_send(engine, connection) != 0 ? ENGINE_SEND : ENGINE_IDLE;
	}
	return engine_requests_begin(engine, index, now);
}

enum engine_verdict engine_requests_begin(struct engine *engine, uint32_t index, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);

	if (!connection->made || (engine->mode == ENGINE_MODE_CLOSED && index < engine->active_count)) {
		engine_release(engine, connection, now, now);
		return ENGINE_SEND;
	}
	if (connection->waiting != 0) {
		engine_release_waiting(engine, connection, now);
		return ENGINE_SEND;
	}
	/* Begun again with nothing to send yet. It becomes live without sending an extra message. */
	connection->state = CONNECTION_LIVE;
	connection->held = 0;
	*engine_last_request(engine, connection) = (struct request){.sent_ns = now, .intended_ns = REQUEST_NONE};
	ib_count_down(engine->awaiting, 1);
	engine->block->reconnects += engine_in_window(engine, now);
	return ENGINE_IDLE;
}

void engine_made(struct engine *engine, uint32_t index, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);

	connection->state = CONNECTION_LIVE;
	ib_count_down(engine->awaiting, 1);
	histogram_record(&engine->block->first_echo, engine_since_begun_ns(engine, connection, now));
	if (!connection->made) {
		connection->made = 1;
		engine->counters.made++;
		engine->counters.live++;
		engine->counters.active += index < engine->active_count;
		engine->counters.connect_last_ns = now;
		return;
	}
	engine->block->reconnects += engine_in_window(engine, now);
	/* Fill the pipeline except for the last place, which engine_continue() fills after every echo. */
	while (engine->mode == ENGINE_MODE_CLOSED && index < engine->active_count && engine_room(engine, connection) > 1) {
		engine_release(engine, connection, now, now);
	}
}

/* ------------------------------------------------------------------------------------ failure and loss */

/* The next free sample, with only its numbers filled in. NULL if this class has all its samples. */
static struct ib_error_sample *sample_open(struct engine *engine, uint32_t index, enum ib_error_class error_class,
                                           int os_code, uint64_t now)
{
	struct ib_engine_block *block = engine->block;

	if (block->error_samples_count == IB_ERROR_SAMPLES || engine->samples_by_class[error_class] == SAMPLES_PER_CLASS) {
		return NULL;
	}
	struct ib_error_sample *out = &block->samples[block->error_samples_count];

	memset(out, 0, sizeof *out);
	out->error_class = error_class;
	out->os_code = os_code;
	out->connection = engine_connection_number(engine, index);
	out->at_ns = now;
	out->protocol = engine->exchange == NULL ? IB_PROTOCOL_ECHO : engine->exchange->options.protocol;
	return out;
}

/* The sample is complete: readers may see it from here on. */
static void sample_close(struct engine *engine, const struct ib_error_sample *sample)
{
	struct ib_engine_block *block = engine->block;

	engine->samples_by_class[sample->error_class]++;
	__atomic_store_n(&block->error_samples_count, block->error_samples_count + 1, __ATOMIC_RELEASE);
}

__attribute__((format(printf, 6, 7))) static void sample(struct engine *engine, uint32_t index,
                                                         enum ib_error_class error_class, int os_code, uint64_t now,
                                                         const char *format, ...)
{
	struct ib_error_sample *out = sample_open(engine, index, error_class, os_code, now);
	va_list arguments;

	if (out == NULL) {
		return;
	}
	va_start(arguments, format);
	vsnprintf(out->message, sizeof out->message, format, arguments);
	va_end(arguments);
	sample_close(engine, out);
}

/* Removes the requests in flight of a connection from the counts, as errors. Returns how many there were. */
static uint32_t requests_abandon(struct engine *engine, struct connection *connection)
{
	uint32_t requests = connection->queued_ahead;

	for (uint32_t ahead = 0; ahead < requests; ahead++) {
		engine->block->window_errors +=
		    engine_in_window(engine, engine_ring_at(engine, connection, ahead)->intended_ns);
	}
	ib_count_down(engine->counters.outstanding, requests);
	connection->queued_ahead = 0;
	connection->sent_ahead = 0;
	connection->sent_bytes = 0;
	return requests;
}

/*
 * The requests in flight were not served, because the server ended the connection after an earlier one, as it may. In the open loop they
 * wait again, in front of those that are due. In the closed loop they count as not sent: the new connection begins with new ones.
 */
static void requests_withdraw(struct engine *engine, struct connection *connection)
{
	uint32_t requests = connection->queued_ahead;

	for (uint32_t ahead = requests; ahead-- != 0;) {
		uint64_t intended_ns = engine_ring_at(engine, connection, ahead)->intended_ns;
		if (engine->mode == ENGINE_MODE_OPEN && timetable_wait_first(engine, connection, intended_ns)) {
			continue;
		}
		if (engine->mode == ENGINE_MODE_OPEN || engine->open_loop_window) {
			engine->counters.errors[IB_ERROR_CLOSED_EARLY]++;
			engine->block->window_errors += engine_in_window(engine, intended_ns);
		} else {
			engine->block->window_offered -= engine_in_window(engine, intended_ns);
		}
	}
	ib_count_down(engine->counters.outstanding, requests);
	connection->queued_ahead = 0;
	connection->sent_ahead = 0;
	connection->sent_bytes = 0;
}

/* Closing or closed already: by us, or after an error that has been counted. */
static bool is_over(const struct connection *connection)
{
	return connection->state == CONNECTION_CLOSING || connection->state == CONNECTION_GONE ||
	       connection->state == CONNECTION_NEW;
}

static void connection_closing(struct engine *engine, struct connection *connection, uint64_t now)
{
	if (connection->state == CONNECTION_CONNECTING || connection->state == CONNECTION_FIRST) {
		ib_count_down(engine->awaiting, 1);
	}
	ib_assert(!is_over(connection));
	connection->state = CONNECTION_CLOSING;
	connection->ring[0].sent_ns = now;
	engine->closing++;
}

static void live_count_drop(struct engine *engine, uint32_t index)
{
	struct connection *connection = engine_connection(engine, index);

	ib_count_down(engine->counters.live, 1);
	if (index < engine->active_count) {
		ib_count_down(engine->counters.active, 1);
		engine->timetable.broken = true;
	}
	if (connection->epoch == engine->epoch && (index < engine->active_count || engine->mode == ENGINE_MODE_VERIFY)) {
		ib_count_down(engine->counters.echoed, 1);
	}
}

static void connection_fail(struct engine *engine, uint32_t index, enum ib_error_class error_class, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);
	uint64_t requests = requests_abandon(engine, connection);
	/* A connection that fails with nothing in flight is one error. Otherwise each request in flight is one. */
	uint64_t errors = requests != 0 ? requests : 1;

	timetable_drop_waiting(engine, connection);
	engine->counters.errors[error_class] += errors;
	engine_count_bucket_errors(engine, errors, now);
	if (connection->made) {
		engine->counters.lost++;
		live_count_drop(engine, index);
	} else {
		engine->counters.failed++;
	}
	connection_closing(engine, connection, now);
}

/* Whether the code is the server's FIN (0) or its reset. */
static bool is_servers_end(int os_code)
{
	enum socket_condition condition = socket_condition_of(os_code);
	return os_code == 0 || condition == SOCKET_RESET || condition == SOCKET_ABORTED;
}

static enum ib_error_class class_of(const struct connection *connection, int os_code)
{
	bool ended = is_servers_end(os_code);

	/* connect() succeeds before the server accepts, so a connection that ends before its first echo was never served. */
	if (ended && connection->state != CONNECTION_LIVE) {
		return IB_ERROR_REFUSED_BY_SERVER;
	}
	return os_code == 0 ? IB_ERROR_CLOSED_EARLY : socket_error_class(os_code);
}

enum engine_verdict engine_ended_by_reply(struct engine *engine, uint32_t index, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);

	requests_withdraw(engine, connection);
	connection_closing(engine, connection, now);
	connection->again = 1;
	connection->forced = 1;
	engine->pending_again++;
	engine->counters.ended_by_reply++;
	return ENGINE_CLOSE;
}

/* Echoes since the connection was last made. */
static uint64_t echoes_of(const struct engine *engine, uint32_t index)
{
	struct connection *connection = engine_connection(engine, index);

	if (engine->exchange != NULL) {
		return engine->exchange->connections[index].answered;
	}
	if (engine->churn_requests == 0) {
		return connection->received;
	}
	return engine_is_ripe(engine, connection) ? engine->churn_requests : connection->received % engine->churn_requests;
}

static void extend(uint64_t *least, uint64_t *most, bool first, uint64_t value)
{
	*least = first || value < *least ? value : *least;
	*most = first || value > *most ? value : *most;
}

/* Counts how the server ended a live connection: for being idle, or after how many echoes. Returns the error class. */
static enum ib_error_class servers_end(struct engine *engine, uint32_t index, int os_code, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);
	struct engine_counters *counters = &engine->counters;
	uint64_t last_ns = engine_last_request(engine, connection)->sent_ns;
	uint64_t quiet_ns = connection->queued_ahead == 0 && now > last_ns ? now - last_ns : 0;

	if (quiet_ns >= IB_IDLE_LEAST_NS) {
		extend(&counters->closed_idle_min_ns, &counters->closed_idle_max_ns, counters->closed_idle == 0, quiet_ns);
		counters->closed_idle++;
		counters->closed_idle_active += index < engine->active_count;
		return IB_ERROR_CLOSED_IDLE;
	}
	extend(&counters->ended_echoes_min, &counters->ended_echoes_max, counters->ended == 0, echoes_of(engine, index));
	counters->ended++;
	return class_of(connection, os_code);
}

/* The server closed a connection that had all of its requests. That is its planned end, as if we had closed it. */
static void ended_as_planned(struct engine *engine, struct connection *connection, uint64_t now)
{
	connection_closing(engine, connection, now);
	connection->again = 1;
	connection->forced = 1;
	engine->pending_again++;
}

enum engine_verdict engine_failed(struct engine *engine, uint32_t index, int os_code, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);

	if (is_over(connection)) {
		return ENGINE_CLOSE;
	}
	if (is_servers_end(os_code) && engine_is_ripe(engine, connection)) {
		ended_as_planned(engine, connection, now);
		return ENGINE_CLOSE;
	}
	if (engine->exchange != NULL && os_code == 0 && exchange_ended(engine, index, now)) {
		return ENGINE_CLOSE;
	}
	if (wire_tls_is_handshaking(engine, index) && is_servers_end(os_code)) {
		return engine_failed_because(engine, index, IB_ERROR_TLS_HANDSHAKE, os_code, now,
		                             os_code == 0 ? "closed by the server during the TLS handshake"
		                                          : "reset by the server during the TLS handshake");
	}
	bool was_served = connection->state == CONNECTION_LIVE && is_servers_end(os_code);
	enum ib_error_class error_class =
	    was_served ? servers_end(engine, index, os_code, now) : class_of(connection, os_code);
	const char *what = os_code == 0 ? "closed by the server" : error_text(os_code);
	uint64_t number = engine_connection_number(engine, index);

	if (connection->state == CONNECTION_CONNECTING) {
		sample(engine, index, error_class, os_code, now, "connection %" PRIu64 ": connect: %s", number, what);
	} else if (connection->state == CONNECTION_FIRST) {
		sample(engine, index, error_class, os_code, now, "connection %" PRIu64 ": %s before its first %s", number, what,
		       engine->exchange == NULL ? "echo" : "reply");
	} else {
		sample(engine, index, error_class, os_code, now,
		       "connection %" PRIu64 ": %s after %" PRIu64 " %s, %u in flight", number, what, connection->received,
		       engine->exchange == NULL ? "echoes" : "replies", connection->queued_ahead);
	}
	connection_fail(engine, index, error_class, now);
	return ENGINE_CLOSE;
}

enum engine_verdict engine_failed_because(struct engine *engine, uint32_t index, enum ib_error_class error_class,
                                          int os_code, uint64_t now, const char *reason)
{
	if (!is_over(engine_connection(engine, index))) {
		sample(engine, index, error_class, os_code, now, "connection %" PRIu64 ": %s",
		       engine_connection_number(engine, index), reason);
		connection_fail(engine, index, error_class, now);
	}
	return ENGINE_CLOSE;
}

/* Keeps the first bytes of a wrong reply and the expected ones. They often show what kind of server sent it. */
static void sample_reply(struct ib_error_sample *out, const uint8_t *bytes, size_t length,
                         const struct payload_place *place, bool is_request_out)
{
	size_t expected = is_request_out ? place->message_size_bytes - place->position : 0;

	out->received_bytes = (uint32_t)(length < sizeof out->received ? length : sizeof out->received);
	memcpy(out->received, bytes, out->received_bytes);
	out->expected_bytes = (uint32_t)(expected < sizeof out->expected ? expected : sizeof out->expected);
	payload_message_fill((uint8_t *)out->expected, out->expected_bytes, place);
	out->reply_position = place->position;
}

enum engine_verdict engine_data_error(struct engine *engine, uint32_t index, const uint8_t *bytes, size_t length,
                                      uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);
	struct payload_place place = engine_place(engine, index, connection->received, connection->received_bytes);
	size_t rest = place.message_size_bytes - place.position;
	bool is_request_out = connection->queued_ahead != 0;

	if (is_over(connection)) {
		return ENGINE_CLOSE;
	}
	struct ib_error_sample *out = sample_open(engine, index, IB_ERROR_DATA, 0, now);
	if (out != NULL) {
		if (is_request_out) {
			const struct payload_slice slice = {bytes, length < rest ? length : rest};
			payload_explain(out->message, sizeof out->message, &slice, &place, engine->seed, engine->pipeline);
		} else {
			snprintf(out->message, sizeof out->message,
			         "connection %" PRIu64 ": %zu bytes came while no request was outstanding", place.connection,
			         length);
		}
		sample_reply(out, bytes, length, &place, is_request_out);
		sample_close(engine, out);
	}
	engine->counters.data_errors++;
	connection_fail(engine, index, IB_ERROR_DATA, now);
	return ENGINE_CLOSE;
}

enum engine_verdict engine_reply_wrong(struct engine *engine, uint32_t index, enum ib_error_class error_class,
                                       const char *reason, const uint8_t *bytes, size_t length, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);

	if (is_over(connection)) {
		return ENGINE_CLOSE;
	}
	struct ib_error_sample *out = sample_open(engine, index, error_class, 0, now);
	if (out != NULL) {
		snprintf(out->message, sizeof out->message, "connection %" PRIu64 ": %s",
		         engine_connection_number(engine, index), reason);
		out->received_bytes = (uint32_t)(length < sizeof out->received ? length : sizeof out->received);
		memcpy(out->received, bytes, out->received_bytes);
		sample_close(engine, out);
	}
	connection_fail(engine, index, error_class, now);
	return ENGINE_CLOSE;
}

void engine_request_failed(struct engine *engine, uint32_t index, enum ib_error_class error_class, const char *reason,
                           uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);

	sample(engine, index, error_class, 0, now, "connection %" PRIu64 ": %s", engine_connection_number(engine, index),
	       reason);
	engine->block->window_errors += engine_in_window(engine, connection->ring[connection->head].intended_ns);
	engine->counters.errors[error_class]++;
	engine_count_bucket_errors(engine, 1, now);
	engine_answered(engine, connection);
}

enum engine_verdict engine_timed_out(struct engine *engine, uint32_t index, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);
	uint64_t number = engine_connection_number(engine, index);

	if (connection->state == CONNECTION_CONNECTING) {
		sample(engine, index, IB_ERROR_TIMEOUT, 0, now, "connection %" PRIu64 ": not connected within the timeout",
		       number);
	} else if (wire_tls_is_handshaking(engine, index)) {
		sample(engine, index, IB_ERROR_TIMEOUT, 0, now,
		       "connection %" PRIu64 ": the TLS handshake was not complete within the timeout", number);
	} else {
		sample(engine, index, IB_ERROR_TIMEOUT, 0, now,
		       "connection %" PRIu64 ": no complete %s request %" PRIu64 " within the timeout (%" PRIu32 " bytes came)",
		       number, engine->exchange == NULL ? "echo of" : "reply to", connection->received,
		       connection->received_bytes);
	}
	connection_fail(engine, index, IB_ERROR_TIMEOUT, now);
	return ENGINE_CLOSE;
}

/* --------------------------------------------------------------------------------------------- close */

/*
 * A server that has left one FIN unanswered and answered none will not answer the others either. Waiting for each of them must not limit
 * the load.
 */
static bool fins_are_pointless(const struct engine *engine)
{
	return engine->counters.fins_unanswered != 0 && engine->fins_answered == 0;
}

enum engine_close_way engine_close_way(const struct engine *engine, uint32_t index)
{
	const struct connection *connection = engine_connection(engine, index);

	if (!engine->fin || !connection->again) {
		return ENGINE_CLOSE_RESET;
	}
	if (connection->forced) {
		return ENGINE_CLOSE_BOTH;
	}
	return fins_are_pointless(engine) ? ENGINE_CLOSE_RESET : ENGINE_CLOSE_FIN;
}

static uint8_t message_byte(const struct payload_place *place, uint32_t position)
{
	struct payload_place one = *place;
	uint8_t byte;

	one.position = position;
	payload_message_fill(&byte, 1, &one);
	return byte;
}

/* Whether any of the bytes [from, to) of a message is `value`. */
static bool message_has(const struct payload_place *place, uint32_t from, uint32_t to, uint8_t value)
{
	for (uint32_t at = from; at < to; at++) {
		if (message_byte(place, at) == value) {
			return true;
		}
	}
	return false;
}

/* Messages are nearly random, so a longer stretch without a given byte is not expected. */
#define STRETCH_LONGEST_BYTES 4096u

/* Counts where the echo of the oldest message stopped: where a server that reads lines or C strings would stop, or elsewhere. */
static void timeout_place_count(struct engine *engine, uint32_t index)
{
	struct engine_counters *counters = &engine->counters;
	struct connection *connection = engine_connection(engine, index);
	struct payload_place place = engine_place(engine, index, connection->received, 0);
	uint32_t came = connection->received_bytes;
	uint32_t size = place.message_size_bytes;

	bool at_newline = (came == 0 || message_byte(&place, came - 1) == '\n') && size - came <= STRETCH_LONGEST_BYTES &&
	                  !message_has(&place, came, size, '\n');
	bool at_zero = message_byte(&place, came) == 0 && came <= STRETCH_LONGEST_BYTES && !message_has(&place, 0, came, 0);
	counters->timeouts_at_newline += at_newline && came != 0;
	counters->timeouts_off_newline += !at_newline;
	counters->timeouts_at_zero += at_zero && came != 0;
	counters->timeouts_off_zero += !at_zero;
}

/* The peer's FIN did not come in time. */
static void fin_unanswered(struct engine *engine, struct connection *connection, uint64_t since_ns, uint64_t now)
{
	uint64_t end_ns = engine->window_start_ns + engine->window_length_ns;

	connection->forced = 1;
	connection->held = connection->again;
	if (!connection->again) {
		return;
	}
	if (engine->counters.fins_unanswered++ == 0) {
		engine->fins_settled_ns = now + FIN_LONGEST_NS;
	}
	since_ns = since_ns > engine->window_start_ns ? since_ns : engine->window_start_ns;
	end_ns = now < end_ns ? now : end_ns;
	engine->block->fin_wait_ns += end_ns > since_ns ? end_ns - since_ns : 0;
}

/* Whether the connection has exceeded a timeout. If so, it is CONNECTION_CLOSING afterwards. */
static bool sweep_one(struct engine *engine, uint32_t index, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);
	uint64_t longest_ns = engine->timeout_ns;
	uint64_t since_ns;

	switch (connection->state) {
	case CONNECTION_CONNECTING:
		since_ns = connection->ring[0].sent_ns;
		break;
	case CONNECTION_FIRST:
	case CONNECTION_LIVE:
		if (connection->queued_ahead == 0 && !exchange_is_greeting(engine, index) &&
		    !wire_tls_is_handshaking(engine, index)) {
			return false;
		}
		/* While it awaits a greeting, or the end of a handshake: when that began. */
		since_ns = connection->ring[connection->head].sent_ns;
		break;
	case CONNECTION_CLOSING:
		if (!engine->fin || connection->forced) {
			return false;
		}
		since_ns = connection->ring[0].sent_ns;
		longest_ns = longest_ns < FIN_LONGEST_NS ? longest_ns : FIN_LONGEST_NS;
		break;
	default:
		return false;
	}
	if (now < since_ns || now - since_ns <= longest_ns) {
		return false;
	}
	if (connection->state == CONNECTION_CLOSING) {
		fin_unanswered(engine, connection, since_ns, now);
	} else {
		if (connection->state != CONNECTION_CONNECTING && engine->exchange == NULL) {
			timeout_place_count(engine, index);
		}
		(void)engine_timed_out(engine, index, now);
	}
	return true;
}

static bool next_swept(struct engine *engine, uint64_t now, uint32_t *index)
{
	while (engine->sweep_budget != 0) {
		uint32_t at = engine->sweep_cursor;

		engine->sweep_budget--;
		engine->sweep_cursor = at + 1 == engine->count ? 0 : at + 1;
		if (sweep_one(engine, at, now)) {
			*index = at;
			return true;
		}
	}
	return false;
}

/* Phase CLOSE: every connection that is still open. */
static bool next_to_close(struct engine *engine, uint64_t now, uint32_t *index)
{
	while (engine->kick_cursor < engine->count && engine->kick_budget != 0) {
		uint32_t at = engine->kick_cursor++;
		struct connection *connection = engine_connection(engine, at);

		engine->kick_budget--;
		if (is_over(connection)) {
			if (connection->again) {
				connection->again = 0;
				live_count_drop(engine, at);
			}
			continue;
		}
		if (connection->made) {
			live_count_drop(engine, at);
		}
		requests_abandon(engine, connection);
		connection_closing(engine, connection, now);
		*index = at;
		return true;
	}
	return false;
}

/* Churn, when sending begins: connections that had all of their requests before and that the server has not closed. */
static bool next_ripe(struct engine *engine, uint64_t now, uint32_t *index)
{
	while (engine->ripe_cursor < engine->ripe_end && engine->kick_budget != 0) {
		uint32_t at = engine->ripe_cursor++;
		struct connection *connection = engine_connection(engine, at);

		engine->kick_budget--;
		if (engine_is_ripe(engine, connection)) {
			connection_closing(engine, connection, now);
			connection->again = 1;
			engine->pending_again++;
			*index = at;
			return true;
		}
	}
	return false;
}

bool engine_next_close(struct engine *engine, uint64_t now, uint32_t *index, enum engine_close_way *way)
{
	if (engine->phase == IB_PHASE_CLOSE && next_to_close(engine, now, index)) {
		*way = engine->fin && !fins_are_pointless(engine) ? ENGINE_CLOSE_FIN : ENGINE_CLOSE_RESET;
		return true;
	}
	if (next_ripe(engine, now, index)) {
		*way = engine_close_way(engine, *index);
		return true;
	}
	*way = ENGINE_CLOSE_RESET;
	return next_swept(engine, now, index);
}

void engine_closed(struct engine *engine, uint32_t index)
{
	struct connection *connection = engine_connection(engine, index);

	/* Once per connection that was begun, when it was to be closed. */
	ib_assert(connection->state == CONNECTION_CLOSING);
	ib_count_down(engine->open, 1);
	ib_count_down(engine->closing, 1);
	if (engine->tls != NULL) {
		wire_tls_closed(engine, index);
	}
	engine->fins_answered += engine->fin && connection->again && !connection->forced && !fins_are_pointless(engine);
	if (!connection->again || engine->phase == IB_PHASE_CLOSE) {
		connection->state = CONNECTION_GONE;
		return;
	}
	struct queue *queue = &engine->again_queue;
	uint64_t at = queue->head + queue->count++;
	ib_assert(queue->count <= queue->capacity);

	connection->state = CONNECTION_NEW;
	engine->again[at >= queue->capacity ? at - queue->capacity : at] = index;
}
