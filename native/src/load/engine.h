/*
 * engine.h - the engine-independent half of the load generator, and the contract with the half that does the I/O.
 *
 * One engine runs on one thread and owns the connections g of the run with g % engine_count == engine_index; within the engine
 * they are numbered i = g / engine_count. This half decides what has to happen (phases, pacing, timetable, timeouts) and
 * accounts for what happened (verification, histograms, errors). The I/O half (load/linux/epoll.c, ...) moves bytes. There is no
 * table of callbacks between them: the I/O half asks for work and reports events by calling the functions below, which are
 * inline where a request passes, so that each engine compiles to straight code.
 *
 * An I/O half is one function `run`, which in essence is
 *
 *     while (engine_turn(e, now = clock_now_ns())) {
 *         while (engine_next_close(e, now, &i, &way)) close i: at once, or FIN first;  -> engine_closed() when its handle is gone
 *         while (engine_next_connect(e, now, &i))     begin to connect i               -> engine_connected() / engine_failed()
 *         while (engine_next_send(e, now, &i))        send what engine_to_send() says
 *         wait for events, at most engine_wait_ns(e, now);  engine_wait_begin() / engine_wait_end() around it
 *         for each event of i:
 *             connected           -> engine_connected()
 *             bytes came          -> engine_received()
 *             error, or the end   -> engine_failed()
 *             a send was accepted -> engine_sent()
 *         and do what their verdict says: ENGINE_SEND: send what engine_to_send() says; ENGINE_CLOSE: close i as
 *         engine_close_way() says, then engine_closed().
 *     }
 *
 * Rules for it:
 *  - Bytes to send come from engine_fill(), as often as wanted: nothing is kept, and what a short send left over is simply filled
 *    again. engine_sent() is called with what the system accepted; with completions that may be after the echo came. An engine
 *    that has a send in flight on a connection (or waits until it is writable) sets connection->blocked, and asks
 *    engine_to_send() again when it is over; while it is set neither engine_next_send() nor ENGINE_SEND name the connection.
 *  - After ENGINE_CLOSE, after engine_next_close() and after engine_failed() the connection is CONNECTION_CLOSING: its events are
 *    of no more interest, except for the peer's FIN where the way is ENGINE_CLOSE_FIN. engine_failed() may find that the server's FIN
 *    is the planned end of the connection; the way is asked for after it, too. engine_closed() is called exactly once per
 *    connection that was begun, when nothing of it is left: no operation in flight, no handle. The handle may be reused by the
 *    system thereafter, and the connection may be begun again (churn).
 *  - connection->handle belongs to the I/O half. Other per-connection state it keeps in arrays of its own, indexed by i.
 *  - engine_turn() returns false when everything is closed, or when the stop flag is set; then the I/O half releases what it has
 *    within 100 ms and returns.
 *  - engine_next_connect() takes a fresh clock read each time: connect times count from it.
 *  - `now` is one clock read per received event: taken when its bytes are in hand, it is the time of the echo and the time at
 *    which the next message is sent. The message really leaves some 100 ns later, when it is verified and filled: service times
 *    include that, always with the same sign. Events of one batch each have a read of their own.
 */
#ifndef LOAD_ENGINE_H
#define LOAD_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iocp_bench.h"
#include "load/histogram.h"
#include "load/payload.h"
#include "platform/platform.h"

enum connection_state {
	CONNECTION_NEW = 0,        /* never begun, or to be begun again */
	CONNECTION_CONNECTING = 1, /* begun, not connected */
	CONNECTION_FIRST = 2,      /* connected, its first echo awaited */
	CONNECTION_LIVE = 3,       /* made */
	CONNECTION_CLOSING = 4,    /* the I/O half is to close it, or does */
	CONNECTION_GONE = 5,       /* failed, lost, or closed for good */
};

/*
 * A message in flight. In CONNECTION_CONNECTING and CONNECTION_CLOSING sent_ns of the first one is when that began. With nothing in flight
 * sent_ns of the one before `head` is the time of the last traffic; its intended_ns is REQUEST_NONE where the connection had no echo yet.
 */
#define REQUEST_NONE UINT64_MAX
struct request {
	uint64_t sent_ns;
	uint64_t intended_ns;
};

/*
 * All that is kept per connection: with one request in flight it is one cache line. Counters that end in _ahead count from
 * `received`, so that they fit 16 bits; a ring of `pipeline` requests follows.
 */
struct connection {
	uint64_t received;       /* whole echoes so far: sequence of the message whose echo comes next */
	uint64_t handle;         /* the I/O half's own */
	uint32_t received_bytes; /* of that echo */
	uint32_t sent_bytes;     /* of the message received + sent_ahead */
	int16_t
	    sent_ahead; /* messages wholly accepted by the system; negative when an echo overtakes the completion of its send */
	uint16_t queued_ahead; /* messages released to be sent: what is in flight, at most `pipeline` */
	uint16_t head;         /* ring index of the oldest in flight */
	uint8_t epoch;         /* the phase in which the last echo came */
	uint8_t state : 3;     /* enum connection_state */
	uint8_t made : 1;      /* has been made once: what happens now is a loss, not a failed connect */
	uint8_t again : 1;     /* churn: to be begun again after its close */
	uint8_t blocked : 1;   /* the I/O half's own: a send is in flight, or the socket is not writable */
	uint8_t forced : 1;    /* closing, and the peer's FIN is not awaited: it has come, or did not come in time */
	uint8_t spare : 1;
	uint32_t window_requests; /* for fairness */
	uint32_t waiting;         /* open loop: due, not sent, since `pipeline` are in flight */
	uint32_t slot : 31;       /* open loop: place in the timetable's round */
	uint32_t held : 1;        /* open loop: what waits was due while we awaited a FIN in vain */
	uint32_t connect_stamp;   /* when connecting began, in units of 2^stamp_shift ns, modulo 2^32 */
	struct request ring[];
};

_Static_assert(sizeof(struct connection) == 48, "a connection with one request in flight is one cache line");

enum engine_mode {
	ENGINE_MODE_NONE = 0, /* send nothing new */
	ENGINE_MODE_CLOSED,   /* the next message when an echo is whole */
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

/* Open loop: message m is due at base_ns + (m + phase) * interval_ns, on the connection slots[m % slot_count]. */
struct timetable {
	double base_ns;
	double interval_ns;
	double offset;        /* (engine_index + 0.5) / engine_count: the engines take turns */
	uint64_t next;        /* m */
	uint64_t next_due_ns; /* UINT64_MAX: none */
	uint64_t end_ns;      /* nothing is due from here on */
	uint64_t round_first; /* m of the first message of this round */
	uint32_t position;    /* next - round_first */
	uint32_t slot_count;
	uint32_t *slots;        /* local numbers of the live active connections, in order */
	double rate_per_second; /* as commanded */
	uint64_t connections_total;
	uint64_t waiting; /* over all connections */
	bool broken;      /* a connection of it is gone */
};

/* Closed loop with think time: first in, first out, since the pause is the same for all. */
struct thought {
	uint64_t due_ns;
	uint64_t connection;
};

/* Edges of the window that are still to be passed. */
enum window_edge {
	WINDOW_EDGE_NONE = 0,
	WINDOW_EDGE_START,
	WINDOW_EDGE_END,
	WINDOW_EDGE_GIVE_UP, /* end + timeout: what waits in the client is given up */
};

struct queue {
	uint64_t head;
	uint64_t count;
	uint64_t capacity;
};

/* Live figures; published to the control block at every tick. Names as in struct ib_engine_block. */
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
	uint64_t errors[IB_ERROR_CLASS_COUNT];
	uint64_t wait_ns;
	uint64_t waits;
	uint64_t events;
};

struct engine {
	/* On the path of a request. */
	unsigned char *connections;
	size_t connection_stride;
	uint32_t message_size_bytes;
	uint32_t pipeline;
	uint32_t engine_index;
	uint32_t engine_count;
	uint64_t seed;
	uint64_t timeout_ns;
	uint64_t churn_requests; /* requests_per_connection */
	enum engine_mode mode;
	uint8_t epoch;
	bool fin;                 /* close_mode */
	bool open_loop_window;    /* response and send lag are recorded */
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
	uint64_t edge_ns; /* next edge of the window */
	enum window_edge edge;
	uint64_t timeline_bucket_ns;
	uint32_t connect_cursor;
	uint32_t
	    kick_cursor; /* CLOSED: next connection to be set going; VERIFY: next to be asked; CLOSE: next to be closed */
	uint32_t kick_budget; /* of this turn: events must get their turn too */
	bool verify_ready;    /* VERIFY: what was in flight before has drained */
	uint32_t sweep_cursor;
	uint32_t sweep_budget; /* connections whose timeout is looked at in this turn */
	double sweep_credit;
	uint64_t sweep_last_ns;
	uint64_t awaiting;      /* begun, first echo not seen */
	uint64_t open;          /* begun, engine_closed() not called */
	uint64_t closing;       /* of these, in CONNECTION_CLOSING */
	uint64_t pending_again; /* with a planned end, not begun again yet */
	uint64_t fins_answered;
	uint64_t
	    fins_settled_ns; /* with FINs that nobody answers: from here on none is awaited, but for the step of the sweep */
	uint32_t stamp_shift; /* unit of connect_stamp: fine, and no wrap within two timeouts */
	uint32_t ripe_cursor; /* churn: next connection to be looked at for whether it has had its requests already */
	uint32_t ripe_end;
	uint32_t *again; /* churn: queue of connections to be begun again */
	struct queue again_queue;
	struct thought *thoughts;
	struct queue thought_queue;
	uint64_t wait_began_ns;
	uint64_t looked_at_ns; /* the last look found nothing; 0: it found something, or was a wait */
	uint64_t looked_next;  /* timetable.next at that look */
	bool poll_only;
	uint64_t edge_wait_ns; /* figures at the start of the window */
	uint64_t edge_waits;
	uint64_t edge_events;
	uint64_t edge_at_ns;
	struct thread_usage edge_usage;
	uint64_t edge_suspended_ns;
	struct thread_times looked_times; /* at the last look of a window */
	struct socket_address *targets;   /* address_count of them */
	socket_handle reserved;       /* keeps the target's port from our own connections; SOCKET_NONE: nothing to keep */
	void *connections_allocation; /* `connections` is this, aligned to a cache line */
	uint64_t port_retries;        /* explicit source ports that were taken; the system chose another */
	uint8_t samples_by_class[IB_ERROR_CLASS_COUNT];
};

/* ------------------------------------------------------------------------------------ asking for work */

/* False: the run is over. */
bool engine_turn_slow(struct engine *engine, uint64_t now);
static inline bool engine_turn(struct engine *engine, uint64_t now)
{
	engine->kick_budget = 256;
	if (__builtin_expect(now < engine->turn_ns, 1) &&
	    __builtin_expect(__atomic_load_n(&engine->control->sequence, __ATOMIC_ACQUIRE) == engine->sequence, 1) &&
	    __builtin_expect(!__atomic_load_n(&engine->control->stop, __ATOMIC_RELAXED), 1)) {
		return true;
	}
	return engine_turn_slow(engine, now);
}

/* The next connection to be begun: its route is engine_route(); connection->state is CONNECTION_CONNECTING. */
bool engine_next_connect(struct engine *engine, uint64_t now, uint32_t *index);
/* The next connection that has something to send, which was idle until now. */
bool engine_next_send_slow(struct engine *engine, uint64_t now, uint32_t *index);
static inline bool engine_next_send(struct engine *engine, uint64_t now, uint32_t *index);
/* The next connection to be closed, and how. */
bool engine_next_close(struct engine *engine, uint64_t now, uint32_t *index, enum engine_close_way *way);
/* How a connection with the verdict ENGINE_CLOSE is closed: FIN only after a planned end, and where the plan says so. */
enum engine_close_way engine_close_way(const struct engine *engine, uint32_t index);

/*
 * How long the I/O half may wait; 0: look at what has come, and come back. At most 10 ms. The last options.spin_ns before a message is due
 * are waited for by looking again and again: a sleep ends tens of microseconds late where the CPU has to be woken (in a virtual machine
 * above all), and setting a timer may take longer than the wait.
 */
uint64_t engine_wait_ns(const struct engine *engine, uint64_t now);

/*
 * Around the wait. Where engine_poll_first() is true the last batch was large, so that the next one will likely be there already:
 * then the I/O half looks with a timeout of 0 first (engine_wait_end() with poll = true), and really waits only when nothing came.
 * So the cost of fetching events is not taken for waiting, and a saturated engine shows no wait time at all.
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
 * A wait never asks for more than 10 ms. One that took over 30 was no idleness: the thread waited for a CPU, or was stopped
 * (window_watch() finds out which). It does not count as waiting, so that a client which was not allowed to run is not taken for one
 * that had nothing to do.
 */
#define ENGINE_WAIT_BELIEVED_NS 30000000ull

/*
 * Looking in vain is waiting, too: from one look to the next, when the first found nothing and no message was due between them.
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
		/* The other thread of this core may be the server's: leaves it the core for a fraction of a microsecond. */
		for (int pause = 0; engine->looked_at_ns != 0 && pause < 8; pause++) {
			__builtin_ia32_pause();
		}
	}
	engine->counters.waits++;
	engine->counters.events += events;
	engine->counters.wait_ns += waited_ns <= ENGINE_WAIT_BELIEVED_NS ? waited_ns : 0;
	engine->poll_only = events >= 4;
}

/* Where a connection goes and comes from. */
struct engine_route {
	const struct socket_address *target;
	uint32_t source_address; /* IPv4, host byte order; 0: not bound */
	uint32_t source_port;    /* 0: chosen by the system at connect() (IP_BIND_ADDRESS_NO_PORT) */
};
struct engine_route engine_route(const struct engine *engine, uint32_t index);

/* ------------------------------------------------------------------------------------ reporting events */

/* The connection is connected. */
enum engine_verdict engine_connected(struct engine *engine, uint32_t index, uint64_t now);
/* It could not be connected, or is lost: os_code as the system gave it, 0 for the peer's FIN. Always ENGINE_CLOSE. */
enum engine_verdict engine_failed(struct engine *engine, uint32_t index, int os_code, uint64_t now);
/* The same for a reason of the I/O half's own, in words. */
enum engine_verdict engine_failed_because(struct engine *engine, uint32_t index, enum ib_error_class error_class,
                                          int os_code, uint64_t now, const char *reason);
/* Nothing of the connection is left. */
void engine_closed(struct engine *engine, uint32_t index, uint64_t now);

/* Cold ends of the request path. */
void engine_made(struct engine *engine, uint32_t index, uint64_t now);
/* `bytes` are all that is in hand, from the slice of a message on that is wrong, or that no request is out for. */
enum engine_verdict engine_data_error(struct engine *engine, uint32_t index, const uint8_t *bytes, size_t length,
                                      uint64_t now);
enum engine_verdict engine_timed_out(struct engine *engine, uint32_t index, uint64_t now);
void engine_think(struct engine *engine, uint32_t index, uint64_t now);
void engine_bucket_advance(struct engine *engine, uint64_t now);

/* ----------------------------------------------------------------------------------- the table of engines */

/* An I/O half. */
struct engine_backend {
	const char *name; /* at most 15 characters */
	/* Needs a descriptor of the process per connection: not the automatic choice where they do not suffice. */
	bool takes_descriptors;
	/* As in struct backend. */
	void (*probe)(struct ib_probe *out);
	/* Runs until engine_turn() returns false. Fills engine->result.features and adds what it allocates to memory_bytes. */
	int32_t (*run)(struct engine *engine, struct ib_error *error);
};

extern const struct engine_backend *const engine_backends[];
extern const uint32_t engine_backends_count;

/* The state of an engine; on failure nothing is left behind. Options are checked already. */
int32_t engine_init(struct engine *engine, const struct ib_engine_options *options, void *control,
                    struct ib_error *error);
void engine_destroy(struct engine *engine);

/* Between the files of this half. */
void timetable_start(struct engine *engine, uint64_t now, double rate_per_second, uint64_t connections_total,
                     uint64_t end_ns);
void timetable_stop(struct engine *engine);
/* What waits of a connection, or of all, will never be sent: counted where it was due in the window. Returns how many those were. */
uint64_t timetable_drop_waiting(struct engine *engine, struct connection *connection);
uint64_t timetable_drop_all_waiting(struct engine *engine);
void engine_count_bucket_errors(struct engine *engine, uint64_t errors, uint64_t now);
void window_reset(struct engine *engine);
void window_edge(struct engine *engine, uint64_t now);
void window_tail(struct engine *engine, uint64_t now);
/* Where the thread stands as a window is commanded, and then at every tick: finds what no work and no lack of CPU explains. */
void window_watch_start(struct engine *engine);
void window_watch(struct engine *engine, uint64_t now);
void window_finish(struct engine *engine);
void engine_publish(struct engine *engine);
uint64_t engine_connect_due_ns(const struct engine *engine);
/* Time since connecting began; stepwise by the unit of connect_stamp. */
uint64_t engine_since_begun_ns(const struct engine *engine, const struct connection *connection, uint64_t now);
/* Churn: whether connections that ended as planned are begun again now, and not only when something is to be sent. */
bool engine_begins_again(const struct engine *engine);

#include "load/request_path.h"

#endif /* LOAD_ENGINE_H */
