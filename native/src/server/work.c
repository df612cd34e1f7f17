/*
 * work.c - CPU time that a request burns.
 *
 * The loop is a chain of dependent multiplications: each waits for the one before it. Its speed therefore depends on the clock frequency and
 * on nothing else, in particular not on what the other hardware thread of the same core does. The frequency may change after the calibration,
 * so every few burns the thread's CPU clock measures what was really burnt.
 */
#include "server/work.h"

#include <stdlib.h>
#include <string.h>

#include "server/counters.h"

#define REPEATS 5
#define ATTEMPTS_MAX 12
#define REPEAT_NS (2 * NS_PER_MS)
#define SLICE_NS (10 * NS_PER_MS)
/* Calibrations that differ by more have not settled. */
#define SPREAD_MAX_PPM 50000u
#define PPM 1000000u
#define SAMPLE_COST_SHARE 100u
#define SAMPLE_EVERY_MAX 64u

static void iterate(uint64_t count)
{
	uint64_t value = count;
	for (uint64_t index = 0; index < count; index++) {
		value = value * 6364136223846793005u + 1442695040888963407u;
		/* Makes each step a step: the compiler may neither leave the loop out nor combine its rounds. */
		__asm__ volatile("" : "+r"(value));
	}
}

/* ------------------------------------------------------------------------------------------- calibration */

static uint64_t calibration_clock_ns(const struct work *work)
{
	return work->has_clock ? thread_cpu_now_ns() : clock_now_ns();
}

/* How long so many iterations take. */
static uint64_t iterations_ns(const struct work *work, uint64_t count)
{
	uint64_t start_ns = calibration_clock_ns(work);
	iterate(count);
	return calibration_clock_ns(work) - start_ns;
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return (a > b) - (a < b);
}

/* What the two readings around a burn add to it: the median of many empty ones. */
static uint64_t clock_pair_ns(const struct work *work)
{
	uint64_t pairs[65];
	for (size_t index = 0; index < sizeof pairs / sizeof pairs[0]; index++) {
		pairs[index] = iterations_ns(work, 0);
	}
	qsort(pairs, sizeof pairs / sizeof pairs[0], sizeof pairs[0], compare);
	return pairs[sizeof pairs / sizeof pairs[0] / 2];
}

void work_calibrate(struct work *work, uint64_t work_ns)
{
	memset(work, 0, sizeof *work);
	work->work_ns = work_ns;
	if (work_ns == 0) {
		return;
	}
	work->has_clock = thread_cpu_now_ns() != IB_UNKNOWN;
	/* Also lets a CPU that was idle raise its frequency. */
	uint64_t count = 1024;
	uint64_t took_ns = iterations_ns(work, count);
	while (took_ns < REPEAT_NS) {
		count *= 2;
		took_ns = iterations_ns(work, count);
	}
	double per_ns = 0;
	work->spread_ppm = UINT64_MAX;
	for (int attempt = 0; attempt < ATTEMPTS_MAX && work->spread_ppm > SPREAD_MAX_PPM; attempt++) {
		uint64_t times[REPEATS];
		for (int repeat = 0; repeat < REPEATS; repeat++) {
			times[repeat] = iterations_ns(work, count);
		}
		qsort(times, REPEATS, sizeof times[0], compare);
		/* Without a CPU clock a repeat includes the time in which another thread ran, so the shortest is the right one. */
		uint64_t right = work->has_clock ? times[REPEATS / 2] : times[0];
		uint64_t spread_ppm = (times[REPEATS - 1] - times[0]) * PPM / (right + (right == 0));
		if (spread_ppm < work->spread_ppm && right > 0) {
			work->spread_ppm = spread_ppm;
			per_ns = (double)count / (double)right;
		}
	}
	work->iterations = (uint64_t)(per_ns * (double)work_ns + 0.5);
	work->slice = (uint64_t)(per_ns * SLICE_NS) + 1;
	work->clock_ns = clock_pair_ns(work);
	/* A sample costs more than the clock counts of it: entering and leaving the kernel. */
	uint64_t every = 2 * work->clock_ns * SAMPLE_COST_SHARE / work_ns + 1;
	work->sample_every = every < SAMPLE_EVERY_MAX ? (uint32_t)every : SAMPLE_EVERY_MAX;
}

/* ----------------------------------------------------------------------------------------------- burning */

static bool burn(const struct work *work, const _Atomic uint64_t *cut_ns)
{
	uint64_t left = work->iterations;
	while (unlikely(left > work->slice)) {
		iterate(work->slice);
		left -= work->slice;
		if (clock_now_ns() >= atomic_load_explicit(cut_ns, memory_order_relaxed)) {
			return false;
		}
	}
	iterate(left);
	return true;
}

bool work_burn(const struct work *work, struct work_meter *meter, uint32_t *until_sample,
               const _Atomic uint64_t *cut_ns)
{
	if (*until_sample > 0 || !work->has_clock) {
		*until_sample -= *until_sample > 0;
		return burn(work, cut_ns);
	}
	*until_sample = work->sample_every - 1;
	uint64_t start_ns = thread_cpu_now_ns();
	bool whole = burn(work, cut_ns);
	uint64_t took_ns = thread_cpu_now_ns() - start_ns;
	if (whole) {
		counter_add(&meter->burnt_ns, took_ns > work->clock_ns ? took_ns - work->clock_ns : 0);
		counter_add(&meter->measured, 1);
	}
	return whole;
}
