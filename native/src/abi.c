/*
 * abi.c - the checks at the edge of the library.
 */
#include "abi.h"

#include <stdio.h>
#include <string.h>

#include "platform/platform.h"

int32_t abi_check(uint32_t size, uint32_t version, size_t size_of_ours, const char *name, struct ib_error *error)
{
	if (size == size_of_ours && version == IB_ABI_VERSION) {
		return IB_STATUS_OK;
	}
	return error_set(error, IB_STATUS_ABI, 0, "struct %s has %u bytes and version %u; this library expects %u and %u",
	                 name, size, version, (unsigned)size_of_ours, IB_ABI_VERSION);
}

int32_t abi_outcome_start(void *out, size_t size_of_ours, const char *name, struct ib_error *error)
{
	uint32_t *header = out;
	int32_t status = abi_check(header[0], header[1], size_of_ours, name, error);
	if (status == IB_STATUS_OK) {
		memset(header + 2, 0xff, size_of_ours - 2 * sizeof *header);
	}
	return status;
}

void abi_probe_start(struct ib_probe *out, const char *name)
{
	memset(out, 0, sizeof *out);
	out->size = sizeof *out;
	out->abi_version = IB_ABI_VERSION;
	snprintf(out->name, sizeof out->name, "%s", name);
}

int32_t abi_ranges_check(const struct abi_range *ranges, size_t count, struct ib_error *error)
{
	for (size_t index = 0; index < count; index++) {
		const struct abi_range *range = &ranges[index];
		if (range->value < range->lowest || range->value > range->highest) {
			return error_set(error, IB_STATUS_USAGE, 0, "%s %llu is out of range (%llu to %llu)", range->name,
			                 (unsigned long long)range->value, (unsigned long long)range->lowest,
			                 (unsigned long long)range->highest);
		}
	}
	return IB_STATUS_OK;
}
