/*
 * http_request_test.c - requests end where RFC 9112 says, however their bytes are cut into pieces; everything else is refused.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "server/http_request.h"

#define REQUESTS_MAX 64u
#define FUZZED_INPUTS 20000
#define FUZZED_BYTES 600u

/* What became of a stream of bytes. */
struct outcome {
	size_t taken; /* up to the end of the last request */
	uint32_t requests;
	uint32_t continues;
	uint64_t head; /* a bit for each of the requests */
	uint64_t keeps_alive;
	enum http_result refused; /* HTTP_MALFORMED, HTTP_TOO_LARGE, or HTTP_MORE */
};

/* Takes a piece of the stream that begins at `offset`. */
static void feed(struct outcome *outcome, struct http_parser *parser, const char *bytes, size_t offset, size_t length)
{
	size_t end = offset + length;
	while (offset < end && outcome->refused == HTTP_MORE) {
		/* A copy of its own, so that AddressSanitizer sees a byte beyond the end. */
		char *piece = malloc(end - offset);
		size_t taken = 0;
		memcpy(piece, bytes + offset, end - offset);
		enum http_result result = http_parse(parser, piece, end - offset, &taken);
		free(piece);
		CHECK(taken <= end - offset);
		offset += taken;
		switch (result) {
		case HTTP_MORE:
			CHECK_EQUAL(offset, end);
			break;
		case HTTP_REQUEST:
			if (outcome->requests < REQUESTS_MAX) {
				outcome->head |= (uint64_t)parser->is_head << outcome->requests;
				outcome->keeps_alive |= (uint64_t)parser->keeps_alive << outcome->requests;
			}
			outcome->requests++;
			outcome->taken = offset;
			break;
		case HTTP_CONTINUE:
			outcome->continues++;
			break;
		default:
			outcome->refused = result;
		}
	}
}

/* In two pieces. */
static struct outcome parse_cut(const char *bytes, size_t length, size_t cut)
{
	struct outcome outcome = {0};
	struct http_parser parser = {0};
	feed(&outcome, &parser, bytes, 0, cut);
	feed(&outcome, &parser, bytes, cut, length - cut);
	return outcome;
}

static struct outcome parse_bytewise(const char *bytes, size_t length)
{
	struct outcome outcome = {0};
	struct http_parser parser = {0};
	for (size_t at = 0; at < length; at++) {
		feed(&outcome, &parser, bytes, at, 1);
	}
	return outcome;
}

static bool is_same(const struct outcome *a, const struct outcome *b)
{
	return a->taken == b->taken && a->requests == b->requests && a->continues == b->continues && a->head == b->head &&
	       a->keeps_alive == b->keeps_alive && a->refused == b->refused;
}

/* Whole, byte by byte, and cut in two at every place: always the same. */
static struct outcome parse_every_way(const char *bytes, size_t length)
{
	struct outcome whole = parse_cut(bytes, length, length);
	struct outcome bytewise = parse_bytewise(bytes, length);
	bool same = is_same(&whole, &bytewise);
	for (size_t cut = 1; same && cut < length; cut++) {
		struct outcome two = parse_cut(bytes, length, cut);
		same = is_same(&whole, &two);
	}
	if (!CHECK(same)) {
		(void)fprintf(stderr, "differs by the place of a cut: %.*s\n", (int)length, bytes);
	}
	return whole;
}

#define HOST "Host: a.example:80\r\n"

struct valid {
	const char *bytes;
	uint32_t requests;
	uint64_t head;
	uint64_t keeps_alive;
	uint32_t continues;
};

static const struct valid valid[] = {
    {"GET / HTTP/1.1\r\n" HOST "\r\n", 1, 0, 1, 0},
    {"HEAD / HTTP/1.1\r\n" HOST "\r\n", 1, 1, 1, 0},
    {"head / HTTP/1.1\r\n" HOST "\r\n", 1, 0, 1, 0}, /* methods are case-sensitive */
    {"M-SEARCH * HTTP/1.1\r\nHOST:\r\n\r\n", 1, 0, 1, 0},
    {"AVERYLONGMETHODTHATNOBODYKNOWS /a?b=c#%20 HTTP/1.9\r\nhost: [::1]:80\r\n\r\n", 1, 0, 1, 0},
    {"GET http://a.example/x HTTP/1.1\r\nhOsT:\t a.example \t\r\n\r\n", 1, 0, 1, 0},
    {"\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n\r\n", 1, 0, 1, 0}, /* empty lines before and after a request */
    {"GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", 1, 0, 0, 0},
    {"GET / HTTP/1.1\r\n" HOST "Connection: Upgrade , CLOSE\r\n\r\n", 1, 0, 0, 0},
    {"GET / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nConnection: close\r\n\r\n", 1, 0, 0, 0},
    {"GET / HTTP/1.1\r\n" HOST "Connection: closed, not close\r\n\r\n", 1, 0, 1, 0},
    {"GET / HTTP/1.1\r\n" HOST "Connection: ,, \r\n\r\n", 1, 0, 1, 0},
    {"GET / HTTP/1.0\r\n\r\n", 1, 0, 0, 0},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 1, 0, 1, 0},
    {"GET / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\n\r\n", 1, 0, 1, 0},
    {"GET / HTTP/1.1\r\n" HOST "X-Long-Name-Of-A-Field-That-Is-Unknown: \xff\x80 \"q\"\r\nEmpty:\r\n\r\n", 1, 0, 1, 0},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 1, 0, 1, 0},
    {"POST / HTTP/1.1\r\n" HOST "content-LENGTH:  0005\t\r\n\r\nhello", 1, 0, 1, 0},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 22\r\n\r\nGET / HTTP/1.1\r\n\r\nabcd", 1, 0, 1, 0},
    {"HEAD / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n\n\n\n", 1, 1, 1, 0},
    {"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 1, 0, 0, 0},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1, 0, 1, 0},
    {"POST / HTTP/1.1\r\n" HOST
     "transfer-encoding:\t CHUNKED \r\n\r\n5\r\nhello\r\n00B;a=\"b;c\"\r\nhello\r\nworl\r\n0;x\r\n\r\n",
     1, 0, 1, 0},
    {"POST / HTTP/1.1\r\n" HOST
     "Transfer-Encoding: chunked\r\n\r\n1 \t;a = b\r\nx\r\n0000\r\nA: b\r\nContent-Length: x\r\n\r\n",
     1, 0, 1, 0},
    {"POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab", 1, 0, 1, 1},
    {"POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 1, 0,
     1, 1},
    {"POST / HTTP/1.1\r\n" HOST "Expect: something\r\nContent-Length: 2\r\n\r\nab", 1, 0, 1, 0},
    {"GET / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n\r\n", 1, 0, 1, 0}, /* no body to wait for */
    {"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na", 1, 0, 0, 0},
    {"GET / HTTP/1.1\r\n" HOST "\r\nHEAD /2 HTTP/1.1\r\n" HOST "\r\nGET /3 HTTP/1.1\r\n" HOST "\r\n", 3, 2, 7, 0},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\nG\r\n0\r\n\r\nHEAD / HTTP/1.1\r\n" HOST
     "Content-Length: 1\r\n\r\nXGET / HTTP/1.0\r\n\r\n",
     3, 2, 3, 0},
};

static void test_valid(void)
{
	for (size_t index = 0; index < sizeof valid / sizeof valid[0]; index++) {
		const struct valid *request = &valid[index];
		struct outcome outcome = parse_every_way(request->bytes, strlen(request->bytes));
		bool right = CHECK_EQUAL(outcome.refused, HTTP_MORE);
		right = CHECK_EQUAL(outcome.requests, request->requests) && right;
		right = CHECK_EQUAL(outcome.head, request->head) && right;
		right = CHECK_EQUAL(outcome.keeps_alive, request->keeps_alive) && right;
		right = CHECK_EQUAL(outcome.continues, request->continues) && right;
		if (!right) {
			(void)fprintf(stderr, "of the request: %s\n", request->bytes);
		}
	}
}

/* A request is whole with its last byte, not before, and takes nothing of the next. */
static void test_incomplete(void)
{
	for (size_t index = 0; index < sizeof valid / sizeof valid[0]; index++) {
		const struct valid *request = &valid[index];
		if (request->requests > 1 || request->bytes[0] == '\r') {
			continue;
		}
		size_t length = strlen(request->bytes);
		for (size_t cut = 0; cut < length; cut++) {
			struct outcome outcome = parse_cut(request->bytes, cut, cut);
			CHECK_EQUAL(outcome.requests, 0);
			CHECK_EQUAL(outcome.refused, HTTP_MORE);
		}
		CHECK_EQUAL(parse_cut(request->bytes, length, length).taken, length);
	}
}

static const char *const malformed[] = {
    " GET / HTTP/1.1\r\n" HOST "\r\n",
    "\nGET / HTTP/1.1\r\n" HOST "\r\n",
    "\r\r\nGET / HTTP/1.1\r\n" HOST "\r\n",
    "GET\r\n",
    "GET /\r\n",
    "GET / \r\n",
    "GET  / HTTP/1.1\r\n" HOST "\r\n",
    "GET /  HTTP/1.1\r\n" HOST "\r\n",
    "GET / HTTP/1.1 \r\n" HOST "\r\n",
    "GET / HTTP/1.1\n" HOST "\r\n",
    "GET / HTTP/1.1\r" HOST "\r\n",
    "GET / HTTP/1.\r\n" HOST "\r\n",
    "GET / HTTP/1.10\r\n" HOST "\r\n",
    "GET / HTTP/2.0\r\n" HOST "\r\n",
    "GET / http/1.1\r\n" HOST "\r\n",
    "GET / HTTP 1.1\r\n" HOST "\r\n",
    "GET /\t HTTP/1.1\r\n" HOST "\r\n",
    "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n",
    "G(T / HTTP/1.1\r\n" HOST "\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\x16\x03\x01\x02",
    "CONNECT a.example:443 HTTP/1.1\r\n" HOST "\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST HOST "\r\n",
    "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST "Name : value\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST "Na me: value\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST "Name\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST ": value\r\n\r\n",
    "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST "Name: value\r\n folded\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST "Name: value\r\n\tfolded\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST "Name: value\n\r\n",
    "GET / HTTP/1.1\r\n" HOST "Name: a\rb\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST "Name: a\x01\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST "Name: a\x7f\r\n\r\n",
    "GET / HTTP/1.1\r\n" HOST "\n",
    "GET / HTTP/1.1\r\n" HOST "\r\r\n",
    "POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\nx",
    "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\nx",
    "POST / HTTP/1.1\r\n" HOST "Content-Length: 1 2\r\n\r\nx",
    "POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\nx",
    "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked x\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n",
    "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n",
    "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
#define CHUNKED "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
    CHUNKED "\r\n",
    CHUNKED "g\r\n",
    CHUNKED "-1\r\n",
    CHUNKED "0x1\r\n",
    CHUNKED " 1\r\nx\r\n",
    CHUNKED "1 \r\nx\r\n",
    CHUNKED "1\nx\r\n",
    CHUNKED "1\r\nxx\r\n",
    CHUNKED "1\r\nx\n",
    CHUNKED "1;a\nx\r\n",
    CHUNKED "1\rx\r\n",
    CHUNKED "10000000000000000\r\n",
    CHUNKED "ffffffffffffffff\r\n",
    CHUNKED "0\r\nName : value\r\n\r\n",
    CHUNKED "0\r\n folded\r\n\r\n",
    CHUNKED "0\r\n\n",
};

static void test_malformed(void)
{
	static const char before[] = "GET / HTTP/1.1\r\n" HOST "\r\n";
	for (size_t index = 0; index < sizeof malformed / sizeof malformed[0]; index++) {
		char bytes[1024];
		int length = snprintf(bytes, sizeof bytes, "%s%s", before, malformed[index]);
		struct outcome alone = parse_every_way(malformed[index], strlen(malformed[index]));
		struct outcome second = parse_every_way(bytes, (size_t)length);
		bool right = CHECK_EQUAL(alone.refused, HTTP_MALFORMED) && CHECK_EQUAL(alone.requests, 0);
		right = CHECK_EQUAL(second.refused, HTTP_MALFORMED) && CHECK_EQUAL(second.requests, 1) && right;
		if (!right) {
			(void)fprintf(stderr, "of the request: %s\n", malformed[index]);
		}
	}
	/* Zero bytes, which no string literal above can hold. */
	static const char zero[] = "GET / HTTP/1.1\r\n" HOST "Name: a\0b\r\n\r\n";
	CHECK_EQUAL(parse_every_way(zero, sizeof zero - 1).refused, HTTP_MALFORMED);
}

/* `head`, `count` times the letter, `tail`. */
static char *padded(const char *head, size_t count, const char *tail)
{
	size_t head_bytes = strlen(head), tail_bytes = strlen(tail);
	char *bytes = malloc(head_bytes + count + tail_bytes + 1);
	memcpy(bytes, head, head_bytes);
	memset(bytes + head_bytes, 'a', count);
	memcpy(bytes + head_bytes + count, tail, tail_bytes + 1);
	return bytes;
}

/* What becomes of a header of `excess` bytes more than allowed, if the letters of the part that is too long stand between head and tail. */
static enum http_result limit_result(const char *head, const char *tail, size_t excess)
{
	char *bytes = padded(head, HTTP_HEADER_BYTES_MAX + excess - strlen(head) - strlen(tail), tail);
	size_t length = strlen(bytes);
	struct outcome whole = parse_cut(bytes, length, length);
	struct outcome bytewise = parse_bytewise(bytes, length);
	struct outcome two = parse_cut(bytes, length, HTTP_HEADER_BYTES_MAX - 1);
	CHECK(is_same(&whole, &bytewise) && is_same(&whole, &two));
	CHECK_EQUAL(whole.requests, whole.refused == HTTP_MORE);
	free(bytes);
	return whole.refused;
}

static void test_limits(void)
{
	static const char *const parts[][2] = {
	    {"GET /", " HTTP/1.1\r\n" HOST "\r\n"},
	    {"", " / HTTP/1.1\r\n" HOST "\r\n"},
	    {"GET / HTTP/1.1\r\n" HOST "Name: ", "\r\n\r\n"},
	    {"GET / HTTP/1.1\r\n" HOST "Name", ":\r\n\r\n"},
	};
	for (size_t index = 0; index < sizeof parts / sizeof parts[0]; index++) {
		CHECK_EQUAL(limit_result(parts[index][0], parts[index][1], 0), HTTP_MORE);
		CHECK_EQUAL(limit_result(parts[index][0], parts[index][1], 1), HTTP_TOO_LARGE);
	}
	/* The limit is of one header, not of all on a connection; a body has none. */
	char *large = padded("POST / HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n", 100000, "");
	char *twice = malloc(2 * strlen(large) + 1);
	(void)sprintf(twice, "%s%s", large, large);
	struct outcome outcome = parse_cut(twice, strlen(twice), 50000);
	CHECK_EQUAL(outcome.requests, 2);
	free(twice);
	free(large);

	char *trailers = padded(CHUNKED "0\r\nName: ", HTTP_HEADER_BYTES_MAX, "\r\n\r\n");
	CHECK_EQUAL(parse_cut(trailers, strlen(trailers), 1000).refused, HTTP_TOO_LARGE);
	free(trailers);
	char *extension = padded(CHUNKED "1;", HTTP_CHUNK_LINE_BYTES_MAX - 4, "\r\nx\r\n0\r\n\r\n");
	CHECK_EQUAL(parse_cut(extension, strlen(extension), 1000).requests, 1);
	free(extension);
	extension = padded(CHUNKED "1;", HTTP_CHUNK_LINE_BYTES_MAX - 3, "\r\nx\r\n0\r\n\r\n");
	CHECK_EQUAL(parse_cut(extension, strlen(extension), 1000).refused, HTTP_MALFORMED);
	free(extension);

	char empty[HTTP_HEADER_BYTES_MAX + 2];
	for (size_t at = 0; at < sizeof empty; at++) {
		empty[at] = at % 2 == 0 ? '\r' : '\n';
	}
	CHECK_EQUAL(parse_cut(empty, sizeof empty, 7).refused, HTTP_TOO_LARGE);
}

/* ------------------------------------------------------------------------------------------- fuzzing */

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t bound)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % bound;
}

static size_t append(char *bytes, size_t length, const char *more)
{
	size_t count = strlen(more);
	if (count > FUZZED_BYTES - length) {
		count = FUZZED_BYTES - length;
	}
	memcpy(bytes + length, more, count);
	return length + count;
}

/* A few requests, valid and malformed, with some bytes changed, removed or doubled. */
static size_t fuzz_make(char *bytes)
{
	static const char interesting[] = "\r\n\t :;,0123456789abcfgABCFG/.-\"\0\x7f\x80\xff";
	size_t length = 0;
	for (uint32_t part = 0, parts = 1 + random_below(4); part < parts; part++) {
		bool right = random_below(3) > 0;
		length = append(bytes, length,
		                right ? valid[random_below(sizeof valid / sizeof valid[0])].bytes
		                      : malformed[random_below(sizeof malformed / sizeof malformed[0])]);
	}
	for (uint32_t change = 0, changes = random_below(6); change < changes && length > 1; change++) {
		size_t at = random_below((uint32_t)length);
		switch (random_below(3)) {
		case 0:
			bytes[at] = interesting[random_below(sizeof interesting - 1)];
			break;
		case 1:
			memmove(bytes + at, bytes + at + 1, length - at - 1);
			length--;
			break;
		default:
			if (length < FUZZED_BYTES) {
				memmove(bytes + at + 1, bytes + at, length - at);
				length++;
			}
		}
	}
	return length;
}

/* However the bytes are cut into pieces, the same becomes of them. */
static void test_fuzzed(void)
{
	uint32_t answered = 0, refused = 0;
	for (int input = 0; input < FUZZED_INPUTS; input++) {
		char bytes[FUZZED_BYTES];
		size_t length = fuzz_make(bytes);
		struct outcome whole = parse_cut(bytes, length, length);
		struct outcome pieces = {0};
		struct http_parser parser = {0};
		for (size_t at = 0; at < length;) {
			size_t size = 1 + random_below(40);
			size = size < length - at ? size : length - at;
			feed(&pieces, &parser, bytes, at, size);
			at += size;
		}
		CHECK(is_same(&whole, &pieces));
		answered += whole.requests > 0;
		refused += whole.refused != HTTP_MORE;
	}
	/* The inputs are worth something: many are understood, and many are not. */
	CHECK(answered > FUZZED_INPUTS / 4);
	CHECK(refused > FUZZED_INPUTS / 4);
}

int main(void)
{
	test_valid();
	test_incomplete();
	test_malformed();
	test_limits();
	test_fuzzed();
	return check_result();
}
