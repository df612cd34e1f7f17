/*
 * wrapped_syscall.h - for tests that the linker gives --wrap=syscall: every call of syscall() goes to syscall_wrapped(), which the test
 * defines. It may answer the call itself, or change it and pass it on.
 */
#ifndef WRAPPED_SYSCALL_H
#define WRAPPED_SYSCALL_H

#include <stdarg.h>

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

/* The six arguments of the call, whether it has so many or not. Returns as syscall(2): -1 with errno for an error. */
static long syscall_wrapped(long number, long arguments[6]);

static inline long syscall_passed_on(long number, const long arguments[6])
{
	return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

long __wrap_syscall(long number, ...)
{
	long arguments[6];
	va_list list;
	va_start(list, number);
	for (int index = 0; index < 6; index++) {
		arguments[index] = va_arg(list, long);
	}
	va_end(list);
	return syscall_wrapped(number, arguments);
}

#endif /* WRAPPED_SYSCALL_H */
