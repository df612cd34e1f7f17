/*
 * tls.c - sessions of OpenSSL whose two ends are memory.
 *
 * OpenSSL reads and writes ciphertext through a BIO of ours. It reads in the receive buffer of the engine, without a copy, and writes to a
 * buffer of the session that grows as needed. OpenSSL keeps incomplete records itself, so fed bytes are always used up.
 *
 * Traps
 *  - OpenSSL's queue of errors belongs to the thread, and Node uses the same queue. SSL_get_error() looks at it, so it is emptied before
 *    every call that may fail and after each failure.
 *  - SSL_free() marks a session that was not shut down as not resumable. A load generator ends most of its connections without an
 *    alert, so it marks them as shut down first.
 *  - TLS 1.3 sends the tickets for resumption after the handshake, and a server may send several. The last one counts.
 *  - A renegotiation (TLS 1.2) may need to read before SSL_write() can write.
 */
#include "load/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUT_LEAST_BYTES 1024u
/* An empty buffer that has grown beyond this is freed. */
#define OUT_KEPT_MOST_BYTES (64u * 1024u)
#define OUT_MOST_BYTES (1u << 30)
#define SERVER_NAME_MOST 256u

struct tls_context {
	struct openssl api;
	struct ssl_ctx_st *ssl_context;
	struct bio_method_st *bio_method;
	struct tls_failure failure;
	char server_name[SERVER_NAME_MOST];
	bool server_name_is_address;
	bool resume;
};

/* ----------------------------------------------------------------------------------------------- BIO */

static bool out_reserve(struct tls_session *session, size_t length)
{
	if (session->out_start == session->out_end) {
		session->out_start = session->out_end = 0;
	}
	size_t needed = session->out_end + length;
	if (needed <= session->out_capacity) {
		return true;
	}
	size_t capacity = session->out_capacity != 0 ? session->out_capacity : OUT_LEAST_BYTES;
	while (capacity < needed) {
		capacity *= 2;
	}
	uint8_t *out = capacity <= OUT_MOST_BYTES ? realloc(session->out, capacity) : NULL;
	if (out == NULL) {
		return false;
	}
	session->out = out;
	session->out_capacity = (uint32_t)capacity;
	return true;
}

/*
 * BIO_get_data(). A BIO's data is its session, which leads to all other functions. Every context finds the same function, so it does not
 * matter which one stored it last.
 */
static void *(*bio_data)(struct bio_st *);

static struct tls_session *session_of(struct bio_st *bio)
{
	return __atomic_load_n(&bio_data, __ATOMIC_RELAXED)(bio);
}

static int bio_write(struct bio_st *bio, const char *bytes, int length)
{
	struct tls_session *session = session_of(bio);

	session->context->api.BIO_clear_flags(bio, OPENSSL_BIO_FLAGS_RETRY_ALL);
	if (length <= 0 || !out_reserve(session, (size_t)length)) {
		return -1;
	}
	memcpy(session->out + session->out_end, bytes, (size_t)length);
	session->out_end += (uint32_t)length;
	return length;
}

static int bio_read(struct bio_st *bio, char *out, int capacity)
{
	struct tls_session *session = session_of(bio);
	const struct openssl *api = &session->context->api;
	size_t length = capacity > 0 ? (size_t)capacity : 0;

	api->BIO_clear_flags(bio, OPENSSL_BIO_FLAGS_RETRY_ALL);
	if (session->in_bytes == 0) {
		api->BIO_set_flags(bio, OPENSSL_BIO_FLAGS_READ | OPENSSL_BIO_FLAGS_SHOULD_RETRY);
		return -1;
	}
	length = length < session->in_bytes ? length : session->in_bytes;
	memcpy(out, session->in, length);
	session->in += length;
	session->in_bytes -= length;
	return (int)length;
}

static long bio_control(struct bio_st *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == OPENSSL_BIO_CTRL_FLUSH;
}

void tls_sent(struct tls_session *session, size_t length)
{
	session->out_start += (uint32_t)length;
	if (session->out_start == session->out_end && session->out_capacity > OUT_KEPT_MOST_BYTES) {
		free(session->out);
		session->out = NULL;
		session->out_start = session->out_end = session->out_capacity = 0;
	}
}

/* ------------------------------------------------------------------------------------------- context */

/* A key that needs a passphrase is refused. Without this OpenSSL would ask on the terminal. */
static int no_passphrase(char *out, int capacity, int writing, void *argument)
{
	(void)out;
	(void)capacity;
	(void)writing;
	(void)argument;
	return -1;
}

static int32_t out_of_memory(struct ib_error *error)
{
	return error_set(error, IB_STATUS_MEMORY, 0, "no memory for TLS");
}

/* OpenSSL's reason for the first error of the queue, which is emptied. */
static const char *reason_take(const struct openssl *api)
{
	const char *reason = api->ERR_reason_error_string(api->ERR_peek_error());

	api->ERR_clear_error();
	return reason != NULL ? reason : "no reason given";
}

static struct bio_st *text_open(const struct openssl *api, const struct tls_text *text)
{
	return api->BIO_new_mem_buf(text->bytes, (int)text->length);
}

/* Adds every certificate of a PEM text to the trusted ones. */
static int32_t authorities_add(struct tls_context *context, const struct tls_text *text, struct ib_error *error)
{
	const struct openssl *api = &context->api;
	struct x509_store_st *store = api->SSL_CTX_get_cert_store(context->ssl_context);
	struct bio_st *bio = text_open(api, text);
	uint32_t count = 0;
	struct x509_st *certificate;

	if (bio == NULL) {
		return out_of_memory(error);
	}
	while ((certificate = api->PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
		count += api->X509_STORE_add_cert(store, certificate) == 1;
		api->X509_free(certificate);
	}
	api->BIO_free(bio);
	api->ERR_clear_error(); /* the end of the text is an error, too */
	if (count == 0) {
		error_set(error, IB_STATUS_USAGE, 0, "the file of trusted certificates contains no certificate in PEM form");
		error_hint(error, "it must have a block that begins with -----BEGIN CERTIFICATE-----");
		return IB_STATUS_USAGE;
	}
	return IB_STATUS_OK;
}

static int32_t certificate_refused(const struct openssl *api, struct ib_error *error)
{
	error_set(error, IB_STATUS_USAGE, 0, "the client certificate cannot be used: %.100s", reason_take(api));
	error_hint(error, "a certificate in PEM form is expected, followed by the rest of its chain");
	return IB_STATUS_USAGE;
}

/* The first certificate of the text is the client's. The others are sent with it. */
static int32_t certificate_use(struct tls_context *context, const struct tls_text *text, struct ib_error *error)
{
	const struct openssl *api = &context->api;
	struct bio_st *bio = text_open(api, text);
	struct x509_st *certificate = bio != NULL ? api->PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
	bool fine = certificate != NULL && api->SSL_CTX_use_certificate(context->ssl_context, certificate) == 1;

	while (fine && certificate != NULL) {
		api->X509_free(certificate);
		certificate = api->PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
		/* The 1 makes the context take a reference of its own. */
		fine = certificate == NULL ||
		       api->SSL_CTX_ctrl(context->ssl_context, OPENSSL_SSL_CTRL_CHAIN_CERT, 1, certificate) == 1;
	}
	if (certificate != NULL) {
		api->X509_free(certificate);
	}
	if (bio != NULL) {
		api->BIO_free(bio);
	}
	if (!fine) {
		return certificate_refused(api, error);
	}
	api->ERR_clear_error();
	return IB_STATUS_OK;
}

static int32_t key_use(struct tls_context *context, const struct tls_text *text, struct ib_error *error)
{
	const struct openssl *api = &context->api;
	struct bio_st *bio = text_open(api, text);
	struct evp_pkey_st *key = bio != NULL ? api->PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
	bool fine = key != NULL && api->SSL_CTX_use_PrivateKey(context->ssl_context, key) == 1 &&
	            api->SSL_CTX_check_private_key(context->ssl_context) == 1;

	if (key != NULL) {
		api->EVP_PKEY_free(key);
	}
	if (bio != NULL) {
		api->BIO_free(bio);
	}
	if (fine) {
		return IB_STATUS_OK;
	}
	error_set(error, IB_STATUS_USAGE, 0, "the private key of the client certificate cannot be used: %.100s",
	          reason_take(api));
	error_hint(error, "a key in PEM form without a passphrase is expected, and it must belong to the certificate");
	return IB_STATUS_USAGE;
}

static int32_t verification_set(struct tls_context *context, const struct tls_settings *settings,
                                struct ib_error *error)
{
	const struct openssl *api = &context->api;

	api->SSL_CTX_set_verify(context->ssl_context,
	                        settings->insecure ? OPENSSL_SSL_VERIFY_NONE : OPENSSL_SSL_VERIFY_PEER, NULL);
	if (settings->insecure) {
		return IB_STATUS_OK;
	}
	struct X509_VERIFY_PARAM_st *parameters = api->SSL_CTX_get0_param(context->ssl_context);
	int set = settings->server_name_is_address ? api->X509_VERIFY_PARAM_set1_ip_asc(parameters, context->server_name)
	                                           : api->X509_VERIFY_PARAM_set1_host(parameters, context->server_name, 0);
	if (set != 1) {
		api->ERR_clear_error();
		return error_set(error, IB_STATUS_USAGE, 0, "\"%.100s\" is not a name or address that a certificate can be for",
		                 context->server_name);
	}
	return authorities_add(context, &settings->authorities, error);
}

static int32_t context_set_up(struct tls_context *context, const struct tls_settings *settings, struct ib_error *error)
{
	const struct openssl *api = &context->api;

	context->ssl_context = api->SSL_CTX_new(api->TLS_client_method());
	context->bio_method = api->BIO_meth_new(OPENSSL_BIO_TYPE_SOURCE_SINK | 0xff, "iocp-bench connection");
	if (context->ssl_context == NULL || context->bio_method == NULL) {
		api->ERR_clear_error();
		return out_of_memory(error);
	}
	api->BIO_meth_set_write(context->bio_method, bio_write);
	api->BIO_meth_set_read(context->bio_method, bio_read);
	api->BIO_meth_set_ctrl(context->bio_method, bio_control);
	api->SSL_CTX_ctrl(context->ssl_context, OPENSSL_SSL_CTRL_SET_MIN_PROTO_VERSION, OPENSSL_TLS1_2_VERSION, NULL);
	api->SSL_CTX_ctrl(context->ssl_context, OPENSSL_SSL_CTRL_MODE,
	                  OPENSSL_SSL_MODE_ENABLE_PARTIAL_WRITE | OPENSSL_SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, NULL);
	/* Sessions are kept per connection, see session_keep(). */
	api->SSL_CTX_ctrl(context->ssl_context, OPENSSL_SSL_CTRL_SET_SESS_CACHE_MODE, OPENSSL_SSL_SESS_CACHE_OFF, NULL);
	int32_t status = verification_set(context, settings, error);
	if (status == IB_STATUS_OK && settings->certificate.length != 0) {
		status = certificate_use(context, &settings->certificate, error);
	}
	if (status == IB_STATUS_OK && settings->certificate.length != 0) {
		status = key_use(context, &settings->key, error);
	}
	return status;
}

int32_t tls_context_open(struct tls_context **out, const struct tls_settings *settings, struct ib_error *error)
{
	struct tls_context *context = calloc(1, sizeof *context);

	*out = NULL;
	if (context == NULL) {
		return out_of_memory(error);
	}
	int32_t status = openssl_find(&context->api, process_symbol, error);
	if (status == IB_STATUS_OK && strlen(settings->server_name) >= sizeof context->server_name) {
		status = error_set(error, IB_STATUS_USAGE, 0, "the server name is too long");
	}
	if (status == IB_STATUS_OK) {
		snprintf(context->server_name, sizeof context->server_name, "%s", settings->server_name);
		context->server_name_is_address = settings->server_name_is_address;
		context->resume = settings->resume;
		__atomic_store_n(&bio_data, context->api.BIO_get_data, __ATOMIC_RELAXED);
		context->api.ERR_clear_error();
		status = context_set_up(context, settings, error);
	}
	if (status != IB_STATUS_OK) {
		tls_context_close(context);
		return status;
	}
	*out = context;
	return IB_STATUS_OK;
}

void tls_context_close(struct tls_context *context)
{
	if (context == NULL) {
		return;
	}
	if (context->ssl_context != NULL) {
		context->api.SSL_CTX_free(context->ssl_context);
	}
	if (context->bio_method != NULL) {
		context->api.BIO_meth_free(context->bio_method);
	}
	free(context);
}

const struct tls_failure *tls_failure(const struct tls_context *context)
{
	return &context->failure;
}

/* ------------------------------------------------------------------------------------------ failures */

/* What to do about a refused certificate. */
static void verify_failed(struct tls_context *context, long result)
{
	struct tls_failure *failure = &context->failure;
	const char *reason = context->api.X509_verify_cert_error_string(result);

	failure->kind = TLS_FAILURE_VERIFY;
	if (result == OPENSSL_X509_V_ERR_HOSTNAME_MISMATCH || result == OPENSSL_X509_V_ERR_IP_ADDRESS_MISMATCH) {
		snprintf(failure->words, sizeof failure->words,
		         "certificate verify failed: it is not for %.60s; use --tls-server-name NAME or --tls-insecure",
		         context->server_name);
	} else if (result == OPENSSL_X509_V_ERR_CERT_HAS_EXPIRED || result == OPENSSL_X509_V_ERR_CERT_NOT_YET_VALID) {
		snprintf(failure->words, sizeof failure->words, "certificate verify failed: %.60s; use --tls-insecure", reason);
	} else {
		snprintf(failure->words, sizeof failure->words,
		         "certificate verify failed: %.60s; use --tls-ca FILE or --tls-insecure", reason);
	}
}

/* What OpenSSL says of bytes that are no TLS record depends on its version: later ones than 3.0 complain about the length. */
static bool is_not_tls(int reason)
{
	return reason == OPENSSL_SSL_R_WRONG_VERSION_NUMBER || reason == OPENSSL_SSL_R_UNEXPECTED_MESSAGE ||
	       reason == OPENSSL_SSL_R_PACKET_LENGTH_TOO_LONG;
}

static void failed(struct tls_session *session)
{
	struct tls_context *context = session->context;
	const struct openssl *api = &context->api;
	struct tls_failure *failure = &context->failure;
	bool open = session->state == TLS_OPEN;
	/* The first error is the cause. The others come from the functions that called it. */
	unsigned long code = api->ERR_peek_error();
	int reason = openssl_reason(code);
	const char *words = api->ERR_reason_error_string(code);

	session->state = TLS_FAILED;
	failure->kind = open ? TLS_FAILURE_RECORD : TLS_FAILURE_HANDSHAKE;
	if (!open && reason == OPENSSL_SSL_R_CERTIFICATE_VERIFY_FAILED) {
		verify_failed(context, api->SSL_get_verify_result(session->ssl));
	} else if (code == 0) {
		snprintf(failure->words, sizeof failure->words, "no memory for TLS");
	} else if (!open && is_not_tls(reason)) {
		snprintf(failure->words, sizeof failure->words,
		         "TLS handshake failed: the server's answer is not TLS (%.60s); does it speak TLS on this port?",
		         words != NULL ? words : "wrong version number");
	} else {
		snprintf(failure->words, sizeof failure->words, "%s: %.100s",
		         open ? "the TLS session failed" : "TLS handshake failed", words != NULL ? words : "no reason given");
	}
	api->ERR_clear_error();
}

/* A call returned `result`, which is no success. */
static void conclude(struct tls_session *session, int result)
{
	switch (session->context->api.SSL_get_error(session->ssl, result)) {
	case OPENSSL_SSL_ERROR_WANT_READ:
	case OPENSSL_SSL_ERROR_WANT_WRITE:
		return;
	case OPENSSL_SSL_ERROR_ZERO_RETURN:
		session->state = TLS_ENDED;
		return;
	default:
		failed(session);
	}
}

/* ------------------------------------------------------------------------------------------ sessions */

bool tls_begin(struct tls_context *context, struct tls_session *session)
{
	const struct openssl *api = &context->api;

	ib_assert(session->state == TLS_CLOSED && session->ssl == NULL);
	api->ERR_clear_error();
	struct ssl_st *ssl = api->SSL_new(context->ssl_context);
	struct bio_st *bio = ssl != NULL ? api->BIO_new(context->bio_method) : NULL;
	if (bio == NULL) {
		if (ssl != NULL) {
			api->SSL_free(ssl);
		}
		api->ERR_clear_error();
		return false;
	}
	session->context = context;
	api->BIO_set_data(bio, session);
	api->BIO_set_init(bio, 1);
	api->SSL_set_bio(ssl, bio, bio); /* the session owns it from here on */
	api->SSL_set_connect_state(ssl);
	if (!context->server_name_is_address) {
		api->SSL_ctrl(ssl, OPENSSL_SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, context->server_name);
	}
	if (session->saved != NULL) {
		api->SSL_set_session(ssl, session->saved);
	}
	session->ssl = ssl;
	session->state = TLS_HANDSHAKE;
	session->resumed = false;
	session->in = NULL;
	session->in_bytes = 0;
	int result = api->SSL_do_handshake(ssl);
	if (result != 1) {
		conclude(session, result);
	}
	return session->state == TLS_HANDSHAKE;
}

/* With TLS 1.3 the session of an SSL is that of the last ticket that came, and not resumable before the first. */
static void session_keep(struct tls_session *session)
{
	const struct openssl *api = &session->context->api;
	struct ssl_session_st *last = api->SSL_get1_session(session->ssl);

	if (last != NULL && session->state != TLS_FAILED && api->SSL_SESSION_is_resumable(last) == 1) {
		struct ssl_session_st *earlier = session->saved;
		session->saved = last;
		last = earlier;
	}
	if (last != NULL) {
		api->SSL_SESSION_free(last);
	}
}

void tls_close(struct tls_session *session)
{
	if (session->ssl != NULL) {
		const struct openssl *api = &session->context->api;
		if (session->context->resume) {
			session_keep(session);
		}
		api->SSL_set_shutdown(session->ssl, OPENSSL_SSL_SENT_SHUTDOWN | OPENSSL_SSL_RECEIVED_SHUTDOWN);
		api->SSL_free(session->ssl);
		session->ssl = NULL;
	}
	free(session->out);
	session->out = NULL;
	session->out_start = session->out_end = session->out_capacity = 0;
	session->state = TLS_CLOSED;
}

void tls_forget(struct tls_session *session)
{
	tls_close(session);
	if (session->saved != NULL) {
		session->context->api.SSL_SESSION_free(session->saved);
		session->saved = NULL;
	}
}

void tls_feed(struct tls_session *session, const uint8_t *bytes, size_t length)
{
	ib_assert(session->in_bytes == 0 || session->state == TLS_ENDED || session->state == TLS_FAILED);
	session->in = bytes;
	session->in_bytes = length;
}

static void handshake_continue(struct tls_session *session)
{
	const struct openssl *api = &session->context->api;
	int result = api->SSL_do_handshake(session->ssl);

	if (result == 1) {
		session->state = TLS_OPEN;
		session->resumed = api->SSL_session_reused(session->ssl) == 1;
	} else {
		conclude(session, result);
	}
}

size_t tls_read(struct tls_session *session, uint8_t *out, size_t capacity)
{
	const struct openssl *api = &session->context->api;

	if (unlikely(session->state != TLS_OPEN)) {
		if (session->state == TLS_HANDSHAKE && session->in_bytes != 0) {
			api->ERR_clear_error();
			handshake_continue(session);
		}
		return 0;
	}
	/* OpenSSL takes records one by one, so without fed bytes it has at most the rest of a record. */
	if (session->in_bytes == 0 && api->SSL_pending(session->ssl) == 0) {
		return 0;
	}
	api->ERR_clear_error();
	int result = api->SSL_read(session->ssl, out, capacity < INT32_MAX ? (int)capacity : INT32_MAX);
	if (likely(result > 0)) {
		return (size_t)result;
	}
	conclude(session, result);
	return 0;
}

size_t tls_write(struct tls_session *session, const uint8_t *bytes, size_t length)
{
	const struct openssl *api = &session->context->api;

	if (session->state != TLS_OPEN || length == 0) {
		return 0;
	}
	api->ERR_clear_error();
	int result = api->SSL_write(session->ssl, bytes, length < INT32_MAX ? (int)length : INT32_MAX);
	if (likely(result > 0)) {
		return (size_t)result;
	}
	conclude(session, result);
	return 0;
}

void tls_end(struct tls_session *session)
{
	if (session->state == TLS_OPEN || session->state == TLS_ENDED) {
		session->context->api.ERR_clear_error();
		(void)session->context->api.SSL_shutdown(session->ssl);
		session->context->api.ERR_clear_error();
	}
}

void tls_describe(const struct tls_session *session, char *out, size_t size)
{
	const struct openssl *api = &session->context->api;
	const struct ssl_cipher_st *cipher = api->SSL_get_current_cipher(session->ssl);

	snprintf(out, size, "%s %s", api->SSL_get_version(session->ssl),
	         cipher != NULL ? api->SSL_CIPHER_get_name(cipher) : "");
}
