/*
 * run_delay.c - how long the threads of this process were ready to run without a CPU.
 *
 * The kernel has that time per thread only (/proc/PID/task/TID/schedstat; that of the process is its first thread's), and drops it when the
 * thread ends. Reading thousands of threads takes tens of milliseconds.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "abi.h"
#include "platform/platform.h"

/* IB_UNKNOWN if the thread has ended, or the kernel does not keep the time. */
static uint64_t thread_delay_ns(int tasks, const char *thread)
{
	char path[64];
	char text[96];
	unsigned long long running, delay;
	snprintf(path, sizeof path, "%.32s/schedstat", thread);
	int file = openat(tasks, path, O_RDONLY | O_CLOEXEC);
	if (file < 0) {
		return IB_UNKNOWN;
	}
	ssize_t length = read(file, text, sizeof text - 1);
	close(file);
	text[length > 0 ? length : 0] = '\0';
	return sscanf(text, "%llu %llu", &running, &delay) == 2 ? delay : IB_UNKNOWN;
}

int32_t ib_process_run_delay(struct ib_run_delay *out, struct ib_error *error)
{
	int32_t status = abi_outcome_start(out, sizeof *out, "ib_run_delay", error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	out->threads = 0;
	out->thread_ids = 0;
	DIR *tasks = opendir("/proc/self/task");
	if (tasks == NULL) {
		return IB_STATUS_OK;
	}
	uint64_t sum_ns = 0;
	for (struct dirent *entry = readdir(tasks); entry != NULL && out->threads <= IB_RUN_DELAY_THREADS;
	     entry = readdir(tasks)) {
		if (entry->d_name[0] == '.') {
			continue;
		}
		uint64_t delay_ns = thread_delay_ns(dirfd(tasks), entry->d_name);
		if (delay_ns == IB_UNKNOWN) {
			continue;
		}
		sum_ns += delay_ns;
		out->threads++;
		out->thread_ids += strtoull(entry->d_name, NULL, 10);
	}
	closedir(tasks);
	out->run_delay_ns = out->threads > 0 && out->threads <= IB_RUN_DELAY_THREADS ? sum_ns : IB_UNKNOWN;
	return IB_STATUS_OK;
}
