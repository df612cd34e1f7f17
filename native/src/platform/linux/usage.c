/*
 * usage.c - the resource usage of a process and of the whole system.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "abi.h"
#include "execution.h"
#include "platform/platform.h"
#include "procfile.h"
#include "system_time.h"
#include "usage.h"

static uint64_t clock_value_ns(clockid_t clock)
{
	struct timespec value;
	if (clock_gettime(clock, &value) != 0) {
		return IB_UNKNOWN;
	}
	return timespec_ns(value);
}

static uint64_t ticks_ns(uint64_t ticks)
{
	long per_second = sysconf(_SC_CLK_TCK);
	return procfile_scaled(ticks, NS_PER_S / (per_second > 0 ? (uint64_t)per_second : 100u));
}

/* The number of open descriptors, from the folder that lists them. */
static uint64_t descriptors_open(const char *folder)
{
	/* Since Linux 6.2 the size of the folder is the number of open descriptors, so we need not walk 15,000 entries. */
	struct stat status;
	if (stat(folder, &status) == 0 && status.st_size > 0) {
		return (uint64_t)status.st_size;
	}
	DIR *directory = opendir(folder);
	if (directory == NULL) {
		return IB_UNKNOWN;
	}
	uint64_t count = 0;
	for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
		if (entry->d_name[0] != '.') {
			count++;
		}
	}
	closedir(directory);
	return count;
}

/* Reads /proc/PID/stat from the program's name on, which may contain spaces and brackets. utime is the 14th field. */
static void usage_ticks(const char *stat_text, struct ib_process_usage *out)
{
	const char *rest = strrchr(stat_text, ')');
	unsigned long long user, system;
	if (rest == NULL) {
		return;
	}
	if (sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) == 2) {
		out->cpu_user_ns = ticks_ns(user);
		out->cpu_system_ns = ticks_ns(system);
	}
}

/*
 * All figures come from one call. The kernel scales user and system time to the exact sum of its run times, to 1 us. A second clock
 * would be read later, by up to a tenth of a second in a process with thousands of ready threads.
 */
static void usage_own_cpu(struct ib_process_usage *out)
{
	struct rusage usage;
	if (getrusage(RUSAGE_SELF, &usage) != 0) {
		return;
	}
	out->cpu_user_ns = timeval_ns(usage.ru_utime);
	out->cpu_system_ns = timeval_ns(usage.ru_stime);
	out->cpu_total_ns = out->cpu_user_ns + out->cpu_system_ns;
	out->voluntary_switches = (uint64_t)usage.ru_nvcsw;
	out->involuntary_switches = (uint64_t)usage.ru_nivcsw;
}

static void usage_own_execution(struct ib_process_usage *out)
{
	struct execution execution;
	execution_of_process(&execution);
	out->instructions = execution.instructions;
	out->cycles = execution.cycles;
	out->execution_scope = execution.scope;
}

/* For another process /proc shows the context switches of only its first thread, so we leave them unknown. */
static void usage_other_cpu(uint32_t pid, const char *folder, struct ib_process_usage *out)
{
	char path[64];
	char text[1024];
	clockid_t clock;
	snprintf(path, sizeof path, "%s/stat", folder);
	if (procfile_read(path, text, sizeof text)) {
		usage_ticks(text, out);
	}
	if (clock_getcpuclockid((pid_t)pid, &clock) == 0) {
		out->cpu_total_ns = clock_value_ns(clock);
	}
	if (out->cpu_total_ns == IB_UNKNOWN && out->cpu_user_ns != IB_UNKNOWN) {
		out->cpu_total_ns = out->cpu_user_ns + out->cpu_system_ns;
	}
}

int32_t ib_process_usage(uint32_t pid, struct ib_process_usage *out, struct ib_error *error)
{
	int32_t status = abi_outcome_start(out, sizeof *out, "ib_process_usage", error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	char folder[32] = "/proc/self";
	if (pid != 0) {
		snprintf(folder, sizeof folder, "/proc/%u", pid);
	}
	char path[64];
	char text[4096];
	snprintf(path, sizeof path, "%s/status", folder);
	if (!procfile_read(path, text, sizeof text)) {
		if (pid != 0) {
			return error_set(error, IB_STATUS_OS, ESRCH, "there is no process %u", pid);
		}
		/* This process exists, so it must have run out of descriptors. Its CPU time and switches need none. The other figures stay
		 * unknown. A server at its limit must still be able to report its figures. */
		text[0] = '\0';
	}

	/* Counting tens of thousands of descriptors takes long, so it comes first. CPU and time are read last, close to each other and to
	 * the counters that the caller reads next. */
	snprintf(path, sizeof path, "%s/fd", folder);
	out->descriptors = descriptors_open(path);
	out->taken_at_ns = clock_now_ns();
	if (pid == 0) {
		usage_own_cpu(out);
		usage_own_execution(out);
	} else {
		usage_other_cpu(pid, folder, out);
	}
	out->resident_bytes = procfile_scaled(procfile_field(text, "VmRSS:"), 1024);
	out->resident_peak_bytes = procfile_scaled(procfile_field(text, "VmHWM:"), 1024);
	out->page_table_bytes = procfile_scaled(procfile_field(text, "VmPTE:"), 1024);
	out->threads = procfile_field(text, "Threads:");
	return IB_STATUS_OK;
}

struct ib_process_usage usage_none(void)
{
	struct ib_process_usage usage;
	memset(&usage, 0, sizeof usage);
	usage.size = sizeof usage;
	usage.abi_version = IB_ABI_VERSION;
	usage.resident_peak_bytes = IB_UNKNOWN;
	usage.nonpaged_pool_bytes = IB_UNKNOWN;
	usage.descriptors = IB_UNKNOWN;
	usage.instructions = IB_UNKNOWN;
	usage.cycles = IB_UNKNOWN;
	usage.execution_scope = IB_UNKNOWN_32;
	return usage;
}

uint64_t known_sum(uint64_t a, uint64_t b)
{
	return a == IB_UNKNOWN || b == IB_UNKNOWN ? IB_UNKNOWN : a + b;
}

void usage_add(struct ib_process_usage *sum, const struct ib_process_usage *part)
{
	sum->cpu_user_ns = known_sum(sum->cpu_user_ns, part->cpu_user_ns);
	sum->cpu_system_ns = known_sum(sum->cpu_system_ns, part->cpu_system_ns);
	sum->cpu_total_ns = known_sum(sum->cpu_total_ns, part->cpu_total_ns);
	sum->voluntary_switches = known_sum(sum->voluntary_switches, part->voluntary_switches);
	sum->involuntary_switches = known_sum(sum->involuntary_switches, part->involuntary_switches);
	sum->resident_bytes = known_sum(sum->resident_bytes, part->resident_bytes);
	sum->page_table_bytes = known_sum(sum->page_table_bytes, part->page_table_bytes);
	sum->threads = known_sum(sum->threads, part->threads);
}

static uint64_t proportional_bytes(const char *folder)
{
	char path[64];
	char text[2048];
	snprintf(path, sizeof path, "%s/smaps_rollup", folder);
	/* The first line names the range of addresses; procfile_field() looks at the start of every line. */
	return procfile_read(path, text, sizeof text) ? procfile_scaled(procfile_field(text, "Pss:"), 1024) : IB_UNKNOWN;
}

int32_t usage_of_self(bool memory, struct ib_process_usage *out, struct ib_error *error)
{
	int32_t status = ib_process_usage(0, out, error);
	if (status == IB_STATUS_OK) {
		out->resident_bytes = memory ? proportional_bytes("/proc/self") : IB_UNKNOWN;
		out->resident_peak_bytes = IB_UNKNOWN;
		out->descriptors = IB_UNKNOWN;
	}
	return status;
}

bool usage_of_single_thread(uint32_t pid, bool memory, struct ib_process_usage *out)
{
	char folder[32];
	char path[64];
	char text[4096];
	*out = usage_none();
	out->cpu_user_ns = IB_UNKNOWN;
	out->cpu_system_ns = IB_UNKNOWN;
	snprintf(folder, sizeof folder, "/proc/%u", pid);
	snprintf(path, sizeof path, "%s/status", folder);
	if (!procfile_read(path, text, sizeof text)) {
		return false;
	}
	out->voluntary_switches = procfile_field(text, "voluntary_ctxt_switches:");
	out->involuntary_switches = procfile_field(text, "nonvoluntary_ctxt_switches:");
	clockid_t clock;
	out->cpu_total_ns = clock_getcpuclockid((pid_t)pid, &clock) == 0 ? clock_value_ns(clock) : IB_UNKNOWN;
	/* A zombie has no memory any more, and no such line. */
	uint64_t page_tables = procfile_scaled(procfile_field(text, "VmPTE:"), 1024);
	bool ended = page_tables == IB_UNKNOWN;
	out->page_table_bytes = ended ? 0 : page_tables;
	out->threads = ended ? 0 : 1;
	out->resident_bytes = !memory ? IB_UNKNOWN : ended ? 0 : proportional_bytes(folder);
	return out->cpu_total_ns != IB_UNKNOWN;
}

uint32_t ib_port_owners(uint32_t port, uint32_t *pids, uint32_t capacity)
{
	(void)port;
	(void)pids;
	(void)capacity;
	return 0;
}

/* Binds every thread in /proc/self/task and counts them in *bound. Returns 0 or errno. */
static int affinity_set_all(const cpu_set_t *cpus, uint64_t *bound)
{
	DIR *tasks = opendir("/proc/self/task");
	if (tasks == NULL) {
		return errno;
	}
	int code = 0;
	*bound = 0;
	for (struct dirent *entry = readdir(tasks); entry != NULL && code == 0; entry = readdir(tasks)) {
		if (entry->d_name[0] == '.') {
			continue;
		}
		pid_t task = (pid_t)strtol(entry->d_name, NULL, 10);
		if (sched_setaffinity(task, sizeof *cpus, cpus) == 0) {
			++*bound;
		} else if (errno != ESRCH) { /* the thread has just ended */
			code = errno;
		}
	}
	closedir(tasks);
	return code;
}

static int32_t affinity_parse(const uint32_t *cpus, uint32_t count, cpu_set_t *set, struct ib_error *error)
{
	if (count < 1 || count > 1024) {
		return error_set(error, IB_STATUS_USAGE, 0, "%u CPUs were given, but 1 to 1024 are allowed", count);
	}
	CPU_ZERO(set);
	for (uint32_t index = 0; index < count; index++) {
		if (cpus[index] >= CPU_SETSIZE) {
			return error_set(error, IB_STATUS_USAGE, 0, "CPU %u is above %d", cpus[index], CPU_SETSIZE - 1);
		}
		CPU_SET(cpus[index], set);
	}
	return IB_STATUS_OK;
}

static int32_t affinity_failed(int code, const char *whose, struct ib_error *error)
{
	if (code != EINVAL) {
		return error_set(error, IB_STATUS_OS, code, "the CPUs could not be set: %s", error_text(code));
	}
	error_set(error, IB_STATUS_USAGE, code, "none of these CPUs may be used by this %s", whose);
	error_hint(error, "'taskset -p $$' shows the CPUs that may be used");
	return IB_STATUS_USAGE;
}

int32_t ib_thread_set_affinity(const uint32_t *cpus, uint32_t count, struct ib_error *error)
{
	cpu_set_t set;
	int32_t status = affinity_parse(cpus, count, &set, error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	return sched_setaffinity(0, sizeof set, &set) == 0 ? IB_STATUS_OK : affinity_failed(errno, "thread", error);
}

int32_t ib_process_set_affinity(const uint32_t *cpus, uint32_t count, struct ib_error *error)
{
	cpu_set_t set;
	int32_t status = affinity_parse(cpus, count, &set, error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	/* A thread that an unbound thread starts meanwhile inherits the old mask. So there are at least two passes, and more while the
	 * number of threads still changes. */
	uint64_t before = 0, bound = 0;
	for (int pass = 0; pass < 8; pass++) {
		int code = affinity_set_all(&set, &bound);
		if (code != 0) {
			return affinity_failed(code, "process", error);
		}
		if (pass > 0 && bound == before) {
			break;
		}
		before = bound;
	}
	return IB_STATUS_OK;
}

uint32_t ib_process_get_affinity(uint32_t *cpus, uint32_t capacity)
{
	cpu_set_t set;
	if (sched_getaffinity(getpid(), sizeof set, &set) != 0) {
		return 0;
	}
	uint32_t count = 0;
	for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &set)) {
			continue;
		}
		if (count < capacity) {
			cpus[count] = cpu;
		}
		count++;
	}
	return count;
}

static void sample_cpu(struct ib_system_sample *out)
{
	char text[512];
	unsigned long long user, nice, system, idle, iowait, irq, softirq, steal;
	if (!procfile_read("/proc/stat", text, sizeof text) ||
	    sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq,
	           &softirq, &steal) != 8) {
		return;
	}
	/* user and nice already include the time of guests. */
	out->cpu_busy_ns = ticks_ns(user + nice + system + irq + softirq);
	out->cpu_idle_ns = ticks_ns(idle + iowait);
	out->cpu_steal_ns = ticks_ns(steal);
}

/*
 * If a CPU has more packets than it may handle at once (net.core.netdev_budget packets or 2 ms: kernel/softirq.c, net/core/dev.c), it
 * leaves the rest to a kernel thread of that CPU. With 6000 connections and a thread for each, this thread takes a tenth of the client's
 * CPU on loopback. The threads exist as long as the system runs, so we search for them once.
 */
static struct {
	pthread_once_t once;
	clockid_t *clocks;
	size_t count;
} network_threads = {.once = PTHREAD_ONCE_INIT};

static bool is_network_thread(const char *process)
{
	char path[300];
	char text[512];
	char name[16];
	unsigned parent;
	snprintf(path, sizeof path, "/proc/%s/stat", process);
	/* Any process can have such a name, but only kernel threads are children of kthreadd, process 2. */
	return procfile_read(path, text, sizeof text) && sscanf(text, "%*d (%15[^/]/%*u) %*c %u", name, &parent) == 2 &&
	       parent == 2 && (strcmp(name, "ksoftirqd") == 0 || strcmp(name, "backlog_napi") == 0);
}

static void network_threads_find(void)
{
	DIR *directory = opendir("/proc");
	if (directory == NULL) {
		return;
	}
	for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
		clockid_t clock;
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !is_network_thread(entry->d_name) ||
		    clock_getcpuclockid((pid_t)strtol(entry->d_name, NULL, 10), &clock) != 0) {
			continue;
		}
		clockid_t *clocks = realloc(network_threads.clocks, (network_threads.count + 1) * sizeof *clocks);
		if (clocks == NULL) {
			break;
		}
		network_threads.clocks = clocks;
		network_threads.clocks[network_threads.count++] = clock;
	}
	closedir(directory);
}

static void sample_network_threads(struct ib_system_sample *out)
{
	pthread_once(&network_threads.once, network_threads_find);
	if (network_threads.count == 0) {
		return;
	}
	out->cpu_network_threads_ns = 0;
	for (size_t index = 0; index < network_threads.count; index++) {
		uint64_t value = clock_value_ns(network_threads.clocks[index]);
		/* Unknown for the thread of a CPU that went offline. Its time is not part of the difference of two samples. */
		out->cpu_network_threads_ns += value != IB_UNKNOWN ? value : 0;
	}
}

static void sample_sockets(struct ib_system_sample *out)
{
	char text[16384];
	if (procfile_read("/proc/net/sockstat", text, sizeof text)) {
		unsigned long long in_use, orphans, time_wait, allocated, pages;
		const char *line = strstr(text, "TCP: ");
		if (line != NULL && sscanf(line, "TCP: inuse %llu orphan %llu tw %llu alloc %llu mem %llu", &in_use, &orphans,
		                           &time_wait, &allocated, &pages) == 5) {
			long page = sysconf(_SC_PAGESIZE);
			out->tcp_sockets = in_use;
			out->time_wait_sockets = time_wait;
			out->tcp_memory_bytes = pages * (page > 0 ? (uint64_t)page : 4096u);
		}
	}
	if (out->tcp_sockets != IB_UNKNOWN && procfile_read("/proc/net/sockstat6", text, sizeof text)) {
		uint64_t in_use = procfile_field(text, "TCP6: inuse");
		out->tcp_sockets += in_use == IB_UNKNOWN ? 0 : in_use;
	}
	if (procfile_read("/proc/net/netstat", text, sizeof text)) {
		out->listen_overflows = procfile_named_column(text, "TcpExt:", "ListenOverflows");
		out->listen_drops = procfile_named_column(text, "TcpExt:", "ListenDrops");
	}
	if (procfile_read("/proc/net/snmp", text, sizeof text)) {
		out->tcp_retransmits = procfile_named_column(text, "Tcp:", "RetransSegs");
	}
}

static void sample_memory(struct ib_system_sample *out)
{
	char text[8192];
	if (!procfile_read("/proc/meminfo", text, sizeof text)) {
		return;
	}
	out->slab_bytes = procfile_scaled(procfile_field(text, "Slab:"), 1024);
	out->kernel_stack_bytes = procfile_scaled(procfile_field(text, "KernelStack:"), 1024);
	out->page_table_bytes = procfile_scaled(procfile_field(text, "PageTables:"), 1024);
	out->memory_available_bytes = procfile_scaled(procfile_field(text, "MemAvailable:"), 1024);
}

static void sample_throttling(struct ib_system_sample *out)
{
	char path[1200];
	char text[2048];
	bool version_2;
	if (!procfile_cgroup_path(path, sizeof path, "cpu", "cpu.stat", &version_2) ||
	    !procfile_read(path, text, sizeof text)) {
		return;
	}
	if (version_2) {
		out->throttled_ns = procfile_scaled(procfile_field(text, "throttled_usec "), 1000);
	} else {
		out->throttled_ns = procfile_field(text, "throttled_time ");
	}
}

int32_t ib_system_sample(struct ib_system_sample *out, struct ib_error *error)
{
	int32_t status = abi_outcome_start(out, sizeof *out, "ib_system_sample", error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	out->taken_at_ns = clock_now_ns();
	sample_cpu(out);
	sample_network_threads(out);
	sample_sockets(out);
	sample_memory(out);
	sample_throttling(out);
	return IB_STATUS_OK;
}
