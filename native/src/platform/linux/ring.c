/*
 * ring.c - an io_uring for one thread, and rings of provided buffers.
 */
#include "ring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "procfile.h"

static int uring_setup(uint32_t entries, struct uring_params *params)
{
	long fd = syscall(URING_SYSCALL_SETUP, entries, params);
	return fd < 0 ? -errno : (int)fd;
}

static int uring_register(int fd, enum uring_register_op op, void *argument, uint32_t count)
{
	long result = syscall(URING_SYSCALL_REGISTER, fd, op, argument, count);
	return result < 0 ? -errno : (int)result;
}

/* -------------------------------------------------------------------------------------------- ring */

/* Tries combinations of flags, the best first. A kernel that does not know a flag returns EINVAL. */
static int setup_best(uint32_t sq_entries, struct uring_params *params, uint32_t cq_entries)
{
	const uint32_t common = URING_SETUP_CQSIZE | URING_SETUP_CLAMP | URING_SETUP_SUBMIT_ALL | URING_SETUP_COOP_TASKRUN |
	                        URING_SETUP_SINGLE_ISSUER;
	const uint32_t ladder[] = {
	    common | URING_SETUP_DEFER_TASKRUN | URING_SETUP_NO_SQARRAY,
	    common | URING_SETUP_DEFER_TASKRUN,
	    common,
	};
	int fd = -EINVAL;
	for (size_t step = 0; step < sizeof ladder / sizeof ladder[0] && fd == -EINVAL; step++) {
		memset(params, 0, sizeof *params);
		params->flags = ladder[step];
		params->cq_entries = cq_entries;
		fd = uring_setup(sq_entries, params);
	}
	return fd;
}

static uint32_t *field(void *map, uint32_t offset)
{
	return (uint32_t *)(void *)((char *)map + offset);
}

static int map_rings(struct ring *ring, const struct uring_params *params)
{
	size_t bytes = params->cq_off.cqes + params->cq_entries * sizeof(struct uring_cqe);
	size_t array_end = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	bool has_array = (params->flags & URING_SETUP_NO_SQARRAY) == 0;
	if (has_array && array_end > bytes) {
		bytes = array_end;
	}
	ring->rings_map_bytes = bytes;
	ring->sqes_map_bytes = params->sq_entries * sizeof(struct uring_sqe);
	const int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
	ring->rings_map = mmap(NULL, bytes, protection, flags, ring->fd, URING_OFFSET_RINGS);
	if (ring->rings_map == MAP_FAILED) {
		return -errno;
	}
	void *sqes = mmap(NULL, ring->sqes_map_bytes, protection, flags, ring->fd, URING_OFFSET_SQES);
	if (sqes == MAP_FAILED) {
		int code = errno;
		munmap(ring->rings_map, bytes);
		return -code;
	}
	ring->sqes = sqes;
	ring->sq_entries = params->sq_entries;
	ring->sq_mask = *field(ring->rings_map, params->sq_off.ring_mask);
	ring->sq_tail = field(ring->rings_map, params->sq_off.tail);
	ring->cq_mask = *field(ring->rings_map, params->cq_off.ring_mask);
	ring->cq_head = field(ring->rings_map, params->cq_off.head);
	ring->cq_tail = field(ring->rings_map, params->cq_off.tail);
	ring->cqes = (struct uring_cqe *)(void *)field(ring->rings_map, params->cq_off.cqes);
	/* Entries are submitted in the order of their places, so filling the index array once is enough. */
	if (has_array) {
		for (uint32_t index = 0; index < params->sq_entries; index++) {
			field(ring->rings_map, params->sq_off.array)[index] = index;
		}
	}
	return 0;
}

/* Entering a registered ring needs no lookup in the descriptor table. */
static void register_itself(struct ring *ring)
{
	struct uring_rsrc_update update = {.offset = UINT32_MAX, .data = (uint64_t)ring->fd};
	ring->enter_fd = ring->fd;
	ring->enter_flags = 0;
	if (uring_register(ring->fd, URING_REGISTER_RING_FDS, &update, 1) == 1) {
		ring->enter_fd = (int)update.offset;
		ring->enter_flags = URING_ENTER_REGISTERED_RING;
	}
}

int ring_create(struct ring *ring, uint32_t sq_entries, uint32_t cq_entries)
{
	struct uring_params params;
	memset(ring, 0, sizeof *ring);
	ring->fd = setup_best(sq_entries, &params, cq_entries);
	if (ring->fd < 0) {
		return ring->fd;
	}
	ring->setup_flags = params.flags;
	const uint32_t required = URING_FEATURE_SINGLE_MMAP | URING_FEATURE_NODROP | URING_FEATURE_EXT_ARG;
	int code = (params.features & required) == required ? map_rings(ring, &params) : -ENOSYS;
	if (code != 0) {
		close(ring->fd);
		ring->fd = -1;
		return code;
	}
	register_itself(ring);
	return 0;
}

void ring_destroy(struct ring *ring)
{
	if (ring->fd < 0 || ring->rings_map == NULL) {
		return;
	}
	if (ring->enter_flags != 0) {
		/* The registration holds its own reference to the ring, which would last as long as the thread. */
		struct uring_rsrc_update update = {.offset = (uint32_t)ring->enter_fd};
		uring_register(ring->fd, URING_UNREGISTER_RING_FDS, &update, 1);
	}
	munmap(ring->sqes, ring->sqes_map_bytes);
	munmap(ring->rings_map, ring->rings_map_bytes);
	close(ring->fd);
	ring->fd = -1;
	ring->rings_map = NULL;
}

void ring_features(const struct ring *ring, char *out, size_t size)
{
	snprintf(out, size, "single-issuer%s%s%s",
	         (ring->setup_flags & URING_SETUP_DEFER_TASKRUN) != 0 ? " defer-taskrun" : "",
	         (ring->setup_flags & URING_SETUP_NO_SQARRAY) != 0 ? " no-sqarray" : "",
	         ring->enter_flags != 0 ? " registered-ring" : "");
}

int ring_register_files(struct ring *ring, uint32_t slots)
{
	struct uring_rsrc_register files = {.count = slots, .flags = URING_RSRC_SPARSE};
	int result = uring_register(ring->fd, URING_REGISTER_FILES2, &files, sizeof files);
	return result < 0 ? result : 0;
}

int ring_install_file(struct ring *ring, uint32_t slot, int fd)
{
	struct uring_rsrc_update update = {.offset = slot, .data = (uint64_t)(uintptr_t)&fd};
	ring->system_calls++;
	int result = uring_register(ring->fd, URING_REGISTER_FILES_UPDATE, &update, 1);
	return result < 0 ? result : 0;
}

int ring_register_eventfd(struct ring *ring, int fd)
{
	int result = uring_register(ring->fd, URING_REGISTER_EVENTFD, &fd, 1);
	return result < 0 ? result : 0;
}

/* The system call. Submits the filled entries and counts those that the kernel accepted. */
static int enter(struct ring *ring, uint32_t wait_count, uint32_t flags, const void *argument, size_t argument_size)
{
	__atomic_store_n(ring->sq_tail, ring->sqe_tail, __ATOMIC_RELEASE);
	long result = syscall(URING_SYSCALL_ENTER, ring->enter_fd, ring->sqe_tail - ring->sqe_submitted, wait_count,
	                      ring->enter_flags | flags, argument, argument_size);
	ring->system_calls++;
	if (result < 0) {
		return -errno;
	}
	ring->sqe_submitted += (uint32_t)result;
	ring->operations += (uint32_t)result;
	return (int)result;
}

int ring_enter(struct ring *ring, uint32_t wait_count, uint64_t timeout_ns)
{
	/* Always with GETEVENTS, which also makes the kernel run deferred work and move overflowed completions into the queue. */
	if (wait_count == 0 || timeout_ns == IB_UNKNOWN) {
		return enter(ring, wait_count, URING_ENTER_GETEVENTS, NULL, 0);
	}
	struct uring_timespec timeout = {.seconds = (int64_t)(timeout_ns / NS_PER_S),
	                                 .nanoseconds = (int64_t)(timeout_ns % NS_PER_S)};
	struct uring_getevents_arg argument = {.timespec = (uint64_t)(uintptr_t)&timeout};
	return enter(ring, wait_count, URING_ENTER_GETEVENTS | URING_ENTER_EXT_ARG, &argument, sizeof argument);
}

int ring_submit(struct ring *ring)
{
	return enter(ring, 0, 0, NULL, 0);
}

/* ---------------------------------------------------------------------------------- provided buffers */

/* Makes another chunk of buffers. */
static bool buffers_grow(struct ring_buffers *buffers)
{
	if (buffers->count + RING_BUFFERS_CHUNK > buffers->count_max) {
		return false;
	}
	/* Pages become resident only when a message is written to them. */
	char *chunk = aligned_alloc(64, (size_t)RING_BUFFERS_CHUNK * buffers->stride_bytes);
	if (chunk == NULL) {
		return false;
	}
	buffers->chunks[buffers->count / RING_BUFFERS_CHUNK] = chunk;
	for (uint32_t index = RING_BUFFERS_CHUNK; index-- > 0;) {
		buffers->free_numbers[buffers->free_count++] = (uint16_t)(buffers->count + index);
	}
	buffers->count += RING_BUFFERS_CHUNK;
	return true;
}

bool ring_buffers_replenish(struct ring_buffers *buffers)
{
	/* One batch took most of the buffers, so the next may need more. */
	if (buffers->in_ring < buffers->target / 4 && buffers->target < buffers->entries) {
		buffers->target *= 2;
	}
	if (buffers->in_ring < buffers->target / 2) {
		while (buffers->in_ring < buffers->target && (buffers->free_count > 0 || buffers_grow(buffers))) {
			ring_buffers_put(buffers, buffers->free_numbers[--buffers->free_count]);
		}
	}
	ring_buffers_publish(buffers);
	return buffers->in_ring > 0;
}

int ring_buffers_create(struct ring_buffers *buffers, struct ring *ring, const struct ring_buffers_shape *shape)
{
	memset(buffers, 0, sizeof *buffers);
	buffers->ring = ring;
	buffers->entries = shape->entries;
	buffers->target = shape->target;
	buffers->count_max = shape->count_max < UINT16_MAX ? shape->count_max : UINT16_MAX;
	buffers->size_bytes = shape->size_bytes;
	/* One cache line more than the size: if buffers began whole pages apart, their first lines would share a few cache sets. */
	buffers->stride_bytes = (shape->size_bytes + 63) / 64 * 64 + 64;
	buffers->free_numbers = calloc(buffers->count_max, sizeof *buffers->free_numbers);
	buffers->chunks = calloc(buffers->count_max / RING_BUFFERS_CHUNK + 1, sizeof *buffers->chunks);
	buffers->slots_bytes = shape->entries * sizeof(struct uring_buf);
	void *map = mmap(NULL, buffers->slots_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	buffers->slots = map == MAP_FAILED ? NULL : map;
	if (buffers->free_numbers == NULL || buffers->chunks == NULL || buffers->slots == NULL) {
		ring_buffers_destroy(buffers);
		return -ENOMEM;
	}
	struct uring_buf_reg registration = {
	    .ring_addr = (uint64_t)(uintptr_t)map, .ring_entries = shape->entries, .group = buffers->group};
	int code = uring_register(ring->fd, URING_REGISTER_PBUF_RING, &registration, 1);
	if (code >= 0 && !ring_buffers_replenish(buffers)) {
		code = -ENOMEM;
	}
	if (code < 0) {
		ring_buffers_destroy(buffers);
	}
	return code < 0 ? code : 0;
}

void ring_buffers_destroy(struct ring_buffers *buffers)
{
	for (uint32_t chunk = 0; buffers->chunks != NULL && chunk < buffers->count / RING_BUFFERS_CHUNK; chunk++) {
		free(buffers->chunks[chunk]);
	}
	free(buffers->chunks);
	free(buffers->free_numbers);
	if (buffers->slots != NULL) {
		munmap(buffers->slots, buffers->slots_bytes);
	}
	memset(buffers, 0, sizeof *buffers);
}

/* ------------------------------------------------------------------------------------------- support */

/* Describes why io_uring_setup failed. */
static void explain_refusal(struct ring_support *out)
{
	uint64_t disabled = procfile_number("/proc/sys/kernel/io_uring_disabled");
	struct utsname system;
	const char *release = uname(&system) == 0 ? system.release : "unknown";
	switch (out->code) {
	case EPERM:
	case EACCES:
		if (disabled != IB_UNKNOWN && disabled != 0) {
			snprintf(out->reason, sizeof out->reason, "the sysctl kernel.io_uring_disabled is %llu",
			         (unsigned long long)disabled);
			snprintf(out->hint, sizeof out->hint, "allow it with 'sudo sysctl -w kernel.io_uring_disabled=0'");
			return;
		}
		snprintf(out->reason, sizeof out->reason,
		         "a seccomp filter refuses io_uring, as Docker's default profile does");
		snprintf(out->hint, sizeof out->hint, "run the container with --security-opt seccomp=unconfined");
		return;
	case ENOSYS:
	case EINVAL:
		if (strtol(release, NULL, 10) >= 6) {
			snprintf(out->reason, sizeof out->reason,
			         "Linux %.64s supports io_uring, but its configuration or a sandbox disables all or part of it",
			         release);
		} else {
			snprintf(out->reason, sizeof out->reason, "Linux %.64s is too old for io_uring: 6.0 or later is needed",
			         release);
			snprintf(out->hint, sizeof out->hint, "use a newer kernel");
		}
		return;
	default:
		snprintf(out->reason, sizeof out->reason, "io_uring cannot be set up: %.100s", error_text(out->code));
	}
}

/* Returns 0, or an errno value if the kernel lacks an operation that every user of the ring needs. */
static int check_operations(struct ring *ring)
{
	static const uint8_t required[] = {URING_OP_ACCEPT, URING_OP_ASYNC_CANCEL, URING_OP_CONNECT, URING_OP_CLOSE,
	                                   URING_OP_SEND,   URING_OP_RECV,         URING_OP_MSG_RING};
	struct uring_probe probe;
	memset(&probe, 0, sizeof probe);
	int code = uring_register(ring->fd, URING_REGISTER_PROBE, &probe, sizeof probe.ops / sizeof probe.ops[0]);
	if (code < 0) {
		return -code;
	}
	for (size_t index = 0; index < sizeof required; index++) {
		if (required[index] > probe.last_op || (probe.ops[required[index]].flags & 1u) == 0) {
			return ENOSYS;
		}
	}
	return 0;
}

void ring_support_probe(struct ring_support *out)
{
	memset(out, 0, sizeof *out);
	struct ring ring;
	int code = -ring_create(&ring, 8, 16);
	bool created = code == 0;
	if (created) {
		code = check_operations(&ring);
	}
	if (code == 0) {
		code = -ring_register_files(&ring, 8);
	}
	struct ring_buffers buffers;
	bool buffered = false;
	if (code == 0) {
		code = -ring_buffers_create(&buffers, &ring, &(struct ring_buffers_shape){64, 64, 64, 64});
		buffered = code == 0;
	}
	if (code == 0) {
		ring_features(&ring, out->features, sizeof out->features);
	}
	if (created) {
		ring_destroy(&ring);
	}
	if (buffered) {
		ring_buffers_destroy(&buffers);
	}
	out->code = code;
	if (code != 0) {
		explain_refusal(out);
	}
}
