/*
 * readiness.c - WSAPoll() and select() for the portable code.
 *
 * A Winsock fd_set is a count and an array of sockets. FD_SETSIZE, 64 by default, is only the array length in the type: longer arrays
 * are documented and accepted. FD_SET, FD_CLR and FD_ISSET walk the array at every call. Here a table holds each socket's position.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "platform/platform.h"

#define GROWTH 1024

/* -1: no timeout. */
static int timeout_whole_ms(uint64_t timeout_ns)
{
	uint64_t timeout_ms = (timeout_ns + NS_PER_MS - 1) / NS_PER_MS;
	return timeout_ns == IB_UNKNOWN ? -1 : (int)(timeout_ms < INT_MAX ? timeout_ms : INT_MAX);
}

static uint32_t entries_without_socket(const socket_poll_entry *entries, uint32_t count)
{
	uint32_t without = 0;
	for (uint32_t index = 0; index < count; index++) {
		without += entries[index].fd == SOCKET_NONE;
	}
	return without;
}

/*
 * WSAPoll ignores entries without a socket, but marks them with POLLNVAL (documentation of WSAPOLLFD), and Wine returns at once because of
 * them. So it gets a copy without them.
 */
static int poll_copy(socket_poll_entry *entries, uint32_t count, uint32_t without, int timeout_ms)
{
	socket_poll_entry *copy = malloc((count - without + 1) * sizeof *copy);
	if (copy == NULL) {
		return -WSAENOBUFS;
	}
	uint32_t copied = 0;
	for (uint32_t index = 0; index < count; index++) {
		entries[index].revents = 0;
		if (entries[index].fd != SOCKET_NONE) {
			copy[copied++] = entries[index];
		}
	}
	int ready = WSAPoll(copy, copied, timeout_ms);
	int code = ready >= 0 ? 0 : WSAGetLastError();
	copied = 0;
	for (uint32_t index = 0; ready > 0 && index < count; index++) {
		if (entries[index].fd != SOCKET_NONE) {
			entries[index].revents = copy[copied++].revents;
		}
	}
	free(copy);
	return ready >= 0 ? ready : -code;
}

int socket_poll(socket_poll_entry *entries, uint32_t count, uint64_t timeout_ns)
{
	int timeout_ms = timeout_whole_ms(timeout_ns);
	uint32_t without = entries_without_socket(entries, count);
	if (without > 0) {
		return poll_copy(entries, count, without, timeout_ms);
	}
	int ready = WSAPoll(entries, count, timeout_ms);
	return ready >= 0 ? ready : -WSAGetLastError();
}

/* Sockets are handles of the process: multiples of 4, and the lowest free one is used first. */
uint32_t socket_number(socket_handle socket)
{
	return (uint32_t)(socket / 4);
}

static size_t set_bytes(uint32_t sockets)
{
	return offsetof(struct fd_set, fd_array) + sockets * sizeof(SOCKET);
}

static bool set_reserve(struct socket_set *set, uint32_t sockets)
{
	if (set->set != NULL && sockets <= set->capacity) {
		return true;
	}
	uint32_t capacity = (sockets + GROWTH) / GROWTH * GROWTH;
	struct fd_set *grown = realloc(set->set, set_bytes(capacity));
	if (grown == NULL) {
		return false;
	}
	if (set->set == NULL) {
		grown->fd_count = 0;
	}
	set->set = grown;
	set->capacity = capacity;
	return true;
}

static bool positions_reserve(struct socket_set *set, uint32_t number)
{
	if (number < set->position_count) {
		return true;
	}
	uint32_t count = (number / GROWTH + 1) * GROWTH;
	uint32_t *grown = realloc(set->positions, count * sizeof *grown);
	if (grown == NULL) {
		return false;
	}
	memset(grown + set->position_count, 0, (count - set->position_count) * sizeof *grown);
	set->positions = grown;
	set->position_count = count;
	return true;
}

bool socket_set_add(struct socket_set *set, socket_handle socket)
{
	uint32_t number = socket_number(socket);
	uint32_t count = set->set != NULL ? set->set->fd_count : 0;
	if (!set_reserve(set, count + 1) || !positions_reserve(set, number)) {
		return false;
	}
	if (set->positions[number] != 0) {
		return true;
	}
	set->set->fd_array[count] = socket;
	set->set->fd_count = count + 1;
	set->positions[number] = count + 1;
	return true;
}

void socket_set_remove(struct socket_set *set, socket_handle socket)
{
	uint32_t number = socket_number(socket);
	if (number >= set->position_count || set->positions[number] == 0) {
		return;
	}
	uint32_t position = set->positions[number] - 1;
	SOCKET last = set->set->fd_array[--set->set->fd_count];
	set->set->fd_array[position] = last;
	set->positions[socket_number(last)] = position + 1;
	set->positions[number] = 0;
}

bool socket_set_copy(struct socket_set *to, const struct socket_set *from)
{
	uint32_t count = from->set != NULL ? from->set->fd_count : 0;
	if (!set_reserve(to, count)) {
		return false;
	}
	if (count > 0) {
		memcpy(to->set, from->set, set_bytes(count));
	}
	to->set->fd_count = count;
	return true;
}

void socket_set_free(struct socket_set *set)
{
	free(set->set);
	free(set->positions);
	memset(set, 0, sizeof *set);
}

socket_handle socket_set_next(const struct socket_set *set, uint32_t *cursor)
{
	return set->set != NULL && *cursor < set->set->fd_count ? set->set->fd_array[(*cursor)++] : SOCKET_NONE;
}

int socket_select(struct socket_set *reading, struct socket_set *writing, uint64_t timeout_ns)
{
	int timeout_ms = timeout_whole_ms(timeout_ns);
	struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
	/* The first argument is ignored, because the sets contain their size. */
	int ready = select(0, reading->set, writing->set, NULL, timeout_ms < 0 ? NULL : &timeout);
	return ready >= 0 ? ready : -WSAGetLastError();
}
