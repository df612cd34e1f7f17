/*
 * rings.h - the rings of an io_uring engine: one, or more if a single table of direct descriptors is too small.
 */
#ifndef LOAD_LINUX_RINGS_H
#define LOAD_LINUX_RINGS_H

#include "load/engine.h"
#include "load/linux/timed_epoll.h"
#include "platform/linux/ring.h"

#define ARENA_BYTES (512u * 1024u)

/* Numbers of connections, first in, first out. */
struct index_queue {
	uint32_t *places;
	struct queue at;
};

struct client_ring {
	struct ring ring;
	struct ring_buffers buffers;
	bool created;
	bool buffered;
	bool hot;                    /* several rings: this one has to be entered */
	int event;                   /* several rings: the eventfd that signals this one; -1: none */
	struct index_queue starved;  /* connections whose receive ended because no buffer was left */
	struct index_queue deferred; /* connections with a message in flight whose receive is not posted yet */
	uint8_t *arena;
	size_t arena_used;
	uint32_t sends_filled; /* entries of sends since the last submission */
};

struct rings {
	struct engine *engine;
	struct client_ring *rings;
	uint32_t count;
	uint32_t slots; /* per ring */
	uint64_t next_round_ns;
	bool may_defer; /* one small message in flight and no think time: io_uring_receive.c */
	int fatal;      /* errno of a ring that accepts no more entries */
	struct timed_epoll epoll;
};

/* Opens the rings that the engine's connections need. Call rings_close() afterwards, also after a failure. */
int32_t rings_open(struct rings *rings, struct ib_error *error);
/* Closing a ring ends its operations, and the kernel closes the sockets of its table with RST. */
void rings_close(struct rings *rings);

#endif /* LOAD_LINUX_RINGS_H */
