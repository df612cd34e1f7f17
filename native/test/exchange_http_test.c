/*
 * exchange_http_test.c - the parser of HTTP replies: every reply of fixtures/http/replies.txt in one piece, split at every position and byte
 * by byte; the limits; and replies that a deterministic mutator makes of them, in random pieces. A reply means the same however it is split.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "load/exchange_http.h"

#define CASES_MAX 256
#define TEXT_MAX 8192
#define MUTATIONS 20000

struct reply_case {
	enum reply_verdict verdict;
	bool at_end; /* REPLY_WHOLE when the connection ends */
	bool closes;
	bool no_body;
	uint32_t status;
	uint64_t body_bytes;
	size_t length;
	uint8_t bytes[TEXT_MAX];
};

/* What the parser found. */
struct outcome {
	enum reply_verdict verdict;
	enum reply_verdict at_end;
	uint32_t status;
	bool closes;
	uint64_t body_bytes;
	uint64_t body_hash;
	size_t used;
};

static struct reply_case cases[CASES_MAX];
static size_t case_count;

/* ------------------------------------------------------------------------------------------ fixtures */

static int hex(char digit)
{
	return digit >= 'a' ? digit - 'a' + 10 : digit >= 'A' ? digit - 'A' + 10 : digit - '0';
}

static size_t unescape(const char *text, uint8_t *out)
{
	size_t length = 0;

	for (; *text != '\0' && *text != '\n'; text++) {
		if (*text != '\\') {
			out[length++] = (uint8_t)*text;
			continue;
		}
		switch (*++text) {
		case 'r':
			out[length++] = '\r';
			break;
		case 'n':
			out[length++] = '\n';
			break;
		case 't':
			out[length++] = '\t';
			break;
		case '0':
			out[length++] = '\0';
			break;
		case 'x':
			out[length++] = (uint8_t)(hex(text[1]) << 4 | hex(text[2]));
			text += 2;
			break;
		default:
			out[length++] = (uint8_t)*text;
			break;
		}
	}
	return length;
}

static void case_read(const char *line)
{
	struct reply_case *to = &cases[case_count];
	char verdict[16], connection[16];
	unsigned status;
	unsigned long long body_bytes;
	int at = 0;

	if (line[0] == '#' || line[0] == '\n') {
		return;
	}
	if (!CHECK(sscanf(line, "%15s %u %llu %15s %n", verdict, &status, &body_bytes, connection, &at) == 4) ||
	    !CHECK(case_count < CASES_MAX - 1)) {
		return;
	}
	to->at_end = strcmp(verdict, "end") == 0;
	to->verdict = strcmp(verdict, "whole") == 0       ? REPLY_WHOLE
	              : strcmp(verdict, "malformed") == 0 ? REPLY_MALFORMED
	                                                  : REPLY_MORE;
	to->closes = strcmp(connection, "close") == 0;
	to->no_body = strcmp(connection, "head") == 0;
	to->status = status;
	to->body_bytes = body_bytes;
	to->length = unescape(line + at, to->bytes);
	case_count++;
}

static void cases_read(void)
{
	FILE *file = fopen(IB_FIXTURES "/http/replies.txt", "rb");
	static char line[TEXT_MAX];

	if (!CHECK(file != NULL)) {
		return;
	}
	while (fgets(line, sizeof line, file) != NULL) {
		case_read(line);
	}
	CHECK(case_count > 60);
	(void)fclose(file);
}

/* ------------------------------------------------------------------------------------------- running */

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t count)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((random_state >> 33) % count);
}

/* Gives the parser pieces of at most `piece` bytes (0: of random sizes), each in memory of exactly its size. */
static struct outcome run(struct http_rules *rules, const uint8_t *bytes, size_t length, size_t first, size_t piece)
{
	struct http_reply reply = {0};
	struct outcome outcome = {.verdict = REPLY_MORE};

	while (outcome.used < length && outcome.verdict == REPLY_MORE) {
		size_t left = length - outcome.used;
		size_t part = outcome.used == 0 && first != 0 ? first : piece != 0 ? piece : 1 + random_below(40);
		part = part < left ? part : left;
		uint8_t *copy = malloc(part);
		if (!CHECK(copy != NULL)) {
			break;
		}
		memcpy(copy, bytes + outcome.used, part);
		size_t used = http_reply_take(rules, &reply, copy, part, &outcome.verdict);
		free(copy);
		CHECK(used <= part);
		CHECK(outcome.verdict != REPLY_MORE || used == part);
		CHECK((outcome.verdict == REPLY_MALFORMED) == (reply.problem != NULL));
		outcome.used += used;
	}
	outcome.at_end = outcome.verdict == REPLY_MORE ? http_reply_end(&reply) : REPLY_MORE;
	if (outcome.verdict == REPLY_WHOLE || outcome.at_end == REPLY_WHOLE) {
		CHECK_EQUAL(reply.bytes, outcome.used);
		outcome.status = reply.status;
		outcome.closes = reply.closes;
		outcome.body_bytes = reply.body_bytes;
		outcome.body_hash = reply.body_hash;
	}
	http_reply_reset(&reply);
	CHECK(reply.head == NULL);
	return outcome;
}

static bool outcome_is(const struct outcome *outcome, const struct reply_case *expected)
{
	bool is_whole = expected->verdict == REPLY_WHOLE || expected->at_end;

	return CHECK_EQUAL(outcome->verdict, expected->verdict) &&
	       CHECK_EQUAL(outcome->at_end, expected->at_end ? REPLY_WHOLE : REPLY_MORE) &&
	       CHECK_EQUAL(outcome->status, expected->status) && CHECK_EQUAL(outcome->body_bytes, expected->body_bytes) &&
	       CHECK_EQUAL(outcome->closes, is_whole && expected->closes) &&
	       CHECK(!is_whole || outcome->used == expected->length);
}

static bool outcomes_agree(const struct outcome *one, const struct outcome *other)
{
	return CHECK_EQUAL(one->verdict, other->verdict) && CHECK_EQUAL(one->at_end, other->at_end) &&
	       CHECK_EQUAL(one->status, other->status) && CHECK_EQUAL(one->closes, other->closes) &&
	       CHECK_EQUAL(one->body_bytes, other->body_bytes) && CHECK_EQUAL(one->body_hash, other->body_hash) &&
	       CHECK(one->verdict == REPLY_MALFORMED || one->used == other->used);
}

/* ------------------------------------------------------------------------------------------- the forms */

static void case_test(const struct reply_case *one)
{
	struct http_rules rules = {.no_body = one->no_body};
	struct outcome first = run(&rules, one->bytes, one->length, 0, one->length);
	bool right = outcome_is(&first, one);

	/* The same rules know the header block now. */
	struct outcome again = run(&rules, one->bytes, one->length, 0, one->length);
	right = outcomes_agree(&again, &first) && right;
	for (size_t split = 1; split < one->length; split++) {
		struct http_rules fresh = {.no_body = one->no_body};
		struct outcome outcome = run(&fresh, one->bytes, one->length, split, one->length);
		right = outcomes_agree(&outcome, &first) && right;
		outcome = run(&rules, one->bytes, one->length, split, one->length);
		right = outcomes_agree(&outcome, &first) && right;
	}
	struct outcome bytewise = run(&rules, one->bytes, one->length, 0, 1);
	right = outcomes_agree(&bytewise, &first) && right;
	if (!right) {
		(void)fprintf(stderr, "  in the reply %zu: %.60s\n", (size_t)(one - cases), (const char *)one->bytes);
	}
}

/* Whatever follows a whole reply is left for the next one. */
static void followed_test(const struct reply_case *one)
{
	static const char follower[] = "HTTP/1.1 204 No Content\r\n\r\n";
	static uint8_t both[TEXT_MAX + sizeof follower];
	struct http_rules rules = {.no_body = one->no_body};
	struct http_reply reply = {0};
	enum reply_verdict verdict;

	memcpy(both, one->bytes, one->length);
	memcpy(both + one->length, follower, sizeof follower - 1);
	size_t total = one->length + sizeof follower - 1;
	CHECK_EQUAL(http_reply_take(&rules, &reply, both, total, &verdict), one->length);
	CHECK_EQUAL(verdict, REPLY_WHOLE);
	http_reply_next(&reply);
	CHECK_EQUAL(http_reply_take(&rules, &reply, both + one->length, total - one->length, &verdict),
	            sizeof follower - 1);
	CHECK_EQUAL(verdict, REPLY_WHOLE);
	CHECK_EQUAL(reply.status, 204);
	CHECK_EQUAL(reply.body_bytes, 0);
	http_reply_reset(&reply);
}

static void test_forms(void)
{
	for (size_t at = 0; at < case_count; at++) {
		case_test(&cases[at]);
		if (cases[at].verdict == REPLY_WHOLE) {
			followed_test(&cases[at]);
		}
	}
}

/* -------------------------------------------------------------------------------------------- limits */

/* A reply with `filler` bytes between `before` and `after`. */
static enum reply_verdict filled(const char *before, size_t filler, const char *after, size_t piece)
{
	size_t length = strlen(before) + filler + strlen(after);
	uint8_t *bytes = malloc(length);
	struct http_rules rules = {0};

	if (!CHECK(bytes != NULL)) {
		return REPLY_MORE;
	}
	memcpy(bytes, before, strlen(before));
	memset(bytes + strlen(before), 'x', filler);
	memcpy(bytes + strlen(before) + filler, after, strlen(after));
	struct outcome outcome = run(&rules, bytes, length, 0, piece != 0 ? piece : length);
	free(bytes);
	return outcome.verdict;
}

static void test_limits(size_t piece)
{
	const char *head = "HTTP/1.1 204 No Content\r\nX: ";
	size_t room = HTTP_HEAD_MAX_BYTES - strlen(head) - 4;
	const char *chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0;";
	const char *trailers = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ";

	CHECK_EQUAL(filled(head, room, "\r\n\r\n", piece), REPLY_WHOLE);
	CHECK_EQUAL(filled(head, room + 1, "\r\n\r\n", piece), REPLY_MALFORMED);
	CHECK_EQUAL(filled(head, 100000, "", piece), REPLY_MALFORMED);
	CHECK_EQUAL(filled(chunked, 4000, "\r\n\r\n", piece), REPLY_WHOLE);
	CHECK_EQUAL(filled(chunked, 5000, "\r\n\r\n", piece), REPLY_MALFORMED);
	CHECK_EQUAL(filled(trailers, 16000, "\r\n\r\n", piece), REPLY_WHOLE);
	CHECK_EQUAL(filled(trailers, 17000, "\r\n\r\n", piece), REPLY_MALFORMED);
}

static void test_hash(void)
{
	uint8_t body[64];

	for (size_t at = 0; at < sizeof body; at++) {
		body[at] = (uint8_t)(at * 7);
	}
	/* Zeros at the end, a length, and a byte anywhere make another body. */
	CHECK(http_body_hash(body, 63) != http_body_hash(body, 64));
	CHECK(http_body_hash((const uint8_t *)"", 0) != http_body_hash((const uint8_t *)"\0", 1));
	CHECK(http_body_hash((const uint8_t *)"\0", 1) != http_body_hash((const uint8_t *)"\0\0", 2));
	uint64_t hash = http_body_hash(body, sizeof body);
	for (size_t at = 0; at < sizeof body; at++) {
		body[at] ^= 1;
		CHECK(http_body_hash(body, sizeof body) != hash);
		body[at] ^= 1;
	}
}

/* ------------------------------------------------------------------------------------------- mutations */

/* Changes the text in place. Returns its new length. */
static size_t mutate(uint8_t *bytes, size_t length)
{
	static const char *const tokens[] = {
	    "\r\n", "\r\n\r\n", "0\r\n\r\n", "Content-Length: 5\r\n", "chunked", "HTTP/1.1 200 OK\r\n", "\n", "\r",
	    ":",    " ",        "\xff",      "99999999999",           ";"};
	size_t place = length != 0 ? random_below((uint32_t)length + 1) : 0;
	size_t part = length > place ? 1 + random_below((uint32_t)(length - place)) : 0;
	const char *token = tokens[random_below(sizeof tokens / sizeof tokens[0])];

	switch (random_below(6)) {
	case 0: /* another byte */
		if (place < length) {
			bytes[place] = (uint8_t)random_below(256);
		}
		return length;
	case 1: /* another bit */
		if (place < length) {
			bytes[place] ^= (uint8_t)(1u << random_below(8));
		}
		return length;
	case 2: /* a slice is missing */
		part = part < 16 ? part : 16;
		memmove(bytes + place, bytes + place + part, length - place - part);
		return length - part;
	case 3: /* the end is missing */
		return place;
	case 4: /* a slice twice */
		part = part < 64 ? part : 64;
		if (length + part > TEXT_MAX) {
			return length;
		}
		memmove(bytes + place + part, bytes + place, length - place);
		return length + part;
	default: /* something of the protocol in the wrong place */
		if (length + strlen(token) > TEXT_MAX) {
			return length;
		}
		memmove(bytes + place + strlen(token), bytes + place, length - place);
		memcpy(bytes + place, token, strlen(token));
		return length + strlen(token);
	}
}

static void test_mutations(void)
{
	static uint8_t bytes[TEXT_MAX];
	uint64_t by_verdict[3] = {0};

	for (uint32_t at = 0; at < MUTATIONS; at++) {
		const struct reply_case *from = &cases[random_below((uint32_t)case_count)];
		size_t length = from->length;
		memcpy(bytes, from->bytes, length);
		for (uint32_t changes = random_below(4); changes != 0; changes--) {
			length = mutate(bytes, length);
		}
		struct http_rules rules = {.no_body = from->no_body};
		struct outcome whole = run(&rules, bytes, length, 0, length != 0 ? length : 1);
		struct outcome pieces = run(&rules, bytes, length, 0, 0);
		struct http_rules fresh = {.no_body = from->no_body};
		struct outcome bytewise = run(&fresh, bytes, length, 0, 1);
		if (!outcomes_agree(&pieces, &whole) || !outcomes_agree(&bytewise, &whole)) {
			(void)fprintf(stderr, "  in mutation %u: %.*s\n", at, (int)length, (const char *)bytes);
		}
		by_verdict[whole.verdict]++;
	}
	/* The mutator makes replies of every kind. */
	CHECK(by_verdict[REPLY_MORE] > MUTATIONS / 20);
	CHECK(by_verdict[REPLY_WHOLE] > MUTATIONS / 20);
	CHECK(by_verdict[REPLY_MALFORMED] > MUTATIONS / 20);
}

int main(void)
{
	cases_read();
	test_forms();
	test_limits(0);
	test_limits(1000);
	test_limits(1);
	test_hash();
	test_mutations();
	return check_result();
}
