/*
 * limits.c - the limits that matter to a load test on Linux.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "abi.h"
#include "platform/platform.h"
#include "procfile.h"

static uint64_t limit_value(rlim_t value)
{
	return value == RLIM_INFINITY ? IB_UNKNOWN : (uint64_t)value;
}

static uint64_t limit_soft(__rlimit_resource_t resource)
{
	struct rlimit limit;
	return getrlimit(resource, &limit) == 0 ? limit_value(limit.rlim_cur) : IB_UNKNOWN;
}

uint64_t ib_process_raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
		return IB_UNKNOWN;
	}
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
			limit = raised;
		}
	}
	return limit_value(limit.rlim_cur);
}

static void limits_descriptors(struct ib_limits *out)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		out->descriptors_soft = limit_value(limit.rlim_cur);
		out->descriptors_hard = limit_value(limit.rlim_max);
	}
	struct ib_process_usage usage = {.size = sizeof usage, .abi_version = IB_ABI_VERSION};
	if (ib_process_usage(0, &usage, NULL) == IB_STATUS_OK) {
		out->descriptors_open = usage.descriptors;
	}
	out->descriptors_per_process_max = procfile_number("/proc/sys/fs/nr_open");
	out->files_system_max = procfile_number("/proc/sys/fs/file-max");
	out->files_system_open = procfile_number("/proc/sys/fs/file-nr");
}

static void limits_threads(struct ib_limits *out)
{
	char path[1200];
	bool version_2;
	out->threads_system_max = procfile_number("/proc/sys/kernel/threads-max");
	out->pid_max = procfile_number("/proc/sys/kernel/pid_max");
	out->processes_user_max = limit_soft(RLIMIT_NPROC);
	if (procfile_cgroup_path(path, sizeof path, "pids", "pids.max", &version_2)) {
		out->cgroup_pids_max = procfile_number(path);
	}
	out->map_count_max = procfile_number("/proc/sys/vm/max_map_count");
}

static void limits_network(struct ib_limits *out)
{
	char text[128];
	unsigned long long first, second, third;
	if (procfile_read("/proc/sys/net/ipv4/ip_local_port_range", text, sizeof text) &&
	    sscanf(text, "%llu %llu", &first, &second) == 2) {
		out->port_first = first;
		out->port_last = second;
	}
	out->listen_backlog_max = procfile_number("/proc/sys/net/core/somaxconn");
	if (procfile_read("/proc/sys/net/ipv4/tcp_mem", text, sizeof text) &&
	    sscanf(text, "%llu %llu %llu", &first, &second, &third) == 3) {
		out->tcp_memory_max_bytes = third * (uint64_t)sysconf(_SC_PAGESIZE);
	}
}

/* Version 1 has no word for "no limit": it is the largest number of pages that a counter holds. */
static const uint64_t cgroup_unlimited = UINT64_C(1) << 60;

/* The limit of the group whose folder is `folder`, and what is left of it, where that is less than what *out has. */
static void limits_memory_of_group(const char *folder, bool version_2, struct ib_limits *out)
{
	char path[1300];
	char text[8192];
	snprintf(path, sizeof path, "%s/%s", folder, version_2 ? "memory.max" : "memory.limit_in_bytes");
	uint64_t max = procfile_number(path);
	snprintf(path, sizeof path, "%s/%s", folder, version_2 ? "memory.current" : "memory.usage_in_bytes");
	uint64_t used = procfile_number(path);
	if (max == IB_UNKNOWN || max >= cgroup_unlimited || used == IB_UNKNOWN) {
		return;
	}
	snprintf(path, sizeof path, "%s/memory.stat", folder);
	if (procfile_read(path, text, sizeof text)) {
		uint64_t droppable = procfile_field(text, version_2 ? "inactive_file " : "total_inactive_file ");
		used -= droppable != IB_UNKNOWN && droppable < used ? droppable : 0;
	}
	uint64_t left = max > used ? max - used : 0;
	/* IB_UNKNOWN is the largest number. */
	if (left < out->cgroup_memory_left_bytes) {
		out->cgroup_memory_max_bytes = max;
		out->cgroup_memory_left_bytes = left;
	}
}

/* A group is bound by the limits of all above it too. */
static void limits_cgroup_memory(struct ib_limits *out)
{
	static const char mount[] = "/sys/fs/cgroup";
	char folder[1200];
	bool version_2;
	if (!procfile_cgroup_path(folder, sizeof folder, "memory", "", &version_2)) {
		return;
	}
	for (char *end = folder + strlen(folder); end != NULL && strlen(folder) >= sizeof mount - 1;
	     end = strrchr(folder, '/')) {
		*end = '\0';
		limits_memory_of_group(folder, version_2, out);
	}
}

static void limits_memory(struct ib_limits *out)
{
	limits_cgroup_memory(out);
	char text[8192];
	if (procfile_read("/proc/meminfo", text, sizeof text)) {
		out->memory_total_bytes = procfile_scaled(procfile_field(text, "MemTotal:"), 1024);
		out->memory_available_bytes = procfile_scaled(procfile_field(text, "MemAvailable:"), 1024);
	}
	out->memory_locked_max_bytes = limit_soft(RLIMIT_MEMLOCK);
}

static void limits_machine(struct ib_limits *out)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	out->cpus_online = cpus > 0 ? (uint32_t)cpus : IB_UNKNOWN_32;
	out->clock_resolution_ns = clock_resolution_ns();
	memset(out->clock_source, 0, sizeof out->clock_source);
	if (procfile_read("/sys/devices/system/clocksource/clocksource0/current_clocksource", out->clock_source,
	                  sizeof out->clock_source)) {
		out->clock_source[strcspn(out->clock_source, "\n")] = '\0';
	}
	memset(out->system, 0, sizeof out->system);
	memset(out->compatibility, 0, sizeof out->compatibility);
	struct utsname name;
	if (uname(&name) == 0) {
		snprintf(out->system, sizeof out->system, "%.20s %.80s %.20s", name.sysname, name.release, name.machine);
	}
}

int32_t ib_limits(struct ib_limits *out, struct ib_error *error)
{
	int32_t status = abi_outcome_start(out, sizeof *out, "ib_limits", error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	limits_descriptors(out);
	limits_threads(out);
	limits_network(out);
	limits_memory(out);
	limits_machine(out);
	return IB_STATUS_OK;
}
