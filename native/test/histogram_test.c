/*
 * histogram_test.c - compares the index function with HdrHistogram's definition, with known values, and at every bucket edge.
 */
#include <stdlib.h>

#include "check.h"
#include "iocp_bench.h"

/* HdrHistogram's countsArrayIndex as its authors write it: first the bucket, then the sub-bucket within it. */
static uint32_t reference_index(uint64_t value)
{
	uint32_t bucket = 0;
	while (value >> bucket >= 2048) {
		bucket++;
	}
	uint32_t sub_bucket = (uint32_t)(value >> bucket);
	return (bucket + 1) * 1024 + sub_bucket - 1024;
}

static void test_known_values(void)
{
	CHECK_EQUAL(ib_histogram_index(0), 0);
	CHECK_EQUAL(ib_histogram_index(1), 1);
	CHECK_EQUAL(ib_histogram_index(2047), 2047);
	CHECK_EQUAL(ib_histogram_index(2048), 2048);
	CHECK_EQUAL(ib_histogram_index(2049), 2048);
	CHECK_EQUAL(ib_histogram_index(4095), 3071);
	CHECK_EQUAL(ib_histogram_index(4096), 3072);
	/* 1 ms: 2^19 <= 10^6 < 2^20, in steps of 512: 9 * 1024 + 1953 */
	CHECK_EQUAL(ib_histogram_index(1000000), 9 * 1024 + 1953);
	CHECK(ib_histogram_index(IB_HISTOGRAM_HIGHEST_NS) < IB_HISTOGRAM_COUNTS);
	CHECK_EQUAL(ib_histogram_index(UINT64_MAX), ib_histogram_index(IB_HISTOGRAM_HIGHEST_NS));
}

static void test_every_edge(void)
{
	uint64_t previous = 0;
	for (uint32_t index = 0; index < IB_HISTOGRAM_COUNTS; index++) {
		uint64_t value = ib_histogram_value(index);
		CHECK(index == 0 || value > previous);
		previous = value;
		if (value > IB_HISTOGRAM_HIGHEST_NS) {
			continue;
		}
		CHECK_EQUAL(ib_histogram_index(value), index);
		CHECK_EQUAL(reference_index(value), index);
		if (value != 0) {
			CHECK_EQUAL(ib_histogram_index(value - 1), index - 1);
		}
	}
	CHECK(previous > IB_HISTOGRAM_HIGHEST_NS);
}

static void test_recording(void)
{
	struct ib_histogram *histogram = calloc(1, sizeof *histogram);
	CHECK(histogram != NULL);

	ib_histogram_record(histogram, 5000);
	CHECK_EQUAL(histogram->min_ns, 5000);
	ib_histogram_record(histogram, 3000);
	ib_histogram_record(histogram, 7001);
	CHECK_EQUAL(histogram->count, 3);
	CHECK_EQUAL(histogram->min_ns, 3000);
	CHECK_EQUAL(histogram->max_ns, 7001);
	CHECK_EQUAL(histogram->sum_ns, 15001);
	CHECK_EQUAL(histogram->counts[ib_histogram_index(7001)], 1);

	ib_histogram_record(histogram, UINT64_MAX);
	CHECK_EQUAL(histogram->max_ns, IB_HISTOGRAM_HIGHEST_NS);
	CHECK_EQUAL(histogram->counts[ib_histogram_index(IB_HISTOGRAM_HIGHEST_NS)], 1);
	CHECK_EQUAL(histogram->count, 4);
	free(histogram);
}

int main(void)
{
	test_known_values();
	test_every_edge();
	test_recording();
	return check_result();
}
