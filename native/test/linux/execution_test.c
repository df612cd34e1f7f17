/*
 * execution_test.c - instructions and cycles. Few test machines have a CPU whose counters a process may use, so the linker replaces syscall
 * with __wrap_syscall, which opens the kernel's own counter of CPU time (PERF_COUNT_SW_TASK_CLOCK, in ns) instead. What is counted of
 * which thread can then be compared with its CPU time.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "load_harness.h"
#include "wrapped_syscall.h"

#define TYPE_SOFTWARE 1u
#define SOFTWARE_TASK_CLOCK 1u
#define FLAG_EXCLUDE_KERNEL (1ull << 5)
#define BURN_NS (60 * NS_PER_MS)
/*
 * The counter as a share of the CPU time. A counter begins and ends a little apart from the clock it is compared with, and it includes
 * interrupts and what a hypervisor took, which the CPU time leaves out. What is counted twice is twice as much.
 */
#define SHARE_LEAST 0.95
#define SHARE_MOST 1.8
/* The CPU time of a thread that runs is up to a tick of the scheduler old. */
#define TICK_NS (10 * NS_PER_MS)

/* The first version of struct perf_event_attr, as far as this test looks. */
struct attributes {
	uint32_t type;
	uint32_t size;
	uint64_t config;
	uint64_t unused[3];
	uint64_t flags;
};

static int refused_with_kernel; /* errno; 0: opens */
static int refused_in_user;
static int refused_from; /* the counter that is refused first: 0 or 1 */
static int opened;
static bool takes_turns; /* the CPU was not always counting */
static bool stands_still;

ssize_t __real_read(int descriptor, void *bytes, size_t length);
ssize_t __wrap_read(int descriptor, void *bytes, size_t length);

static long syscall_wrapped(long number, long arguments[6])
{
	if (number == SYS_perf_event_open) {
		struct attributes *attributes = (struct attributes *)arguments[0]; /* NOLINT(performance-no-int-to-ptr) */
		CHECK_EQUAL(attributes->type, 0);
		CHECK_EQUAL(attributes->config, opened % 2 == 0 ? 1 : 0); /* instructions, then cycles */
		int code = (attributes->flags & FLAG_EXCLUDE_KERNEL) != 0 ? refused_in_user : refused_with_kernel;
		if (code != 0 && opened % 2 == refused_from) {
			opened = 0;
			errno = code;
			return -1;
		}
		opened++;
		attributes->type = TYPE_SOFTWARE;
		attributes->config = SOFTWARE_TASK_CLOCK;
		attributes->flags |= FLAG_EXCLUDE_KERNEL; /* ignored by this counter; without it a user may be refused */
	}
	return syscall_passed_on(number, arguments);
}

ssize_t __wrap_read(int descriptor, void *bytes, size_t length)
{
	ssize_t got = __real_read(descriptor, bytes, length);
	uint64_t *reading = bytes;
	if (got == 3 * sizeof *reading && takes_turns) {
		reading[2]--;
	}
	if (got == 3 * sizeof *reading && stands_still) {
		reading[0] = 0;
	}
	return got;
}

static uint64_t clock_of_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void burn(uint64_t duration_ns)
{
	uint64_t end_ns = clock_of_ns(CLOCK_THREAD_CPUTIME_ID) + duration_ns;
	while (clock_of_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns) {
	}
}

static bool is_close(uint64_t counted, uint64_t cpu_ns)
{
	double share = (double)(counted + TICK_NS) / (double)cpu_ns;
	if (share < SHARE_LEAST || share > SHARE_MOST) {
		(void)fprintf(stderr, "counted %llu, CPU time %llu ns\n", (unsigned long long)counted,
		              (unsigned long long)cpu_ns);
	}
	return share >= SHARE_LEAST && share <= SHARE_MOST;
}

static struct ib_process_usage usage_now(void)
{
	struct ib_process_usage usage = {.size = sizeof usage, .abi_version = IB_ABI_VERSION};
	CHECK_EQUAL(ib_process_usage(0, &usage, NULL), IB_STATUS_OK);
	return usage;
}

static struct ib_probe probe_now(void)
{
	struct ib_probe probe = {.size = sizeof probe, .abi_version = IB_ABI_VERSION};
	CHECK_EQUAL(ib_execution_probe(&probe), IB_STATUS_OK);
	return probe;
}

static void refuse(int with_kernel, int in_user, int from)
{
	refused_with_kernel = with_kernel;
	refused_in_user = in_user;
	refused_from = from;
	opened = 0;
}

static void test_refused(void)
{
	static const struct {
		int code;
		const char *says, *hints;
	} cases[] = {
	    {ENOENT, "the CPU has no counters that this system can use", ""},
	    {EACCES, "the system does not let this process use the CPU's counters", "kernel.perf_event_paranoid"},
	    {EPERM, "the system does not let this process use the CPU's counters", "kernel.perf_event_paranoid"},
	    {ENOSYS, "the kernel has no perf_event_open", ""},
	    {EMFILE, "there are no descriptors left for the CPU's counters", ""},
	    {EINVAL, "the CPU's counters cannot be opened (error 22)", ""},
	};
	uint64_t descriptors = usage_now().descriptors;
	for (size_t index = 0; index < sizeof cases / sizeof cases[0]; index++) {
		for (int from = 0; from < 2; from++) {
			struct ib_error error;
			refuse(cases[index].code, cases[index].code, from);
			struct ib_probe probe = probe_now();
			CHECK_EQUAL(probe.available, 0);
			CHECK_EQUAL(probe.os_code, cases[index].code);
			CHECK(strstr(probe.reason, cases[index].says) != NULL);
			CHECK(cases[index].hints[0] == '\0' ? probe.hint[0] == '\0'
			                                    : strstr(probe.hint, cases[index].hints) != NULL);
			opened = 0;
			CHECK_EQUAL(ib_execution_count(&error), IB_STATUS_UNAVAILABLE);
			CHECK(strstr(error.message, "instructions and cycles are not counted: ") == error.message);
			CHECK(strstr(error.message, cases[index].says) != NULL);
			struct ib_process_usage usage = usage_now();
			CHECK_EQUAL(usage.instructions, IB_UNKNOWN);
			CHECK_EQUAL(usage.cycles, IB_UNKNOWN);
			CHECK_EQUAL(usage.execution_scope, IB_UNKNOWN_32);
			CHECK_EQUAL(usage.descriptors, descriptors);
		}
	}
}

static void test_probe(void)
{
	refuse(0, 0, 0);
	struct ib_probe probe = probe_now();
	CHECK_EQUAL(probe.available, 1);
	CHECK(strcmp(probe.features, "user+kernel") == 0);
	CHECK(probe.reason[0] == '\0');
	refuse(EACCES, 0, 0);
	probe = probe_now();
	CHECK_EQUAL(probe.available, 1);
	CHECK(strcmp(probe.features, "user") == 0);
	/* A virtual machine that pretends to have counters. */
	refuse(0, 0, 0);
	stands_still = true;
	probe = probe_now();
	CHECK_EQUAL(probe.available, 0);
	CHECK(strstr(probe.reason, "do not count") != NULL);
	stands_still = false;
}

static void *burn_once(void *unused)
{
	(void)unused;
	burn(BURN_NS);
	return NULL;
}

static void *burn_twice(void *unused)
{
	pthread_t thread;
	(void)unused;
	CHECK(pthread_create(&thread, NULL, burn_once, NULL) == 0);
	burn(BURN_NS);
	CHECK(pthread_join(thread, NULL) == 0);
	return NULL;
}

/* A thread that lived when the count began, and burns when it is told to. */
static struct mutex older_lock;
static struct condition older_told;
static int older_round;
static int older_done;

static void *burn_when_told(void *unused)
{
	(void)unused;
	mutex_lock(&older_lock);
	while (older_round == 0) {
		condition_wait(&older_told, &older_lock, NS_PER_S);
	}
	mutex_unlock(&older_lock);
	burn(BURN_NS);
	mutex_lock(&older_lock);
	older_done = 1;
	condition_broadcast(&older_told);
	while (older_round == 1) {
		condition_wait(&older_told, &older_lock, NS_PER_S);
	}
	mutex_unlock(&older_lock);
	return NULL;
}

static void older_tell(int round)
{
	mutex_lock(&older_lock);
	older_round = round;
	condition_broadcast(&older_told);
	while (round == 1 && older_done == 0) {
		condition_wait(&older_told, &older_lock, NS_PER_S);
	}
	mutex_unlock(&older_lock);
}

/* Older and newer threads, living and ended ones, threads of threads, and a process. */
static void test_whole_process(void)
{
	struct ib_error error;
	pthread_t older, newer;
	mutex_init(&older_lock);
	condition_init(&older_told);
	CHECK(pthread_create(&older, NULL, burn_when_told, NULL) == 0);
	refuse(EACCES, 0, 0);
	CHECK_EQUAL(ib_execution_count(&error), IB_STATUS_OK);
	CHECK_EQUAL(ib_execution_count(&error), IB_STATUS_OK);
	uint64_t before_ns = clock_of_ns(CLOCK_PROCESS_CPUTIME_ID);
	struct ib_process_usage before = usage_now();
	CHECK_EQUAL(before.execution_scope, IB_EXECUTION_USER);

	burn(BURN_NS);
	older_tell(1);
	CHECK(pthread_create(&newer, NULL, burn_twice, NULL) == 0);
	CHECK(pthread_join(newer, NULL) == 0);
	struct ib_process_usage after = usage_now();
	uint64_t cpu_ns = clock_of_ns(CLOCK_PROCESS_CPUTIME_ID) - before_ns;
	CHECK(cpu_ns >= 4 * BURN_NS);
	CHECK(is_close(after.instructions - before.instructions, cpu_ns));
	CHECK(is_close(after.cycles - before.cycles, cpu_ns));
	older_tell(2);
	CHECK(pthread_join(older, NULL) == 0);

	before = usage_now();
	pid_t child = fork();
	if (child == 0) {
		burn(BURN_NS);
		_exit(0);
	}
	struct rusage ended;
	int status = -1;
	CHECK(wait4(child, &status, 0, &ended) == child && status == 0);
	after = usage_now();
	uint64_t child_ns = ((uint64_t)ended.ru_utime.tv_sec + (uint64_t)ended.ru_stime.tv_sec) * NS_PER_S +
	                    ((uint64_t)ended.ru_utime.tv_usec + (uint64_t)ended.ru_stime.tv_usec) * NS_PER_US;
	CHECK(child_ns >= BURN_NS);
	CHECK(is_close(after.instructions - before.instructions, child_ns));

	takes_turns = true;
	after = usage_now();
	CHECK_EQUAL(after.instructions, IB_UNKNOWN);
	CHECK_EQUAL(after.cycles, IB_UNKNOWN);
	takes_turns = false;
	/* Of another process nothing is known. */
	struct ib_process_usage other = {.size = sizeof other, .abi_version = IB_ABI_VERSION};
	CHECK_EQUAL(ib_process_usage((uint32_t)getppid(), &other, NULL), IB_STATUS_OK);
	CHECK_EQUAL(other.instructions, IB_UNKNOWN);
	CHECK_EQUAL(other.execution_scope, IB_UNKNOWN_32);
}

static const char *engine;

static void window_measure(struct run *run, uint32_t port, uint32_t count_execution)
{
	run_plan(run, engine, 1, port, 4);
	run->options[0].count_execution = count_execution;
	run_connect(run);
	run_measure_start(run, LEAD_NS, 300000000, 0);
	run_await(run);
	run_check_window(run);
}

/* Each engine counts its own thread, in its window. */
static void test_engine(void)
{
	struct echo_server server;
	struct run run;
	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	refuse(0, 0, 0);
	window_measure(&run, server.port, 1);
	const struct ib_engine_block *block = run_block(&run, 0);
	uint64_t cpu_ns = block->cpu_user_ns + block->cpu_system_ns;
	CHECK(is_close(block->instructions, cpu_ns));
	CHECK(is_close(block->cycles, cpu_ns));
	CHECK_EQUAL(block->execution_scope, IB_EXECUTION_USER_AND_KERNEL);
	run_close(&run);

	window_measure(&run, server.port, 0);
	CHECK_EQUAL(run_block(&run, 0)->instructions, IB_UNKNOWN);
	CHECK_EQUAL(run_block(&run, 0)->cycles, IB_UNKNOWN);
	CHECK_EQUAL(run_block(&run, 0)->execution_scope, IB_UNKNOWN);
	run_close(&run);
	echo_server_stop(&server);
}

int main(void)
{
	/* No other test of this process may have begun to count. */
	test_refused();
	test_probe();
	(void)each_engine(&engine, test_engine);
	test_whole_process();
	return check_result();
}
