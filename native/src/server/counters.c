/*
 * counters.c - what a server counts, for the backends.
 */
#include "server/counters.h"

#include <string.h>

void counters_error(struct counters *counters, int os_code)
{
	_Atomic uint64_t *counter = &counters->errors_other;
	switch (socket_condition_of(os_code)) {
	case SOCKET_RESET:
		counter = &counters->errors_reset;
		break;
	case SOCKET_ABORTED:
		counter = &counters->errors_aborted;
		break;
	case SOCKET_DESCRIPTORS:
		counter = &counters->errors_descriptors;
		break;
	case SOCKET_MEMORY:
		counter = &counters->errors_memory;
		break;
	default:
		break;
	}
	counter_add(counter, 1);
	atomic_store_explicit(&counters->last_os_code, os_code, memory_order_relaxed);
}

void counters_clear(struct ib_server_stats *out)
{
	memset(out, 0xff, sizeof *out);
	out->size = sizeof *out;
	out->abi_version = IB_ABI_VERSION;
	out->accepted = 0;
	out->closed = 0;
	out->refused = 0;
	out->requests = 0;
	out->bytes_received = 0;
	out->bytes_sent = 0;
	out->errors_reset = 0;
	out->errors_aborted = 0;
	out->errors_descriptors = 0;
	out->errors_memory = 0;
	out->errors_threads = 0;
	out->errors_other = 0;
	out->receives_paused = 0;
	out->served = 0;
	out->dropped = 0;
	out->rejected = 0;
	out->work_burnt_ns = 0;
	out->work_measured = 0;
	out->waits = 0;
	out->waited_ns = 0;
	out->last_os_code = 0;
	out->reserved = 0;
	out->features[0] = '\0';
}

void counters_worker_connections(uint64_t open, struct ib_server_stats *out)
{
	if (out->worker_connections_min == IB_UNKNOWN || open < out->worker_connections_min) {
		out->worker_connections_min = open;
	}
	if (out->worker_connections_max == IB_UNKNOWN || open > out->worker_connections_max) {
		out->worker_connections_max = open;
	}
}

void counters_system_calls(const _Atomic uint64_t *system_calls, struct ib_server_stats *out)
{
	if (out->system_calls == IB_UNKNOWN) {
		out->system_calls = 0;
	}
	out->system_calls += counter_read(system_calls);
}

void counters_operations(const _Atomic uint64_t *posted, const _Atomic uint64_t *completed, struct ib_server_stats *out)
{
	if (out->operations_posted == IB_UNKNOWN) {
		out->operations_posted = 0;
		out->operations_completed = 0;
	}
	/* Completed is read first, so that a snapshot never shows more of them than were posted. */
	out->operations_completed += counter_read(completed);
	out->operations_posted += counter_read(posted);
}

void counters_sum(const struct counters *counters, struct ib_server_stats *out)
{
	/* Closed is read before accepted, so that a snapshot never shows more closed than accepted of one writer. */
	out->closed += counter_read(&counters->closed);
	out->refused += counter_read(&counters->refused);
	out->accepted += counter_read(&counters->accepted);
	out->requests += counter_read(&counters->requests);
	out->bytes_received += counter_read(&counters->bytes_received);
	out->bytes_sent += counter_read(&counters->bytes_sent);
	out->errors_reset += counter_read(&counters->errors_reset);
	out->errors_aborted += counter_read(&counters->errors_aborted);
	out->errors_descriptors += counter_read(&counters->errors_descriptors);
	out->errors_memory += counter_read(&counters->errors_memory);
	out->errors_threads += counter_read(&counters->errors_threads);
	out->errors_other += counter_read(&counters->errors_other);
	out->receives_paused += counter_read(&counters->receives_paused);
	service_counts_sum(&counters->service, out);
	int32_t last = atomic_load_explicit(&counters->last_os_code, memory_order_relaxed);
	if (last != 0) {
		out->last_os_code = last;
	}
}
