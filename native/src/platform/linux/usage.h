/*
 * usage.h - the usage of a server that consists of several processes.
 *
 * Memory is the proportional set (smaps_rollup): a page that processes share counts once in the sum. The kernel computes it from the page
 * tables, which takes long. So it is read only if `memory` is true, and is IB_UNKNOWN otherwise.
 */
#ifndef USAGE_H
#define USAGE_H

#include "platform/platform.h"

/* a + b; IB_UNKNOWN if either is. */
uint64_t known_sum(uint64_t a, uint64_t b);

/* Nothing used: 0 in every figure that is a sum over processes. The others are IB_UNKNOWN. */
struct ib_process_usage usage_none(void);
/*
 * Adds `part` to `sum`. A figure that either does not know is unknown in the sum. Instructions and cycles stay as they are: those of the
 * process that forks hold those of its children.
 */
void usage_add(struct ib_process_usage *sum, const struct ib_process_usage *part);
/* This process. Descriptors and the peak are IB_UNKNOWN. IB_STATUS_OK or an error. */
int32_t usage_of_self(bool memory, struct ib_process_usage *out, struct ib_error *error);
/*
 * A process that has never had more than one thread: /proc shows its context switches, which it does not for others. Descriptors,
 * the peak, and the halves of the CPU time are IB_UNKNOWN: /proc rounds these halves down to 10 ms, more than one of thousands of
 * processes uses in a window. False if there is no such process. A process that has ended and was not waited for has no memory.
 */
bool usage_of_single_thread(uint32_t pid, bool memory, struct ib_process_usage *out);

#endif /* USAGE_H */
