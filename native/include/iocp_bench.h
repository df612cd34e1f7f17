/*
 * iocp_bench.h - the whole C ABI of the native helper, and the only header that src/native knows.
 *
 * Conventions
 *   - POD structs of fixed-width integers, no padding that is not named, little-endian (x86-64 only).
 *     Every struct that crosses the boundary starts with `size` (bytes, sizeof of the caller's struct) and
 *     `abi_version`; a call whose struct does not match returns IB_STATUS_ABI. ib_layout() describes every
 *     field, and the TypeScript side compares its own layout with it when the library is loaded.
 *   - Every call that can fail returns an enum ib_status and fills the struct ib_error it was given.
 *   - No call aborts the process or raises a signal. Memory is owned by the side that made it; handles are opaque.
 *   - Units stand last in every name. Times are nanoseconds of one monotonic clock (ib_clock_now_ns).
 *   - A figure that the system does not give is IB_UNKNOWN, never 0.
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

/* "The system does not give this figure": null in a report. */
#define IB_UNKNOWN UINT64_MAX
/* The same for 32-bit fields, and "no CPU chosen" for a CPU number. */
#define IB_UNKNOWN_32 UINT32_MAX
/* Marks a field that may be IB_UNKNOWN (IB_UNKNOWN_32 in a 32-bit field): a number or null in TypeScript. */
#define IB_OPTIONAL

/* ------------------------------------------------------------------------------------------- errors */

enum ib_status {
	IB_STATUS_OK = 0,
	IB_STATUS_USAGE = 1,          /* an argument is out of its documented range */
	IB_STATUS_ABI = 2,            /* size or abi_version of a struct is not this library's */
	IB_STATUS_UNAVAILABLE = 3,    /* this machine cannot run what was asked (backend, engine) */
	IB_STATUS_ADDRESS_IN_USE = 4, /* the port is taken */
	IB_STATUS_ADDRESS = 5,        /* the host is no numeric address, or not one of this machine */
	IB_STATUS_PERMISSION = 6,     /* the system refuses (privileged port, sandbox) */
	IB_STATUS_DESCRIPTORS = 7,    /* descriptor limit */
	IB_STATUS_PORTS = 8,          /* ephemeral ports exhausted */
	IB_STATUS_MEMORY = 9,         /* memory, or memory that may be locked */
	IB_STATUS_THREADS = 10,       /* a thread could not be started */
	IB_STATUS_DEADLINE = 11,      /* the deadline passed; what was left was reset */
	IB_STATUS_OS = 12,            /* any other failure of the system; os_code says which */
};

/* What failed, in one sentence, and what to do about it. message and hint are "" where there is nothing to say. */
struct ib_error {
	int32_t code;    /* enum ib_status */
	int32_t os_code; /* errno or GetLastError()/WSAGetLastError(), 0 where none */
	char message[256];
	char hint[256];
};

/* ------------------------------------------------------------------------------------- library facts */

/* IB_ABI_VERSION of the library. */
IB_API uint32_t ib_abi_version(void);

/*
 * Layout of the ABI: one line per field, "struct field offset size\n", and per struct "struct . 0 size\n".
 * Static storage, never NULL.
 */
IB_API const char *ib_layout(void);

/* Now on the monotonic clock in ns (CLOCK_MONOTONIC; QueryPerformanceCounter). The clock of every time in this ABI. */
IB_API uint64_t ib_clock_now_ns(void);

/* ------------------------------------------------------------------------------------------ backends */

/* One row of the table of backends (or of client engines) and whether this machine can run it. */
struct ib_probe {
	uint32_t size;
	uint32_t abi_version;
	uint32_t available; /* 1 or 0 */
	int32_t os_code;    /* why not, where the system said it */
	char name[16];      /* "blocking", "iocp", "epoll", "io_uring" */
	char reason[256];   /* why it cannot run here; "" when available */
	char hint[256];     /* what would make it run; "" when nothing can */
	char features[256]; /* what it found and will use, space-separated; "" when there is nothing to choose */
};

/* Number of server backends that this library knows, the unavailable ones included. */
IB_API uint32_t ib_backend_count(void);
/* Probes backend `index` (0 <= index < ib_backend_count()). */
IB_API int32_t ib_backend_probe(uint32_t index, struct ib_probe *out);
/* The same for client engines. The order is the order of preference of "auto". */
IB_API uint32_t ib_engine_count(void);
IB_API int32_t ib_engine_probe(uint32_t index, struct ib_probe *out);

/* -------------------------------------------------------------------------------------------- server */

struct ib_server; /* opaque */

enum ib_server_flag {
	IB_SERVER_ZERO_BYTE_RECV = 1u << 0, /* iocp: idle connections wait on a receive of zero bytes */
	IB_SERVER_EDGE_TRIGGERED = 1u << 1, /* epoll: EPOLLET instead of level-triggered */
};

struct ib_server_options {
	uint32_t size;
	uint32_t abi_version;
	char backend[16];              /* a name of the table of backends */
	char host[64];                 /* numeric IPv4 or IPv6 address */
	uint32_t port;                 /* 0..65535; 0 lets the system choose */
	uint32_t address_count;        /* listen on host, host+1, ... (IPv4 only when > 1); 1..256, same port on each */
	uint32_t workers;              /* event-driven models; 0 = one per CPU of the affinity mask; 1..1024 */
	uint32_t backlog;              /* 1..65535; what listen() is asked for */
	uint32_t receive_buffer_bytes; /* 1 KiB..1 MiB: user-space buffer of one receive, the same for every model */
	uint32_t flags;                /* enum ib_server_flag */
	uint64_t stack_size_bytes;     /* blocking: stack of a connection's thread, 16 KiB..64 MiB */
	uint64_t connections_expected; /* 0 = unknown; sizes tables (io_uring: rings), never a limit */
	uint32_t pool_threads;         /* pool: threads, each serving one connection at a time; 0 = 200; ..16384 */
	uint32_t reserved;
};

/* What the server counted since its start. Every field is a snapshot; they need not be of one instant. */
struct ib_server_stats {
	uint32_t size;
	uint32_t abi_version;
	uint64_t accepted;            /* sockets that accept returned */
	uint64_t closed;              /* of these, closed again (refused ones included) */
	IB_OPTIONAL uint64_t refused; /* closed at once because the model could not carry them */
	uint64_t requests;            /* receives that returned data (a request, unless a message came in pieces) */
	uint64_t bytes_received;
	uint64_t bytes_sent;
	uint64_t errors_reset;                   /* ECONNRESET, EPIPE, ERROR_NETNAME_DELETED */
	IB_OPTIONAL uint64_t errors_aborted;     /* ECONNABORTED: the peer left before accept returned */
	IB_OPTIONAL uint64_t errors_descriptors; /* EMFILE, ENFILE, WSAEMFILE while accepting */
	IB_OPTIONAL uint64_t errors_memory;      /* ENOBUFS, ENOMEM, WSAENOBUFS */
	IB_OPTIONAL uint64_t errors_threads;     /* blocking: thread that could not be started */
	uint64_t errors_other;
	IB_OPTIONAL uint64_t operations_posted;    /* completion models: operations handed to the kernel; else IB_UNKNOWN */
	IB_OPTIONAL uint64_t operations_completed; /* and dequeued again; equal to posted after stop */
	IB_OPTIONAL uint64_t receives_paused; /* times a connection's receive was stopped because its peer does not read */
	IB_OPTIONAL uint64_t worker_connections_min; /* open connections of the emptiest worker; IB_UNKNOWN for blocking */
	IB_OPTIONAL uint64_t worker_connections_max; /* and of the fullest */
	/* pool: accepted connections that no thread serves yet, and the most at one time; else IB_UNKNOWN */
	IB_OPTIONAL uint64_t connections_queued;
	IB_OPTIONAL uint64_t connections_queued_max;
	IB_OPTIONAL uint32_t workers;     /* event loops; IB_UNKNOWN_32 for blocking, which has none */
	IB_OPTIONAL uint32_t threads;     /* native threads of the server that live now (acceptor, workers, connections) */
	IB_OPTIONAL uint32_t threads_max; /* the most at one time */
	IB_OPTIONAL uint32_t backlog;     /* what the OS made of the backlog; IB_UNKNOWN_32 where it cannot be read */
	int32_t last_os_code;             /* of the last counted error, 0 when none */
	uint32_t reserved;
	char features[256]; /* what the backend uses, space-separated */
};

/*
 * Starts a server. On success *out is the handle and *bound_port the port really bound. Threads of the server block
 * all signals. The server runs until ib_server_stop.
 */
IB_API int32_t ib_server_start(const struct ib_server_options *options, struct ib_server **out, uint32_t *bound_port,
                               struct ib_error *error);
/* Snapshot of the counters; cheap (no lock on the request path). Valid until ib_server_stop returns. */
IB_API int32_t ib_server_stats(struct ib_server *server, struct ib_server_stats *out, struct ib_error *error);
/*
 * [blocks] Stops accepting, echoes what was received, closes; after deadline_ms (0..600000) the rest is reset. Fills the
 * final statistics (may be NULL) and frees the handle. IB_STATUS_DEADLINE when something had to be reset.
 */
IB_API int32_t ib_server_stop(struct ib_server *server, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                              struct ib_error *error);

/* --------------------------------------------------------------------------------- process and system */

/* What a process has used since its start. Figures that the system does not give for that process are IB_UNKNOWN. */
struct ib_process_usage {
	uint32_t size;
	uint32_t abi_version;
	uint64_t taken_at_ns;
	IB_OPTIONAL uint64_t cpu_user_ns;
	IB_OPTIONAL uint64_t cpu_system_ns;
	/* Of the same moment; finer than user + system where only a clock of the sum is fine. */
	IB_OPTIONAL uint64_t cpu_total_ns;
	/* Over all threads, ended ones included. Windows does not tell the kinds apart, nor keep those of ended threads: its sum
	 * stands in the voluntary ones, and the involuntary ones are unknown. */
	IB_OPTIONAL uint64_t voluntary_switches;
	IB_OPTIONAL uint64_t involuntary_switches;
	IB_OPTIONAL uint64_t resident_bytes;
	IB_OPTIONAL uint64_t resident_peak_bytes;
	IB_OPTIONAL uint64_t page_table_bytes;
	IB_OPTIONAL uint64_t nonpaged_pool_bytes; /* Windows: QuotaNonPagedPoolUsage (omits thread stacks) */
	IB_OPTIONAL uint64_t threads;
	IB_OPTIONAL uint64_t descriptors; /* open descriptors or handles; IB_UNKNOWN for another process without rights */
};

/* Usage of process `pid` (0: this process). IB_STATUS_OS where there is no such process. */
IB_API int32_t ib_process_usage(uint32_t pid, struct ib_process_usage *out, struct ib_error *error);

/*
 * Confines every thread of this process, present and future, to the CPUs of `cpus` (ascending CPU numbers, count 1..1024).
 */
IB_API int32_t ib_process_set_affinity(const uint32_t *cpus, uint32_t count, struct ib_error *error);
/*
 * Confines the calling thread alone, which may leave the CPUs of its process: so the thread that reads a server's figures need not wait
 * its turn among thousands that are ready. Threads that it starts later inherit its CPUs. IB_STATUS_UNAVAILABLE on Windows, where a thread
 * stays on the CPUs of its process.
 */
IB_API int32_t ib_thread_set_affinity(const uint32_t *cpus, uint32_t count, struct ib_error *error);
/* The CPUs this process may run on: fills at most `capacity` numbers, returns how many there are. */
IB_API uint32_t ib_process_get_affinity(uint32_t *cpus, uint32_t capacity);
/* Raises the soft descriptor limit of this process to its hard limit (Linux). Returns the limit now in force, IB_UNKNOWN: none. */
IB_API uint64_t ib_process_raise_descriptor_limit(void);

/* System-wide figures of one instant. */
struct ib_system_sample {
	uint32_t size;
	uint32_t abi_version;
	uint64_t taken_at_ns;
	IB_OPTIONAL uint64_t cpu_busy_ns; /* summed over CPUs, steal not included */
	IB_OPTIONAL uint64_t cpu_idle_ns;
	IB_OPTIONAL uint64_t cpu_steal_ns; /* taken by the hypervisor */
	/* Busy time of the kernel's threads for packets that were put off (Linux: ksoftirqd, backlog_napi): work of whoever sends and
	 * receives that is in no process' CPU time. IB_UNKNOWN where they cannot be seen (Windows, containers). */
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
	IB_OPTIONAL uint64_t throttled_ns; /* of this process' cgroup (cpu.stat) */
};
IB_API int32_t ib_system_sample(struct ib_system_sample *out, struct ib_error *error);

/* Limits that a load test meets. IB_UNKNOWN: no limit, or one that cannot be read (Windows has few of these). */
struct ib_limits {
	uint32_t size;
	uint32_t abi_version;
	IB_OPTIONAL uint64_t descriptors_soft;
	IB_OPTIONAL uint64_t descriptors_hard;
	IB_OPTIONAL uint64_t descriptors_open;            /* of this process, now */
	IB_OPTIONAL uint64_t descriptors_per_process_max; /* fs.nr_open */
	IB_OPTIONAL uint64_t files_system_max;            /* fs.file-max */
	IB_OPTIONAL uint64_t files_system_open;
	IB_OPTIONAL uint64_t threads_system_max; /* kernel.threads-max */
	IB_OPTIONAL uint64_t pid_max;
	IB_OPTIONAL uint64_t processes_user_max; /* ulimit -u */
	IB_OPTIONAL uint64_t cgroup_pids_max;
	IB_OPTIONAL uint64_t map_count_max; /* vm.max_map_count */
	IB_OPTIONAL uint64_t port_first;    /* ephemeral range, inclusive */
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
	char compatibility[64];                   /* "Wine 8.0" when not a real Windows; "" */
};
IB_API int32_t ib_limits(struct ib_limits *out, struct ib_error *error);

/* ------------------------------------------------------------------------------------ load: histogram */

/*
 * HdrHistogram with lowest discernible value 1 ns, highest trackable 3,600,000,000,000 ns (1 h), 3 significant digits:
 * 2048 sub-buckets (unit magnitude 0), 32 buckets => (32 + 1) * 1024 counts. Index as in HdrHistogram's countsArrayIndex
 * (http://hdrhistogram.org); values above the highest are recorded as the highest.
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

/* For tests: index of a value (ns), and the lowest value that has this index. */
IB_API uint32_t ib_histogram_index(uint64_t value_ns);
IB_API uint64_t ib_histogram_value(uint32_t index);
/* For tests: records value_ns. */
IB_API void ib_histogram_record(struct ib_histogram *histogram, uint64_t value_ns);

/*
 * For tests and for foreign programs: writes `length` bytes of the payload stream of (seed, connection) from byte `offset` of
 * the stream on, with the connection and sequence in clear at the head of each message of message_size_bytes (>= 16).
 */
IB_API void ib_payload_fill(uint8_t *out, uint64_t length, uint64_t seed, uint64_t connection, uint64_t offset,
                            uint32_t message_size_bytes);
/* Index of the first byte of `bytes` that differs from that stream, or `length` when all are right. */
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
 * The conductor writes the command fields, then increments `sequence` (release); an engine looks at `sequence` at least
 * every 20 ms, carries the command out, and stores the sequence in `sequence_done` (release) when it is complete. `stop`
 * may be set at any time: every engine returns within 100 ms.
 * A counter has one writer (its engine) and is stored relaxed; the histograms, timelines and window totals may be read
 * once sequence_done says that the window is drained.
 */
#define IB_CONTROL_HEADER_BYTES 4096u

enum ib_phase {
	IB_PHASE_IDLE = 0,
	/* Make every connection: connect, first message, first echo verified. Done when each is made or failed. */
	IB_PHASE_CONNECT = 1,
	/* Run without recording, closed loop (rate_per_second == 0) or open loop. Done (sequence_done) as soon as every live
	 * active connection has had an echo in this phase; goes on running until the next command. */
	IB_PHASE_WARMUP = 2,
	/* Go on as in warm-up, without a gap; requests whose intended send time lies in [window_start_ns, window_end_ns) are
	 * recorded. Totals, histograms and timeline are reset when the command is taken. After window_end_ns what is due is
	 * still sent (open loop) and every outstanding echo is awaited up to the request timeout. Then done, and idle. */
	IB_PHASE_MEASURE = 3,
	/* Stop sending, await outstanding echoes up to the timeout. Done when none is left. */
	IB_PHASE_DRAIN = 4,
	/* One request on every live connection, the idle ones included, at most connect_window at a time. Done when each echoed
	 * or was lost. Totals and histograms are reset first. */
	IB_PHASE_VERIFY = 5,
	/* Close every connection as close_mode says. Done when all are closed; the engine then returns. */
	IB_PHASE_CLOSE = 6,
};

struct ib_control {
	uint32_t size; /* sizeof(struct ib_control) */
	uint32_t abi_version;
	uint32_t engine_count;
	uint32_t timeline_capacity; /* buckets per engine; requests beyond it fall into the last */
	uint64_t engine_stride_bytes;
	uint64_t timeline_bucket_ns; /* 100 ms */
	uint32_t stop;               /* atomic: 1 = return within 100 ms */
	uint32_t sequence;           /* atomic: incremented per command */
	uint32_t phase;              /* enum ib_phase: the command */
	uint32_t reserved;
	uint64_t window_start_ns; /* MEASURE */
	uint64_t window_end_ns;
	double rate_per_second;     /* WARMUP, MEASURE: offered requests/s over all engines; 0 = closed loop */
	uint64_t connections_total; /* WARMUP, MEASURE: live active connections over all engines, which share the rate */
};

/* Why a connection or a request failed. The report's errors.by_class has these names, in lower case. */
enum ib_error_class {
	IB_ERROR_REFUSED = 0,           /* ECONNREFUSED */
	IB_ERROR_REFUSED_BY_SERVER = 1, /* accepted by the kernel, closed or reset by the server before the first echo */
	IB_ERROR_TIMEOUT = 2,           /* no connection, or no whole echo, within the timeout */
	IB_ERROR_RESET = 3,             /* reset after the first echo */
	IB_ERROR_CLOSED_EARLY = 4,      /* closed by the server after the first echo, and not idle */
	IB_ERROR_DESCRIPTORS = 5,       /* EMFILE, ENFILE */
	IB_ERROR_PORTS = 6,             /* EADDRNOTAVAIL, EADDRINUSE while connecting */
	IB_ERROR_DATA = 7,              /* an echo that is not what was sent */
	IB_ERROR_UNREACHABLE = 8,       /* ENETUNREACH, EHOSTUNREACH */
	IB_ERROR_MEMORY = 9,            /* ENOBUFS, ENOMEM */
	IB_ERROR_OTHER = 10,
	IB_ERROR_CLOSED_IDLE = 11, /* closed or reset by the server after IB_IDLE_LEAST_NS or more without traffic */
	IB_ERROR_CLASS_COUNT = 12,
};

/*
 * A connection without a request out that the server closes counts as closed for being idle from this time without traffic on. The
 * keep-alive timeouts of servers and proxies are a second and more; one that closes after an echo does so within milliseconds.
 */
#define IB_IDLE_LEAST_NS 250000000ull

/* Error samples that an engine keeps. */
#define IB_ERROR_SAMPLES 8u

/* Bytes of a wrong reply that an error sample keeps. */
#define IB_REPLY_BYTES 64u

struct ib_error_sample {
	uint32_t error_class; /* enum ib_error_class */
	int32_t os_code;
	uint64_t connection; /* index in the whole run */
	uint64_t at_ns;
	uint32_t
	    reply_position; /* IB_ERROR_DATA: byte of the message at which `received` begins; what came before was right */
	uint32_t received_bytes; /* filled in `received`, at most IB_REPLY_BYTES; 0 for every other class */
	uint32_t expected_bytes; /* filled in `expected`, at most IB_REPLY_BYTES; 0 when no request was out */
	uint32_t reserved;
	char message[168]; /* e.g. "connection 17: echo of request 3, byte 24: expected 0x1f, got 0x00" */
	char received[64]; /* what came in one read, from reply_position on: not a string, any byte may be in it */
	char expected[64]; /* what the message has from there on, to its end at most */
};

struct ib_timeline_bucket {
	uint64_t requests; /* echoes completed in this 100 ms, whatever their window */
	uint64_t errors;
	uint64_t service_max_ns;  /* of these */
	uint64_t response_max_ns; /* open loop; else 0 */
};

/* Figures of one engine: those of the group "live" since the start, those of "window" of the last MEASURE or VERIFY window. */
struct ib_engine_block {
	uint32_t size;             /* sizeof(struct ib_engine_block), written by the engine */
	uint32_t sequence_done;    /* atomic: the last command that is complete */
	uint32_t running;          /* atomic: 1 from the start of ib_engine_run to its return */
	uint32_t phase;            /* what it does now */
	uint64_t connect_first_ns; /* time of the first connect() */
	uint64_t connect_last_ns;  /* time of the last verified first echo */
	/* ---- live ---- */
	uint64_t connections_started;  /* first connects begun */
	uint64_t connections_made;     /* first echo verified */
	uint64_t connections_failed;   /* never made */
	uint64_t connections_lost;     /* made, then gone without our closing them */
	uint64_t connections_live;     /* made and still open */
	uint64_t connections_active;   /* live ones that send in WARMUP and MEASURE */
	uint64_t connections_echoed;   /* of these, with an echo since the phase began */
	uint64_t requests_completed;   /* echoes since the start */
	uint64_t requests_outstanding; /* sent, echo not whole */
	uint64_t bytes_sent;
	uint64_t bytes_received;
	uint64_t data_errors;
	uint64_t connections_closed_idle;        /* of those lost: by the server, while idle (IB_ERROR_CLOSED_IDLE) */
	uint64_t connections_closed_idle_active; /* of these, active ones: between two of their requests */
	uint64_t connections_ended;              /* of those lost: by the server after an echo, idle ones left out */
	/* Requests without a whole echo within the timeout, by where the right bytes that came had ended. "at": there, after at least
	 * one byte. "off": anywhere else. Neither: nothing came, and nothing had to come. */
	uint64_t timeouts_at_newline; /* behind the message's last newline, as from a server that answers by the line */
	uint64_t timeouts_off_newline;
	uint64_t timeouts_at_zero; /* before the message's first zero byte, as from a server that takes it for a C string */
	uint64_t timeouts_off_zero;
	uint64_t fins_unanswered; /* close mode FIN, churn: reset by us, since no FIN came back within 1 s */
	/* The same: 1 while it is not known yet whether the server answers a FIN, or one still waits in vain; else 0. A window that begins
	 * then measures that wait. */
	uint64_t fins_undecided;
	/* ---- ends ---- */
	uint64_t closed_idle_after_min_ns; /* time without traffic of connections_closed_idle; 0 when there are none */
	uint64_t closed_idle_after_max_ns;
	uint64_t ended_echoes_min; /* echoes on a connection of connections_ended; 0 when there are none */
	uint64_t ended_echoes_max;
	/* ---- errors ---- */
	uint64_t errors[16];          /* by enum ib_error_class, connections and requests alike */
	uint64_t error_samples_count; /* samples[] filled, at most IB_ERROR_SAMPLES */
	struct ib_error_sample samples[IB_ERROR_SAMPLES];
	/* ---- window ---- */
	uint64_t window_start_ns; /* as commanded, or later where the engine took the command after that time */
	uint64_t window_end_ns;
	uint64_t window_requests;         /* intended in the window, echo whole and right */
	uint64_t window_errors;           /* intended in the window, no right echo (timeout, loss) */
	uint64_t window_offered;          /* due in the window by the timetable (open loop), else sent in it */
	uint64_t window_unsent;           /* of these, never sent (connection lost or full until the end) */
	uint64_t window_completions;      /* echoes completed between start and end, whenever sent */
	uint64_t window_bytes;            /* payload bytes of window_requests, one way */
	uint64_t window_sent_late;        /* sends later than 1 ms behind their intended time */
	uint64_t wait_ns;                 /* time inside the wait call, in [start, end) */
	uint64_t wall_ns;                 /* observed length of [start, end) */
	IB_OPTIONAL uint64_t cpu_user_ns; /* of this thread, in [start, end) */
	IB_OPTIONAL uint64_t cpu_system_ns;
	IB_OPTIONAL uint64_t run_delay_ns;       /* runnable but not running (schedstat); IB_UNKNOWN where unknown */
	IB_OPTIONAL uint64_t voluntary_switches; /* of this thread */
	IB_OPTIONAL uint64_t involuntary_switches;
	uint64_t waits;      /* wait calls */
	uint64_t events;     /* events that they returned */
	uint64_t reconnects; /* churn: connections made again in the window */
	uint64_t held; /* open loop, churn: due while we awaited a FIN in vain; response time is from the next connect() */
	uint64_t
	    fin_wait_ns; /* churn: time within the window in which connections awaited a FIN in vain, summed over them */
	/* Time from the window's start until it is done in which this thread could not run at all: stopped (SIGSTOP, a frozen
	 * control group), or on a machine that was paused or suspended. Found by gaps of more than 30 ms in the engine's clock
	 * reads that neither its CPU time nor its run delay explains. Where the run delay is unknown, a lack of CPU counts too. */
	uint64_t stopped_ns;
	uint64_t stopped_longest_ns; /* the longest of them */
	/* fairness over active connections: x = window_requests of one connection */
	uint64_t fairness_connections;
	uint64_t fairness_min;
	uint64_t fairness_max;
	uint64_t fairness_starved; /* connections with x == 0 */
	uint64_t fairness_slowest; /* index in the whole run of the one with the smallest x */
	double fairness_sum;
	double fairness_sum_squares;    /* Jain's index = sum^2 / (n * sum_squares) */
	struct ib_histogram service;    /* actual send -> whole echo */
	struct ib_histogram response;   /* intended send -> whole echo; count 0 in closed loop */
	struct ib_histogram send_lag;   /* intended -> actual send; count 0 in closed loop */
	struct ib_histogram connect;    /* connect() -> connected, every connect since the last reset (CONNECT and churn) */
	struct ib_histogram first_echo; /* connect() -> first verified echo */
};

/* ---------------------------------------------------------------------------------------- load: engine */

enum ib_close_mode {
	IB_CLOSE_RESET = 0, /* SO_LINGER 0: no TIME_WAIT on either side */
	IB_CLOSE_FIN = 1,
};

struct ib_engine_options {
	uint32_t size;
	uint32_t abi_version;
	char engine[16]; /* "epoll", "io_uring", "iocp", or "auto" */
	char host[64];   /* numeric address of the target */
	uint32_t port;
	uint32_t address_count; /* targets host, host+1, ... (IPv4); connection g takes host + g % address_count; >= 1 */
	uint32_t engine_index;
	uint32_t engine_count; /* this engine owns the connections g with g % engine_count == engine_index */
	uint64_t connections;  /* over all engines */
	uint64_t
	    connections_active; /* over all engines: g < connections_active send in WARMUP and MEASURE; the rest idle */
	uint64_t seed;
	uint32_t message_size_bytes;      /* 1..1 MiB */
	uint32_t pipeline;                /* requests in flight per connection, 1..1024 */
	uint64_t timeout_ns;              /* connect and request timeout */
	uint64_t think_time_ns;           /* closed loop: pause between an echo and the next message of a connection */
	uint64_t requests_per_connection; /* churn: close after n requests and connect again; 0 = never */
	uint32_t connect_window;          /* this engine: connections that may await their first echo at one time; >= 1 */
	uint32_t close_mode;              /* enum ib_close_mode */
	double connect_rate_per_second;   /* over all engines; 0 = paced by connect_window alone */
	uint64_t
	    spin_ns; /* open loop: the end of a wait for a due message that is polled and not slept, 0..1 ms; 0 = all is slept */
	/* Sources. count 0: the system chooses the address. IPv4: connection g binds first + (g / ports) % count where
	 * source_port_count > 0 (ports = source_port_count, explicit port first + g % ports), else first + g % count with
	 * the port left to connect() (IP_BIND_ADDRESS_NO_PORT). */
	uint32_t source_address_first; /* host byte order */
	uint32_t source_address_count;
	uint32_t source_port_first;
	uint32_t source_port_count;
	uint32_t cpu;         /* CPU that this thread is bound to; IB_UNKNOWN_32: not bound */
	uint32_t descriptors; /* descriptors this engine may have open at one time; 0: no bound of its own */
};

/* What the engine was; valid when ib_engine_run returns. */
struct ib_engine_result {
	uint32_t size;
	uint32_t abi_version;
	char engine[16]; /* the one really used */
	char features[256];
	uint64_t memory_bytes; /* allocated for connections, buffers and rings */
};

/*
 * [blocks] Runs one engine on the calling thread until IB_PHASE_CLOSE is done or `stop` is set. `control` is the control block
 * (IB_CONTROL_HEADER_BYTES + engine_count * engine_stride_bytes), shared with the conductor. Blocks all signals for its time and
 * restores the thread's mask and affinity at return. Failures of single connections are counted, not returned.
 */
IB_API int32_t ib_engine_run(const struct ib_engine_options *options, void *control, struct ib_engine_result *result,
                             struct ib_error *error);

#ifdef __cplusplus
}
#endif
#endif /* IOCP_BENCH_H */
