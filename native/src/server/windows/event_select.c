/*
 * event_select.c - readiness by events: WSAEventSelect, the model of Winsock 2 between select() and overlapped calls.
 *
 * Technique. Each connection has an event object, which Winsock sets when something has happened to the socket. A thread waits for the events
 * of up to 62 connections, asks WSAEnumNetworkEvents what has happened, and makes one recv and one send (loop.c). The kernel remembers what
 * each socket is waited for, so unlike select() nothing is handed over at each wait. But a thread can wait for 64 objects at most
 * (WSA_MAXIMUM_WAIT_EVENTS). Two of them are the wake-up and the listeners' event. When all threads are full, one is added: 6,000 connections
 * take 97 threads.
 *
 * Floor: Windows 2000.
 * Limits: 62 connections per thread. At most 2,048 threads here, so 126,976 connections.
 *
 * Traps
 *   - A wait reports one event, the set one with the lowest index. From there on the rest of the array is checked with waits of 0 ms.
 *     Otherwise the first connections would always be served before the others.
 *   - FD_READ is reported again only after a recv. So each FD_READ is answered with a recv. While bytes are unsent it is not, so a recv
 *     follows when they are sent.
 *   - FD_WRITE is reported once at the start, and later only after a send that failed for lack of room. So a short send is repeated until it
 *     fails (send_now in loop.c).
 *   - FD_CLOSE is reported once, perhaps before all data is read. From then on the socket is read to its end.
 *   - A socket that accept returns inherits its listener's association, including the event object, until it gets its own.
 *   - WSAEnumNetworkEvents resets the event and reads the record in one step. A separate ResetEvent would lose what happens between the two.
 *   - Several listeners share one event. It is reset once, before the first listener is asked. If each question reset it, an event of an
 *     earlier listener could get lost.
 *   - One accept answers one FD_ACCEPT. Accepting until nobody waits, as after poll(), takes connections before they are reported. Windows
 *     allows that, but Wine then reports no others.
 */
#include <stdlib.h>
#include <string.h>

#include "server/loop.h"

/* Events before those of connections. */
enum { EVENT_WAKE = 0, EVENT_ACCEPT = 1, EVENTS_FIXED = 2 };
_Static_assert(EVENTS_FIXED + IB_EVENT_SELECT_CONNECTIONS_PER_THREAD == WSA_MAXIMUM_WAIT_EVENTS,
               "a thread waits for as many events as it may");

struct events {
	WSAEVENT handles[WSA_MAXIMUM_WAIT_EVENTS];
	bool ended[WSA_MAXIMUM_WAIT_EVENTS]; /* FD_CLOSE was reported */
};

static bool events_create(struct loop_worker *worker)
{
	struct events *events = calloc(1, sizeof *events);
	worker->state = events;
	if (events == NULL) {
		return false;
	}
	events->handles[EVENT_WAKE] = WSACreateEvent();
	events->handles[EVENT_ACCEPT] = WSACreateEvent();
	return events->handles[EVENT_WAKE] != WSA_INVALID_EVENT && events->handles[EVENT_ACCEPT] != WSA_INVALID_EVENT;
}

static void events_destroy(struct loop_worker *worker)
{
	struct events *events = worker->state;
	for (int index = 0; events != NULL && index < EVENTS_FIXED; index++) {
		if (events->handles[index] != WSA_INVALID_EVENT) {
			WSACloseEvent(events->handles[index]);
		}
	}
	free(events);
}

static bool events_added(struct loop_worker *worker)
{
	struct events *events = worker->state;
	uint32_t position = EVENTS_FIXED + worker->count - 1;
	ib_assert(position < WSA_MAXIMUM_WAIT_EVENTS);
	WSAEVENT event = WSACreateEvent();
	worker->system_calls += 3; /* creating, WSAEventSelect and setting */
	if (event == WSA_INVALID_EVENT) {
		return false;
	}
	if (WSAEventSelect(worker->connections[worker->count - 1].socket, event, FD_READ | FD_WRITE | FD_CLOSE) != 0) {
		WSACloseEvent(event);
		return false;
	}
	/* The socket is checked once in any case, so that data from before the association is not missed, whatever the provider does. */
	WSASetEvent(event);
	events->handles[position] = event;
	events->ended[position] = false;
	return true;
}

static void events_wake(const struct loop_worker *worker)
{
	const struct events *events = worker->state;
	WSASetEvent(events->handles[EVENT_WAKE]);
}

static void events_removed(struct loop_worker *worker, uint32_t index)
{
	struct events *events = worker->state;
	uint32_t position = EVENTS_FIXED + index;
	uint32_t last = EVENTS_FIXED + worker->count - 1;
	ib_assert(position <= last && last < WSA_MAXIMUM_WAIT_EVENTS && events->handles[position] != WSA_INVALID_EVENT);
	worker->system_calls += 2;
	WSAEventSelect(worker->connections[index].socket, NULL, 0);
	WSACloseEvent(events->handles[position]);
	events->handles[position] = events->handles[last];
	events->ended[position] = events->ended[last];
}

/*
 * Both kinds of event are always reported. But while a request waits (--wait), its connection is not read, so an FD_READ of that time is not
 * answered with a recv, and no other is reported. The event is therefore set when the connection is to be read again.
 */
static bool events_interest(struct loop_worker *worker, uint32_t index, enum loop_interest interest)
{
	const struct events *events = worker->state;
	if (interest == LOOP_READ && worker->service.service != NULL) {
		WSASetEvent(events->handles[EVENTS_FIXED + index]);
		worker->system_calls++;
	}
	return true;
}

/* Serves a connection whose event was set. True if it has ended; another may then have its index. */
static bool connection_serve(struct loop_worker *worker, uint32_t index)
{
	struct events *events = worker->state;
	uint32_t position = EVENTS_FIXED + index;
	WSANETWORKEVENTS found = {0};
	worker->system_calls++;
	if (WSAEnumNetworkEvents(worker->connections[index].socket, events->handles[position], &found) == 0 &&
	    (found.lNetworkEvents & FD_CLOSE) != 0) {
		events->ended[position] = true;
	}
	for (;;) {
		bool was_blocked = loop_connection_is_blocked(&worker->connections[index]);
		uint32_t count = worker->count;
		uint64_t requests = worker->requests;
		loop_connection_ready(worker, index);
		if (worker->count < count) {
			return true;
		}
		if (loop_connection_is_blocked(&worker->connections[index])) {
			return false; /* FD_WRITE will come */
		}
		/* No event will report what is still to be read. */
		bool goes_on = was_blocked || (events->ended[position] && worker->requests != requests);
		if (!goes_on) {
			return false;
		}
	}
}

/* One accept for each FD_ACCEPT, which is reported again if more connections wait. `all`: one accept per listener in any case. */
static void listeners_serve(struct loop_worker *worker, bool all)
{
	struct events *events = worker->state;
	/* Before any record is read: a later event sets it again. */
	WSAResetEvent(events->handles[EVENT_ACCEPT]);
	worker->system_calls++;
	for (uint32_t index = 0; index < worker->server->listeners.count && loop_accepts(worker); index++) {
		socket_handle listener = worker->server->listeners.sockets[index];
		WSANETWORKEVENTS found = {0};
		WSAEnumNetworkEvents(listener, NULL, &found);
		worker->system_calls++;
		if (all || (found.lNetworkEvents & FD_ACCEPT) != 0) {
			loop_listener_ready(worker, listener, 1);
		}
	}
}

/* Serves the events that are set, from `index` of the array on. True: the wake-up was one of them. */
static bool set_serve(struct loop_worker *worker, uint32_t index)
{
	struct events *events = worker->state;
	bool woken = false;
	for (;;) {
		bool moved = false;
		if (index == EVENT_WAKE) {
			WSAResetEvent(events->handles[EVENT_WAKE]);
			worker->system_calls++;
			woken = true;
		} else if (index == EVENT_ACCEPT) {
			listeners_serve(worker, false);
		} else {
			moved = connection_serve(worker, index - EVENTS_FIXED);
		}
		index += moved ? 0 : 1;
		uint32_t total = EVENTS_FIXED + worker->count;
		if (index >= total) {
			return woken;
		}
		worker->system_calls++;
		DWORD next = WSAWaitForMultipleEvents(total - index, &events->handles[index], FALSE, 0, FALSE);
		if (next >= WSA_WAIT_EVENT_0 + (total - index)) {
			return woken;
		}
		index += next - WSA_WAIT_EVENT_0;
	}
}

static void listeners_watch(struct loop_worker *worker)
{
	struct events *events = worker->state;
	for (uint32_t index = 0; worker->number == 0 && index < worker->server->listeners.count; index++) {
		WSAEventSelect(worker->server->listeners.sockets[index], events->handles[EVENT_ACCEPT], FD_ACCEPT);
		worker->system_calls++;
	}
}

static void events_main(struct loop_worker *worker)
{
	struct events *events = worker->state;
	listeners_watch(worker);
	bool woken = false;
	bool rested = false;
	while (!loop_round_end(worker, woken)) {
		/* Connections that came during the pause are not reported again. */
		if (rested && loop_accepts(worker)) {
			listeners_serve(worker, true);
		}
		rested = worker->accept_again_ns != 0;
		uint64_t wait_ns = loop_wait_ns(worker);
		DWORD wait_ms = wait_ns == IB_UNKNOWN ? WSA_INFINITE : (DWORD)((wait_ns + NS_PER_MS - 1) / NS_PER_MS);
		uint32_t total = EVENTS_FIXED + worker->count;
		worker->system_calls++;
		DWORD found = WSAWaitForMultipleEvents(total, events->handles, FALSE, wait_ms, FALSE);
		woken = false;
		if (found == WSA_WAIT_FAILED) {
			loop_wait_failed(worker, WSAGetLastError());
		} else if (found < WSA_WAIT_EVENT_0 + total) {
			woken = set_serve(worker, found - WSA_WAIT_EVENT_0);
		}
	}
}

static void event_select_probe(struct ib_probe *out)
{
	out->available = 1;
}

extern const struct backend event_select_backend;

static const struct loop_model event_select_model = {
    .backend = &event_select_backend,
    .connections_max = IB_EVENT_SELECT_CONNECTIONS_PER_THREAD,
    .workers_max = IB_EVENT_SELECT_THREADS_MAX,
    .main = events_main,
    .create = events_create,
    .destroy = events_destroy,
    .added = events_added,
    .wake = events_wake,
    .removed = events_removed,
    .interest = events_interest,
};

static int32_t event_select_start(const struct server_config *config, struct server **out, uint32_t *bound_port,
                                  struct ib_error *error)
{
	return loop_server_start(&event_select_model, config, out, bound_port, error);
}

const struct backend event_select_backend = {
    .name = "event_select",
    .speaks_http = true,
    .probe = event_select_probe,
    .start = event_select_start,
    .stats = loop_server_stats,
    .stop = loop_server_stop,
};
