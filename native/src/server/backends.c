/*
 * backends.c - the table of backends, and the server's only #ifdef ladder.
 *
 * A backend of the other system stays in the table, so that a listing can say why it is not there.
 */
#include <stdio.h>

#include "platform/platform.h"
#include "server/backend.h"

extern const struct backend blocking_backend;
extern const struct backend pool_backend;
extern const struct backend select_backend;
extern const struct backend poll_backend;

#if defined(_WIN32)

extern const struct backend event_select_backend;
extern const struct backend completion_routine_backend;
extern const struct backend iocp_backend;
extern const struct backend thread_pool_io_backend;

static void probe_linux_only(struct ib_probe *out)
{
	snprintf(out->reason, sizeof out->reason, "only available on Linux");
}

static const struct backend process_backend = {.name = "process", .probe = probe_linux_only};
static const struct backend epoll_backend = {.name = "epoll", .probe = probe_linux_only};
static const struct backend io_uring_backend = {.name = "io_uring", .probe = probe_linux_only};

#else

extern const struct backend process_backend;
extern const struct backend epoll_backend;
extern const struct backend io_uring_backend;

static void probe_windows_only(struct ib_probe *out)
{
	snprintf(out->reason, sizeof out->reason, "only available on Windows");
}

static void probe_completion_port(struct ib_probe *out)
{
	snprintf(out->reason, sizeof out->reason, "completion ports are only available on Windows");
	snprintf(out->hint, sizeof out->hint, "io_uring is the completion-based counterpart on Linux");
}

static const struct backend event_select_backend = {.name = "event_select", .probe = probe_windows_only};
static const struct backend completion_routine_backend = {.name = "completion_routine", .probe = probe_windows_only};
static const struct backend iocp_backend = {.name = "iocp", .probe = probe_completion_port};
static const struct backend thread_pool_io_backend = {.name = "thread_pool_io", .probe = probe_completion_port};

#endif

const struct backend *const backends[] = {
    &blocking_backend, &process_backend,        &pool_backend,     &select_backend,
    &poll_backend,     &event_select_backend,   &epoll_backend,    &completion_routine_backend,
    &iocp_backend,     &thread_pool_io_backend, &io_uring_backend,
};
const uint32_t backends_count = sizeof backends / sizeof backends[0];
