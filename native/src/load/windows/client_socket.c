/*
 * client_socket.c - makes and closes the sockets of the Windows engine.
 */
#include "load/windows/client_socket.h"

#include <string.h>

#include "completion_port.h"

/* Since Windows 10. The port is chosen at connect time, when the target is known, so each port can be used once per target. */
#ifndef SO_REUSE_UNICASTPORT
#define SO_REUSE_UNICASTPORT 0x3007
#endif

LPFN_CONNECTEX client_connect_ex(int family, int *code)
{
	LPFN_CONNECTEX connect_ex = NULL;
	GUID id = WSAID_CONNECTEX;
	socket_handle any = WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
	*code = any == SOCKET_NONE ? WSAGetLastError() : completion_port_extension(any, id, &connect_ex, sizeof connect_ex);
	if (*code != 0) {
		connect_ex = NULL;
	}
	if (any != SOCKET_NONE) {
		closesocket(any);
	}
	return connect_ex;
}

/* ConnectEx needs a bound socket, so a socket without an explicit source is bound to any address and port. */
static int source_bind(socket_handle socket, const struct engine_route *route, bool plain)
{
	struct sockaddr_storage source;
	memset(&source, 0, sizeof source);
	source.ss_family = route->target->storage.ss_family;
	int length = sizeof(struct sockaddr_in6);
	bool port_given = false;
	if (source.ss_family == AF_INET) {
		struct sockaddr_in *ipv4 = (struct sockaddr_in *)&source;
		length = sizeof *ipv4;
		ipv4->sin_addr.s_addr = htonl(route->source_address);
		port_given = route->source_port != 0 && !plain;
		ipv4->sin_port = port_given ? htons((uint16_t)route->source_port) : 0;
	}
	DWORD one = 1;
	if (!port_given) {
		setsockopt(socket, SOL_SOCKET, SO_REUSE_UNICASTPORT, (const char *)&one, sizeof one);
	}
	if (bind(socket, (const struct sockaddr *)&source, length) == 0) {
		return 0;
	}
	int code = WSAGetLastError();
	/* Windows returns this when every dynamic port is taken (https://github.com/joyent/libuv/pull/823). */
	return code == WSAENOBUFS ? WSAEADDRNOTAVAIL : code;
}

static void linger_reset(socket_handle socket)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	setsockopt(socket, SOL_SOCKET, SO_LINGER, (const char *)&reset, sizeof reset);
}

socket_handle client_socket_open(const struct engine *engine, const struct engine_route *route, bool plain, int *code)
{
	DWORD one = 1;
	socket_handle socket = WSASocketW(route->target->storage.ss_family, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
	                                  WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
	if (socket == SOCKET_NONE) {
		*code = WSAGetLastError();
		return SOCKET_NONE;
	}
	setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&one, sizeof one);
	if (!engine->fin) {
		linger_reset(socket);
	}
	*code = source_bind(socket, route, plain);
	if (*code != 0) {
		closesocket(socket);
		return SOCKET_NONE;
	}
	return socket;
}

void client_socket_close(socket_handle socket, bool set_linger)
{
	if (set_linger) {
		linger_reset(socket);
	}
	closesocket(socket);
}
