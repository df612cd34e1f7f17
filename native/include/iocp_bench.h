/*
 * iocp_bench.h - the complete C ABI of the native library. src/native knows no other header.
 *
 * Conventions
 *   - Structs are plain data: fixed-width integers, every padding named, little-endian (x86-64 only).
 *     Every struct that crosses the boundary starts with `size` (bytes, sizeof of the caller's struct) and
 *     `abi_version`. A call whose struct does not match returns IB_STATUS_ABI. ib_layout() describes every
 *     field, and the TypeScript side compares its own layout with it when the library is loaded.
 *   - Every call that can fail returns an enum ib_status and fills the struct ib_error it was given.
 *   - No call aborts the process or raises a signal. The side that allocates memory owns it. Handles are opaque.
 *   - Units come last in every name. Times are nanoseconds of one monotonic clock (ib_clock_now_ns).
 *   - A figure that the system does not report is IB_UNKNOWN, never 0.
 *   - Strings are NUL-terminated UTF-8 in fixed arrays.
 *   - Calls marked [blocks] must not be made on the JavaScript main thread (use koffi's .async or a worker).
 */
#ifndef IOCP_BENCH_H
#define IOCP_BENCH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef IB_API
#define IB_API
#endif

#define IB_ABI_VERSION 1u

/* The system does not report this figure. It is null in a report. */
#define IB_UNKNOWN UINT64_MAX
/* The same for 32-bit fields, and "no CPU chosen" for a CPU number. */
#define IB_UNKNOWN_32 UINT32_MAX
/* Marks a field that may be IB_UNKNOWN (IB_UNKNOWN_32 in a 32-bit field): a number or null in TypeScript. */
#define IB_OPTIONAL

/* ------------------------------------------------------------------------------------------- errors */

enum ib_status {
	IB_STATUS_OK = 0,
	IB_STATUS_USAGE = 1,          /* an argument is out of its documented range */
	IB_STATUS_ABI = 2,            /* size or abi_version of a struct does not match this library */
	IB_STATUS_UNAVAILABLE = 3,    /* this machine cannot run the requested backend or engine */
	IB_STATUS_ADDRESS_IN_USE = 4, /* the port is taken */
	IB_STATUS_ADDRESS = 5,        /* the host is not a numeric address, or not an address of this machine */
	IB_STATUS_PERMISSION = 6,     /* the system refuses (privileged port, sandbox) */
	IB_STATUS_DESCRIPTORS = 7,    /* descriptor limit reached */
	IB_STATUS_PORTS = 8,          /* ephemeral ports exhausted */
	IB_STATUS_MEMORY = 9,         /* out of memory, or over the limit of locked memory */
	IB_STATUS_THREADS = 10,       /* a thread could not be started */
	IB_STATUS_DEADLINE = 11,      /* the deadline passed; the remaining connections were reset */
	IB_STATUS_OS = 12,            /* any other system error; os_code says which */
};

/* What failed, in one sentence, and what to do about it. message is "" after a success, hint is "" if there is no advice. */
struct ib_error {
	int32_t code;    /* enum ib_status */
	int32_t os_code; /* errno or GetLastError()/WSAGetLastError(); 0 if the system reported none */
	char message[256];
	char hint[256];
};

/* ------------------------------------------------------------------------------------- library facts */

/* IB_ABI_VERSION of the library. */
IB_API uint32_t ib_abi_version(void);

/*
 * Layout of the ABI: one line "struct field offset size\n" per field and one line "struct . 0 size\n" per struct.
 * Static storage, never NULL.
 */
IB_API const char *ib_layout(void);

/* The current monotonic time in ns (CLOCK_MONOTONIC; QueryPerformanceCounter). Every time in this ABI is on this clock. */
IB_API uint64_t ib_clock_now_ns(void);

/* ------------------------------------------------------------------------------------------ backends */

/* One server backend or client engine, and whether this machine can run it. */
struct ib_probe {
	uint32_t size;
	uint32_t abi_version;
	uint32_t available; /* 1 or 0 */
	int32_t os_code;    /* the system's error code behind `reason`, 0 if there is none */
	char name[24];      /* "blocking", "iocp", "epoll", "io_uring" */
	char reason[256];   /* why it cannot run here; "" when available */
	char hint[256];     /* how to make it available; "" when nothing can */
	char features[256]; /* the system features it will use, space-separated; "" if there are none to choose from */
};

/* Number of server backends in this library, including those this machine cannot run. */
IB_API uint32_t ib_backend_count(void);
/* Probes backend `index` (0 <= index < ib_backend_count()). */
IB_API int32_t ib_backend_probe(uint32_t index, struct ib_probe *out);
/* The same for client engines. "auto" takes the first engine in this order that is available; with one message in flight, which no engine can
 * batch, the one that makes the fewest system calls. */
IB_API uint32_t ib_engine_count(void);
IB_API int32_t ib_engine_probe(uint32_t index, struct ib_probe *out);

/* -------------------------------------------------------------------------------------------- server */

struct ib_server; /* opaque */

enum ib_server_flag {
	IB_SERVER_ZERO_BYTE_RECV = 1u << 0, /* iocp: idle connections wait on a receive of zero bytes */
	IB_SERVER_EDGE_TRIGGERED = 1u << 1, /* epoll: EPOLLET instead of level-triggered */
	IB_SERVER_WAIT_BLOCKS = 1u << 2,    /* event-driven models: a wait (wait_ns) blocks its worker */
};

/* event_select: most threads, and most connections of a thread. What comes beyond is refused. */
#define IB_EVENT_SELECT_THREADS_MAX 2048u
#define IB_EVENT_SELECT_CONNECTIONS_PER_THREAD 62u

struct ib_server_options {
	uint32_t size;
	uint32_t abi_version;
	char backend[24];              /* the name of a backend, as ib_backend_probe() gives it */
	char host[64];                 /* numeric IPv4 or IPv6 address */
	uint32_t port;                 /* 0..65535; 0 lets the system choose */
	uint32_t address_count;        /* listen on host, host+1, ... (IPv4 only when > 1); 1..256, same port on each */
	uint32_t workers;              /* event-driven models: 1..1024; 0 = one per CPU of the affinity mask */
	uint32_t backlog;              /* 1..65535: the backlog passed to listen() */
	uint32_t receive_buffer_bytes; /* 1 KiB..1 MiB: user-space buffer of one receive, the same for every model */
	uint32_t flags;                /* enum ib_server_flag */
	uint64_t stack_size_bytes;     /* blocking: stack of a connection's thread, 16 KiB..64 MiB */
	uint64_t connections_expected; /* sizes tables (io_uring: rings) and is never a limit; 0 = unknown */
	uint32_t pool_threads;         /* pool: 1..16384 threads, each serving one connection at a time; 0 = 200 */
	uint32_t
	    message_size_bytes; /* 1..1 MiB: size of a request; echo: required with work_ns or wait_ns, else not used */
	uint64_t work_ns;       /* 0..10 s of CPU time that the serving thread burns for every request */
	uint64_t wait_ns; /* 0..60 s that every request waits after its work and before its reply, as for a database */
	/* enum ib_protocol: IB_PROTOCOL_ECHO or IB_PROTOCOL_HTTP. With HTTP every request is answered 200, in order, with keep-alive; 400 to what
	 * is not a request, 431 to a header above 16 KiB, and both close the connection (native/src/server/http_request.h). */
	uint32_t protocol;
	uint32_t body_size_bytes; /* http: 0..1 MiB, body of a reply */
};

/* What the server has counted since its start. The fields are read one after the other, not at one instant. */
struct ib_server_stats {
	uint32_t size;
	uint32_t abi_version;
	uint64_t accepted;            /* sockets that accept returned */
	uint64_t closed;              /* of these, how many are closed again, including the refused ones */
	IB_OPTIONAL uint64_t refused; /* closed at once because the model could not serve them */
	/* echo: receives that returned data; one request each unless a message came in pieces. http: requests answered with 200. */
	uint64_t requests;
	uint64_t bytes_received;
	uint64_t bytes_sent;
	uint64_t errors_reset;                   /* ECONNRESET, EPIPE, ERROR_NETNAME_DELETED */
	IB_OPTIONAL uint64_t errors_aborted;     /* ECONNABORTED: the peer left before accept returned */
	IB_OPTIONAL uint64_t errors_descriptors; /* EMFILE, ENFILE, WSAEMFILE while accepting */
	IB_OPTIONAL uint64_t errors_memory;      /* ENOBUFS, ENOMEM, WSAENOBUFS */
	IB_OPTIONAL uint64_t errors_threads;     /* blocking: threads that could not be started; process: processes */
	uint64_t errors_other;
	IB_OPTIONAL uint64_t operations_posted;    /* completion models: operations handed to the kernel; else IB_UNKNOWN */
	IB_OPTIONAL uint64_t operations_completed; /* of these, how many came back; equal to posted after stop */
	/* Calls into the system to accept, wait, receive, send, watch and close; IB_UNKNOWN for a model that does not count them. Locks,
	 * memory and the start of threads are not included. */
	IB_OPTIONAL uint64_t system_calls;
	IB_OPTIONAL uint64_t
	    receives_paused; /* times a server stopped receiving from a peer that did not read its echoes */
	IB_OPTIONAL uint64_t worker_connections_min; /* open connections of the emptiest worker; IB_UNKNOWN for blocking */
	IB_OPTIONAL uint64_t worker_connections_max; /* open connections of the fullest worker */
	/* pool: accepted connections that no thread serves yet, now and at most; else IB_UNKNOWN */
	IB_OPTIONAL uint64_t connections_queued;
	IB_OPTIONAL uint64_t connections_queued_max;
	/* With work_ns or wait_ns; else all IB_UNKNOWN. */
	IB_OPTIONAL uint64_t served;          /* whole requests whose work and wait are done */
	IB_OPTIONAL uint64_t dropped;         /* whole requests without a reply: connection lost, or deadline of a stop */
	IB_OPTIONAL uint64_t work_burnt_ns;   /* CPU time that the measured requests burnt, by the thread's CPU clock */
	IB_OPTIONAL uint64_t work_measured;   /* how many requests were measured; at least every 64th */
	IB_OPTIONAL uint64_t work_spread_ppm; /* how far repeated calibrations differed, in millionths of their median */
	IB_OPTIONAL uint64_t waits;           /* waits that are over */
	IB_OPTIONAL uint64_t waited_ns;       /* how long they took in all */
	IB_OPTIONAL uint64_t rejected;        /* http: what was answered with 400 or 431; else IB_UNKNOWN */
	IB_OPTIONAL uint32_t workers;         /* event loops; IB_UNKNOWN_32 for blocking, which has none */
	/* the server's native threads now (acceptor, workers, connections); process: its processes, which have one each */
	IB_OPTIONAL uint32_t threads;
	IB_OPTIONAL uint32_t threads_max; /* the most at one time */
	IB_OPTIONAL uint32_t backlog;     /* the backlog the system uses; IB_UNKNOWN_32 if it cannot be read */
	int32_t last_os_code;             /* the system's code of the last counted error; 0 if there was none */
	uint32_t reserved;
	char features[256]; /* the system features in use, space-separated */
};

/*
 * Starts a server. On success *out is the handle and *bound_port the port that was bound. The server's threads block
 * all signals. The server runs until ib_server_stop.
 */
IB_API int32_t ib_server_start(const struct ib_server_options *options, struct ib_server **out, uint32_t *bound_port,
                               struct ib_error *error);
/* Reads the counters. Cheap: it takes no lock that the request path uses. Valid until ib_server_stop returns. */
IB_API int32_t ib_server_stats(struct ib_server *server, struct ib_server_stats *out, struct ib_error *error);
/*
 * [blocks] Stops accepting, echoes what it has received, and closes. After deadline_ms (0..600000) it resets the remaining
 * connections. Fills final_stats (may be NULL) and frees the handle. Returns IB_STATUS_DEADLINE if it had to reset any.
 */
IB_API int32_t ib_server_stop(struct ib_server *server, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                              struct ib_error *error);

/* ---------------------------------------------------------------------------------------------- work */

struct ib_work; /* opaque; for one thread */

/* What the work of a server outside this library has burnt (mode node). The fields are those of struct ib_server_stats. */
struct ib_work_stats {
	uint32_t size;
	uint32_t abi_version;
	IB_OPTIONAL uint64_t work_burnt_ns;
	IB_OPTIONAL uint64_t work_measured;
	uint64_t work_spread_ppm;
};

/* Calibrates a loop that burns work_ns (1 ns..10 s) of CPU time. Takes about 20 ms, at most half a second. */
IB_API int32_t ib_work_open(uint64_t work_ns, struct ib_work **out, struct ib_error *error);
/* [blocks] Burns the work once on the calling thread, always the same one. */
IB_API void ib_work_burn(struct ib_work *work);
IB_API int32_t ib_work_stats(struct ib_work *work, struct ib_work_stats *out, struct ib_error *error);
IB_API void ib_work_close(struct ib_work *work);

/* --------------------------------------------------------------------------------- process and system */

/* What a process has used since its start. Figures that the system does not report for that process are IB_UNKNOWN. */
struct ib_process_usage {
	uint32_t size;
	uint32_t abi_version;
	uint64_t taken_at_ns;
	IB_OPTIONAL uint64_t cpu_user_ns;
	IB_OPTIONAL uint64_t cpu_system_ns;
	/* Read at the same moment. More precise than user + system on systems that measure only the sum precisely. */
	IB_OPTIONAL uint64_t cpu_total_ns;
	/* Over all threads, including ended ones. Windows does not separate the two kinds and drops the count of ended threads. Its sum
	 * is included in the voluntary count, and the involuntary count is IB_UNKNOWN. */
	IB_OPTIONAL uint64_t voluntary_switches;
	IB_OPTIONAL uint64_t involuntary_switches;
	IB_OPTIONAL uint64_t resident_bytes;
	IB_OPTIONAL uint64_t resident_peak_bytes;
	IB_OPTIONAL uint64_t page_table_bytes;
	IB_OPTIONAL uint64_t nonpaged_pool_bytes; /* Windows: QuotaNonPagedPoolUsage (omits thread stacks) */
	IB_OPTIONAL uint64_t threads;
	IB_OPTIONAL uint64_t descriptors; /* open descriptors or handles; IB_UNKNOWN for a process we may not inspect */
	/* This process after ib_execution_count(), else IB_UNKNOWN: instructions executed and CPU cycles used since then by its threads and
	 * by the threads and processes they started. IB_UNKNOWN as well while the CPU counts something else for a part of the time. */
	IB_OPTIONAL uint64_t instructions;
	IB_OPTIONAL uint64_t cycles;
	IB_OPTIONAL uint32_t execution_scope; /* enum ib_execution_scope of these two */
	uint32_t reserved;
};

/* Usage of process `pid` (0: this process). Returns IB_STATUS_OS if the process does not exist. */
IB_API int32_t ib_process_usage(uint32_t pid, struct ib_process_usage *out, struct ib_error *error);

/* Which instructions and cycles are counted. */
enum ib_execution_scope {
	IB_EXECUTION_USER = 0,            /* those in user mode; the system does not let this process count its kernel's */
	IB_EXECUTION_USER_AND_KERNEL = 1, /* all */
};

/*
 * Whether the CPU's counters of instructions and cycles can be used here (Linux: perf_event_open). It opens them for the calling thread
 * and counts a short loop. `features` is "user" or "user+kernel".
 */
IB_API int32_t ib_execution_probe(struct ib_probe *out);
/*
 * Counts from now on what all threads of this process execute, and all threads and processes that they start. Call it before a server
 * starts; later calls do nothing. Each switch of a thread then takes longer, since the kernel saves and loads its counters, and each
 * thread needs some KiB of kernel memory. IB_STATUS_UNAVAILABLE if the system has no such counters or does not let this process use
 * them; then nothing is counted.
 */
IB_API int32_t ib_execution_count(struct ib_error *error);

/*
 * What the server has counted, and what its processes have used: this process, and for `process` also the program that forks and its
 * children. Use it for the cost of a request: for each process, counters and usage are of the same moment. Reading thousands of
 * processes takes a tenth of a second. memory: 1 also reads the memory of a server with several processes, which takes three times
 * as long (the proportional set, so that shared pages count once); 0 may leave it IB_UNKNOWN. IB_STATUS_OS if a process of the server
 * has ended that should not.
 */
IB_API int32_t ib_server_sample(struct ib_server *server, uint32_t memory, struct ib_process_usage *usage,
                                struct ib_server_stats *stats, struct ib_error *error);

/* Reading the run delay of more threads would take over a tenth of a second. */
#define IB_RUN_DELAY_THREADS 10000u

/* How long threads were ready to run but did not run, summed over the threads that live now, each since its start. */
struct ib_run_delay {
	uint32_t size;
	uint32_t abi_version;
	IB_OPTIONAL uint64_t
	    run_delay_ns; /* IB_UNKNOWN: not reported (Windows), or of more than IB_RUN_DELAY_THREADS threads */
	/* The number of these threads and the sum of their ids. If both are the same at two moments, no thread has ended between them, and
	 * the difference of run_delay_ns is complete. */
	uint64_t threads;
	uint64_t thread_ids;
};

/* Reads the run delay of this process. Takes some microseconds per thread. */
IB_API int32_t ib_process_run_delay(struct ib_run_delay *out, struct ib_error *error);

/*
 * Writes the ids of the processes that listen on TCP port `port` (1..65535) of any address, at most `capacity` of them, one per socket.
 * Returns the number of such sockets. Windows uses GetExtendedTcpTable; Linux returns 0, since /proc shows more than this.
 */
IB_API uint32_t ib_port_owners(uint32_t port, uint32_t *pids, uint32_t capacity);

/*
 * Restricts every present and future thread of this process to `cpus` (ascending CPU numbers, count 1..1024).
 */
IB_API int32_t ib_process_set_affinity(const uint32_t *cpus, uint32_t count, struct ib_error *error);
/*
 * Restricts only the calling thread, also to CPUs outside those of its process. The thread that reads a server's figures can so avoid
 * waiting behind thousands of ready threads. Threads that it starts later inherit its CPUs. Returns IB_STATUS_UNAVAILABLE on Windows,
 * where a thread must stay on the CPUs of its process.
 */
IB_API int32_t ib_thread_set_affinity(const uint32_t *cpus, uint32_t count, struct ib_error *error);
/* The CPUs this process may run on. Fills at most `capacity` numbers and returns how many CPUs there are. */
IB_API uint32_t ib_process_get_affinity(uint32_t *cpus, uint32_t capacity);
/* Raises the soft descriptor limit of this process to its hard limit (Linux). Returns the new limit; IB_UNKNOWN if unlimited. */
IB_API uint64_t ib_process_raise_descriptor_limit(void);

/* System-wide figures at one instant. */
struct ib_system_sample {
	uint32_t size;
	uint32_t abi_version;
	uint64_t taken_at_ns;
	IB_OPTIONAL uint64_t cpu_busy_ns; /* sum over all CPUs, without steal time */
	IB_OPTIONAL uint64_t cpu_idle_ns;
	IB_OPTIONAL uint64_t cpu_steal_ns; /* taken by the hypervisor */
	/* Busy time of the kernel threads that handle deferred packets (Linux: ksoftirqd, backlog_napi). Senders and receivers cause
	 * this work, but no process's CPU time includes it. IB_UNKNOWN if the threads are not visible (Windows, containers). */
	IB_OPTIONAL uint64_t cpu_network_threads_ns;
	IB_OPTIONAL uint64_t tcp_memory_bytes; /* socket buffers (sockstat) */
	IB_OPTIONAL uint64_t tcp_sockets;      /* in use */
	IB_OPTIONAL uint64_t time_wait_sockets;
	IB_OPTIONAL uint64_t slab_bytes;
	IB_OPTIONAL uint64_t kernel_stack_bytes;
	IB_OPTIONAL uint64_t page_table_bytes;
	IB_OPTIONAL uint64_t memory_available_bytes;
	IB_OPTIONAL uint64_t listen_overflows; /* TcpExt ListenOverflows */
	IB_OPTIONAL uint64_t listen_drops;     /* TcpExt ListenDrops */
	IB_OPTIONAL uint64_t tcp_retransmits;
	IB_OPTIONAL uint64_t throttled_ns; /* of this process's cgroup (cpu.stat) */
};
IB_API int32_t ib_system_sample(struct ib_system_sample *out, struct ib_error *error);

/* Limits that matter to a load test. IB_UNKNOWN: unlimited, or cannot be read (Windows has few of these limits). */
struct ib_limits {
	uint32_t size;
	uint32_t abi_version;
	IB_OPTIONAL uint64_t descriptors_soft;
	IB_OPTIONAL uint64_t descriptors_hard;
	IB_OPTIONAL uint64_t descriptors_open;            /* by this process, now */
	IB_OPTIONAL uint64_t descriptors_per_process_max; /* fs.nr_open */
	IB_OPTIONAL uint64_t files_system_max;            /* fs.file-max */
	IB_OPTIONAL uint64_t files_system_open;
	IB_OPTIONAL uint64_t threads_system_max; /* kernel.threads-max */
	IB_OPTIONAL uint64_t pid_max;
	IB_OPTIONAL uint64_t processes_user_max; /* ulimit -u */
	IB_OPTIONAL uint64_t cgroup_pids_max;
	/* Memory limit of this process' control group, or of the one above it that has the least left; IB_UNKNOWN: none has a limit. */
	IB_OPTIONAL uint64_t cgroup_memory_max_bytes;
	IB_OPTIONAL uint64_t cgroup_memory_left_bytes; /* of it; file pages that the kernel can drop count as left */
	IB_OPTIONAL uint64_t map_count_max;            /* vm.max_map_count */
	IB_OPTIONAL uint64_t port_first;               /* ephemeral range, inclusive */
	IB_OPTIONAL uint64_t port_last;
	IB_OPTIONAL uint64_t listen_backlog_max;   /* net.core.somaxconn */
	IB_OPTIONAL uint64_t tcp_memory_max_bytes; /* tcp_mem's third value in bytes */
	IB_OPTIONAL uint64_t memory_total_bytes;
	IB_OPTIONAL uint64_t memory_available_bytes;
	IB_OPTIONAL uint64_t memory_locked_max_bytes; /* ulimit -l */
	uint32_t cpus_online;
	IB_OPTIONAL uint32_t clock_resolution_ns; /* smallest step of ib_clock_now_ns, as measured */
	char clock_source[32];                    /* "tsc", "qpc", ... */
	char system[128];                         /* "Linux 6.18.44 x86_64", "Windows 10.0.19045", ... */
	char compatibility[64];                   /* "Wine 8.0" if Wine stands in for Windows; else "" */
};
IB_API int32_t ib_limits(struct ib_limits *out, struct ib_error *error);

/* ------------------------------------------------------------------------------------ load: histogram */

/*
 * An HdrHistogram (http://hdrhistogram.org): lowest discernible value 1 ns, highest trackable value 3,600,000,000,000 ns (1 h),
 * 3 significant digits. That gives 2048 sub-buckets (unit magnitude 0) and 32 buckets, so (32 + 1) * 1024 counts. The index is
 * that of HdrHistogram's countsArrayIndex. Values above the highest are recorded as the highest.
 */
#define IB_HISTOGRAM_COUNTS 33792u
#define IB_HISTOGRAM_HIGHEST_NS 3600000000000ull

struct ib_histogram {
	uint64_t count;
	uint64_t min_ns; /* exact; IB_UNKNOWN when count is 0 */
	uint64_t max_ns; /* exact; 0 when count is 0 */
	uint64_t sum_ns; /* exact, for the mean */
	uint64_t counts[IB_HISTOGRAM_COUNTS];
};

/* For tests: the index of a value (ns), and the lowest value with that index. */
IB_API uint32_t ib_histogram_index(uint64_t value_ns);
IB_API uint64_t ib_histogram_value(uint32_t index);
/* For tests: records value_ns. */
IB_API void ib_histogram_record(struct ib_histogram *histogram, uint64_t value_ns);

/*
 * For tests and other programs: writes `length` bytes of the payload stream of (seed, connection), starting at byte `offset` of
 * the stream. Each message of message_size_bytes (>= 16) begins with its connection and sequence number in plain form.
 */
IB_API void ib_payload_fill(uint8_t *out, uint64_t length, uint64_t seed, uint64_t connection, uint64_t offset,
                            uint32_t message_size_bytes);
/* Returns the index of the first byte of `bytes` that differs from that stream, or `length` if all are right. */
IB_API uint64_t ib_payload_check(const uint8_t *bytes, uint64_t length, uint64_t seed, uint64_t connection,
                                 uint64_t offset, uint32_t message_size_bytes);

/* -------------------------------------------------------------------------------- load: control block */

/*
 * One SharedArrayBuffer per trial, shared by the conductor (JavaScript, Atomics) and the engines (C11 atomics):
 *
 *   [ struct ib_control, IB_CONTROL_HEADER_BYTES ]
 *   [ engine 0: struct ib_engine_block, then timeline_capacity * struct ib_timeline_bucket, padded to engine_stride_bytes ]
 *   [ engine 1 ... ]
 *
 * The conductor writes the command fields, then increments `sequence` (release). An engine looks at `sequence` at least
 * every 20 ms, carries out the command, and stores the sequence in `sequence_done` (release) when it is complete. `stop`
 * may be set at any time: every engine then returns within 100 ms.
 * Each counter has one writer, its engine, which stores it relaxed. The histograms, timelines and window totals may be read
 * once sequence_done shows that the window is complete.
 */
#define IB_CONTROL_HEADER_BYTES 4096u

enum ib_phase {
	IB_PHASE_IDLE = 0,
	/* Make every connection: connect, send the first message, verify the first echo. Done when each is made or has failed. */
	IB_PHASE_CONNECT = 1,
	/* Run without recording, closed loop (rate_per_second == 0) or open loop. Done (sequence_done) as soon as every live
	 * active connection has had an echo in this phase. The load continues until the next command. */
	IB_PHASE_WARMUP = 2,
	/* Continue as in warm-up, without a gap, and record the requests whose intended send time lies in
	 * [window_start_ns, window_end_ns). Totals, histograms and timeline are reset when the engine takes the command. After
	 * window_end_ns it still sends the requests that are due (open loop) and awaits every outstanding echo up to the request
	 * timeout. Then the command is done and the engine is idle. */
	IB_PHASE_MEASURE = 3,
	/* Stop sending and await outstanding echoes up to the timeout. Done when none is left. */
	IB_PHASE_DRAIN = 4,
	/* Send one request on every live connection, including idle ones, at most connect_window at a time. Done when each has
	 * echoed or was lost. Totals and histograms are reset first. */
	IB_PHASE_VERIFY = 5,
	/* Close every connection as close_mode says. Done when all are closed. The engine then returns. */
	IB_PHASE_CLOSE = 6,
};

struct ib_control {
	uint32_t size; /* sizeof(struct ib_control) */
	uint32_t abi_version;
	uint32_t engine_count;
	uint32_t timeline_capacity; /* buckets per engine; later requests are counted in the last bucket */
	uint64_t engine_stride_bytes;
	uint64_t timeline_bucket_ns; /* 100 ms */
	uint32_t stop;               /* atomic: 1 = return within 100 ms */
	uint32_t sequence;           /* atomic: incremented per command */
	uint32_t phase;              /* enum ib_phase: the command */
	uint32_t reserved;
	uint64_t window_start_ns; /* MEASURE */
	uint64_t window_end_ns;
	double rate_per_second;     /* WARMUP, MEASURE: offered requests/s of all engines together; 0 = closed loop */
	uint64_t connections_total; /* WARMUP, MEASURE: live active connections of all engines; they share the rate */
};

/* Why a connection or a request failed. The report's errors.by_class uses these names in lower case. */
enum ib_error_class {
	IB_ERROR_REFUSED = 0,           /* ECONNREFUSED */
	IB_ERROR_REFUSED_BY_SERVER = 1, /* accepted by the kernel, closed or reset by the server before the first echo */
	IB_ERROR_TIMEOUT = 2,           /* no connection, or no complete echo, within the timeout */
	IB_ERROR_RESET = 3,             /* reset after the first echo */
	IB_ERROR_CLOSED_EARLY = 4,      /* closed by the server after the first echo, while not idle */
	IB_ERROR_DESCRIPTORS = 5,       /* EMFILE, ENFILE */
	IB_ERROR_PORTS = 6,             /* EADDRNOTAVAIL, EADDRINUSE while connecting */
	IB_ERROR_DATA = 7,              /* the echo differs from the message */
	IB_ERROR_UNREACHABLE = 8,       /* ENETUNREACH, EHOSTUNREACH */
	IB_ERROR_MEMORY = 9,            /* ENOBUFS, ENOMEM */
	IB_ERROR_OTHER = 10,
	IB_ERROR_CLOSED_IDLE = 11,   /* closed or reset by the server after at least IB_IDLE_LEAST_NS without traffic */
	IB_ERROR_STATUS = 12,        /* http: a whole reply with a status that was not expected */
	IB_ERROR_MALFORMED = 13,     /* http, message: the bytes received are not a reply */
	IB_ERROR_TRUNCATED = 14,     /* http, message: the connection ended within a reply */
	IB_ERROR_BODY = 15,          /* http: a whole reply with another body than expected */
	IB_ERROR_TLS_HANDSHAKE = 16, /* the TLS handshake failed, for any reason but the server's certificate */
	IB_ERROR_TLS_VERIFY = 17,    /* the server's certificate was refused */
	IB_ERROR_TLS_BROKEN = 18,    /* after the first reply: a TLS record that is not valid, or an alert of the server */
	IB_ERROR_CLASS_COUNT = 19,
};

/*
 * If the server closes a connection that has no outstanding request and saw no traffic for this long, it was closed for being idle.
 * Servers and proxies have keep-alive timeouts of a second or more. A server that closes after an echo does so within milliseconds.
 */
#define IB_IDLE_LEAST_NS 250000000ull

/* The number of error samples that an engine keeps. */
#define IB_ERROR_SAMPLES 8u

/* The most connections of an engine whose network is read after a window. Reading one takes about a microsecond. */
#define IB_NETWORK_CONNECTIONS 1000u

/* The number of bytes of a wrong reply that an error sample keeps. */
#define IB_REPLY_BYTES 64u

struct ib_error_sample {
	uint32_t error_class; /* enum ib_error_class */
	int32_t os_code;
	uint64_t connection; /* index in the whole run */
	uint64_t at_ns;
	uint32_t reply_position; /* IB_ERROR_DATA: byte of the message where `received` begins; those before were right */
	/* Valid bytes of `received`, at most IB_REPLY_BYTES; 0 for every class but IB_ERROR_DATA and IB_ERROR_MALFORMED. */
	uint32_t received_bytes;
	uint32_t expected_bytes; /* valid bytes of `expected`, at most IB_REPLY_BYTES; 0 if no request was outstanding */
	uint32_t protocol;       /* enum ib_protocol: of the client */
	char message[168];       /* e.g. "connection 17: echo of request 3, byte 24: expected 0x1f, got 0x00" */
	char received[64];       /* the bytes of one read from reply_position on; binary, not a string */
	char expected[64];       /* the bytes of the message from reply_position on, at most to its end */
};

struct ib_timeline_bucket {
	uint64_t requests; /* echoes completed in these 100 ms, in whichever window they were sent */
	uint64_t errors;
	uint64_t service_max_ns;  /* the longest service time of these */
	uint64_t response_max_ns; /* the longest response time of these in open loop; else 0 */
};

/* Figures of one engine. Group "live" covers the time since the start, group "window" the last MEASURE or VERIFY window. */
struct ib_engine_block {
	uint32_t size;             /* sizeof(struct ib_engine_block), written by the engine */
	uint32_t sequence_done;    /* atomic: the last completed command */
	uint32_t running;          /* atomic: 1 from the start of ib_engine_run to its return */
	uint32_t phase;            /* enum ib_phase: the current phase */
	uint64_t connect_first_ns; /* time of the first connect() */
	uint64_t connect_last_ns;  /* time of the last verified first echo */
	/* ---- live ---- */
	uint64_t connections_started;  /* first connects begun */
	uint64_t connections_made;     /* first echo verified */
	uint64_t connections_failed;   /* never made */
	uint64_t connections_lost;     /* made, then closed by the server or failed */
	uint64_t connections_live;     /* made and still open */
	uint64_t connections_active;   /* live connections that send in WARMUP and MEASURE */
	uint64_t connections_echoed;   /* of these, those with an echo since the phase began */
	uint64_t requests_completed;   /* echoes since the start */
	uint64_t requests_outstanding; /* sent, echo not complete */
	uint64_t bytes_sent;
	uint64_t bytes_received;
	uint64_t data_errors;
	uint64_t connections_closed_idle;        /* of those lost, closed by the server while idle (IB_ERROR_CLOSED_IDLE) */
	uint64_t connections_closed_idle_active; /* of these, active connections: closed between two of their requests */
	uint64_t connections_ended;              /* of those lost, closed by the server after an echo, while not idle */
	/* Requests without a complete echo within the timeout, by where the right bytes that came had ended. "at": at that place, after
	 * at least one byte. "off": anywhere else. Requests for which nothing came, and nothing had to come, are in neither. */
	uint64_t timeouts_at_newline; /* after the message's last newline, as from a server that answers line by line */
	uint64_t timeouts_off_newline;
	uint64_t timeouts_at_zero; /* before the message's first zero byte, as from a server that reads it as a C string */
	uint64_t timeouts_off_zero;
	uint64_t fins_unanswered; /* close mode FIN, churn: connections we reset because no FIN came back within 1 s */
	/* Close mode FIN, churn: 1 while it is not yet known whether the server answers a FIN, or while a connection still waits for an
	 * answer that does not come; else 0. A window that begins at such a time measures that wait. */
	uint64_t fins_undecided;
	uint64_t
	    system_calls; /* of this thread: to connect, wait, receive, send, watch and close, and to read its own figures */
	uint64_t replies_differing; /* http: replies with another body than the engine's first reply */
	uint64_t
	    connections_ended_by_reply; /* http: connections that a reply ended, as HTTP allows, and that were made again */
	uint64_t connects_begun;        /* first connects, and those of connections that are made again */
	uint64_t handshakes;            /* TLS: handshakes completed */
	uint64_t handshakes_resumed;    /* of these, those that resumed an earlier session */
	/* ---- replies ---- */
	uint64_t first_body_bytes; /* http: body of the engine's first whole reply; 0 if there was none */
	uint64_t first_body_hash;
	uint64_t first_status; /* 0: there was no whole reply */
	/* ---- ends ---- */
	uint64_t closed_idle_after_min_ns; /* time without traffic before each of connections_closed_idle; 0 if none */
	uint64_t closed_idle_after_max_ns;
	uint64_t ended_echoes_min; /* echoes on each of connections_ended; 0 if there are none */
	uint64_t ended_echoes_max;
	/* ---- errors ---- */
	uint64_t errors[24];          /* by enum ib_error_class, of connections and requests */
	uint64_t error_samples_count; /* filled entries of samples[], at most IB_ERROR_SAMPLES */
	struct ib_error_sample samples[IB_ERROR_SAMPLES];
	/* ---- window ---- */
	uint64_t window_start_ns; /* as commanded, or later if the engine took the command after that time */
	uint64_t window_end_ns;
	uint64_t window_begun_ns;    /* MEASURE: when this thread first ran at or after window_start_ns; else 0 */
	uint64_t window_requests;    /* intended in the window, with a complete and right echo */
	uint64_t window_errors;      /* intended in the window, without a right echo (timeout, loss) */
	uint64_t window_offered;     /* open loop: due in the window by the timetable; closed loop: sent in it */
	uint64_t window_unsent;      /* of these, never sent (connection lost, or full until the end) */
	uint64_t window_completions; /* echoes completed between start and end, whenever sent */
	uint64_t window_bytes;       /* of window_requests, one way: payload; with an exchange the bytes of the replies */
	uint64_t window_sent_late;   /* sends more than 1 ms after their intended time */
	uint64_t wait_ns;            /* time inside the wait call, without CPU time of work done there, in [start, end) */
	uint64_t wall_ns;            /* observed length of [start, end) */
	IB_OPTIONAL uint64_t cpu_user_ns; /* of this thread, in [start, end) */
	IB_OPTIONAL uint64_t cpu_system_ns;
	IB_OPTIONAL uint64_t run_delay_ns;       /* time this thread was ready but not running (Linux: schedstat) */
	IB_OPTIONAL uint64_t voluntary_switches; /* of this thread */
	IB_OPTIONAL uint64_t involuntary_switches;
	/* Of this thread, in [start, end). IB_UNKNOWN unless count_execution is set and the system allows it. */
	IB_OPTIONAL uint64_t instructions;
	IB_OPTIONAL uint64_t cycles;
	IB_OPTIONAL uint64_t execution_scope;   /* enum ib_execution_scope of these two */
	uint64_t waits;                         /* wait calls */
	uint64_t events;                        /* events that they returned */
	uint64_t window_system_calls;           /* system calls of this thread, in [start, end) */
	IB_OPTIONAL uint64_t window_operations; /* completion models: operations handed to the kernel; else IB_UNKNOWN */
	uint64_t reconnects;                    /* churn: connections made again in the window */
	uint64_t window_handshakes;             /* TLS: handshakes completed in the window */
	uint64_t window_handshakes_resumed;     /* of these, those that resumed an earlier session */
	uint64_t held; /* open loop, churn: due while we awaited a FIN that did not come; response counts from connect() */
	uint64_t fin_wait_ns; /* churn: time in the window spent awaiting FINs that did not come, summed over connections */
	/* Time between the window's start and its completion in which this thread could not run at all: it was stopped (SIGSTOP, a
	 * frozen control group), or the machine was paused or suspended. The engine finds it as gaps of more than 30 ms between its
	 * clock reads that neither its CPU time nor its run delay explains. If the run delay is unknown, a lack of CPU counts too. */
	uint64_t stopped_ns;
	uint64_t stopped_longest_ns; /* the longest of these gaps */
	/* Active connections of this engine whose network the system described after the last echo of a MEASURE window (Linux: TCP_INFO): at
	 * most IB_NETWORK_CONNECTIONS, spread evenly. 0: it described none. */
	uint64_t network_connections;
	uint64_t network_retransmits; /* segments that these sent again since they were made */
	/* fairness over active connections: x = window_requests of one connection */
	uint64_t fairness_connections;
	uint64_t fairness_min;
	uint64_t fairness_max;
	uint64_t fairness_starved; /* connections with x == 0 */
	uint64_t fairness_slowest; /* the connection with the smallest x: its index in the whole run */
	double fairness_sum;
	double fairness_sum_squares;  /* Jain's index = sum^2 / (n * sum_squares) */
	struct ib_histogram service;  /* actual send -> complete echo */
	struct ib_histogram response; /* intended send -> complete echo; count 0 in closed loop */
	/* Open loop: the intended send -> the actual send. A message that is due while its connection is full waits for its turn. */
	struct ib_histogram send_lag;     /* of the messages that were sent without waiting for their turn */
	struct ib_histogram turn_lag;     /* of those that waited for their turn */
	struct ib_histogram turn_noticed; /* of those: the intended send -> the time at which the engine found them due */
	struct ib_histogram connect;    /* connect() -> connected, all connects since the last reset (CONNECT and churn) */
	struct ib_histogram first_echo; /* connect() -> first verified echo */
	struct ib_histogram
	    round_trip; /* the kernel's smoothed round trip time of each of network_connections, rounded to us */
	struct ib_histogram handshake; /* TLS: connected -> handshake complete, of the same connects */
};

/* ---------------------------------------------------------------------------------------- load: engine */

enum ib_close_mode {
	IB_CLOSE_RESET = 0, /* SO_LINGER 0: no TIME_WAIT on either side */
	IB_CLOSE_FIN = 1,
};

/* Open loop: when messages are due, and on which connections. */
enum ib_arrivals {
	IB_ARRIVALS_EVEN = 0,    /* at even intervals, on one connection after the other */
	IB_ARRIVALS_POISSON = 1, /* a Poisson process: exponential gaps, each message on a connection chosen at random */
};

/* What a request and its reply are on the wire. */
enum ib_protocol {
	IB_PROTOCOL_ECHO = 0,    /* messages of the payload stream, which the server sends back */
	IB_PROTOCOL_HTTP = 1,    /* HTTP/1.1 */
	IB_PROTOCOL_MESSAGE = 2, /* bytes of the user's own, and replies framed as struct ib_exchange says */
};

/* http: which bodies are right. A reply with another one is an error of class IB_ERROR_BODY. */
enum ib_expect_body {
	IB_EXPECT_BODY_ANY = 0,
	IB_EXPECT_BODY_SAME = 1,  /* that of the engine's first reply */
	IB_EXPECT_BODY_EXACT = 2, /* the one given */
};

/* message: where a reply ends. */
enum ib_reply_frame {
	IB_FRAME_EXACT = 0,         /* the reply is the given bytes */
	IB_FRAME_UNTIL = 1,         /* after the first occurrence of the given bytes */
	IB_FRAME_BYTES = 2,         /* after reply_bytes bytes */
	IB_FRAME_LENGTH_PREFIX = 3, /* after as many bytes as its first bytes say, plus length_added */
};

/* The number at the beginning of a reply: its width, and which byte comes first. */
enum ib_length_prefix {
	IB_LENGTH_U8 = 0,
	IB_LENGTH_U16BE = 1,
	IB_LENGTH_U16LE = 2,
	IB_LENGTH_U32BE = 3,
	IB_LENGTH_U32LE = 4,
};

/* Placeholders of a request have this many decimal digits, with leading zeros, so that all requests have the same size. */
#define IB_CONNECTION_DIGITS 8u
#define IB_SEQUENCE_DIGITS 12u

/*
 * What a client sends and which replies are right, for every protocol but echo. The struct is followed by its texts, one after the other
 * and without padding, in the order of their lengths below. All requests have the same size.
 */
struct ib_exchange {
	uint32_t size;
	uint32_t abi_version;
	uint32_t protocol;      /* enum ib_protocol, not IB_PROTOCOL_ECHO */
	uint32_t no_body;       /* http: 1 if replies have no body, whatever their header says (HEAD) */
	uint32_t expect_body;   /* enum ib_expect_body */
	uint32_t reply_frame;   /* message: enum ib_reply_frame */
	uint32_t length_prefix; /* message: enum ib_length_prefix */
	int32_t length_added; /* message: what the prefix does not count; negative if it counts more than what follows it */
	uint64_t reply_bytes; /* message, IB_FRAME_BYTES: at least 1 */
	uint32_t request_bytes;  /* text 1, 1 B..1 MiB: the request */
	uint32_t body_bytes;     /* text 2: the expected body (IB_EXPECT_BODY_EXACT) */
	uint32_t pattern_bytes;  /* text 3: the bytes of IB_FRAME_EXACT or IB_FRAME_UNTIL */
	uint32_t greeting_bytes; /* text 4: what the server sends first ends with these bytes; 0: it sends nothing first */
	uint32_t
	    hello_bytes; /* text 5, at most 64 KiB: sent once per connection and answered before its first request; 0: none */
	/* Text 6: places of placeholders, a uint32_t each. The lowest bit is 1 for the sequence number, 0 for the connection's; the next is
	 * 1 for a place in the hello, 0 for one in the request; the rest is the place of its first digit. */
	uint32_t placeholder_count;
	uint64_t status_expected[8]; /* http: bit status - 100 of a bit field, lowest word first */
};

/*
 * TLS around the protocol. The struct is followed by its texts, one after the other and without padding, in the order of their lengths
 * below. TLS 1.2 and 1.3 are spoken, by the OpenSSL 3 that the program exports.
 */
struct ib_tls {
	uint32_t size;
	uint32_t abi_version;
	uint32_t insecure; /* 1: accept any certificate */
	uint32_t resume;   /* 1: a connection that is made again resumes its earlier session, if the server allows it */
	uint32_t server_name_is_address; /* 1: the name is an IPv4 or IPv6 address, which is not sent to the server */
	uint32_t server_name_bytes;      /* text 1, 1..255 B: the name that the server's certificate must be for */
	uint32_t authorities_bytes;      /* text 2: trusted certificates, PEM; may be 0 only if `insecure` */
	uint32_t certificate_bytes;      /* text 3: the client's certificate with the rest of its chain, PEM; 0: none */
	uint32_t key_bytes; /* text 4: its private key, PEM, without a passphrase; 0 if there is no certificate */
};

/* Whether this program exports an OpenSSL that can be used. `features` is its version, such as "OpenSSL 3.0.13 30 Jan 2024". */
IB_API int32_t ib_tls_probe(struct ib_probe *out);
/* Checks whether ib_engine_run() could use these settings. IB_STATUS_UNAVAILABLE: there is no OpenSSL that can be used. IB_STATUS_USAGE: a
 * certificate or the key is not usable. */
IB_API int32_t ib_tls_check(const struct ib_tls *settings, struct ib_error *error);

struct ib_engine_options {
	uint32_t size;
	uint32_t abi_version;
	char engine[16]; /* "epoll", "io_uring", "iocp", or "auto" */
	char host[64];   /* numeric address of the target */
	uint32_t port;
	uint32_t address_count; /* >= 1: targets host, host+1, ... (IPv4); connection g goes to host + g % address_count */
	uint32_t engine_index;
	uint32_t engine_count;       /* this engine owns the connections g with g % engine_count == engine_index */
	uint64_t connections;        /* of all engines */
	uint64_t connections_active; /* of all engines: g < connections_active send in WARMUP and MEASURE; the rest idle */
	uint64_t seed;
	uint32_t message_size_bytes;      /* 1..1 MiB; with an exchange the size of its request */
	uint32_t pipeline;                /* requests in flight per connection, 1..1024 */
	uint64_t timeout_ns;              /* connect and request timeout */
	uint64_t think_time_ns;           /* closed loop: pause between an echo and the next message of a connection */
	uint64_t requests_per_connection; /* churn: close after this many requests and connect again; 0 = never */
	uint32_t connect_window;          /* >= 1: connections of this engine that may await their first echo at one time */
	uint32_t close_mode;              /* enum ib_close_mode */
	double connect_rate_per_second;   /* of all engines; 0 = paced by connect_window alone */
	uint64_t spin_ns; /* open loop: 0..1 ms at the end of a wait for a due message are polled instead of slept */
	/* Sources. source_address_count 0: the system chooses the address. Otherwise (IPv4), with source_port_count > 0, connection g
	 * binds address first + (g / ports) % count and port first + g % ports, where ports = source_port_count. With
	 * source_port_count 0 it binds first + g % count and leaves the port to connect() (IP_BIND_ADDRESS_NO_PORT). */
	uint32_t source_address_first; /* host byte order */
	uint32_t source_address_count;
	uint32_t source_port_first;
	uint32_t source_port_count;
	uint32_t cpu;             /* the CPU to bind this thread to; IB_UNKNOWN_32: do not bind */
	uint32_t descriptors;     /* descriptors this engine may have open at one time; 0: no limit of its own */
	uint32_t arrivals;        /* enum ib_arrivals */
	uint32_t arrivals_stream; /* Poisson: with `seed` and engine_index, selects the random numbers */
	/* Even arrivals: processes that share a load take turns. This one is share_index of share_count (0: it has the whole load). The
	 * engines of all of them count from share_origin_ns, one moment that each process gives on its own clock. A process that has the
	 * whole load may leave it 0, since its engines have one clock. */
	uint32_t share_index;
	uint32_t share_count;
	uint64_t share_origin_ns;
	uint64_t count_execution; /* 1: counts instructions and cycles of the window, see ib_execution_count() */
};

/* Which engine ran and what it used. Valid when ib_engine_run returns. */
struct ib_engine_result {
	uint32_t size;
	uint32_t abi_version;
	char engine[16]; /* the engine used */
	char features[256];
	uint64_t memory_bytes; /* allocated for connections, buffers and rings */
};

/*
 * [blocks] Runs one engine on the calling thread until IB_PHASE_CLOSE is done or `stop` is set. `exchange` is what it sends and which
 * replies are right; NULL for the echo protocol. `tls` NULL: without TLS. `control` is the control block
 * (IB_CONTROL_HEADER_BYTES + engine_count * engine_stride_bytes), shared with the conductor. Blocks all signals while it runs and
 * restores the thread's signal mask and affinity before it returns. Failed connections are counted, not returned as an error.
 */
IB_API int32_t ib_engine_run(const struct ib_engine_options *options, const struct ib_exchange *exchange,
                             const struct ib_tls *tls, void *control, struct ib_engine_result *result,
                             struct ib_error *error);

#ifdef __cplusplus
}
#endif
#endif /* IOCP_BENCH_H */
