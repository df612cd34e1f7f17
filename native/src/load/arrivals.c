/*
 * arrivals.c - the messages that wait for a busy connection under Poisson arrivals. With even arrivals, the time at which a waiting message
 * was due can be computed, so nothing is stored. Random times have to be kept.
 */
#include <stdlib.h>

#include "load/arrivals.h"

static bool chunk_add(struct waiting_pool *pool)
{
	struct waiting_message *chunk = NULL;

	if (pool->chunk_count < WAITING_CHUNKS_MAX) {
		chunk = malloc(WAITING_CHUNK * sizeof *chunk);
	}
	if (chunk != NULL) {
		pool->chunks[pool->chunk_count++] = chunk;
	}
	return chunk != NULL;
}

bool waiting_open(struct waiting_pool *pool)
{
	*pool = (struct waiting_pool){.free = WAITING_NONE};
	pool->chunks = calloc(WAITING_CHUNKS_MAX, sizeof(struct waiting_message *));
	return pool->chunks != NULL && chunk_add(pool);
}

void waiting_close(struct waiting_pool *pool)
{
	for (uint32_t at = 0; at < pool->chunk_count; at++) {
		free(pool->chunks[at]);
	}
	free(pool->chunks);
	*pool = (struct waiting_pool){.free = WAITING_NONE};
}

uint32_t waiting_append(struct waiting_pool *pool, uint32_t last, uint64_t due_ns)
{
	uint32_t index = pool->free;

	if (index != WAITING_NONE) {
		pool->free = waiting_at(pool, index)->next;
	} else if (pool->used < pool->chunk_count << WAITING_CHUNK_BITS || chunk_add(pool)) {
		index = pool->used++;
	} else {
		return WAITING_NONE;
	}
	struct waiting_message *message = waiting_at(pool, index);
	message->due_ns = due_ns;
	message->next = index;
	if (last != WAITING_NONE) {
		struct waiting_message *before = waiting_at(pool, last);
		message->next = before->next;
		before->next = index;
	}
	return index;
}

void waiting_remove_first(struct waiting_pool *pool, uint32_t last)
{
	struct waiting_message *end = waiting_at(pool, last);
	uint32_t first = end->next;
	struct waiting_message *message = waiting_at(pool, first);

	end->next = message->next;
	message->next = pool->free;
	pool->free = first;
}
