/*
 * histogram.h - recording into struct ib_histogram, and its index function.
 *
 * The layout is that of HdrHistogram (http://hdrhistogram.org) for lowest discernible value 1, highest trackable value 3.6e12 and
 * 3 significant digits. It has 2048 sub-buckets, and every bucket but the first uses only the upper half of them. So the first
 * bucket covers 0..2047 one by one, and every later bucket k covers [1024 << k, 2048 << k) in steps of 1 << k.
 */
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stdint.h>

#include "iocp_bench.h"

enum {
	HISTOGRAM_SUB_BUCKET_BITS = 11, /* 2048 sub-buckets: 3 significant digits */
	HISTOGRAM_SUB_BUCKET_HALF = 1 << (HISTOGRAM_SUB_BUCKET_BITS - 1),
	HISTOGRAM_SUB_BUCKET_MASK = (1 << HISTOGRAM_SUB_BUCKET_BITS) - 1,
};

/* Index of a value that is not above IB_HISTOGRAM_HIGHEST_NS. */
static inline uint32_t histogram_index(uint64_t value_ns)
{
	uint32_t bucket =
	    64u - HISTOGRAM_SUB_BUCKET_BITS - (uint32_t)__builtin_clzll(value_ns | (uint64_t)HISTOGRAM_SUB_BUCKET_MASK);
	uint32_t sub_bucket = (uint32_t)(value_ns >> bucket);
	return bucket * HISTOGRAM_SUB_BUCKET_HALF + sub_bucket;
}

/* Compiles without a jump: clamp, minimum and maximum are conditional moves. */
static inline void histogram_record(struct ib_histogram *histogram, uint64_t value_ns)
{
	value_ns = value_ns > IB_HISTOGRAM_HIGHEST_NS ? IB_HISTOGRAM_HIGHEST_NS : value_ns;
	histogram->count++;
	histogram->sum_ns += value_ns;
	histogram->min_ns = value_ns < histogram->min_ns ? value_ns : histogram->min_ns;
	histogram->max_ns = value_ns > histogram->max_ns ? value_ns : histogram->max_ns;
	histogram->counts[histogram_index(value_ns)]++;
}

void histogram_reset(struct ib_histogram *histogram);

#endif /* LOAD_HISTOGRAM_H */
