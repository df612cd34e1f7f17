/*
 * ib_assert.h - assertions of what the headers of this library promise.
 *
 * They hold wherever IB_ASSERTS is 1: in the builds for development and sanitizers (CMake option IB_ASSERTS). In a release they are compiled
 * out, but still compiled: an expression that is no longer valid is an error everywhere. It must have no side effects.
 */
#ifndef IB_ASSERT_H
#define IB_ASSERT_H

/* Prints what did not hold, and where, to stderr; then aborts. */
_Noreturn void ib_assert_failed(const char *condition, const char *file, int line);

#define ib_assert(condition)                                                                                           \
	do {                                                                                                               \
		if (IB_ASSERTS && __builtin_expect(!(condition), 0)) {                                                         \
			ib_assert_failed(#condition, __FILE__, __LINE__);                                                          \
		}                                                                                                              \
	} while (0)

/* Takes `amount` from a count that cannot be less. */
#define ib_count_down(count, amount)                                                                                   \
	do {                                                                                                               \
		ib_assert((count) >= (amount));                                                                                \
		(count) -= (amount);                                                                                           \
	} while (0)

#endif /* IB_ASSERT_H */
