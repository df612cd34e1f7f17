/*
 * histogram.c - the parts of the histogram that are not on the path of a request, and its functions in the ABI.
 */
#include "load/histogram.h"

#include <string.h>

void histogram_reset(struct ib_histogram *histogram)
{
	memset(histogram, 0, sizeof *histogram);
	/* IB_UNKNOWN is the greatest value, so the first recorded value becomes the minimum without a special case. */
	histogram->min_ns = IB_UNKNOWN;
}

uint32_t ib_histogram_index(uint64_t value_ns)
{
	return histogram_index(value_ns > IB_HISTOGRAM_HIGHEST_NS ? IB_HISTOGRAM_HIGHEST_NS : value_ns);
}

uint64_t ib_histogram_value(uint32_t index)
{
	uint32_t bucket = index / HISTOGRAM_SUB_BUCKET_HALF;
	uint64_t sub_bucket = index % HISTOGRAM_SUB_BUCKET_HALF;

	if (bucket == 0) {
		return sub_bucket;
	}
	return (sub_bucket + HISTOGRAM_SUB_BUCKET_HALF) << (bucket - 1);
}

void ib_histogram_record(struct ib_histogram *histogram, uint64_t value_ns)
{
	/* A zeroed struct is also an empty histogram. */
	if (histogram->count == 0) {
		histogram->min_ns = IB_UNKNOWN;
	}
	histogram_record(histogram, value_ns);
}
