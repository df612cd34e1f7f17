/*
 * receive_timer.c - see receive_timer.h.
 *
 * The system calls are made directly: glibc before 2.34 has these functions in a library of their own.
 */
#include "load/linux/receive_timer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "system_time.h"

/* glibc has no name for this field, or has one only in newer versions. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static int handler_signal; /* 0: every signal is taken */

static void on_signal(int number)
{
	(void)number;
}

static void handler_install(void)
{
	/* Without SA_RESTART, so that the signal ends the wait. */
	const struct sigaction action = {.sa_handler = on_signal};
	struct sigaction before;

	for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
		if (sigaction(number, NULL, &before) == 0 && (before.sa_flags & SA_SIGINFO) == 0 &&
		    before.sa_handler == SIG_DFL && sigaction(number, &action, NULL) == 0) {
			handler_signal = number;
			return;
		}
	}
}

bool receive_timer_open(struct receive_timer *timer)
{
	*timer = (struct receive_timer){.id = -1};
	pthread_once(&handler_once, handler_install);
	if (handler_signal == 0) {
		errno = EAGAIN;
		return false;
	}
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = handler_signal};
	event.sigev_notify_thread_id = (int)syscall(SYS_gettid);
	if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer->id) != 0) {
		timer->id = -1;
		return false;
	}
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, handler_signal);
	pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
	return true;
}

static bool timer_set(struct receive_timer *timer, uint64_t period_ns)
{
	const struct itimerspec times = {.it_interval = timespec_of_ns(period_ns), .it_value = timespec_of_ns(period_ns)};

	return syscall(SYS_timer_settime, timer->id, 0, &times, NULL) == 0;
}

bool receive_timer_start(struct receive_timer *timer, uint64_t period_ns)
{
	timer->runs = timer->runs || timer_set(timer, period_ns);
	return timer->runs;
}

void receive_timer_stop(struct receive_timer *timer)
{
	if (timer->runs) {
		timer->runs = false;
		(void)timer_set(timer, 0);
	}
}

void receive_timer_close(struct receive_timer *timer)
{
	if (timer->id >= 0) {
		(void)syscall(SYS_timer_delete, timer->id);
		timer->id = -1;
	}
}
