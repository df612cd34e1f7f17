/*
 * ib_assert.c - the end of a process in which something is not as promised.
 */
#include "platform/ib_assert.h"

#include <stdio.h>
#include <stdlib.h>

void ib_assert_failed(const char *condition, const char *file, int line)
{
	(void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
	abort();
}
