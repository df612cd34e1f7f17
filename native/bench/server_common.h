/*
 * server_common.h - shared by the reference servers: the listening socket, and what the servers with one loop do with a ready socket.
 */
#ifndef BENCH_SERVER_COMMON_H
#define BENCH_SERVER_COMMON_H

#include <stdbool.h>

/* Listens on 127.0.0.1. port 0: any; the port in use is in *bound_port. Ends the program on failure. */
int listen_on(long port, long backlog, unsigned *bound_port);

/* Accepts a connection without waiting, with TCP_NODELAY. -1: none waits. The listener must not block. */
int accept_ready(int listener);

/* Receives once without waiting and sends all of it back. Waits for a peer that does not read. False: the connection has ended. */
bool echo_ready(int socket);

/*
 * Reads the options of a server with one loop, confines the process to a CPU, and starts the idle threads. Returns the listener, which does not
 * block. Idle threads: in a process with one thread, Linux takes no reference to a file for a system call (fdget() in fs/file.c). A model's
 * server in a process of several threads pays for these references.
 */
int start_loop_server(int argc, char **argv, const char *purpose);

#endif /* BENCH_SERVER_COMMON_H */
