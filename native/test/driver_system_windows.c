/*
 * driver_system_windows.c - see driver_system.h.
 */
#include "driver_system.h"

/* WSAENOTCONN: still connecting. */
static ptrdiff_t outcome(int result, int *code)
{
	if (result >= 0) {
		return result;
	}
	int error = WSAGetLastError();
	if (error == WSAEWOULDBLOCK || error == WSAENOTCONN) {
		return 0;
	}
	*code = error;
	return -1;
}

socket_handle system_socket(int family)
{
	socket_handle opened = socket(family, SOCK_STREAM, 0);
	u_long non_blocking = 1;
	return opened == SOCKET_NONE || ioctlsocket(opened, (long)FIONBIO, &non_blocking) != 0 ? SOCKET_NONE : opened;
}

bool system_connect(socket_handle socket, const struct sockaddr *address, int length)
{
	return connect(socket, address, length) == 0 || WSAGetLastError() == WSAEWOULDBLOCK;
}

ptrdiff_t system_send(socket_handle socket, const uint8_t *bytes, size_t length, int *code)
{
	return outcome(send(socket, (const char *)bytes, (int)length, 0), code);
}

ptrdiff_t system_receive(socket_handle socket, uint8_t *bytes, size_t length, int *code, bool *ended)
{
	int received = recv(socket, (char *)bytes, (int)length, 0);
	*ended = received == 0;
	return *ended ? -1 : outcome(received, code);
}

int system_poll(struct pollfd *polls, size_t count, int timeout_ms)
{
	return WSAPoll(polls, (ULONG)count, timeout_ms);
}

/* Wine does not count handles, but gives out the lowest free number. If that number stays the same, no handle was left open below it. */
static uint64_t handle_lowest_free(void)
{
	HANDLE event = CreateEventW(NULL, FALSE, FALSE, NULL);
	CloseHandle(event);
	return (uint64_t)(uintptr_t)event;
}

uint64_t descriptors_used(void)
{
	struct ib_process_usage usage = {.size = sizeof usage, .abi_version = IB_ABI_VERSION};
	ib_process_usage(0, &usage, NULL);
	return usage.descriptors != IB_UNKNOWN ? usage.descriptors : handle_lowest_free();
}

bool descriptor_limit_set(uint64_t soft)
{
	(void)soft;
	return false;
}

uint64_t descriptor_numbers_end(void)
{
	return 0;
}

uint64_t system_accept_wait_ns(void)
{
	return 50 * NS_PER_MS;
}
