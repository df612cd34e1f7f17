/*
 * engines.c - the table of client engines, and the load generator's only #ifdef ladder.
 *
 * "auto" prefers engines in this order. io_uring comes before epoll because it takes less client CPU per request. An engine of the
 * other system stays in the table, so that a listing can say why it cannot run.
 */
#include <stdio.h>

#include "load/engine.h"

#if defined(_WIN32)

extern const struct engine_backend iocp_engine;

static void probe_linux_only(struct ib_probe *out)
{
	snprintf(out->reason, sizeof out->reason, "only available on Linux");
}

static const struct engine_backend epoll_engine = {.name = "epoll", .probe = probe_linux_only};
static const struct engine_backend io_uring_engine = {.name = "io_uring", .probe = probe_linux_only};

const struct engine_backend *const engine_backends[] = {&iocp_engine, &epoll_engine, &io_uring_engine};

#else

extern const struct engine_backend epoll_engine;
extern const struct engine_backend io_uring_engine;

static void probe_windows_only(struct ib_probe *out)
{
	snprintf(out->reason, sizeof out->reason, "completion ports are only available on Windows");
}

static const struct engine_backend iocp_engine = {.name = "iocp", .probe = probe_windows_only};

const struct engine_backend *const engine_backends[] = {&io_uring_engine, &epoll_engine, &iocp_engine};

#endif

const uint32_t engine_backends_count = sizeof engine_backends / sizeof engine_backends[0];
