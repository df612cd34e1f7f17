/*
 * exchange.c - requests and replies of the protocols other than echo: what is filled in, and what a received reply means for the
 * connection and the counts.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "load/engine.h"

#define REQUEST_MAX_BYTES (1024u * 1024u)
#define BODY_MAX_BYTES (1024u * 1024u * 1024u)
#define HELLO_MAX_BYTES (64u * 1024u)
#define PLACEHOLDERS_MAX 4096u
#define REASON_BYTES 128

/* ------------------------------------------------------------------------------------------- opening */

static int32_t options_check(const struct ib_exchange *options, uint32_t message_size_bytes, struct ib_error *error)
{
	uint32_t pattern_most = options->reply_frame == IB_FRAME_UNTIL ? MESSAGE_PATTERN_MAX_BYTES : REQUEST_MAX_BYTES;
	bool is_message = options->protocol == IB_PROTOCOL_MESSAGE;
	bool has_pattern = is_message && options->reply_frame <= IB_FRAME_UNTIL;
	const struct abi_range ranges[] = {
	    {"protocol", options->protocol, IB_PROTOCOL_HTTP, IB_PROTOCOL_MESSAGE},
	    {"expect_body", options->expect_body, IB_EXPECT_BODY_ANY, IB_EXPECT_BODY_EXACT},
	    {"reply_frame", options->reply_frame, IB_FRAME_EXACT, IB_FRAME_LENGTH_PREFIX},
	    {"length_prefix", options->length_prefix, IB_LENGTH_U8, IB_LENGTH_U32LE},
	    {"reply_bytes", options->reply_bytes, is_message && options->reply_frame == IB_FRAME_BYTES ? 1 : 0, 1ull << 40},
	    {"request_bytes", options->request_bytes, 1, REQUEST_MAX_BYTES},
	    {"request_bytes", options->request_bytes, message_size_bytes, message_size_bytes},
	    {"body_bytes", options->body_bytes, 0, BODY_MAX_BYTES},
	    {"pattern_bytes", options->pattern_bytes, has_pattern ? 1 : 0, pattern_most},
	    {"greeting_bytes", options->greeting_bytes, 0, is_message ? MESSAGE_PATTERN_MAX_BYTES : 0},
	    {"hello_bytes", options->hello_bytes, 0, is_message ? HELLO_MAX_BYTES : 0},
	    {"placeholder_count", options->placeholder_count, 0, PLACEHOLDERS_MAX},
	};

	return abi_ranges_check(ranges, sizeof ranges / sizeof ranges[0], error);
}

static bool placeholder_is_sequence(uint32_t placeholder)
{
	return (placeholder & 1) != 0;
}

static bool placeholder_is_in_hello(uint32_t placeholder)
{
	return (placeholder & 2) != 0;
}

static uint32_t placeholder_place(uint32_t placeholder)
{
	return placeholder >> 2;
}

static uint32_t placeholder_digits(uint32_t placeholder)
{
	return placeholder_is_sequence(placeholder) ? IB_SEQUENCE_DIGITS : IB_CONNECTION_DIGITS;
}

static int32_t placeholders_check(const struct exchange *exchange, struct ib_error *error)
{
	for (uint32_t at = 0; at < exchange->options.placeholder_count; at++) {
		uint32_t placeholder = exchange->placeholders[at];
		uint32_t size =
		    placeholder_is_in_hello(placeholder) ? exchange->options.hello_bytes : exchange->options.request_bytes;
		if ((uint64_t)placeholder_place(placeholder) + placeholder_digits(placeholder) > size) {
			return error_set(error, IB_STATUS_USAGE, 0, "placeholder %u is outside of its text", at);
		}
	}
	return IB_STATUS_OK;
}

/* Copies the texts behind the options, and finds each. */
static bool texts_copy(struct exchange *exchange, const struct ib_exchange *options)
{
	size_t placeholder_bytes = (size_t)options->placeholder_count * sizeof *exchange->placeholders;
	size_t bytes = (size_t)options->request_bytes + options->body_bytes + options->pattern_bytes +
	               options->greeting_bytes + options->hello_bytes;
	const uint8_t *texts = (const uint8_t *)(options + 1);

	exchange->texts = malloc(bytes);
	exchange->placeholders = malloc(placeholder_bytes + 1);
	if (exchange->texts == NULL || exchange->placeholders == NULL) {
		return false;
	}
	memcpy(exchange->texts, texts, bytes);
	memcpy(exchange->placeholders, texts + bytes, placeholder_bytes);
	exchange->request = exchange->texts;
	const uint8_t *body = exchange->request + options->request_bytes;
	exchange->frame.pattern =
	    (struct message_pattern){.bytes = body + options->body_bytes, .length = options->pattern_bytes};
	exchange->greeting.pattern = (struct message_pattern){
	    .bytes = exchange->frame.pattern.bytes + options->pattern_bytes, .length = options->greeting_bytes};
	exchange->hello = exchange->greeting.pattern.bytes + options->greeting_bytes;
	exchange->expected_body_hash = http_body_hash(body, options->body_bytes);
	return true;
}

static bool frames_open(struct exchange *exchange)
{
	const struct ib_exchange *options = &exchange->options;

	exchange->frame.kind = options->reply_frame;
	exchange->frame.length = options->reply_bytes;
	exchange->frame.length_prefix = options->length_prefix;
	exchange->frame.length_added = options->length_added;
	exchange->greeting.kind = IB_FRAME_UNTIL;
	return (options->reply_frame != IB_FRAME_UNTIL || message_pattern_open(&exchange->frame.pattern)) &&
	       message_pattern_open(&exchange->greeting.pattern);
}

int32_t exchange_open(struct exchange **out, const struct ib_exchange *options, uint32_t count,
                      uint32_t message_size_bytes, struct ib_error *error)
{
	int32_t status = abi_check(options->size, options->abi_version, sizeof *options, "ib_exchange", error);

	if (status == IB_STATUS_OK) {
		status = options_check(options, message_size_bytes, error);
	}
	if (status != IB_STATUS_OK) {
		return status;
	}
	struct exchange *exchange = calloc(1, sizeof *exchange);
	if (exchange == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the requests of an engine");
	}
	exchange->options = *options;
	exchange->http.no_body = options->no_body != 0;
	exchange->connections = calloc(count + 1u, sizeof *exchange->connections);
	if (exchange->connections == NULL || !texts_copy(exchange, options) || !frames_open(exchange)) {
		status = error_set(error, IB_STATUS_MEMORY, 0, "no memory for the requests of an engine");
	} else {
		status = placeholders_check(exchange, error);
	}
	if (status != IB_STATUS_OK) {
		exchange_close(exchange, 0);
		return status;
	}
	*out = exchange;
	return IB_STATUS_OK;
}

void exchange_close(struct exchange *exchange, uint32_t count)
{
	if (exchange == NULL) {
		return;
	}
	for (uint32_t index = 0; exchange->options.protocol == IB_PROTOCOL_HTTP && index < count; index++) {
		http_reply_reset(&exchange->connections[index].http);
	}
	message_pattern_close(&exchange->frame.pattern);
	message_pattern_close(&exchange->greeting.pattern);
	free(exchange->texts);
	free(exchange->placeholders);
	free(exchange->connections);
	free(exchange);
}

uint64_t exchange_memory_bytes(const struct exchange *exchange, uint32_t count)
{
	const struct ib_exchange *options = &exchange->options;

	return sizeof *exchange + (uint64_t)count * sizeof *exchange->connections + options->request_bytes +
	       options->body_bytes + options->pattern_bytes + options->greeting_bytes + options->hello_bytes;
}

/* ------------------------------------------------------------------------------------------- sending */

static struct exchange_connection *exchange_at(const struct engine *engine, uint32_t index)
{
	return &engine->exchange->connections[index];
}

void exchange_begin(struct engine *engine, uint32_t index)
{
	const struct exchange *exchange = engine->exchange;
	struct exchange_connection *at = exchange_at(engine, index);

	if (exchange->options.protocol == IB_PROTOCOL_HTTP) {
		http_reply_reset(&at->http);
	} else {
		at->message = (struct message_reply){0};
	}
	at->answered = 0;
	at->hello_sent = 0;
	at->stage = exchange->options.greeting_bytes != 0 ? EXCHANGE_GREETING
	            : exchange->options.hello_bytes != 0  ? EXCHANGE_HELLO
	                                                  : EXCHANGE_READY;
}

bool exchange_connected(struct engine *engine, uint32_t index)
{
	return exchange_at(engine, index)->stage != EXCHANGE_READY;
}

bool exchange_is_greeting(const struct engine *engine, uint32_t index)
{
	return engine->exchange != NULL && exchange_at(engine, index)->stage != EXCHANGE_READY;
}

size_t exchange_hello_left(const struct engine *engine, const struct connection *connection)
{
	size_t offset = (size_t)((const unsigned char *)connection - engine->connections);
	const struct exchange_connection *at = exchange_at(engine, (uint32_t)(offset / engine->connection_stride));

	return at->stage == EXCHANGE_GREETING ? 0 : engine->hello_bytes - at->hello_sent;
}

size_t exchange_hello_sent(struct engine *engine, uint32_t index, size_t bytes)
{
	struct exchange_connection *at = exchange_at(engine, index);
	size_t left = engine->hello_bytes - at->hello_sent;
	size_t part = bytes < left ? bytes : left;

	at->hello_sent += (uint32_t)part;
	return bytes - part;
}

/* A slice of the hello or of a request. */
struct text_slice {
	uint8_t *out;
	size_t from;
	size_t length;
	bool is_hello;
};

/* Writes the digits of the placeholders that lie in the slice. */
static void placeholders_fill(const struct exchange *exchange, const struct text_slice *slice, uint64_t connection,
                              uint64_t sequence)
{
	for (uint32_t at = 0; at < exchange->options.placeholder_count; at++) {
		uint32_t placeholder = exchange->placeholders[at];
		uint64_t number = placeholder_is_sequence(placeholder) ? sequence : connection;
		size_t place = placeholder_place(placeholder);

		if (placeholder_is_in_hello(placeholder) != slice->is_hello) {
			continue;
		}
		for (uint32_t digit = placeholder_digits(placeholder); digit-- != 0; number /= 10) {
			if (place + digit >= slice->from && place + digit - slice->from < slice->length) {
				slice->out[place + digit - slice->from] = (uint8_t)('0' + number % 10);
			}
		}
	}
}

static void slice_fill(const struct engine *engine, uint32_t index, const struct text_slice *slice, uint64_t sequence)
{
	const struct exchange *exchange = engine->exchange;
	const uint8_t *text = slice->is_hello ? exchange->hello : exchange->request;

	memcpy(slice->out, text + slice->from, slice->length);
	if (exchange->options.placeholder_count != 0) {
		placeholders_fill(exchange, slice, engine_connection_number(engine, index), sequence);
	}
}

size_t exchange_fill(const struct engine *engine, uint32_t index, uint8_t *out, size_t capacity)
{
	const struct connection *connection = engine_connection(engine, index);
	size_t length = engine_to_send(engine, connection);
	uint64_t sequence = connection->received + (uint64_t)(int64_t)connection->sent_ahead;
	size_t position = connection->sent_bytes;
	size_t at = 0;

	length = length < capacity ? length : capacity;
	if (engine->hello_bytes != 0) {
		size_t left = exchange_hello_left(engine, connection);
		at = left < length ? left : length;
		slice_fill(engine, index, &(struct text_slice){out, engine->hello_bytes - left, at, true}, 0);
	}
	while (at < length) {
		size_t part = engine->message_size_bytes - position;
		part = part < length - at ? part : length - at;
		slice_fill(engine, index, &(struct text_slice){out + at, position, part, false}, sequence);
		at += part;
		sequence++;
		position = 0;
	}
	return length;
}

/* ----------------------------------------------------------------------------------------- receiving */

/* Takes bytes of the reply, or of the greeting. */
static size_t reply_take(struct engine *engine, struct exchange_connection *at, const uint8_t *bytes, size_t length,
                         enum reply_verdict *verdict)
{
	struct exchange *exchange = engine->exchange;

	if (exchange->options.protocol == IB_PROTOCOL_HTTP) {
		return http_reply_take(&exchange->http, &at->http, bytes, length, verdict);
	}
	const struct message_frame *frame = at->stage == EXCHANGE_GREETING ? &exchange->greeting : &exchange->frame;
	return message_reply_take(frame, &at->message, bytes, length, verdict);
}

static uint64_t reply_bytes(const struct engine *engine, const struct exchange_connection *at)
{
	return engine->exchange->options.protocol == IB_PROTOCOL_HTTP ? at->http.bytes : at->message.bytes;
}

static void reply_next(struct engine *engine, struct exchange_connection *at)
{
	if (engine->exchange->options.protocol == IB_PROTOCOL_HTTP) {
		http_reply_next(&at->http);
	} else {
		at->message = (struct message_reply){0};
	}
}

/* Compares the body with the first one. True if it is the same, or is the first. */
static bool body_is_same(struct engine *engine, const struct http_reply *reply)
{
	struct exchange *exchange = engine->exchange;

	if (likely(exchange->has_first)) {
		return reply->body_hash == exchange->first_body_hash && reply->body_bytes == exchange->first_body_bytes;
	}
	exchange->has_first = true;
	exchange->first_body_bytes = reply->body_bytes;
	exchange->first_body_hash = reply->body_hash;
	block_store(&engine->block->first_body_bytes, reply->body_bytes);
	block_store(&engine->block->first_body_hash, reply->body_hash);
	block_store(&engine->block->first_status, reply->status);
	return true;
}

static bool status_is_expected(const struct exchange *exchange, uint32_t status)
{
	uint32_t bit = status - 100;
	return (exchange->options.status_expected[bit / 64] >> bit % 64 & 1) != 0;
}

/* The class of what is wrong with a whole reply, with the reason in words; IB_ERROR_CLASS_COUNT if nothing is. */
static enum ib_error_class http_judge(struct engine *engine, const struct http_reply *reply, char *reason)
{
	const struct exchange *exchange = engine->exchange;
	const struct ib_exchange *options = &exchange->options;

	if (unlikely(!status_is_expected(exchange, reply->status))) {
		snprintf(reason, REASON_BYTES, "the server answered with status %u", reply->status);
		return IB_ERROR_STATUS;
	}
	bool is_same = body_is_same(engine, reply);
	engine->counters.replies_differing += !is_same;
	if (unlikely(options->expect_body == IB_EXPECT_BODY_SAME && !is_same)) {
		snprintf(reason, REASON_BYTES,
		         "the body of a reply (%" PRIu64 " bytes) differs from that of the first reply (%" PRIu64 " bytes)",
		         reply->body_bytes, exchange->first_body_bytes);
		return IB_ERROR_BODY;
	}
	if (unlikely(options->expect_body == IB_EXPECT_BODY_EXACT &&
	             (reply->body_bytes != options->body_bytes || reply->body_hash != exchange->expected_body_hash))) {
		snprintf(reason, REASON_BYTES,
		         "the body of a reply (%" PRIu64 " bytes) differs from the expected one (%" PRIu32 " bytes)",
		         reply->body_bytes, options->body_bytes);
		return IB_ERROR_BODY;
	}
	return IB_ERROR_CLASS_COUNT;
}

/* The reply to the oldest request in flight is whole. */
static enum engine_verdict reply_whole(struct engine *engine, uint32_t index, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);
	struct exchange_connection *at = exchange_at(engine, index);
	const struct request *request = &connection->ring[connection->head];
	uint64_t service_ns = now > request->sent_ns ? now - request->sent_ns : 0;
	bool is_http = engine->exchange->options.protocol == IB_PROTOCOL_HTTP;
	enum ib_error_class error_class = IB_ERROR_CLASS_COUNT;
	char reason[REASON_BYTES];

	if (unlikely(service_ns > engine->timeout_ns)) {
		return engine_timed_out(engine, index, now);
	}
	bool closes = is_http && at->http.closes;
	if (is_http) {
		error_class = http_judge(engine, &at->http, reason);
	}
	if (likely(error_class == IB_ERROR_CLASS_COUNT)) {
		uint64_t recorded = engine->block->window_requests;
		engine_answered(engine, connection);
		engine->counters.completed++;
		engine_record(engine, connection, request, service_ns, now);
		if (engine->block->window_requests != recorded) {
			engine->block->window_bytes += reply_bytes(engine, at);
		}
	} else if (!connection->made) {
		return engine_reply_wrong(engine, index, error_class, reason, (const uint8_t *)"", 0, now);
	} else {
		engine_request_failed(engine, index, error_class, reason, now);
	}
	if (unlikely(closes && at->answered == 0)) {
		/* The server ends every connection after one reply. Requests behind that one would only be sent again. */
		engine->in_flight_most = 1;
	}
	at->answered++;
	connection->received_bytes = 0;
	reply_next(engine, at);
	engine_replied(engine, index, connection, now);
	return unlikely(closes) ? engine_ended_by_reply(engine, index, now)
	                        : engine_continue(engine, index, connection, now);
}

/* The greeting, or the answer to hello, is whole. */
static enum engine_verdict stage_next(struct engine *engine, uint32_t index, uint64_t now)
{
	struct exchange_connection *at = exchange_at(engine, index);
	struct connection *connection = engine_connection(engine, index);

	reply_next(engine, at);
	connection->received_bytes = 0;
	if (at->stage == EXCHANGE_GREETING && engine->hello_bytes != 0) {
		at->stage = EXCHANGE_HELLO;
		connection->ring[0].sent_ns = now;
		return ENGINE_IDLE;
	}
	at->stage = EXCHANGE_READY;
	return engine_requests_begin(engine, index, now);
}

static enum engine_verdict unasked(struct engine *engine, uint32_t index, const uint8_t *bytes, size_t length,
                                   uint64_t now)
{
	char reason[REASON_BYTES];

	snprintf(reason, sizeof reason,
	         "%zu bytes came while no request was outstanding: the server speaks first, or answers more than was asked",
	         length);
	return engine_reply_wrong(engine, index, IB_ERROR_MALFORMED, reason, bytes, length, now);
}

static enum engine_verdict malformed(struct engine *engine, uint32_t index, const uint8_t *bytes, size_t length,
                                     uint64_t now)
{
	const struct exchange_connection *at = exchange_at(engine, index);
	bool is_http = engine->exchange->options.protocol == IB_PROTOCOL_HTTP;
	const char *problem = is_http ? at->http.problem : at->message.problem;
	char reason[REASON_BYTES];

	if (is_http && at->http.head_bytes != 0) {
		bytes = at->http.head;
		length = at->http.head_bytes;
	}
	snprintf(reason, sizeof reason, "the reply to request %" PRIu64 " is wrong: %.70s",
	         engine_connection(engine, index)->received, problem);
	return engine_reply_wrong(engine, index, IB_ERROR_MALFORMED, reason, bytes, length, now);
}

static void received_count(struct connection *connection, size_t bytes)
{
	uint64_t sum = (uint64_t)connection->received_bytes + bytes;
	connection->received_bytes = sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}

enum engine_verdict exchange_received(struct engine *engine, uint32_t index, const uint8_t *bytes, size_t length,
                                      uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);
	struct exchange_connection *at = exchange_at(engine, index);

	engine->counters.bytes_received += length;
	while (length != 0) {
		bool is_ready = at->stage == EXCHANGE_READY;
		enum reply_verdict verdict;

		if (unlikely(is_ready && connection->queued_ahead == 0)) {
			return unasked(engine, index, bytes, length, now);
		}
		size_t used = reply_take(engine, at, bytes, length, &verdict);
		if (unlikely(verdict == REPLY_MALFORMED)) {
			return malformed(engine, index, bytes, length, now);
		}
		bytes += used;
		length -= used;
		received_count(connection, used);
		if (verdict == REPLY_WHOLE) {
			enum engine_verdict next =
			    likely(is_ready) ? reply_whole(engine, index, now) : stage_next(engine, index, now);
			if (unlikely(next == ENGINE_CLOSE)) {
				return ENGINE_CLOSE;
			}
		}
	}
	return !connection->blocked && engine_to_send(engine, connection) != 0 ? ENGINE_SEND : ENGINE_IDLE;
}

bool exchange_ended(struct engine *engine, uint32_t index, uint64_t now)
{
	const struct connection *connection = engine_connection(engine, index);
	struct exchange_connection *at = exchange_at(engine, index);
	char reason[REASON_BYTES];

	if (connection->queued_ahead == 0 || at->stage != EXCHANGE_READY || reply_bytes(engine, at) == 0) {
		return false;
	}
	if (engine->exchange->options.protocol == IB_PROTOCOL_HTTP && http_reply_end(&at->http) == REPLY_WHOLE) {
		(void)reply_whole(engine, index, now);
		return true;
	}
	snprintf(reason, sizeof reason, "the connection ended after %" PRIu64 " bytes of the reply to request %" PRIu64,
	         reply_bytes(engine, at), connection->received);
	(void)engine_reply_wrong(engine, index, IB_ERROR_TRUNCATED, reason, (const uint8_t *)"", 0, now);
	return true;
}
