/*
 * acceptors.c - threads that only accept, one per listening socket.
 *
 * Traps
 *   - Descriptors exhausted: accept fails at once, for as long as that lasts. The thread counts the error and waits a little.
 *   - A thread that blocks in accept is woken by shutting its listener down (Linux), or checks from time to time whether to stop (Windows:
 *     see socket_accept). The listener is closed only after its thread has ended, because its number is reused at once.
 */
#include "server/acceptors.h"

#include <stdlib.h>
#include <string.h>

#define ACCEPTOR_STACK_BYTES (256 * 1024)
#define ACCEPT_PAUSE_NS (20 * NS_PER_MS)

struct acceptor {
	_Alignas(CACHE_LINE_BYTES) struct counters counters; /* written by its thread alone */
	struct acceptors *acceptors;
	socket_handle listener;
	struct thread thread;
};

/* Counts a failed accept, and waits a little if the next would fail at once. False when the server stops. */
static bool accept_failed(struct acceptor *acceptor, int code)
{
	struct acceptors *acceptors = acceptor->acceptors;
	enum socket_condition condition = socket_condition_of(code);
	mutex_lock(&acceptors->mutex);
	/* On Windows accept returns from time to time without cause, so that the thread can see a stop. */
	if (!acceptors->stopping && condition != SOCKET_INTERRUPTED) {
		counters_error(&acceptor->counters, code);
		/* A peer that left early affects no other; anything else (no descriptors, no memory) lasts for a while. */
		if (condition != SOCKET_ABORTED) {
			condition_wait(&acceptors->changed, &acceptors->mutex, ACCEPT_PAUSE_NS);
		}
	}
	bool stopping = acceptors->stopping;
	mutex_unlock(&acceptors->mutex);
	return !stopping;
}

static void acceptor_main(void *argument)
{
	struct acceptor *acceptor = argument;
	for (;;) {
		int code = 0;
		socket_handle socket = socket_accept(acceptor->listener, &code);
		counter_add(&acceptor->counters.system_calls, 1);
		if (socket != SOCKET_NONE) {
			counter_add(&acceptor->counters.accepted, 1);
			acceptor->acceptors->accepted(acceptor->acceptors->context, socket);
		} else if (!accept_failed(acceptor, code)) {
			return;
		}
	}
}

int32_t acceptors_start(struct acceptors *acceptors, struct listeners *listeners,
                        void (*accepted)(void *context, socket_handle socket), void *context, struct ib_error *error)
{
	ib_assert(acceptors->each == NULL && listeners->count > 0);
	size_t bytes = listeners->count * sizeof *acceptors->each;
	acceptors->each = memory_allocate_aligned(CACHE_LINE_BYTES, bytes);
	if (acceptors->each == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the acceptors");
	}
	memset(acceptors->each, 0, bytes);
	acceptors->count = listeners->count;
	acceptors->listeners = listeners;
	acceptors->accepted = accepted;
	acceptors->context = context;
	mutex_init(&acceptors->mutex);
	condition_init(&acceptors->changed);
	for (uint32_t index = 0; index < listeners->count; index++) {
		struct acceptor *acceptor = &acceptors->each[index];
		acceptor->acceptors = acceptors;
		acceptor->listener = listeners->sockets[index];
		int code = thread_start(&acceptor->thread, acceptor_main, acceptor, ACCEPTOR_STACK_BYTES);
		if (code != 0) {
			acceptors_stop(acceptors);
			return error_set(error, IB_STATUS_THREADS, code, "the accepting thread could not be started: %s",
			                 error_text(code));
		}
		atomic_store_explicit(&acceptors->running, index + 1, memory_order_relaxed);
	}
	ib_assert(acceptors_running(acceptors) == acceptors->count);
	return IB_STATUS_OK;
}

void acceptors_stop(struct acceptors *acceptors)
{
	if (acceptors->each == NULL) {
		return;
	}
	mutex_lock(&acceptors->mutex);
	acceptors->stopping = true;
	condition_broadcast(&acceptors->changed);
	mutex_unlock(&acceptors->mutex);
	uint32_t running = acceptors_running(acceptors);
	for (uint32_t index = 0; index < running; index++) {
		socket_shutdown(acceptors->each[index].listener);
	}
	for (uint32_t index = 0; index < running; index++) {
		thread_join(&acceptors->each[index].thread);
	}
	atomic_store_explicit(&acceptors->running, 0, memory_order_relaxed);
	listeners_close(acceptors->listeners);
}

void acceptors_free(struct acceptors *acceptors)
{
	if (acceptors->each == NULL) {
		return;
	}
	ib_assert(acceptors->stopping && acceptors_running(acceptors) == 0);
	memory_free_aligned(acceptors->each);
	mutex_destroy(&acceptors->mutex);
	condition_destroy(&acceptors->changed);
	memset(acceptors, 0, sizeof *acceptors);
}

void acceptors_sum(const struct acceptors *acceptors, struct ib_server_stats *out)
{
	for (uint32_t index = 0; index < acceptors->count; index++) {
		counters_sum(&acceptors->each[index].counters, out);
		if (out->system_calls != IB_UNKNOWN) {
			counters_system_calls(&acceptors->each[index].counters.system_calls, out);
		}
	}
}

uint32_t acceptors_running(const struct acceptors *acceptors)
{
	return atomic_load_explicit(&acceptors->running, memory_order_relaxed);
}
