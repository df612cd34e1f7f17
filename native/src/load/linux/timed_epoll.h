/*
 * timed_epoll.h - an epoll set with timeouts in ns instead of ms: epoll_pwait2 since Linux 5.11, a timerfd in the set before.
 */
#ifndef LOAD_LINUX_TIMED_EPOLL_H
#define LOAD_LINUX_TIMED_EPOLL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define TIMED_EPOLL_TIMER UINT64_MAX /* data.u64 of an event that only reports the timeout */

struct timed_epoll {
	int epoll;             /* -1: not open */
	int timer;             /* -1: epoll_pwait2 is available */
	uint64_t system_calls; /* whoever counts them sets it back to 0 */
};

/* Returns false on failure, with errno. */
bool timed_epoll_open(struct timed_epoll *set);
void timed_epoll_close(struct timed_epoll *set);
/* Returns the number of events, 0 after the timeout. */
int timed_epoll_wait(struct timed_epoll *set, struct epoll_event *events, int capacity, uint64_t timeout_ns);

#endif /* LOAD_LINUX_TIMED_EPOLL_H */
