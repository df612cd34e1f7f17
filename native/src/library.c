/*
 * library.c - facts about the library itself: its version, its clock, and the layout of its ABI.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "platform/platform.h"

/* Every struct of iocp_bench.h with every field, in the order of the header. layout_test checks that no byte is missing. */
/* clang-format off */
#define ABI(STRUCT, FIELD) \
	STRUCT(ib_error) \
	FIELD(ib_error, code) FIELD(ib_error, os_code) FIELD(ib_error, message) FIELD(ib_error, hint) \
	STRUCT(ib_probe) \
	FIELD(ib_probe, size) FIELD(ib_probe, abi_version) FIELD(ib_probe, available) FIELD(ib_probe, os_code) \
	FIELD(ib_probe, name) FIELD(ib_probe, reason) FIELD(ib_probe, hint) FIELD(ib_probe, features) \
	STRUCT(ib_server_options) \
	FIELD(ib_server_options, size) FIELD(ib_server_options, abi_version) FIELD(ib_server_options, backend) \
	FIELD(ib_server_options, host) FIELD(ib_server_options, port) FIELD(ib_server_options, address_count) \
	FIELD(ib_server_options, workers) FIELD(ib_server_options, backlog) \
	FIELD(ib_server_options, receive_buffer_bytes) FIELD(ib_server_options, flags) \
	FIELD(ib_server_options, stack_size_bytes) FIELD(ib_server_options, connections_expected) \
	STRUCT(ib_server_stats) \
	FIELD(ib_server_stats, size) FIELD(ib_server_stats, abi_version) FIELD(ib_server_stats, accepted) \
	FIELD(ib_server_stats, closed) FIELD(ib_server_stats, refused) FIELD(ib_server_stats, requests) \
	FIELD(ib_server_stats, bytes_received) FIELD(ib_server_stats, bytes_sent) \
	FIELD(ib_server_stats, errors_reset) FIELD(ib_server_stats, errors_aborted) \
	FIELD(ib_server_stats, errors_descriptors) FIELD(ib_server_stats, errors_memory) \
	FIELD(ib_server_stats, errors_threads) FIELD(ib_server_stats, errors_other) \
	FIELD(ib_server_stats, operations_posted) FIELD(ib_server_stats, operations_completed) \
	FIELD(ib_server_stats, receives_paused) FIELD(ib_server_stats, worker_connections_min) \
	FIELD(ib_server_stats, worker_connections_max) FIELD(ib_server_stats, workers) \
	FIELD(ib_server_stats, threads) FIELD(ib_server_stats, threads_max) FIELD(ib_server_stats, backlog) \
	FIELD(ib_server_stats, last_os_code) FIELD(ib_server_stats, reserved) FIELD(ib_server_stats, features) \
	STRUCT(ib_process_usage) \
	FIELD(ib_process_usage, size) FIELD(ib_process_usage, abi_version) FIELD(ib_process_usage, taken_at_ns) \
	FIELD(ib_process_usage, cpu_user_ns) FIELD(ib_process_usage, cpu_system_ns) \
	FIELD(ib_process_usage, cpu_total_ns) FIELD(ib_process_usage, voluntary_switches) \
	FIELD(ib_process_usage, involuntary_switches) FIELD(ib_process_usage, resident_bytes) \
	FIELD(ib_process_usage, resident_peak_bytes) FIELD(ib_process_usage, page_table_bytes) \
	FIELD(ib_process_usage, nonpaged_pool_bytes) FIELD(ib_process_usage, threads) \
	FIELD(ib_process_usage, descriptors) \
	STRUCT(ib_system_sample) \
	FIELD(ib_system_sample, size) FIELD(ib_system_sample, abi_version) FIELD(ib_system_sample, taken_at_ns) \
	FIELD(ib_system_sample, cpu_busy_ns) FIELD(ib_system_sample, cpu_idle_ns) \
	FIELD(ib_system_sample, cpu_steal_ns) FIELD(ib_system_sample, cpu_network_threads_ns) \
	FIELD(ib_system_sample, tcp_memory_bytes) \
	FIELD(ib_system_sample, tcp_sockets) FIELD(ib_system_sample, time_wait_sockets) \
	FIELD(ib_system_sample, slab_bytes) FIELD(ib_system_sample, kernel_stack_bytes) \
	FIELD(ib_system_sample, page_table_bytes) FIELD(ib_system_sample, memory_available_bytes) \
	FIELD(ib_system_sample, listen_overflows) FIELD(ib_system_sample, listen_drops) \
	FIELD(ib_system_sample, tcp_retransmits) FIELD(ib_system_sample, throttled_ns) \
	STRUCT(ib_limits) \
	FIELD(ib_limits, size) FIELD(ib_limits, abi_version) FIELD(ib_limits, descriptors_soft) \
	FIELD(ib_limits, descriptors_hard) FIELD(ib_limits, descriptors_open) \
	FIELD(ib_limits, descriptors_per_process_max) FIELD(ib_limits, files_system_max) \
	FIELD(ib_limits, files_system_open) FIELD(ib_limits, threads_system_max) FIELD(ib_limits, pid_max) \
	FIELD(ib_limits, processes_user_max) FIELD(ib_limits, cgroup_pids_max) FIELD(ib_limits, map_count_max) \
	FIELD(ib_limits, port_first) FIELD(ib_limits, port_last) FIELD(ib_limits, listen_backlog_max) \
	FIELD(ib_limits, tcp_memory_max_bytes) FIELD(ib_limits, memory_total_bytes) \
	FIELD(ib_limits, memory_available_bytes) FIELD(ib_limits, memory_locked_max_bytes) \
	FIELD(ib_limits, cpus_online) FIELD(ib_limits, clock_resolution_ns) FIELD(ib_limits, clock_source) \
	FIELD(ib_limits, system) FIELD(ib_limits, compatibility) \
	STRUCT(ib_histogram) \
	FIELD(ib_histogram, count) FIELD(ib_histogram, min_ns) FIELD(ib_histogram, max_ns) \
	FIELD(ib_histogram, sum_ns) FIELD(ib_histogram, counts) \
	STRUCT(ib_control) \
	FIELD(ib_control, size) FIELD(ib_control, abi_version) FIELD(ib_control, engine_count) \
	FIELD(ib_control, timeline_capacity) FIELD(ib_control, engine_stride_bytes) \
	FIELD(ib_control, timeline_bucket_ns) FIELD(ib_control, stop) FIELD(ib_control, sequence) \
	FIELD(ib_control, phase) FIELD(ib_control, reserved) FIELD(ib_control, window_start_ns) \
	FIELD(ib_control, window_end_ns) FIELD(ib_control, rate_per_second) FIELD(ib_control, connections_total) \
	STRUCT(ib_error_sample) \
	FIELD(ib_error_sample, error_class) FIELD(ib_error_sample, os_code) FIELD(ib_error_sample, connection) \
	FIELD(ib_error_sample, at_ns) FIELD(ib_error_sample, message) \
	STRUCT(ib_timeline_bucket) \
	FIELD(ib_timeline_bucket, requests) FIELD(ib_timeline_bucket, errors) \
	FIELD(ib_timeline_bucket, service_max_ns) FIELD(ib_timeline_bucket, response_max_ns) \
	STRUCT(ib_engine_block) \
	FIELD(ib_engine_block, size) FIELD(ib_engine_block, sequence_done) FIELD(ib_engine_block, running) \
	FIELD(ib_engine_block, phase) FIELD(ib_engine_block, connections_started) \
	FIELD(ib_engine_block, connections_made) FIELD(ib_engine_block, connections_failed) \
	FIELD(ib_engine_block, connections_lost) FIELD(ib_engine_block, connections_live) \
	FIELD(ib_engine_block, connections_active) FIELD(ib_engine_block, connections_echoed) \
	FIELD(ib_engine_block, connect_first_ns) FIELD(ib_engine_block, connect_last_ns) \
	FIELD(ib_engine_block, requests_completed) FIELD(ib_engine_block, requests_outstanding) \
	FIELD(ib_engine_block, bytes_sent) FIELD(ib_engine_block, bytes_received) \
	FIELD(ib_engine_block, data_errors) FIELD(ib_engine_block, errors) \
	FIELD(ib_engine_block, error_samples_count) FIELD(ib_engine_block, samples) \
	FIELD(ib_engine_block, window_start_ns) FIELD(ib_engine_block, window_end_ns) \
	FIELD(ib_engine_block, window_requests) FIELD(ib_engine_block, window_errors) \
	FIELD(ib_engine_block, window_offered) FIELD(ib_engine_block, window_unsent) \
	FIELD(ib_engine_block, window_completions) FIELD(ib_engine_block, window_bytes) \
	FIELD(ib_engine_block, window_sent_late) FIELD(ib_engine_block, wait_ns) FIELD(ib_engine_block, wall_ns) \
	FIELD(ib_engine_block, cpu_user_ns) FIELD(ib_engine_block, cpu_system_ns) \
	FIELD(ib_engine_block, run_delay_ns) FIELD(ib_engine_block, voluntary_switches) \
	FIELD(ib_engine_block, involuntary_switches) FIELD(ib_engine_block, waits) FIELD(ib_engine_block, events) \
	FIELD(ib_engine_block, reconnects) FIELD(ib_engine_block, fairness_connections) \
	FIELD(ib_engine_block, fairness_min) FIELD(ib_engine_block, fairness_max) \
	FIELD(ib_engine_block, fairness_starved) FIELD(ib_engine_block, fairness_slowest) \
	FIELD(ib_engine_block, fairness_sum) FIELD(ib_engine_block, fairness_sum_squares) \
	FIELD(ib_engine_block, service) FIELD(ib_engine_block, response) FIELD(ib_engine_block, send_lag) \
	FIELD(ib_engine_block, connect) FIELD(ib_engine_block, first_echo) \
	STRUCT(ib_engine_options) \
	FIELD(ib_engine_options, size) FIELD(ib_engine_options, abi_version) FIELD(ib_engine_options, engine) \
	FIELD(ib_engine_options, host) FIELD(ib_engine_options, port) FIELD(ib_engine_options, address_count) \
	FIELD(ib_engine_options, engine_index) FIELD(ib_engine_options, engine_count) \
	FIELD(ib_engine_options, connections) FIELD(ib_engine_options, connections_active) \
	FIELD(ib_engine_options, seed) FIELD(ib_engine_options, message_size_bytes) \
	FIELD(ib_engine_options, pipeline) FIELD(ib_engine_options, timeout_ns) \
	FIELD(ib_engine_options, think_time_ns) FIELD(ib_engine_options, requests_per_connection) \
	FIELD(ib_engine_options, connect_window) FIELD(ib_engine_options, close_mode) \
	FIELD(ib_engine_options, connect_rate_per_second) FIELD(ib_engine_options, spin_ns) FIELD(ib_engine_options, source_address_first) \
	FIELD(ib_engine_options, source_address_count) FIELD(ib_engine_options, source_port_first) \
	FIELD(ib_engine_options, source_port_count) FIELD(ib_engine_options, cpu) \
	FIELD(ib_engine_options, descriptors) \
	STRUCT(ib_engine_result) \
	FIELD(ib_engine_result, size) FIELD(ib_engine_result, abi_version) FIELD(ib_engine_result, engine) \
	FIELD(ib_engine_result, features) FIELD(ib_engine_result, memory_bytes)
/* clang-format on */

#define ROW_STRUCT(type) {#type, ".", 0, sizeof(struct type)},
#define ROW_FIELD(type, field) {#type, #field, offsetof(struct type, field), sizeof(((struct type *)NULL)->field)},

static const struct row {
	const char *type;
	const char *field;
	size_t offset;
	size_t size;
} rows[] = {ABI(ROW_STRUCT, ROW_FIELD)};

#define ROW_COUNT (sizeof rows / sizeof rows[0])
/* Two names of up to 40 characters, two numbers, separators. */
#define LAYOUT_CAPACITY (ROW_COUNT * 112)

uint32_t ib_abi_version(void)
{
	return IB_ABI_VERSION;
}

uint64_t ib_clock_now_ns(void)
{
	return clock_now_ns();
}

const char *ib_layout(void)
{
	static char text[LAYOUT_CAPACITY];
	/* 0: not written yet, 1: a thread is writing it, 2: written. */
	static atomic_int state;
	int expected = 0;
	if (atomic_compare_exchange_strong(&state, &expected, 1)) {
		size_t used = 0;
		for (size_t index = 0; index < ROW_COUNT; index++) {
			const struct row *row = &rows[index];
			int length = snprintf(text + used, sizeof text - used, "%s %s %zu %zu\n", row->type, row->field,
			                      row->offset, row->size);
			used += (size_t)length;
		}
		atomic_store(&state, 2);
	}
	while (atomic_load(&state) != 2)
		clock_sleep_ns(1000);
	return text;
}
