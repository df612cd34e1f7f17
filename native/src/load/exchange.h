/*
 * exchange.h - the protocols other than echo, on the client: which bytes make a request, and which received bytes a right reply.
 *
 * All requests of a run have the same size, so that the common half counts them as it counts the messages of the echo. Two functions are on
 * the path of a request: exchange_fill() and exchange_received(). The echo path tests engine->exchange for NULL and does nothing else.
 *
 * Before its first request a connection may have to await a greeting, and then to say hello and await the answer.
 *
 * engine.h includes this file, which uses its types. Include that one.
 */
#ifndef LOAD_EXCHANGE_H
#define LOAD_EXCHANGE_H

#include "load/exchange_http.h"
#include "load/exchange_message.h"

/* What a connection does before its first request. */
enum exchange_stage {
	EXCHANGE_READY = 0,
	EXCHANGE_GREETING = 1, /* awaits what the server sends first */
	EXCHANGE_HELLO = 2,    /* sends hello, awaits the answer */
};

/* One connection. */
struct exchange_connection {
	union {
		struct http_reply http;
		struct message_reply message;
	};
	uint64_t answered;   /* replies since it was last connected */
	uint32_t hello_sent; /* bytes of hello that the system accepted */
	uint32_t stage;      /* enum exchange_stage */
};

struct exchange {
	struct ib_exchange options;
	uint8_t *texts; /* owned; the pointers below point into it */
	const uint8_t *request;
	const uint8_t *hello;
	uint32_t *placeholders; /* owned */
	struct http_rules http;
	struct message_frame frame;
	struct message_frame greeting;
	uint64_t expected_body_hash; /* of IB_EXPECT_BODY_EXACT */
	bool has_first;              /* the first body is known */
	uint64_t first_body_bytes;
	uint64_t first_body_hash;
	struct exchange_connection *connections;
};

/*
 * Checks the options and copies them with their texts. `count` connections, `message_size_bytes` of the engine's options. On failure nothing
 * is left allocated. IB_STATUS_OK, IB_STATUS_ABI, IB_STATUS_USAGE or IB_STATUS_MEMORY.
 */
int32_t exchange_open(struct exchange **out, const struct ib_exchange *options, uint32_t count,
                      uint32_t message_size_bytes, struct ib_error *error);
void exchange_close(struct exchange *exchange, uint32_t count);
/* The memory that exchange_open() allocated. */
uint64_t exchange_memory_bytes(const struct exchange *exchange, uint32_t count);

/* A connection begins to connect. */
void exchange_begin(struct engine *engine, uint32_t index);
/* It is connected. False: it may send its first request at once. */
bool exchange_connected(struct engine *engine, uint32_t index);
/* Bytes of hello that have to be sent before any request. */
size_t exchange_hello_left(const struct engine *engine, const struct connection *connection);
/* The system accepted `bytes`. Returns how many of them belong to requests. */
size_t exchange_hello_sent(struct engine *engine, uint32_t index, size_t bytes);
/* As engine_fill() and engine_received(). */
size_t exchange_fill(const struct engine *engine, uint32_t index, uint8_t *out, size_t capacity);
enum engine_verdict exchange_received(struct engine *engine, uint32_t index, const uint8_t *bytes, size_t length,
                                      uint64_t now);
/* The server sent its FIN. True if that ended a reply, rightly or not, and the connection is CONNECTION_CLOSING. */
bool exchange_ended(struct engine *engine, uint32_t index, uint64_t now);
/* Whether the connection awaits bytes of the server before its first request. */
bool exchange_is_greeting(const struct engine *engine, uint32_t index);

#endif /* LOAD_EXCHANGE_H */
