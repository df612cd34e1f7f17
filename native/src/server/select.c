/*
 * select.c - readiness, asked anew at every wait, by sets of sockets: select().
 *
 * Technique. Each worker keeps a set of the sockets that it reads and one of those that it has to write to. select() overwrites the sets that it
 * is given with what is ready, so each wait hands it copies. What comes back is walked for what is in it, and a table leads from a socket to
 * its connection. The rest is as in any loop: one recv and one send a request (loop.c).
 *
 * As with poll a wait is O(n) whatever is ready. On Linux n is the highest descriptor, not the number of sockets, and the kernel looks at
 * every bit below it; but a socket takes two bits here and eight bytes with poll.
 *
 * Floor: none.
 * Limits. The one of the textbooks, FD_SETSIZE, is the size of the type fd_set: 1,024 descriptors with glibc, which aborts in FD_SET beyond, and
 * 64 sockets with Winsock. The calls themselves have no such limit, and the sets stand in memory of our own (readiness.c of each platform).
 * What is left is the descriptors of the process.
 *
 * Traps
 *   - Both sets are overwritten, also by a wait that ends with nothing; after a failed one their content is undefined.
 *   - A socket that is closed has to leave the sets first: on Linux the call would fail with EBADF, on Windows with WSAENOTSOCK, for all.
 *   - Linux' select() shortens the timeout that it was given by the time it took; it is made anew for each call.
 *   - Winsock fails where all sets are empty. The wake-up is always in one.
 */
#include <stdlib.h>
#include <string.h>

#include "server/loop.h"

#define GROWTH 1024
#define NOT_A_CONNECTION UINT32_MAX

struct selecting {
	struct socket_set reading;
	struct socket_set writing;
	struct socket_set ready_reading; /* what the last wait left of them */
	struct socket_set ready_writing;
	uint32_t *indices; /* of a connection, by socket_number() */
	uint32_t capacity;
	socket_handle *listeners; /* worker 0: a copy, for they leave the set after the stop has closed them */
	uint32_t listener_count;
	bool accepts; /* they are in the set */
};

static bool selecting_create(struct loop_worker *worker)
{
	const struct listeners *listeners = &worker->server->listeners;
	struct selecting *selecting = calloc(1, sizeof *selecting);
	worker->state = selecting;
	if (selecting == NULL || worker->number != 0) {
		return selecting != NULL;
	}
	selecting->listeners = malloc(listeners->count * sizeof *selecting->listeners);
	if (selecting->listeners == NULL) {
		return false;
	}
	memcpy(selecting->listeners, listeners->sockets, listeners->count * sizeof *selecting->listeners);
	selecting->listener_count = listeners->count;
	return true;
}

static void selecting_destroy(struct loop_worker *worker)
{
	struct selecting *selecting = worker->state;
	if (selecting == NULL) {
		return;
	}
	socket_set_free(&selecting->reading);
	socket_set_free(&selecting->writing);
	socket_set_free(&selecting->ready_reading);
	socket_set_free(&selecting->ready_writing);
	free(selecting->listeners);
	free(selecting->indices);
	free(selecting);
}

static bool indices_reserve(struct selecting *selecting, uint32_t number)
{
	if (number < selecting->capacity) {
		return true;
	}
	uint32_t capacity = (number / GROWTH + 1) * GROWTH;
	uint32_t *grown = realloc(selecting->indices, capacity * sizeof *grown);
	if (grown == NULL) {
		return false;
	}
	/* All ones: NOT_A_CONNECTION, as of the wake-up and the listeners. */
	memset(grown + selecting->capacity, 0xff, (capacity - selecting->capacity) * sizeof *grown);
	selecting->indices = grown;
	selecting->capacity = capacity;
	return true;
}

static bool selecting_added(struct loop_worker *worker)
{
	struct selecting *selecting = worker->state;
	socket_handle socket = worker->connections[worker->count - 1].socket;
	if (!indices_reserve(selecting, socket_number(socket)) || !socket_set_add(&selecting->reading, socket)) {
		return false;
	}
	selecting->indices[socket_number(socket)] = worker->count - 1;
	return true;
}

static void selecting_removed(struct loop_worker *worker, uint32_t index)
{
	struct selecting *selecting = worker->state;
	socket_handle socket = worker->connections[index].socket;
	socket_set_remove(&selecting->reading, socket);
	socket_set_remove(&selecting->writing, socket);
	ib_assert(selecting->indices[socket_number(socket)] == index);
	selecting->indices[socket_number(worker->connections[worker->count - 1].socket)] = index;
	selecting->indices[socket_number(socket)] = NOT_A_CONNECTION;
}

static bool selecting_interest(struct loop_worker *worker, uint32_t index, enum loop_interest interest)
{
	struct selecting *selecting = worker->state;
	socket_handle socket = worker->connections[index].socket;
	if (interest != LOOP_READ) {
		socket_set_remove(&selecting->reading, socket);
	}
	if (interest != LOOP_WRITE) {
		socket_set_remove(&selecting->writing, socket);
	}
	if (interest == LOOP_NONE) {
		return true;
	}
	return socket_set_add(interest == LOOP_WRITE ? &selecting->writing : &selecting->reading, socket);
}

/* Puts the listeners into the set or takes them out, as worker 0 accepts or rests. False: no memory. */
static bool listeners_watch(struct loop_worker *worker)
{
	struct selecting *selecting = worker->state;
	bool accepts = loop_accepts(worker);
	if (accepts == selecting->accepts) {
		return true;
	}
	selecting->accepts = accepts;
	bool done = true;
	for (uint32_t index = 0; index < selecting->listener_count; index++) {
		if (accepts) {
			done = socket_set_add(&selecting->reading, selecting->listeners[index]) && done;
		} else {
			socket_set_remove(&selecting->reading, selecting->listeners[index]);
		}
	}
	return done;
}

static uint32_t index_of(const struct selecting *selecting, socket_handle socket)
{
	uint32_t number = socket_number(socket);
	return number < selecting->capacity ? selecting->indices[number] : NOT_A_CONNECTION;
}

/* Serves what the last wait found. True: the wake-up was among it. */
static bool ready_serve(struct loop_worker *worker)
{
	struct selecting *selecting = worker->state;
	bool woken = false;
	bool listeners_ready = false;
	uint32_t cursor = 0;
	socket_handle socket;
	while ((socket = socket_set_next(&selecting->ready_reading, &cursor)) != SOCKET_NONE) {
		uint32_t index = index_of(selecting, socket);
		if (index != NOT_A_CONNECTION) {
			loop_connection_readable(worker, index, socket);
		} else if (socket == worker->wake_receive) {
			woken = true;
		} else {
			listeners_ready = true;
		}
	}
	cursor = 0;
	while ((socket = socket_set_next(&selecting->ready_writing, &cursor)) != SOCKET_NONE) {
		uint32_t index = index_of(selecting, socket);
		if (index != NOT_A_CONNECTION) {
			loop_connection_ready(worker, index);
		}
	}
	/* Last: a new connection may get the number of one that has just ended, and is not ready. */
	for (uint32_t index = 0; listeners_ready && index < selecting->listener_count; index++) {
		loop_listener_ready(worker, selecting->listeners[index], LOOP_ACCEPTS_PER_ROUND);
	}
	return woken;
}

static void selecting_main(struct loop_worker *worker)
{
	struct selecting *selecting = worker->state;
	bool set = socket_set_add(&selecting->reading, worker->wake_receive);
	bool woken = !set;
	while (!loop_round_end(worker, woken)) {
		/* Without memory for the sets every round looks for itself whether it is to stop. */
		woken = true;
		if (!listeners_watch(worker) || !socket_set_copy(&selecting->ready_reading, &selecting->reading) ||
		    !socket_set_copy(&selecting->ready_writing, &selecting->writing)) {
			counter_add(&worker->counters.errors_memory, 1);
			clock_sleep_ns(20 * NS_PER_MS);
			continue;
		}
		int ready = socket_select(&selecting->ready_reading, &selecting->ready_writing, loop_wait_ns(worker));
		worker->system_calls++;
		if (ready < 0) {
			loop_wait_failed(worker, -ready);
		}
		woken = ready > 0 && ready_serve(worker);
	}
}

static void select_probe(struct ib_probe *out)
{
	out->available = 1;
}

extern const struct backend select_backend;

static const struct loop_model select_model = {
    .backend = &select_backend,
    .main = selecting_main,
    .create = selecting_create,
    .destroy = selecting_destroy,
    .added = selecting_added,
    .removed = selecting_removed,
    .interest = selecting_interest,
};

static int32_t select_start(const struct server_config *config, struct server **out, uint32_t *bound_port,
                            struct ib_error *error)
{
	return loop_server_start(&select_model, config, out, bound_port, error);
}

const struct backend select_backend = {
    .name = "select",
    .speaks_http = true,
    .probe = select_probe,
    .start = select_start,
    .stats = loop_server_stats,
    .stop = loop_server_stop,
};
