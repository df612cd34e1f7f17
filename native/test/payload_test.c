/*
 * payload_test.c - any slice of the stream matches the whole stream, every wrong byte is found at its place, and errors are explained.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "iocp_bench.h"
#include "load/payload.h"

enum { SEED = 42, CONNECTION = 7, LENGTH = 5000 };

static const uint32_t sizes[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 63, 64, 65, 100, 1000, 4096};
#define SIZES (sizeof sizes / sizeof sizes[0])

static void test_slices_agree_with_the_whole(uint32_t size)
{
	static uint8_t whole[LENGTH], slice[LENGTH];
	unsigned random = size;

	ib_payload_fill(whole, LENGTH, SEED, CONNECTION, 0, size);
	CHECK_EQUAL(ib_payload_check(whole, LENGTH, SEED, CONNECTION, 0, size), LENGTH);
	for (int round = 0; round < 300; round++) {
		random = random * 1103515245u + 12345u;
		uint32_t offset = (random >> 8) % LENGTH;
		random = random * 1103515245u + 12345u;
		uint32_t length = (random >> 8) % (LENGTH - offset) + 1;

		memset(slice, 0xee, sizeof slice);
		ib_payload_fill(slice, length, SEED, CONNECTION, offset, size);
		CHECK(memcmp(slice, whole + offset, length) == 0);
		CHECK(length == LENGTH || slice[length] == 0xee);
		CHECK_EQUAL(ib_payload_check(whole + offset, length, SEED, CONNECTION, offset, size), length);
	}
}

static void test_every_wrong_byte_is_found(uint32_t size)
{
	static uint8_t bytes[300];

	ib_payload_fill(bytes, sizeof bytes, SEED, CONNECTION, 11, size);
	for (uint32_t at = 0; at < sizeof bytes; at++) {
		bytes[at] ^= 0x01;
		CHECK_EQUAL(ib_payload_check(bytes, sizeof bytes, SEED, CONNECTION, 11, size), at);
		bytes[at] ^= 0x01;
	}
}

static void test_clear_head(void)
{
	uint8_t message[64];
	uint64_t head[2];

	ib_payload_fill(message, sizeof message, SEED, CONNECTION, 5 * 64, 64);
	memcpy(head, message, sizeof head);
	CHECK_EQUAL(head[0], CONNECTION);
	CHECK_EQUAL(head[1], 5);
}

/* Streams of different seeds, connections and offsets must not be confused: small messages carry nothing else. */
static void test_streams_differ(void)
{
	uint8_t one[64], other[64];

	ib_payload_fill(one, sizeof one, SEED, CONNECTION, 0, 8);
	ib_payload_fill(other, sizeof other, SEED, CONNECTION + 1, 0, 8);
	CHECK(memcmp(one, other, sizeof one) != 0);
	ib_payload_fill(other, sizeof other, SEED + 1, CONNECTION, 0, 8);
	CHECK(memcmp(one, other, sizeof one) != 0);
	ib_payload_fill(other, sizeof other, SEED, CONNECTION, 8, 8);
	CHECK(memcmp(one, other, sizeof one) != 0);
	/* Bytes of all values come about equally often. */
	static uint8_t bytes[1 << 20];
	unsigned counts[256] = {0};
	ib_payload_fill(bytes, sizeof bytes, SEED, CONNECTION, 0, 8);
	for (size_t at = 0; at < sizeof bytes; at++) {
		counts[bytes[at]]++;
	}
	for (int value = 0; value < 256; value++) {
		CHECK(counts[value] > 3600 && counts[value] < 4600);
	}
}

static struct payload_place place_of(uint64_t sequence, uint32_t position, uint32_t size)
{
	return (struct payload_place){
	    .key = payload_key(SEED, CONNECTION),
	    .connection = CONNECTION,
	    .sequence = sequence,
	    .position = position,
	    .message_size_bytes = size,
	};
}

static void check_explained(const uint8_t *bytes, size_t length, const struct payload_place *place,
                            const char *expected)
{
	char text[168];

	payload_explain(text, sizeof text, &(struct payload_slice){bytes, length}, place, SEED, 16);
	if (!CHECK(strstr(text, expected) != NULL)) {
		(void)fprintf(stderr, "  got \"%s\", expected \"%s\"\n", text, expected);
	}
}

static void test_errors_are_named(void)
{
	uint8_t message[64];
	struct payload_place place = place_of(10, 0, 64);

	ib_payload_fill(message, 64, SEED, 9, 3 * 64, 64);
	check_explained(message, 64, &place, "connection 7: echo of connection 9, request 3, in place of request 10");
	ib_payload_fill(message, 64, SEED, CONNECTION, 11 * 64, 64);
	check_explained(message, 64, &place, "echo of request 11 in place of request 10: lost or swapped");
	ib_payload_fill(message, 64, SEED, CONNECTION, 9 * 64, 64);
	check_explained(message, 64, &place, "echo of request 9 again, in place of request 10: duplicate");

	ib_payload_fill(message, 64, SEED, CONNECTION, 10 * 64, 64);
	uint8_t right = message[24];
	char expected[64];
	message[24] = (uint8_t)(right ^ 0x80);
	snprintf(expected, sizeof expected, "request 10, byte 24: expected 0x%02x, got 0x%02x", right, right ^ 0x80);
	check_explained(message, 64, &place, expected);
	/* A wrong byte in the plain head is reported as a wrong byte, not as another connection's echo. */
	message[24] = right;
	message[2] ^= 0x10;
	check_explained(message, 64, &place, "request 10, byte 2: expected 0x00, got 0x10");

	/* Without a plain head, and in the middle of a message. */
	ib_payload_fill(message, 8, SEED, CONNECTION, 4 * 8, 8);
	place = place_of(3, 0, 8);
	check_explained(message, 8, &place, "echo of request 4 in place of request 3");
	ib_payload_fill(message, 20, SEED, CONNECTION, 6 * 64 + 30, 64);
	place = place_of(7, 30, 64);
	check_explained(message, 20, &place, "echo of request 6 again");
}

int main(void)
{
	for (size_t at = 0; at < SIZES; at++) {
		test_slices_agree_with_the_whole(sizes[at]);
		test_every_wrong_byte_is_found(sizes[at]);
	}
	test_clear_head();
	test_streams_differ();
	test_errors_are_named();
	return check_result();
}
