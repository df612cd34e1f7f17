/*
 * wake_timer.h - ends a wait at a completion port at a given time, more precisely than the port's timeout in ms.
 */
#ifndef WAKE_TIMER_H
#define WAKE_TIMER_H

#include "platform/platform.h"

typedef LONG(WINAPI *wake_associate)(HANDLE packet, HANDLE port, HANDLE target, PVOID key, PVOID context, LONG status,
                                     ULONG_PTR information, BOOLEAN *already_signalled);

struct wake_timer {
	HANDLE timer;
	HANDLE packet; /* NULL: the timer calls an APC instead, and the wait is alertable */
	wake_associate associate;
	HANDLE port;
	ULONG_PTR key;
	bool associated; /* the packet waits for the timer; false after it was dequeued */
};

/* When the timer fires, a packet with completion key `key` is queued, or the wait ends with WAIT_IO_COMPLETION. False on failure. */
bool wake_timer_open(struct wake_timer *wake, HANDLE port, ULONG_PTR key);
void wake_timer_close(struct wake_timer *wake);
/* Sets the timer to fire once, `delay_ns` from now. Replaces an earlier time. Returns the number of system calls it made. */
uint32_t wake_timer_set(struct wake_timer *wake, uint64_t delay_ns);
/* Call it when the timer's packet was dequeued. */
void wake_timer_fired(struct wake_timer *wake);
const char *wake_timer_name(const struct wake_timer *wake);

#endif /* WAKE_TIMER_H */
