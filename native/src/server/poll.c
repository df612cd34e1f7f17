/*
 * poll.c - readiness, asked anew at every wait: poll() on Unix, WSAPoll() on Windows.
 *
 * Technique. Each worker keeps an array of (socket, events) pairs, hands the whole of it to the kernel at every wait, and walks it for the ones
 * that are ready. Under load many are ready at a time, and the walk is shared by their requests; with few active among many idle ones nearly
 * all of it is in vain. That is the cost of this model: a wait is O(n) in the kernel and O(n) here, whatever n of them are ready, and epoll
 * and completion ports exist because of it. The rest is as in any loop: one recv and one send a request (loop.c).
 *
 * Floor: none on Linux; Windows Vista for WSAPoll.
 * Limits: the descriptors of the process, for the kernel takes no more entries than that.
 *
 * Traps
 *   - The array has no gaps and the order of the worker's connections, so that an index serves both: connections[i] is entries[first + i].
 *   - POLLERR and POLLHUP come unasked. They mean a recv, which says what it is.
 *   - A listener that must rest (no descriptors left) is left out of what is handed over, not kept with events of 0: it would report errors.
 *   - WSAPoll rejects the whole array (WSAEINVAL) for one entry that asks for POLLPRI, and an empty array as well. Before Windows 10 2004 it
 *     never reports that a connect() failed; a server makes none. Nothing but one of its sockets ends its wait: hence the pair that wakes it.
 */
#include <stdlib.h>

#include "server/loop.h"

#define GROWTH 1024

struct polling {
	socket_poll_entry *entries; /* listeners (worker 0), the wake-up, then one per connection */
	uint32_t fixed;             /* how many stand before the connections */
	uint32_t capacity;
};

static bool entries_reserve(struct polling *polling, uint32_t count)
{
	if (count <= polling->capacity) {
		return true;
	}
	uint32_t capacity = (count + GROWTH - 1) / GROWTH * GROWTH;
	socket_poll_entry *grown = realloc(polling->entries, capacity * sizeof *grown);
	if (grown == NULL) {
		return false;
	}
	polling->entries = grown;
	polling->capacity = capacity;
	return true;
}

static bool polling_create(struct loop_worker *worker)
{
	uint32_t listeners = worker->number == 0 ? worker->server->listeners.count : 0;
	struct polling *polling = calloc(1, sizeof *polling);
	worker->state = polling;
	if (polling == NULL || !entries_reserve(polling, listeners + 1)) {
		return false;
	}
	polling->fixed = listeners + 1;
	for (uint32_t index = 0; index < listeners; index++) {
		polling->entries[index] = (socket_poll_entry){.fd = worker->server->listeners.sockets[index], .events = POLLIN};
	}
	return true;
}

static void polling_destroy(struct loop_worker *worker)
{
	struct polling *polling = worker->state;
	if (polling != NULL) {
		free(polling->entries);
	}
	free(polling);
}

static bool polling_added(struct loop_worker *worker)
{
	struct polling *polling = worker->state;
	uint32_t position = polling->fixed + worker->count - 1;
	if (!entries_reserve(polling, position + 1)) {
		return false;
	}
	polling->entries[position] =
	    (socket_poll_entry){.fd = worker->connections[worker->count - 1].socket, .events = POLLIN};
	return true;
}

static void polling_removed(struct loop_worker *worker, uint32_t index)
{
	struct polling *polling = worker->state;
	ib_assert(polling->entries[polling->fixed + index].fd == worker->connections[index].socket ||
	          polling->entries[polling->fixed + index].fd == SOCKET_NONE);
	polling->entries[polling->fixed + index] = polling->entries[polling->fixed + worker->count - 1];
}

/* An entry without a socket is ignored. With one, errors are reported even if no events are asked for. */
static bool polling_interest(struct loop_worker *worker, uint32_t index, enum loop_interest interest)
{
	struct polling *polling = worker->state;
	socket_poll_entry *entry = &polling->entries[polling->fixed + index];
	entry->fd = interest == LOOP_NONE ? SOCKET_NONE : worker->connections[index].socket;
	entry->events = interest == LOOP_WRITE ? POLLOUT : POLLIN;
	return true;
}

/* Serves what the last wait found. True: the wake-up was among it. */
static bool ready_serve(struct loop_worker *worker, uint32_t first, uint32_t ready)
{
	struct polling *polling = worker->state;
	bool woken = polling->entries[polling->fixed - 1].revents != 0;
	ready -= woken;
	/* Backwards, and before anything is accepted: the last connection takes the place of one that ends, and was looked at already. */
	for (uint32_t index = worker->count; index-- > 0 && ready > 0;) {
		const socket_poll_entry *entry = &polling->entries[polling->fixed + index];
		if (entry->revents == 0) {
			continue;
		}
		ready--;
		/* One that is waited for to be read has nothing unsent, and its entry, which was just read, has the socket. */
		if (likely(entry->events == POLLIN)) {
			loop_connection_readable(worker, index, entry->fd);
		} else {
			loop_connection_ready(worker, index);
		}
	}
	for (uint32_t index = first; ready > 0 && index + 1 < polling->fixed; index++) {
		if (polling->entries[index].revents == 0) {
			continue;
		}
		ready--;
		loop_listener_ready(worker, polling->entries[index].fd, LOOP_ACCEPTS_PER_ROUND);
	}
	ib_assert(ready == 0);
	return woken;
}

static void polling_main(struct loop_worker *worker)
{
	struct polling *polling = worker->state;
	polling->entries[polling->fixed - 1] = (socket_poll_entry){.fd = worker->wake_receive, .events = POLLIN};
	bool woken = false;
	while (!loop_round_end(worker, woken)) {
		uint32_t first = loop_accepts(worker) ? 0 : polling->fixed - 1;
		int ready = socket_poll(polling->entries + first, polling->fixed + worker->count - first, loop_wait_ns(worker));
		worker->system_calls++;
		if (ready < 0) {
			loop_wait_failed(worker, -ready);
		}
		woken = ready > 0 && ready_serve(worker, first, (uint32_t)ready);
	}
}

static void poll_probe(struct ib_probe *out)
{
	out->available = 1;
}

extern const struct backend poll_backend;

static const struct loop_model poll_model = {
    .backend = &poll_backend,
    .main = polling_main,
    .create = polling_create,
    .destroy = polling_destroy,
    .added = polling_added,
    .removed = polling_removed,
    .interest = polling_interest,
};

static int32_t poll_start(const struct server_config *config, struct server **out, uint32_t *bound_port,
                          struct ib_error *error)
{
	return loop_server_start(&poll_model, config, out, bound_port, error);
}

const struct backend poll_backend = {
    .name = "poll",
    .speaks_http = true,
    .probe = poll_probe,
    .start = poll_start,
    .stats = loop_server_stats,
    .stop = loop_server_stop,
};
