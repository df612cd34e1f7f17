/*
 * wire_tls.h - TLS between the I/O half of an engine and its requests.
 *
 * A connection whose socket is connected is CONNECTION_FIRST, as without TLS, but has nothing in flight until its handshake is complete. The
 * time of the handshake has the timeout of a connect. Requests count as sent when they are encrypted; their ciphertext is then sent as the
 * socket allows. At most a few records per connection are encrypted ahead of the socket.
 *
 * engine.h includes this file, which uses its types. Include that one.
 */
#ifndef LOAD_WIRE_TLS_H
#define LOAD_WIRE_TLS_H

struct wire_tls;

/*
 * Checks the settings, finds OpenSSL and makes the sessions of `count` connections, and adds what that takes to *memory_bytes, without what
 * OpenSSL itself allocates. On failure nothing is left allocated. IB_STATUS_OK, IB_STATUS_ABI, IB_STATUS_USAGE, IB_STATUS_UNAVAILABLE
 * or IB_STATUS_MEMORY.
 */
int32_t wire_tls_open(struct wire_tls **out, const struct ib_tls *settings, uint32_t count, uint64_t *memory_bytes,
                      struct ib_error *error);
void wire_tls_close(struct wire_tls *tls, uint32_t count);

/* The socket is connected. Begins the handshake. */
enum engine_verdict wire_tls_connected(struct engine *engine, uint32_t index, uint64_t now);
/* The handshake has begun and is not complete. */
bool wire_tls_is_handshaking(const struct engine *engine, uint32_t index);
/* The connection is closed. */
void wire_tls_closed(struct engine *engine, uint32_t index);
/* Adds the version of TLS, the cipher and the library to a list of features; nothing before the first handshake. */
void wire_tls_features(const struct wire_tls *tls, char *features, size_t size);
/* How many bytes a receive should have room for, if `bytes` is that number without TLS. */
uint64_t wire_tls_receive_bytes(uint64_t bytes, uint32_t pipeline);

/* As the functions of wire.h. */
size_t wire_tls_to_send(const struct engine *engine, const struct connection *connection);
size_t wire_tls_fill(const struct engine *engine, uint32_t index, uint8_t *out, size_t capacity);
void wire_tls_sent(struct engine *engine, uint32_t index, size_t bytes);
enum engine_verdict wire_tls_received(struct engine *engine, uint32_t index, const uint8_t *bytes, size_t length,
                                      uint64_t now);
size_t wire_tls_last(struct engine *engine, uint32_t index, uint8_t *out, size_t capacity);

#endif /* LOAD_WIRE_TLS_H */
