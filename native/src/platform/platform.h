/*
 * platform.h - what the portable code needs from an operating system. Implemented once in platform/linux and once in
 * platform/windows. Only the clock and, for the blocking model, the socket calls are on the path of a request.
 *
 * CMake sets the include path so that platform_types.h comes from the folder of the target platform. Neither this header nor
 * its callers need an #ifdef.
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

/* Tells the compiler which way a branch nearly always goes. Only for the path of a request. */
#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* Data that one thread writes often gets cache lines of its own. The size is that of x86-64. */
#define CACHE_LINE_BYTES 64u

/* ------------------------------------------------------------------------------------------- errors */

/* Fills *error (may be NULL) like printf and clears the hint. Returns `status`, so that callers can return it. */
int32_t error_set(struct ib_error *error, enum ib_status status, int os_code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Sets the hint of *error (may be NULL). */
void error_hint(struct ib_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The system's text for os_code ("Connection refused"), in static or thread-local storage. */
const char *error_text(int os_code);

/* ------------------------------------------------------------------------------------------ symbols */

/*
 * The address of a function that this program exports. Linux also finds it in the libraries that the program is linked with, Windows only
 * in the program itself. NULL if there is none of that name.
 */
void *process_symbol(const char *name);

/* ------------------------------------------------------------------------------------------- memory */

/* Allocates `bytes` bytes at a multiple of `alignment`, a power of two that divides `bytes`. NULL if out of memory. */
void *memory_allocate_aligned(size_t alignment, size_t bytes);
/* Frees memory from memory_allocate_aligned(). NULL is allowed. */
void memory_free_aligned(void *memory);

/* -------------------------------------------------------------------------------------------- clock */

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull

/* Monotonic time in ns. A call takes 20 to 30 ns. */
uint64_t clock_now_ns(void);
/* Suspends the calling thread for at least `duration_ns`. */
void clock_sleep_ns(uint64_t duration_ns);
/* The smallest step between different readings of clock_now_ns(). Every call measures it from two thousand readings. */
uint32_t clock_resolution_ns(void);
/* How long the machine has been suspended since it started, if clock_now_ns() does not count that time; else 0. */
uint64_t clock_suspended_ns(void);

/* ------------------------------------------------------------------------------------------ threads */

typedef void (*thread_function)(void *argument);

/*
 * Starts a thread with all signals blocked and a stack of stack_size_bytes (0: the system's default). Returns 0, or the
 * system's error code if the thread could not be started. The caller must join the thread.
 */
int thread_start(struct thread *out, thread_function function, void *argument, size_t stack_size_bytes);
void thread_join(struct thread *thread);
/* The same for a detached thread, which nobody joins. */
int thread_start_detached(thread_function function, void *argument, size_t stack_size_bytes);

void mutex_init(struct mutex *mutex);
void mutex_destroy(struct mutex *mutex);
void mutex_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);
void condition_init(struct condition *condition);
void condition_destroy(struct condition *condition);
/* Waits until signalled or until duration_ns has passed. May wake without cause. */
void condition_wait(struct condition *condition, struct mutex *mutex, uint64_t duration_ns);
/* Wakes one waiting thread. */
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

/* What threads have executed. Unknown figures are IB_UNKNOWN, the scope IB_UNKNOWN_32. */
struct execution {
	uint64_t instructions;
	uint64_t cycles;
	uint32_t scope; /* enum ib_execution_scope */
};
/* Counts what one thread executes. */
struct execution_counter; /* in platform_types.h */
/* A closed counter: its figures are unknown. */
void execution_counter_none(struct execution_counter *out);
/* Counts from now on for the calling thread alone. False if the system has no such counters or does not allow it; it is then closed. */
bool execution_counter_open(struct execution_counter *out);
/* Takes about a microsecond. */
void execution_counter_read(const struct execution_counter *counter, struct execution *out);
void execution_counter_close(struct execution_counter *counter);

/* The figures that separate a stopped thread from one that worked or waited for a CPU. A call takes a few microseconds. */
struct thread_times {
	uint64_t cpu_ns; /* Linux: up to a scheduler tick behind; Windows: in steps of 16 ms */
	uint64_t run_delay_ns;
};
/* Returns the number of system calls it made. */
uint32_t thread_times_now(struct thread_times *out);

/*
 * CPU time of the calling thread in ns, precise enough for the difference over a few microseconds. IB_UNKNOWN if the system has no such
 * clock (Wine). A call takes a few hundred ns.
 */
uint64_t thread_cpu_now_ns(void);
/* Lets the timed waits of the calling thread end as precisely as the system can, until the thread ends. */
void thread_waits_precisely(void);

/* The state of the thread that an engine runs on (signal mask, affinity, timer slack). It is saved, changed and restored. */
struct thread_state; /* in platform_types.h */
void thread_borrow(struct thread_state *state, uint32_t cpu);
void thread_give_back(const struct thread_state *state);

/* Number of CPUs in this process's affinity mask, at least 1. */
uint32_t cpu_count(void);

/* ------------------------------------------------------------------------------------------ sockets */

/* What a socket error means, independent of the system's code for it. */
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
enum socket_condition socket_condition_of(int os_code);
/* The error class under which a report counts a connection or request that failed with this code. */
enum ib_error_class socket_error_class(int os_code);

/* Starts the socket library (WSAStartup on Windows) at the first call in a process. Thread-safe. IB_STATUS_OK or an error. */
int32_t socket_library_start(struct ib_error *error);

/* Parses a numeric IPv4 or IPv6 address (a scope is allowed, brackets are not) and port, and adds `offset` to an IPv4 address. */
int32_t socket_address_parse(struct socket_address *out, const char *host, uint32_t port, uint32_t offset,
                             struct ib_error *error);
/* In the byte order of this machine. */
uint32_t socket_address_port(const struct socket_address *address);
/* "127.0.0.1:7000" or "[::1]:7000"; 62 bytes hold any of them. */
void socket_address_print(const struct socket_address *address, char *out, size_t size);

/*
 * Opens a listening TCP socket, bound to exactly `address`, with the given backlog and IPV6_V6ONLY on IPv6. Linux uses SO_REUSEADDR,
 * so TIME_WAIT sockets of an earlier run do not matter. Windows uses SO_EXCLUSIVEADDRUSE, and all its sockets are made for
 * overlapped I/O. *out is filled only on success.
 */
enum socket_flag { SOCKET_NONBLOCKING = 1 };
struct socket_listener {
	socket_handle socket;
	uint32_t port;    /* the port that was bound */
	uint32_t backlog; /* the backlog the system uses; IB_UNKNOWN_32 if it cannot be read */
};
int32_t socket_listen(struct socket_listener *out, const struct socket_address *address, uint32_t backlog, int flags,
                      struct ib_error *error);

/*
 * Binds `address` without listening. While the socket is open, the system does not pick its port for a connection of this process.
 * Otherwise a client could get the port of its own target, connect to itself, and see every echo as right. Returns SOCKET_NONE if
 * nothing has to be reserved: a server already has the port, or the address belongs to another machine.
 */
socket_handle socket_reserve(const struct socket_address *address);

/* Blocking accept. Sets TCP_NODELAY on the new socket. Returns SOCKET_NONE on failure, with *os_code. May return SOCKET_INTERRUPTED
 * without cause, because Windows has no other way to let the caller notice that it should stop. */
socket_handle socket_accept(socket_handle listener, int *os_code);
/* recv and send, which block if the socket does. They return the bytes moved, 0 at the end of the stream (recv), or minus the
 * system's error code (the codes of both systems are positive). EINTR is retried. send never raises SIGPIPE. */
ptrdiff_t socket_receive(socket_handle socket, void *buffer, size_t length);
ptrdiff_t socket_send(socket_handle socket, const void *buffer, size_t length);
/*
 * Accept that never waits, for a non-blocking listener. The new socket is non-blocking and has TCP_NODELAY. Returns SOCKET_NONE on
 * failure, with *os_code. If no connection is waiting, the condition is SOCKET_WOULD_BLOCK.
 */
socket_handle socket_accept_ready(socket_handle listener, int *os_code);
/* Opens two connected non-blocking sockets, to wake a thread that waits for sockets: data sent on one is received on the other.
 * Returns 0 or the system's error code. */
int socket_pair_open(socket_handle out[2]);

/* poll(2) or WSAPoll. socket_poll_entry (platform_types.h) has the members fd, events and revents on both systems. The events are POLLIN
 * and POLLOUT. Entries whose fd is SOCKET_NONE are ignored. Returns how many entries have an event, or minus the system's error code.
 * timeout_ns IB_UNKNOWN: no timeout. Windows counts whole ms, rounded up. */
int socket_poll(socket_poll_entry *entries, uint32_t count, uint64_t timeout_ns);

/*
 * Sets of sockets of any size for select(): a bit per descriptor on Linux, an array of sockets on Windows. A zeroed struct is an
 * empty set. A set holds a socket at most once.
 */
bool socket_set_add(struct socket_set *set, socket_handle socket); /* false: out of memory */
void socket_set_remove(struct socket_set *set, socket_handle socket);
/* Makes *to the same as *from. False: out of memory. */
bool socket_set_copy(struct socket_set *to, const struct socket_set *from);
void socket_set_free(struct socket_set *set);
/* The next socket of the set, SOCKET_NONE at the end. *cursor starts at 0. The set must not change between the calls. */
socket_handle socket_set_next(const struct socket_set *set, uint32_t *cursor);
/* select(). Leaves the ready sockets in each set. Returns how many are ready, or minus the system's error code. timeout_ns
 * IB_UNKNOWN: no timeout. Rounded up to microseconds (Windows: ms). */
int socket_select(struct socket_set *reading, struct socket_set *writing, uint64_t timeout_ns);
/* A small number that no other open socket has, for use as a table index. */
uint32_t socket_number(socket_handle socket);
/* Ends both directions. Wakes a thread that blocks in accept, recv or send on the socket. */
void socket_shutdown(socket_handle socket);
/* Ends receiving only. recv returns the queued data, then 0 (or fails, on a system without half-close for receiving), and a
 * thread that blocks in it wakes. Sending continues. */
void socket_shutdown_receive(socket_handle socket);
/* Ends our sending half (FIN). */
void socket_shutdown_send(socket_handle socket);
void socket_close(socket_handle socket);
/* Closes with RST (SO_LINGER 0). */
void socket_close_reset(socket_handle socket);

#endif /* PLATFORM_H */
