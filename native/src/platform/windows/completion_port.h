/*
 * completion_port.h - completion port helpers that the server and the client engine share.
 */
#ifndef COMPLETION_PORT_H
#define COMPLETION_PORT_H

#include "platform/platform.h"

/*
 * Whether operations that complete at once may skip their packet (FILE_SKIP_COMPLETION_PORT_ON_SUCCESS). A layered provider without
 * real handles would still queue a packet, so every TCP provider must use real handles (XP1_IFS_HANDLES).
 */
bool completion_port_can_skip(void);
/* Binds a socket to the port with completion key 0. Returns 0 or the system's code. */
int completion_port_join(HANDLE port, socket_handle socket, bool skip_on_success);
/* Looks up AcceptEx or ConnectEx of the TCP provider by GUID; no library exports them. Returns 0 or Winsock's code. */
int completion_port_extension(socket_handle socket, GUID id, void *function, DWORD function_bytes);
/* "skip-on-success" or "packet-on-success", for a list of features. */
const char *completion_port_skip_name(bool skip_on_success);

#endif /* COMPLETION_PORT_H */
