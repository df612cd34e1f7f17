/*
 * thread.c - CreateThread, slim locks and condition variables. Windows has no signals to block. It delivers Ctrl-C on a thread of
 * its own.
 */
#include <stdlib.h>
#include <string.h>

#include "platform/platform.h"
#include "windows_system.h"

#include <timeapi.h>

/* Passes the function to the new thread, which frees this struct. */
struct thread_start {
	thread_function function;
	void *argument;
};

static DWORD WINAPI thread_main(void *argument)
{
	struct thread_start start = *(struct thread_start *)argument;
	free(argument);
	start.function(start.argument);
	return 0;
}

static int thread_create(HANDLE *out, thread_function function, void *argument, size_t stack_size_bytes)
{
	struct thread_start *start = malloc(sizeof *start);
	if (start == NULL) {
		return ERROR_NOT_ENOUGH_MEMORY;
	}
	start->function = function;
	start->argument = argument;
	/* Without the flag the size would be committed at once and the reservation would stay that of node.exe, so 15,000 threads
	 * would reserve a megabyte or more each. Windows rounds a reservation up to 64 KiB. */
	HANDLE thread = CreateThread(NULL, stack_size_bytes, thread_main, start, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
	if (thread == NULL) {
		int code = (int)GetLastError();
		free(start);
		return code != 0 ? code : ERROR_NOT_ENOUGH_MEMORY;
	}
	*out = thread;
	return 0;
}

int thread_start(struct thread *out, thread_function function, void *argument, size_t stack_size_bytes)
{
	return thread_create(&out->handle, function, argument, stack_size_bytes);
}

void thread_join(struct thread *thread)
{
	WaitForSingleObject(thread->handle, INFINITE);
	CloseHandle(thread->handle);
}

int thread_start_detached(thread_function function, void *argument, size_t stack_size_bytes)
{
	HANDLE thread;
	int code = thread_create(&thread, function, argument, stack_size_bytes);
	if (code == 0) {
		CloseHandle(thread);
	}
	return code;
}

void mutex_init(struct mutex *mutex)
{
	InitializeSRWLock(&mutex->handle);
}

void mutex_destroy(struct mutex *mutex)
{
	(void)mutex; /* a slim lock owns no resources */
}

void mutex_lock(struct mutex *mutex)
{
	AcquireSRWLockExclusive(&mutex->handle);
}

void mutex_unlock(struct mutex *mutex)
{
	ReleaseSRWLockExclusive(&mutex->handle);
}

void condition_init(struct condition *condition)
{
	InitializeConditionVariable(&condition->handle);
}

void condition_destroy(struct condition *condition)
{
	(void)condition; /* owns no resources either */
}

void condition_wait(struct condition *condition, struct mutex *mutex, uint64_t duration_ns)
{
	uint64_t duration_ms = duration_ns / NS_PER_MS + (duration_ns % NS_PER_MS != 0);
	SleepConditionVariableSRW(&condition->handle, &mutex->handle,
	                          duration_ms < INFINITE ? (DWORD)duration_ms : INFINITE - 1, 0);
}

void condition_signal(struct condition *condition)
{
	WakeConditionVariable(&condition->handle);
}

void condition_broadcast(struct condition *condition)
{
	WakeAllConditionVariable(&condition->handle);
}

uint64_t filetime_ns(FILETIME time)
{
	return (((uint64_t)time.dwHighDateTime << 32) | time.dwLowDateTime) * 100u;
}

/* Windows accounts CPU time to threads by the clock tick, so a figure is accurate to about 16 ms. It does not report how long a
 * thread waited for a CPU, or why it was switched. */
void thread_usage_now(struct thread_usage *out)
{
	FILETIME created, ended, kernel, user;
	memset(out, 0xff, sizeof *out);
	if (GetThreadTimes(GetCurrentThread(), &created, &ended, &kernel, &user)) {
		out->cpu_user_ns = filetime_ns(user);
		out->cpu_system_ns = filetime_ns(kernel);
	}
}

uint32_t thread_times_now(struct thread_times *out)
{
	struct thread_usage usage;
	thread_usage_now(&usage);
	out->cpu_ns = usage.cpu_user_ns == IB_UNKNOWN ? IB_UNKNOWN : usage.cpu_user_ns + usage.cpu_system_ns;
	out->run_delay_ns = IB_UNKNOWN;
	return 1;
}

#define RATE_SPINS 5
#define RATE_SPIN_NS (2 * NS_PER_MS)
/* The rate is unknown, or the system does not count cycles. */
#define RATE_UNKNOWN 0.0
#define RATE_MISSING (-1.0)

/* Cycles of this thread per ns of wall time in one spin. */
static double cycle_rate_once(void)
{
	ULONG64 first = 0, last = 0;
	uint64_t start_ns = clock_now_ns();
	if (!QueryThreadCycleTime(GetCurrentThread(), &first)) {
		return RATE_MISSING;
	}
	uint64_t now_ns;
	do {
		now_ns = clock_now_ns();
	} while (now_ns - start_ns < RATE_SPIN_NS);
	QueryThreadCycleTime(GetCurrentThread(), &last);
	return last > first ? (double)(last - first) / (double)(now_ns - start_ns) : RATE_MISSING;
}

/*
 * Windows counts a thread's CPU time in ticks of 16 ms, but its cycles exactly, by the time stamp counter, whose rate is constant. A spin
 * during which the thread lost its CPU shows a lower rate, so the highest of a few is the counter's.
 */
static double cycle_rate(void)
{
	static _Atomic double known;
	double rate = known;
	if (rate == RATE_UNKNOWN) {
		rate = RATE_MISSING;
		for (int spin = 0; spin < RATE_SPINS; spin++) {
			double once = cycle_rate_once();
			rate = once > rate ? once : rate;
		}
		known = rate;
	}
	return rate;
}

uint64_t thread_cpu_now_ns(void)
{
	double rate = cycle_rate();
	ULONG64 cycles = 0;
	if (rate == RATE_MISSING || !QueryThreadCycleTime(GetCurrentThread(), &cycles)) {
		return IB_UNKNOWN;
	}
	return (uint64_t)((double)cycles / rate);
}

/* Timed waits end on a tick of the system clock, 15.6 ms apart by default. The period belongs to the process and ends with it. */
void thread_waits_precisely(void)
{
	(void)timeBeginPeriod(1);
}

void thread_borrow(struct thread_state *state, uint32_t cpu)
{
	memset(state, 0, sizeof *state);
	/* A mask covers the 64 CPUs of one processor group, the group in which this process was started. */
	if (cpu < 64) {
		state->cpus = SetThreadAffinityMask(GetCurrentThread(), (DWORD_PTR)1 << cpu);
	}
	/* Timed waits end on a tick of the system clock. Ticks are 15.6 ms apart by default, too coarse for a timetable. */
	state->timer_period_raised = timeBeginPeriod(1) == TIMERR_NOERROR;
}

void thread_give_back(const struct thread_state *state)
{
	if (state->timer_period_raised) {
		timeEndPeriod(1);
	}
	if (state->cpus != 0) {
		SetThreadAffinityMask(GetCurrentThread(), state->cpus);
	}
}

uint32_t cpu_count(void)
{
	DWORD_PTR process = 0, system = 0;
	/* The mask is 0 for a process that spans processor groups. Such a process may use every CPU. */
	if (GetProcessAffinityMask(GetCurrentProcess(), &process, &system) && process != 0) {
		return (uint32_t)__builtin_popcountll(process);
	}
	DWORD all = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
	return all > 0 ? all : 1;
}
