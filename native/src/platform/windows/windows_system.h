/*
 * windows_system.h - functions of ntdll, and helpers that the Windows files share.
 */
#ifndef WINDOWS_SYSTEM_H
#define WINDOWS_SYSTEM_H

#include <stdint.h>

#include "platform_types.h"

/* A function of ntdll that need not be in an import library. NULL if this Windows (or Wine) lacks it. */
typedef void (*ntdll_pointer)(void);
ntdll_pointer ntdll_function(const char *name);

/* "8.0" if Wine stands in for Windows, else NULL. A zero that Wine fills in must not be reported as a figure. */
const char *wine_version(void);

/* A FILETIME counts units of 100 ns. */
uint64_t filetime_ns(FILETIME time);

/*
 * A timer for relative waits. Its resolution is half a millisecond if Windows has high-resolution timers (since 10 1803), else the
 * ordinary tick. NULL on failure. Close it with CloseHandle.
 */
HANDLE waitable_timer_create(void);

#endif /* WINDOWS_SYSTEM_H */
