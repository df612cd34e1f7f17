/*
 * system_time.h - converts the time structs of system calls to nanoseconds and back.
 */
#ifndef SYSTEM_TIME_H
#define SYSTEM_TIME_H

#include <stdint.h>
#include <sys/time.h>
#include <time.h>

#include "platform/platform.h"

static inline uint64_t timeval_ns(struct timeval value)
{
	return (uint64_t)value.tv_sec * NS_PER_S + (uint64_t)value.tv_usec * NS_PER_US;
}

static inline uint64_t timespec_ns(struct timespec value)
{
	return (uint64_t)value.tv_sec * NS_PER_S + (uint64_t)value.tv_nsec;
}

static inline struct timespec timespec_of_ns(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

#endif /* SYSTEM_TIME_H */
