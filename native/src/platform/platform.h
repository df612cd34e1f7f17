/*
 * platform.h - what the engine-independent code needs of an operating system. Implemented once in platform/linux and once in
 * platform/windows; nothing here is on the path of a request except the clock and, for the blocking model, the socket calls.
 *
 * platform_types.h is found in the folder of the platform that is built (an include path set by CMake), so that no #ifdef
 * stands here or in a caller.
 */
#ifndef PLATFORM_H
#define PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iocp_bench.h"
/* Defines: socket_handle (an integer type), SOCKET_NONE, struct mutex, struct condition, struct thread, struct socket_address,
 * socket_poll_entry with POLLIN and POLLOUT, struct socket_set. */
#include "platform_types.h"

/* What threads write often stands on cache lines of its own. The size is that of x86-64. */
#define CACHE_LINE_BYTES 64u

/* ------------------------------------------------------------------------------------------- errors */

/* Fills *error (which may be NULL) printf-style; the hint is cleared. Returns status, so that callers can return it. */
int32_t error_set(struct ib_error *error, enum ib_status status, int os_code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Adds a hint to *error (which may be NULL). */
void error_hint(struct ib_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The system's own text for os_code ("Connection refused"), in static or thread-local storage. */
const char *error_text(int os_code);

/* ------------------------------------------------------------------------------------------- memory */

/* `bytes` bytes that start at a multiple of `alignment` (a power of two, of which bytes is a multiple); NULL: none. */
void *memory_allocate_aligned(size_t alignment, size_t bytes);
/* For what that gave; NULL is fine. */
void memory_free_aligned(void *memory);

/* -------------------------------------------------------------------------------------------- clock */

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull

/* Monotonic time in ns; 20 to 30 ns a call. */
uint64_t clock_now_ns(void);
/* Suspends the calling thread for at least `duration_ns`. */
void clock_sleep_ns(uint64_t duration_ns);
/* The smallest step between two different readings of clock_now_ns(), out of two thousand. Measured anew by every call. */
uint32_t clock_resolution_ns(void);
/* How long the machine has been suspended since it started, as far as clock_now_ns() does not count that time; else 0. */
uint64_t clock_suspended_ns(void);

/* ------------------------------------------------------------------------------------------ threads */

typedef void (*thread_function)(void *argument);

/*
 * Starts a thread with all signals blocked and a stack of stack_size_bytes (0: the system's default). Returns 0, or the
 * system's error code when it could not be started. A joinable thread must be joined.
 */
int thread_start(struct thread *out, thread_function function, void *argument, size_t stack_size_bytes);
void thread_join(struct thread *thread);
/* The same, detached: nothing to join. */
int thread_start_detached(thread_function function, void *argument, size_t stack_size_bytes);
/* Binds the calling thread to one CPU. Returns 0 or the system's error code. */
int thread_bind_cpu(uint32_t cpu);

void mutex_init(struct mutex *mutex);
void mutex_destroy(struct mutex *mutex);
void mutex_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);
void condition_init(struct condition *condition);
void condition_destroy(struct condition *condition);
/* Waits until signalled or duration_ns has passed; may wake without cause. */
void condition_wait(struct condition *condition, struct mutex *mutex, uint64_t duration_ns);
/* Wakes one of those that wait. */
void condition_signal(struct condition *condition);
void condition_broadcast(struct condition *condition);

/* CPU use of the calling thread since its start. Unknown figures are IB_UNKNOWN. */
struct thread_usage {
	uint64_t cpu_user_ns;
	uint64_t cpu_system_ns;
	uint64_t run_delay_ns; /* runnable, not running */
	uint64_t voluntary_switches;
	uint64_t involuntary_switches;
};
void thread_usage_now(struct thread_usage *out);

/* Of these figures, what tells a thread that was stopped from one that worked or waited for a CPU; a few microseconds a call. */
struct thread_times {
	uint64_t cpu_ns; /* Linux: up to a scheduler tick behind; Windows: in steps of 16 ms */
	uint64_t run_delay_ns;
};
void thread_times_now(struct thread_times *out);

/* State of the thread that an engine borrows (signal mask, affinity, timer slack): saved, changed, and put back. */
struct thread_state; /* in platform_types.h */
void thread_borrow(struct thread_state *state, uint32_t cpu);
void thread_give_back(const struct thread_state *state);

/* Number of CPUs in this process' affinity mask, at least 1. */
uint32_t cpu_count(void);

/* ------------------------------------------------------------------------------------------ sockets */

/* What a socket error means, whatever the system calls it. */
enum socket_condition {
	SOCKET_FINE = 0,
	SOCKET_WOULD_BLOCK,
	SOCKET_INTERRUPTED,
	SOCKET_REFUSED,
	SOCKET_RESET,   /* reset, broken pipe */
	SOCKET_ABORTED, /* the peer left before accept returned */
	SOCKET_TIMED_OUT,
	SOCKET_DESCRIPTORS, /* EMFILE, ENFILE */
	SOCKET_MEMORY,      /* ENOBUFS, ENOMEM */
	SOCKET_PORTS,       /* EADDRNOTAVAIL, EADDRINUSE */
	SOCKET_UNREACHABLE,
	SOCKET_CLOSED, /* our own close or shutdown ended the call (EBADF, EINVAL, WSAENOTSOCK, WSAEINTR) */
	SOCKET_OTHER,
};
/* Code of the last failed socket call of this thread (errno, WSAGetLastError()). */
int socket_last_error(void);
enum socket_condition socket_condition_of(int os_code);
/* Class that a report gives to a failed connection or request with this code. */
enum ib_error_class socket_error_class(int os_code);

/* Once per process, idempotent, thread-safe (WSAStartup on Windows). IB_STATUS_OK or an error. */
int32_t socket_library_start(struct ib_error *error);

/* Parses a numeric IPv4 or IPv6 address (with scope, without brackets) and port, plus `offset` added to an IPv4 address. */
int32_t socket_address_parse(struct socket_address *out, const char *host, uint32_t port, uint32_t offset,
                             struct ib_error *error);
/* In the byte order of this machine. */
uint32_t socket_address_port(const struct socket_address *address);
/* "127.0.0.1:7000" or "[::1]:7000"; 62 bytes hold any of them. */
void socket_address_print(const struct socket_address *address, char *out, size_t size);

/*
 * A listening TCP socket: bound to `address` exactly (Linux: SO_REUSEADDR, so that TIME_WAIT of an earlier run does not
 * matter; Windows: SO_EXCLUSIVEADDRUSE), backlog as asked, IPV6_V6ONLY on IPv6. Every socket of
 * Windows is made for overlapped I/O. *out is filled on success only.
 */
enum socket_flag { SOCKET_NONBLOCKING = 1 };
struct socket_listener {
	socket_handle socket;
	uint32_t port;    /* the one that is really bound */
	uint32_t backlog; /* the one that the system uses; IB_UNKNOWN_32 where it cannot be read */
};
int32_t socket_listen(struct socket_listener *out, const struct socket_address *address, uint32_t backlog, int flags,
                      struct ib_error *error);

/*
 * Binds `address` without listening, so that the system picks its port for no connection of this process while the socket is open:
 * a client that gets the port of its target connects to itself, and every echo is right. SOCKET_NONE where nothing is to be kept:
 * a server has the port already, or the address is another machine's.
 */
socket_handle socket_reserve(const struct socket_address *address);

/* Blocking accept; TCP_NODELAY is set on the new socket. SOCKET_NONE on failure, with *os_code. May come back interrupted
 * (SOCKET_INTERRUPTED) for no cause: Windows has no other way to let the caller see that it is to stop. */
socket_handle socket_accept(socket_handle listener, int *os_code);
/* Blocking or non-blocking recv/send, as the socket is. Bytes moved, 0 at end of stream (recv), or minus the system's error
 * code (the codes of both systems are positive). EINTR is retried; send never raises SIGPIPE. */
ptrdiff_t socket_receive(socket_handle socket, void *buffer, size_t length);
ptrdiff_t socket_send(socket_handle socket, const void *buffer, size_t length);
/*
 * Accept that never waits: a non-blocking socket with TCP_NODELAY, from a listener that is non-blocking itself. SOCKET_NONE on failure, with
 * *os_code; SOCKET_WOULD_BLOCK is the condition when nobody waits.
 */
socket_handle socket_accept_ready(socket_handle listener, int *os_code);
/* Two connected non-blocking sockets, for waking a thread that waits for sockets: what is sent on the one is received on the other.
 * Returns 0 or the system's error code. */
int socket_pair_open(socket_handle out[2]);

/* poll(2), or WSAPoll. socket_poll_entry (platform_types.h) has the members fd, events and revents on both systems; POLLIN and POLLOUT are
 * the events. Returns how many entries have an event, or minus the system's error code. timeout_ms < 0: for ever. */
int socket_poll(socket_poll_entry *entries, uint32_t count, int timeout_ms);

/*
 * Sets of sockets for select(), in memory of our own and so of any size: a bit per descriptor on Linux, an array of sockets on Windows.
 * A zeroed struct is an empty set. A socket is in a set once at most.
 */
bool socket_set_add(struct socket_set *set, socket_handle socket); /* false: no memory */
void socket_set_remove(struct socket_set *set, socket_handle socket);
/* Makes *to the same as *from. False: no memory. */
bool socket_set_copy(struct socket_set *to, const struct socket_set *from);
void socket_set_free(struct socket_set *set);
/* The next socket of the set; *cursor is 0 at first. SOCKET_NONE at the end. The set must not change meanwhile. */
socket_handle socket_set_next(const struct socket_set *set, uint32_t *cursor);
/* select(): leaves in each set what is ready. Returns how many sockets are, or minus the system's error code. timeout_ms < 0: for ever. */
int socket_select(struct socket_set *reading, struct socket_set *writing, int timeout_ms);
/* A small number that no other open socket has: an index of tables. */
uint32_t socket_number(socket_handle socket);
/* Ends both directions: wakes a thread that blocks in accept, recv or send on it. */
void socket_shutdown(socket_handle socket);
/* Ends receiving alone: recv returns what is queued already, then 0 (or fails, where the system has no such half), and a
 * thread that blocks in it is woken. Sending goes on. */
void socket_shutdown_receive(socket_handle socket);
/* Ends our sending half (FIN). */
void socket_shutdown_send(socket_handle socket);
void socket_close(socket_handle socket);
/* Closes with RST (SO_LINGER 0). */
void socket_close_reset(socket_handle socket);

#endif /* PLATFORM_H */
