/*
 * epoll_accept.c - how connections of the epoll model come in: worker 0 accepts, and each goes to the worker that has the fewest.
 */
#include <errno.h>
#include <sys/socket.h>

#include "server/hand_out.h"
#include "server/linux/epoll.h"

#define ACCEPTS_PER_EVENT 64
#define ACCEPT_PAUSE_NS (20 * NS_PER_MS)

/* Makes sure that the table reaches the descriptor. Worker 0 only. */
static bool table_reach(struct epoll_server *server, int socket)
{
	uint32_t index = (uint32_t)socket / CHUNK_CONNECTIONS;
	if (index >= server->chunk_count) {
		return false;
	}
	if (atomic_load_explicit(&server->chunks[index], memory_order_relaxed) != NULL) {
		return true;
	}
	struct connection *chunk = calloc(CHUNK_CONNECTIONS, sizeof *chunk);
	if (chunk == NULL) {
		return false;
	}
	atomic_store_explicit(&server->chunks[index], chunk, memory_order_release);
	return true;
}

static uint64_t connections_of(const void *server, uint32_t number)
{
	return epoll_worker_connections(&((const struct epoll_server *)server)->workers[number]);
}

static struct worker *emptiest_worker(struct epoll_server *server)
{
	return &server->workers[hand_out_emptiest(server->options.workers, &server->next_worker, connections_of, server)];
}

/* Adds the socket to a worker's epoll instance: no queue and no wake-up stand between. */
static void connection_hand_out(struct worker *acceptor, int socket)
{
	struct epoll_server *server = acceptor->server;
	counter_add(&acceptor->counters.accepted, 1);
	struct worker *worker = emptiest_worker(server);
	int code = ENOMEM;
	if (table_reach(server, socket)) {
		struct connection *connection = connection_of(server, socket);
		struct epoll_event event = {.events = interest_reading(server), .data.u64 = (uint64_t)(uint32_t)socket};
		ib_assert(connection->owner == 0);
		atomic_store_explicit(&connection->owner, worker->number + 1, memory_order_release);
		/* Before the other worker can close it: assigned is never behind closed. */
		counter_add(&worker->assigned, 1);
		acceptor->system_calls++;
		if (epoll_ctl(worker->epoll, EPOLL_CTL_ADD, socket, &event) == 0) {
			return;
		}
		code = errno;
		atomic_store_explicit(&worker->assigned, counter_read(&worker->assigned) - 1, memory_order_relaxed);
		atomic_store_explicit(&connection->owner, 0, memory_order_release);
	}
	counters_error(&acceptor->counters, code);
	counter_add(&acceptor->counters.refused, 1);
	acceptor->system_calls++;
	socket_close(socket);
}

void epoll_listeners_watch(struct worker *acceptor, uint32_t interest)
{
	struct listeners *listeners = &acceptor->server->listeners;
	bool changed = true;
	for (uint32_t index = 0; index < listeners->count; index++) {
		struct epoll_event event = {.events = interest,
		                            .data.u64 = (uint64_t)EVENT_LISTENER << 32 | (uint32_t)listeners->sockets[index]};
		acceptor->system_calls++;
		changed = epoll_ctl(acceptor->epoll, EPOLL_CTL_MOD, listeners->sockets[index], &event) == 0 && changed;
	}
	/* One that could not be watched again gets another try after another pause. */
	acceptor->accept_again_ns = interest != 0 && changed ? 0 : clock_now_ns() + ACCEPT_PAUSE_NS;
}

void epoll_listener_ready(struct worker *acceptor, int listener)
{
	for (int count = 0; count < ACCEPTS_PER_EVENT; count++) {
		/* TCP_NODELAY comes from the listener: see socket_listen. */
		int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		acceptor->system_calls++;
		if (socket >= 0) {
			connection_hand_out(acceptor, socket);
			continue;
		}
		enum socket_condition condition = socket_condition_of(errno);
		if (condition == SOCKET_WOULD_BLOCK) {
			return;
		}
		if (condition == SOCKET_INTERRUPTED) {
			continue;
		}
		counters_error(&acceptor->counters, errno);
		/* The peer's own affair, as is a network error that Linux passes on; all else would fail again at once. */
		if (condition != SOCKET_ABORTED && condition != SOCKET_UNREACHABLE) {
			epoll_listeners_watch(acceptor, 0);
			return;
		}
	}
}
