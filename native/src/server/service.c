/*
 * service.c - what a server does for a request besides its echo: work, a wait, and a reply of its own. See service.h.
 */
#include "server/service.h"

#include <stdlib.h>
#include <string.h>

#include "server/counters.h"

/* A wait that blocks looks this often whether the server has stopped. Most waits are shorter than that. */
#define SLEEP_SLICE_NS (50 * NS_PER_MS)
#define HOLD_BYTES_MIN 64u

void service_init(struct service *service, const struct ib_server_options *options)
{
	memset(service, 0, sizeof *service);
	atomic_init(&service->cut_ns, UINT64_MAX);
	service->is_http = options->protocol == IB_PROTOCOL_HTTP;
	service->body_bytes = options->body_size_bytes;
	service->has_cost = options->work_ns != 0 || options->wait_ns != 0;
	service->is_used = service->is_http || service->has_cost;
	if (!service->has_cost) {
		return;
	}
	service->message_bytes = options->message_size_bytes;
	service->wait_ns = options->wait_ns;
	service->waits_block = (options->flags & IB_SERVER_WAIT_BLOCKS) != 0;
	work_calibrate(&service->work, options->work_ns);
}

bool service_prepare(struct service *service)
{
	service->http = service->is_http ? http_replies_make(service->body_bytes) : NULL;
	return !service->is_http || service->http != NULL;
}

void service_free(struct service *service)
{
	http_replies_free(service->http);
	service->http = NULL;
}

void service_worker_assign(struct service_worker *worker, struct service *service, struct service_counts *counts,
                           _Atomic uint64_t *system_calls)
{
	if (!service_is_used(service)) {
		return;
	}
	worker->service = service;
	worker->counts = counts;
	worker->system_calls = system_calls;
}

void service_worker_start(struct service_worker *worker, struct service *service, struct service_counts *counts,
                          _Atomic uint64_t *system_calls)
{
	service_worker_assign(worker, service, counts, system_calls);
	if (service->wait_ns > 0) {
		counter_add(system_calls, 1);
		thread_waits_precisely();
	}
}

void service_cut(struct service *service, uint64_t due_ns)
{
	atomic_store_explicit(&service->cut_ns, due_ns, memory_order_relaxed);
}

static void wait_over(struct service_worker *worker, uint64_t waited_ns)
{
	counter_add(&worker->counts->waits, 1);
	counter_add(&worker->counts->waited_ns, waited_ns);
}

/* False: cut short. */
static bool wait_blocking(struct service_worker *worker)
{
	const struct service *service = worker->service;
	uint64_t start_ns = clock_now_ns();
	uint64_t due_ns = start_ns + service->wait_ns;
	uint64_t now_ns = start_ns;
	while (now_ns < due_ns) {
		if (now_ns >= atomic_load_explicit(&service->cut_ns, memory_order_relaxed)) {
			return false;
		}
		uint64_t left_ns = due_ns - now_ns;
		counter_add(worker->system_calls, 1);
		clock_sleep_ns(left_ns < SLEEP_SLICE_NS ? left_ns : SLEEP_SLICE_NS);
		now_ns = clock_now_ns();
	}
	wait_over(worker, now_ns - start_ns);
	return true;
}

static void queue_push(struct service_worker *worker, struct service_request *request)
{
	request->next = NULL;
	request->previous = worker->last;
	if (worker->last != NULL) {
		worker->last->next = request;
	} else {
		worker->first = request;
	}
	worker->last = request;
}

static void queue_remove(struct service_worker *worker, struct service_request *request)
{
	if (request->previous != NULL) {
		request->previous->next = request->next;
	} else {
		worker->first = request->next;
	}
	if (request->next != NULL) {
		request->next->previous = request->previous;
	} else {
		worker->last = request->previous;
	}
	request->next = request->previous = NULL;
}

/* Work and wait are done. `bytes`: of the reply, if it is an echo. */
static void reply_with(struct service_worker *worker, struct service_request *request, uint32_t bytes)
{
	request->phase = 0;
	request->reply = bytes;
	if (worker->service->is_http) {
		request->reply = http_answer_next(&request->http, worker->service->http, &request->reply_bytes);
	}
	counter_add(&worker->counts->served, 1);
}

/* A request is whole. */
static enum service_verdict request_serve(struct service_worker *worker, struct service_request *request,
                                          uint32_t bytes)
{
	struct service *service = worker->service;
	if (worker->until_sample == 0 && service->work.has_clock) {
		counter_add(worker->system_calls, 2); /* the readings of the CPU clock around the burn */
	}
	if (service->work.work_ns > 0 &&
	    !work_burn(&service->work, &worker->counts->work, &worker->until_sample, &service->cut_ns)) {
		return SERVICE_CUT;
	}
	if (service->wait_ns > 0 && !service->waits_block) {
		request->state = SERVICE_WAITING;
		request->whole = bytes;
		request->due_ns = clock_now_ns() + service->wait_ns;
		queue_push(worker, request);
		return SERVICE_WAIT;
	}
	if (service->wait_ns > 0 && !wait_blocking(worker)) {
		return SERVICE_CUT;
	}
	reply_with(worker, request, bytes);
	return SERVICE_REPLY;
}

/* Nothing is to be sent: parses what came. */
static enum service_verdict http_step(struct service_worker *worker, struct service_request *request, const char *bytes,
                                      uint32_t available)
{
	const struct service *service = worker->service;
	struct http_answer *http = &request->http;
	uint32_t requests = 0;
	if (http->is_over && !request->has_ended) {
		request->has_ended = true;
		return SERVICE_END;
	}
	bool was_over = http->is_over;
	request->taken = (uint32_t)http_answer_take(http, bytes, available, service->has_cost ? 1 : UINT32_MAX, &requests);
	if (unlikely(http->is_over && !was_over && http->is_refused)) {
		counter_add(&worker->counts->rejected, 1);
	}
	if (requests > 0 && service->has_cost) {
		enum service_verdict verdict = request_serve(worker, request, 0);
		counter_add(&worker->counts->dropped, verdict == SERVICE_CUT);
		return verdict;
	}
	counter_add(&worker->counts->served, requests);
	request->reply = http_answer_next(http, service->http, &request->reply_bytes);
	return request->reply > 0 ? SERVICE_REPLY : SERVICE_READ;
}

enum service_verdict service_step(struct service_worker *worker, struct service_request *request, const char *bytes,
                                  uint32_t available)
{
	bool is_http = worker->service->is_http;
	request->taken = 0;
	if (request->state == SERVICE_WAITING) {
		return SERVICE_WAIT;
	}
	if (!is_http) {
		ib_assert(request->reply <= available && request->phase < worker->service->message_bytes);
		request->reply_bytes = bytes;
	}
	if (request->reply > 0) {
		return SERVICE_REPLY;
	}
	if (is_http) {
		return http_step(worker, request, bytes, available);
	}
	if (available == 0) {
		return SERVICE_READ;
	}
	uint32_t missing = worker->service->message_bytes - request->phase;
	if (available >= missing) {
		return request_serve(worker, request, missing);
	}
	request->phase += available;
	request->reply = available;
	return SERVICE_REPLY;
}

void service_abandon(struct service_worker *worker, struct service_request *request, uint32_t available)
{
	bool waited = request->state == SERVICE_WAITING;
	if (waited) {
		queue_remove(worker, request);
	}
	if (worker->service->is_http) {
		counter_add(&worker->counts->dropped, waited);
	} else {
		/* The bytes of a reply that was not sent whole belong to a request that was served. */
		uint32_t unserved = request->phase + available - request->reply;
		counter_add(&worker->counts->dropped, unserved / worker->service->message_bytes);
	}
	*request = (struct service_request){0};
}

enum service_verdict service_advance(struct service_worker *worker, struct service_request *request,
                                     socket_handle socket, const char *bytes, uint32_t *taken, uint32_t length)
{
	for (;;) {
		enum service_verdict verdict = service_step(worker, request, bytes + *taken, length - *taken);
		*taken += request->taken;
		if (verdict != SERVICE_END) {
			return verdict;
		}
		counter_add(worker->system_calls, 1);
		socket_shutdown_send(socket);
	}
}

int service_answer(struct service_worker *worker, struct service_request *request, socket_handle socket,
                   const char *bytes, uint32_t length, _Atomic uint64_t *bytes_sent)
{
	uint32_t taken = 0;
	for (;;) {
		enum service_verdict verdict = service_advance(worker, request, socket, bytes, &taken, length);
		ib_assert(verdict != SERVICE_WAIT);
		if (verdict == SERVICE_READ) {
			return 0;
		}
		if (verdict == SERVICE_CUT) {
			service_abandon(worker, request, length - taken);
			return SERVICE_WAS_CUT;
		}
		counter_add(worker->system_calls, 1);
		ptrdiff_t result = socket_send(socket, request->reply_bytes, request->reply);
		if (result < 0) {
			service_abandon(worker, request, length - taken);
			return (int)-result;
		}
		counter_add(bytes_sent, (uint64_t)result);
		taken += service_replied(worker, request, (uint32_t)result);
	}
}

struct service_request *service_due(struct service_worker *worker, uint64_t now_ns)
{
	struct service_request *request = worker->first;
	if (request == NULL || request->due_ns > now_ns) {
		return NULL;
	}
	queue_remove(worker, request);
	request->state = SERVICE_IDLE;
	wait_over(worker, now_ns - (request->due_ns - worker->service->wait_ns));
	reply_with(worker, request, request->whole);
	return request;
}

static void count_move(_Atomic uint64_t *to, _Atomic uint64_t *from)
{
	counter_add(to, counter_read(from));
	atomic_store_explicit(from, 0, memory_order_relaxed);
}

void service_counts_move(struct service_counts *to, struct service_counts *from)
{
	count_move(&to->served, &from->served);
	count_move(&to->dropped, &from->dropped);
	count_move(&to->rejected, &from->rejected);
	count_move(&to->waits, &from->waits);
	count_move(&to->waited_ns, &from->waited_ns);
	count_move(&to->work.measured, &from->work.measured);
	count_move(&to->work.burnt_ns, &from->work.burnt_ns);
}

void service_counts_sum(const struct service_counts *counts, struct ib_server_stats *out)
{
	out->served += counter_read(&counts->served);
	out->dropped += counter_read(&counts->dropped);
	out->rejected += counter_read(&counts->rejected);
	/* Measured is read first, so that a snapshot never shows a burn without its time. */
	out->work_measured += counter_read(&counts->work.measured);
	out->work_burnt_ns += counter_read(&counts->work.burnt_ns);
	out->waits += counter_read(&counts->waits);
	out->waited_ns += counter_read(&counts->waited_ns);
}

/* --------------------------------------------------------------------------------------------- holding */

bool service_hold_lend(struct service_hold **slot, const char *bytes, uint32_t length)
{
	struct service_hold *hold = *slot;
	if (hold == NULL) {
		hold = *slot = calloc(1, sizeof *hold);
		if (hold == NULL) {
			return false;
		}
	}
	ib_assert(!service_hold_is_busy(hold));
	hold->bytes = bytes;
	hold->start = 0;
	hold->end = length;
	return true;
}

bool service_hold_keep(struct service_hold *hold)
{
	uint32_t length = hold->end - hold->start;
	if (length > hold->capacity) {
		uint32_t capacity = HOLD_BYTES_MIN;
		while (capacity < length) {
			capacity *= 2;
		}
		/* Nothing of the old bytes is needed. */
		free(hold->own);
		hold->own = malloc(capacity);
		hold->capacity = hold->own != NULL ? capacity : 0;
		if (hold->own == NULL) {
			return false;
		}
	}
	if (length > 0) {
		memcpy(hold->own, hold->bytes + hold->start, length);
	}
	hold->bytes = hold->own;
	hold->start = 0;
	hold->end = length;
	return true;
}

void service_hold_end(struct service_worker *worker, struct service_hold *hold)
{
	if (hold == NULL) {
		return;
	}
	service_abandon(worker, &hold->request, hold->end - hold->start);
	free(hold->own);
	free(hold);
}
