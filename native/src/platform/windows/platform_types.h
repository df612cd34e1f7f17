/*
 * platform_types.h - the types of platform.h on Windows (10 or later, x64).
 */
#ifndef PLATFORM_TYPES_H
#define PLATFORM_TYPES_H

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
/* winsock2.h first: otherwise windows.h includes the old Winsock 1.1. */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>

#include <iphlpapi.h> /* after winsock2.h and windows.h */

#include <stdbool.h>
#include <stdint.h>

typedef SOCKET socket_handle;
#define SOCKET_NONE INVALID_SOCKET

struct mutex {
	SRWLOCK handle;
};

struct condition {
	CONDITION_VARIABLE handle;
};

struct thread {
	HANDLE handle;
};

struct execution_counter {
	char unused; /* always closed */
};

struct socket_address {
	struct sockaddr_storage storage;
	int length;
};

typedef WSAPOLLFD socket_poll_entry;

/* An fd_set of any length, and the position of each socket in it. */
struct socket_set {
	struct fd_set *set;
	uint32_t capacity;
	uint32_t *positions; /* by socket_number(): position + 1 */
	uint32_t position_count;
};

struct thread_state {
	DWORD_PTR cpus; /* 0: not changed */
	bool timer_period_raised;
};

#endif /* PLATFORM_TYPES_H */
