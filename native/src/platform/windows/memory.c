/*
 * memory.c - aligned memory. On Windows free() cannot free it.
 */
#include <malloc.h>

#include "platform/platform.h"

void *memory_allocate_aligned(size_t alignment, size_t bytes)
{
	return _aligned_malloc(bytes, alignment);
}

void memory_free_aligned(void *memory)
{
	_aligned_free(memory);
}
