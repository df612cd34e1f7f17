/*
 * http_request.c - where an HTTP/1.1 request ends. See http_request.h.
 *
 * Bytes that do not matter (the target, most fields) are run over by a table of what may stand there. Only words that matter are kept, since
 * a word may come in pieces: the method, the name of a field, and the options of a few fields.
 */
#include "server/http_request.h"

#include <string.h>

#include "platform/ib_assert.h"
#include "platform/platform.h"

enum state {
	/* The header, or the trailers: */
	START = 0, /* before a request line */
	START_LF,
	METHOD,
	TARGET,
	VERSION,
	LINE_LF,
	FIELD_START,
	FIELD_NAME,
	FIELD_VALUE,
	FIELD_LF,
	HEADER_LF, /* after the empty line's CR */
	/* The line with a chunk's size: */
	CHUNK_FIRST,
	CHUNK_SIZE,
	CHUNK_SPACE,
	CHUNK_EXTENSION,
	CHUNK_LF,
	/* The body: */
	BODY,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
};

enum field { FIELD_OTHER = 0, FIELD_HOST, FIELD_LENGTH, FIELD_ENCODING, FIELD_CONNECTION, FIELD_EXPECT };

enum value_state { VALUE_BEFORE = 0, VALUE_WORD, VALUE_AFTER };

/* What a byte may be a part of. */
enum byte_class {
	TOKEN = 1,       /* RFC 9110, section 5.6.2: methods and names of fields */
	TARGET_BYTE = 2, /* visible ASCII */
	VALUE_BYTE = 4,  /* RFC 9110, section 5.5: visible, space, tab, and bytes beyond ASCII */
	HOST_BYTE = 8,   /* RFC 3986: a host with a port */
};

/* clang-format off */
static const uint8_t classes[256] = {
	 0,  0,  0,  0,  0,  0,  0,  0,  0,  4,  0,  0,  0,  0,  0,  0,
	 0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
	 4, 15,  6,  7, 15, 15, 15, 15, 14, 14, 15, 15, 14, 15, 15,  6,
	15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 14, 14,  6, 14,  6,  6,
	 6, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
	15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 14,  6, 14,  7, 15,
	 7, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
	15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6,  7,  6, 15,  0,
	 4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,
	 4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,
	 4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,
	 4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,
	 4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,
	 4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,
	 4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,
	 4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,
};
/* clang-format on */

/* The bytes at hand. */
struct cursor {
	const unsigned char *at, *end;
};

/* ---------------------------------------------------------------------------------------------- words */

static inline void word_add(struct http_parser *parser, const unsigned char *bytes, size_t length)
{
	size_t room = HTTP_WORD_BYTES - parser->word_length;
	if (parser->word_length > HTTP_WORD_BYTES || length > room) {
		parser->word_length = HTTP_WORD_BYTES + 1;
		return;
	}
	for (size_t index = 0; index < length; index++) {
		parser->word[parser->word_length + index] = (char)bytes[index];
	}
	parser->word_length = (uint8_t)(parser->word_length + length);
}

/* Whether the word is this one, of lower-case letters, digits and "-", in whatever case. */
static bool word_is(const struct http_parser *parser, const char *word, size_t length)
{
	if (parser->word_length != length) {
		return false;
	}
	for (size_t index = 0; index < length; index++) {
		if ((parser->word[index] | 0x20) != word[index]) {
			return false;
		}
	}
	return true;
}
#define WORD_IS(parser, text) word_is((parser), (text), sizeof(text) - 1)

/* Takes bytes of the class. Returns how many. */
static inline size_t run_over(struct cursor *cursor, uint8_t class)
{
	const unsigned char *first = cursor->at;
	while (cursor->at < cursor->end && (classes[*cursor->at] & class) != 0) {
		cursor->at++;
	}
	return (size_t)(cursor->at - first);
}

/* --------------------------------------------------------------------------------------------- fields */

/* After the name. False: the field may not come again. */
static bool field_begin(struct http_parser *parser)
{
	parser->field = FIELD_OTHER;
	if (parser->in_trailers) {
		return true;
	}
	if (WORD_IS(parser, "host")) {
		parser->field = FIELD_HOST;
	} else if (WORD_IS(parser, "connection")) {
		parser->field = FIELD_CONNECTION;
	} else if (WORD_IS(parser, "content-length")) {
		parser->field = FIELD_LENGTH;
	} else if (WORD_IS(parser, "transfer-encoding")) {
		parser->field = FIELD_ENCODING;
	} else if (WORD_IS(parser, "expect")) {
		parser->field = FIELD_EXPECT;
	}
	parser->value_state = VALUE_BEFORE;
	parser->word_length = 0;
	return !(parser->field == FIELD_HOST && parser->has_host) &&
	       !(parser->field == FIELD_LENGTH && parser->has_length) &&
	       !(parser->field == FIELD_ENCODING && parser->is_chunked);
}

static void connection_option_end(struct http_parser *parser)
{
	if (WORD_IS(parser, "close")) {
		parser->wants_close = true;
	} else if (WORD_IS(parser, "keep-alive")) {
		parser->wants_keep_alive = true;
	}
	parser->word_length = 0;
	parser->value_state = VALUE_BEFORE;
}

/* A byte of a number. False: it is none. */
static bool length_add(struct http_parser *parser, unsigned char byte)
{
	unsigned digit = (unsigned)byte - '0';
	if (digit > 9 || parser->value_state == VALUE_AFTER || parser->body_left > (INT64_MAX - 9) / 10) {
		return false;
	}
	parser->value_state = VALUE_WORD;
	parser->body_left = parser->body_left * 10 + digit;
	return true;
}

/* A byte of a word that white space has ended makes it another word, which is none that matters. */
static void option_add(struct http_parser *parser, const unsigned char *byte)
{
	if (parser->value_state == VALUE_AFTER) {
		parser->word_length = HTTP_WORD_BYTES + 1;
	}
	parser->value_state = VALUE_WORD;
	word_add(parser, byte, 1);
}

/* A byte of the value of a field that matters, and no white space. */
static bool value_add(struct http_parser *parser, const unsigned char *byte)
{
	switch ((enum field)parser->field) {
	case FIELD_LENGTH:
		return length_add(parser, *byte);
	case FIELD_HOST:
		if ((classes[*byte] & HOST_BYTE) == 0 || parser->value_state == VALUE_AFTER) {
			return false;
		}
		parser->value_state = VALUE_WORD;
		return true;
	case FIELD_CONNECTION:
		if (*byte == ',') {
			connection_option_end(parser);
			return true;
		}
		option_add(parser, byte);
		return true;
	case FIELD_ENCODING:
	case FIELD_EXPECT:
		option_add(parser, byte);
		return true;
	case FIELD_OTHER:
		break;
	}
	return true;
}

static bool value_parse(struct http_parser *parser, const unsigned char *bytes, size_t length)
{
	for (size_t index = 0; index < length; index++) {
		if (bytes[index] == ' ' || bytes[index] == '\t') {
			parser->value_state = parser->value_state == VALUE_WORD ? VALUE_AFTER : parser->value_state;
		} else if (!value_add(parser, &bytes[index])) {
			return false;
		}
	}
	return true;
}

/* At the end of the line. False: the value is none that the field may have. */
static bool value_end(struct http_parser *parser)
{
	switch ((enum field)parser->field) {
	case FIELD_HOST:
		parser->has_host = true;
		break;
	case FIELD_LENGTH:
		parser->has_length = true;
		return parser->value_state != VALUE_BEFORE;
	case FIELD_ENCODING:
		parser->is_chunked = true;
		return WORD_IS(parser, "chunked");
	case FIELD_CONNECTION:
		connection_option_end(parser);
		break;
	case FIELD_EXPECT:
		parser->expects_continue = WORD_IS(parser, "100-continue");
		break;
	case FIELD_OTHER:
		break;
	}
	return true;
}

/* --------------------------------------------------------------------------------------------- header */

static void request_begin(struct http_parser *parser)
{
	uint32_t header_bytes = parser->header_bytes;
	*parser = (struct http_parser){.header_bytes = header_bytes, .state = METHOD};
}

static enum http_result request_end(struct http_parser *parser)
{
	parser->state = START;
	parser->header_bytes = 0;
	parser->keeps_alive = !parser->wants_close && (!parser->is_http_1_0 || parser->wants_keep_alive);
	return HTTP_REQUEST;
}

/* After the empty line. */
static enum http_result header_end(struct http_parser *parser)
{
	if (parser->in_trailers) {
		return request_end(parser);
	}
	if (parser->is_connect || (!parser->is_http_1_0 && !parser->has_host) ||
	    (parser->is_chunked && (parser->has_length || parser->is_http_1_0))) {
		return HTTP_MALFORMED;
	}
	if (!parser->is_chunked && parser->body_left == 0) {
		return request_end(parser);
	}
	parser->state = parser->is_chunked ? CHUNK_FIRST : BODY;
	parser->header_bytes = 0;
	return parser->expects_continue && !parser->is_http_1_0 ? HTTP_CONTINUE : HTTP_MORE;
}

static bool method_parse(struct http_parser *parser, struct cursor *cursor)
{
	const unsigned char *first = cursor->at;
	word_add(parser, first, run_over(cursor, TOKEN));
	if (cursor->at == cursor->end) {
		return true;
	}
	/* Methods are case-sensitive. */
	parser->is_head = parser->word_length == 4 && memcmp(parser->word, "HEAD", 4) == 0;
	parser->is_connect = parser->word_length == 7 && memcmp(parser->word, "CONNECT", 7) == 0;
	bool is_method = parser->word_length > 0 && *cursor->at == ' ';
	cursor->at++;
	parser->word_length = 0;
	parser->state = TARGET;
	return is_method;
}

static bool target_parse(struct http_parser *parser, struct cursor *cursor)
{
	if (run_over(cursor, TARGET_BYTE) > 0) {
		parser->word_length = 1; /* it is not empty */
	}
	if (cursor->at == cursor->end) {
		return true;
	}
	parser->state = VERSION;
	return *cursor->at++ == ' ' && parser->word_length > 0;
}

static bool version_parse(struct http_parser *parser, struct cursor *cursor)
{
	static const char prefix[] = "HTTP/1.";
	while (cursor->at < cursor->end) {
		unsigned char byte = *cursor->at++;
		if (parser->version < sizeof prefix - 1) {
			if (byte != (unsigned char)prefix[parser->version++]) {
				return false;
			}
		} else if (parser->version == sizeof prefix - 1) {
			if (byte < '0' || byte > '9') {
				return false;
			}
			parser->is_http_1_0 = byte == '0';
			parser->version++;
		} else {
			parser->state = LINE_LF;
			return byte == '\r';
		}
	}
	return true;
}

static bool field_name_parse(struct http_parser *parser, struct cursor *cursor)
{
	const unsigned char *first = cursor->at;
	word_add(parser, first, run_over(cursor, TOKEN));
	if (cursor->at == cursor->end) {
		return true;
	}
	bool is_name = parser->word_length > 0 && *cursor->at == ':';
	cursor->at++;
	parser->state = FIELD_VALUE;
	return field_begin(parser) && is_name;
}

static bool field_value_parse(struct http_parser *parser, struct cursor *cursor)
{
	const unsigned char *first = cursor->at;
	size_t length = run_over(cursor, VALUE_BYTE);
	if (parser->field != FIELD_OTHER && !value_parse(parser, first, length)) {
		return false;
	}
	if (cursor->at == cursor->end) {
		return true;
	}
	parser->state = FIELD_LF;
	return *cursor->at++ == '\r' && value_end(parser);
}

/* Parses bytes of a header or of trailers, until they end. */
static enum http_result header_parse(struct http_parser *parser, struct cursor *cursor)
{
	bool is_right = true;
	while (is_right && cursor->at < cursor->end) {
		switch ((enum state)parser->state) {
		case START: /* empty lines before a request line are skipped (RFC 9112, section 2.2) */
			if (*cursor->at != '\r') {
				request_begin(parser);
				break;
			}
			cursor->at++;
			parser->state = START_LF;
			break;
		case START_LF:
			is_right = *cursor->at++ == '\n';
			parser->state = START;
			break;
		case METHOD:
			is_right = method_parse(parser, cursor);
			break;
		case TARGET:
			is_right = target_parse(parser, cursor);
			break;
		case VERSION:
			is_right = version_parse(parser, cursor);
			break;
		case LINE_LF:
		case FIELD_LF:
			is_right = *cursor->at++ == '\n';
			parser->state = FIELD_START;
			break;
		case FIELD_START:
			parser->word_length = 0;
			parser->state = FIELD_NAME;
			if (*cursor->at == '\r') {
				cursor->at++;
				parser->state = HEADER_LF;
			}
			break;
		case FIELD_NAME:
			is_right = field_name_parse(parser, cursor);
			break;
		case FIELD_VALUE:
			is_right = field_value_parse(parser, cursor);
			break;
		case HEADER_LF:
			if (*cursor->at++ == '\n') {
				return header_end(parser);
			}
			is_right = false;
			break;
		default:
			ib_assert(false);
			return HTTP_MALFORMED;
		}
	}
	return is_right ? HTTP_MORE : HTTP_MALFORMED;
}

/* ----------------------------------------------------------------------------------------------- body */

static int hex_digit(unsigned char byte)
{
	if (byte >= '0' && byte <= '9') {
		return byte - '0';
	}
	unsigned char lower = byte | 0x20;
	return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* After the line with a chunk's size. The last chunk has none, and trailers follow. */
static void chunk_begin(struct http_parser *parser)
{
	parser->header_bytes = 0;
	parser->state = CHUNK_DATA;
	if (parser->body_left == 0) {
		parser->in_trailers = true;
		parser->state = FIELD_START;
	}
}

/* A byte after the digits of a chunk's size. */
static bool chunk_size_end(struct http_parser *parser, unsigned char byte)
{
	switch (byte) {
	case '\r':
		parser->state = CHUNK_LF;
		return true;
	case ';':
		parser->state = CHUNK_EXTENSION;
		return true;
	case ' ':
	case '\t':
		parser->state = CHUNK_SPACE;
		return true;
	default:
		return false;
	}
}

/* A byte of the line with a chunk's size. */
static bool chunk_line_byte(struct http_parser *parser, unsigned char byte)
{
	int digit;
	switch ((enum state)parser->state) {
	case CHUNK_FIRST:
		digit = hex_digit(byte);
		parser->body_left = (uint64_t)digit;
		parser->state = CHUNK_SIZE;
		return digit >= 0;
	case CHUNK_SIZE:
		digit = hex_digit(byte);
		if (digit < 0) {
			return chunk_size_end(parser, byte);
		}
		if (parser->body_left > INT64_MAX >> 4) {
			return false;
		}
		parser->body_left = parser->body_left << 4 | (unsigned)digit;
		return true;
	case CHUNK_SPACE: /* allowed before an extension only */
		return byte != '\r' && chunk_size_end(parser, byte);
	case CHUNK_EXTENSION:
		if (byte == '\r') {
			parser->state = CHUNK_LF;
			return true;
		}
		return (classes[byte] & VALUE_BYTE) != 0;
	case CHUNK_LF:
		chunk_begin(parser);
		return byte == '\n';
	default:
		ib_assert(false);
		return false;
	}
}

static enum http_result chunk_line_parse(struct http_parser *parser, struct cursor *cursor)
{
	while (cursor->at < cursor->end && parser->state >= CHUNK_FIRST && parser->state <= CHUNK_LF) {
		if (++parser->header_bytes > HTTP_CHUNK_LINE_BYTES_MAX || !chunk_line_byte(parser, *cursor->at++)) {
			return HTTP_MALFORMED;
		}
	}
	return HTTP_MORE;
}

/* Skips what came of the body or of a chunk. */
static void body_skip(struct http_parser *parser, struct cursor *cursor)
{
	size_t length = (size_t)(cursor->end - cursor->at);
	size_t skipped = parser->body_left < length ? (size_t)parser->body_left : length;
	cursor->at += skipped;
	parser->body_left -= skipped;
}

static enum http_result body_parse(struct http_parser *parser, struct cursor *cursor)
{
	switch ((enum state)parser->state) {
	case BODY:
		body_skip(parser, cursor);
		return parser->body_left == 0 ? request_end(parser) : HTTP_MORE;
	case CHUNK_DATA:
		body_skip(parser, cursor);
		if (parser->body_left == 0) {
			parser->state = CHUNK_DATA_CR;
		}
		return HTTP_MORE;
	case CHUNK_DATA_CR:
		parser->state = CHUNK_DATA_LF;
		return *cursor->at++ == '\r' ? HTTP_MORE : HTTP_MALFORMED;
	default:
		parser->state = CHUNK_FIRST;
		return *cursor->at++ == '\n' ? HTTP_MORE : HTTP_MALFORMED;
	}
}

/* As much of the header as it may still have. */
static enum http_result header_parse_bounded(struct http_parser *parser, struct cursor *cursor)
{
	const unsigned char *first = cursor->at;
	size_t room = HTTP_HEADER_BYTES_MAX - parser->header_bytes;
	struct cursor bounded = *cursor;
	if (room == 0) {
		return HTTP_TOO_LARGE;
	}
	if ((size_t)(cursor->end - first) > room) {
		bounded.end = first + room;
	}
	parser->header_bytes += (uint32_t)(bounded.end - first);
	enum http_result result = header_parse(parser, &bounded);
	cursor->at = bounded.at;
	return result;
}

enum http_result http_parse(struct http_parser *parser, const char *bytes, size_t length, size_t *taken)
{
	const unsigned char *first = (const unsigned char *)bytes;
	struct cursor cursor = {first, first + length};
	enum http_result result = HTTP_MORE;
	while (result == HTTP_MORE && cursor.at < cursor.end) {
		if (parser->state <= HEADER_LF) {
			result = header_parse_bounded(parser, &cursor);
		} else if (parser->state <= CHUNK_LF) {
			result = chunk_line_parse(parser, &cursor);
		} else {
			result = body_parse(parser, &cursor);
		}
	}
	*taken = (size_t)(cursor.at - first);
	return result;
}
