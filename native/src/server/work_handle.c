/*
 * work_handle.c - the work of servers outside this library: ib_work_*.
 */
#include <stdlib.h>

#include "abi.h"
#include "server/counters.h"
#include "server/work.h"

struct ib_work {
	struct work work;
	struct work_meter meter;
	uint32_t until_sample;
	_Atomic uint64_t cut_ns;
};

int32_t ib_work_open(uint64_t work_ns, struct ib_work **out, struct ib_error *error)
{
	*out = NULL;
	const struct abi_range range = {"work_ns", work_ns, 1, WORK_NS_MAX};
	int32_t status = abi_ranges_check(&range, 1, error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	struct ib_work *handle = calloc(1, sizeof *handle);
	if (handle == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the work");
	}
	atomic_init(&handle->cut_ns, UINT64_MAX);
	work_calibrate(&handle->work, work_ns);
	*out = handle;
	return error_set(error, IB_STATUS_OK, 0, "%s", "");
}

void ib_work_burn(struct ib_work *handle)
{
	(void)work_burn(&handle->work, &handle->meter, &handle->until_sample, &handle->cut_ns);
}

int32_t ib_work_stats(struct ib_work *handle, struct ib_work_stats *out, struct ib_error *error)
{
	int32_t status = abi_outcome_start(out, sizeof *out, "ib_work_stats", error);
	if (status == IB_STATUS_OK) {
		if (handle->work.has_clock) {
			out->work_burnt_ns = counter_read(&handle->meter.burnt_ns);
			out->work_measured = counter_read(&handle->meter.measured);
		}
		out->work_spread_ppm = handle->work.spread_ppm;
	}
	return status;
}

void ib_work_close(struct ib_work *handle)
{
	free(handle);
}
