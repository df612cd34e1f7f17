/*
 * workers.c - see workers.h.
 */
#include "server/workers.h"

#include "error.h"
#define WORKER_STACK_BYTES (256 * 1024)

static void *worker_at(const struct workers *workers, uint32_t number)
{
	return (char *)workers->first + number * workers->size;
}

static struct worker_thread *thread_at(const struct workers *workers, uint32_t number)
{
	return (struct worker_thread *)((char *)worker_at(workers, number) + workers->thread_offset);
}

int32_t worker_start(struct workers workers, uint32_t number, void (*main)(void *worker), _Atomic uint32_t *threads,
                     struct ib_error *error)
{
	struct worker_thread *worker = thread_at(&workers, number);
	atomic_fetch_add_explicit(threads, 1, memory_order_relaxed);
	int code = thread_start(&worker->thread, main, worker_at(&workers, number), WORKER_STACK_BYTES);
	if (code != 0) {
		atomic_fetch_sub_explicit(threads, 1, memory_order_relaxed);
		return error_set(error, IB_STATUS_THREADS, code, "worker %u could not be started: %s", number,
		                 error_text(code));
	}
	worker->started = true;
	return IB_STATUS_OK;
}

int32_t workers_start(struct workers workers, void (*main)(void *worker), _Atomic uint32_t *threads,
                      struct ib_error *error)
{
	int32_t status = IB_STATUS_OK;
	for (uint32_t number = workers.count; number-- > 0 && status == IB_STATUS_OK;) {
		status = worker_start(workers, number, main, threads, error);
	}
	return status;
}

uint32_t workers_stop(struct workers workers, void (*wake)(void *worker))
{
	uint32_t woken = thread_at(&workers, 0)->started ? 1 : workers.count;
	for (uint32_t number = 0; number < woken; number++) {
		if (thread_at(&workers, number)->started) {
			wake(worker_at(&workers, number));
		}
	}
	return workers_join(workers);
}

uint32_t workers_join(struct workers workers)
{
	uint32_t reset = 0;
	for (uint32_t number = 0; number < workers.count; number++) {
		struct worker_thread *worker = thread_at(&workers, number);
		if (worker->started) {
			thread_join(&worker->thread);
			worker->started = false;
			reset += worker->reset_count;
		}
	}
	return reset;
}
