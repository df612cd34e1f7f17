/*
 * arrivals.h - Poisson arrivals: random gaps, random connections, and the messages that wait for a busy connection.
 *
 * Independent users arrive as a Poisson process: the gaps between messages are exponential, and each message belongs to a connection
 * chosen at random. Several engines superpose to one such process, because each has its share of the rate and a stream of its own.
 *
 * The random numbers are a hash of a key and a counter (SplitMix64: G. L. Steele, D. Lea, C. H. Flood, "Fast Splittable Pseudorandom Number
 * Generators", OOPSLA 2014). The logarithm is computed here with basic operations only, so that a seed gives the same timetable on every
 * system and with every C library.
 */
#ifndef LOAD_ARRIVALS_H
#define LOAD_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

/* ---------------------------------------------------------------------------------------- random numbers */

/* A stream of random numbers: draw n is a hash of key and n. */
struct random_stream {
	uint64_t key;
	uint64_t drawn;
};

static inline uint64_t random_mix(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
	value = (value ^ value >> 27) * 0x94d049bb133111ebu;
	return value ^ value >> 31;
}

static inline uint64_t random_next(struct random_stream *stream)
{
	return random_mix(stream->key + ++stream->drawn * 0x9e3779b97f4a7c15u);
}

/* The stream of an engine. Different seeds, stream numbers and engines give independent streams. */
static inline struct random_stream random_stream_of(uint64_t seed, uint64_t number, uint32_t engine_index)
{
	uint64_t key = random_mix(seed + 0x9e3779b97f4a7c15u);
	key = random_mix(key ^ (number + 0xd1b54a32d192ed03u));
	return (struct random_stream){.key = random_mix(key ^ (engine_index + 0x8cb92ba72f3d8dd7u))};
}

/* A whole number in 0..count-1. It is uniform to within count / 2^32. */
static inline uint32_t random_below(uint64_t bits, uint32_t count)
{
	return (uint32_t)((bits >> 32) * count >> 32);
}

/*
 * The exponential distribution of mean 1: -ln(u), where u = v / 2^53 and v is uniform in 1..2^53. With v = 2^e * m and m in
 * [sqrt(1/2), sqrt(2)), ln(m) = 2 atanh((m - 1) / (m + 1)). The series ends where its terms are below 1e-12.
 */
static inline double random_exponential(uint64_t bits)
{
	uint64_t v = (bits >> 11) + 1;
	int exponent = 63 - __builtin_clzll(v);
	double m = (double)v / (double)(1ull << exponent);

	if (m > 1.4142135623730951) {
		m /= 2;
		exponent++;
	}
	double s = (m - 1) / (m + 1);
	double q = s * s;
	double series = 1 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11 + q / 13)))));
	double gap = (53 - exponent) * 0.6931471805599453 - 2 * s * series;
	return gap > 0 ? gap : 0;
}

/* ------------------------------------------------------------------------------------- waiting messages */

#define WAITING_CHUNK_BITS 16u
#define WAITING_CHUNK (1u << WAITING_CHUNK_BITS)
#define WAITING_CHUNKS_MAX 4096u
#define WAITING_NONE UINT32_MAX

/* A message that is due on a busy connection. `next` is the connection's next one, and that of the last one is the first. */
struct waiting_message {
	uint64_t due_ns;
	uint32_t next;
	uint32_t reserved;
};

/*
 * The waiting messages of an engine. Each connection's are a circular list, known by its last message. The first chunk is allocated
 * with the engine. Another one is allocated only when more than 65,536 messages wait at once, and none is freed before the end.
 */
struct waiting_pool {
	struct waiting_message **chunks; /* WAITING_CHUNKS_MAX */
	uint32_t chunk_count;
	uint32_t used; /* messages that were ever taken */
	uint32_t free; /* list of those given back; WAITING_NONE: empty */
};

/* Allocates the first chunk. False if there is no memory. A pool of zeros may be closed. */
bool waiting_open(struct waiting_pool *pool);
void waiting_close(struct waiting_pool *pool);

static inline struct waiting_message *waiting_at(const struct waiting_pool *pool, uint32_t index)
{
	return &pool->chunks[index >> WAITING_CHUNK_BITS][index & (WAITING_CHUNK - 1)];
}

/* When the first message of the list that ends with `last` is due. */
static inline uint64_t waiting_first_due_ns(const struct waiting_pool *pool, uint32_t last)
{
	return waiting_at(pool, waiting_at(pool, last)->next)->due_ns;
}

/* Appends a message. Returns the new last one; WAITING_NONE if there is no memory. @param last WAITING_NONE: the list is empty */
uint32_t waiting_append(struct waiting_pool *pool, uint32_t last, uint64_t due_ns);
/* Removes the first message of the list that ends with `last`. The list is empty afterwards if that was the only one. */
void waiting_remove_first(struct waiting_pool *pool, uint32_t last);

#endif /* LOAD_ARRIVALS_H */
