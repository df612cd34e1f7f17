/*
 * iocp.c - client engine over a completion port of its own, on Windows.
 *
 * Technique. ConnectEx begins a connection. From then on one WSARecv is always outstanding, and a send is one WSASend from the
 * connection's own buffer. Only this thread waits at the port and posts operations, so nothing needs a lock. An operation that
 * completes at once queues no packet (SKIP_COMPLETION_PORT_ON_SUCCESS) and is handled from a queue of the engine. So a request costs
 * a WSASend, a WSARecv and its share of a GetQueuedCompletionStatusEx.
 *
 * Floor: Windows 10 1803 for the high-resolution timer. On older versions (and under Wine) an ordinary timer ends the wait.
 *
 * Traps
 *  - Buffers and OVERLAPPEDs belong to the kernel until their completion is dequeued, even after the socket is closed. `out` counts
 *    them, and engine_closed() is called when it is 0 and the socket is closed. If a stopped engine does not get all of them back
 *    within its 100 ms, it leaves the port and the memory to a thread that waits for the rest.
 *  - ConnectEx needs a bound socket, and shutdown() on the connected one needs SO_UPDATE_CONNECT_CONTEXT.
 *  - A call that fails at once queues no packet. A call that succeeds at once queues one only without the skip flag. The flag is used
 *    if every TCP provider has real handles. This is decided once per engine, so that the two cases never mix.
 *  - A failed operation is delivered like any other. Its code must be read while its socket is open. After we have closed the socket,
 *    the outcome does not matter.
 *  - The send buffer belongs to the outstanding send, and connection->blocked is set until that send completes.
 *  - The kernel fills a receive buffer at any time, so its data is verified before the buffer is posted again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "load/windows/iocp.h"

#define BUFFER_BYTES_LEAST 64u
#define BUFFER_BYTES_MOST (64u * 1024u)
/* Limit for both buffers of all connections of an engine together, unless 4 KiB for each need more. */
#define BUFFERS_BYTES_MOST (256ull * 1024u * 1024u)
#define READY_PER_ROUND 256
/* A stopped engine returns within 100 ms. Closing may take this much of it. */
#define ABANDON_LONGEST_NS (50 * NS_PER_MS)

/* ---------------------------------------------------------------------------------------------- loop */

/* Does what is due now. Returns the time. */
static uint64_t work(struct poller *poller, uint64_t now)
{
	struct engine *engine = poller->engine;
	enum engine_close_way way;
	uint32_t index;

	while (engine_next_close(engine, now, &index, &way)) {
		iocp_client_close(poller, index, way);
		now = clock_now_ns();
	}
	while (engine_has_connects(engine) && engine_next_connect(engine, clock_now_ns(), &index)) {
		iocp_client_begin(poller, index);
		now = clock_now_ns();
	}
	while (engine_next_send(engine, now, &index)) {
		iocp_client_send(poller, index);
		now = clock_now_ns();
	}
	iocp_retries_post(poller);
	return now;
}

static uint32_t dequeue(struct poller *poller, DWORD timeout_ms, BOOL alertable)
{
	ULONG count = 0;
	poller->system_calls++;
	if (!GetQueuedCompletionStatusEx(poller->port, poller->events, BATCH_EVENTS, &count, timeout_ms, alertable)) {
		return 0;
	}
	return (uint32_t)count;
}

/* Waits at the port: with a timeout in ms if precision does not matter, else until the timer fires. */
static uint32_t dequeue_wait(struct poller *poller, uint64_t timeout_ns)
{
	const struct engine *engine = poller->engine;
	bool precise = engine->mode == ENGINE_MODE_OPEN || engine->options.think_time_ns != 0;
	DWORD timeout_ms = (DWORD)((timeout_ns + NS_PER_MS - 1) / NS_PER_MS);
	if (!precise) {
		return dequeue(poller, timeout_ms, FALSE);
	}
	poller->system_calls += wake_timer_set(&poller->wake, timeout_ns);
	/* The timeout is a fallback in case the timer does not fire. */
	return dequeue(poller, timeout_ms + 1, TRUE);
}

static uint32_t fetch(struct poller *poller, uint64_t now)
{
	struct engine *engine = poller->engine;
	uint64_t timeout_ns = poller->ready_first != NULL ? 0 : engine_wait_ns(engine, now);

	if (timeout_ns == 0 || engine_poll_first(engine)) {
		uint32_t events = dequeue(poller, 0, FALSE);
		engine_wait_end(engine, now, events, true);
		if (events != 0 || timeout_ns == 0) {
			return events;
		}
	}
	engine_wait_begin(engine, now);
	uint32_t events = dequeue_wait(poller, timeout_ns);
	engine_wait_end(engine, clock_now_ns(), events, false);
	return events;
}

static struct operation *ready_take(struct poller *poller)
{
	struct operation *operation = poller->ready_first;
	if (operation != NULL) {
		poller->ready_first = operation->next;
		if (poller->ready_first == NULL) {
			poller->ready_last = NULL;
		}
	}
	return operation;
}

static void ready_handle(struct poller *poller)
{
	for (int round = 0; round < READY_PER_ROUND; round++) {
		struct operation *operation = ready_take(poller);
		if (operation == NULL) {
			return;
		}
		iocp_operation_finished(poller, operation, operation->bytes);
	}
}

static void events_handle(struct poller *poller, uint32_t count)
{
	for (uint32_t at = 0; at < count; at++) {
		const OVERLAPPED_ENTRY *event = &poller->events[at];
		if (event->lpCompletionKey == PORT_KEY_TIMER) {
			wake_timer_fired(&poller->wake);
		} else {
			/* The OVERLAPPED is the first member of the operation. */
			iocp_operation_finished(poller, (struct operation *)(void *)event->lpOverlapped,
			                        event->dwNumberOfBytesTransferred);
		}
	}
}

static void loop(struct poller *poller)
{
	uint64_t now = clock_now_ns();
	while (engine_turn(poller->engine, now)) {
		now = work(poller, now);
		events_handle(poller, fetch(poller, now));
		ready_handle(poller);
		poller->engine->counters.system_calls += poller->system_calls;
		poller->system_calls = 0;
		now = clock_now_ns();
	}
}

/* --------------------------------------------------------------------------------- opening and ending */

static uint32_t buffer_bytes_of(const struct engine *engine)
{
	uint64_t wanted = engine_receive_bytes(engine);
	uint64_t most = BUFFERS_BYTES_MOST / 2 / (engine->count == 0 ? 1 : engine->count);
	if (most < 4096) {
		most = 4096;
	}
	if (most > BUFFER_BYTES_MOST) {
		most = BUFFER_BYTES_MOST;
	}
	if (wanted > most) {
		wanted = most;
	}
	return wanted < BUFFER_BYTES_LEAST ? BUFFER_BYTES_LEAST : (uint32_t)wanted;
}

static int32_t memory_open(struct poller *poller, struct ib_error *error)
{
	poller->buffer_bytes = buffer_bytes_of(poller->engine);
	size_t bytes = (size_t)poller->count * 2 * poller->buffer_bytes;
	poller->clients = calloc(poller->count + 1u, sizeof *poller->clients);
	poller->buffers = VirtualAlloc(NULL, bytes + 1, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
	if (poller->clients == NULL || poller->buffers == NULL) {
		return error_set(error, IB_STATUS_MEMORY, (int)GetLastError(), "no memory for the buffers of an engine");
	}
	for (uint32_t index = 0; index < poller->count; index++) {
		struct client *client = &poller->clients[index];
		client->socket = SOCKET_NONE;
		client->receive.index = index;
		client->send.index = index;
	}
	poller->engine->result.memory_bytes += sizeof *poller + poller->count * sizeof *poller->clients + bytes;
	return IB_STATUS_OK;
}

static int32_t poller_open(struct poller *poller, struct ib_error *error)
{
	int32_t status = memory_open(poller, error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	poller->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
	if (poller->port == NULL || !wake_timer_open(&poller->wake, poller->port, PORT_KEY_TIMER)) {
		int code = (int)GetLastError();
		return error_set(error, IB_STATUS_OS, code, "no completion port or timer can be made: %s", error_text(code));
	}
	int code = 0;
	poller->connect_ex = client_connect_ex(poller->engine->targets[0].storage.ss_family, &code);
	if (poller->connect_ex == NULL) {
		return error_set(error, IB_STATUS_OS, code, "this network provider has no ConnectEx: %s", error_text(code));
	}
	poller->skip_on_success = completion_port_can_skip();
	snprintf(poller->engine->result.features, sizeof poller->engine->result.features, "connectex %s %s",
	         completion_port_skip_name(poller->skip_on_success), wake_timer_name(&poller->wake));
	return IB_STATUS_OK;
}

/* Frees a poller that has nothing outstanding in the kernel any more. */
static void poller_free(struct poller *poller)
{
	wake_timer_close(&poller->wake);
	if (poller->port != NULL) {
		CloseHandle(poller->port);
	}
	if (poller->buffers != NULL) {
		VirtualFree(poller->buffers, 0, MEM_RELEASE);
	}
	free(poller->clients);
	free(poller);
}

/* Closes sockets from *next on and takes completions until nothing is left or the time is up. Does not touch the engine. */
static bool leftovers_drain(struct poller *poller, uint32_t *next, uint64_t until_ns)
{
	while (ready_take(poller) != NULL) {
		poller->out--;
	}
	while (*next < poller->count || poller->out != 0) {
		for (uint32_t budget = 64; budget > 0 && *next < poller->count; budget--, ++*next) {
			iocp_socket_end(poller, &poller->clients[*next], true);
		}
		uint32_t count = dequeue(poller, *next < poller->count ? 0 : 10, FALSE);
		for (uint32_t at = 0; at < count; at++) {
			if (poller->events[at].lpCompletionKey == PORT_KEY_IO) {
				poller->out--;
			}
		}
		if (clock_now_ns() >= until_ns) {
			return *next == poller->count && poller->out == 0;
		}
	}
	return true;
}

struct leftovers {
	struct poller *poller;
	uint32_t next;
};

static void leftovers_main(void *argument)
{
	struct leftovers *leftovers = argument;
	/* An operation that has not come back after ten seconds never will. Its memory stays, because the kernel may still write to it. */
	if (leftovers_drain(leftovers->poller, &leftovers->next, clock_now_ns() + 10 * NS_PER_S)) {
		poller_free(leftovers->poller);
	}
	free(leftovers);
}

static void poller_end(struct poller *poller)
{
	uint32_t next = 0;
	if (leftovers_drain(poller, &next, clock_now_ns() + ABANDON_LONGEST_NS)) {
		poller_free(poller);
		return;
	}
	struct leftovers *leftovers = malloc(sizeof *leftovers);
	if (leftovers == NULL) {
		return; /* the system frees it when the process ends */
	}
	*leftovers = (struct leftovers){.poller = poller, .next = next};
	if (thread_start_detached(leftovers_main, leftovers, 0) != 0) {
		leftovers_main(leftovers);
	}
}

static int32_t iocp_engine_run(struct engine *engine, struct ib_error *error)
{
	struct poller *poller = calloc(1, sizeof *poller);
	if (poller == NULL) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for an engine");
	}
	poller->engine = engine;
	poller->count = engine->count;
	poller->retry_first = NO_CLIENT;
	int32_t status = poller_open(poller, error);
	if (status != IB_STATUS_OK) {
		poller_free(poller);
		return status;
	}
	loop(poller);
	poller_end(poller);
	return IB_STATUS_OK;
}

static void iocp_engine_probe(struct ib_probe *out)
{
	struct ib_error error;
	int code = 0;
	if (socket_library_start(&error) != IB_STATUS_OK) {
		out->os_code = error.os_code;
		snprintf(out->reason, sizeof out->reason, "%.250s", error.message);
		return;
	}
	if (client_connect_ex(AF_INET, &code) == NULL) {
		out->os_code = code;
		snprintf(out->reason, sizeof out->reason, "this network provider has no ConnectEx: %.180s", error_text(code));
		return;
	}
	out->available = 1;
}

const struct engine_backend iocp_engine = {
    .name = "iocp",
    .counts_operations = true,
    .probe = iocp_engine_probe,
    .run = iocp_engine_run,
};
