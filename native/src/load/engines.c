/*
 * engines.c - the table of client engines, and the load generator's only #ifdef ladder.
 *
 * The order is the order of preference of "auto". An engine of the other system stays in the table, so that a listing can say
 * why it is not there.
 *
 * io_uring before epoll by measurement (`npm run bench -- --only client --engine ...`, eight interleaved rounds on Linux 6.18, two CPUs):
 * the client's CPU per request as a multiple of the minimum client's was 1.01 to 1.08 at 100 connections, against 1.16 to 1.17 with
 * epoll, and 1.14 to 1.27 at 6000, against 1.19 to 1.42. The send lag of the timetable is the same. That was with multishot receives
 * alone; what io_uring_receive.c has changed since is told there.
 */
#include <stdio.h>

#include "load/engine.h"

#if defined(_WIN32)

extern const struct engine_backend iocp_engine;

static void probe_linux_only(struct ib_probe *out)
{
	(void)snprintf(out->reason, sizeof out->reason, "a facility of Linux, which this system is not");
}

static const struct engine_backend epoll_engine = {.name = "epoll", .probe = probe_linux_only};
static const struct engine_backend io_uring_engine = {.name = "io_uring", .probe = probe_linux_only};

const struct engine_backend *const engine_backends[] = {&iocp_engine, &epoll_engine, &io_uring_engine};

#else

extern const struct engine_backend epoll_engine;
extern const struct engine_backend io_uring_engine;

static void probe_windows_only(struct ib_probe *out)
{
	(void)snprintf(out->reason, sizeof out->reason,
	               "completion ports are a facility of Windows, which this system is not");
}

static const struct engine_backend iocp_engine = {.name = "iocp", .probe = probe_windows_only};

const struct engine_backend *const engine_backends[] = {&io_uring_engine, &epoll_engine, &iocp_engine};

#endif

const uint32_t engine_backends_count = sizeof engine_backends / sizeof engine_backends[0];
