/*
 * check.h - assertions of the unit tests. A failed one is printed and counted, and the test continues.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

static int check_failures;

static inline bool check_that(bool holds, const char *text, const char *file, int line)
{
	if (!holds && ++check_failures <= 50) {
		(void)fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
	}
	return holds;
}

static inline bool check_equal(uint64_t got, uint64_t expected, const char *text, const char *file, int line)
{
	if (got != expected && ++check_failures <= 50) {
		(void)fprintf(stderr, "%s:%d: failed: %s: got %llu, expected %llu\n", file, line, text, (unsigned long long)got,
		              (unsigned long long)expected);
	}
	return got == expected;
}

#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)
#define CHECK_EQUAL(got, expected)                                                                                     \
	check_equal((uint64_t)(got), (uint64_t)(expected), #got " == " #expected, __FILE__, __LINE__)

/* The return value for main(). */
static inline int check_result(void)
{
	if (check_failures != 0) {
		(void)fprintf(stderr, "%d checks failed\n", check_failures);
	}
	return check_failures != 0;
}

#endif /* CHECK_H */
