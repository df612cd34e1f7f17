/*
 * clock.c - QueryPerformanceCounter, which reads the TSC without a system call on any current machine.
 */
#include "platform/platform.h"
#include "windows_system.h"

/* Exists since Windows 10 1803. The headers of mingw-w64 10 lack it. */
#ifndef CREATE_WAITABLE_TIMER_HIGH_RESOLUTION
#define CREATE_WAITABLE_TIMER_HIGH_RESOLUTION 0x00000002
#endif

/* Fixed at boot, so it is read once, when the library is loaded. */
static uint64_t ticks_per_second;
/* ns per tick if that is a whole number (100 at the 10 MHz of Windows 10 and later), else 0. */
static uint64_t tick_ns;

__attribute__((constructor)) static void clock_init(void)
{
	LARGE_INTEGER frequency;
	QueryPerformanceFrequency(&frequency); /* cannot fail since Windows XP */
	ticks_per_second = (uint64_t)frequency.QuadPart;
	tick_ns = NS_PER_S % ticks_per_second == 0 ? NS_PER_S / ticks_per_second : 0;
}

uint64_t clock_now_ns(void)
{
	LARGE_INTEGER counter;
	QueryPerformanceCounter(&counter);
	uint64_t ticks = (uint64_t)counter.QuadPart;
	if (tick_ns != 0) {
		return ticks * tick_ns;
	}
	/* In two parts, because ticks * 10^9 overflows 64 bits after half an hour of a 10 MHz counter. */
	return ticks / ticks_per_second * NS_PER_S + ticks % ticks_per_second * NS_PER_S / ticks_per_second;
}

HANDLE waitable_timer_create(void)
{
	HANDLE timer = CreateWaitableTimerExW(NULL, NULL, CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, TIMER_ALL_ACCESS);
	if (timer == NULL) {
		timer = CreateWaitableTimerExW(NULL, NULL, 0, TIMER_ALL_ACCESS);
	}
	return timer;
}

static void sleep_coarse(uint64_t duration_ns)
{
	uint64_t duration_ms = (duration_ns + NS_PER_MS - 1) / NS_PER_MS;
	Sleep(duration_ms < INFINITE ? (DWORD)duration_ms : INFINITE - 1);
}

void clock_sleep_ns(uint64_t duration_ns)
{
	uint64_t due_ns = clock_now_ns() + duration_ns;
	HANDLE timer = waitable_timer_create();
	/* By the finer clock a wait may end a tick early, so continue until the instant has come. */
	for (uint64_t now_ns = due_ns - duration_ns; now_ns < due_ns; now_ns = clock_now_ns()) {
		uint64_t left_ns = due_ns - now_ns;
		LARGE_INTEGER relative = {.QuadPart = -(LONGLONG)((left_ns + 99) / 100)};
		if (timer == NULL || !SetWaitableTimer(timer, &relative, 0, NULL, NULL, FALSE) ||
		    WaitForSingleObject(timer, INFINITE) != WAIT_OBJECT_0) {
			sleep_coarse(left_ns);
		}
	}
	if (timer != NULL) {
		CloseHandle(timer);
	}
}

/* QueryPerformanceCounter keeps counting while the machine sleeps. */
uint64_t clock_suspended_ns(void)
{
	return 0;
}
