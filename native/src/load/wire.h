/*
 * wire.h - what the I/O half sends and receives: the bytes of requests and replies as they are, or their ciphertext (wire_tls.h).
 *
 * The choice is one branch on a field of the engine that does not change. engine.h includes this file last.
 */
#ifndef LOAD_WIRE_H
#define LOAD_WIRE_H

#include "load/request_path.h"
#include "load/wire_tls.h"

/* Bytes that are ready to be sent, and not yet accepted by the system. */
static inline size_t wire_to_send(const struct engine *engine, const struct connection *connection)
{
	return likely(engine->tls == NULL) ? engine_to_send(engine, connection) : wire_tls_to_send(engine, connection);
}

/* Writes the next bytes to send, at most `capacity`. Returns how many: as many as wire_to_send() says, if they fit. */
static inline size_t wire_fill(const struct engine *engine, uint32_t index, uint8_t *out, size_t capacity)
{
	return likely(engine->tls == NULL) ? engine_fill(engine, index, out, capacity)
	                                   : wire_tls_fill(engine, index, out, capacity);
}

/* The system accepted `bytes` of the bytes that wire_fill() wrote. */
static inline void wire_sent(struct engine *engine, uint32_t index, size_t bytes)
{
	if (likely(engine->tls == NULL)) {
		engine_sent(engine, index, bytes);
	} else {
		wire_tls_sent(engine, index, bytes);
	}
}

/* `length` bytes came on the connection. */
static inline enum engine_verdict wire_received(struct engine *engine, uint32_t index, const uint8_t *bytes,
                                                size_t length, uint64_t now)
{
	return likely(engine->tls == NULL) ? engine_received(engine, index, bytes, length, now)
	                                   : wire_tls_received(engine, index, bytes, length, now);
}

/*
 * Writes what has to be sent before our FIN, at most `capacity`. Returns how many bytes; 0: nothing. Called at most once per connection, with
 * no send in flight. It does not matter whether the bytes are really sent.
 */
static inline size_t wire_last(struct engine *engine, uint32_t index, uint8_t *out, size_t capacity)
{
	return likely(engine->tls == NULL) ? 0 : wire_tls_last(engine, index, out, capacity);
}

#endif /* LOAD_WIRE_H */
