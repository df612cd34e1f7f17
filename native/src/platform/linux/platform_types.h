/*
 * platform_types.h - the types of platform.h on Linux.
 */
#ifndef PLATFORM_TYPES_H
#define PLATFORM_TYPES_H

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

typedef int socket_handle;
#define SOCKET_NONE (-1)

struct mutex {
	pthread_mutex_t handle;
};

struct condition {
	pthread_cond_t handle;
};

struct thread {
	pthread_t handle;
};

struct execution_counter {
	int instructions; /* descriptors; -1: closed */
	int cycles;
	uint32_t scope;
};

struct socket_address {
	struct sockaddr_storage storage;
	socklen_t length;
};

typedef struct pollfd socket_poll_entry;

/* The bits of an fd_set, without its limit at descriptor 1023. */
struct socket_set {
	unsigned long *words;
	uint32_t word_count;
};

struct thread_state {
	sigset_t signals;
	cpu_set_t cpus;
	bool cpus_saved;
	unsigned long timer_slack_ns; /* 0: not changed */
};

#endif /* PLATFORM_TYPES_H */
