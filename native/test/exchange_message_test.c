/*
 * exchange_message_test.c - the four ways to find the end of a reply: in one piece, split at every position and byte by byte; and random
 * texts against a plain search.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "iocp_bench.h"
#include "load/exchange_message.h"

struct outcome {
	enum reply_verdict verdict;
	size_t used;
};

/* Gives the parser a first piece and then pieces of at most `piece` bytes, each in memory of exactly its size. */
static struct outcome run(const struct message_frame *frame, const void *text, size_t length, size_t first,
                          size_t piece)
{
	struct message_reply reply = {0};
	struct outcome outcome = {.verdict = REPLY_MORE};

	while (outcome.used < length && outcome.verdict == REPLY_MORE) {
		size_t left = length - outcome.used;
		size_t part = outcome.used == 0 && first != 0 ? first : piece;
		part = part < left ? part : left;
		uint8_t *copy = malloc(part);
		if (!CHECK(copy != NULL)) {
			break;
		}
		memcpy(copy, (const uint8_t *)text + outcome.used, part);
		size_t used = message_reply_take(frame, &reply, copy, part, &outcome.verdict);
		free(copy);
		CHECK(used <= part);
		CHECK(outcome.verdict != REPLY_MORE || used == part);
		CHECK((outcome.verdict == REPLY_MALFORMED) == (reply.problem != NULL));
		outcome.used += used;
	}
	CHECK(outcome.verdict == REPLY_MALFORMED || reply.bytes == outcome.used);
	return outcome;
}

/* The same however it is split. `end` is where the reply ends, if it is whole. */
static void check(const struct message_frame *frame, const void *text, size_t length, enum reply_verdict verdict,
                  size_t end)
{
	for (size_t split = 0; split < length; split++) {
		struct outcome outcome = run(frame, text, length, split, length);
		CHECK_EQUAL(outcome.verdict, verdict);
		CHECK(verdict != REPLY_WHOLE || outcome.used == end);
	}
	struct outcome bytewise = run(frame, text, length, 0, 1);
	CHECK_EQUAL(bytewise.verdict, verdict);
	CHECK(verdict != REPLY_WHOLE || bytewise.used == end);
}

static void check_until(const char *delimiter, const char *text, enum reply_verdict verdict, size_t end)
{
	struct message_frame frame = {
	    .kind = IB_FRAME_UNTIL,
	    .pattern = {.bytes = (const uint8_t *)delimiter, .length = (uint32_t)strlen(delimiter)}};

	if (CHECK(message_pattern_open(&frame.pattern))) {
		check(&frame, text, strlen(text), verdict, end);
	}
	message_pattern_close(&frame.pattern);
}

static void check_prefixed(uint32_t prefix, int32_t added, const char *text, size_t length, enum reply_verdict verdict,
                           size_t end)
{
	const struct message_frame frame = {.kind = IB_FRAME_LENGTH_PREFIX, .length_prefix = prefix, .length_added = added};
	check(&frame, text, length, verdict, end);
}

static void test_frames(void)
{
	const char *pong = "+PONG\r\n";
	const struct message_frame exact = {.kind = IB_FRAME_EXACT,
	                                    .pattern = {.bytes = (const uint8_t *)pong, .length = 7}};
	const struct message_frame five = {.kind = IB_FRAME_BYTES, .length = 5};

	check(&exact, "+PONG\r\nmore", 11, REPLY_WHOLE, 7);
	check(&exact, "+PONG\r", 6, REPLY_MORE, 0);
	check(&exact, "+POng\r\n", 7, REPLY_MALFORMED, 0);
	check(&exact, "+PONG\r\t", 7, REPLY_MALFORMED, 0);
	check(&five, "abcde", 5, REPLY_WHOLE, 5);
	check(&five, "abcdefg", 7, REPLY_WHOLE, 5);
	check(&five, "abcd", 4, REPLY_MORE, 0);

	check_until("\n", "a line\nanother", REPLY_WHOLE, 7);
	check_until("\r\n", "a\rb\nc\r\r\nd", REPLY_WHOLE, 8);
	check_until("\r\n.\r\n", "a\r\n.\r.\r\n.\r\n", REPLY_WHOLE, 11);
	check_until("aab", "aaaab", REPLY_WHOLE, 5);
	check_until("abab", "abaabab", REPLY_WHOLE, 7);
	check_until("aabaaa", "aabaabaaab", REPLY_WHOLE, 9);
	check_until("end", "en", REPLY_MORE, 0);

	check_prefixed(IB_LENGTH_U8, 0,
	               "\x03"
	               "abcde",
	               6, REPLY_WHOLE, 4);
	check_prefixed(IB_LENGTH_U8, 0,
	               "\xff"
	               "abcde",
	               6, REPLY_MORE, 0);
	check_prefixed(IB_LENGTH_U8, 0, "\0more", 5, REPLY_WHOLE, 1);
	check_prefixed(IB_LENGTH_U16BE, 0, "\0\x02xyz", 5, REPLY_WHOLE, 4);
	check_prefixed(IB_LENGTH_U16LE, 0, "\x02\0xyz", 5, REPLY_WHOLE, 4);
	check_prefixed(IB_LENGTH_U32BE, -4, "\0\0\0\x06xyz", 7, REPLY_WHOLE, 6);
	check_prefixed(IB_LENGTH_U32LE, 1, "\x01\0\0\0xyz", 7, REPLY_WHOLE, 6);
	check_prefixed(IB_LENGTH_U32BE, -4, "\0\0\0\x03xyz", 7, REPLY_MALFORMED, 0);
	check_prefixed(IB_LENGTH_U32LE, 0, "\xff\xff\xff\xffxyz", 7, REPLY_MORE, 0);
}

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t count)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((random_state >> 33) % count);
}

/* Where the delimiter ends in the text, found in the plainest way; 0: nowhere. */
static size_t plain_search(const uint8_t *text, size_t length, const struct message_pattern *pattern)
{
	for (size_t end = pattern->length; end <= length; end++) {
		if (memcmp(text + end - pattern->length, pattern->bytes, pattern->length) == 0) {
			return end;
		}
	}
	return 0;
}

/* Delimiters and texts of two letters, so that there are many beginnings of a delimiter that are not one. */
static void test_random(void)
{
	for (int round = 0; round < 10000; round++) {
		uint8_t delimiter[8], text[64];
		struct message_frame frame = {.kind = IB_FRAME_UNTIL};
		size_t length = 1 + random_below(sizeof text);

		frame.pattern.bytes = delimiter;
		frame.pattern.length = 1 + random_below(sizeof delimiter);
		for (size_t at = 0; at < sizeof delimiter; at++) {
			delimiter[at] = (uint8_t)('a' + random_below(2));
		}
		for (size_t at = 0; at < length; at++) {
			text[at] = (uint8_t)('a' + random_below(2));
		}
		if (!CHECK(message_pattern_open(&frame.pattern))) {
			return;
		}
		size_t end = plain_search(text, length, &frame.pattern);
		struct outcome outcome = run(&frame, text, length, 0, 1 + random_below(10));
		CHECK_EQUAL(outcome.verdict, end != 0 ? REPLY_WHOLE : REPLY_MORE);
		CHECK(end == 0 || outcome.used == end);
		message_pattern_close(&frame.pattern);
	}
}

int main(void)
{
	test_frames();
	test_random();
	return check_result();
}
