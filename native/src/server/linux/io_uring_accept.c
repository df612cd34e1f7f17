/*
 * io_uring_accept.c - how connections come in and are handed out: the duties of worker 0 of the io_uring model.
 *
 * A multishot accept per listener puts sockets into worker 0's table. A connection that goes to another worker is carried by a
 * message to that worker's ring, which puts the file into its own table; then worker 0 closes its slot. Until that is done the
 * connection is in transit.
 */
#include <errno.h>
#include <poll.h>

#include "server/linux/io_uring.h"

#define ACCEPT_PAUSE_NS (20 * NS_PER_MS)

uint32_t uring_worker_capacity(uint32_t slots, uint32_t worker_count)
{
	if (worker_count == 1) {
		return slots;
	}
	return slots - (slots / 4 < SLOTS_RESERVE ? slots / 4 : SLOTS_RESERVE);
}

/* The worker with the fewest connections, of those that serve; the search starts behind the last chosen, so that equals take turns. */
static struct worker *emptiest_worker(const struct uring_server *server)
{
	struct worker *best = &server->workers[0];
	uint64_t fewest = UINT64_MAX;
	for (uint32_t step = 0; step < server->worker_count; step++) {
		struct worker *worker = &server->workers[(server->next_worker + step) % server->worker_count];
		uint64_t open = uring_worker_connections(worker);
		if (open < fewest && !atomic_load_explicit(&worker->failed, memory_order_relaxed)) {
			fewest = open;
			best = worker;
		}
	}
	return best;
}

/* Slots of worker 0's table that neither a connection nor an outstanding accept can claim. */
static uint32_t slots_free(const struct uring_server *server)
{
	uint32_t used = server->workers[0].open + server->in_transit + server->armed;
	uint32_t slots = server->workers[0].slots;
	return used < slots ? slots - used : 0;
}

static bool multishot_fits(const struct uring_server *server)
{
	uint32_t backlog = server->backlog == IB_UNKNOWN_32 ? server->options.backlog : server->backlog;
	return slots_free(server) > (backlog + 1) * server->listeners.count;
}

static void accept_post(struct uring_server *server, uint32_t index, bool multishot)
{
	struct uring_sqe *sqe = uring_worker_sqe(&server->workers[0], OP_ACCEPT, index);
	sqe->opcode = URING_OP_ACCEPT;
	sqe->fd = server->listeners.sockets[index];
	sqe->file_index = URING_FILE_INDEX_ALLOC;
	sqe->ioprio = multishot ? URING_ACCEPT_MULTISHOT : 0;
	server->accepting[index] = (struct accepting){.armed = true, .multishot = multishot};
	server->armed++;
}

void uring_accept_cancel(struct uring_server *server, uint32_t index)
{
	if (!server->accepting[index].armed || server->accepting[index].cancelling) {
		return;
	}
	server->accepting[index].cancelling = true;
	struct uring_sqe *sqe = uring_worker_sqe(&server->workers[0], OP_CANCEL_ACCEPT, index);
	sqe->opcode = URING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = uring_user_data(OP_ACCEPT, index);
}

/* No slot is left. It is an error only where somebody waits to be accepted. */
static void accept_exhausted(struct uring_server *server)
{
	for (uint32_t index = 0; index < server->listeners.count; index++) {
		struct pollfd pending = {.fd = server->listeners.sockets[index], .events = POLLIN};
		counter_add(&server->workers[0].counters.system_calls, 1);
		if (poll(&pending, 1, 0) == 1) {
			counters_error(&server->workers[0].counters, ENFILE);
			break;
		}
	}
	server->accept_again_ns = clock_now_ns() + ACCEPT_PAUSE_NS;
}

void uring_accept_arm(struct uring_server *server)
{
	if (server->armed == server->listeners.count) {
		return;
	}
	if (server->accept_again_ns != 0 && clock_now_ns() < server->accept_again_ns) {
		return;
	}
	server->accept_again_ns = 0;
	uint32_t capacity = uring_worker_capacity(server->workers[0].slots, server->worker_count);
	for (uint32_t index = 0; index < server->listeners.count; index++) {
		if (server->accepting[index].armed) {
			continue;
		}
		bool full = slots_free(server) == 0;
		if (full && server->in_transit > 0) {
			return; /* a hand-over that completes frees a slot, and brings us back here */
		}
		if (full || uring_worker_connections(emptiest_worker(server)) >= capacity) {
			accept_exhausted(server);
			return;
		}
		accept_post(server, index, multishot_fits(server));
	}
}

static void close_own_slot(struct uring_server *server, uint32_t slot)
{
	struct uring_sqe *sqe = uring_worker_sqe(&server->workers[0], OP_CLOSE_HANDED, slot);
	sqe->opcode = URING_OP_CLOSE;
	sqe->file_index = slot + 1;
}

/* Gives the connection in worker 0's slot to the worker with the fewest. */
static void connection_hand_out(struct uring_server *server, uint32_t slot)
{
	struct worker *acceptor = &server->workers[0];
	/* The others have stopped, or are about to, when an accept comes back after the deadline of a stop. */
	struct worker *worker = acceptor->draining ? acceptor : emptiest_worker(server);
	counter_add(&acceptor->counters.accepted, 1);
	counter_add(&worker->assigned, 1);
	server->next_worker = (worker->number + 1) % server->worker_count;
	if (worker == acceptor) {
		uring_connection_open(acceptor, slot);
		return;
	}
	server->in_transit++;
	struct uring_sqe *sqe = uring_worker_sqe(acceptor, OP_HAND_OVER, slot);
	sqe->opcode = URING_OP_MSG_RING;
	sqe->fd = worker->ring_fd;
	sqe->addr = URING_MSG_SEND_FD;
	sqe->addr3 = slot;
	sqe->file_index = URING_FILE_INDEX_ALLOC;
	sqe->off = uring_user_data(OP_NEW_CONNECTION, 0);
	acceptor->handed_to[slot] = (uint16_t)worker->number;
}

/* The other ring has its own reference now, or could not take it. */
void uring_connection_handed_over(struct uring_server *server, uint32_t slot, int32_t result)
{
	struct worker *acceptor = &server->workers[0];
	if (result < 0) {
		struct worker *worker = &server->workers[acceptor->handed_to[slot]];
		atomic_store_explicit(&worker->assigned, counter_read(&worker->assigned) - 1, memory_order_relaxed);
		counters_error(&acceptor->counters, -result);
		counter_add(&acceptor->counters.refused, 1);
	}
	/* The other ring has the socket, but had no memory to be told so: nobody will serve it, and its slot there is lost. The peer must
	 * not wait for that. */
	if (result == -EOVERFLOW) {
		uring_reset_post(acceptor, slot);
	}
	close_own_slot(server, slot);
}

void uring_accept_completed(struct uring_server *server, uint32_t index, const struct uring_cqe *cqe)
{
	struct accepting *accepting = &server->accepting[index];
	if ((cqe->flags & URING_CQE_MORE) == 0) {
		accepting->armed = false;
		ib_count_down(server->armed, 1);
	}
	if (cqe->res >= 0) {
		connection_hand_out(server, (uint32_t)cqe->res);
		if (accepting->armed && accepting->multishot && !multishot_fits(server)) {
			uring_accept_cancel(server, index);
		}
		return;
	}
	if (cqe->res == -ECANCELED || cqe->res == -EINTR) {
		return;
	}
	counters_error(&server->workers[0].counters, -cqe->res);
	/* The peer's own affair, as is a network error that Linux passes on; all else would fail again at once. */
	enum socket_condition condition = socket_condition_of(-cqe->res);
	if (condition != SOCKET_ABORTED && condition != SOCKET_UNREACHABLE) {
		server->accept_again_ns = clock_now_ns() + ACCEPT_PAUSE_NS;
	}
}

void uring_own_slot_closed(struct uring_server *server)
{
	ib_count_down(server->in_transit, 1);
}
