/*
 * wire_tls.c - the sessions of an engine's connections: when they begin and end, and what a failure means for the connection.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "load/engine.h"
#include "load/tls.h"

/* The most plaintext of a record (RFC 8446, section 5.1). */
#define RECORD_BYTES 16384u
/* No more is encrypted while this much waits for the socket. */
#define AHEAD_BYTES (64u * 1024u)
/* Header, padding and tag of a record are at most this long with the ciphers of TLS 1.2 and 1.3 that are in use. */
#define RECORD_OVERHEAD_BYTES 64u
/* A receive should have room for a server's certificates. */
#define RECEIVE_LEAST_BYTES 2048u
#define TEXT_MAX_BYTES (16u * 1024u * 1024u)
#define SERVER_NAME_MAX_BYTES 255u

struct wire_tls {
	struct tls_context *context;
	struct tls_session *sessions;
	char description[96]; /* of the first session; "": there was none */
	uint8_t received[RECORD_BYTES];
	uint8_t to_send[RECORD_BYTES];
};

/* ------------------------------------------------------------------------------------------- opening */

static int32_t settings_check(const struct ib_tls *settings, struct ib_error *error)
{
	int32_t status = abi_check(settings->size, settings->abi_version, sizeof *settings, "ib_tls", error);
	const struct abi_range ranges[] = {
	    {"server_name_bytes", settings->server_name_bytes, 1, SERVER_NAME_MAX_BYTES},
	    {"authorities_bytes", settings->authorities_bytes, settings->insecure != 0 ? 0 : 1, TEXT_MAX_BYTES},
	    {"certificate_bytes", settings->certificate_bytes, settings->key_bytes != 0 ? 1 : 0, TEXT_MAX_BYTES},
	    {"key_bytes", settings->key_bytes, settings->certificate_bytes != 0 ? 1 : 0, TEXT_MAX_BYTES},
	};

	return status == IB_STATUS_OK ? abi_ranges_check(ranges, sizeof ranges / sizeof ranges[0], error) : status;
}

static int32_t context_open(struct tls_context **out, const struct ib_tls *settings, struct ib_error *error)
{
	const char *texts = (const char *)(settings + 1);
	const char *authorities = texts + settings->server_name_bytes;
	const char *certificate = authorities + settings->authorities_bytes;
	char server_name[SERVER_NAME_MAX_BYTES + 1] = {0};

	*out = NULL;
	int32_t status = settings_check(settings, error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	memcpy(server_name, texts, settings->server_name_bytes);
	const struct tls_settings given = {
	    .authorities = {authorities, settings->authorities_bytes},
	    .certificate = {certificate, settings->certificate_bytes},
	    .key = {certificate + settings->certificate_bytes, settings->key_bytes},
	    .server_name = server_name,
	    .server_name_is_address = settings->server_name_is_address != 0,
	    .insecure = settings->insecure != 0,
	    .resume = settings->resume != 0,
	};
	return tls_context_open(out, &given, error);
}

int32_t wire_tls_open(struct wire_tls **out, const struct ib_tls *settings, uint32_t count, uint64_t *memory_bytes,
                      struct ib_error *error)
{
	struct tls_context *context = NULL;
	int32_t status = context_open(&context, settings, error);

	*out = NULL;
	if (status != IB_STATUS_OK) {
		return status;
	}
	struct wire_tls *tls = calloc(1, sizeof *tls);
	struct tls_session *sessions = calloc(count + 1u, sizeof *sessions);
	if (tls == NULL || sessions == NULL) {
		free(tls);
		free(sessions);
		tls_context_close(context);
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the TLS sessions of %u connections", count);
	}
	tls->context = context;
	tls->sessions = sessions;
	*memory_bytes += sizeof *tls + (uint64_t)count * sizeof *sessions;
	*out = tls;
	return IB_STATUS_OK;
}

void wire_tls_close(struct wire_tls *tls, uint32_t count)
{
	if (tls == NULL) {
		return;
	}
	for (uint32_t index = 0; index < count; index++) {
		tls_forget(&tls->sessions[index]);
	}
	tls_context_close(tls->context);
	free(tls->sessions);
	free(tls);
}

void wire_tls_features(const struct wire_tls *tls, char *features, size_t size)
{
	size_t used = strlen(features);

	if (tls->description[0] != '\0') {
		snprintf(features + used, size - used, "%s%s", used != 0 ? " " : "", tls->description);
	}
}

uint64_t wire_tls_receive_bytes(uint64_t bytes, uint32_t pipeline)
{
	uint64_t records = bytes / RECORD_BYTES + pipeline;

	bytes += records * RECORD_OVERHEAD_BYTES;
	return bytes > RECEIVE_LEAST_BYTES ? bytes : RECEIVE_LEAST_BYTES;
}

int32_t ib_tls_check(const struct ib_tls *settings, struct ib_error *error)
{
	struct tls_context *context = NULL;

	error_set(error, IB_STATUS_OK, 0, "%s", "");
	int32_t status = context_open(&context, settings, error);
	tls_context_close(context);
	return status;
}

int32_t ib_tls_probe(struct ib_probe *out)
{
	struct openssl api;
	struct ib_error error;
	int32_t status = abi_check(out->size, out->abi_version, sizeof *out, "ib_probe", NULL);

	if (status != IB_STATUS_OK) {
		return status;
	}
	abi_probe_start(out, "tls");
	out->available = openssl_find(&api, process_symbol, &error) == IB_STATUS_OK;
	if (out->available != 0) {
		snprintf(out->features, sizeof out->features, "%s", api.OpenSSL_version(0));
	} else {
		snprintf(out->reason, sizeof out->reason, "%s", error.message);
		snprintf(out->hint, sizeof out->hint, "%s", error.hint);
	}
	return IB_STATUS_OK;
}

/* ----------------------------------------------------------------------------------------- handshake */

static struct tls_session *session_at(const struct engine *engine, uint32_t index)
{
	return &engine->tls->sessions[index];
}

bool wire_tls_is_handshaking(const struct engine *engine, uint32_t index)
{
	return engine->tls != NULL && session_at(engine, index)->state == TLS_HANDSHAKE;
}

enum engine_verdict wire_tls_connected(struct engine *engine, uint32_t index, uint64_t now)
{
	struct connection *connection = engine_connection(engine, index);

	connection->ring[0].sent_ns = now; /* when the handshake began */
	if (!tls_begin(engine->tls->context, session_at(engine, index))) {
		return engine_failed_because(engine, index, IB_ERROR_MEMORY, 0, now, "no memory for a TLS session");
	}
	return ENGINE_SEND;
}

void wire_tls_closed(struct engine *engine, uint32_t index)
{
	tls_close(session_at(engine, index));
}

static enum engine_verdict handshake_completed(struct engine *engine, uint32_t index, uint64_t now)
{
	const struct tls_session *session = session_at(engine, index);
	uint64_t began_ns = engine_connection(engine, index)->ring[0].sent_ns;
	struct wire_tls *tls = engine->tls;

	histogram_record(&engine->block->handshake, now > began_ns ? now - began_ns : 0);
	engine->counters.handshakes++;
	engine->counters.handshakes_resumed += session->resumed;
	engine->block->window_handshakes += engine_in_window(engine, now);
	engine->block->window_handshakes_resumed += session->resumed && engine_in_window(engine, now);
	if (tls->description[0] == '\0') {
		tls_describe(session, tls->description, sizeof tls->description);
	}
	return engine_ready(engine, index, now);
}

/* ------------------------------------------------------------------------------------------- sending */

static uint32_t index_of(const struct engine *engine, const struct connection *connection)
{
	size_t offset = (size_t)((const unsigned char *)connection - engine->connections);
	return (uint32_t)(offset / engine->connection_stride);
}

/* Encrypts what the connection has to send, as far ahead as is useful. */
static void encrypt(struct engine *engine, uint32_t index)
{
	const struct connection *connection = engine_connection(engine, index);
	struct tls_session *session = session_at(engine, index);
	struct wire_tls *tls = engine->tls;

	while (session->state == TLS_OPEN && tls_pending(session) < AHEAD_BYTES &&
	       engine_to_send(engine, connection) != 0) {
		size_t length = engine_fill(engine, index, tls->to_send, sizeof tls->to_send);
		size_t written = tls_write(session, tls->to_send, length);
		if (written == 0) {
			return;
		}
		engine_sent(engine, index, written);
	}
}

size_t wire_tls_to_send(const struct engine *engine, const struct connection *connection)
{
	uint32_t index = index_of(engine, connection);

	/* The engine itself is not const: encrypting changes the connection's counts, but nothing that the caller asked about. */
	encrypt((struct engine *)(uintptr_t)engine, index);
	return tls_pending(session_at(engine, index));
}

size_t wire_tls_fill(const struct engine *engine, uint32_t index, uint8_t *out, size_t capacity)
{
	size_t length = wire_tls_to_send(engine, engine_connection(engine, index));

	length = length < capacity ? length : capacity;
	if (length != 0) {
		memcpy(out, tls_pending_bytes(session_at(engine, index)), length);
	}
	return length;
}

void wire_tls_sent(struct engine *engine, uint32_t index, size_t bytes)
{
	tls_sent(session_at(engine, index), bytes);
}

size_t wire_tls_last(struct engine *engine, uint32_t index, uint8_t *out, size_t capacity)
{
	struct tls_session *session = session_at(engine, index);

	/* A send in flight has bytes that wire_tls_sent() has not taken away yet. */
	if (engine_connection(engine, index)->blocked) {
		return 0;
	}
	tls_end(session);
	size_t length = tls_pending(session);
	length = length < capacity ? length : capacity;
	if (length != 0) {
		memcpy(out, tls_pending_bytes(session), length);
		tls_sent(session, length);
	}
	return length;
}

/* ----------------------------------------------------------------------------------------- receiving */

static enum engine_verdict session_failed(struct engine *engine, uint32_t index, uint64_t now)
{
	static const enum ib_error_class classes[] = {
	    [TLS_FAILURE_NONE] = IB_ERROR_TLS_BROKEN,
	    [TLS_FAILURE_HANDSHAKE] = IB_ERROR_TLS_HANDSHAKE,
	    [TLS_FAILURE_VERIFY] = IB_ERROR_TLS_VERIFY,
	    [TLS_FAILURE_RECORD] = IB_ERROR_TLS_BROKEN,
	};
	const struct tls_failure *failure = tls_failure(engine->tls->context);
	/* With TLS 1.3 the server judges the client's certificate after the client's handshake is complete. */
	bool is_early = failure->kind == TLS_FAILURE_RECORD && !engine_connection(engine, index)->made;

	return engine_failed_because(engine, index, is_early ? IB_ERROR_TLS_HANDSHAKE : classes[failure->kind], 0, now,
	                             failure->words);
}

enum engine_verdict wire_tls_received(struct engine *engine, uint32_t index, const uint8_t *bytes, size_t length,
                                      uint64_t now)
{
	const struct connection *connection = engine_connection(engine, index);
	struct tls_session *session = session_at(engine, index);
	struct wire_tls *tls = engine->tls;

	tls_feed(session, bytes, length);
	for (;;) {
		bool was_handshaking = session->state == TLS_HANDSHAKE;
		size_t got = tls_read(session, tls->received, sizeof tls->received);
		enum engine_verdict verdict = ENGINE_IDLE;
		if (got != 0) {
			verdict = engine_received(engine, index, tls->received, got, now);
		} else if (was_handshaking && session->state == TLS_OPEN) {
			verdict = handshake_completed(engine, index, now);
		} else {
			break;
		}
		if (verdict == ENGINE_CLOSE) {
			return ENGINE_CLOSE;
		}
	}
	if (unlikely(session->state == TLS_FAILED)) {
		return session_failed(engine, index, now);
	}
	if (unlikely(session->state == TLS_ENDED)) {
		return engine_failed(engine, index, 0, now);
	}
	return !connection->blocked && wire_tls_to_send(engine, connection) != 0 ? ENGINE_SEND : ENGINE_IDLE;
}
