/*
 * exchange_run_test.c - the exchanges http and message against servers that answer in every form that HTTP allows, and in wrong ones, with
 * every engine that can run here.
 */
#include "load_harness.h"

/* SHUT_WR, SD_SEND */
#define SHUTDOWN_SEND 1

static const char *engine;

/* ------------------------------------------------------------------------------------------ exchanges */

/* An exchange with its texts behind it. */
struct exchange_text {
	struct ib_exchange options;
	uint8_t texts[1024];
	size_t length;
};

static void text_add(struct exchange_text *to, uint32_t *length, const char *text)
{
	*length = (uint32_t)strlen(text);
	memcpy(to->texts + to->length, text, *length);
	to->length += *length;
}

static const char REQUEST[] = "GET /path HTTP/1.1\r\nHost: here\r\n\r\n";

static void http_exchange(struct exchange_text *to, uint32_t expect_body, const char *body)
{
	memset(to, 0, sizeof *to);
	to->options.size = sizeof to->options;
	to->options.abi_version = IB_ABI_VERSION;
	to->options.protocol = IB_PROTOCOL_HTTP;
	to->options.expect_body = expect_body;
	/* 200 to 399 */
	for (uint32_t bit = 100; bit < 300; bit++) {
		to->options.status_expected[bit / 64] |= 1ull << bit % 64;
	}
	text_add(to, &to->options.request_bytes, REQUEST);
	text_add(to, &to->options.body_bytes, body);
}

static void message_exchange(struct exchange_text *to, uint32_t frame, const char *request, const char *pattern,
                             const char *greeting, const char *hello)
{
	memset(to, 0, sizeof *to);
	to->options.size = sizeof to->options;
	to->options.abi_version = IB_ABI_VERSION;
	to->options.protocol = IB_PROTOCOL_MESSAGE;
	to->options.reply_frame = frame;
	text_add(to, &to->options.request_bytes, request);
	text_add(to, &to->options.pattern_bytes, pattern);
	text_add(to, &to->options.greeting_bytes, greeting);
	text_add(to, &to->options.hello_bytes, hello);
}

/* --------------------------------------------------------------------------------------------- server */

/* What a server answers to each request, in turn over all requests of a connection. */
struct script {
	const char *const *replies;
	size_t count;
	size_t repeat_from;   /* after the last reply comes this one */
	const char *ends;     /* what a request ends with */
	const char *greeting; /* NULL: none */
	bool is_in_pieces;
	/* Replies with this number end their connection; 0: none. It is a multiple for all. */
	uint64_t close_every;
	bool (*check)(struct echo_connection *connection, const uint8_t *bytes, size_t length);
};

static size_t script_place(const struct script *script, uint64_t request)
{
	return request < script->count ? (size_t)request
	                               : script->repeat_from + (size_t)((request - script->repeat_from) %
	                                                                (script->count - script->repeat_from));
}

static bool script_answer(struct echo_connection *connection, const uint8_t *bytes, size_t length)
{
	const struct script *script = connection->server->script;
	size_t end = strlen(script->ends);

	if (length == 0) {
		return script->greeting == NULL || send_all(connection->socket, (const uint8_t *)script->greeting,
		                                            strlen(script->greeting), script->is_in_pieces);
	}
	if (script->check != NULL && !script->check(connection, bytes, length)) {
		return false;
	}
	for (size_t at = 0; at < length; at++) {
		connection->matched = bytes[at] == (uint8_t)script->ends[connection->matched] ? connection->matched + 1
		                      : bytes[at] == (uint8_t)script->ends[0]                 ? 1
		                                                                              : 0;
		if (connection->matched != end) {
			continue;
		}
		connection->matched = 0;
		const char *reply = script->replies[script_place(script, connection->requests++)];
		if (!send_all(connection->socket, (const uint8_t *)reply, strlen(reply), script->is_in_pieces)) {
			return false;
		}
		if (script->close_every != 0 && connection->requests % script->close_every == 0) {
			/* Requests behind it are read and dropped. Otherwise the close would be a reset, which may destroy the reply. */
			uint8_t rest[4096];
			(void)shutdown(connection->socket, SHUTDOWN_SEND);
			while (socket_receive(connection->socket, rest, sizeof rest) > 0) {
			}
			return false;
		}
	}
	return true;
}

static bool server_start(struct echo_server *server, const struct script *script)
{
	memset(server, 0, sizeof *server);
	server->answer = script_answer;
	server->script = script;
	return echo_server_open(server);
}

static void plan(struct run *run, const struct echo_server *server, const struct exchange_text *exchange,
                 uint64_t connections, uint32_t pipeline)
{
	run_plan(run, engine, 1, server->port, connections);
	run->exchange = &exchange->options;
	run->options[0].message_size_bytes = exchange->options.request_bytes;
	run->options[0].pipeline = pipeline;
}

/* Connects, warms up and measures a short window. On a busy machine it takes several until one has more than `least` requests. */
static void measure(struct run *run, double rate_per_second, uint64_t least)
{
	run_connect(run);
	run_warm_up(run, rate_per_second);
	for (int window = 0; window == 0 || (window < 100 && RUN_SUM(run, window_requests) <= least); window++) {
		run_measure_start(run, 20000000, 120000000, rate_per_second);
		run_await(run);
		run_check_window(run);
	}
}

/* ------------------------------------------------------------------------------------------ right replies */

static const char *const FORMS[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nHello, \r\n6;x=y\r\nworld!\r\n0\r\nX: y\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n\n",
};

static void test_forms(uint32_t pipeline, bool is_in_pieces, double rate_per_second)
{
	const struct script script = {.replies = FORMS, .count = 6, .ends = "\r\n\r\n", .is_in_pieces = is_in_pieces};
	struct exchange_text exchange;
	struct echo_server server;
	struct run run;

	if (!server_start(&server, &script)) {
		return;
	}
	http_exchange(&exchange, IB_EXPECT_BODY_ANY, "");
	plan(&run, &server, &exchange, 11, pipeline);
	measure(&run, rate_per_second, 11);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 11);
	CHECK_EQUAL(RUN_SUM(&run, connections_lost), 0);
	CHECK(RUN_SUM(&run, window_requests) > 11);
	CHECK_EQUAL(RUN_SUM(&run, window_errors), 0);
	CHECK(RUN_SUM(&run, window_bytes) > RUN_SUM(&run, window_requests) * 27);
	CHECK_EQUAL(RUN_SUM(&run, bytes_sent), RUN_SUM(&run, requests_completed) * (sizeof REQUEST - 1));
	CHECK_EQUAL(RUN_SUM(&run, connections_ended_by_reply), 0);
	CHECK_EQUAL(run_block(&run, 0)->first_status, 200);
	CHECK_EQUAL(run_block(&run, 0)->first_body_bytes, 13);
	CHECK(RUN_SUM(&run, replies_differing) > 0);
	run_phase(&run, IB_PHASE_DRAIN);
	run_phase(&run, IB_PHASE_VERIFY);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), 11);
	CHECK_EQUAL(RUN_SUM(&run, error_samples_count), 0);
	run_close(&run);
	echo_server_stop(&server);
}

/* Servers that end connections with a reply. Nothing is lost, and every connection is made again. */
static void test_ends(const char *const *replies, size_t count, uint64_t close_every, uint32_t pipeline,
                      double rate_per_second, uint32_t close_mode)
{
	const struct script script = {.replies = replies, .count = count, .ends = "\r\n\r\n", .close_every = close_every};
	struct exchange_text exchange;
	struct echo_server server;
	struct run run;

	if (!server_start(&server, &script)) {
		return;
	}
	http_exchange(&exchange, IB_EXPECT_BODY_SAME, "");
	plan(&run, &server, &exchange, 7, pipeline);
	run.options[0].close_mode = close_mode;
	measure(&run, rate_per_second, 24);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 7);
	CHECK_EQUAL(RUN_SUM(&run, connections_live), 7);
	CHECK_EQUAL(RUN_SUM(&run, connections_lost), 0);
	CHECK_EQUAL(RUN_SUM(&run, window_errors), 0);
	CHECK(RUN_SUM(&run, window_requests) > 7);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), RUN_SUM(&run, window_offered));
	CHECK(RUN_SUM(&run, reconnects) > 0);
	CHECK(RUN_SUM(&run, connections_ended_by_reply) >= RUN_SUM(&run, reconnects));
	CHECK_EQUAL(RUN_SUM(&run, error_samples_count), 0);
	run_phase(&run, IB_PHASE_DRAIN);
	run_phase(&run, IB_PHASE_VERIFY);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), 7);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_all_ends(uint32_t pipeline, double rate_per_second, uint32_t close_mode)
{
	static const char *const old[] = {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"};
	static const char *const to_end[] = {"HTTP/1.1 200 OK\r\n\r\nok"};
	static const char *const third[] = {
	    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	    "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	};

	test_ends(old, 1, 1, pipeline, rate_per_second, close_mode);
	test_ends(to_end, 1, 1, pipeline, rate_per_second, close_mode);
	test_ends(third, 3, 3, pipeline, rate_per_second, close_mode);
}

/* ------------------------------------------------------------------------------------------ wrong replies */

/* Every connection gets these replies; the last one again and again. Errors of `error_class` and no others. */
static void wrong(const char *const *replies, size_t count, uint64_t close_every, uint32_t expect_body,
                  const char *body, enum ib_error_class error_class, bool lives, const char *says)
{
	const struct script script = {
	    .replies = replies, .count = count, .repeat_from = count - 1, .ends = "\r\n\r\n", .close_every = close_every};
	struct exchange_text exchange;
	struct echo_server server;
	struct run run;

	if (!server_start(&server, &script)) {
		return;
	}
	http_exchange(&exchange, expect_body, body);
	plan(&run, &server, &exchange, 5, 1);
	if (error_class == IB_ERROR_TIMEOUT) {
		run.options[0].timeout_ns = 1000000000;
	}
	run_connect(&run);
	if (lives) {
		run_warm_up(&run, 0);
		run_measure_start(&run, 20000000, 50000000, 0);
		run_await(&run);
		run_check_window(&run);
		CHECK(RUN_SUM(&run, window_errors) > 0);
		CHECK_EQUAL(RUN_SUM(&run, connections_live), 5);
	} else if (count > 1) {
		/* The phase may be over before the wrong reply comes. */
		run_warm_up(&run, 0);
		uint64_t until_ns = clock_now_ns() + 10000000000ull;
		while (RUN_SUM(&run, connections_live) != 0 && clock_now_ns() < until_ns) {
			clock_sleep_ns(1000000);
		}
		CHECK_EQUAL(RUN_SUM(&run, connections_made), 5);
		CHECK_EQUAL(RUN_SUM(&run, connections_live), 0);
	} else {
		CHECK_EQUAL(RUN_SUM(&run, connections_made), 0);
		CHECK_EQUAL(RUN_SUM(&run, connections_failed), 5);
	}
	/* The end of a phase makes what the engine has recorded visible. */
	run_phase(&run, IB_PHASE_DRAIN);
	const struct ib_engine_block *block = run_block(&run, 0);
	for (uint32_t at = 0; at < IB_ERROR_CLASS_COUNT; at++) {
		CHECK((RUN_SUM(&run, errors[at]) != 0) == (at == error_class));
	}
	CHECK(RUN_SUM(&run, error_samples_count) > 0);
	CHECK(strstr(block->samples[0].message, says) != NULL);
	CHECK_EQUAL(block->samples[0].error_class, error_class);
	CHECK_EQUAL(block->samples[0].protocol, IB_PROTOCOL_HTTP);
	run_close(&run);
	echo_server_stop(&server);
}

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void test_wrong_replies(void)
{
	static const char *const status[] = {OK, OK, "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno"};
	static const char *const missing[] = {"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"};
	static const char *const malformed[] = {OK, OK, "HTTP/1.1 200 OK\r\nContent-Length: no\r\n\r\n"};
	static const char *const greeting[] = {"220 mail.example.com ESMTP\r\n"};
	static const char *const more[] = {OK "?", OK "?"};
	static const char *const truncated[] = {OK, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"};
	static const char *const in_header[] = {OK, "HTTP/1.1 200 OK\r\nContent-"};
	static const char *const silent[] = {OK, ""};
	static const char *const other[] = {OK, OK, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"};
	static const char *const exact[] = {OK, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\no"};

	wrong(status, 3, 0, IB_EXPECT_BODY_ANY, "", IB_ERROR_STATUS, true, "the server answered with status 503");
	wrong(missing, 1, 0, IB_EXPECT_BODY_ANY, "", IB_ERROR_STATUS, false, "the server answered with status 404");
	wrong(malformed, 3, 0, IB_EXPECT_BODY_ANY, "", IB_ERROR_MALFORMED, false, "Content-Length is not a number");
	wrong(greeting, 1, 0, IB_EXPECT_BODY_ANY, "", IB_ERROR_MALFORMED, false, "does not begin with HTTP/1.1");
	wrong(more, 2, 0, IB_EXPECT_BODY_ANY, "", IB_ERROR_MALFORMED, false, "");
	wrong(truncated, 2, 2, IB_EXPECT_BODY_ANY, "", IB_ERROR_TRUNCATED, false,
	      "after 40 bytes of the reply to request 1");
	wrong(in_header, 2, 2, IB_EXPECT_BODY_ANY, "", IB_ERROR_TRUNCATED, false,
	      "after 25 bytes of the reply to request 1");
	wrong(silent, 2, 0, IB_EXPECT_BODY_ANY, "", IB_ERROR_TIMEOUT, false, "no complete reply to request 1");
	wrong(other, 3, 0, IB_EXPECT_BODY_SAME, "", IB_ERROR_BODY, true, "differs from that of the first reply");
	wrong(exact, 2, 0, IB_EXPECT_BODY_EXACT, "ok", IB_ERROR_BODY, true, "differs from the expected one");
}

/* ---------------------------------------------------------------------------------------------- message */

/* The requests of a connection have its number and their own. All engines number their connections from 0. */
static bool placeholders_check(struct echo_connection *connection, const uint8_t *bytes, size_t length)
{
	/* A request that comes in one piece and alone, as with one in flight. */
	char expected[64];

	if (length < 6 || memcmp(bytes, "key-", 4) != 0) {
		return true;
	}
	(void)snprintf(expected, sizeof expected, ":%012llu\n", (unsigned long long)connection->requests - 1);
	return CHECK_EQUAL(length, 4 + IB_CONNECTION_DIGITS + 1 + IB_SEQUENCE_DIGITS + 1) &&
	       CHECK(memcmp(bytes + 4 + IB_CONNECTION_DIGITS, expected, strlen(expected)) == 0) &&
	       CHECK(bytes[4] == '0' && bytes[4 + IB_CONNECTION_DIGITS - 1] < '3');
}

static void message_run(const struct script *script, const struct exchange_text *exchange, uint32_t pipeline,
                        double rate_per_second)
{
	struct echo_server server;
	struct run run;

	if (!server_start(&server, script)) {
		return;
	}
	plan(&run, &server, exchange, 3, pipeline);
	measure(&run, rate_per_second, 3);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 3);
	CHECK_EQUAL(RUN_SUM(&run, connections_live), 3);
	CHECK(RUN_SUM(&run, window_requests) > 3);
	CHECK_EQUAL(RUN_SUM(&run, window_errors), 0);
	CHECK_EQUAL(RUN_SUM(&run, error_samples_count), 0);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_messages(uint32_t pipeline, bool is_in_pieces, double rate_per_second)
{
	static const char *const pong[] = {"+PONG\r\n"};
	static const char *const bulk[] = {"$3\r\nabc\r\n.\r\r\n.\r\n"};
	static const char *const twelve[] = {"abcdefghijkl"};
	static const char *const prefixed[] = {"\x01\x02\x03\x01\x04\x05\x06\x07"}; /* 0x0102 - 252 bytes follow */
	struct script script = {.replies = pong, .count = 1, .ends = "\n", .is_in_pieces = is_in_pieces};
	struct exchange_text exchange;

	message_exchange(&exchange, IB_FRAME_EXACT, "PING\r\n", "+PONG\r\n", "", "");
	message_run(&script, &exchange, pipeline, rate_per_second);

	script.replies = bulk;
	message_exchange(&exchange, IB_FRAME_UNTIL, "GET x\r\n", "\r\n.\r\n", "", "");
	message_run(&script, &exchange, pipeline, rate_per_second);

	script.replies = twelve;
	message_exchange(&exchange, IB_FRAME_BYTES, "x\n", "", "", "");
	exchange.options.reply_bytes = 12;
	message_run(&script, &exchange, pipeline, rate_per_second);

	script.replies = prefixed;
	message_exchange(&exchange, IB_FRAME_LENGTH_PREFIX, "x\n", "", "", "");
	exchange.options.length_prefix = IB_LENGTH_U16BE;
	exchange.options.length_added = -252;
	message_run(&script, &exchange, pipeline, rate_per_second);
}

static void test_greeting(void)
{
	static const char *const replies[] = {"250 hello\r\n", "250 ok\r\n"};
	const struct script script = {.replies = replies,
	                              .count = 2,
	                              .repeat_from = 1,
	                              .ends = "\n",
	                              .greeting = "220-mail\r\n220 ready\r\n",
	                              .is_in_pieces = true,
	                              .check = placeholders_check};
	struct exchange_text exchange;

	message_exchange(&exchange, IB_FRAME_UNTIL, "key-00000000:000000000000\n", "\r\n", "ready\r\n", "EHLO 00000000\n");
	const uint32_t places[] = {4u << 2, 13u << 2 | 1, 5u << 2 | 2};
	memcpy(exchange.texts + exchange.length, places, sizeof places);
	exchange.options.placeholder_count = 3;
	message_run(&script, &exchange, 1, 0);
}

/* A server that greets although none is expected, and one that never greets. */
static void test_wrong_greeting(const char *greets, const char *expected, enum ib_error_class error_class,
                                const char *says)
{
	static const char *const replies[] = {"250 ok\r\n"};
	const struct script script = {.replies = replies, .count = 1, .ends = "\n", .greeting = greets};
	struct exchange_text exchange;
	struct echo_server server;
	struct run run;

	if (!server_start(&server, &script)) {
		return;
	}
	message_exchange(&exchange, IB_FRAME_UNTIL, "NOOP\n", "\r\n", expected, "");
	plan(&run, &server, &exchange, 3, 1);
	if (error_class == IB_ERROR_TIMEOUT) {
		run.options[0].timeout_ns = 200000000;
	}
	run_connect(&run);
	uint64_t until_ns = clock_now_ns() + 10000000000ull;
	while (RUN_SUM(&run, error_samples_count) == 0 && clock_now_ns() < until_ns) {
		clock_sleep_ns(1000000);
	}
	run_phase(&run, IB_PHASE_DRAIN);
	const struct ib_engine_block *block = run_block(&run, 0);
	CHECK(RUN_SUM(&run, error_samples_count) > 0);
	CHECK_EQUAL(block->samples[0].error_class, error_class);
	CHECK(strstr(block->samples[0].message, says) != NULL);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_arguments(void)
{
	struct exchange_text exchange;
	struct echo_server server;
	struct run run;
	struct ib_error error;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	http_exchange(&exchange, IB_EXPECT_BODY_ANY, "");
	plan(&run, &server, &exchange, 1, 1);
	run.options[0].message_size_bytes++;
	CHECK_EQUAL(ib_engine_run(&run.options[0], run.exchange, NULL, run.control, &run.result[0], &error),
	            IB_STATUS_USAGE);
	run.options[0].message_size_bytes--;
	exchange.options.size--;
	CHECK_EQUAL(ib_engine_run(&run.options[0], run.exchange, NULL, run.control, &run.result[0], &error), IB_STATUS_ABI);
	exchange.options.size++;
	exchange.options.protocol = IB_PROTOCOL_ECHO;
	CHECK_EQUAL(ib_engine_run(&run.options[0], run.exchange, NULL, run.control, &run.result[0], &error),
	            IB_STATUS_USAGE);
	exchange.options.protocol = IB_PROTOCOL_HTTP;
	exchange.options.placeholder_count = 1;
	const uint32_t outside = (uint32_t)(sizeof REQUEST - 8) << 2;
	memcpy(exchange.texts + exchange.length, &outside, sizeof outside);
	CHECK_EQUAL(ib_engine_run(&run.options[0], run.exchange, NULL, run.control, &run.result[0], &error),
	            IB_STATUS_USAGE);
	run_free(&run);
	echo_server_stop(&server);
}

static void test_engine(void)
{
	test_forms(1, false, 0);
	test_forms(4, true, 0);
	test_forms(1, false, 2000);
	test_all_ends(1, 0, IB_CLOSE_RESET);
	test_all_ends(4, 0, IB_CLOSE_FIN);
	test_all_ends(4, 2000, IB_CLOSE_RESET);
	test_wrong_replies();
	test_messages(1, false, 0);
	test_messages(3, true, 1000);
	test_greeting();
	test_wrong_greeting("220 ready\r\n", "", IB_ERROR_MALFORMED, "speaks first, or answers more than was asked");
	test_wrong_greeting(NULL, "\r\n", IB_ERROR_TIMEOUT, "timeout");
	test_arguments();
}

int main(void)
{
	(void)each_engine(&engine, test_engine);
	return check_result();
}
