/*
 * thread.c - pthreads. Every thread of this library blocks all signals, because Node's own threads handle them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "platform/platform.h"
#include "system_time.h"

/* Passes the function to the new thread, which frees this struct. */
struct thread_start {
	thread_function function;
	void *argument;
};

static void *thread_main(void *argument)
{
	struct thread_start start = *(struct thread_start *)argument;
	free(argument);
	start.function(start.argument);
	return NULL;
}

static size_t stack_size_usable(size_t stack_size_bytes)
{
	long page = sysconf(_SC_PAGESIZE);
	long smallest = sysconf(_SC_THREAD_STACK_MIN);
	size_t page_bytes = page > 0 ? (size_t)page : 4096;
	size_t size = stack_size_bytes;
	if (smallest > 0 && size < (size_t)smallest) {
		size = (size_t)smallest;
	}
	return (size + page_bytes - 1) / page_bytes * page_bytes;
}

static int thread_create(pthread_t *out, thread_function function, void *argument, size_t stack_size_bytes,
                         bool detached)
{
	struct thread_start *start = malloc(sizeof *start);
	if (start == NULL) {
		return ENOMEM;
	}
	start->function = function;
	start->argument = argument;
	pthread_attr_t attributes;
	int code = pthread_attr_init(&attributes);
	if (code != 0) {
		free(start);
		return code;
	}
	if (stack_size_bytes > 0) {
		code = pthread_attr_setstacksize(&attributes, stack_size_usable(stack_size_bytes));
	}
	if (code == 0 && detached) {
		code = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	}
	if (code == 0) {
		/* A thread inherits the mask of its creator. */
		sigset_t all, before;
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		code = pthread_create(out, &attributes, thread_main, start);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	pthread_attr_destroy(&attributes);
	if (code != 0) {
		free(start);
	}
	return code;
}

int thread_start(struct thread *out, thread_function function, void *argument, size_t stack_size_bytes)
{
	return thread_create(&out->handle, function, argument, stack_size_bytes, false);
}

void thread_join(struct thread *thread)
{
	pthread_join(thread->handle, NULL);
}

int thread_start_detached(thread_function function, void *argument, size_t stack_size_bytes)
{
	pthread_t handle;
	return thread_create(&handle, function, argument, stack_size_bytes, true);
}

static int thread_bind_cpu(uint32_t cpu)
{
	if (cpu >= CPU_SETSIZE) {
		return EINVAL;
	}
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	return sched_setaffinity(0, sizeof cpus, &cpus) == 0 ? 0 : errno;
}

void mutex_init(struct mutex *mutex)
{
	pthread_mutex_init(&mutex->handle, NULL);
}

void mutex_destroy(struct mutex *mutex)
{
	pthread_mutex_destroy(&mutex->handle);
}

void mutex_lock(struct mutex *mutex)
{
	pthread_mutex_lock(&mutex->handle);
}

void mutex_unlock(struct mutex *mutex)
{
	pthread_mutex_unlock(&mutex->handle);
}

void condition_init(struct condition *condition)
{
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	/* Waits use the monotonic clock: a step of the wall clock must not shorten or prolong them. */
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&condition->handle, &attributes);
	pthread_condattr_destroy(&attributes);
}

void condition_destroy(struct condition *condition)
{
	pthread_cond_destroy(&condition->handle);
}

void condition_wait(struct condition *condition, struct mutex *mutex, uint64_t duration_ns)
{
	uint64_t due_ns = clock_now_ns() + duration_ns;
	struct timespec due = timespec_of_ns(due_ns);
	pthread_cond_timedwait(&condition->handle, &mutex->handle, &due);
}

void condition_signal(struct condition *condition)
{
	pthread_cond_signal(&condition->handle);
}

void condition_broadcast(struct condition *condition)
{
	pthread_cond_broadcast(&condition->handle);
}

uint32_t thread_times_now(struct thread_times *out)
{
	memset(out, 0xff, sizeof *out);
	int file = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	if (file < 0) {
		return 1;
	}
	const uint32_t calls = 3; /* open, read, close */
	char text[96];
	ssize_t length = read(file, text, sizeof text - 1);
	close(file);
	if (length <= 0) {
		return calls;
	}
	text[length] = '\0';
	unsigned long long running, delay;
	if (sscanf(text, "%llu %llu", &running, &delay) == 2) {
		out->cpu_ns = running;
		out->run_delay_ns = delay;
	}
	return calls;
}

void thread_usage_now(struct thread_usage *out)
{
	struct rusage usage;
	memset(out, 0xff, sizeof *out);
	if (getrusage(RUSAGE_THREAD, &usage) == 0) {
		out->cpu_user_ns = timeval_ns(usage.ru_utime);
		out->cpu_system_ns = timeval_ns(usage.ru_stime);
		out->voluntary_switches = (uint64_t)usage.ru_nvcsw;
		out->involuntary_switches = (uint64_t)usage.ru_nivcsw;
	}
	struct thread_times times;
	thread_times_now(&times);
	out->run_delay_ns = times.run_delay_ns;
}

void thread_borrow(struct thread_state *state, uint32_t cpu)
{
	sigset_t all;
	sigfillset(&all);
	memset(state, 0, sizeof *state);
	pthread_sigmask(SIG_SETMASK, &all, &state->signals);
	if (cpu != IB_UNKNOWN_32) {
		state->cpus_saved = sched_getaffinity(0, sizeof state->cpus, &state->cpus) == 0;
		thread_bind_cpu(cpu);
	}
	/* The kernel may delay every timed wait of a thread by its slack, 50 us by default. That is too coarse for a timetable. */
	int slack_ns = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
	if (slack_ns > 0 && prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0) {
		state->timer_slack_ns = (unsigned long)slack_ns;
	}
}

void thread_give_back(const struct thread_state *state)
{
	if (state->timer_slack_ns != 0) {
		prctl(PR_SET_TIMERSLACK, state->timer_slack_ns, 0, 0, 0);
	}
	if (state->cpus_saved) {
		sched_setaffinity(0, sizeof state->cpus, &state->cpus);
	}
	pthread_sigmask(SIG_SETMASK, &state->signals, NULL);
}

uint32_t cpu_count(void)
{
	cpu_set_t cpus;
	if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) {
		return 1;
	}
	int count = CPU_COUNT(&cpus);
	return count > 0 ? (uint32_t)count : 1;
}
