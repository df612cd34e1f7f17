/*
 * process_clock.c - prints the CPU clocks of other processes at a fixed interval, one line each time: "REALTIME_US IDLE_NS CPU_NS CPU_NS
 * ...". IDLE_NS is the idle time of all CPUs together. Then follows one CPU_NS for each process id, in order. The program ends when one
 * of the processes has ended.
 *
 * The clock is the kernel's sum over all threads, including ended ones, in ns (clock_getcpuclockid). /proc/PID/stat has the same sum
 * only in ticks of 10 ms, and /proc/PID/schedstat covers one thread. A separate program samples the clocks, because neither Node nor
 * our client can look at another process at a given moment.
 */
#include "common.h"

#include <stdint.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES_MAX = 8 };

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;
	if (clock_gettime(clock, &now) != 0) {
		exit(0);
	}
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static clockid_t clock_of(const char *text)
{
	char *end = NULL;
	const long pid = strtol(text, &end, 10);
	clockid_t clock;
	if (end == text || *end != '\0' || pid <= 0 || clock_getcpuclockid((pid_t)pid, &clock) != 0) {
		give_up("no process %s", text);
	}
	return clock;
}

/* From the first line of /proc/stat: "cpu user nice system idle iowait ...", in ticks. */
static uint64_t idle_ns(void)
{
	unsigned long long idle = 0;
	unsigned long long iowait = 0;
	FILE *stat = fopen("/proc/stat", "re");
	if (stat == NULL || fscanf(stat, "cpu %*u %*u %*u %llu %llu", &idle, &iowait) != 2) {
		give_up("/proc/stat: %s", strerror(errno));
	}
	fclose(stat);
	return (idle + iowait) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

int main(int argc, char **argv)
{
	if (argc < 3 || argc - 2 > PROCESSES_MAX) {
		give_up("usage: process_clock INTERVAL_MS PID...");
	}
	const long interval_ms = strtol(argv[1], NULL, 10);
	if (interval_ms < 1 || interval_ms > 10000) {
		give_up("the interval must be 1 to 10000 ms");
	}
	/* The benchmark may be killed without a chance to stop its children. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	clockid_t clocks[PROCESSES_MAX];
	const int count = argc - 2;
	for (int i = 0; i < count; i++) {
		clocks[i] = clock_of(argv[i + 2]);
	}
	for (;;) {
		printf("%llu %llu", (unsigned long long)(clock_ns(CLOCK_REALTIME) / 1000), (unsigned long long)idle_ns());
		for (int i = 0; i < count; i++) {
			printf(" %llu", (unsigned long long)clock_ns(clocks[i]));
		}
		putchar('\n');
		if (fflush(stdout) != 0) {
			return 0;
		}
		const struct timespec interval = {.tv_sec = interval_ms / 1000, .tv_nsec = interval_ms % 1000 * 1000000};
		nanosleep(&interval, NULL);
	}
}
