/*
 * io_uring_abi.h - our own declarations of the part of the kernel's io_uring interface that this library uses.
 *
 * The system's <linux/io_uring.h> is as old as the distribution (Ubuntu 22.04: 5.15, Debian 12: 6.1), but the running kernel may
 * be newer. The library checks at run time what the kernel offers. Numbers and layouts are the kernel's stable interface.
 */
#ifndef IO_URING_ABI_H
#define IO_URING_ABI_H

#include <stddef.h>
#include <stdint.h>

/* System call numbers, the same on every architecture. */
#define URING_SYSCALL_SETUP 425
#define URING_SYSCALL_ENTER 426
#define URING_SYSCALL_REGISTER 427

/* Submission queue entry. */
struct uring_sqe {
	uint8_t opcode;
	uint8_t flags;   /* URING_SQE_* */
	uint16_t ioprio; /* URING_ACCEPT_*, URING_RECV_* */
	int32_t fd;
	uint64_t off; /* also: addr2 of connect and accept, user_data of a message */
	uint64_t addr;
	uint32_t len;
	uint32_t op_flags; /* msg_flags, accept_flags, cancel_flags, timeout_flags, msg_ring_flags, poll32_events */
	uint64_t user_data;
	uint16_t buf_group;
	uint16_t personality;
	uint32_t file_index; /* slot + 1, or URING_FILE_INDEX_ALLOC */
	uint64_t addr3;
	uint64_t pad;
};
_Static_assert(sizeof(struct uring_sqe) == 64, "submission queue entry");

/* Completion queue entry. */
struct uring_cqe {
	uint64_t user_data;
	int32_t res;
	uint32_t flags; /* URING_CQE_* */
};
_Static_assert(sizeof(struct uring_cqe) == 16, "completion queue entry");

enum uring_opcode {
	URING_OP_POLL_ADD = 6,
	URING_OP_ACCEPT = 13,
	URING_OP_ASYNC_CANCEL = 14,
	URING_OP_CONNECT = 16,
	URING_OP_CLOSE = 19,
	URING_OP_READ = 22,
	URING_OP_SEND = 26,
	URING_OP_RECV = 27,
	URING_OP_SHUTDOWN = 34,
	URING_OP_MSG_RING = 40,
	URING_OP_FIXED_FD_INSTALL = 54, /* 6.8 */
};

/* sqe->flags */
#define URING_SQE_FIXED_FILE (1u << 0)
#define URING_SQE_IO_HARDLINK (1u << 3)
#define URING_SQE_BUFFER_SELECT (1u << 5)
#define URING_SQE_CQE_SKIP_SUCCESS (1u << 6)

/* sqe->ioprio of accept, and of send and receive */
#define URING_ACCEPT_MULTISHOT (1u << 0)
#define URING_RECVSEND_POLL_FIRST (1u << 0)
#define URING_RECV_MULTISHOT (1u << 1)

/* sqe->file_index: the kernel chooses a free slot of the table. */
#define URING_FILE_INDEX_ALLOC UINT32_MAX

/* sqe->addr of MSG_RING */
#define URING_MSG_SEND_FD 1u

/* cqe->flags */
#define URING_CQE_BUFFER (1u << 0) /* the upper 16 bits are the buffer's number */
#define URING_CQE_MORE (1u << 1)   /* the operation continues and will complete again */
#define URING_CQE_BUFFER_SHIFT 16

/* io_uring_setup flags */
#define URING_SETUP_CQSIZE (1u << 3)
#define URING_SETUP_CLAMP (1u << 4)
#define URING_SETUP_SUBMIT_ALL (1u << 7)     /* 5.18 */
#define URING_SETUP_COOP_TASKRUN (1u << 8)   /* 5.19 */
#define URING_SETUP_SINGLE_ISSUER (1u << 12) /* 6.0 */
#define URING_SETUP_DEFER_TASKRUN (1u << 13) /* 6.1 */
#define URING_SETUP_NO_SQARRAY (1u << 16)    /* 6.6 */

/* io_uring_enter flags */
#define URING_ENTER_GETEVENTS (1u << 0)
#define URING_ENTER_EXT_ARG (1u << 3)
#define URING_ENTER_REGISTERED_RING (1u << 4)

struct uring_sq_offsets {
	uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, reserved;
	uint64_t user_addr;
};

struct uring_cq_offsets {
	uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, reserved;
	uint64_t user_addr;
};

struct uring_params {
	uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, reserved[3];
	struct uring_sq_offsets sq_off;
	struct uring_cq_offsets cq_off;
};
_Static_assert(sizeof(struct uring_params) == 120, "setup parameters");

/* params->features */
#define URING_FEATURE_SINGLE_MMAP (1u << 0)
#define URING_FEATURE_NODROP (1u << 1)
#define URING_FEATURE_EXT_ARG (1u << 8)

/* mmap offsets */
#define URING_OFFSET_RINGS 0ull
#define URING_OFFSET_SQES 0x10000000ull

/* Argument of io_uring_enter with URING_ENTER_EXT_ARG. */
struct uring_getevents_arg {
	uint64_t sigmask;
	uint32_t sigmask_size;
	uint32_t min_wait_us;
	uint64_t timespec;
};

/* The kernel's own timespec. */
struct uring_timespec {
	int64_t seconds;
	int64_t nanoseconds;
};

enum uring_register_op {
	URING_REGISTER_EVENTFD = 4,
	URING_REGISTER_FILES_UPDATE = 6,
	URING_REGISTER_PROBE = 8,
	URING_REGISTER_FILES2 = 13,
	URING_REGISTER_RING_FDS = 20,
	URING_UNREGISTER_RING_FDS = 21,
	URING_REGISTER_PBUF_RING = 22,
};

#define URING_RSRC_SPARSE (1u << 0)

struct uring_rsrc_register {
	uint32_t count;
	uint32_t flags;
	uint64_t reserved;
	uint64_t data;
	uint64_t tags;
};

struct uring_rsrc_update {
	uint32_t offset;
	uint32_t reserved;
	uint64_t data;
};

struct uring_probe_op {
	uint8_t op;
	uint8_t reserved;
	uint16_t flags; /* 1: supported */
	uint32_t reserved_2;
};

struct uring_probe {
	uint8_t last_op;
	uint8_t ops_length;
	uint16_t reserved;
	uint32_t reserved_2[3];
	struct uring_probe_op ops[64];
};

/* One entry of a ring of provided buffers. The ring's tail is stored in `reserved` of the first entry. */
struct uring_buf {
	uint64_t addr;
	uint32_t len;
	uint16_t bid;
	uint16_t reserved;
};
#define URING_BUF_TAIL_OFFSET 14

struct uring_buf_reg {
	uint64_t ring_addr;
	uint32_t ring_entries;
	uint16_t group;
	uint16_t flags;
	uint64_t reserved[3];
};

#endif /* IO_URING_ABI_H */
