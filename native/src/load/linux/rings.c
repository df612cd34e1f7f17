/*
 * rings.c - opens and closes the rings of an io_uring engine.
 */
#include "load/linux/rings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define SQ_ENTRIES 512u
#define CQ_ENTRIES_MAX 32768u
#define TABLE_SLOTS_MAX (1u << 20)
#define RINGS_MAX 1024u
#define BUFFERS_MAX 32768u /* the kernel's limit */
#define RECEIVE_BYTES_MAX 65536u
#define BUFFERS_BYTES_MAX (32u * 1024u * 1024u)

static uint32_t power_of_two(uint64_t least, uint32_t lowest, uint32_t highest)
{
	uint32_t value = lowest;
	while (value < least && value < highest) {
		value *= 2;
	}
	return value;
}

static bool index_queue_open(struct index_queue *queue, uint32_t slots)
{
	queue->at.capacity = slots + 1ull;
	queue->places = calloc(queue->at.capacity, sizeof *queue->places);
	return queue->places != NULL;
}

static int32_t client_ring_open(struct rings *rings, struct client_ring *at, struct ib_error *error)
{
	const struct engine *engine = rings->engine;
	uint32_t size_bytes = power_of_two(engine_receive_bytes(engine), 64, RECEIVE_BYTES_MAX);
	/* One buffer per connection, up to a limit that only large messages reach. A burst on all connections must not end a receive,
	 * because ending, failing and arming a receive again costs several times as much as an echo. */
	uint64_t affordable = BUFFERS_BYTES_MAX / size_bytes;
	uint32_t entries = power_of_two(rings->slots, 64, affordable < BUFFERS_MAX ? (uint32_t)affordable : BUFFERS_MAX);
	const char *what = "io_uring_setup()";
	int code;

	at->arena = malloc(ARENA_BYTES);
	if (at->arena == NULL || !index_queue_open(&at->starved, rings->slots) ||
	    !index_queue_open(&at->deferred, rings->slots)) {
		return error_set(error, IB_STATUS_MEMORY, ENOMEM, "no memory for the buffers of an engine");
	}
	code = ring_create(&at->ring, SQ_ENTRIES, power_of_two(4ull * rings->slots, 1024, CQ_ENTRIES_MAX));
	at->created = code == 0;
	if (code == 0) {
		what = "the table of direct descriptors";
		code = ring_register_files(&at->ring, rings->slots);
	}
	if (code == 0) {
		what = "the ring of buffers";
		const struct ring_buffers_shape shape = {size_bytes, entries, entries, entries};
		code = ring_buffers_create(&at->buffers, &at->ring, &shape);
		at->buffered = code == 0;
	}
	if (code != 0) {
		error_set(error, code == -EMFILE || code == -ENFILE ? IB_STATUS_DESCRIPTORS : IB_STATUS_OS, -code,
		          "%s failed: %s", what, error_text(-code));
		return error != NULL ? error->code : IB_STATUS_OS;
	}
	rings->engine->result.memory_bytes += ARENA_BYTES + at->ring.rings_map_bytes + at->ring.sqes_map_bytes +
	                                      (uint64_t)at->buffers.count * at->buffers.stride_bytes;
	return IB_STATUS_OK;
}

static int32_t rings_watch(struct rings *rings, struct ib_error *error)
{
	if (!timed_epoll_open(&rings->epoll)) {
		return error_set(error, IB_STATUS_OS, errno, "epoll_create1() failed: %s", error_text(errno));
	}
	for (uint32_t number = 0; number < rings->count; number++) {
		struct client_ring *at = &rings->rings[number];
		/* Edge-triggered: every signal is an edge, so nobody has to read the counter. */
		struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = number};

		at->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (at->event < 0 || epoll_ctl(rings->epoll.epoll, EPOLL_CTL_ADD, at->event, &event) != 0) {
			return error_set(error, errno == EMFILE || errno == ENFILE ? IB_STATUS_DESCRIPTORS : IB_STATUS_OS, errno,
			                 "an eventfd for a ring could not be created: %s", error_text(errno));
		}
		int code = ring_register_eventfd(&at->ring, at->event);
		if (code != 0) {
			return error_set(error, IB_STATUS_OS, -code, "an eventfd could not be registered: %s", error_text(-code));
		}
	}
	return IB_STATUS_OK;
}

/* Divides the connections among rings: a table may have only as many slots as the process may have descriptors. */
static void rings_divide(struct rings *rings)
{
	struct rlimit limit = {.rlim_cur = 1024};
	uint32_t connections = rings->engine->count != 0 ? rings->engine->count : 1;
	uint32_t slots_max = TABLE_SLOTS_MAX;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < slots_max) {
		slots_max = limit.rlim_cur > 128 ? (uint32_t)limit.rlim_cur - 64 : 64;
	}
	rings->count = (connections + slots_max - 1) / slots_max;
	rings->slots = (connections + rings->count - 1) / rings->count;
}

int32_t rings_open(struct rings *rings, struct ib_error *error)
{
	struct engine *engine = rings->engine;
	int32_t status = IB_STATUS_OK;

	rings_divide(rings);
	/* Besides the rings and their eventfds, the engine needs the epoll set and the socket that it is making. */
	if (rings->count > RINGS_MAX ||
	    (engine->options.descriptors != 0 && 2 * rings->count + 2 > engine->options.descriptors)) {
		return error_set(error, IB_STATUS_DESCRIPTORS, 0,
		                 "%u connections need %u rings, more than the descriptors allow", rings->count, engine->count);
	}
	rings->may_defer =
	    engine->pipeline == 1 && engine->options.think_time_ns == 0 && engine->message_size_bytes <= RECEIVE_BYTES_MAX;
	rings->rings = calloc(rings->count, sizeof *rings->rings);
	if (rings->rings == NULL) {
		return error_set(error, IB_STATUS_MEMORY, ENOMEM, "no memory for an engine");
	}
	for (uint32_t number = 0; number < rings->count; number++) {
		rings->rings[number].event = -1;
	}
	for (uint32_t number = 0; number < rings->count && status == IB_STATUS_OK; number++) {
		status = client_ring_open(rings, &rings->rings[number], error);
	}
	if (status == IB_STATUS_OK && rings->count > 1) {
		status = rings_watch(rings, error);
	}
	if (status == IB_STATUS_OK) {
		char features[128];
		ring_features(&rings->rings[0].ring, features, sizeof features);
		snprintf(engine->result.features, sizeof engine->result.features,
		         "%s multishot-receive provided-buffers direct-descriptors rings:%u", features, rings->count);
	}
	return status;
}

void rings_close(struct rings *rings)
{
	for (uint32_t number = 0; rings->rings != NULL && number < rings->count; number++) {
		struct client_ring *at = &rings->rings[number];
		if (at->created) {
			ring_destroy(&at->ring);
		}
		if (at->buffered) {
			ring_buffers_destroy(&at->buffers);
		}
		if (at->event >= 0) {
			close(at->event);
		}
		free(at->arena);
		free(at->starved.places);
		free(at->deferred.places);
	}
	free(rings->rings);
	timed_epoll_close(&rings->epoll);
}
