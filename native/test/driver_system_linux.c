/*
 * driver_system_linux.c - see driver_system.h.
 */
#include "driver_system.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

/* ENOTCONN: still connecting. */
static ptrdiff_t outcome(ssize_t result, int *code)
{
	if (result >= 0) {
		return result;
	}
	if (errno == EAGAIN || errno == EINTR || errno == ENOTCONN) {
		return 0;
	}
	*code = errno;
	return -1;
}

socket_handle system_socket(int family)
{
	return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

bool system_connect(socket_handle socket, const struct sockaddr *address, int length)
{
	return connect(socket, address, (socklen_t)length) == 0 || errno == EINPROGRESS;
}

ptrdiff_t system_send(socket_handle socket, const uint8_t *bytes, size_t length, int *code)
{
	return outcome(send(socket, bytes, length, MSG_NOSIGNAL), code);
}

ptrdiff_t system_receive(socket_handle socket, uint8_t *bytes, size_t length, int *code, bool *ended)
{
	ssize_t received = recv(socket, bytes, length, 0);
	*ended = received == 0;
	return *ended ? -1 : outcome(received, code);
}

int system_poll(struct pollfd *polls, size_t count, int timeout_ms)
{
	return poll(polls, count, timeout_ms);
}

uint64_t descriptors_used(void)
{
	struct ib_process_usage usage = {.size = sizeof usage, .abi_version = IB_ABI_VERSION};
	ib_process_usage(0, &usage, NULL);
	return usage.descriptors;
}

bool descriptor_limit_set(uint64_t soft)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
		return false;
	}
	limit.rlim_cur = soft == 0 ? limit.rlim_max : soft;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

uint64_t descriptor_numbers_end(void)
{
	int next = dup(0);
	close(next);
	return (uint64_t)next;
}

uint64_t system_accept_wait_ns(void)
{
	return 0;
}
