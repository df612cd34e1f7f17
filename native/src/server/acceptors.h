/*
 * acceptors.h - threads that only accept, one per listening socket, for models whose serving threads get their sockets from another thread.
 */
#ifndef ACCEPTORS_H
#define ACCEPTORS_H

#include "server/counters.h"
#include "server/listeners.h"

struct acceptor;

/* Zeroed memory is the state before acceptors_start() and after acceptors_free(). */
struct acceptors {
	struct listeners *listeners;
	void (*accepted)(void *context, socket_handle socket);
	void *context;
	struct acceptor *each;
	uint32_t count;
	_Atomic uint32_t running;
	struct mutex mutex;
	struct condition changed;
	bool stopping; /* under the mutex */
};

/*
 * Starts a thread for each listener. The listeners are blocking, and stay open until acceptors_stop() closes them. `accepted` takes over each
 * new socket on the accepting thread: a blocking socket with TCP_NODELAY, already counted as accepted. Returns IB_STATUS_OK, or
 * IB_STATUS_MEMORY or IB_STATUS_THREADS with *error filled. After a failure no thread runs, but sockets may have been accepted before it;
 * acceptors_stop() and acceptors_free() are still to be called.
 */
int32_t acceptors_start(struct acceptors *acceptors, struct listeners *listeners,
                        void (*accepted)(void *context, socket_handle socket), void *context, struct ib_error *error);
/* Ends the threads and closes the listeners. `accepted` is not called after this returns. A second call does nothing. */
void acceptors_stop(struct acceptors *acceptors);
/* Frees what acceptors_start() allocated. Call acceptors_stop() first. */
void acceptors_free(struct acceptors *acceptors);
/* Adds what the threads counted (accepted sockets, errors of accept) to a snapshot, and their system calls if the model counts its own. Call
 * it after adding the model's own counters, so that a snapshot never shows more closed than accepted. */
void acceptors_sum(const struct acceptors *acceptors, struct ib_server_stats *out);
/* The number of running threads. */
uint32_t acceptors_running(const struct acceptors *acceptors);

#endif /* ACCEPTORS_H */
