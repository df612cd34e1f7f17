/*
 * driver_system.h - the system calls that move the bytes of the driver's clients. They are made directly, not through the functions
 * under test.
 */
#ifndef DRIVER_SYSTEM_H
#define DRIVER_SYSTEM_H

#include "driver_clients.h"

#ifndef _WIN32
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#endif

/* A non-blocking TCP socket of the address family; SOCKET_NONE on failure. */
socket_handle system_socket(int family);
/* Starts to connect. False if that failed at once. */
bool system_connect(socket_handle socket, const struct sockaddr *address, int length);
/* Returns the bytes sent or received, 0 if it would block or is still connecting, -1 on an error, with the system's code in *code. */
ptrdiff_t system_send(socket_handle socket, const uint8_t *bytes, size_t length, int *code);
/* As system_send. At the end of the stream it returns -1 and sets *ended. */
ptrdiff_t system_receive(socket_handle socket, uint8_t *bytes, size_t length, int *code, bool *ended);
/* poll(): the number of sockets that are ready, 0 after timeout_ms. */
int system_poll(struct pollfd *polls, size_t count, int timeout_ms);
/* How often an accepting thread looks whether it is to stop, by socket_accept(); 0: it waits until a connection comes. */
uint64_t system_accept_wait_ns(void);

#endif /* DRIVER_SYSTEM_H */
