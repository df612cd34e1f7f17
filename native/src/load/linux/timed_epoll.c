/*
 * timed_epoll.c - an epoll set with timeouts in ns.
 */
#include "load/linux/timed_epoll.h"

#include <stddef.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "system_time.h"

/* glibc has the wrapper only since 2.35, and this library is built for older versions too. */
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

bool timed_epoll_open(struct timed_epoll *set)
{
	struct epoll_event event;
	struct timespec none = {0};

	set->timer = -1;
	set->system_calls = 0;
	set->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (set->epoll < 0) {
		return false;
	}
	/* Old kernels and strict sandboxes lack it. */
	if (syscall(SYS_epoll_pwait2, set->epoll, &event, 1, &none, NULL, (size_t)0) >= 0) {
		return true;
	}
	set->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	event = (struct epoll_event){.events = EPOLLIN | EPOLLET, .data.u64 = TIMED_EPOLL_TIMER};
	return set->timer >= 0 && epoll_ctl(set->epoll, EPOLL_CTL_ADD, set->timer, &event) == 0;
}

void timed_epoll_close(struct timed_epoll *set)
{
	if (set->epoll >= 0) {
		close(set->epoll);
	}
	if (set->timer >= 0) {
		close(set->timer);
	}
}

int timed_epoll_wait(struct timed_epoll *set, struct epoll_event *events, int capacity, uint64_t timeout_ns)
{
	struct timespec timeout = timespec_of_ns(timeout_ns);
	long count;

	set->system_calls++;
	if (timeout_ns == 0) {
		count = epoll_wait(set->epoll, events, capacity, 0);
	} else if (set->timer < 0) {
		count = syscall(SYS_epoll_pwait2, set->epoll, events, capacity, &timeout, NULL, (size_t)0);
	} else {
		/* Setting the timer also clears an expiry that has not been read. */
		const struct itimerspec due = {.it_value = timeout};
		set->system_calls++;
		timerfd_settime(set->timer, 0, &due, NULL);
		count = epoll_wait(set->epoll, events, capacity, 100);
	}
	return count > 0 ? (int)count : 0; /* EINTR comes from a debugger; the caller waits again */
}
