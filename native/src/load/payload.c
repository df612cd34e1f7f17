/*
 * payload.c - explains a wrong echo, and exports the payload in the ABI.
 */
#include "load/payload.h"

#include <inttypes.h>
#include <stdio.h>

#include "iocp_bench.h"

size_t payload_message_mismatch(const uint8_t *bytes, size_t length, const struct payload_place *place)
{
	for (size_t at = 0; at < length; at++) {
		struct payload_place one = *place;
		one.position += (uint32_t)at;
		if (!payload_message_matches(bytes + at, 1, &one)) {
			return at;
		}
	}
	return length;
}

/* The sequence number within reach whose message has these bytes at this position; the expected one if no message has them. */
static uint64_t sequence_that_matches(const uint8_t *bytes, size_t length, const struct payload_place *place,
                                      uint32_t reach)
{
	struct payload_place other = *place;

	/* Fewer bytes may match another message by chance. */
	if (length < 4) {
		return place->sequence;
	}
	for (uint64_t distance = 1; distance <= reach; distance++) {
		other.sequence = place->sequence + distance;
		if (payload_message_matches(bytes, length, &other)) {
			return other.sequence;
		}
		if (distance > place->sequence) {
			continue;
		}
		other.sequence = place->sequence - distance;
		if (payload_message_matches(bytes, length, &other)) {
			return other.sequence;
		}
	}
	return place->sequence;
}

/* Copies the plain head of a message. False if the slice does not hold all of it. */
static bool head_of(const uint8_t *bytes, size_t length, const struct payload_place *place, uint64_t head[2])
{
	if (place->position != 0 || payload_clear_length(place, length) != PAYLOAD_HEADER_BYTES) {
		return false;
	}
	memcpy(head, bytes, PAYLOAD_HEADER_BYTES);
	return true;
}

void payload_explain(char *out, size_t capacity, const struct payload_slice *slice, const struct payload_place *place,
                     uint64_t seed, uint32_t reach)
{
	const uint8_t *bytes = slice->bytes;
	size_t length = slice->length;
	uint64_t head[2];

	/* Another connection's number counts only if the rest of the slice agrees with it. Otherwise it is just a wrong byte. */
	if (head_of(bytes, length, place, head) && head[0] != place->connection) {
		struct payload_place other = *place;
		other.key = payload_key(seed, head[0]);
		other.connection = head[0];
		other.sequence = head[1];
		if (payload_message_matches(bytes, length, &other)) {
			snprintf(out, capacity,
			         "connection %" PRIu64 ": echo of connection %" PRIu64 ", request %" PRIu64
			         ", in place of request %" PRIu64,
			         place->connection, head[0], head[1], place->sequence);
			return;
		}
	}

	uint64_t sequence = sequence_that_matches(bytes, length, place, reach);
	if (sequence > place->sequence) {
		snprintf(out, capacity,
		         "connection %" PRIu64 ": echo of request %" PRIu64 " in place of request %" PRIu64 ": lost or swapped",
		         place->connection, sequence, place->sequence);
		return;
	}
	if (sequence < place->sequence) {
		snprintf(out, capacity,
		         "connection %" PRIu64 ": echo of request %" PRIu64 " again, in place of request %" PRIu64
		         ": duplicate",
		         place->connection, sequence, place->sequence);
		return;
	}

	size_t at = payload_message_mismatch(bytes, length, place);
	if (at == length) {
		snprintf(out, capacity, "connection %" PRIu64 ": bytes that were never sent", place->connection);
		return;
	}
	struct payload_place wrong = *place;
	uint8_t expected;
	wrong.position += (uint32_t)at;
	payload_message_fill(&expected, 1, &wrong);
	snprintf(out, capacity,
	         "connection %" PRIu64 ": echo of request %" PRIu64 ", byte %" PRIu32 ": expected 0x%02x, got 0x%02x",
	         place->connection, place->sequence, wrong.position, expected, bytes[at]);
}

/* Length of the part of a slice that lies in the message at `place`. */
static size_t part_of_message(const struct payload_place *place, uint64_t length)
{
	uint64_t rest = place->message_size_bytes - place->position;
	return (size_t)(length < rest ? length : rest);
}

static struct payload_place place_at(uint64_t seed, uint64_t connection, uint64_t offset, uint32_t message_size_bytes)
{
	return (struct payload_place){
	    .key = payload_key(seed, connection),
	    .connection = connection,
	    .sequence = offset / message_size_bytes,
	    .position = (uint32_t)(offset % message_size_bytes),
	    .message_size_bytes = message_size_bytes,
	};
}

void ib_payload_fill(uint8_t *out, uint64_t length, uint64_t seed, uint64_t connection, uint64_t offset,
                     uint32_t message_size_bytes)
{
	uint32_t size = message_size_bytes != 0 ? message_size_bytes : 1;
	struct payload_place place = place_at(seed, connection, offset, size);

	for (uint64_t at = 0; at < length;) {
		size_t part = part_of_message(&place, length - at);
		payload_message_fill(out + at, part, &place);
		at += part;
		place.sequence++;
		place.position = 0;
	}
}

uint64_t ib_payload_check(const uint8_t *bytes, uint64_t length, uint64_t seed, uint64_t connection, uint64_t offset,
                          uint32_t message_size_bytes)
{
	uint32_t size = message_size_bytes != 0 ? message_size_bytes : 1;
	struct payload_place place = place_at(seed, connection, offset, size);

	for (uint64_t at = 0; at < length;) {
		size_t part = part_of_message(&place, length - at);
		if (!payload_message_matches(bytes + at, part, &place)) {
			return at + payload_message_mismatch(bytes + at, part, &place);
		}
		at += part;
		place.sequence++;
		place.position = 0;
	}
	return length;
}
