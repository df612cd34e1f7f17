/*
 * receive_timer.h - ends a blocking recv() at intervals: a timer of the kernel that signals one thread.
 *
 * SO_RCVTIMEO sets and deletes a timer at every wait. This timer is set once, so a wait costs nothing more. The first timer installs a
 * handler, which does nothing, for the highest realtime signal without one. The handler stays installed.
 */
#ifndef LOAD_LINUX_RECEIVE_TIMER_H
#define LOAD_LINUX_RECEIVE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct receive_timer {
	int id; /* of the kernel; -1: not open */
	bool runs;
};

/* Creates a timer, not running, for the calling thread. Returns false on failure, with errno: EAGAIN if every signal is taken. */
bool receive_timer_open(struct receive_timer *timer);
/*
 * Starts the timer: from now on, a blocking call of the thread that opened it fails with EINTR at least every `period_ns`, if the call waits at
 * that moment. Returns false on failure, with errno.
 */
bool receive_timer_start(struct receive_timer *timer, uint64_t period_ns);
/* Does nothing if the timer does not run. */
void receive_timer_stop(struct receive_timer *timer);
/* Call on the thread that opened it. Does nothing if the timer is not open. */
void receive_timer_close(struct receive_timer *timer);

#endif /* LOAD_LINUX_RECEIVE_TIMER_H */
