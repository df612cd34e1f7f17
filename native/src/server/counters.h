/*
 * counters.h - what a server counts, for the backends.
 *
 * A struct counters has one writer at a time, so that counting is a load and a store of a line that no other core writes: no
 * locked instruction on the path of a request. Any thread may read.
 */
#ifndef COUNTERS_H
#define COUNTERS_H

#include <stdatomic.h>

#include "platform/ib_assert.h"
#include "platform/platform.h"
#include "server/service.h"

struct counters {
	_Atomic uint64_t requests;
	_Atomic uint64_t bytes_received;
	_Atomic uint64_t bytes_sent;
	_Atomic uint64_t system_calls;
	_Atomic uint64_t accepted;
	_Atomic uint64_t closed;
	_Atomic uint64_t refused;
	_Atomic uint64_t errors_reset;
	_Atomic uint64_t errors_aborted;
	_Atomic uint64_t errors_descriptors;
	_Atomic uint64_t errors_memory;
	_Atomic uint64_t errors_threads;
	_Atomic uint64_t errors_other;
	_Atomic uint64_t receives_paused;
	_Atomic int32_t last_os_code;
	struct service_counts service;
};

static inline uint64_t counter_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* For the one writer only. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t amount)
{
	atomic_store_explicit(counter, counter_read(counter) + amount, memory_order_relaxed);
}

/* Counts an error by its class. */
void counters_error(struct counters *counters, int os_code);
/*
 * Starts a snapshot: what struct counters counts is 0, everything else is unknown until the backend fills it in. A counter that only
 * one model has is therefore unknown in all others.
 */
void counters_clear(struct ib_server_stats *out);
/* Adds the counters to a snapshot. */
void counters_sum(const struct counters *counters, struct ib_server_stats *out);
/* Adds the system calls of one thread to a snapshot. A model calls it only if it counts them on all of its threads. */
void counters_system_calls(const _Atomic uint64_t *system_calls, struct ib_server_stats *out);
/* Adds a worker and its open connections to a snapshot. */
void counters_worker_connections(uint64_t open, struct ib_server_stats *out);
/* Adds the operations of one worker of a completion model to a snapshot. */
void counters_operations(const _Atomic uint64_t *posted, const _Atomic uint64_t *completed,
                         struct ib_server_stats *out);

#endif /* COUNTERS_H */
