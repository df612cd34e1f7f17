/*
 * hand_out.h - to which worker a new connection goes, for every model whose workers have connections of their own.
 */
#ifndef HAND_OUT_H
#define HAND_OUT_H

#include <stdint.h>

/*
 * The number of the worker with the fewest connections, of `count` >= 1. The search starts behind the last chosen (*next, 0 at first), so that
 * equals take turns. `open` says how many connections a worker of the server has.
 */
uint32_t hand_out_emptiest(uint32_t count, uint32_t *next, uint64_t (*open)(const void *server, uint32_t number),
                           const void *server);

#endif /* HAND_OUT_H */
