/*
 * engine.h - the common half of the load generator, and its contract with the half that does the I/O.
 *
 * One engine runs on one thread and owns the connections g of the run with g % engine_count == engine_index. Within the engine
 * they are numbered i = g / engine_count. This half decides what has to happen (phases, pacing, timetable, timeouts) and
 * accounts for what happened (verification, histograms, errors). The I/O half (load/linux/epoll.c, ...) moves bytes. There is no
 * table of callbacks between them. The I/O half asks for work and reports events by calling the functions below. Those on the
 * path of a request are inline, so that each engine compiles to straight code.
 *
 * An I/O half is one function `run`. In essence it is
 *
 *     while (engine_turn(e, now = clock_now_ns())) {
 *         while (engine_next_close(e, now, &i, &way)) close i: at once, or FIN first;  -> engine_closed() when its handle is gone
 *         while (engine_next_connect(e, now, &i))     begin to connect i               -> engine_connected() / engine_failed()
 *         while (engine_next_send(e, now, &i))        send what wire_to_send() says
 *         wait for events, at most engine_wait_ns(e, now);  engine_wait_begin() / engine_wait_end() around it
 *         for each event of i:
 *             connected           -> engine_connected()
 *             bytes came          -> wire_received()
 *             error, or the end   -> engine_failed()
 *             a send was accepted -> wire_sent()
 *         and do what their verdict says. ENGINE_SEND: send what wire_to_send() says. ENGINE_CLOSE: close i as
 *         engine_close_way() says, then call engine_closed().
 *     }
 *
 * Rules for the I/O half:
 *  - Bytes to send come from wire_fill(), which may be called any number of times. Nothing is kept: the rest of a short send is
 *    filled again. wire_sent() is called with the bytes that the system accepted. With completions that may be after the echo
 *    came. An engine with a send in flight on a connection (or one that waits until it is writable) sets connection->blocked. While
 *    it is set, neither engine_next_send() nor ENGINE_SEND names the connection. When it is over the engine calls wire_to_send()
 *    again. Before a FIN of ours the engine sends what wire_last() says.
 *  - After ENGINE_CLOSE, engine_next_close() and engine_failed() the connection is CONNECTION_CLOSING. Its events no longer matter,
 *    except the peer's FIN if the way is ENGINE_CLOSE_FIN. engine_failed() may find that the server's FIN is the planned end of the
 *    connection, so call engine_close_way() after it too. Call engine_closed() exactly once for each connection that was begun, when
 *    it has no operation in flight and no handle. After that the system may reuse the handle, and the connection may be begun again
 *    (churn).
 *  - connection->handle belongs to the I/O half. It keeps other per-connection state in arrays of its own, indexed by i.
 *  - engine_turn() returns false when everything is closed, or when the stop flag is set. The I/O half then releases its resources
 *    and returns within 100 ms.
 *  - An I/O half whose wait call may also send or receive sets works_in_wait before the first such call.
 *  - The I/O half counts its system calls in counters.system_calls, at the latest when it calls engine_turn(). A completion model also
 *    counts the operations that it hands to the kernel.
 *  - engine_next_connect() needs a fresh clock read at each call, because connect times count from it.
 *  - `now` is one clock read per received event, taken when its bytes have arrived. It is the time of the echo and the time at which
 *    the next message is sent. The message leaves about 100 ns later, after verification and filling. Service times include this
 *    delay, always with the same sign. Each event of a batch has its own clock read.
 */
#ifndef LOAD_ENGINE_H
#define LOAD_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iocp_bench.h"
#include "load/arrivals.h"
#include "load/histogram.h"
#include "load/payload.h"
#include "platform/ib_assert.h"
#include "platform/platform.h"

enum connection_state {
	CONNECTION_NEW = 0,        /* never begun, or to be begun again */
	CONNECTION_CONNECTING = 1, /* begun, not connected */
	CONNECTION_FIRST = 2,      /* connected, waiting for its first echo */
	CONNECTION_LIVE = 3,       /* made */
	CONNECTION_CLOSING = 4,    /* the I/O half must close it, or is closing it */
	CONNECTION_GONE = 5,       /* failed, lost, or closed for good */
};

/*
 * A message in flight. In CONNECTION_CONNECTING and CONNECTION_CLOSING, sent_ns of the first request is the time at which that state
 * began. With nothing in flight, sent_ns of the request before `head` is the time of the last traffic, and its intended_ns is
 * REQUEST_NONE if the connection has had no echo yet.
 */
#define REQUEST_NONE UINT64_MAX
struct request {
	uint64_t sent_ns;
	uint64_t intended_ns;
};

/*
 * All state of a connection. With one request in flight it is one cache line. Counters that end in _ahead count from `received`,
 * so that they fit in 16 bits. A ring of `pipeline` requests follows.
 */
struct connection {
	uint64_t received;        /* complete echoes so far, and so the sequence number of the next echo */
	uint64_t handle;          /* for the I/O half */
	uint32_t received_bytes;  /* bytes of the next echo */
	uint32_t sent_bytes;      /* bytes of the message received + sent_ahead */
	int16_t sent_ahead;       /* messages the system accepted; negative if an echo overtakes its send's completion */
	uint16_t queued_ahead;    /* messages released to be sent, which are those in flight; at most `pipeline` */
	uint16_t head;            /* ring index of the oldest in flight */
	uint8_t epoch;            /* the phase in which the last echo came */
	uint8_t state : 3;        /* enum connection_state */
	uint8_t made : 1;         /* was made once, so that a failure now is a loss and not a failed connect */
	uint8_t again : 1;        /* churn: to be begun again after its close */
	uint8_t blocked : 1;      /* for the I/O half: a send is in flight, or the socket is not writable */
	uint8_t forced : 1;       /* closing without waiting for the peer's FIN, which has come or is too late */
	uint8_t port_retried : 1; /* for the I/O half: connect() was tried again from a port of the system's choice */
	uint32_t window_requests; /* for fairness */
	uint32_t waiting;         /* open loop: messages that are due but not sent, because the pipeline is full */
	uint32_t slot : 31;       /* open loop: place in the timetable's round; Poisson: its last waiting message */
	uint32_t held : 1;        /* open loop: the waiting messages fell due while we awaited a FIN that did not come */
	uint32_t connect_stamp;   /* when connecting began, in units of 2^stamp_shift ns, modulo 2^32 */
	struct request ring[];
};

_Static_assert(sizeof(struct connection) == 48, "a connection with one request in flight is one cache line");

enum engine_mode {
	ENGINE_MODE_NONE = 0, /* send nothing new */
	ENGINE_MODE_CLOSED,   /* send the next message when an echo is complete */
	ENGINE_MODE_OPEN,     /* by the timetable */
	ENGINE_MODE_VERIFY,   /* one message per connection */
};

enum engine_verdict {
	ENGINE_IDLE = 0,
	ENGINE_SEND = 1,
	ENGINE_CLOSE = 2,
};

enum engine_close_way {
	ENGINE_CLOSE_RESET = 0, /* at once, with RST */
	ENGINE_CLOSE_FIN = 1,   /* shut down our half, await the peer's FIN, close */
	ENGINE_CLOSE_BOTH = 2,  /* the peer's FIN has come: close at once, without RST */
};

/*
 * Open loop. Even arrivals: message m is due at base_ns + (m + offset) * interval_ns, on the connection slots[m % slot_count].
 * Poisson arrivals: interval_ns is the mean of the gaps, and both gap and connection are random.
 */
struct timetable {
	double base_ns;
	double interval_ns;
	double offset;        /* even: 0..1, so that the engines of all shares take turns */
	uint64_t next;        /* m */
	uint64_t next_due_ns; /* UINT64_MAX: none */
	uint64_t end_ns;      /* nothing is due at or after this time */
	uint64_t round_first; /* m of the first message of this round */
	uint32_t position;    /* even: next - round_first; Poisson: next connection of the first round */
	uint32_t slot_count;
	uint32_t *slots;        /* local numbers of the live active connections, in order */
	double rate_per_second; /* as commanded */
	uint64_t connections_total;
	uint64_t waiting; /* sum over all connections */
	bool broken;      /* one of its connections is gone */
	bool is_random;   /* Poisson arrivals */
	/* Poisson, warm-up: connections that have not had a message yet. They come first, in turn, so that each soon has its echo. */
	uint32_t round_left;
	double elapsed_ns; /* Poisson: the next message is due at base_ns + elapsed_ns */
	struct random_stream random;
	struct waiting_pool pool;
};

/* Closed loop with think time. First in, first out, because every pause has the same length. */
struct thought {
	uint64_t due_ns;
	uint64_t connection;
};

/* The next edge of the window. */
enum window_edge {
	WINDOW_EDGE_NONE = 0,
	WINDOW_EDGE_START,
	WINDOW_EDGE_END,
	WINDOW_EDGE_GIVE_UP, /* end + timeout: messages that still wait in the client are given up */
};

struct queue {
	uint64_t head;
	uint64_t count;
	uint64_t capacity;
};

/* Live figures, published to the control block at every tick. The names are those of struct ib_engine_block. */
struct engine_counters {
	uint64_t started;
	uint64_t made;
	uint64_t failed;
	uint64_t lost;
	uint64_t live;
	uint64_t active;
	uint64_t echoed;
	uint64_t connect_first_ns;
	uint64_t connect_last_ns;
	uint64_t completed;
	uint64_t outstanding;
	uint64_t bytes_sent;
	uint64_t bytes_received;
	uint64_t data_errors;
	uint64_t closed_idle;
	uint64_t closed_idle_active;
	uint64_t closed_idle_min_ns;
	uint64_t closed_idle_max_ns;
	uint64_t ended;
	uint64_t ended_echoes_min;
	uint64_t ended_echoes_max;
	uint64_t timeouts_at_newline;
	uint64_t timeouts_off_newline;
	uint64_t timeouts_at_zero;
	uint64_t timeouts_off_zero;
	uint64_t fins_unanswered;
	uint64_t fins_undecided;
	uint64_t replies_differing;
	uint64_t ended_by_reply;
	uint64_t connects_begun;
	uint64_t handshakes;
	uint64_t handshakes_resumed;
	uint64_t errors[IB_ERROR_CLASS_COUNT];
	uint64_t wait_ns;
	uint64_t waits;
	uint64_t events;
	uint64_t system_calls;
	uint64_t operations; /* completion models: handed to the kernel; else 0 */
};

struct exchange;
struct wire_tls;

struct engine {
	/* On the path of a request. */
	unsigned char *connections;
	size_t connection_stride;
	uint32_t message_size_bytes;
	uint32_t pipeline;       /* size of a connection's ring */
	uint32_t in_flight_most; /* at most `pipeline` */
	uint32_t engine_index;
	uint32_t engine_count;
	uint64_t seed;
	uint64_t timeout_ns;
	uint64_t churn_requests; /* requests_per_connection */
	enum engine_mode mode;
	uint8_t epoch;
	bool fin;                 /* close_mode */
	bool counts_operations;   /* of the I/O half */
	bool works_in_wait;       /* wait calls also send or receive, so their CPU time is not time waited */
	bool open_loop_window;    /* response times and send lags are recorded */
	uint64_t window_start_ns; /* UINT64_MAX: nothing is recorded */
	uint64_t window_length_ns;
	uint64_t bucket_end_ns;
	struct ib_timeline_bucket *bucket;
	struct ib_timeline_bucket *bucket_last;
	struct ib_engine_block *block;
	struct engine_counters counters;
	struct timetable timetable;
	uint64_t turn_ns;  /* when engine_turn() has something to do */
	uint32_t sequence; /* last command taken */
	struct ib_control *control;
	struct exchange *exchange; /* NULL: echo */
	struct wire_tls *tls;      /* NULL: without TLS */
	uint32_t hello_bytes;      /* of the exchange; 0: none */

	/* The rest. */
	struct ib_engine_options options;
	struct ib_engine_result result;
	uint32_t count;        /* connections of this engine */
	uint32_t active_count; /* of these, the first ones are active */
	uint32_t phase;        /* enum ib_phase */
	bool phase_done;
	bool finished;
	bool connect_started;
	uint64_t phase_started_ns;
	uint64_t next_tick_ns;
	uint64_t edge_ns; /* time of the next edge of the window */
	enum window_edge edge;
	uint64_t timeline_bucket_ns;
	uint32_t connect_cursor;
	uint32_t kick_cursor; /* next connection: CLOSED: to send its first message; VERIFY: to verify; CLOSE: to close */
	uint32_t kick_budget; /* limit of this turn, so that events get their turn too */
	bool verify_ready;    /* VERIFY: all earlier requests have drained */
	uint32_t sweep_cursor;
	uint32_t sweep_budget; /* connections whose timeout is checked in this turn */
	double sweep_credit;
	uint64_t sweep_last_ns;
	uint64_t awaiting;      /* connections begun, first echo not seen */
	uint64_t open;          /* connections begun, engine_closed() not called */
	uint64_t closing;       /* of these, in CONNECTION_CLOSING */
	uint64_t pending_again; /* connections with a planned end, not begun again yet */
	uint64_t fins_answered;
	uint64_t fins_settled_ns; /* if no FIN is answered: the time from which none is awaited, plus a step of the sweep */
	uint32_t stamp_shift;     /* sets the unit of connect_stamp: as fine as possible without a wrap in two timeouts */
	uint32_t ripe_cursor;     /* churn: next connection to check for having had all its requests */
	uint32_t ripe_end;
	uint32_t *again; /* churn: queue of connections to begin again */
	struct queue again_queue;
	struct thought *thoughts;
	struct queue thought_queue;
	uint64_t wait_began_ns;
	uint64_t looked_at_ns; /* time of the last poll, if it found nothing; 0: it found something, or was a wait */
	uint64_t looked_next;  /* timetable.next at that poll */
	bool poll_only;
	uint32_t network_next; /* connections of this window whose network was asked for */
	uint32_t network_open; /* of these, not read yet */
	uint64_t edge_wait_ns; /* figures at the start of the window */
	uint64_t edge_waits;
	uint64_t edge_events;
	uint64_t edge_system_calls;
	uint64_t edge_operations;
	uint64_t edge_at_ns;
	struct thread_usage edge_usage;
	struct execution edge_execution;
	struct execution_counter execution; /* closed unless options.count_execution */
	uint64_t edge_suspended_ns;
	struct thread_times looked_times;  /* at the last window_watch() */
	struct thread_times looked_before; /* the same, one look earlier */
	const struct engine_backend *backend;
	void *half;                     /* the I/O half's own state, for network_read() */
	struct socket_address *targets; /* address_count of them */
	socket_handle reserved;         /* keeps our own connections off the target's port; SOCKET_NONE: not needed */
	void *connections_allocation;   /* `connections` is this, aligned to a cache line */
	uint64_t port_retries;          /* explicit source ports that were taken, so that the system chose another */
	uint8_t samples_by_class[IB_ERROR_CLASS_COUNT];
};

/* ------------------------------------------------------------------------------------ asking for work */

/* Returns false when the run is over. */
bool engine_turn_slow(struct engine *engine, uint64_t now);
static inline bool engine_turn(struct engine *engine, uint64_t now)
{
	engine->kick_budget = 256;
	if (likely(now < engine->turn_ns) &&
	    likely(__atomic_load_n(&engine->control->sequence, __ATOMIC_ACQUIRE) == engine->sequence) &&
	    likely(!__atomic_load_n(&engine->control->stop, __ATOMIC_RELAXED))) {
		return true;
	}
	return engine_turn_slow(engine, now);
}

/* The next connection to begin. Its route is engine_route(), its state CONNECTION_CONNECTING. */
bool engine_next_connect(struct engine *engine, uint64_t now, uint32_t *index);
/* Whether there is a connection to begin, now or later in this phase. Saves the clock read if there is none. */
static inline bool engine_has_connects(const struct engine *engine)
{
	return engine->phase == IB_PHASE_CONNECT || engine->again_queue.count != 0;
}
/* The next connection that was idle and now has something to send. */
bool engine_next_send_slow(struct engine *engine, uint64_t now, uint32_t *index);
static inline bool engine_next_send(struct engine *engine, uint64_t now, uint32_t *index);
/* The next connection to close, and how. */
bool engine_next_close(struct engine *engine, uint64_t now, uint32_t *index, enum engine_close_way *way);
/* How to close a connection after the verdict ENGINE_CLOSE. FIN is used only after a planned end, and only if close_mode says so. */
enum engine_close_way engine_close_way(const struct engine *engine, uint32_t index);

/*
 * How long the I/O half may wait, at most 10 ms. 0: poll once and return. The last options.spin_ns before a message is due are polled,
 * because a sleep ends tens of microseconds late if the CPU has to be woken (above all in a virtual machine), and setting a timer may
 * take longer than the wait.
 */
uint64_t engine_wait_ns(const struct engine *engine, uint64_t now);

/*
 * Called around the wait. If engine_poll_first() is true, the last batch was large and the next one is probably there already. The
 * I/O half then polls first (timeout 0, engine_wait_end() with poll = true) and waits only if nothing came. So the cost of fetching
 * events is not counted as waiting, and a saturated engine shows no wait time.
 */
static inline bool engine_poll_first(const struct engine *engine)
{
	return engine->poll_only;
}
static inline void engine_wait_begin(struct engine *engine, uint64_t now)
{
	engine->wait_began_ns = now;
}
/*
 * A wait never lasts more than 10 ms by itself. If it took over 30 ms, the thread waited for a CPU or was stopped (window_watch() finds
 * out which). That time does not count as waiting: a client that could not run must not look like a client that had nothing to do.
 */
#define ENGINE_WAIT_BELIEVED_NS (30 * NS_PER_MS)

/*
 * Polling without finding anything counts as waiting: the time from one poll to the next, if the first found nothing and no message was
 * due between them.
 */
static inline void engine_wait_end(struct engine *engine, uint64_t now, uint32_t events, bool poll)
{
	uint64_t waited_ns = poll ? 0 : now - engine->wait_began_ns;
	if (engine->mode == ENGINE_MODE_OPEN && engine->options.spin_ns != 0) {
		if (poll && engine->looked_at_ns != 0 && engine->looked_next == engine->timetable.next) {
			waited_ns = now - engine->looked_at_ns;
		}
		engine->looked_at_ns = poll && events == 0 ? now : 0;
		engine->looked_next = engine->timetable.next;
		/* The core's other hardware thread may run the server. Leave it the core for a fraction of a microsecond. */
		for (int pause = 0; engine->looked_at_ns != 0 && pause < 8; pause++) {
			__builtin_ia32_pause();
		}
	}
	engine->counters.waits++;
	engine->counters.events += events;
	engine->counters.wait_ns += waited_ns <= ENGINE_WAIT_BELIEVED_NS ? waited_ns : 0;
	engine->poll_only = events >= 4;
}

/* The target and source of a connection. */
struct engine_route {
	const struct socket_address *target;
	uint32_t source_address; /* IPv4, host byte order; 0: not bound */
	uint32_t source_port;    /* 0: the system chooses it at connect() (IP_BIND_ADDRESS_NO_PORT) */
};
struct engine_route engine_route(const struct engine *engine, uint32_t index);

/* ------------------------------------------------------------------------------------ reporting events */

/* The connection is connected. */
enum engine_verdict engine_connected(struct engine *engine, uint32_t index, uint64_t now);
/* The connection failed or is lost. os_code is the system's code, 0 for the peer's FIN. Returns ENGINE_CLOSE. */
enum engine_verdict engine_failed(struct engine *engine, uint32_t index, int os_code, uint64_t now);
/* The same for a failure that the I/O half itself found, with the reason in words. */
enum engine_verdict engine_failed_because(struct engine *engine, uint32_t index, enum ib_error_class error_class,
                                          int os_code, uint64_t now, const char *reason);
/* The connection has no operation in flight and no handle any more. */
void engine_closed(struct engine *engine, uint32_t index);

/* The answer to network_read(). round_trip_ns 0: the system does not know the connection. */
void engine_network_read(struct engine *engine, uint64_t round_trip_ns, uint64_t retransmits);

/* Rarely used parts of the request path. */
void engine_made(struct engine *engine, uint32_t index, uint64_t now);
/* `bytes` are the received bytes from the first wrong or unrequested slice of a message on. */
enum engine_verdict engine_data_error(struct engine *engine, uint32_t index, const uint8_t *bytes, size_t length,
                                      uint64_t now);
enum engine_verdict engine_timed_out(struct engine *engine, uint32_t index, uint64_t now);
/* The connection can carry plaintext: its socket is connected, and its TLS handshake, if there is one, is complete. */
enum engine_verdict engine_ready(struct engine *engine, uint32_t index, uint64_t now);
/* The connection may send its first request. */
enum engine_verdict engine_requests_begin(struct engine *engine, uint32_t index, uint64_t now);
/* A reply ends the connection, as its protocol allows. It is made again; requests in flight are sent then. Returns ENGINE_CLOSE. */
enum engine_verdict engine_ended_by_reply(struct engine *engine, uint32_t index, uint64_t now);
/* The connection failed because of what it received: `bytes` are the first ones of the reply, as far as they are known. `reason` follows
 * the number of the connection. Returns ENGINE_CLOSE. */
enum engine_verdict engine_reply_wrong(struct engine *engine, uint32_t index, enum ib_error_class error_class,
                                       const char *reason, const uint8_t *bytes, size_t length, uint64_t now);
/* The oldest request in flight had a whole reply that was not right. The connection goes on. */
void engine_request_failed(struct engine *engine, uint32_t index, enum ib_error_class error_class, const char *reason,
                           uint64_t now);
void engine_think(struct engine *engine, uint32_t index, uint64_t now);
void engine_bucket_advance(struct engine *engine, uint64_t now);

/* ----------------------------------------------------------------------------------- the table of engines */

/* An I/O half. */
struct engine_backend {
	const char *name; /* at most 15 characters */
	/* Makes the fewest system calls with one message in flight. "auto" prefers it then. */
	bool quickest_alone;
	/* Hands operations to the kernel and counts them in counters.operations. */
	bool counts_operations;
	/* Needs a descriptor of the process per connection. "auto" avoids it if the process has too few. */
	bool takes_descriptors;
	/* As in struct backend. */
	void (*probe)(struct ib_probe *out);
	/* Reads the network of an open connection when a window is over, and calls engine_network_read() now or later. NULL: not possible. */
	void (*network_read)(struct engine *engine, uint32_t index);
	/* Runs until engine_turn() returns false. Fills engine->result.features and adds its allocations to memory_bytes. */
	int32_t (*run)(struct engine *engine, struct ib_error *error);
};

extern const struct engine_backend *const engine_backends[];
extern const uint32_t engine_backends_count;

/* Sets up an engine. The options must have been checked. On failure nothing is left allocated. */
int32_t engine_init(struct engine *engine, const struct ib_engine_options *options, const struct ib_exchange *exchange,
                    const struct ib_tls *tls, void *control, struct ib_error *error);
void engine_destroy(struct engine *engine);

/* How many bytes one receive should have room for: the messages in flight, or a guess at replies of unknown size. */
uint64_t engine_receive_bytes(const struct engine *engine);

/* Shared by the files of this half. */
void timetable_start(struct engine *engine, uint64_t now, double rate_per_second, uint64_t connections_total,
                     uint64_t end_ns);
void timetable_stop(struct engine *engine);
/* Drops the waiting messages of a connection, or of all. Counts those that were due in the window, and returns their number. */
uint64_t timetable_drop_waiting(struct engine *engine, struct connection *connection);
uint64_t timetable_drop_all_waiting(struct engine *engine);
/* Open loop: the request that was due then waits again, before all others of its connection. False: there is no memory. */
bool timetable_wait_first(struct engine *engine, struct connection *connection, uint64_t due_ns);
void engine_count_bucket_errors(struct engine *engine, uint64_t errors, uint64_t now);
void window_reset(struct engine *engine);
void window_edge(struct engine *engine, uint64_t now);
void window_tail(struct engine *engine, uint64_t now);
/* Called when a window is commanded and then at every tick: finds delays that neither work nor a lack of CPU explains. */
void window_watch_start(struct engine *engine);
void window_watch(struct engine *engine, uint64_t now);
/* After the last echo of a window: reads the network of its connections. True when that is over. */
bool window_network_is_read(struct engine *engine);
void window_finish(struct engine *engine);
void engine_publish(struct engine *engine);
/* Sets a field of the engine's block, which another thread may read meanwhile. */
static inline void block_store(uint64_t *field, uint64_t value)
{
	__atomic_store_n(field, value, __ATOMIC_RELAXED);
}
uint64_t engine_connect_due_ns(const struct engine *engine);
/* Time since connecting began, in steps of the unit of connect_stamp. */
uint64_t engine_since_begun_ns(const struct engine *engine, const struct connection *connection, uint64_t now);
/* Churn: whether connections that ended as planned are begun again now, rather than when there is something to send. */
bool engine_begins_again(const struct engine *engine);

#include "load/exchange.h"
#include "load/request_path.h"
#include "load/wire.h"

#endif /* LOAD_ENGINE_H */
