/*
 * work.h - CPU time that a request burns (--work): a loop that is calibrated when the server starts, and measured while it runs.
 */
#ifndef WORK_H
#define WORK_H

#include <stdatomic.h>

#include "platform/platform.h"

#define WORK_NS_MAX (10 * NS_PER_S)

/* How much to burn. Read-only once it is calibrated, so that all threads share it. */
struct work {
	uint64_t work_ns;      /* 0: nothing */
	uint64_t iterations;   /* of the loop, for work_ns */
	uint64_t slice;        /* iterations of 10 ms: how long a burn goes on without looking whether it is to end */
	uint64_t clock_ns;     /* what a pair of readings of the thread's CPU clock adds to a measured burn */
	uint64_t spread_ppm;   /* how far repeated calibrations differed, in millionths of their median */
	uint32_t sample_every; /* one of so many burns is measured, so that measuring costs at most 1% of the work */
	bool has_clock;        /* the thread's CPU clock can measure a burn */
};

/* What was burnt by one thread. It alone writes; any thread may read. */
struct work_meter {
	_Atomic uint64_t burnt_ns; /* by the burns that were measured */
	_Atomic uint64_t measured; /* how many these were */
};

/*
 * Calibrates on the calling thread, against that thread's CPU clock; against wall time if the system has no such clock. Repeats until five
 * measurements in a row differ by at most 5%, or keeps the best of a few attempts: spread_ppm says which. 20 ms to half a second.
 */
void work_calibrate(struct work *work, uint64_t work_ns);
/*
 * Burns it once. `until_sample` is the thread's own, 0 at first: the first burn is measured. Returns false if the burn was cut short, because
 * clock_now_ns() passed *cut_ns.
 */
bool work_burn(const struct work *work, struct work_meter *meter, uint32_t *until_sample,
               const _Atomic uint64_t *cut_ns);

#endif /* WORK_H */
