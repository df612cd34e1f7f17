/*
 * socket.c - TCP sockets for the portable code.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/platform.h"

const char *error_text(int os_code)
{
	static _Thread_local char text[128];
	/* The GNU version of strerror_r returns the text, which need not be in `text`. */
	return strerror_r(os_code, text, sizeof text);
}

enum socket_condition socket_condition_of(int os_code)
{
	switch (os_code) {
	case 0:
		return SOCKET_FINE;
	case EAGAIN: /* EWOULDBLOCK is the same number */
	case EINPROGRESS:
		return SOCKET_WOULD_BLOCK;
	case EINTR:
		return SOCKET_INTERRUPTED;
	case ECONNREFUSED:
		return SOCKET_REFUSED;
	case ECONNRESET:
	case EPIPE:
		return SOCKET_RESET;
	case ECONNABORTED:
	case EPROTO:
		return SOCKET_ABORTED;
	case ETIMEDOUT:
		return SOCKET_TIMED_OUT;
	case EMFILE:
	case ENFILE:
		return SOCKET_DESCRIPTORS;
	case ENOBUFS:
	case ENOMEM:
		return SOCKET_MEMORY;
	case EADDRNOTAVAIL:
	case EADDRINUSE:
		return SOCKET_PORTS;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
	case EHOSTDOWN:
		return SOCKET_UNREACHABLE;
	case EBADF:
	case EINVAL:
	case ECANCELED:
		return SOCKET_CLOSED;
	default:
		return SOCKET_OTHER;
	}
}

int32_t socket_library_start(struct ib_error *error)
{
	(void)error; /* nothing to start */
	return IB_STATUS_OK;
}

/* Describes a failed socket(), bind() or listen() in one sentence, with a hint. */
static int32_t listen_error(struct ib_error *error, int code, const char *call, const struct socket_address *address)
{
	char where[INET6_ADDRSTRLEN + 16];
	socket_address_print(address, where, sizeof where);
	switch (code) {
	case EADDRINUSE:
		error_set(error, IB_STATUS_ADDRESS_IN_USE, code, "%s is in use by another program", where);
		error_hint(error, "choose another port, or 0 for any free one; 'ss -ltnp' shows who listens");
		return IB_STATUS_ADDRESS_IN_USE;
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		error_set(error, IB_STATUS_ADDRESS, code, "%s is not an address of this machine", where);
		error_hint(error, "'ip address' lists the addresses of this machine");
		return IB_STATUS_ADDRESS;
	case EACCES:
	case EPERM:
		error_set(error, IB_STATUS_PERMISSION, code, "not allowed to listen on %s", where);
		error_hint(error, "choose a port of 1024 or above");
		return IB_STATUS_PERMISSION;
	case EMFILE:
	case ENFILE:
		error_set(error, IB_STATUS_DESCRIPTORS, code, "no descriptor is left for a listening socket");
		error_hint(error, "raise the limit with 'ulimit -n'");
		return IB_STATUS_DESCRIPTORS;
	case ENOBUFS:
	case ENOMEM:
		return error_set(error, IB_STATUS_MEMORY, code, "no memory for a listening socket on %s", where);
	default:
		return error_set(error, IB_STATUS_OS, code, "%s for %s failed: %s", call, where, error_text(code));
	}
}

/* For a listening socket TCP_INFO reports the length of the accept queue, which somaxconn may have capped, in tcpi_sacked. */
static uint32_t backlog_in_use(socket_handle listener)
{
	struct tcp_info info;
	socklen_t length = sizeof info;
	if (getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) {
		return IB_UNKNOWN_32;
	}
	return info.tcpi_sacked;
}

int32_t socket_listen(struct socket_listener *out, const struct socket_address *address, uint32_t backlog, int flags,
                      struct ib_error *error)
{
	int type = SOCK_STREAM | SOCK_CLOEXEC | ((flags & SOCKET_NONBLOCKING) != 0 ? SOCK_NONBLOCK : 0);
	socket_handle listener = socket(address->storage.ss_family, type, IPPROTO_TCP);
	if (listener < 0) {
		return listen_error(error, errno, "socket()", address);
	}

	int one = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (address->storage.ss_family == AF_INET6) {
		setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	}
	/* Accepted sockets inherit TCP_NODELAY from their listener. One call here saves a call per connection, and it is the only way
	 * to set the option on sockets that io_uring accepts without a descriptor. */
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);

	const char *call = "bind()";
	int code = 0;
	if (bind(listener, (const struct sockaddr *)&address->storage, address->length) != 0) {
		code = errno;
	} else if (listen(listener, (int)backlog) != 0) {
		call = "listen()";
		code = errno;
	}
	struct socket_address bound = {.length = sizeof bound.storage};
	if (code == 0 && getsockname(listener, (struct sockaddr *)&bound.storage, &bound.length) != 0) {
		call = "getsockname()";
		code = errno;
	}
	if (code != 0) {
		close(listener);
		return listen_error(error, code, call, address);
	}
	out->socket = listener;
	out->port = socket_address_port(&bound);
	out->backlog = backlog_in_use(listener);
	return IB_STATUS_OK;
}

socket_handle socket_reserve(const struct socket_address *address)
{
	/* Without SO_REUSEADDR: connect() avoids only ports that are bound this way. */
	socket_handle reserved = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	if (reserved >= 0 && bind(reserved, (const struct sockaddr *)&address->storage, address->length) != 0) {
		close(reserved);
		return SOCKET_NONE;
	}
	return reserved >= 0 ? reserved : SOCKET_NONE;
}

socket_handle socket_accept(socket_handle listener, int *os_code)
{
	for (;;) {
		/* TCP_NODELAY comes from the listener: see socket_listen. */
		socket_handle accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (accepted >= 0) {
			return accepted;
		}
		if (errno != EINTR) {
			*os_code = errno;
			return SOCKET_NONE;
		}
	}
}

socket_handle socket_accept_ready(socket_handle listener, int *os_code)
{
	socket_handle accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	*os_code = accepted < 0 ? errno : 0;
	return accepted < 0 ? SOCKET_NONE : accepted;
}

int socket_pair_open(socket_handle out[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out) == 0 ? 0 : errno;
}

/*
 * These make the system calls without glibc's wrappers. In a process with threads the wrappers make each call a cancellation point
 * (SYSCALL_CANCEL in sysdeps/unix/sysv/linux/recv.c), at the cost of throughput, and no thread here is ever cancelled.
 */
ptrdiff_t socket_receive(socket_handle socket, void *buffer, size_t length)
{
	for (;;) {
		ssize_t received = syscall(SYS_recvfrom, socket, buffer, length, 0, NULL, NULL);
		if (received >= 0) {
			return received;
		}
		if (errno != EINTR) {
			return -errno;
		}
	}
}

ptrdiff_t socket_send(socket_handle socket, const void *buffer, size_t length)
{
	for (;;) {
		ssize_t sent = syscall(SYS_sendto, socket, buffer, length, MSG_NOSIGNAL, NULL, 0);
		if (sent >= 0) {
			return sent;
		}
		if (errno != EINTR) {
			return -errno;
		}
	}
}

void socket_shutdown(socket_handle socket)
{
	shutdown(socket, SHUT_RDWR);
}

void socket_shutdown_receive(socket_handle socket)
{
	shutdown(socket, SHUT_RD);
}

void socket_shutdown_send(socket_handle socket)
{
	shutdown(socket, SHUT_WR);
}

void socket_close(socket_handle socket)
{
	close(socket);
}

void socket_close_reset(socket_handle socket)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	setsockopt(socket, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(socket);
}
