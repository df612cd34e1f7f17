/*
 * clock.c - CLOCK_MONOTONIC, which the vDSO reads without a system call where the clock source is the TSC.
 */
#include <errno.h>
#include <time.h>

#include "platform/platform.h"

uint64_t clock_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void clock_sleep_ns(uint64_t duration_ns)
{
	uint64_t due_ns = clock_now_ns() + duration_ns;
	struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000u), .tv_nsec = (long)(due_ns % 1000000000u)};
	/* Absolute, so that an interrupted sleep goes on to the same instant. */
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
		continue;
}

uint64_t clock_suspended_ns(void)
{
	struct timespec since_boot;
	uint64_t now_ns = clock_now_ns();
	clock_gettime(CLOCK_BOOTTIME, &since_boot);
	uint64_t since_boot_ns = (uint64_t)since_boot.tv_sec * 1000000000u + (uint64_t)since_boot.tv_nsec;
	return since_boot_ns > now_ns ? since_boot_ns - now_ns : 0;
}
