/*
 * completion_port_test.c - what the concurrency value of a completion port does, which the mode iocp with --wait-blocks relies on: the port
 * gives a packet to another thread when one of its threads sleeps, and not while as many as the value are running.
 */
#include "check.h"
#include "platform/platform.h"
#include "windows_system.h"

enum { THREADS = 2 };
#define HANDLING_NS (150 * NS_PER_MS)
#define STACK_BYTES (64 * 1024)

struct handler {
	struct thread thread;
	HANDLE port;
	bool sleeps;
	uint64_t taken_ns;
	uint64_t done_ns;
};

/* Takes one packet and handles it for a while, running or asleep. */
static void handler_main(void *argument)
{
	struct handler *handler = argument;
	DWORD bytes = 0;
	ULONG_PTR key = 0;
	OVERLAPPED *overlapped = NULL;
	if (!CHECK(GetQueuedCompletionStatus(handler->port, &bytes, &key, &overlapped, 10000))) {
		return;
	}
	handler->taken_ns = clock_now_ns();
	if (handler->sleeps) {
		clock_sleep_ns(HANDLING_NS);
	}
	while (clock_now_ns() < handler->taken_ns + HANDLING_NS) {
		continue;
	}
	handler->done_ns = clock_now_ns();
}

/* Whether two threads handled a packet each at the same time, at a port that lets one thread run. */
static bool handled_together(bool sleeps)
{
	struct handler handlers[THREADS] = {0};
	HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
	CHECK(port != NULL);
	for (int index = 0; index < THREADS; index++) {
		CHECK(PostQueuedCompletionStatus(port, 0, 0, NULL));
	}
	for (int index = 0; index < THREADS; index++) {
		handlers[index].port = port;
		handlers[index].sleeps = sleeps;
		CHECK(thread_start(&handlers[index].thread, handler_main, &handlers[index], STACK_BYTES) == 0);
	}
	for (int index = 0; index < THREADS; index++) {
		thread_join(&handlers[index].thread);
	}
	CloseHandle(port);
	return handlers[0].taken_ns < handlers[1].done_ns && handlers[1].taken_ns < handlers[0].done_ns;
}

int main(void)
{
	CHECK(handled_together(true));
	/* Wine's ports ignore the value (test/windows/wine-defects.ts: port-concurrency). */
	bool together = handled_together(false);
	printf("a port of concurrency 1 let %d threads run\n", together ? 2 : 1);
	CHECK(!together || wine_version() != NULL);
	return check_result();
}
