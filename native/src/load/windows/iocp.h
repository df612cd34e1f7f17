/*
 * iocp.h - shared by the two files of the client's completion port engine: its state, and the operations of a connection.
 *
 * iocp.c opens and closes the engine and runs the loop. iocp_connection.c handles one connection.
 */
#ifndef LOAD_IOCP_H
#define LOAD_IOCP_H

#include "completion_port.h"
#include "load/engine.h"
#include "load/windows/client_socket.h"
#include "load/windows/wake_timer.h"

#define BATCH_EVENTS 128
#define NO_CLIENT UINT32_MAX

enum port_key { PORT_KEY_IO = 0 /* as completion_port_join() says */, PORT_KEY_TIMER = 1 };

/* The two operations of a connection. Connecting uses the one for receives, because no receive is outstanding before. */
enum operation_kind { OPERATION_CONNECT, OPERATION_RECEIVE, OPERATION_SEND };

struct operation {
	OVERLAPPED overlapped;
	struct operation *next; /* in the ready queue */
	uint32_t index;         /* of the connection */
	uint32_t bytes;         /* in the ready queue: the bytes moved */
	enum operation_kind kind;
};

struct client {
	struct operation receive;
	struct operation send;
	socket_handle socket;
	uint32_t out;        /* operations in the kernel or in the ready queue */
	uint32_t retry_next; /* in the list of sends and receives that failed for lack of memory */
	bool begun;          /* engine_closed() must still be called */
	bool retry_listed;
	bool retry_receive;
	bool retry_send;
};

struct poller {
	struct engine *engine;
	HANDLE port;
	LPFN_CONNECTEX connect_ex;
	struct wake_timer wake;
	bool skip_on_success;
	struct client *clients;
	uint32_t count;
	uint64_t out;         /* sum over all clients */
	uint64_t descriptors; /* open sockets */
	char *buffers;        /* two per client: to receive, to send */
	uint32_t buffer_bytes;
	uint64_t system_calls; /* not yet added to the engine's */
	struct operation *ready_first, *ready_last;
	uint32_t retry_first;
	uint64_t retry_at_ns;
	OVERLAPPED_ENTRY events[BATCH_EVENTS];
};

/* Makes the socket and begins to connect it. A failure is reported to the engine. */
void iocp_client_begin(struct poller *poller, uint32_t index);
/* Sends the connection's pending bytes, as many as the buffer holds. The send's completion continues with the rest. */
void iocp_client_send(struct poller *poller, uint32_t index);
void iocp_client_close(struct poller *poller, uint32_t index, enum engine_close_way way);
/* Retries, after a pause, the operations that failed for lack of memory. */
void iocp_retries_post(struct poller *poller);
/* Handles a completed operation, which moved `bytes`. */
void iocp_operation_finished(struct poller *poller, struct operation *operation, uint32_t bytes);
/* Closes the socket of a client. Its operations come back cancelled. Does not touch the engine. */
void iocp_socket_end(struct poller *poller, struct client *client, bool set_linger);

#endif /* LOAD_IOCP_H */
