/*
 * client_socket.h - making and closing the sockets of a Linux engine.
 */
#ifndef LOAD_LINUX_CLIENT_SOCKET_H
#define LOAD_LINUX_CLIENT_SOCKET_H

#include "load/engine.h"

/* A non-blocking socket of connection `index`, bound as its route says and connecting; -1 with *code. */
int client_socket_connect(struct engine *engine, uint32_t index, int *code);
/* A socket that is bound as its route says, and not connected. `plain`: without the explicit port, which is taken.
 * `flags`: SOCK_NONBLOCK or 0. */
int client_socket_open(struct engine *engine, const struct engine_route *route, bool plain, int flags, int *code);
/* Closes with RST. `set_linger`: SO_LINGER was not set when the socket was made (close mode FIN). */
void client_socket_close(int socket, bool set_linger);
/* Closes all sockets that are left when a run is stopped, in bounded time: what takes longer is left to a thread of its own. */
void client_sockets_abandon(struct engine *engine);

#endif /* LOAD_LINUX_CLIENT_SOCKET_H */
