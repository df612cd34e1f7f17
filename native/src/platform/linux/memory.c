/*
 * memory.c - aligned memory.
 */
#include <stdlib.h>

#include "platform/platform.h"

void *memory_allocate_aligned(size_t alignment, size_t bytes)
{
	return aligned_alloc(alignment, bytes);
}

void memory_free_aligned(void *memory)
{
	free(memory);
}
