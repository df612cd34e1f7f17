/*
 * usage.c - the resource usage of a process and of the whole system. Figures that Windows (or Wine) does not report stay IB_UNKNOWN.
 */
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "platform/platform.h"
#include "windows_system.h"

#include <iphlpapi.h>
#include <psapi.h>
#include <winternl.h>

/* The layout of NtQuerySystemInformation(SystemProcessInformation) since Windows XP. winternl.h names only some of the fields. */
struct system_thread {
	LARGE_INTEGER kernel_time, user_time, create_time;
	ULONG wait_time;
	PVOID start_address;
	HANDLE process_id, thread_id;
	LONG priority, base_priority;
	ULONG context_switches;
	ULONG state, wait_reason;
};
_Static_assert(sizeof(struct system_thread) == 80, "SYSTEM_THREAD_INFORMATION of 64-bit Windows");

struct system_process {
	ULONG next_entry_bytes;
	ULONG thread_count;
	LARGE_INTEGER reserved[3];
	LARGE_INTEGER create_time, user_time, kernel_time;
	UNICODE_STRING image_name;
	LONG base_priority;
	HANDLE process_id, parent_process_id;
	ULONG handle_count;
	ULONG session_id;
	ULONG_PTR unique_key;
	SIZE_T memory[12]; /* VM_COUNTERS and private pages */
	ULONGLONG io[6];   /* IO_COUNTERS */
	struct system_thread threads[];
};
_Static_assert(sizeof(struct system_process) == 256, "SYSTEM_PROCESS_INFORMATION of 64-bit Windows");

typedef LONG(WINAPI *query_system_information)(ULONG class, PVOID out, ULONG length, PULONG needed);
enum { SYSTEM_PROCESS_CLASS = 5 };

/* The table of all processes and threads, or NULL on failure. The caller frees it. */
static void *system_processes(void)
{
	query_system_information query = (query_system_information)ntdll_function("NtQuerySystemInformation");
	ULONG length = 256 * 1024;
	if (query == NULL) {
		return NULL;
	}
	/* The table may grow between the answer "too short" and the next call, so add some room. Attempts are limited. */
	for (int attempt = 0; attempt < 8; attempt++) {
		void *table = malloc(length);
		ULONG needed = 0;
		if (table == NULL) {
			return NULL;
		}
		if (query(SYSTEM_PROCESS_CLASS, table, length, &needed) >= 0) {
			return table;
		}
		free(table);
		length = (needed > length ? needed : length) + 256 * 1024;
	}
	return NULL;
}

static const struct system_process *process_find(const void *table, uint32_t pid)
{
	const char *entry = table;
	for (;;) {
		const struct system_process *process = (const struct system_process *)entry;
		if ((uint32_t)(uintptr_t)process->process_id == pid) {
			return process;
		}
		if (process->next_entry_bytes == 0) {
			return NULL;
		}
		entry += process->next_entry_bytes;
	}
}

static uint64_t known_unless_zero(uint64_t value)
{
	return value != 0 ? value : IB_UNKNOWN;
}

/*
 * Counts the context switches of live threads. Windows drops those of ended threads and does not separate waits from preemptions,
 * so the sum is reported as voluntary switches and the involuntary ones stay unknown. A running thread has been switched to at
 * least once, so a sum of 0 means that nothing was counted (Wine).
 */
static void usage_threads(uint32_t pid, struct ib_process_usage *out)
{
	void *table = system_processes();
	const struct system_process *process = table == NULL ? NULL : process_find(table, pid);
	if (process != NULL) {
		uint64_t switches = 0;
		for (ULONG thread = 0; thread < process->thread_count; thread++) {
			switches += process->threads[thread].context_switches;
		}
		out->threads = process->thread_count;
		/* Wine reports the size of its handle table here, a power of two, and 0 in GetProcessHandleCount(). */
		if (wine_version() == NULL) {
			out->descriptors = process->handle_count;
		}
		if (switches != 0) {
			out->voluntary_switches = switches;
		}
	}
	free(table);
}

static void usage_memory(HANDLE process, struct ib_process_usage *out)
{
	PROCESS_MEMORY_COUNTERS memory = {.cb = sizeof memory};
	if (!GetProcessMemoryInfo(process, &memory, sizeof memory)) {
		return;
	}
	out->resident_bytes = known_unless_zero(memory.WorkingSetSize);
	out->resident_peak_bytes = known_unless_zero(memory.PeakWorkingSetSize);
	/* Every process with a thread or a handle uses some of it, so 0 means that Wine does not know. */
	out->nonpaged_pool_bytes = known_unless_zero(memory.QuotaNonPagedPoolUsage);
}

int32_t ib_process_usage(uint32_t pid, struct ib_process_usage *out, struct ib_error *error)
{
	int32_t status = abi_outcome_start(out, sizeof *out, "ib_process_usage", error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	uint32_t id = pid != 0 ? pid : GetCurrentProcessId();
	HANDLE process = pid == 0 ? GetCurrentProcess() : OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
	DWORD exit_code = STILL_ACTIVE;
	if (process == NULL || (GetExitCodeProcess(process, &exit_code) && exit_code != STILL_ACTIVE)) {
		int code = process == NULL ? (int)GetLastError() : ERROR_INVALID_PARAMETER;
		if (process != NULL) {
			CloseHandle(process);
		}
		if (code == ERROR_ACCESS_DENIED) {
			return error_set(error, IB_STATUS_PERMISSION, code, "not allowed to inspect process %u", pid);
		}
		return error_set(error, IB_STATUS_OS, code, "there is no process %u", pid);
	}
	out->taken_at_ns = clock_now_ns();
	FILETIME created, ended, kernel, user;
	if (GetProcessTimes(process, &created, &ended, &kernel, &user)) {
		out->cpu_user_ns = filetime_ns(user);
		out->cpu_system_ns = filetime_ns(kernel);
		out->cpu_total_ns = out->cpu_user_ns + out->cpu_system_ns;
	}
	usage_memory(process, out);
	usage_threads(id, out);
	if (pid != 0) {
		CloseHandle(process);
	}
	return IB_STATUS_OK;
}

int32_t ib_process_set_affinity(const uint32_t *cpus, uint32_t count, struct ib_error *error)
{
	if (count < 1 || count > 1024) {
		return error_set(error, IB_STATUS_USAGE, 0, "%u CPUs were given, but 1 to 1024 are allowed", count);
	}
	DWORD_PTR mask = 0;
	for (uint32_t index = 0; index < count; index++) {
		if (cpus[index] >= 64) {
			return error_set(error, IB_STATUS_USAGE, 0, "CPU %u is above 63, the last of a processor group",
			                 cpus[index]);
		}
		mask |= (DWORD_PTR)1 << cpus[index];
	}
	if (!SetProcessAffinityMask(GetCurrentProcess(), mask)) {
		int code = (int)GetLastError();
		if (code == ERROR_INVALID_PARAMETER) {
			return error_set(error, IB_STATUS_USAGE, code, "some of these CPUs may not be used by this process");
		}
		return error_set(error, IB_STATUS_OS, code, "the CPUs could not be set: %s", error_text(code));
	}
	return IB_STATUS_OK;
}

int32_t ib_thread_set_affinity(const uint32_t *cpus, uint32_t count, struct ib_error *error)
{
	(void)cpus;
	(void)count;
	return error_set(error, IB_STATUS_UNAVAILABLE, 0, "on Windows a thread stays on the CPUs of its process");
}

uint32_t ib_process_get_affinity(uint32_t *cpus, uint32_t capacity)
{
	DWORD_PTR process = 0, system = 0;
	if (!GetProcessAffinityMask(GetCurrentProcess(), &process, &system)) {
		return 0;
	}
	/* A process that spans groups has the mask 0. A mask can name only the CPUs of the first group. */
	DWORD_PTR mask = process != 0 ? process : system;
	uint32_t count = 0;
	for (uint32_t cpu = 0; cpu < 64; cpu++) {
		if ((mask >> cpu & 1) == 0) {
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
	FILETIME idle, kernel, user;
	if (!GetSystemTimes(&idle, &kernel, &user)) {
		return;
	}
	/* The kernel's time includes the idle time. */
	out->cpu_idle_ns = filetime_ns(idle);
	out->cpu_busy_ns = filetime_ns(kernel) + filetime_ns(user) - filetime_ns(idle);
}

/* The table of listening sockets of an address family with their processes, or NULL. The caller frees it. */
static void *listeners_table(ULONG family)
{
	ULONG length = 16 * 1024;
	for (int attempt = 0; attempt < 8; attempt++) {
		void *table = malloc(length);
		if (table == NULL) {
			return NULL;
		}
		DWORD code = GetExtendedTcpTable(table, &length, FALSE, family, TCP_TABLE_OWNER_PID_LISTENER, 0);
		if (code == NO_ERROR) {
			return table;
		}
		free(table);
		if (code != ERROR_INSUFFICIENT_BUFFER) {
			return NULL;
		}
		/* Room for sockets that come between the two calls. */
		length += 4096;
	}
	return NULL;
}

/* Ports stand in the table in network order, in the lower 16 bits. Process 0 serves nothing: Wine writes it for an unknown owner. */
static void owner_add(DWORD row_port, DWORD row_pid, uint32_t port, uint32_t *pids, uint32_t capacity, uint32_t *count)
{
	if (ntohs((u_short)row_port) != port || row_pid == 0) {
		return;
	}
	if (*count < capacity) {
		pids[*count] = row_pid;
	}
	++*count;
}

uint32_t ib_port_owners(uint32_t port, uint32_t *pids, uint32_t capacity)
{
	uint32_t count = 0;
	MIB_TCPTABLE_OWNER_PID *ipv4 = listeners_table(AF_INET);
	for (DWORD row = 0; ipv4 != NULL && row < ipv4->dwNumEntries; row++) {
		owner_add(ipv4->table[row].dwLocalPort, ipv4->table[row].dwOwningPid, port, pids, capacity, &count);
	}
	free(ipv4);
	MIB_TCP6TABLE_OWNER_PID *ipv6 = listeners_table(AF_INET6);
	for (DWORD row = 0; ipv6 != NULL && row < ipv6->dwNumEntries; row++) {
		owner_add(ipv6->table[row].dwLocalPort, ipv6->table[row].dwOwningPid, port, pids, capacity, &count);
	}
	free(ipv6);
	return count;
}

/* The number of IPv4 sockets in TIME_WAIT. */
static uint64_t time_wait_count(void)
{
	ULONG length = 0;
	uint64_t count = IB_UNKNOWN;
	for (int attempt = 0; attempt < 4; attempt++) {
		/* Room for connections that come between the two calls. */
		MIB_TCPTABLE *table = malloc(length + 4096);
		ULONG capacity = length + 4096;
		if (table == NULL) {
			break;
		}
		DWORD code = GetTcpTable(table, &capacity, FALSE);
		if (code == NO_ERROR) {
			count = 0;
			for (DWORD row = 0; row < table->dwNumEntries; row++) {
				count += table->table[row].dwState == MIB_TCP_STATE_TIME_WAIT;
			}
		}
		free(table);
		if (code != ERROR_INSUFFICIENT_BUFFER) {
			break;
		}
		length = capacity;
	}
	return count;
}

static void sample_sockets(struct ib_system_sample *out)
{
	MIB_TCPSTATS ipv4, ipv6;
	if (GetTcpStatisticsEx(&ipv4, AF_INET) == NO_ERROR) {
		out->tcp_sockets = ipv4.dwCurrEstab;
		out->tcp_retransmits = ipv4.dwRetransSegs;
		if (GetTcpStatisticsEx(&ipv6, AF_INET6) == NO_ERROR) {
			out->tcp_sockets += ipv6.dwCurrEstab;
			out->tcp_retransmits += ipv6.dwRetransSegs;
		}
	}
	out->time_wait_sockets = time_wait_count();
}

static void sample_memory(struct ib_system_sample *out)
{
	MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
	if (GlobalMemoryStatusEx(&memory)) {
		out->memory_available_bytes = memory.ullAvailPhys;
	}
	/* Windows keeps its sockets in the kernel's non-paged pool, the counterpart of slab memory on Linux. */
	PERFORMANCE_INFORMATION performance = {.cb = sizeof performance};
	if (GetPerformanceInfo(&performance, sizeof performance)) {
		out->slab_bytes = known_unless_zero((uint64_t)performance.KernelNonpaged * performance.PageSize);
	}
}

int32_t ib_process_run_delay(struct ib_run_delay *out, struct ib_error *error)
{
	int32_t status = abi_outcome_start(out, sizeof *out, "ib_run_delay", error);
	if (status == IB_STATUS_OK) {
		out->threads = 0;
		out->thread_ids = 0;
	}
	return status;
}

int32_t ib_system_sample(struct ib_system_sample *out, struct ib_error *error)
{
	int32_t status = abi_outcome_start(out, sizeof *out, "ib_system_sample", error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	out->taken_at_ns = clock_now_ns();
	sample_cpu(out);
	sample_sockets(out);
	sample_memory(out);
	return IB_STATUS_OK;
}
