/*
 * ring.h - an io_uring for one thread, and rings of provided buffers: thin helpers for the server and the load engine.
 *
 * A ring belongs to the thread that creates it (SINGLE_ISSUER). Only that thread may call these functions on it.
 * Errors are returned as negative errno values, as the kernel returns them.
 */
#ifndef RING_H
#define RING_H

#include <stdbool.h>

#include "io_uring_abi.h"
#include "platform/ib_assert.h"
#include "platform/platform.h"

struct ring {
	int fd;
	int enter_fd;         /* number of the registered ring, or fd */
	uint32_t enter_flags; /* URING_ENTER_REGISTERED_RING or 0 */
	uint32_t setup_flags; /* the flags that the kernel accepted */
	/* Submission: entries in [sqe_submitted, sqe_tail) are filled but not yet submitted. */
	uint32_t sqe_tail;
	uint32_t sqe_submitted;
	uint32_t sq_entries;
	uint32_t sq_mask;
	uint32_t *sq_tail;
	struct uring_sqe *sqes;
	/* Completion. */
	uint32_t cq_mask;
	uint32_t *cq_head;
	uint32_t *cq_tail;
	struct uring_cqe *cqes;
	void *rings_map;
	size_t rings_map_bytes;
	size_t sqes_map_bytes;
	uint64_t system_calls; /* io_uring_enter and io_uring_register; whoever counts them sets it back to 0 */
	uint64_t operations;   /* entries that the kernel accepted; the same */
};

/* What io_uring offers on this machine. code 0: all that we require. Otherwise an errno value, the reason, and how to make it
 * available ("" if unknown). */
struct ring_support {
	int code;
	char reason[256];
	char hint[256];
	char features[256]; /* space-separated */
};
void ring_support_probe(struct ring_support *out);

/* Creates a ring with the best flags that the kernel accepts. Both sizes are powers of two. */
int ring_create(struct ring *ring, uint32_t sq_entries, uint32_t cq_entries);
void ring_destroy(struct ring *ring);
/* Names of the flags in use, space-separated. */
void ring_features(const struct ring *ring, char *out, size_t size);
/* Registers an empty table of `slots` direct descriptors. */
int ring_register_files(struct ring *ring, uint32_t slots);
/* Installs a descriptor in a slot. The descriptor itself may then be closed. */
int ring_install_file(struct ring *ring, uint32_t slot, int fd);
/* The kernel signals eventfd `fd` when the ring has work for its thread: a completion, or deferred work that will lead to one. */
int ring_register_eventfd(struct ring *ring, int fd);

/* Submits the filled entries and waits for `wait_count` completions, at most timeout_ns (IB_UNKNOWN: no timeout). Returns the
 * number submitted, or an error: -ETIME after the timeout, -EINTR, -EBUSY (take completions first, then try again). */
int ring_enter(struct ring *ring, uint32_t wait_count, uint64_t timeout_ns);
/*
 * Submits the filled entries without running deferred work. Use it while a batch of completions is still being handled. Otherwise
 * every submission would also do up to 40 receives (Linux 6.18: twice 20), more than it answers, until everything that has come
 * is in the queue. Returns as ring_enter() does.
 */
int ring_submit(struct ring *ring);

/* A zeroed entry to fill. If the queue is full, submits it first. NULL if the kernel accepts no entries (-EBUSY). */
static inline struct uring_sqe *ring_sqe(struct ring *ring)
{
	if (ring->sqe_tail - ring->sqe_submitted == ring->sq_entries && ring_enter(ring, 0, IB_UNKNOWN) <= 0) {
		return NULL;
	}
	struct uring_sqe *sqe = &ring->sqes[ring->sqe_tail++ & ring->sq_mask];
	*sqe = (struct uring_sqe){0};
	return sqe;
}

/* Number of completions in the queue. */
static inline uint32_t ring_ready(const struct ring *ring)
{
	return __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) - *ring->cq_head;
}

/* The completion `index` places after the head. */
static inline const struct uring_cqe *ring_cqe(const struct ring *ring, uint32_t index)
{
	return &ring->cqes[(*ring->cq_head + index) & ring->cq_mask];
}

/* Returns the slots of the first `count` completions to the kernel. */
static inline void ring_advance(struct ring *ring, uint32_t count)
{
	__atomic_store_n(ring->cq_head, *ring->cq_head + count, __ATOMIC_RELEASE);
}

/* ---------------------------------------------------------------------------------- provided buffers */

#define RING_BUFFERS_CHUNK 64u

/*
 * Buffers that the kernel takes as data arrives. The ring holds `target` of them. `target` grows with the demand of one batch, so
 * that memory use stays as small as the load allows. Buffers that are held for long are replaced by new ones, up to count_max, so
 * that a few slow readers do not starve the rest.
 */
struct ring_buffers {
	struct ring *ring;
	uint16_t group; /* 0: a ring has one group of buffers */
	uint16_t tail;
	uint32_t entries; /* capacity of the ring, a power of two */
	uint32_t size_bytes;
	uint32_t stride_bytes;
	uint32_t target;
	uint32_t in_ring; /* buffers that the kernel may take */
	uint32_t count;   /* buffers made so far: numbers 0 to count - 1 */
	uint32_t count_max;
	uint32_t free_count;
	uint16_t *free_numbers; /* buffers neither in the ring nor held */
	char **chunks;
	struct uring_buf *slots;
	size_t slots_bytes;
};

struct ring_buffers_shape {
	uint32_t size_bytes; /* size of one buffer */
	uint32_t entries;    /* capacity of the ring, a power of two */
	uint32_t target;     /* number of buffers the ring starts with */
	uint32_t count_max;  /* the most buffers to make, and never more than 65,535 */
};
int ring_buffers_create(struct ring_buffers *buffers, struct ring *ring, const struct ring_buffers_shape *shape);
/* Call it after ring_destroy(), so that the kernel no longer uses the buffers. */
void ring_buffers_destroy(struct ring_buffers *buffers);
/* Refills the ring after a batch of completions. False if the ring holds no buffer. */
bool ring_buffers_replenish(struct ring_buffers *buffers);

static inline char *ring_buffers_memory(const struct ring_buffers *buffers, uint32_t number)
{
	return buffers->chunks[number / RING_BUFFERS_CHUNK] + (size_t)(number % RING_BUFFERS_CHUNK) * buffers->stride_bytes;
}

/* Accounts for the buffer that a completion names, which the kernel has taken from the ring. Returns its number. */
static inline uint16_t ring_buffers_taken(struct ring_buffers *buffers, const struct uring_cqe *cqe)
{
	ib_count_down(buffers->in_ring, 1);
	return (uint16_t)(cqe->flags >> URING_CQE_BUFFER_SHIFT);
}

/* Puts a buffer into the ring. ring_buffers_publish() makes it visible to the kernel. */
static inline void ring_buffers_put(struct ring_buffers *buffers, uint16_t number)
{
	ib_assert(buffers->in_ring < buffers->entries);
	struct uring_buf *slot = &buffers->slots[buffers->tail++ & (buffers->entries - 1)];
	slot->addr = (uint64_t)(uintptr_t)ring_buffers_memory(buffers, number);
	slot->len = buffers->size_bytes;
	slot->bid = number;
	buffers->in_ring++;
}

static inline void ring_buffers_publish(struct ring_buffers *buffers)
{
	uint16_t *tail = (uint16_t *)(void *)((char *)buffers->slots + URING_BUF_TAIL_OFFSET);
	__atomic_store_n(tail, buffers->tail, __ATOMIC_RELEASE);
}

/* Returns a buffer that is no longer needed. */
static inline void ring_buffers_give_back(struct ring_buffers *buffers, uint16_t number)
{
	if (buffers->in_ring < buffers->target) {
		ring_buffers_put(buffers, number);
	} else {
		ib_assert(buffers->free_count < buffers->count_max);
		buffers->free_numbers[buffers->free_count++] = number;
	}
}

#endif /* RING_H */
