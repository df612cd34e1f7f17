/*
 * ring.h - an io_uring of one thread, and rings of provided buffers: thin helpers for the server and the load engine.
 *
 * A ring belongs to the thread that creates it (SINGLE_ISSUER): only that thread may call these functions on it.
 * Errors are returned as negative errno values, as the kernel does it.
 */
#ifndef RING_H
#define RING_H

#include <stdbool.h>

#include "io_uring_abi.h"
#include "platform/platform.h"

struct ring {
	int fd;
	int enter_fd;         /* number of the registered ring, or fd */
	uint32_t enter_flags; /* URING_ENTER_REGISTERED_RING or 0 */
	uint32_t setup_flags; /* those that the kernel took */
	/* Submission: entries in [sqe_submitted, sqe_tail) are filled but not handed over. */
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
};

/* What this machine offers. code 0: all that is required; else errno, with the reason, and what would make it run ("": unknown). */
struct ring_support {
	int code;
	char reason[256];
	char hint[256];
	char features[256]; /* space-separated */
};
void ring_support_probe(struct ring_support *out);

/* Creates a ring with the best flags that the kernel takes. Both sizes are powers of two. */
int ring_create(struct ring *ring, uint32_t sq_entries, uint32_t cq_entries);
void ring_destroy(struct ring *ring);
/* Names of the flags in use, space-separated. */
void ring_features(const struct ring *ring, char *out, size_t size);
/* Registers an empty table of `slots` direct descriptors. */
int ring_register_files(struct ring *ring, uint32_t slots);
/* Installs a descriptor in a slot; the descriptor itself may be closed thereafter. */
int ring_install_file(struct ring *ring, uint32_t slot, int fd);
/* Has an eventfd signalled whenever the ring has something for its thread: a completion, or deferred work that will make one. */
int ring_register_eventfd(struct ring *ring, int fd);

/* Hands over what is filled, and waits for `wait_count` completions, at most timeout_ns (IB_UNKNOWN: for ever). Returns the
 * number handed over, or an error: -ETIME after the timeout, -EINTR, -EBUSY (take completions first, then again). */
int ring_enter(struct ring *ring, uint32_t wait_count, uint64_t timeout_ns);
/*
 * Submits what was prepared and no more: deferred work stays undone. For a batch of completions that is not worked off yet: up to 40
 * receives (Linux 6.18: twice 20) would be done with every submission, more than it answers, until all that has come lies in the queue.
 * Returns as ring_enter() does.
 */
int ring_submit(struct ring *ring);

/* A zeroed entry to fill; hands over the full queue first when it has to. NULL when the kernel takes none (-EBUSY). */
static inline struct uring_sqe *ring_sqe(struct ring *ring)
{
	if (ring->sqe_tail - ring->sqe_submitted == ring->sq_entries && ring_enter(ring, 0, IB_UNKNOWN) <= 0) {
		return NULL;
	}
	struct uring_sqe *sqe = &ring->sqes[ring->sqe_tail++ & ring->sq_mask];
	*sqe = (struct uring_sqe){0};
	return sqe;
}

/* Completions that are there. */
static inline uint32_t ring_ready(const struct ring *ring)
{
	return __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) - *ring->cq_head;
}

/* The completion `index` places behind the head. */
static inline const struct uring_cqe *ring_cqe(const struct ring *ring, uint32_t index)
{
	return &ring->cqes[(*ring->cq_head + index) & ring->cq_mask];
}

/* Gives the places of `count` completions back to the kernel. */
static inline void ring_advance(struct ring *ring, uint32_t count)
{
	__atomic_store_n(ring->cq_head, *ring->cq_head + count, __ATOMIC_RELEASE);
}

/* ---------------------------------------------------------------------------------- provided buffers */

#define RING_BUFFERS_CHUNK 64u

/*
 * Buffers that the kernel takes as data comes. The ring of them holds `target` buffers, which grows with the demand of one
 * batch, so that the memory in use stays as small as the load allows. Buffers that others hold for long are replaced by new
 * ones, up to count_max, so that a few slow readers do not starve the rest.
 */
struct ring_buffers {
	struct ring *ring;
	uint16_t group; /* 0: a ring has one group of buffers */
	uint16_t tail;
	uint32_t entries; /* capacity of the ring, a power of two */
	uint32_t size_bytes;
	uint32_t stride_bytes;
	uint32_t target;
	uint32_t in_ring; /* what the kernel may take */
	uint32_t count;   /* made so far: numbers 0 to count - 1 */
	uint32_t count_max;
	uint32_t free_count;
	uint16_t *free_numbers; /* neither in the ring nor held */
	char **chunks;
	struct uring_buf *slots;
	size_t slots_bytes;
};

struct ring_buffers_shape {
	uint32_t size_bytes; /* of one buffer */
	uint32_t entries;    /* of the ring: a power of two */
	uint32_t target;     /* how many buffers the ring starts with */
	uint32_t count_max;  /* how many there may ever be; at most 65,535 are made */
};
int ring_buffers_create(struct ring_buffers *buffers, struct ring *ring, const struct ring_buffers_shape *shape);
/* After the ring is destroyed, which ends the kernel's use. */
void ring_buffers_destroy(struct ring_buffers *buffers);
/* Tops the ring up after a batch of completions. False when not a single buffer is in it. */
bool ring_buffers_replenish(struct ring_buffers *buffers);

static inline char *ring_buffers_memory(const struct ring_buffers *buffers, uint32_t number)
{
	return buffers->chunks[number / RING_BUFFERS_CHUNK] + (size_t)(number % RING_BUFFERS_CHUNK) * buffers->stride_bytes;
}

/* A completion named a buffer: the kernel has taken it out of the ring. Returns its number. */
static inline uint16_t ring_buffers_taken(struct ring_buffers *buffers, const struct uring_cqe *cqe)
{
	buffers->in_ring--;
	return (uint16_t)(cqe->flags >> URING_CQE_BUFFER_SHIFT);
}

/* Puts a buffer into the ring. ring_buffers_publish makes it visible. */
static inline void ring_buffers_put(struct ring_buffers *buffers, uint16_t number)
{
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

/* Gives a buffer back that is done with. */
static inline void ring_buffers_give_back(struct ring_buffers *buffers, uint16_t number)
{
	if (buffers->in_ring < buffers->target) {
		ring_buffers_put(buffers, number);
	} else {
		buffers->free_numbers[buffers->free_count++] = number;
	}
}

#endif /* RING_H */
