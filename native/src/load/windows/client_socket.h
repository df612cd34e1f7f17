/*
 * client_socket.h - makes and closes the sockets of the Windows engine.
 */
#ifndef CLIENT_SOCKET_H
#define CLIENT_SOCKET_H

#include "load/engine.h"

#include <mswsock.h>

/* ConnectEx of this machine's TCP provider, or NULL with *code. */
LPFN_CONNECTEX client_connect_ex(int family, int *code);
/* Makes a socket bound to the source of `route`; `plain`: to any port of it. SOCKET_NONE on failure, with *code. */
socket_handle client_socket_open(const struct engine *engine, const struct engine_route *route, bool plain, int *code);
/* Closes with RST. `set_linger`: client_socket_open() has not set SO_LINGER. */
void client_socket_close(socket_handle socket, bool set_linger);

#endif /* CLIENT_SOCKET_H */
