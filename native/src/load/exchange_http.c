/*
 * exchange_http.c - the state machine that finds the end of an HTTP reply and judges its form.
 */
#include "load/exchange_http.h"

#include <stdlib.h>
#include <string.h>

enum step {
	STEP_HEAD = 0,
	STEP_BODY,
	STEP_TO_END,
	STEP_CHUNK_SIZE,    /* the first digit of a chunk's size */
	STEP_CHUNK_DIGITS,  /* a further digit, or what follows the size */
	STEP_CHUNK_REST,    /* an extension, which is ignored */
	STEP_CHUNK_LINE_LF, /* the LF of that line */
	STEP_CHUNK_DATA,
	STEP_CHUNK_CR, /* behind the data */
	STEP_CHUNK_LF,
	STEP_TRAILER, /* the first byte of a trailer line */
	STEP_TRAILER_LINE,
	STEP_TRAILER_LF, /* of the empty line that ends the trailers */
};

static const char VERSION_PREFIX[] = "HTTP/1.";
#define VERSION_PREFIX_BYTES 7u
/* "HTTP/1.1 200" */
#define STATUS_LINE_LEAST_BYTES 12u

/* --------------------------------------------------------------------------------------------- hash */

static uint64_t hash_word(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 29;
}

static void body_take(struct http_reply *reply, const uint8_t *bytes, size_t length)
{
	uint64_t hash = reply->body_hash;

	reply->body_bytes += length;
	while (length != 0 && reply->word_bytes != 0) {
		reply->word |= (uint64_t)*bytes++ << 8 * reply->word_bytes++;
		length--;
		if (reply->word_bytes == 8) {
			hash = hash_word(hash, reply->word);
			reply->word = 0;
			reply->word_bytes = 0;
		}
	}
	for (; length >= 8; length -= 8, bytes += 8) {
		uint64_t word;
		memcpy(&word, bytes, sizeof word);
		hash = hash_word(hash, word);
	}
	for (; length != 0; length--) {
		reply->word |= (uint64_t)*bytes++ << 8 * reply->word_bytes++;
	}
	reply->body_hash = hash;
}

static void body_end(struct http_reply *reply)
{
	reply->body_hash = hash_word(hash_word(reply->body_hash, reply->word), reply->body_bytes);
}

uint64_t http_body_hash(const uint8_t *bytes, size_t length)
{
	struct http_reply reply = {0};

	body_take(&reply, bytes, length);
	body_end(&reply);
	return reply.body_hash;
}

/* --------------------------------------------------------------------------------------------- head */

/* A part of a line. */
struct slice {
	const uint8_t *at;
	size_t length;
};

static uint8_t lower(uint8_t byte)
{
	return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte | 0x20) : byte;
}

static bool is_word(struct slice slice, const char *word)
{
	if (slice.length != strlen(word)) {
		return false;
	}
	for (size_t at = 0; at < slice.length; at++) {
		if (lower(slice.at[at]) != (uint8_t)word[at]) {
			return false;
		}
	}
	return true;
}

static bool is_digit(uint8_t byte)
{
	return byte >= '0' && byte <= '9';
}

static bool is_blank(uint8_t byte)
{
	return byte == ' ' || byte == '\t';
}

/* RFC 9110, 5.6.2. */
static bool is_token_byte(uint8_t byte)
{
	return is_digit(byte) || (lower(byte) >= 'a' && lower(byte) <= 'z') ||
	       (byte != '\0' && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

static struct slice trimmed(struct slice slice)
{
	while (slice.length != 0 && is_blank(slice.at[0])) {
		slice.at++;
		slice.length--;
	}
	while (slice.length != 0 && is_blank(slice.at[slice.length - 1])) {
		slice.length--;
	}
	return slice;
}

/* Takes the next element of a comma-separated list. False: there is none left. */
static bool list_next(struct slice *rest, struct slice *element)
{
	if (rest->length == 0) {
		return false;
	}
	const uint8_t *comma = memchr(rest->at, ',', rest->length);
	size_t length = comma != NULL ? (size_t)(comma - rest->at) : rest->length;
	*element = trimmed((struct slice){rest->at, length});
	size_t used = comma != NULL ? length + 1 : length;
	rest->at += used;
	rest->length -= used;
	return true;
}

/* What the lines of a header block have said so far. */
struct head_parse {
	struct http_head *head;
	bool has_length;
	bool has_encoding;
	bool is_chunked;
	bool close;
	bool keep_alive;
	bool may_fold; /* the last line may be continued on the next */
};

static const char *length_parse(struct head_parse *parse, struct slice value)
{
	struct slice element;

	if (value.length == 0) {
		return "its Content-Length is empty";
	}
	while (list_next(&value, &element)) {
		uint64_t length = 0;
		if (element.length == 0 || element.length > 18) {
			return "its Content-Length is not a length";
		}
		for (size_t at = 0; at < element.length; at++) {
			if (!is_digit(element.at[at])) {
				return "its Content-Length is not a number";
			}
			length = length * 10 + (uint64_t)(element.at[at] - '0');
		}
		if (parse->has_length && parse->head->length != length) {
			return "it has two different Content-Lengths";
		}
		parse->has_length = true;
		parse->head->length = length;
	}
	return NULL;
}

static const char *field_parse(struct head_parse *parse, struct slice name, struct slice value)
{
	struct slice element;

	parse->may_fold = false;
	if (is_word(name, "content-length")) {
		return length_parse(parse, value);
	}
	if (is_word(name, "transfer-encoding")) {
		parse->has_encoding = true;
		while (list_next(&value, &element)) {
			if (parse->is_chunked) {
				return "it has a transfer coding after chunked";
			}
			parse->is_chunked = is_word(element, "chunked");
		}
		return NULL;
	}
	if (is_word(name, "connection")) {
		while (list_next(&value, &element)) {
			parse->close = parse->close || is_word(element, "close");
			parse->keep_alive = parse->keep_alive || is_word(element, "keep-alive");
		}
		return NULL;
	}
	parse->may_fold = true;
	return NULL;
}

static const char *line_parse(struct head_parse *parse, struct slice line)
{
	if (memchr(line.at, '\0', line.length) != NULL || memchr(line.at, '\r', line.length) != NULL) {
		return "a line of its header has a NUL or a CR in it";
	}
	if (is_blank(line.at[0])) {
		/* RFC 9112, 5.2: obsolete line folding. */
		return parse->may_fold ? NULL : "a line of its header begins with a blank";
	}
	const uint8_t *colon = memchr(line.at, ':', line.length);
	if (colon == NULL) {
		return "a line of its header has no colon";
	}
	struct slice name = {line.at, (size_t)(colon - line.at)};
	for (size_t at = 0; at < name.length; at++) {
		if (!is_token_byte(name.at[at])) {
			return "a line of its header has no valid name";
		}
	}
	if (name.length == 0) {
		return "a line of its header has no name";
	}
	return field_parse(parse, name, trimmed((struct slice){colon + 1, line.length - name.length - 1}));
}

static const char *status_line_parse(struct slice line, struct http_head *head, bool *is_old)
{
	if (line.length < STATUS_LINE_LEAST_BYTES || memcmp(line.at, VERSION_PREFIX, VERSION_PREFIX_BYTES) != 0) {
		return "it does not begin with HTTP/1.1 and a status";
	}
	const uint8_t *code = line.at + VERSION_PREFIX_BYTES + 2;
	bool ends = line.length == STATUS_LINE_LEAST_BYTES || line.at[STATUS_LINE_LEAST_BYTES] == ' ';
	if (!is_digit(line.at[VERSION_PREFIX_BYTES]) || line.at[VERSION_PREFIX_BYTES + 1] != ' ' || !is_digit(code[0]) ||
	    !is_digit(code[1]) || !is_digit(code[2]) || !ends) {
		return "its status line is not that of HTTP";
	}
	head->status = (uint16_t)((code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0'));
	if (head->status < 100 || head->status > 599) {
		return "its status is not 100 to 599";
	}
	*is_old = line.at[VERSION_PREFIX_BYTES] == '0';
	return NULL;
}

/* The next line, without its end. The block ends with a line end, so there always is one. */
static struct slice line_next(struct slice *rest)
{
	const uint8_t *end = memchr(rest->at, '\n', rest->length);
	size_t length = end != NULL ? (size_t)(end - rest->at) : rest->length;
	struct slice line = {rest->at, length};
	size_t used = end != NULL ? length + 1 : length;

	if (line.length != 0 && line.at[line.length - 1] == '\r') {
		line.length--;
	}
	rest->at += used;
	rest->length -= used;
	return line;
}

/* RFC 9112, 6.3: how the body ends. */
static const char *framing_decide(struct head_parse *parse, bool no_body, bool is_old)
{
	struct http_head *head = parse->head;

	head->closes = parse->close || (is_old && !parse->keep_alive);
	if (no_body || head->status < 200 || head->status == 204 || head->status == 304) {
		head->framing = HTTP_FRAMING_LENGTH;
		head->length = 0;
		return NULL;
	}
	if (parse->has_encoding && parse->has_length) {
		return "it has both a Content-Length and a Transfer-Encoding";
	}
	if (parse->is_chunked) {
		head->framing = HTTP_FRAMING_CHUNKED;
	} else if (!parse->has_length || parse->has_encoding) {
		head->framing = HTTP_FRAMING_TO_END;
		head->closes = true;
	}
	return NULL;
}

/* Parses a complete block. Returns what is wrong with it, or NULL. */
static const char *head_parse(const uint8_t *bytes, size_t length, bool no_body, struct http_head *head)
{
	struct slice rest = {bytes, length};
	struct head_parse parse = {.head = head};
	bool is_old = false;

	*head = (struct http_head){0};
	const char *problem = status_line_parse(line_next(&rest), head, &is_old);
	while (problem == NULL) {
		struct slice line = line_next(&rest);
		if (line.length == 0) {
			break;
		}
		problem = line_parse(&parse, line);
	}
	if (problem == NULL && head->status == 101) {
		problem = "it switches to another protocol (101)";
	}
	return problem != NULL ? problem : framing_decide(&parse, no_body, is_old);
}

/* Length of the block up to and including its empty line; 0: it does not end within these bytes. */
static size_t head_length(const uint8_t *bytes, size_t from, size_t length)
{
	for (;;) {
		const uint8_t *end = memchr(bytes + from, '\n', length - from);
		if (end == NULL) {
			return 0;
		}
		from = (size_t)(end - bytes) + 1;
		if (from < length && bytes[from] == '\n') {
			return from + 1;
		}
		if (from + 1 < length && bytes[from] == '\r' && bytes[from + 1] == '\n') {
			return from + 2;
		}
	}
}

static enum reply_verdict malformed(struct http_reply *reply, const char *problem)
{
	reply->problem = problem;
	return REPLY_MALFORMED;
}

/* The reply has this header block. */
static enum reply_verdict head_apply(struct http_reply *reply, const struct http_head *head)
{
	if (head->status < 200) {
		return REPLY_MORE; /* an interim reply: the next block follows */
	}
	reply->status = head->status;
	reply->closes = head->closes;
	reply->left = head->length;
	if (head->framing == HTTP_FRAMING_CHUNKED) {
		reply->step = STEP_CHUNK_SIZE;
	} else if (head->framing == HTTP_FRAMING_TO_END) {
		reply->step = STEP_TO_END;
	} else if (head->length != 0) {
		reply->step = STEP_BODY;
	} else {
		return REPLY_WHOLE;
	}
	return REPLY_MORE;
}

static enum reply_verdict head_judge(struct http_rules *rules, struct http_reply *reply, const uint8_t *bytes,
                                     size_t length)
{
	struct http_head head;
	const char *problem = head_parse(bytes, length, rules->no_body, &head);

	if (problem != NULL) {
		return malformed(reply, problem);
	}
	if (length <= HTTP_HEAD_KEPT_BYTES && head.status >= 200) {
		memcpy(rules->kept, bytes, length);
		rules->kept_bytes = (uint32_t)length;
		rules->kept_head = head;
	}
	return head_apply(reply, &head);
}

/* Whether a block that is not complete can still become one. */
static const char *beginning_problem(const uint8_t *bytes, size_t length)
{
	size_t compared = length < VERSION_PREFIX_BYTES ? length : VERSION_PREFIX_BYTES;

	if (memcmp(bytes, VERSION_PREFIX, compared) != 0) {
		return "it does not begin with HTTP/1.1 and a status";
	}
	return length >= HTTP_HEAD_MAX_BYTES ? "its header is longer than 16 KiB" : NULL;
}

static void head_free(struct http_reply *reply)
{
	free(reply->head);
	reply->head = NULL;
	reply->head_bytes = 0;
	reply->head_capacity = 0;
}

/* Appends to the collected beginning. False: there is no memory. */
static bool head_collect(struct http_reply *reply, const uint8_t *bytes, size_t length)
{
	size_t needed = reply->head_bytes + length;

	if (needed > reply->head_capacity) {
		size_t capacity = reply->head_capacity != 0 ? reply->head_capacity : 512;
		while (capacity < needed) {
			capacity *= 2;
		}
		uint8_t *head = realloc(reply->head, capacity);
		if (head == NULL) {
			return false;
		}
		reply->head = head;
		reply->head_capacity = (uint32_t)capacity;
	}
	memcpy(reply->head + reply->head_bytes, bytes, length);
	reply->head_bytes += (uint32_t)length;
	return true;
}

/* A block that comes in pieces. */
static size_t head_take_piece(struct http_rules *rules, struct http_reply *reply, const uint8_t *bytes, size_t length,
                              enum reply_verdict *verdict)
{
	uint32_t before = reply->head_bytes;
	size_t room = HTTP_HEAD_MAX_BYTES - before;
	size_t taken = length < room ? length : room;

	if (!head_collect(reply, bytes, taken)) {
		*verdict = malformed(reply, "there is no memory for its header");
		return length;
	}
	/* The empty line may have begun in an earlier piece. */
	size_t end = head_length(reply->head, before > 3 ? before - 3 : 0, reply->head_bytes);
	if (end != 0) {
		taken = end - before;
		*verdict = head_judge(rules, reply, reply->head, end);
		if (*verdict != REPLY_MALFORMED) {
			head_free(reply);
		}
		return taken;
	}
	const char *problem = beginning_problem(reply->head, reply->head_bytes);
	*verdict = problem != NULL ? malformed(reply, problem) : REPLY_MORE;
	return taken;
}

static size_t head_take(struct http_rules *rules, struct http_reply *reply, const uint8_t *bytes, size_t length,
                        enum reply_verdict *verdict)
{
	if (reply->head_bytes != 0) {
		return head_take_piece(rules, reply, bytes, length, verdict);
	}
	if (rules->kept_bytes != 0 && length >= rules->kept_bytes && memcmp(bytes, rules->kept, rules->kept_bytes) == 0) {
		*verdict = head_apply(reply, &rules->kept_head);
		return rules->kept_bytes;
	}
	size_t end = head_length(bytes, 0, length < HTTP_HEAD_MAX_BYTES ? length : HTTP_HEAD_MAX_BYTES);
	if (end == 0) {
		return head_take_piece(rules, reply, bytes, length, verdict);
	}
	*verdict = head_judge(rules, reply, bytes, end);
	return end;
}

/* --------------------------------------------------------------------------------------------- body */

static size_t smaller(uint64_t left, size_t length)
{
	return left < length ? (size_t)left : length;
}

static int hex_digit(uint8_t byte)
{
	if (is_digit(byte)) {
		return byte - '0';
	}
	byte = lower(byte);
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* One byte of the line before a chunk. */
static enum reply_verdict chunk_line_take(struct http_reply *reply, uint8_t byte)
{
	int digit = hex_digit(byte);

	if (++reply->line_bytes > HTTP_CHUNK_LINE_MAX_BYTES) {
		return malformed(reply, "the line before a chunk is longer than 4 KiB");
	}
	if (reply->step == STEP_CHUNK_LINE_LF) {
		reply->step = reply->left != 0 ? STEP_CHUNK_DATA : STEP_TRAILER;
		reply->line_bytes = 0;
		return byte == '\n' ? REPLY_MORE : malformed(reply, "the line before a chunk does not end with CR LF");
	}
	if (byte == '\n') {
		return malformed(reply, "the line before a chunk does not end with CR LF");
	}
	if (reply->step == STEP_CHUNK_REST) {
		reply->step = byte == '\r' ? STEP_CHUNK_LINE_LF : STEP_CHUNK_REST;
		return REPLY_MORE;
	}
	if (digit >= 0) {
		if (reply->left >> 56 != 0) {
			return malformed(reply, "the size of a chunk is too large");
		}
		reply->left = reply->left << 4 | (uint64_t)digit;
		reply->step = STEP_CHUNK_DIGITS;
		return REPLY_MORE;
	}
	if (reply->step == STEP_CHUNK_SIZE) {
		return malformed(reply, "the size of a chunk is not a hexadecimal number");
	}
	if (byte == '\r') {
		reply->step = STEP_CHUNK_LINE_LF;
	} else if (byte == ';' || is_blank(byte)) {
		reply->step = STEP_CHUNK_REST;
	} else {
		return malformed(reply, "the size of a chunk is not a hexadecimal number");
	}
	return REPLY_MORE;
}

/* One byte of the trailers. */
static enum reply_verdict trailer_take(struct http_reply *reply, uint8_t byte)
{
	if (++reply->line_bytes > HTTP_HEAD_MAX_BYTES) {
		return malformed(reply, "its trailers are longer than 16 KiB");
	}
	if (reply->step == STEP_TRAILER_LF) {
		return byte == '\n' ? REPLY_WHOLE : malformed(reply, "its trailers have a CR without LF");
	}
	if (byte == '\n') {
		if (reply->step == STEP_TRAILER) {
			return REPLY_WHOLE;
		}
		reply->step = STEP_TRAILER;
	} else {
		reply->step = reply->step == STEP_TRAILER && byte == '\r' ? STEP_TRAILER_LF : STEP_TRAILER_LINE;
	}
	return REPLY_MORE;
}

static size_t chunk_take(struct http_reply *reply, const uint8_t *bytes, size_t length, enum reply_verdict *verdict)
{
	switch ((enum step)reply->step) {
	case STEP_CHUNK_DATA: {
		size_t part = smaller(reply->left, length);
		body_take(reply, bytes, part);
		reply->left -= part;
		reply->step = reply->left == 0 ? STEP_CHUNK_CR : STEP_CHUNK_DATA;
		*verdict = REPLY_MORE;
		return part;
	}
	case STEP_CHUNK_CR:
	case STEP_CHUNK_LF:
		*verdict = *bytes == (reply->step == STEP_CHUNK_CR ? '\r' : '\n')
		               ? REPLY_MORE
		               : malformed(reply, "a chunk is longer than its size");
		reply->step = reply->step == STEP_CHUNK_CR ? STEP_CHUNK_LF : STEP_CHUNK_SIZE;
		return 1;
	case STEP_TRAILER:
	case STEP_TRAILER_LINE:
	case STEP_TRAILER_LF:
		*verdict = trailer_take(reply, *bytes);
		return 1;
	default:
		*verdict = chunk_line_take(reply, *bytes);
		return 1;
	}
}

static size_t step_take(struct http_rules *rules, struct http_reply *reply, const uint8_t *bytes, size_t length,
                        enum reply_verdict *verdict)
{
	switch ((enum step)reply->step) {
	case STEP_HEAD:
		return head_take(rules, reply, bytes, length, verdict);
	case STEP_BODY: {
		size_t part = smaller(reply->left, length);
		body_take(reply, bytes, part);
		reply->left -= part;
		*verdict = reply->left == 0 ? REPLY_WHOLE : REPLY_MORE;
		return part;
	}
	case STEP_TO_END:
		body_take(reply, bytes, length);
		*verdict = REPLY_MORE;
		return length;
	default:
		return chunk_take(reply, bytes, length, verdict);
	}
}

/* -------------------------------------------------------------------------------------------- reply */

size_t http_reply_take(struct http_rules *rules, struct http_reply *reply, const uint8_t *bytes, size_t length,
                       enum reply_verdict *verdict)
{
	size_t used = 0;

	*verdict = REPLY_MORE;
	while (used < length && *verdict == REPLY_MORE) {
		used += step_take(rules, reply, bytes + used, length - used, verdict);
	}
	reply->bytes += used;
	if (*verdict == REPLY_WHOLE) {
		body_end(reply);
	}
	return used;
}

enum reply_verdict http_reply_end(struct http_reply *reply)
{
	if (reply->step != STEP_TO_END) {
		return REPLY_MORE;
	}
	body_end(reply);
	return REPLY_WHOLE;
}

void http_reply_next(struct http_reply *reply)
{
	reply->left = 0;
	reply->body_bytes = 0;
	reply->body_hash = 0;
	reply->word = 0;
	reply->bytes = 0;
	reply->problem = NULL;
	reply->line_bytes = 0;
	reply->status = 0;
	reply->word_bytes = 0;
	reply->step = STEP_HEAD;
	reply->closes = false;
}

void http_reply_reset(struct http_reply *reply)
{
	head_free(reply);
	http_reply_next(reply);
}
