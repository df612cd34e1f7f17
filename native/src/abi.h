/*
 * abi.h - what every function of the library's interface checks first, and how it fills a struct of the caller.
 */
#ifndef ABI_H
#define ABI_H

#include <stddef.h>
#include <stdint.h>

#include "iocp_bench.h"

/*
 * A caller that was built against another header is refused: `size` and `version` are the first fields of its struct, `name` is
 * the struct's name in the header. IB_STATUS_OK or IB_STATUS_ABI. `error` may be NULL.
 */
int32_t abi_check(uint32_t size, uint32_t version, size_t size_of_ours, const char *name, struct ib_error *error);

/* The same, and every figure of *out behind its header becomes unknown: IB_UNKNOWN and IB_UNKNOWN_32 are all ones. */
int32_t abi_outcome_start(void *out, size_t size_of_ours, const char *name, struct ib_error *error);

/* The header and the name of a probe; the rest is zero. */
void abi_probe_start(struct ib_probe *out, const char *name);

/* An option and the values that it may have, both ends included. */
struct abi_range {
	const char *name;
	uint64_t value, lowest, highest;
};
/* IB_STATUS_OK, or IB_STATUS_USAGE with the name and the range of the first option that is out of its range. */
int32_t abi_ranges_check(const struct abi_range *ranges, size_t count, struct ib_error *error);

#endif /* ABI_H */
