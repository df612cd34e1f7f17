/*
 * execution.c - instructions and cycles that threads execute, by the CPU's counters (perf_event_open(2)).
 *
 * A counter belongs to a thread. With `inherit` the kernel also counts the threads and processes that it starts from then on, and a read
 * of the first counter returns the sum of all of them, ended ones included.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "abi.h"
#include "execution.h"
#include "platform/platform.h"
#include "usage.h"

/* Threads that a process may have when it begins to count. Node has about a dozen before a server starts. */
#define FIRST_THREADS_MOST 256u

/*
 * The kernel's interface, as perf_event_open(2) describes it: struct perf_event_attr in its first version. <linux/perf_event.h> is not part
 * of every C compiler's package.
 */
struct counter_attributes {
	uint32_t type;
	uint32_t size;
	uint64_t config;
	uint64_t sample_period;
	uint64_t sample_type;
	uint64_t read_format;
	uint64_t flags;
	uint32_t wakeup_events;
	uint32_t breakpoint_type;
	uint64_t config1;
};
#define TYPE_HARDWARE 0u
#define HARDWARE_CYCLES 0u
#define HARDWARE_INSTRUCTIONS 1u
#define READ_TIME_ENABLED (1u << 0)
#define READ_TIME_RUNNING (1u << 1)
#define FLAG_INHERIT (1u << 1)
#define FLAG_EXCLUDE_KERNEL (1u << 5)
#define OPEN_CLOSE_ON_EXEC (1ul << 3)

/* What read(2) returns with READ_TIME_ENABLED and READ_TIME_RUNNING. */
struct reading {
	uint64_t value;
	uint64_t enabled_ns;
	uint64_t running_ns;
};

/* Returns a descriptor, or -errno. */
static int counter_open(uint64_t event, pid_t thread, uint32_t scope, bool descendants)
{
	struct counter_attributes attributes = {
	    .type = TYPE_HARDWARE,
	    .size = sizeof attributes,
	    .config = event,
	    .read_format = READ_TIME_ENABLED | READ_TIME_RUNNING,
	    .flags = (descendants ? FLAG_INHERIT : 0) | (scope == IB_EXECUTION_USER ? FLAG_EXCLUDE_KERNEL : 0),
	};
	long descriptor = syscall(SYS_perf_event_open, &attributes, thread, -1, -1, OPEN_CLOSE_ON_EXEC);
	return descriptor < 0 ? -errno : (int)descriptor;
}

/* Opens both counters in one scope. Returns 0, or -errno with both closed. */
static int counters_open(struct execution_counter *out, pid_t thread, uint32_t scope, bool descendants)
{
	execution_counter_none(out);
	out->scope = scope;
	out->instructions = counter_open(HARDWARE_INSTRUCTIONS, thread, scope, descendants);
	int code = out->instructions;
	if (code >= 0) {
		out->cycles = code = counter_open(HARDWARE_CYCLES, thread, scope, descendants);
	}
	if (code < 0) {
		execution_counter_close(out);
		return code;
	}
	return 0;
}

/* The widest scope that the system allows: perf_event_paranoid of 2 refuses the kernel's part with EACCES. */
static int counters_open_widest(struct execution_counter *out, pid_t thread, bool descendants)
{
	int code = counters_open(out, thread, IB_EXECUTION_USER_AND_KERNEL, descendants);
	return code == -EACCES || code == -EPERM ? counters_open(out, thread, IB_EXECUTION_USER, descendants) : code;
}

/* IB_UNKNOWN if the counter was not on the CPU all the time, because others wanted it or because a virtual machine only pretends to have it:
 * scaling such a value up would be a guess. */
static uint64_t counter_value(int descriptor)
{
	struct reading reading;
	if (descriptor < 0 || read(descriptor, &reading, sizeof reading) != (ssize_t)sizeof reading ||
	    reading.running_ns != reading.enabled_ns) {
		return IB_UNKNOWN;
	}
	return reading.value;
}

void execution_counter_none(struct execution_counter *out)
{
	out->instructions = -1;
	out->cycles = -1;
	out->scope = IB_UNKNOWN_32;
}

bool execution_counter_open(struct execution_counter *out)
{
	return counters_open_widest(out, 0, false) == 0;
}

void execution_counter_read(const struct execution_counter *counter, struct execution *out)
{
	out->instructions = counter_value(counter->instructions);
	out->cycles = counter_value(counter->cycles);
	out->scope = counter->scope;
}

void execution_counter_close(struct execution_counter *counter)
{
	if (counter->instructions >= 0) {
		close(counter->instructions);
	}
	if (counter->cycles >= 0) {
		close(counter->cycles);
	}
	execution_counter_none(counter);
}

/* ------------------------------------------------------------------------------------------- probe */

/* Why the counters cannot be used, and what helps. */
static void refusal(int code, char *reason, size_t reason_bytes, char *hint, size_t hint_bytes)
{
	hint[0] = '\0';
	if (code == ENOENT || code == ENODEV || code == EOPNOTSUPP) {
		snprintf(reason, reason_bytes, "the CPU has no counters that this system can use, as in most virtual machines");
	} else if (code == EACCES || code == EPERM) {
		snprintf(reason, reason_bytes, "the system does not let this process use the CPU's counters");
		snprintf(hint, hint_bytes, "allow it with 'sudo sysctl -w kernel.perf_event_paranoid=1'");
	} else if (code == ENOSYS) {
		snprintf(reason, reason_bytes, "the kernel has no perf_event_open");
	} else if (code == EMFILE || code == ENFILE) {
		snprintf(reason, reason_bytes, "there are no descriptors left for the CPU's counters");
	} else {
		snprintf(reason, reason_bytes, "the CPU's counters cannot be opened (error %d)", code);
	}
}

/* Whether the counters really count. */
static bool counts(const struct execution_counter *counter)
{
	struct execution before, after;
	execution_counter_read(counter, &before);
	for (volatile int step = 0; step < 10000; step++) {
	}
	execution_counter_read(counter, &after);
	return after.instructions != IB_UNKNOWN && after.cycles != IB_UNKNOWN && after.instructions > before.instructions &&
	       after.cycles > before.cycles;
}

int32_t ib_execution_probe(struct ib_probe *out)
{
	int32_t status = abi_check(out->size, out->abi_version, sizeof *out, "ib_probe", NULL);
	if (status != IB_STATUS_OK) {
		return status;
	}
	abi_probe_start(out, "execution");
	struct execution_counter counter;
	int code = -counters_open_widest(&counter, 0, false);
	if (code != 0) {
		out->os_code = code;
		refusal(code, out->reason, sizeof out->reason, out->hint, sizeof out->hint);
		return IB_STATUS_OK;
	}
	if (counts(&counter)) {
		out->available = 1;
		snprintf(out->features, sizeof out->features, "%s",
		         counter.scope == IB_EXECUTION_USER ? "user" : "user+kernel");
	} else {
		snprintf(out->reason, sizeof out->reason, "the CPU's counters do not count, as in some virtual machines");
	}
	execution_counter_close(&counter);
	return IB_STATUS_OK;
}

/* ------------------------------------------------------------------------------------ this process */

/* One per thread that the process had when it began to count. */
static struct execution_counter first[FIRST_THREADS_MOST];
static uint32_t first_count;
static pthread_mutex_t first_lock = PTHREAD_MUTEX_INITIALIZER;

/* Returns 0 or -errno. */
static int first_add(pid_t thread)
{
	if (first_count == FIRST_THREADS_MOST) {
		return -EMFILE;
	}
	struct execution_counter *counter = &first[first_count];
	/* All in the scope of the first. */
	int code = first_count == 0 ? counters_open_widest(counter, thread, true)
	                            : counters_open(counter, thread, first[0].scope, true);
	if (code == 0) {
		first_count++;
	}
	return code == -ESRCH ? 0 : code; /* the thread has just ended */
}

/* Nothing else runs on the calling thread meanwhile, and the other threads of Node start none of their own. So no thread is missed, and
 * none is both listed and inherited. */
static int first_open(void)
{
	DIR *tasks = opendir("/proc/self/task");
	if (tasks == NULL) {
		return -errno;
	}
	int code = 0;
	for (struct dirent *entry = readdir(tasks); entry != NULL && code == 0; entry = readdir(tasks)) {
		if (entry->d_name[0] != '.') {
			code = first_add((pid_t)strtol(entry->d_name, NULL, 10));
		}
	}
	closedir(tasks);
	while (code != 0 && first_count > 0) {
		execution_counter_close(&first[--first_count]);
	}
	return code;
}

int32_t ib_execution_count(struct ib_error *error)
{
	error_set(error, IB_STATUS_OK, 0, "%s", "");
	pthread_mutex_lock(&first_lock);
	int code = first_count == 0 ? -first_open() : 0;
	pthread_mutex_unlock(&first_lock);
	if (code == 0) {
		return IB_STATUS_OK;
	}
	char reason[160], hint[160];
	refusal(code, reason, sizeof reason, hint, sizeof hint);
	error_set(error, IB_STATUS_UNAVAILABLE, code, "instructions and cycles are not counted: %s", reason);
	error_hint(error, "%s", hint);
	return IB_STATUS_UNAVAILABLE;
}

void execution_of_process(struct execution *out)
{
	out->instructions = IB_UNKNOWN;
	out->cycles = IB_UNKNOWN;
	out->scope = IB_UNKNOWN_32;
	pthread_mutex_lock(&first_lock);
	for (uint32_t index = 0; index < first_count; index++) {
		struct execution part;
		execution_counter_read(&first[index], &part);
		out->instructions = index == 0 ? part.instructions : known_sum(out->instructions, part.instructions);
		out->cycles = index == 0 ? part.cycles : known_sum(out->cycles, part.cycles);
		out->scope = part.scope;
	}
	pthread_mutex_unlock(&first_lock);
}
