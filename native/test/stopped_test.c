/*
 * stopped_test.c - a client that could not run. If it was stopped, it reports for how long. A lack of CPU appears in another figure.
 */
#include "load_harness.h"

#if defined(__linux__)

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STOP_MS = 400 };

static const char *engine;

/* A process that stops this one for STOP_MS for each byte it receives. */
struct stopper {
	pid_t process;
	int pipe;
};

static struct stopper stopper;

static bool stopper_start(void)
{
	int ends[2];
	char byte;

	if (!CHECK(pipe(ends) == 0)) {
		return false;
	}
	stopper.pipe = ends[1];
	stopper.process = fork();
	if (stopper.process == 0) {
		close(ends[1]);
		while (read(ends[0], &byte, 1) == 1) {
			kill(getppid(), SIGSTOP);
			usleep(STOP_MS * 1000);
			kill(getppid(), SIGCONT);
		}
		_exit(0);
	}
	close(ends[0]);
	return CHECK(stopper.process > 0);
}

static void stopper_end(void)
{
	close(stopper.pipe);
	waitpid(stopper.process, NULL, 0);
}

static void test_stopped(double rate_per_second)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 2, server.port, 8);
	run_connect(&run);
	run_warm_up(&run, rate_per_second);
	/* Long enough that the whole stop is within the window, even if a busy machine delays its begin or its end. */
	run_measure_start(&run, LEAD_NS, 1500000000, rate_per_second);
	clock_sleep_ns(LEAD_NS + 50000000);
	CHECK(write(stopper.pipe, "x", 1) == 1);
	run_await(&run);
	run_check_window(&run);
	for (uint32_t index = 0; index < run.engines; index++) {
		const struct ib_engine_block *block = run_block(&run, index);
		/* Counted from the first missed look, at most 10 ms after the stop began. */
		CHECK(block->stopped_longest_ns >= STOP_MS * NS_PER_MS - 20000000);
		CHECK(block->stopped_ns >= block->stopped_longest_ns);
		CHECK(block->wait_ns + STOP_MS * NS_PER_MS - 20000000 <= block->wall_ns);
	}
	run_close(&run);
	echo_server_stop(&server);
}

/* ------------------------------------------------------------------------------------------- starved */

struct hog {
	struct thread thread;
	uint32_t cpu;
	_Atomic bool *ends;
};

static void hog_main(void *argument)
{
	struct hog *hog = argument;

	CHECK(ib_thread_set_affinity(&hog->cpu, 1, NULL) == IB_STATUS_OK);
	while (!atomic_load(hog->ends)) {
	}
}

static uint32_t first_cpu(void)
{
	cpu_set_t cpus;
	uint32_t cpu = 0;

	CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
	while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &cpus)) {
		cpu++;
	}
	return cpu;
}

/* Under ThreadSanitizer a starved thread also sleeps on locks of its runtime. Such a sleep is neither work nor a wait for a CPU. */
#ifdef __SANITIZE_THREAD__
#define THREAD_SANITIZER true
#else
#define THREAD_SANITIZER false
#endif

/* The engine gets a CPU only when no other thread wants it, and one always does. So it is late by far more than a stop's threshold. */
static void test_starved(void)
{
	struct sched_param parameter = {0}, before_parameter;
	int before = sched_getscheduler(0);
	_Atomic bool ends = false;
	struct hog hogs[2];
	struct echo_server server;
	struct run run;

	CHECK(sched_getparam(0, &before_parameter) == 0);
	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	for (size_t at = 0; at < 2; at++) {
		hogs[at] = (struct hog){.cpu = first_cpu(), .ends = &ends};
		CHECK(thread_start(&hogs[at].thread, hog_main, &hogs[at], 0) == 0);
	}
	CHECK(sched_setscheduler(0, SCHED_IDLE, &parameter) == 0);
	run_plan(&run, engine, 1, server.port, 4);
	run.options[0].cpu = first_cpu();
	run_connect(&run);
	run_warm_up(&run, 0);
	run_measure_start(&run, LEAD_NS, 600000000, 0);
	run_await(&run);
	const struct ib_engine_block *block = run_block(&run, 0);
	CHECK(block->run_delay_ns != IB_UNKNOWN && block->run_delay_ns >= block->wall_ns / 4);
	CHECK_EQUAL(block->stopped_ns, 0);
	run_close(&run);
	atomic_store(&ends, true);
	for (size_t at = 0; at < 2; at++) {
		thread_join(&hogs[at].thread);
	}
	(void)sched_setscheduler(0, before, &before_parameter);
	echo_server_stop(&server);
}

static void test_engine(void)
{
	test_stopped(0);
	test_stopped(500);
	if (!THREAD_SANITIZER) {
		test_starved();
	}
}

int main(void)
{
	if (!stopper_start()) {
		return check_result();
	}
	(void)each_engine(&engine, test_engine);
	stopper_end();
	return check_result();
}

#else

int main(void)
{
	return 0; /* on Windows no signal stops a process */
}

#endif
