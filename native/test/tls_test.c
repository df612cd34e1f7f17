/*
 * tls_test.c - sessions of load/tls.c against a server in memory, made with the same OpenSSL, which this test is linked with. No socket
 * takes part. What the server sends is delivered in parts of every size, each in memory of exactly that size, so that AddressSanitizer finds
 * a read beyond it.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "check.h"
#include "load/tls.h"
#include "tls_identity.h"

/* -------------------------------------------------------------------------------------- certificates */

static struct identity authority, good, self_signed, expired;

/* -------------------------------------------------------------------------------------------- server */

struct server {
	SSL_CTX *context;
	SSL *ssl;
};

static void server_open(struct server *server, const struct identity *identity, int version)
{
	server->context = SSL_CTX_new(TLS_server_method());
	SSL_CTX_set_min_proto_version(server->context, version);
	SSL_CTX_set_max_proto_version(server->context, version);
	SSL_CTX_use_certificate(server->context, identity->certificate);
	SSL_CTX_use_PrivateKey(server->context, identity->key);
	SSL_CTX_set_session_id_context(server->context, (const unsigned char *)"test", 4);
	server->ssl = NULL;
}

static void server_accept(struct server *server)
{
	SSL_free(server->ssl);
	server->ssl = SSL_new(server->context);
	SSL_set_bio(server->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_accept_state(server->ssl);
}

static void server_close(struct server *server)
{
	SSL_free(server->ssl);
	SSL_CTX_free(server->context);
}

/* Takes what the client sends, and echoes all it can decrypt. */
static void server_turn(struct server *server)
{
	static unsigned char bytes[20000];
	int got;

	ERR_clear_error();
	while ((got = SSL_read(server->ssl, bytes, sizeof bytes)) > 0) {
		CHECK_EQUAL(SSL_write(server->ssl, bytes, got), got);
	}
	ERR_clear_error();
}

/* ---------------------------------------------------------------------------------------------- pair */

struct pair {
	struct server *server;
	struct tls_session *session;
	uint8_t *received; /* plaintext of the client */
	size_t received_bytes;
	uint64_t delivered; /* bytes that the server has sent to the client */
};

static void client_take(struct pair *pair, const uint8_t *bytes, size_t length)
{
	static uint8_t plain[3000];
	uint8_t *exact = malloc(length);
	enum tls_state before;
	size_t got;

	memcpy(exact, bytes, length);
	tls_feed(pair->session, exact, length);
	do {
		before = pair->session->state;
		got = tls_read(pair->session, plain, sizeof plain);
		if (got != 0) {
			pair->received = realloc(pair->received, pair->received_bytes + got);
			memcpy(pair->received + pair->received_bytes, plain, got);
			pair->received_bytes += got;
		}
	} while (got != 0 || (before == TLS_HANDSHAKE && pair->session->state == TLS_OPEN));
	if (pair->session->state == TLS_OPEN || pair->session->state == TLS_HANDSHAKE) {
		CHECK_EQUAL(pair->session->in_bytes, 0);
	}
	free(exact);
}

/* Delivers in parts of `part` bytes. `cut`: the place in all that is delivered where one part ends in any case; 0: none. */
static bool deliver(struct pair *pair, size_t part, uint64_t cut)
{
	BIO *out = SSL_get_wbio(pair->server->ssl);
	char *data = NULL;
	long length = BIO_get_mem_data(out, &data);
	uint8_t *flight = malloc((size_t)length + 1);

	memcpy(flight, data, (size_t)length);
	(void)BIO_reset(out);
	for (size_t at = 0; at < (size_t)length;) {
		size_t bytes = part < (size_t)length - at ? part : (size_t)length - at;
		if (cut > pair->delivered && cut - pair->delivered < bytes) {
			bytes = (size_t)(cut - pair->delivered);
		}
		client_take(pair, flight + at, bytes);
		at += bytes;
		pair->delivered += bytes;
	}
	free(flight);
	return length != 0;
}

/* Until neither side has anything to send. */
static void settle(struct pair *pair, size_t part, uint64_t cut)
{
	for (int round = 0; round < 100; round++) {
		size_t pending = tls_pending(pair->session);
		if (pending != 0) {
			BIO_write(SSL_get_rbio(pair->server->ssl), tls_pending_bytes(pair->session), (int)pending);
			tls_sent(pair->session, pending);
		}
		server_turn(pair->server);
		if (!deliver(pair, part, cut) && tls_pending(pair->session) == 0) {
			return;
		}
	}
	CHECK(!"the two sides settle");
}

static void client_write(struct pair *pair, const uint8_t *bytes, size_t length)
{
	for (size_t at = 0; at < length;) {
		size_t written = tls_write(pair->session, bytes + at, length - at);
		if (!CHECK(written != 0)) {
			return;
		}
		at += written;
	}
}

static void echo_check(struct pair *pair, size_t length, size_t part)
{
	uint8_t *bytes = calloc(1, length);

	for (size_t at = 0; at < length; at++) {
		bytes[at] = (uint8_t)(at * 7 + length);
	}
	pair->received_bytes = 0;
	client_write(pair, bytes, length);
	settle(pair, part, 0);
	CHECK_EQUAL(pair->received_bytes, length);
	CHECK(pair->received_bytes == length && memcmp(pair->received, bytes, length) == 0);
	free(bytes);
}

static struct tls_text text_of(const char *text)
{
	return (struct tls_text){.bytes = text, .length = text != NULL ? strlen(text) : 0};
}

static struct tls_settings settings_for(const char *name)
{
	return (struct tls_settings){.authorities = text_of(authority.certificate_pem), .server_name = name};
}

static struct tls_context *context_open(const struct tls_settings *settings)
{
	struct ib_error error;
	struct tls_context *context = NULL;

	CHECK_EQUAL(tls_context_open(&context, settings, &error), IB_STATUS_OK);
	return context;
}

static void begin(struct pair *pair, struct tls_context *context)
{
	server_accept(pair->server);
	pair->delivered = 0;
	CHECK(tls_begin(context, pair->session));
	CHECK(tls_pending(pair->session) != 0);
}

/* ------------------------------------------------------------------------------------------- echoing */

static void test_echo(int version, const char *name)
{
	const size_t parts[] = {1, 2, 3, 5, 16, 1000, 100000};
	const size_t lengths[] = {1, 64, 16384, 16385, 100000};
	struct server server;
	struct tls_session session = {0};
	struct pair pair = {.server = &server, .session = &session};
	struct tls_settings settings = settings_for("localhost");
	struct tls_context *context = context_open(&settings);
	char words[100];

	server_open(&server, &good, version);
	for (size_t at = 0; at < sizeof parts / sizeof parts[0]; at++) {
		begin(&pair, context);
		settle(&pair, parts[at], 0);
		CHECK_EQUAL(session.state, TLS_OPEN);
		CHECK(!session.resumed);
		tls_describe(&session, words, sizeof words);
		CHECK(strncmp(words, name, strlen(name)) == 0 && strlen(words) > strlen(name) + 5);
		for (size_t which = 0; which < sizeof lengths / sizeof lengths[0]; which++) {
			echo_check(&pair, lengths[which], parts[at]);
		}
		tls_close(&session);
	}
	tls_context_close(context);
	server_close(&server);
	free(pair.received);
}

/* Everything that the server sends, in two parts that meet at every place in turn. */
static void test_cuts(int version)
{
	struct server server;
	struct tls_session session = {0};
	struct pair pair = {.server = &server, .session = &session};
	struct tls_settings settings = settings_for("localhost");
	struct tls_context *context = context_open(&settings);
	uint64_t total = 1;

	server_open(&server, &good, version);
	for (uint64_t cut = 1; cut <= total + 4; cut++) {
		begin(&pair, context);
		settle(&pair, SIZE_MAX, cut);
		pair.received_bytes = 0;
		client_write(&pair, (const uint8_t *)"hello", 5);
		settle(&pair, SIZE_MAX, cut);
		total = pair.delivered;
		CHECK_EQUAL(session.state, TLS_OPEN);
		CHECK(pair.received_bytes == 5 && memcmp(pair.received, "hello", 5) == 0);
		tls_close(&session);
	}
	CHECK(total > 500);
	tls_context_close(context);
	server_close(&server);
	free(pair.received);
}

/* -------------------------------------------------------------------------------------- verification */

static void verify_case(const struct identity *identity, int version, struct tls_settings settings,
                        const char *expected)
{
	struct server server;
	struct tls_session session = {0};
	struct pair pair = {.server = &server, .session = &session};
	struct tls_context *context = context_open(&settings);

	server_open(&server, identity, version);
	begin(&pair, context);
	settle(&pair, SIZE_MAX, 0);
	if (expected == NULL) {
		CHECK_EQUAL(session.state, TLS_OPEN);
		echo_check(&pair, 100, 7);
	} else {
		CHECK_EQUAL(session.state, TLS_FAILED);
		CHECK_EQUAL(tls_failure(context)->kind, TLS_FAILURE_VERIFY);
		if (!CHECK(strcmp(tls_failure(context)->words, expected) == 0)) {
			(void)fprintf(stderr, "  got: %s\n", tls_failure(context)->words);
		}
		CHECK_EQUAL(tls_write(&session, (const uint8_t *)"x", 1), 0);
	}
	/* Nothing of OpenSSL's is left in the queue of this thread, which is Node's. */
	CHECK_EQUAL(ERR_peek_error(), 0);
	tls_close(&session);
	tls_context_close(context);
	server_close(&server);
	free(pair.received);
}

static void test_verification(int version)
{
	struct tls_settings address = settings_for("127.0.0.1");
	struct tls_settings address_other = settings_for("127.0.0.2");
	struct tls_settings trusting = settings_for("localhost");
	struct tls_settings insecure = settings_for("elsewhere.example");

	address.server_name_is_address = address_other.server_name_is_address = true;
	trusting.authorities = text_of(self_signed.certificate_pem);
	insecure.insecure = true;
	verify_case(&good, version, settings_for("localhost"), NULL);
	verify_case(&good, version, address, NULL);
	verify_case(&self_signed, version, trusting, NULL);
	verify_case(&self_signed, version, insecure, NULL);
	verify_case(&expired, version, insecure, NULL);
	verify_case(&self_signed, version, settings_for("localhost"),
	            "certificate verify failed: self-signed certificate; use --tls-ca FILE or --tls-insecure");
	verify_case(
	    &good, version, settings_for("elsewhere.example"),
	    "certificate verify failed: it is not for elsewhere.example; use --tls-server-name NAME or --tls-insecure");
	verify_case(&good, version, address_other,
	            "certificate verify failed: it is not for 127.0.0.2; use --tls-server-name NAME or --tls-insecure");
	verify_case(&expired, version, settings_for("localhost"),
	            "certificate verify failed: certificate has expired; use --tls-insecure");
}

static void test_client_certificate(int version, bool given)
{
	struct server server;
	struct tls_session session = {0};
	struct pair pair = {.server = &server, .session = &session};
	struct tls_settings settings = settings_for("localhost");

	if (given) {
		settings.certificate = text_of(good.certificate_pem);
		settings.key = text_of(good.key_pem);
	}
	struct tls_context *context = context_open(&settings);
	server_open(&server, &good, version);
	SSL_CTX_set_verify(server.context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(server.context), authority.certificate);
	begin(&pair, context);
	settle(&pair, 9, 0);
	if (given) {
		CHECK_EQUAL(session.state, TLS_OPEN);
		echo_check(&pair, 100, 7);
	} else {
		CHECK_EQUAL(session.state, TLS_FAILED);
		CHECK_EQUAL(tls_failure(context)->kind, version == TLS1_3_VERSION ? TLS_FAILURE_RECORD : TLS_FAILURE_HANDSHAKE);
		CHECK(strstr(tls_failure(context)->words, "alert") != NULL);
	}
	tls_close(&session);
	tls_context_close(context);
	server_close(&server);
	free(pair.received);
}

/* ---------------------------------------------------------------------------------------- resumption */

static void test_resumption(int version, bool wanted, bool tickets)
{
	struct server server;
	struct tls_session session = {0};
	struct pair pair = {.server = &server, .session = &session};
	struct tls_settings settings = settings_for("localhost");

	settings.resume = wanted;
	struct tls_context *context = context_open(&settings);
	server_open(&server, &good, version);
	if (!tickets) {
		SSL_CTX_set_options(server.context, SSL_OP_NO_TICKET);
		SSL_CTX_set_num_tickets(server.context, 0);
		SSL_CTX_set_session_cache_mode(server.context, SSL_SESS_CACHE_OFF);
	}
	for (int round = 0; round < 4; round++) {
		begin(&pair, context);
		settle(&pair, 11, 0);
		CHECK_EQUAL(session.state, TLS_OPEN);
		CHECK_EQUAL(session.resumed, wanted && tickets && round != 0);
		echo_check(&pair, 100, 7);
		tls_close(&session);
	}
	CHECK_EQUAL(session.saved != NULL, wanted && tickets);
	tls_forget(&session);
	tls_context_close(context);
	server_close(&server);
	free(pair.received);
}

/* ----------------------------------------------------------------------------- after the handshake */

static void test_close_notify(int version)
{
	struct server server;
	struct tls_session session = {0};
	struct pair pair = {.server = &server, .session = &session};
	struct tls_settings settings = settings_for("localhost");
	struct tls_context *context = context_open(&settings);

	server_open(&server, &good, version);
	begin(&pair, context);
	settle(&pair, SIZE_MAX, 0);
	SSL_write(server.ssl, "last", 4);
	SSL_shutdown(server.ssl);
	pair.received_bytes = 0;
	(void)deliver(&pair, 3, 0);
	CHECK_EQUAL(session.state, TLS_ENDED);
	CHECK(pair.received_bytes == 4 && memcmp(pair.received, "last", 4) == 0);
	CHECK_EQUAL(tls_write(&session, (const uint8_t *)"x", 1), 0);
	tls_close(&session);

	begin(&pair, context);
	settle(&pair, SIZE_MAX, 0);
	CHECK_EQUAL(tls_pending(&session), 0);
	tls_end(&session);
	CHECK(tls_pending(&session) != 0);
	BIO_write(SSL_get_rbio(server.ssl), tls_pending_bytes(&session), (int)tls_pending(&session));
	char byte;
	CHECK_EQUAL(SSL_read(server.ssl, &byte, 1), 0);
	CHECK_EQUAL(SSL_get_error(server.ssl, 0), SSL_ERROR_ZERO_RETURN);
	tls_close(&session);
	tls_context_close(context);
	server_close(&server);
	free(pair.received);
}

static void test_renegotiation(void)
{
	struct server server;
	struct tls_session session = {0};
	struct pair pair = {.server = &server, .session = &session};
	struct tls_settings settings = settings_for("localhost");
	struct tls_context *context = context_open(&settings);

	server_open(&server, &good, TLS1_2_VERSION);
	begin(&pair, context);
	settle(&pair, SIZE_MAX, 0);
	CHECK_EQUAL(SSL_renegotiate(server.ssl), 1);
	CHECK_EQUAL(SSL_do_handshake(server.ssl), 1);
	(void)deliver(&pair, 5, 0); /* HelloRequest: the client begins */
	CHECK(tls_pending(&session) != 0);
	size_t early = tls_write(&session, (const uint8_t *)"during", 6);
	CHECK_EQUAL(early, 0);
	CHECK_EQUAL(session.state, TLS_OPEN);
	settle(&pair, 5, 0);
	CHECK_EQUAL(SSL_num_renegotiations(server.ssl), 1);
	echo_check(&pair, 20000, 100);
	tls_close(&session);
	tls_context_close(context);
	server_close(&server);
	free(pair.received);
}

static void test_key_update(void)
{
	struct server server;
	struct tls_session session = {0};
	struct pair pair = {.server = &server, .session = &session};
	struct tls_settings settings = settings_for("localhost");
	struct tls_context *context = context_open(&settings);

	server_open(&server, &good, TLS1_3_VERSION);
	begin(&pair, context);
	settle(&pair, SIZE_MAX, 0);
	CHECK_EQUAL(SSL_key_update(server.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	CHECK_EQUAL(SSL_do_handshake(server.ssl), 1);
	echo_check(&pair, 20000, 13);
	CHECK_EQUAL(SSL_new_session_ticket(server.ssl), 1);
	CHECK_EQUAL(SSL_do_handshake(server.ssl), 1);
	echo_check(&pair, 20000, 13);
	tls_close(&session);
	tls_context_close(context);
	server_close(&server);
	free(pair.received);
}

/* -------------------------------------------------------------------------------------- wrong answers */

static void test_not_tls(void)
{
	static const char http[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
	struct tls_settings settings = settings_for("localhost");
	struct tls_context *context = context_open(&settings);
	struct tls_session session = {0};
	struct pair pair = {.session = &session};

	for (size_t part = 1; part < sizeof http; part++) {
		CHECK(tls_begin(context, &session));
		client_take(&pair, (const uint8_t *)http, part);
		if (session.state == TLS_HANDSHAKE) {
			client_take(&pair, (const uint8_t *)http + part, sizeof http - 1 - part);
		}
		CHECK_EQUAL(session.state, TLS_FAILED);
		CHECK_EQUAL(tls_failure(context)->kind, TLS_FAILURE_HANDSHAKE);
		CHECK(strstr(tls_failure(context)->words, "is not TLS") != NULL);
		tls_close(&session);
	}
	tls_context_close(context);
}

/* Any byte of what the server sends is wrong: the session fails, or the byte did not matter. No crash, no wrong plaintext. */
static void test_mutations(int version)
{
	struct server server;
	struct tls_session session = {0};
	struct pair pair = {.server = &server, .session = &session};
	struct tls_settings settings = settings_for("localhost");
	struct tls_context *context = context_open(&settings);
	uint64_t state = 1;
	int failures = 0;

	server_open(&server, &good, version);
	for (int round = 0; round < 400; round++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		begin(&pair, context);
		if (round % 2 != 0) {
			settle(&pair, SIZE_MAX, 0);
			client_write(&pair, (const uint8_t *)"hello", 5);
		}
		pair.received_bytes = 0;
		BIO_write(SSL_get_rbio(server.ssl), tls_pending_bytes(&session), (int)tls_pending(&session));
		tls_sent(&session, tls_pending(&session));
		server_turn(&server);
		char *flight = NULL;
		long length = BIO_get_mem_data(SSL_get_wbio(server.ssl), &flight);
		CHECK(length > 0);
		flight[(state >> 33) % (uint64_t)length] ^= (char)(1 + (state >> 20) % 255);
		(void)deliver(&pair, 1 + (state >> 40) % 700, 0);
		failures += session.state == TLS_FAILED;
		CHECK(pair.received_bytes == 0 || (pair.received_bytes == 5 && memcmp(pair.received, "hello", 5) == 0));
		CHECK_EQUAL(ERR_peek_error(), 0);
		tls_close(&session);
	}
	CHECK(failures > 200);
	tls_context_close(context);
	server_close(&server);
	free(pair.received);
}

/* ------------------------------------------------------------------------------------ wrong settings */

static void refused_case(const struct tls_settings *settings, const char *expected)
{
	struct ib_error error = {0};
	struct tls_context *context = NULL;

	CHECK_EQUAL(tls_context_open(&context, settings, &error), IB_STATUS_USAGE);
	CHECK(context == NULL);
	if (!CHECK(strstr(error.message, expected) != NULL)) {
		(void)fprintf(stderr, "  got: %s\n", error.message);
	}
	CHECK_EQUAL(ERR_peek_error(), 0);
}

static void test_settings(void)
{
	struct tls_settings settings = settings_for("localhost");

	settings.authorities = text_of("nothing\n");
	refused_case(&settings, "no certificate in PEM form");
	settings = settings_for("localhost");
	settings.certificate = text_of("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	refused_case(&settings, "client certificate cannot be used");
	settings.certificate = text_of(good.certificate_pem);
	settings.key = text_of(self_signed.key_pem);
	refused_case(&settings, "key values mismatch");
	BIO *bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, good.key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL);
	char *encrypted = pem_text(bio);
	settings.key = text_of(encrypted);
	refused_case(&settings, "private key");
	free(encrypted);
}

/* ------------------------------------------------------------------------------------------- finding */

static unsigned long version_number;
static const char *version_text;
static const char *hidden;

static unsigned long fake_version_num(void)
{
	return version_number;
}

static const char *fake_version(int which)
{
	(void)which;
	return version_text;
}

static void *find_fake(const char *name)
{
	void *found = NULL;
	unsigned long (*number)(void) = fake_version_num;
	const char *(*text)(int) = fake_version;

	if (hidden != NULL && (strcmp(hidden, name) == 0 || strcmp(hidden, "*") == 0)) {
		return NULL;
	}
	if (strcmp(name, "OpenSSL_version_num") == 0) {
		memcpy(&found, &number, sizeof found);
	} else if (strcmp(name, "OpenSSL_version") == 0) {
		memcpy(&found, &text, sizeof found);
	} else {
		found = process_symbol(name);
	}
	return found;
}

static void find_case(unsigned long number, const char *text, const char *without, const char *expected)
{
	struct openssl api;
	struct ib_error error = {0};

	version_number = number;
	version_text = text;
	hidden = without;
	int32_t status = openssl_find(&api, find_fake, &error);
	CHECK_EQUAL(status, expected == NULL ? IB_STATUS_OK : IB_STATUS_UNAVAILABLE);
	if (expected != NULL && !CHECK(strcmp(error.message, expected) == 0)) {
		(void)fprintf(stderr, "  got: %s\n", error.message);
	}
	CHECK(expected == NULL || error.hint[0] != '\0');
}

static void test_finding(void)
{
	find_case(0x300000d0, "OpenSSL 3.0.13 30 Jan 2024", NULL, NULL);
	find_case(0x30500040, "OpenSSL 3.5.4+quic 30 Sep 2025", NULL, NULL);
	find_case(0, "", "*", "TLS cannot be used: this build of Node.js does not export OpenSSL");
	find_case(0x1010107f, "BoringSSL", NULL,
	          "TLS cannot be used: this build of Node.js contains BoringSSL, not OpenSSL 3");
	find_case(0x20000000, "LibreSSL 3.9.2", NULL,
	          "TLS cannot be used: this build of Node.js contains LibreSSL 3.9.2, not OpenSSL 3");
	find_case(0x101010bf, "OpenSSL 1.1.1k 25 Mar 2021", NULL,
	          "TLS cannot be used: this build of Node.js contains OpenSSL 1.1.1k 25 Mar 2021, not OpenSSL 3");
	find_case(0x40000000, "OpenSSL 4.0.0", NULL,
	          "TLS cannot be used: this build of Node.js contains OpenSSL 4.0.0, not OpenSSL 3");
	find_case(0x300000d0, "OpenSSL 3.0.13", "SSL_read",
	          "TLS cannot be used: this build of Node.js does not export SSL_read of OpenSSL 3.0.13");
}

int main(void)
{
	const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	const char *const names[] = {"TLSv1.2 ", "TLSv1.3 "};

	authority = identity_make("test authority", NULL, NULL, true, 10);
	good = identity_make("server", "DNS:localhost,IP:127.0.0.1", &authority, false, 10);
	expired = identity_make("server", "DNS:localhost", &authority, false, -1);
	self_signed = identity_make("localhost", "DNS:localhost", NULL, false, 10);
	test_finding();
	test_settings();
	for (size_t at = 0; at < 2; at++) {
		test_echo(versions[at], names[at]);
		test_cuts(versions[at]);
		test_verification(versions[at]);
		test_client_certificate(versions[at], true);
		test_client_certificate(versions[at], false);
		test_resumption(versions[at], true, true);
		test_resumption(versions[at], false, true);
		test_resumption(versions[at], true, false);
		test_close_notify(versions[at]);
		test_mutations(versions[at]);
	}
	test_renegotiation();
	test_key_update();
	test_not_tls();
	identity_free(&authority);
	identity_free(&good);
	identity_free(&expired);
	identity_free(&self_signed);
	return check_result();
}
