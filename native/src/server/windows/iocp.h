/*
 * iocp.h - what the files of the completion-port server share; iocp.c tells the model.
 */
#ifndef IOCP_H
#define IOCP_H

#include "platform/platform.h"
#include "server/backend.h"
#include "server/counters.h"
#include "server/listeners.h"

#include <mswsock.h>

#define IOCP_BATCH 64
/* How long an operation waits that the system had no memory or handles for. */
#define IOCP_RETRY_MS 20

/* The completion key tells a wake-up from I/O, and nothing else. */
enum iocp_key { IOCP_KEY_IO = 0 /* as completion_port_join() says */, IOCP_KEY_STOP = 1 };

enum iocp_operation_kind { IOCP_ACCEPT, IOCP_RECEIVE, IOCP_SEND };

/* One call handed to the kernel. It lives until its completion is dequeued; the port gives back the OVERLAPPED, which leads to
 * the operation and from there, by its kind, to the connection or accept slot that it is a member of. */
struct iocp_operation {
	OVERLAPPED overlapped;
	enum iocp_operation_kind kind;
	bool is_out; /* handed to the kernel and not handled yet; kept where assertions hold, and by its owner */
	/* Of an operation in a worker's queue, that is, not in the kernel: */
	DWORD bytes;
	struct iocp_operation *next;
};

struct iocp_queue {
	struct iocp_operation *first, *last;
};

/*
 * At any time one operation of a connection is out, or one worker handles it: its fields have one owner and need no lock. The
 * socket alone is written under the server's mutex, since stopping looks at it.
 */
struct iocp_connection {
	struct iocp_operation receive;
	struct iocp_operation send;
	socket_handle socket;           /* SOCKET_NONE: on the free list, or being closed */
	char *buffer;                   /* zero-byte receive: NULL while idle */
	uint32_t length;                /* bytes in the buffer */
	uint32_t sent;                  /* of these, or taken */
	struct service_request request; /* zero if the server only echoes */
	struct iocp_connection *next_free;
};

/* An accept posted ahead. */
struct iocp_accept {
	struct iocp_operation operation;
	socket_handle listener;
	socket_handle socket; /* made ahead; SOCKET_NONE when none waits */
	int family;
	/* Local and remote address, each with the 16 bytes more that AcceptEx asks for. */
	char addresses[2 * (sizeof(struct sockaddr_storage) + 16)];
};

/* A buffer of the zero-byte mode that no connection uses. */
struct iocp_spare_buffer {
	struct iocp_spare_buffer *next;
};

struct iocp_server;

struct iocp_worker {
	_Alignas(64) struct counters counters; /* written by this worker alone */
	_Atomic uint64_t posted;
	_Atomic uint64_t completed;
	struct iocp_server *server;
	struct thread thread;
	uint32_t index;
	struct iocp_queue ready; /* completed without a packet, waiting to be handled */
	struct iocp_queue retry; /* to be posted again when the system may have room */
	uint64_t retry_at_ns;
	struct iocp_spare_buffer *spare_buffers;
	struct service_worker service;
};

struct iocp_server {
	struct server base;
	struct ib_server_options options;
	struct listeners listeners;
	uint32_t backlog;
	HANDLE port;
	LPFN_ACCEPTEX accept_ex;
	bool skip_on_success;
	struct iocp_worker *workers;
	uint32_t workers_running; /* threads to be joined; for whoever starts and stops */
	struct iocp_accept *accepts;
	uint32_t accept_count;
	_Atomic bool stopping;
	_Atomic bool resetting;

	struct mutex mutex; /* guards all below, the sockets of connections, and the listeners */
	struct condition changed;
	uint32_t accepts_left; /* slots in use; falls only while stopping */
	uint32_t live;
	struct iocp_connection *free_list;
	struct iocp_chunk *chunks;
};

/* ---- iocp_connections.c: the memory of connections ---- */

/* Takes a connection for an accepted socket; NULL where there is no memory for one. */
struct iocp_connection *iocp_connection_take(struct iocp_server *server, socket_handle socket);
/* Closes the socket and gives the connection back. None of its operations may be out. */
void iocp_connection_end(struct iocp_server *server, struct iocp_connection *connection, bool reset);
/* Cancels the receives of all connections, or everything. */
void iocp_connections_cancel(struct iocp_server *server, bool receives_only);
void iocp_connections_free(struct iocp_server *server);

/* ---- iocp_worker.c ---- */

void iocp_worker_main(void *argument);

#endif /* IOCP_H */
