/*
 * readiness.c - poll() and select() for the portable code.
 *
 * select() itself has no limit of 1024 descriptors. FD_SETSIZE is only the size of glibc's fd_set, and the kernel reads as many bits as
 * its first argument says. FD_SET and FD_ISSET check that size and abort beyond it, so this file sets the bits itself.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

#include "platform/platform.h"
#include "system_time.h"

#define US_PER_S (NS_PER_S / NS_PER_US)
#define WORD_BITS ((uint32_t)(sizeof(unsigned long) * CHAR_BIT))
/* Sets grow by the size of an fd_set. */
#define GROWTH_WORDS (1024 / WORD_BITS)

int socket_poll(socket_poll_entry *entries, uint32_t count, uint64_t timeout_ns)
{
	struct timespec timeout = timespec_of_ns(timeout_ns);
	int ready = timeout_ns == IB_UNKNOWN ? poll(entries, count, -1) : ppoll(entries, count, &timeout, NULL);
	return ready >= 0 ? ready : -errno;
}

uint32_t socket_number(socket_handle socket)
{
	return (uint32_t)socket;
}

static bool set_reserve(struct socket_set *set, uint32_t word_count)
{
	if (word_count <= set->word_count) {
		return true;
	}
	uint32_t grown = (word_count + GROWTH_WORDS - 1) / GROWTH_WORDS * GROWTH_WORDS;
	unsigned long *words = realloc(set->words, grown * sizeof *words);
	if (words == NULL) {
		return false;
	}
	memset(words + set->word_count, 0, (grown - set->word_count) * sizeof *words);
	set->words = words;
	set->word_count = grown;
	return true;
}

bool socket_set_add(struct socket_set *set, socket_handle socket)
{
	if (!set_reserve(set, (uint32_t)socket / WORD_BITS + 1)) {
		return false;
	}
	set->words[(uint32_t)socket / WORD_BITS] |= 1ul << (uint32_t)socket % WORD_BITS;
	return true;
}

void socket_set_remove(struct socket_set *set, socket_handle socket)
{
	if ((uint32_t)socket / WORD_BITS < set->word_count) {
		set->words[(uint32_t)socket / WORD_BITS] &= ~(1ul << (uint32_t)socket % WORD_BITS);
	}
}

bool socket_set_copy(struct socket_set *to, const struct socket_set *from)
{
	if (!set_reserve(to, from->word_count)) {
		return false;
	}
	if (from->word_count > 0) {
		memcpy(to->words, from->words, from->word_count * sizeof *to->words);
	}
	for (uint32_t word = from->word_count; word < to->word_count; word++) {
		to->words[word] = 0;
	}
	return true;
}

void socket_set_free(struct socket_set *set)
{
	free(set->words);
	memset(set, 0, sizeof *set);
}

socket_handle socket_set_next(const struct socket_set *set, uint32_t *cursor)
{
	uint32_t word = *cursor / WORD_BITS;
	unsigned long bits = word < set->word_count ? set->words[word] >> *cursor % WORD_BITS << *cursor % WORD_BITS : 0;
	while (bits == 0 && ++word < set->word_count) {
		bits = set->words[word];
	}
	if (bits == 0) {
		return SOCKET_NONE;
	}
	uint32_t number = word * WORD_BITS + (uint32_t)__builtin_ctzl(bits);
	*cursor = number + 1;
	return (socket_handle)number;
}

/* The first argument of select(), one more than the highest descriptor. Rounding it up to a whole word costs the kernel nothing. */
static int width(const struct socket_set *set)
{
	uint32_t words = set->word_count;
	while (words > 0 && set->words[words - 1] == 0) {
		words--;
	}
	return (int)(words * WORD_BITS);
}

int socket_select(struct socket_set *reading, struct socket_set *writing, uint64_t timeout_ns)
{
	uint64_t timeout_us = (timeout_ns + NS_PER_US - 1) / NS_PER_US;
	struct timeval timeout = {.tv_sec = (time_t)(timeout_us / US_PER_S),
	                          .tv_usec = (suseconds_t)(timeout_us % US_PER_S)};
	int highest = width(reading) > width(writing) ? width(reading) : width(writing);
	/* The kernel reads this many bits of both sets. */
	if (!set_reserve(reading, (uint32_t)highest / WORD_BITS) || !set_reserve(writing, (uint32_t)highest / WORD_BITS)) {
		return -ENOMEM;
	}
	int ready = select(highest, (fd_set *)(void *)reading->words, (fd_set *)(void *)writing->words, NULL,
	                   timeout_ns == IB_UNKNOWN ? NULL : &timeout);
	return ready >= 0 ? ready : -errno;
}
