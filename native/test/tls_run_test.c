/*
 * tls_run_test.c - echoes over TLS through sockets, with every engine that can run here: the server is OpenSSL with a thread per connection.
 */
#include <openssl/err.h>

#include "load_harness.h"
#include "tls_identity.h"

static const char *engine;
static struct identity authority, server_identity;

/* -------------------------------------------------------------------------------------------- server */

/* What the server does, and what it has seen. */
struct rig {
	SSL_CTX *context;
	uint64_t close_after; /* ends the session after so many bytes; 0: never */
	uint64_t handshakes;  /* the counts are atomic */
	uint64_t resumed;
	uint64_t notified; /* sessions that the client ended with close_notify */
};

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void session_serve(struct rig *rig, SSL *ssl)
{
	uint8_t bytes[4096];
	uint64_t total = 0;
	int got;

	count(&rig->handshakes);
	if (SSL_session_reused(ssl)) {
		count(&rig->resumed);
	}
	while ((got = SSL_read(ssl, bytes, sizeof bytes)) > 0) {
		total += (uint64_t)got;
		if (SSL_write(ssl, bytes, got) != got) {
			return;
		}
		if (rig->close_after != 0 && total >= rig->close_after) {
			SSL_shutdown(ssl);
			return;
		}
	}
	if (SSL_get_error(ssl, got) == SSL_ERROR_ZERO_RETURN) {
		count(&rig->notified);
		SSL_shutdown(ssl);
	}
}

/* The harness calls this once per connection, before it receives: the whole session happens here. */
static bool tls_answer(struct echo_connection *connection, const uint8_t *bytes, size_t length)
{
	struct rig *rig = (struct rig *)(uintptr_t)connection->server->script;
	SSL *ssl = SSL_new(rig->context);

	(void)bytes;
	(void)length;
	SSL_set_fd(ssl, (int)connection->socket);
	if (SSL_accept(ssl) == 1) {
		session_serve(rig, ssl);
	}
	SSL_free(ssl);
	ERR_clear_error();
	return false;
}

static bool server_start(struct echo_server *server, struct rig *rig, int version)
{
	memset(rig, 0, sizeof *rig);
	rig->context = SSL_CTX_new(TLS_server_method());
	SSL_CTX_set_min_proto_version(rig->context, version);
	SSL_CTX_set_max_proto_version(rig->context, version);
	SSL_CTX_use_certificate(rig->context, server_identity.certificate);
	SSL_CTX_use_PrivateKey(rig->context, server_identity.key);
	memset(server, 0, sizeof *server);
	server->answer = tls_answer;
	server->script = rig;
	return echo_server_open(server);
}

static void server_stop(struct echo_server *server, struct rig *rig)
{
	echo_server_stop(server);
	SSL_CTX_free(rig->context);
}

/* -------------------------------------------------------------------------------------------- client */

struct settings {
	struct ib_tls options;
	char texts[4096];
};

static struct settings tls_for(const char *name, const char *authorities)
{
	struct settings tls = {.options = {.size = sizeof tls.options,
	                                   .abi_version = IB_ABI_VERSION,
	                                   .insecure = authorities == NULL,
	                                   .server_name_bytes = (uint32_t)strlen(name),
	                                   .authorities_bytes = authorities != NULL ? (uint32_t)strlen(authorities) : 0}};

	snprintf(tls.texts, sizeof tls.texts, "%s%s", name, authorities != NULL ? authorities : "");
	return tls;
}

static void plan(struct run *run, const struct echo_server *server, const struct settings *tls, uint64_t connections)
{
	run_plan(run, engine, 1, server->port, connections);
	run->tls = &tls->options;
}

/* --------------------------------------------------------------------------------------------- tests */

/* Messages smaller than a record, and several records long, in both loops. */
static void test_echo(int version)
{
	const uint32_t sizes[] = {1, 64, 40000};

	for (size_t at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
		struct settings tls = tls_for("localhost", authority.certificate_pem);
		struct echo_server server;
		struct rig rig;
		struct run run;

		if (!server_start(&server, &rig, version)) {
			return;
		}
		plan(&run, &server, &tls, 5);
		run.options[0].message_size_bytes = sizes[at];
		run.options[0].pipeline = at == 1 ? 1 : 3;
		run_connect(&run);
		CHECK_EQUAL(RUN_SUM(&run, connections_made), 5);
		CHECK_EQUAL(run_block(&run, 0)->handshake.count, 5);
		for (int loop = 0; loop < 2; loop++) {
			double rate = loop == 0 ? 0 : 500;
			run_warm_up(&run, rate);
			RUN_MEASURE_UNTIL(&run, 150000000, rate, window_requests, 10);
			CHECK(RUN_SUM(&run, window_requests) > 10);
			CHECK_EQUAL(RUN_SUM(&run, window_errors), 0);
		}
		CHECK_EQUAL(RUN_SUM(&run, handshakes), 5);
		run_phase(&run, IB_PHASE_VERIFY);
		CHECK_EQUAL(RUN_SUM(&run, window_requests), 5);
		run_phase(&run, IB_PHASE_CLOSE);
		run_join(&run);
		CHECK(strstr(run.result[0].features, version == TLS1_3_VERSION ? "TLSv1.3 " : "TLSv1.2 ") != NULL);
		run_free(&run);
		server_stop(&server, &rig);
		CHECK_EQUAL(rig.handshakes, 5);
	}
}

/* Connections that are made again, with and without resumption. With FIN each session is ended properly. */
static void test_churn(int version, bool fin, bool resume)
{
	struct settings tls = tls_for("localhost", authority.certificate_pem);
	struct echo_server server;
	struct rig rig;
	struct run run;

	if (!server_start(&server, &rig, version)) {
		return;
	}
	tls.options.resume = resume;
	plan(&run, &server, &tls, 4);
	run.options[0].requests_per_connection = 3;
	run.options[0].close_mode = fin ? IB_CLOSE_FIN : IB_CLOSE_RESET;
	run_connect(&run);
	run_warm_up(&run, 0);
	RUN_MEASURE_UNTIL(&run, 200000000, 0, window_handshakes, 4);
	uint64_t handshakes = RUN_SUM(&run, window_handshakes), resumed = RUN_SUM(&run, window_handshakes_resumed);
	CHECK(handshakes > 4);
	CHECK_EQUAL(resumed, resume ? handshakes : 0);
	CHECK_EQUAL(RUN_SUM(&run, window_errors), 0);
	CHECK_EQUAL(RUN_SUM(&run, connections_lost), 0);
	CHECK_EQUAL(RUN_SUM(&run, fins_unanswered), 0);
	uint64_t all = RUN_SUM(&run, handshakes), all_resumed = RUN_SUM(&run, handshakes_resumed);
	run_close(&run);
	server_stop(&server, &rig);
	CHECK_EQUAL(rig.resumed, resume ? all_resumed : 0);
	CHECK(rig.handshakes >= all);
	if (fin) {
		CHECK_EQUAL(rig.notified, rig.handshakes);
	}
}

static void refused_case(const struct settings *tls, enum ib_error_class error_class, const char *words)
{
	struct echo_server server;
	struct rig rig;
	struct run run;

	if (!server_start(&server, &rig, TLS1_3_VERSION)) {
		return;
	}
	plan(&run, &server, tls, 3);
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_failed), 3);
	CHECK_EQUAL(RUN_SUM(&run, errors[error_class]), 3);
	if (!CHECK(strstr(run_block(&run, 0)->samples[0].message, words) != NULL)) {
		(void)fprintf(stderr, "  got: %s\n", run_block(&run, 0)->samples[0].message);
	}
	run_close(&run);
	server_stop(&server, &rig);
}

static void test_refused(void)
{
	struct settings other_name = tls_for("elsewhere", authority.certificate_pem);
	struct settings insecure = tls_for("elsewhere", NULL);
	struct echo_server server;
	struct rig rig;
	struct run run;

	refused_case(&other_name, IB_ERROR_TLS_VERIFY, "it is not for elsewhere");
	if (!server_start(&server, &rig, TLS1_3_VERSION)) {
		return;
	}
	plan(&run, &server, &insecure, 3);
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 3);
	run_close(&run);
	server_stop(&server, &rig);
}

/* Servers that do not speak TLS: an end, silence, and an echo of the client's own handshake. */
static void test_not_tls(void)
{
	const struct {
		enum fault fault;
		enum ib_error_class error_class;
		const char *words;
	} cases[] = {
	    {FAULT_CLOSE_AT_ONCE, IB_ERROR_TLS_HANDSHAKE, "during the TLS handshake"},
	    {FAULT_RESET_AT_ONCE, IB_ERROR_TLS_HANDSHAKE, "during the TLS handshake"},
	    {FAULT_SILENT, IB_ERROR_TIMEOUT, "the TLS handshake was not complete within the timeout"},
	    {FAULT_NONE, IB_ERROR_TLS_HANDSHAKE, "is not TLS"},
	};
	struct settings tls = tls_for("localhost", authority.certificate_pem);

	for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
		struct echo_server server;
		struct run run;

		if (!echo_server_start(&server, cases[at].fault, 0)) {
			return;
		}
		plan(&run, &server, &tls, 3);
		if (cases[at].error_class == IB_ERROR_TIMEOUT) {
			run.options[0].timeout_ns = 300000000;
		}
		run_connect(&run);
		CHECK_EQUAL(RUN_SUM(&run, connections_failed), 3);
		/* A reset may be seen before the connection is complete. */
		uint64_t expected = RUN_SUM(&run, errors[cases[at].error_class]);
		CHECK(expected == 3 || cases[at].fault == FAULT_RESET_AT_ONCE);
		if (expected == 3 && !CHECK(strstr(run_block(&run, 0)->samples[0].message, cases[at].words) != NULL)) {
			(void)fprintf(stderr, "  got: %s\n", run_block(&run, 0)->samples[0].message);
		}
		run_close(&run);
		echo_server_stop(&server);
	}
}

static void test_close_notify(void)
{
	struct settings tls = tls_for("localhost", authority.certificate_pem);
	struct echo_server server;
	struct rig rig;
	struct run run;

	if (!server_start(&server, &rig, TLS1_3_VERSION)) {
		return;
	}
	rig.close_after = 64 * 10;
	plan(&run, &server, &tls, 3);
	run_connect(&run);
	run_warm_up(&run, 0);
	/* The phase may be done before: it ends when each connection has had an echo, and the load goes on. */
	uint64_t until_ns = clock_now_ns() + 20000000000ull;
	while (RUN_SUM(&run, connections_ended) != 3 && clock_now_ns() < until_ns) {
		clock_sleep_ns(1000000);
	}
	CHECK_EQUAL(RUN_SUM(&run, connections_lost), 3);
	CHECK_EQUAL(RUN_SUM(&run, connections_ended), 3);
	CHECK_EQUAL(RUN_SUM(&run, ended_echoes_min), 10);
	CHECK_EQUAL(RUN_SUM(&run, ended_echoes_max), 10);
	run_close(&run);
	server_stop(&server, &rig);
}

/* Stopped at any moment, nothing is left: the sanitizers look for memory. */
static void test_stop(void)
{
	struct settings tls = tls_for("localhost", authority.certificate_pem);

	for (uint64_t delay_ns = 0; delay_ns < 20000000; delay_ns += 4000000) {
		struct echo_server server;
		struct rig rig;
		struct run run;

		if (!server_start(&server, &rig, TLS1_3_VERSION)) {
			return;
		}
		plan(&run, &server, &tls, 20);
		tls.options.resume = 1;
		run_start(&run);
		run_command(&run, IB_PHASE_CONNECT);
		clock_sleep_ns(delay_ns);
		__atomic_store_n(&run.control->stop, 1, __ATOMIC_RELAXED);
		run_join(&run);
		run_free(&run);
		server_stop(&server, &rig);
	}
}

static void test_settings(void)
{
	struct settings tls = tls_for("localhost", "nothing");
	struct ib_error error;
	struct ib_probe probe = {.size = sizeof probe, .abi_version = IB_ABI_VERSION};

	CHECK_EQUAL(ib_tls_check(&tls.options, &error), IB_STATUS_USAGE);
	CHECK(strstr(error.message, "no certificate in PEM form") != NULL);
	tls = tls_for("localhost", authority.certificate_pem);
	CHECK_EQUAL(ib_tls_check(&tls.options, &error), IB_STATUS_OK);
	tls.options.server_name_bytes = 0;
	CHECK_EQUAL(ib_tls_check(&tls.options, &error), IB_STATUS_USAGE);
	tls.options.size--;
	CHECK_EQUAL(ib_tls_check(&tls.options, &error), IB_STATUS_ABI);
	CHECK_EQUAL(ib_tls_probe(&probe), IB_STATUS_OK);
	CHECK_EQUAL(probe.available, 1);
	CHECK(strncmp(probe.features, "OpenSSL 3.", 10) == 0);
}

static void test_engine(void)
{
	const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	for (size_t at = 0; at < sizeof versions / sizeof versions[0]; at++) {
		test_echo(versions[at]);
		for (int how = 0; how < 4; how++) {
			test_churn(versions[at], how % 2 != 0, how / 2 != 0);
		}
	}
	test_refused();
	test_not_tls();
	test_close_notify();
	test_stop();
}

int main(void)
{
	authority = identity_make("test authority", NULL, NULL, true, 10);
	server_identity = identity_make("server", "DNS:localhost", &authority, false, 10);
	test_settings();
	(void)each_engine(&engine, test_engine);
	identity_free(&authority);
	identity_free(&server_identity);
	return check_result();
}
