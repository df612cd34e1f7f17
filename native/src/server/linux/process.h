/*
 * process.h - shared by the backend `process` (process.c) and its program (process_server.c): one block of memory that both map.
 *
 * The program writes, the backend reads. Every counter has one writer at a time.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdatomic.h>

#include "server/counters.h"

/* The program's name. It is a file next to the library. */
#define PROCESS_PROGRAM "process_server"

/* Descriptors of the program at its start. The listeners follow. */
enum process_descriptor {
	PROCESS_CONTROL = 3, /* a socket: see below */
	PROCESS_MEMORY = 4,  /* struct process_shared */
	PROCESS_LISTENERS = 5,
};

/*
 * The control socket. The program writes one byte when it accepts connections. The backend writes the deadline of a stop in ms (uint32_t).
 * When either end closes, the other side has ended.
 */

/* Connections at one time. The memory of a slot is used from its first connection on. */
#define PROCESS_SLOTS 262144u
/* For finding the slot of a process that has ended. A power of two. */
#define PROCESS_BUCKETS 16384u

/* A connection's place. The counts are sums over all connections that have used the slot, so nothing is lost when one ends. */
struct process_slot {
	/* Written by the connection's process. */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t requests;
	_Atomic uint64_t bytes_received;
	_Atomic uint64_t bytes_sent;
	_Atomic uint64_t system_calls;
	_Atomic int32_t os_code; /* why the connection ended; 0: the peer ended it */
	struct service_counts served;
	/* Written by the program. */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t sequence; /* odd while the fields below change */
	_Atomic uint32_t pid;                                 /* 0: the slot is free */
	_Atomic uint64_t ended_cpu_ns;                        /* CPU time of the processes that have ended */
	_Atomic uint64_t ended_voluntary_switches;
	_Atomic uint64_t ended_involuntary_switches;
	uint32_t next; /* of the same bucket, or of the free list: the number of a slot + 1; 0: the last */
};

struct process_shared {
	uint64_t bytes; /* sizeof(struct process_shared): the program and the library are of one build */
	uint32_t listener_count;
	uint32_t receive_buffer_bytes;
	struct service service; /* calibrated by the backend; its cut_ns is each child's own affair */
	struct counters totals; /* all but requests and bytes, which the slots have */
	_Atomic uint32_t live;  /* processes of connections */
	_Atomic uint32_t live_max;
	_Atomic uint32_t slots_used; /* slots that have ever had a connection are those before this one */
	_Atomic uint32_t reset;      /* connections left at the deadline of a stop */
	uint32_t free_first;         /* the program's own lists, as `next` */
	uint32_t buckets[PROCESS_BUCKETS];
	struct process_slot slots[PROCESS_SLOTS];
};

#endif /* PROCESS_H */
