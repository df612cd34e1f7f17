/*
 * hand_out.c - to which worker a new connection goes, for every model whose workers have connections of their own.
 */
#include "server/hand_out.h"

uint32_t hand_out_emptiest(uint32_t count, uint32_t *next, uint64_t (*open)(const void *server, uint32_t number),
                           const void *server)
{
	uint32_t best = *next;
	uint64_t fewest = open(server, best);
	for (uint32_t step = 1; step < count; step++) {
		uint32_t number = (*next + step) % count;
		uint64_t connections = open(server, number);
		if (connections < fewest) {
			fewest = connections;
			best = number;
		}
	}
	*next = (best + 1) % count;
	return best;
}
