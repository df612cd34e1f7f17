/*
 * thread_clock.c - the CPU clock of a thread and the precision of its waits. Apart from thread.c, since the program of the model `process` has no
 * other use for threads.
 */
#include <sys/prctl.h>
#include <time.h>

#include "platform/platform.h"
#include "system_time.h"

uint64_t thread_cpu_now_ns(void)
{
	struct timespec now;
	return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0 ? timespec_ns(now) : IB_UNKNOWN;
}

void thread_waits_precisely(void)
{
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
}
