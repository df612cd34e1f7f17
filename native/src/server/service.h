/*
 * service.h - what a server does for a request besides its echo: work (--work), a wait, as for a database (--wait), and a reply of its own
 * (--protocol http).
 *
 * The requests of one connection are served one after another: work, then the wait, then the reply; only then does the next one begin. An
 * echo server does not know messages, so it is given their size: a request is whole when the bytes received on its connection pass a
 * multiple of it. Bytes that do not complete a request are echoed at once, since the reply is whole only with its last byte. So nothing but
 * the buffer of one receive is ever held for a connection. With HTTP a request is whole when http_request.h says so. Its bytes are taken as
 * they are parsed, and the reply comes from memory that all connections share. If requests cost nothing else, all that came are answered
 * together.
 *
 * Every model uses this file in the same way. It calls service_step() for a connection until the connection waits or is to be read again.
 * Only a model that serves other connections meanwhile needs more: its loop ends its own wait when service_next_due() says, and then serves
 * the connections that service_due() returns.
 *
 * All waits of a server are equally long, so those of one thread end in the order in which they begin. Its queue of timers is therefore a
 * list: adding and removing take the same time with six thousand waits as with one, and allocate nothing.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include <stdatomic.h>

#include "platform/platform.h"
#include "server/http_answer.h"
#include "server/work.h"

/* What a server does for its requests; read-only while it runs, but for cut_ns. */
struct service {
	struct work work;
	uint64_t wait_ns;
	uint32_t message_bytes; /* echo: of a request */
	uint32_t body_bytes;    /* http: of a reply */
	bool is_used;           /* false: the server only echoes, and nothing of this file is used */
	bool is_http;
	bool has_cost;             /* work or a wait */
	bool waits_block;          /* a wait blocks the thread; always so in a model with a thread per connection */
	struct http_replies *http; /* made by service_prepare(); NULL without HTTP */
	/* By clock_now_ns(): when a stop ends what is still waited for or burnt; UINT64_MAX: never. */
	_Atomic uint64_t cut_ns;
};

/* What one thread has served; it alone writes. */
struct service_counts {
	_Atomic uint64_t served;
	_Atomic uint64_t dropped;
	_Atomic uint64_t rejected; /* http: answered with 400 or 431 */
	_Atomic uint64_t waits;
	_Atomic uint64_t waited_ns;
	struct work_meter work;
};

enum service_state {
	SERVICE_IDLE = 0,
	SERVICE_WAITING, /* in the queue of its thread */
};

/* The request of a connection that is being served; all zero at first. */
struct service_request {
	struct service_request *next, *previous; /* in the queue */
	uint64_t due_ns;
	const char *reply_bytes; /* SERVICE_REPLY: the bytes that may be sent now */
	uint32_t reply;          /* how many these are */
	uint32_t taken;          /* of the bytes given to service_step(): how many are not needed any more */
	uint32_t phase;          /* echo: bytes of a request that have been echoed already, because it was not whole */
	uint32_t whole;          /* echo, waiting: bytes of its reply */
	enum service_state state;
	bool has_ended; /* http: SERVICE_END was returned */
	struct http_answer http;
};

/* What a thread that serves needs. A zeroed struct belongs to a server that only echoes. */
struct service_worker {
	struct service *service; /* NULL: the server only echoes */
	struct service_counts *counts;
	_Atomic uint64_t *system_calls;       /* of the thread, which is the one writer */
	struct service_request *first, *last; /* the queue, by due time */
	uint32_t until_sample;
};

enum service_verdict {
	SERVICE_READ,  /* every received byte is answered: read the connection */
	SERVICE_WAIT,  /* its request waits; service_due() returns it */
	SERVICE_REPLY, /* send request->reply bytes, report them with service_replied(), and ask again */
	SERVICE_END,   /* that was the last reply: send the end of the stream, and ask again; what still comes is ignored */
	SERVICE_CUT,   /* the deadline of a stop has passed meanwhile: reset the connection */
};

/* Fills *service from options that were checked, and calibrates the work. */
void service_init(struct service *service, const struct ib_server_options *options);
/* Prepares the replies, in each process that serves, before the first thread does. All copies of the service share them. False: no memory. */
bool service_prepare(struct service *service);
/* Frees the replies, after the last thread that served. */
void service_free(struct service *service);
/* Whether the server does more than to echo. */
static inline bool service_is_used(const struct service *service)
{
	return service->is_used;
}
/* At the start of a thread that serves. Leaves *worker alone if the server only echoes. Its timed waits end precisely from now on. */
void service_worker_start(struct service_worker *worker, struct service *service, struct service_counts *counts,
                          _Atomic uint64_t *system_calls);
/*
 * The same for a model whose threads are the system's. It has a worker per connection instead, which belongs to the thread that handles the
 * connection.
 */
void service_worker_assign(struct service_worker *worker, struct service *service, struct service_counts *counts,
                           _Atomic uint64_t *system_calls);
/* From now on, everything ends that waits or burns longer than until due_ns, by clock_now_ns(). Any thread. */
void service_cut(struct service *service, uint64_t due_ns);

/*
 * What a connection needs next. `bytes`: the `available` bytes that were received and are not taken yet. They are taken, from the first on, as
 * request->taken says after the call and service_replied() returns, and must not change otherwise until the verdict is SERVICE_READ. All of them
 * are taken then. Burns the work of a request that is whole, and, if waits block, sleeps.
 */
enum service_verdict service_step(struct service_worker *worker, struct service_request *request, const char *bytes,
                                  uint32_t available);
/* Whether a request waits, or a reply is not sent yet. */
static inline bool service_request_is_busy(const struct service_request *request)
{
	return request->reply != 0 || request->state == SERVICE_WAITING;
}
/* `sent` bytes of the reply, at most request->reply, were sent. Returns how many of the received bytes are thereby taken. */
static inline uint32_t service_replied(const struct service_worker *worker, struct service_request *request,
                                       uint32_t sent)
{
	if (!worker->service->is_http) {
		request->reply -= sent;
		return sent;
	}
	http_answer_sent(&request->http, worker->service->http, sent);
	request->reply = http_answer_next(&request->http, worker->service->http, &request->reply_bytes);
	return 0;
}
/* The connection is lost, with `available` bytes as for service_step(): takes its request out of the queue, and counts the unanswered ones. */
void service_abandon(struct service_worker *worker, struct service_request *request, uint32_t available);
/*
 * service_step() for the bytes from *taken to `length`. Counts what is taken in *taken, and sends the end of the stream to `socket` where that
 * is due, so that the verdict is never SERVICE_END.
 */
enum service_verdict service_advance(struct service_worker *worker, struct service_request *request,
                                     socket_handle socket, const char *bytes, uint32_t *taken, uint32_t length);
/*
 * For a thread that serves one connection with blocking calls: serves the `length` bytes that it has received, with replies to `socket`, and
 * counts what is sent in *bytes_sent, of which the caller is the one writer. Returns 0, the code of the error that ended the connection, or
 * SERVICE_WAS_CUT.
 */
#define SERVICE_WAS_CUT (-1)
int service_answer(struct service_worker *worker, struct service_request *request, socket_handle socket,
                   const char *bytes, uint32_t length, _Atomic uint64_t *bytes_sent);
/* When the next wait of the thread is over, by clock_now_ns(); IB_UNKNOWN: nothing waits. */
static inline uint64_t service_next_due(const struct service_worker *worker)
{
	return worker->first != NULL ? worker->first->due_ns : IB_UNKNOWN;
}
/* Takes the next request whose wait is over; NULL: none. It has a reply to send. */
struct service_request *service_due(struct service_worker *worker, uint64_t now_ns);

/* Adds *from to *to, of which the caller is the one writer, and clears it. */
void service_counts_move(struct service_counts *to, struct service_counts *from);
/* Adds what a thread has served to a snapshot. */
void service_counts_sum(const struct service_counts *counts, struct ib_server_stats *out);

/*
 * The received bytes of a connection that a readiness model serves: its loop has one buffer for all connections, so what cannot be answered
 * at once is copied here.
 */
struct service_hold {
	struct service_request request;
	const char *bytes; /* the worker's buffer, or own */
	char *own;
	uint32_t start; /* bytes[start..end) are not taken yet */
	uint32_t end;
	uint32_t capacity; /* of own */
	uint32_t number;   /* the model's own, of the connection */
	uint32_t interest; /* the model's own: what the socket is waited for */
};
/*
 * Lends what was received to a hold whose bytes are all taken. *hold is made at the first time. False: out of memory. Before the bytes change,
 * service_hold_keep() must be called, unless the connection has ended.
 */
bool service_hold_lend(struct service_hold **hold, const char *bytes, uint32_t length);
/* Copies the lent bytes that are not taken. False: out of memory. */
bool service_hold_keep(struct service_hold *hold);
/* Whether a request waits, a reply is not sent yet, or bytes are not taken yet. */
static inline bool service_hold_is_busy(const struct service_hold *hold)
{
	return hold->end != hold->start || service_request_is_busy(&hold->request);
}
/* service_step() for the bytes of a hold. */
static inline enum service_verdict service_hold_step(struct service_worker *worker, struct service_hold *hold)
{
	enum service_verdict verdict =
	    service_step(worker, &hold->request, hold->bytes + hold->start, hold->end - hold->start);
	hold->start += hold->request.taken;
	return verdict;
}
static inline void service_hold_sent(const struct service_worker *worker, struct service_hold *hold, uint32_t bytes)
{
	hold->start += service_replied(worker, &hold->request, bytes);
}
static inline struct service_hold *service_hold_of(struct service_request *request)
{
	return (struct service_hold *)(void *)((char *)request - offsetof(struct service_hold, request));
}
/* The connection has ended: counts what was not answered, and frees the hold. NULL is allowed. */
void service_hold_end(struct service_worker *worker, struct service_hold *hold);

#endif /* SERVICE_H */
