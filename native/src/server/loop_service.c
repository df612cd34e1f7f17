/*
 * loop_service.c - connections of the models of loop.c whose requests get more than their echo (--work, --wait, --protocol http).
 *
 * A request that waits leaves the loop free for the other connections: the loop's own wait ends when the first of them is due. The worker has
 * one buffer for all connections, so bytes of a connection that cannot be answered at once are copied to a buffer of its own. Its socket is not
 * waited for meanwhile, since one that has more to read would end every wait at once.
 */
#include "server/loop.h"

static bool interest_change(struct loop_worker *worker, struct service_hold *hold, enum loop_interest interest)
{
	if (hold->interest == interest) {
		return true;
	}
	hold->interest = interest;
	return loop_interest_set(worker, hold->number, interest);
}

static enum loop_step blocked(struct loop_worker *worker, struct service_hold *hold, enum loop_interest interest)
{
	return interest_change(worker, hold, interest) ? STEP_BLOCKED : STEP_CLOSED;
}

/* Serves what a connection holds, until it is all answered (STEP_ECHOED), a request waits, or the socket takes no more. */
static enum loop_step hold_serve(struct loop_worker *worker, struct service_hold *hold)
{
	for (;;) {
		switch (service_hold_step(&worker->service, hold)) {
		case SERVICE_READ:
			return interest_change(worker, hold, LOOP_READ) ? STEP_ECHOED : STEP_CLOSED;
		case SERVICE_WAIT:
			return blocked(worker, hold, LOOP_NONE);
		case SERVICE_CUT:
			worker->thread.reset_count++;
			loop_connection_close(worker, hold->number, true);
			return STEP_CLOSED;
		case SERVICE_END:
			socket_shutdown_send(worker->connections[hold->number].socket);
			worker->system_calls++;
			continue;
		case SERVICE_REPLY:
			break;
		}
		ptrdiff_t sent =
		    socket_send(worker->connections[hold->number].socket, hold->request.reply_bytes, hold->request.reply);
		worker->system_calls++;
		if (sent < 0) {
			if (!loop_would_wait(sent)) {
				loop_connection_fail(worker, hold->number, (int)-sent);
				return STEP_CLOSED;
			}
			counter_add(&worker->counters.receives_paused, 1);
			return blocked(worker, hold, LOOP_WRITE);
		}
		worker->bytes_sent += (uint64_t)sent;
		service_hold_sent(&worker->service, hold, (uint32_t)sent);
	}
}

/* One recv, and the requests that it completes. Only for a connection that holds nothing. */
static enum loop_step receive_and_serve(struct loop_worker *worker, uint32_t index)
{
	struct loop_connection *connection = &worker->connections[index];
	ptrdiff_t received =
	    socket_receive(connection->socket, worker->buffer, worker->server->options.receive_buffer_bytes);
	worker->system_calls++;
	if (received <= 0) {
		if (received < 0 && loop_would_wait(received)) {
			return STEP_EMPTY;
		}
		if (received == 0) {
			loop_connection_close(worker, index, false);
		} else {
			loop_connection_fail(worker, index, (int)-received);
		}
		return STEP_CLOSED;
	}
	worker->requests++;
	worker->bytes_received += (uint64_t)received;
	bool first = connection->hold == NULL;
	if (!service_hold_lend(&connection->hold, worker->buffer, (uint32_t)received)) {
		counter_add(&worker->counters.errors_memory, 1);
		loop_connection_close(worker, index, false);
		return STEP_CLOSED;
	}
	if (first) {
		connection->hold->number = index;
		connection->hold->interest = LOOP_READ;
	}
	enum loop_step step = hold_serve(worker, connection->hold);
	/* What is not answered yet outlives the worker's buffer. */
	if (step == STEP_BLOCKED && !service_hold_keep(connection->hold)) {
		counter_add(&worker->counters.errors_memory, 1);
		loop_connection_close(worker, index, false);
		return STEP_CLOSED;
	}
	return step;
}

void loop_service_ready(struct loop_worker *worker, uint32_t index)
{
	struct service_hold *hold = worker->connections[index].hold;
	if (hold == NULL || !service_hold_is_busy(hold)) {
		receive_and_serve(worker, index);
	} else {
		hold_serve(worker, hold);
	}
}

void loop_service_drain(struct loop_worker *worker, uint32_t index)
{
	struct service_hold *hold = worker->connections[index].hold;
	enum loop_step step = hold != NULL && service_hold_is_busy(hold) ? hold_serve(worker, hold) : STEP_ECHOED;
	for (int round = 0; step == STEP_ECHOED && round < LOOP_DRAIN_ROUNDS_MAX; round++) {
		step = receive_and_serve(worker, index);
	}
	if (step == STEP_EMPTY || step == STEP_ECHOED) {
		loop_connection_close(worker, index, false);
	}
}

void loop_service_due(struct loop_worker *worker)
{
	uint64_t now_ns = clock_now_ns();
	struct service_request *request;
	while ((request = service_due(&worker->service, now_ns)) != NULL) {
		struct service_hold *hold = service_hold_of(request);
		if (worker->draining) {
			loop_service_drain(worker, hold->number);
		} else {
			hold_serve(worker, hold);
		}
	}
}
