/*
 * clock.c - CLOCK_MONOTONIC, which the vDSO reads without a system call if the clock source is the TSC.
 */
#include <errno.h>
#include <time.h>

#include "platform/platform.h"
#include "system_time.h"

uint64_t clock_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return timespec_ns(now);
}

void clock_sleep_ns(uint64_t duration_ns)
{
	uint64_t due_ns = clock_now_ns() + duration_ns;
	struct timespec due = timespec_of_ns(due_ns);
	/* Absolute, so that an interrupted sleep continues to the same instant. */
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR) {
		continue;
	}
}

uint64_t clock_suspended_ns(void)
{
	struct timespec since_boot;
	uint64_t now_ns = clock_now_ns();
	clock_gettime(CLOCK_BOOTTIME, &since_boot);
	uint64_t since_boot_ns = timespec_ns(since_boot);
	return since_boot_ns > now_ns ? since_boot_ns - now_ns : 0;
}
