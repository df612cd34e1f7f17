/*
 * windows_system.h - what the files of this folder, and they alone, need of ntdll and of each other.
 */
#ifndef WINDOWS_SYSTEM_H
#define WINDOWS_SYSTEM_H

#include <stdint.h>

#include "platform_types.h"

/* A function of ntdll that no import library need have; NULL where this Windows (or Wine) lacks it. */
typedef void (*ntdll_pointer)(void);
ntdll_pointer ntdll_function(const char *name);

/* "8.0" where Wine stands in for Windows, else NULL: what Wine fills with zeros must not pass for a figure. */
const char *wine_version(void);

/* A FILETIME counts units of 100 ns. */
uint64_t filetime_ns(FILETIME time);

/*
 * A timer for relative waits, of half a millisecond where Windows has high-resolution timers (10 1803), else of the ordinary
 * tick. NULL on failure; CloseHandle ends it.
 */
HANDLE waitable_timer_create(void);

#endif /* WINDOWS_SYSTEM_H */
