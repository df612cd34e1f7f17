/*
 * clock_resolution.c - measures the resolution of the clock.
 */
#include "platform/platform.h"

#define READINGS 2000

uint32_t clock_resolution_ns(void)
{
	uint64_t smallest = UINT32_MAX;
	uint64_t last = clock_now_ns();

	for (int reading = 0; reading < READINGS; reading++) {
		uint64_t now = clock_now_ns();
		if (now != last && now - last < smallest) {
			smallest = now - last;
		}
		last = now;
	}
	return (uint32_t)smallest;
}
