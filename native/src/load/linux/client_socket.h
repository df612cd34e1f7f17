/*
 * client_socket.h - makes and closes the sockets of a Linux engine.
 */
#ifndef LOAD_LINUX_CLIENT_SOCKET_H
#define LOAD_LINUX_CLIENT_SOCKET_H

#include "load/engine.h"

/* Makes a non-blocking socket for connection `index`, binds it as its route says and starts to connect. -1 on failure, with *code. */
int client_socket_connect(struct engine *engine, uint32_t index, int *code);
/* Makes a socket and binds it as its route says, without connecting. `plain`: ignore the explicit port, because it is taken.
 * `flags`: SOCK_NONBLOCK or 0. -1 on failure, with *code. */
int client_socket_open(struct engine *engine, const struct engine_route *route, bool plain, int flags, int *code);
/* Closes with RST. `set_linger`: SO_LINGER was not set when the socket was made (close mode FIN). */
void client_socket_close(struct engine *engine, int socket, bool set_linger);
/* Reads TCP_INFO of an open socket for engine_network_read(). */
void client_socket_network_read(struct engine *engine, int socket);
/* Closes all remaining sockets when a run is stopped. After a bounded time a separate thread closes the rest. */
void client_sockets_abandon(struct engine *engine);

#endif /* LOAD_LINUX_CLIENT_SOCKET_H */
