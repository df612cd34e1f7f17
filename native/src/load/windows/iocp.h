/*
 * iocp.h - what the two files of the client's completion port engine share: its state, and what is done with one connection.
 *
 * iocp.c has the loop, opening and ending; iocp_connection.c has what happens to one connection.
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

/* The two operations of a connection; connecting uses the receive's, for no receive is out before. */
enum operation_kind { OPERATION_CONNECT, OPERATION_RECEIVE, OPERATION_SEND };

struct operation {
	OVERLAPPED overlapped;
	struct operation *next; /* in the ready queue */
	uint32_t index;         /* of the connection */
	uint32_t bytes;         /* in the ready queue: what was moved */
	enum operation_kind kind;
};

struct client {
	struct operation receive;
	struct operation send;
	socket_handle socket;
	uint32_t out;        /* operations in the kernel or in the ready queue */
	uint32_t retry_next; /* in the list of sends and receives that found no memory */
	bool begun;          /* engine_closed() is owed */
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
	uint64_t out;         /* over all clients */
	uint64_t descriptors; /* sockets that are open */
	char *buffers;        /* two per client: to receive, to send */
	uint32_t buffer_bytes;
	struct operation *ready_first, *ready_last;
	uint32_t retry_first;
	uint64_t retry_at_ns;
	OVERLAPPED_ENTRY events[BATCH_EVENTS];
};

/* Makes the socket and begins to connect it; the engine is told where that fails. */
void iocp_client_begin(struct poller *poller, uint32_t index);
/* Sends what the engine has for the connection, as much as the buffer holds; its completion asks for more. */
void iocp_client_send(struct poller *poller, uint32_t index);
void iocp_client_close(struct poller *poller, uint32_t index, enum engine_close_way way);
/* Tries again what found no memory a while ago. */
void iocp_retries_post(struct poller *poller);
/* What an operation that is back means to its connection. `bytes` is what it moved. */
void iocp_operation_finished(struct poller *poller, struct operation *operation, uint32_t bytes);
/* Closes the socket of a client, whose operations come back cancelled; the engine is not touched. */
void iocp_socket_end(struct poller *poller, struct client *client, bool set_linger);

#endif /* LOAD_IOCP_H */
