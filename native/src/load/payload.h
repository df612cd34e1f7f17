/*
 * payload.h - the content of the messages, and the check that an echo equals its message.
 *
 * A connection's messages are one endless stream of bytes, a function of (seed, connection, byte offset). Block n of 8 bytes is
 * a hash of (key of the connection, n), in little-endian order. Any slice can be computed and checked from its offset alone. So
 * sent messages need not be kept until their echo comes, the rest of a short send is generated again, and an echo is compared
 * while its bytes are generated, however recv() split it.
 *
 * Messages of 16 bytes and more start with 8 bytes of connection number and 8 bytes of sequence number in plain form,
 * little-endian, in place of the stream. An error can so name the connection and message that an echo belongs to.
 *
 * The hash takes one multiplication per 8 bytes. The stream must differ everywhere but need not be unpredictable.
 */
#ifndef LOAD_PAYLOAD_H
#define LOAD_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PAYLOAD_HEADER_BYTES = 16 };

/* The place of a slice in the stream. */
struct payload_place {
	uint64_t key; /* payload_key(seed, connection) */
	uint64_t connection;
	uint64_t sequence; /* number of the message, from 0 */
	uint32_t position; /* byte of the message at which the slice begins; < message_size_bytes */
	uint32_t message_size_bytes;
};

static inline uint64_t payload_mix(uint64_t value)
{
	value ^= value >> 32;
	value *= 0xd6e8feb86659fd93u;
	return value ^ value >> 32;
}

static inline uint64_t payload_key(uint64_t seed, uint64_t connection)
{
	return payload_mix(payload_mix(seed + 0x9e3779b97f4a7c15u) + connection * 0xbf58476d1ce4e5b9u);
}

/* Block `index` of the stream. Odd multiples of an odd constant never repeat, and the hash is a bijection of them. */
static inline uint64_t payload_block(uint64_t key, uint64_t index)
{
	return payload_mix(key + index * 0x9e3779b97f4a7c15u);
}

/* The 8 bytes from `offset` on, which need not be a multiple of 8. */
static inline uint64_t payload_word(uint64_t key, uint64_t offset)
{
	unsigned shift = (unsigned)(offset % 8) * 8;
	uint64_t word = payload_block(key, offset / 8);

	return shift == 0 ? word : word >> shift | payload_block(key, offset / 8 + 1) << (64 - shift);
}

/* Writes `length` bytes of the stream from `offset` on. */
static inline void payload_stream_fill(uint8_t *out, size_t length, uint64_t key, uint64_t offset)
{
	size_t at = 0;

	if (offset % 8 == 0) {
		for (uint64_t index = offset / 8; at + 8 <= length; at += 8, index++) {
			uint64_t word = payload_block(key, index);
			memcpy(out + at, &word, 8);
		}
	} else {
		for (; at + 8 <= length; at += 8) {
			uint64_t word = payload_word(key, offset + at);
			memcpy(out + at, &word, 8);
		}
	}
	if (at < length) {
		uint64_t word = payload_word(key, offset + at);
		memcpy(out + at, &word, length - at);
	}
}

/* Whether `bytes` equal the stream from `offset` on. The loop gathers the differences, so that it has no early exit. */
static inline bool payload_stream_matches(const uint8_t *bytes, size_t length, uint64_t key, uint64_t offset)
{
	uint64_t difference = 0;
	size_t at = 0;

	if (offset % 8 == 0) {
		for (uint64_t index = offset / 8; at + 8 <= length; at += 8, index++) {
			uint64_t word;
			memcpy(&word, bytes + at, 8);
			difference |= word ^ payload_block(key, index);
		}
	} else {
		for (; at + 8 <= length; at += 8) {
			uint64_t word;
			memcpy(&word, bytes + at, 8);
			difference |= word ^ payload_word(key, offset + at);
		}
	}
	if (at < length) {
		uint64_t word = 0;
		uint64_t mask = (1ull << (length - at) * 8) - 1;
		memcpy(&word, bytes + at, length - at);
		difference |= (word ^ payload_word(key, offset + at)) & mask;
	}
	return difference == 0;
}

/* Length of the part of a slice that lies in the plain head of its message. */
static inline size_t payload_clear_length(const struct payload_place *place, size_t length)
{
	if (place->message_size_bytes < PAYLOAD_HEADER_BYTES || place->position >= PAYLOAD_HEADER_BYTES) {
		return 0;
	}
	size_t clear = PAYLOAD_HEADER_BYTES - place->position;
	return clear < length ? clear : length;
}

static inline uint64_t payload_offset(const struct payload_place *place)
{
	return place->sequence * place->message_size_bytes + place->position;
}

/* Writes `length` bytes of one message. position + length must not exceed the message. */
static inline void payload_message_fill(uint8_t *out, size_t length, const struct payload_place *place)
{
	size_t clear = payload_clear_length(place, length);

	if (clear != 0) {
		const uint64_t head[2] = {place->connection, place->sequence};
		memcpy(out, (const uint8_t *)head + place->position, clear);
	}
	payload_stream_fill(out + clear, length - clear, place->key, payload_offset(place) + clear);
}

/* Whether `bytes` equal these `length` bytes of one message. */
static inline bool payload_message_matches(const uint8_t *bytes, size_t length, const struct payload_place *place)
{
	size_t clear = payload_clear_length(place, length);

	if (clear != 0) {
		const uint64_t head[2] = {place->connection, place->sequence};
		if (memcmp(bytes, (const uint8_t *)head + place->position, clear) != 0) {
			return false;
		}
	}
	return payload_stream_matches(bytes + clear, length - clear, place->key, payload_offset(place) + clear);
}

/* Index of the first wrong byte of a slice of one message, or `length` if all are right. */
size_t payload_message_mismatch(const uint8_t *bytes, size_t length, const struct payload_place *place);

/* Received bytes to explain. */
struct payload_slice {
	const uint8_t *bytes;
	size_t length;
};

/*
 * Describes what is wrong with a slice for which payload_message_matches() is false: the echo of another connection, an echo that
 * was lost, duplicated or swapped (up to `reach` messages away), or else the first wrong byte.
 */
void payload_explain(char *out, size_t capacity, const struct payload_slice *slice, const struct payload_place *place,
                     uint64_t seed, uint32_t reach);

#endif /* LOAD_PAYLOAD_H */
