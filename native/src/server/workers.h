/*
 * workers.h - the threads of the models whose worker 0 accepts connections and hands them to the other workers: start and stop.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include "platform/platform.h"
#include "server/counters.h"

#include <stdbool.h>
#include <stdint.h>

/* One worker's thread: a member of each such model's worker. Zero before the start. */
struct worker_thread {
	struct thread thread;
	bool started;         /* and not joined */
	uint32_t reset_count; /* connections that the worker reset at its end */
};

/* The workers of a server, in an array of `size` bytes each whose struct worker_thread is `thread_offset` bytes from its start. */
struct workers {
	void *first;
	size_t size;
	size_t thread_offset;
	uint32_t count; /* 1..1024 */
};

/* The workers of `server`, whose `workers` points to `number` structs with a member `thread`. */
#define WORKERS_OF(server, number)                                                                                     \
	((struct workers){                                                                                                 \
	    .first = (server)->workers,                                                                                    \
	    .size = sizeof *(server)->workers,                                                                             \
	    .thread_offset = offsetof(__typeof__(*(server)->workers), thread),                                             \
	    .count = (number),                                                                                             \
	})

/*
 * Starts the thread of worker `number`, which runs main(worker), and counts it in *threads; main counts itself out at its end. Returns
 * IB_STATUS_THREADS if it could not be started.
 */
int32_t worker_start(struct workers workers, uint32_t number, void (*main)(void *worker), _Atomic uint32_t *threads,
                     struct ib_error *error);
/*
 * Starts a thread per worker, which as worker_start() does. Worker 0 starts last: it hands connections to the others, so all of them must run before. If
 * a thread could not be started, those that were run until workers_stop().
 */
int32_t workers_start(struct workers workers, void (*main)(void *worker), _Atomic uint32_t *threads,
                      struct ib_error *error);
/* Waits until all workers that were started have ended. Returns how many connections they reset. Those that it waited for are no longer `started`. */
uint32_t workers_join(struct workers workers);
/*
 * Stops the workers: wakes worker 0, which wakes the others when it has stopped accepting; wakes all of them if worker 0 never started. Then
 * workers_join(). They must find that they have to stop when they wake: the caller has stored that before.
 */
uint32_t workers_stop(struct workers workers, void (*wake)(void *worker));

/* Open connections of a worker: `assigned` were given to it. Any thread may ask; `assigned` is never behind `closed` for long. */
static inline uint64_t workers_connections(const _Atomic uint64_t *assigned, const struct counters *counters)
{
	/* Read first: what closes meanwhile was assigned before. */
	uint64_t closed = counter_read(&counters->closed);
	uint64_t given = counter_read(assigned);
	return given > closed ? given - closed : 0;
}

#endif /* WORKERS_H */
