/*
 * socket.c - TCP sockets for the portable code.
 *
 * Every socket is made with WSA_FLAG_OVERLAPPED, including the blocking ones, as socket() does. On a handle without it Windows runs
 * one call at a time, and a shutdown would wait for the receive that it should end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/platform.h"

#include <mstcpip.h>

const char *error_text(int os_code)
{
	static _Thread_local char text[256];
	wchar_t wide[192];
	DWORD length =
	    FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK, NULL,
	                   (DWORD)os_code, 0, wide, sizeof wide / sizeof *wide, NULL);
	int used = length == 0 ? 0 : WideCharToMultiByte(CP_UTF8, 0, wide, (int)length, text, sizeof text - 1, NULL, NULL);
	/* The system's sentences end with a full stop and a space, but ours continue after them. */
	while (used > 0 &&
	       (text[used - 1] == ' ' || text[used - 1] == '.' || text[used - 1] == '\r' || text[used - 1] == '\n')) {
		used--;
	}
	text[used] = '\0';
	if (used == 0) {
		snprintf(text, sizeof text, "error %d", os_code);
	}
	return text;
}

/* Winsock codes, and the system codes that a completion carries if nothing has translated them. */
enum socket_condition socket_condition_of(int os_code)
{
	switch (os_code) {
	case 0:
		return SOCKET_FINE;
	case WSAEWOULDBLOCK:
	case WSAEINPROGRESS:
	case WSA_IO_PENDING:
		return SOCKET_WOULD_BLOCK;
	case WSAEINTR:
		return SOCKET_INTERRUPTED;
	case WSAECONNREFUSED:
	case ERROR_CONNECTION_REFUSED:
		return SOCKET_REFUSED;
	case WSAECONNRESET:
	case WSAENETRESET:
	case ERROR_NETNAME_DELETED:
	case ERROR_BROKEN_PIPE:
		return SOCKET_RESET;
	case WSAECONNABORTED:
	case ERROR_CONNECTION_ABORTED:
		return SOCKET_ABORTED;
	case WSAETIMEDOUT:
	case ERROR_SEM_TIMEOUT:
		return SOCKET_TIMED_OUT;
	case WSAEMFILE:
	case ERROR_TOO_MANY_OPEN_FILES:
		return SOCKET_DESCRIPTORS;
	case WSAENOBUFS:
	case WSA_NOT_ENOUGH_MEMORY:
	case ERROR_NO_SYSTEM_RESOURCES:
	case ERROR_WORKING_SET_QUOTA:
	case ERROR_COMMITMENT_LIMIT:
	case ERROR_NONPAGED_SYSTEM_RESOURCES:
		return SOCKET_MEMORY;
	case WSAEADDRNOTAVAIL:
	case WSAEADDRINUSE:
		return SOCKET_PORTS;
	case WSAENETUNREACH:
	case WSAEHOSTUNREACH:
	case WSAENETDOWN:
	case WSAEHOSTDOWN:
	case ERROR_NETWORK_UNREACHABLE:
	case ERROR_HOST_UNREACHABLE:
		return SOCKET_UNREACHABLE;
	case WSAENOTSOCK:
	case WSAEINVAL:
	case WSAESHUTDOWN:
	case WSAECANCELLED:
	case WSA_OPERATION_ABORTED:
	case WSA_INVALID_HANDLE:
		return SOCKET_CLOSED;
	default:
		return SOCKET_OTHER;
	}
}

int32_t socket_library_start(struct ib_error *error)
{
	/* Winsock counts its starts. One start is enough for the life of the process, and process exit undoes it. A WSACleanup while
	 * another server still runs could close that server's sockets. */
	static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
	static int outcome;
	BOOL pending = FALSE;
	if (!InitOnceBeginInitialize(&once, 0, &pending, NULL)) {
		return error_set(error, IB_STATUS_OS, (int)GetLastError(), "Winsock could not be started");
	}
	if (pending) {
		WSADATA data;
		outcome = WSAStartup(MAKEWORD(2, 2), &data);
		InitOnceComplete(&once, 0, NULL);
	}
	if (outcome != 0) {
		return error_set(error, IB_STATUS_OS, outcome, "Winsock could not be started: %s", error_text(outcome));
	}
	return IB_STATUS_OK;
}

/* Describes a failed call on the way to a listening socket in one sentence, with a hint. */
static int32_t listen_error(struct ib_error *error, int code, const char *call, const struct socket_address *address)
{
	char where[INET6_ADDRSTRLEN + 16];
	socket_address_print(address, where, sizeof where);
	switch (code) {
	case WSAEADDRINUSE:
		error_set(error, IB_STATUS_ADDRESS_IN_USE, code, "%s is in use by another program", where);
		error_hint(error, "choose another port, or 0 for any free one; 'netstat -ano -p tcp' shows who listens");
		return IB_STATUS_ADDRESS_IN_USE;
	case WSAEADDRNOTAVAIL:
	case WSAEAFNOSUPPORT:
		error_set(error, IB_STATUS_ADDRESS, code, "%s is not an address of this machine", where);
		error_hint(error, "'ipconfig' lists the addresses of this machine");
		return IB_STATUS_ADDRESS;
	case WSAEACCES:
		/* Another program uses the port exclusively, or Hyper-V or WSL reserves its range. */
		error_set(error, IB_STATUS_PERMISSION, code, "not allowed to listen on %s", where);
		error_hint(error, "choose another port; 'netsh int ipv4 show excludedportrange tcp' lists the reserved ones");
		return IB_STATUS_PERMISSION;
	case WSAEMFILE:
		return error_set(error, IB_STATUS_DESCRIPTORS, code, "no handle is left for a listening socket");
	case WSAENOBUFS:
	case WSA_NOT_ENOUGH_MEMORY:
		return error_set(error, IB_STATUS_MEMORY, code, "no memory for a listening socket on %s", where);
	default:
		return error_set(error, IB_STATUS_OS, code, "%s for %s failed: %s", call, where, error_text(code));
	}
}

static void option_set(socket_handle socket, int level, int name)
{
	DWORD one = 1;
	setsockopt(socket, level, name, (const char *)&one, sizeof one);
}

/* listen(n) queues at most 200 connections. A negative number requests more, up to 65535, on Windows 8 and later. */
static int backlog_argument(uint32_t backlog)
{
	return backlog <= 200 ? (int)backlog : -(int)backlog; /* SOMAXCONN_HINT */
}

static const char *listen_prepare(socket_handle listener, const struct socket_address *address, uint32_t backlog,
                                  int flags)
{
	/* On Windows SO_REUSEADDR would let another process take over the port while we listen. TIME_WAIT sockets of an earlier run do
	 * not prevent bind here. */
	option_set(listener, SOL_SOCKET, SO_EXCLUSIVEADDRUSE);
	if (address->storage.ss_family == AF_INET6) {
		option_set(listener, IPPROTO_IPV6, IPV6_V6ONLY);
	}
	if (bind(listener, (const struct sockaddr *)&address->storage, address->length) != 0) {
		return "bind()";
	}
	if (listen(listener, backlog_argument(backlog)) != 0) {
		return "listen()";
	}
	u_long non_blocking = 1;
	if ((flags & SOCKET_NONBLOCKING) != 0 && ioctlsocket(listener, (long)FIONBIO, &non_blocking) != 0) {
		return "ioctlsocket()";
	}
	return NULL;
}

int32_t socket_listen(struct socket_listener *out, const struct socket_address *address, uint32_t backlog, int flags,
                      struct ib_error *error)
{
	socket_handle listener = WSASocketW(address->storage.ss_family, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
	                                    WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
	if (listener == SOCKET_NONE) {
		return listen_error(error, WSAGetLastError(), "WSASocket()", address);
	}

	struct socket_address bound = {.length = sizeof bound.storage};
	const char *failed = listen_prepare(listener, address, backlog, flags);
	if (failed == NULL && getsockname(listener, (struct sockaddr *)&bound.storage, &bound.length) != 0) {
		failed = "getsockname()";
	}
	if (failed != NULL) {
		int code = WSAGetLastError();
		closesocket(listener);
		return listen_error(error, code, failed, address);
	}
	out->socket = listener;
	out->port = socket_address_port(&bound);
	out->backlog = IB_UNKNOWN_32; /* Windows does not report it */
	return IB_STATUS_OK;
}

socket_handle socket_reserve(const struct socket_address *address)
{
	socket_handle reserved =
	    WSASocketW(address->storage.ss_family, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_NO_HANDLE_INHERIT);
	if (reserved == SOCKET_NONE) {
		return SOCKET_NONE;
	}
	option_set(reserved, SOL_SOCKET, SO_EXCLUSIVEADDRUSE);
	if (bind(reserved, (const struct sockaddr *)&address->storage, address->length) != 0) {
		closesocket(reserved);
		return SOCKET_NONE;
	}
	return reserved;
}

/*
 * On Windows only closing the socket ends a blocked accept(), and the next socket of the process may then get the same number. So
 * this polls first. If no connection comes within 50 ms it reports an interruption, and the caller checks whether it should stop.
 * The poll costs one call per connection, which is small next to starting a thread for it.
 */
socket_handle socket_accept(socket_handle listener, int *os_code)
{
	WSAPOLLFD wait = {.fd = listener, .events = POLLRDNORM};
	int ready = WSAPoll(&wait, 1, 50);
	if (ready == 0) {
		*os_code = WSAEINTR;
		return SOCKET_NONE;
	}
	socket_handle accepted = ready < 0 ? SOCKET_NONE : accept(listener, NULL, NULL);
	if (accepted == SOCKET_NONE) {
		/* The peer left while it waited. Windows calls that "reset", other systems "aborted". */
		int code = WSAGetLastError();
		*os_code = code == WSAECONNRESET ? WSAECONNABORTED : code;
		return SOCKET_NONE;
	}
	option_set(accepted, IPPROTO_TCP, TCP_NODELAY);
	return accepted;
}

socket_handle socket_accept_ready(socket_handle listener, int *os_code)
{
	socket_handle accepted = accept(listener, NULL, NULL);
	if (accepted == SOCKET_NONE) {
		int code = WSAGetLastError();
		*os_code = code == WSAECONNRESET ? WSAECONNABORTED : code;
		return SOCKET_NONE;
	}
	/* Winsock documents that the listener's mode is inherited, but a layered provider may not do so. */
	u_long non_blocking = 1;
	ioctlsocket(accepted, (long)FIONBIO, &non_blocking);
	option_set(accepted, IPPROTO_TCP, TCP_NODELAY);
	*os_code = 0;
	return accepted;
}

/* Whether `accepted` is the other end of `connected`, and not another process that connected first. */
static bool is_pair(socket_handle accepted, socket_handle connected)
{
	struct sockaddr_in peer, own;
	int peer_length = sizeof peer, own_length = sizeof own;
	return getpeername(accepted, (struct sockaddr *)&peer, &peer_length) == 0 &&
	       getsockname(connected, (struct sockaddr *)&own, &own_length) == 0 && peer.sin_port == own.sin_port &&
	       peer.sin_addr.s_addr == own.sin_addr.s_addr;
}

/* Windows has no socketpair(), so this opens a loopback connection. */
int socket_pair_open(socket_handle out[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int length = sizeof address;
	out[0] = out[1] = SOCKET_NONE;
	socket_handle listener =
	    WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
	if (listener == SOCKET_NONE) {
		return WSAGetLastError();
	}
	option_set(listener, SOL_SOCKET, SO_EXCLUSIVEADDRUSE);
	u_long non_blocking = 1;
	bool paired = bind(listener, (const struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0 &&
	              getsockname(listener, (struct sockaddr *)&address, &length) == 0;
	if (paired) {
		out[1] =
		    WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
	}
	paired = paired && out[1] != SOCKET_NONE && connect(out[1], (const struct sockaddr *)&address, length) == 0;
	if (paired) {
		out[0] = accept(listener, NULL, NULL);
	}
	paired = paired && out[0] != SOCKET_NONE && ioctlsocket(out[0], (long)FIONBIO, &non_blocking) == 0 &&
	         ioctlsocket(out[1], (long)FIONBIO, &non_blocking) == 0;
	int code = paired ? 0 : WSAGetLastError();
	if (paired && !is_pair(out[0], out[1])) {
		code = WSAECONNABORTED;
	}
	closesocket(listener);
	for (int end = 0; code != 0 && end < 2; end++) {
		if (out[end] != SOCKET_NONE) {
			closesocket(out[end]);
		}
	}
	return code;
}

static int length_clamped(size_t length)
{
	return length < INT32_MAX ? (int)length : INT32_MAX;
}

ptrdiff_t socket_receive(socket_handle socket, void *buffer, size_t length)
{
	int received = recv(socket, buffer, length_clamped(length), 0);
	return received >= 0 ? received : -WSAGetLastError();
}

ptrdiff_t socket_send(socket_handle socket, const void *buffer, size_t length)
{
	int sent = send(socket, buffer, length_clamped(length), 0);
	return sent >= 0 ? sent : -WSAGetLastError();
}

void socket_shutdown(socket_handle socket)
{
	/* The shutdown makes every later call fail. The cancellation ends a call that blocks now, which shutdown() alone is not
	 * documented to do. */
	shutdown(socket, SD_BOTH);
	CancelIoEx((HANDLE)socket, NULL);
}

/*
 * SD_RECEIVE would reset the connection if there is still data to read. Instead this cancels a waiting receive, and later receives
 * return the data that is there but no longer wait. A cancel affects sends too. But if the socket is not writable, its thread
 * waits in a send and not in a receive, so there is nothing to cancel.
 */
void socket_shutdown_receive(socket_handle socket)
{
	DWORD timeout_ms = 1;
	setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, (const char *)&timeout_ms, sizeof timeout_ms);
	WSAPOLLFD writable = {.fd = socket, .events = POLLWRNORM};
	if (WSAPoll(&writable, 1, 0) > 0) {
		CancelIoEx((HANDLE)socket, NULL);
	}
}

void socket_shutdown_send(socket_handle socket)
{
	shutdown(socket, SD_SEND);
}

void socket_close(socket_handle socket)
{
	closesocket(socket);
}

void socket_close_reset(socket_handle socket)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	setsockopt(socket, SOL_SOCKET, SO_LINGER, (const char *)&linger, sizeof linger);
	closesocket(socket);
}
