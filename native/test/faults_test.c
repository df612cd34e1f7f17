/*
 * faults_test.c - servers that misbehave. Every failure is noticed, has its class and message, and is counted once in its window.
 */
#include "load_harness.h"

static const char *engine;

static uint64_t errors_of(const struct run *run, enum ib_error_class error_class)
{
	return run_sum(run, offsetof(struct ib_engine_block, errors) + error_class * sizeof(uint64_t));
}

static void check_sample(const struct run *run, enum ib_error_class error_class, const char *text)
{
	const struct ib_engine_block *block = run_block(run, 0);

	if (CHECK(block->error_samples_count > 0)) {
		CHECK_EQUAL(block->samples[0].error_class, error_class);
		if (!CHECK(strstr(block->samples[0].message, text) != NULL)) {
			(void)fprintf(stderr, "  got \"%s\", expected \"%s\"\n", block->samples[0].message, text);
		}
	}
}

/* The first wrong reply is kept with the expected bytes. `at` is the wrong byte of the stream, in messages of 64 bytes. */
static void check_reply(const struct run *run, uint64_t at)
{
	const struct ib_error_sample *sample = &run_block(run, 0)->samples[0];
	uint32_t position = sample->reply_position;
	uint32_t wrong = (uint32_t)(at % 64) - position;

	CHECK_EQUAL(sample->expected_bytes, 64 - position);
	if (CHECK(position <= at % 64) && CHECK(wrong < sample->received_bytes)) {
		uint64_t length = sample->received_bytes < 64 - position ? sample->received_bytes : 64 - position;
		uint64_t offset = at / 64 * 64 + position;
		uint64_t seed = run->options[0].seed;

		CHECK_EQUAL(ib_payload_check((const uint8_t *)sample->expected, length, seed, 0, offset, 64), length);
		CHECK_EQUAL(ib_payload_check((const uint8_t *)sample->received, length, seed, 0, offset, 64), wrong);
	}
}

/* Connections that are never made, for whatever reason. */
static void test_never_made(enum fault fault, enum ib_error_class error_class, const char *text)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, fault, 10)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 12);
	run.options[0].connect_window = 5;
	if (error_class == IB_ERROR_TIMEOUT) {
		run.options[0].timeout_ns = 150000000;
	}
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_started), 12);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 0);
	CHECK_EQUAL(RUN_SUM(&run, connections_failed), 12);
	CHECK_EQUAL(errors_of(&run, error_class), 12);
	check_sample(&run, error_class, text);
	/* No connection is left to send, so the following phases are done at once and are empty. */
	run_warm_up(&run, 0);
	run_measure_start(&run, 0, 50000000, 100);
	run_await(&run);
	run_check_window(&run);
	CHECK_EQUAL(RUN_SUM(&run, window_offered), 0);
	run_phase(&run, IB_PHASE_VERIFY);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_refused(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	echo_server_stop(&server);
	run_plan(&run, engine, 1, server.port, 7);
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_failed), 7);
	CHECK_EQUAL(errors_of(&run, IB_ERROR_REFUSED), 7);
	check_sample(&run, IB_ERROR_REFUSED, "connect: ");
	run_close(&run);
}

static void test_descriptors(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 10);
	run.options[0].descriptors = 6;
	run_connect(&run);
	/* An engine that needs no descriptor per connection makes them all. */
	uint64_t made = RUN_SUM(&run, connections_made);
	CHECK(made == 6 || (made == 10 && strcmp(engine, "epoll") != 0));
	CHECK_EQUAL(errors_of(&run, IB_ERROR_DESCRIPTORS), 10 - made);
	run_close(&run);
	echo_server_stop(&server);
}

/* Where the replies of a server that reads lines or C strings stop: all connections with a partial echo stop at such a place. */
static void test_stops(enum fault fault)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, fault, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 40);
	run.options[0].connect_window = 40;
	run.options[0].timeout_ns = 150000000;
	run_connect(&run);
	uint64_t timed_out = errors_of(&run, IB_ERROR_TIMEOUT);
	CHECK_EQUAL(timed_out + RUN_SUM(&run, connections_made), 40);
	CHECK(timed_out > 30);
	/* Both kinds of place may coincide by chance. Only all stops together show how the server answers. */
	CHECK_EQUAL(RUN_SUM(&run, timeouts_at_newline) > 0 && RUN_SUM(&run, timeouts_off_newline) == 0,
	            fault == FAULT_LINES);
	CHECK_EQUAL(RUN_SUM(&run, timeouts_at_zero) > 0 && RUN_SUM(&run, timeouts_off_zero) == 0, fault == FAULT_STRINGS);
	run_close(&run);
	echo_server_stop(&server);
}

/* Failures that come in the middle of a window. */
static void test_in_window(enum fault fault, uint64_t fault_at, enum ib_error_class error_class, const char *text,
                           uint64_t lost, double rate_per_second)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, fault, fault_at)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 10);
	if (error_class == IB_ERROR_TIMEOUT) {
		run.options[0].timeout_ns = 200000000;
	}
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 10);
	run_measure_start(&run, rate_per_second > 0 ? 200000000 : 0, 600000000, rate_per_second);
	run_await(&run);
	run_check_window(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_lost), lost);
	CHECK_EQUAL(RUN_SUM(&run, connections_live), 10 - lost);
	CHECK(errors_of(&run, error_class) >= lost);
	CHECK(RUN_SUM(&run, window_requests) > 0);
	CHECK(RUN_SUM(&run, window_errors) > 0);
	CHECK_EQUAL(RUN_SUM(&run, data_errors), error_class == IB_ERROR_DATA ? lost : 0);
	check_sample(&run, error_class, text);
	if (fault == FAULT_CORRUPT) {
		check_reply(&run, fault_at);
	} else if (fault == FAULT_EXTRA) {
		CHECK(run_block(&run, 0)->samples[0].received_bytes > 0);
	} else {
		CHECK_EQUAL(run_block(&run, 0)->samples[0].received_bytes, 0);
	}
	if (rate_per_second > 0) {
		/* Messages of a lost connection are still due and were never sent. They are counted. */
		double length_s = (double)(run_block(&run, 0)->window_end_ns - run_block(&run, 0)->window_start_ns) / 1e9;
		double expected = rate_per_second * length_s;
		CHECK((double)RUN_SUM(&run, window_offered) >= expected - 1 &&
		      (double)RUN_SUM(&run, window_offered) <= expected + 1);
		CHECK(RUN_SUM(&run, window_unsent) > 0);
	} else {
		CHECK_EQUAL(RUN_SUM(&run, window_unsent), 0);
	}
	uint64_t timeline_errors = 0;
	for (uint32_t bucket = 0; bucket < TIMELINE_CAPACITY; bucket++) {
		timeline_errors += run_timeline(&run, 0)[bucket].errors;
	}
	CHECK(timeline_errors > 0);
	run_phase(&run, IB_PHASE_VERIFY);
	run_close(&run);
	echo_server_stop(&server);
}

/* The server goes away while the connections are idle. */
static void test_lost_while_idle(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 10);
	run_connect(&run);
	echo_server_stop(&server);
	uint64_t until_ns = clock_now_ns() + 20000000000ull;
	while (__atomic_load_n(&run_block(&run, 0)->connections_lost, __ATOMIC_RELAXED) != 10 &&
	       clock_now_ns() < until_ns) {
		clock_sleep_ns(1000000);
	}
	CHECK_EQUAL(RUN_SUM(&run, connections_lost), 10);
	CHECK_EQUAL(errors_of(&run, IB_ERROR_CLOSED_EARLY) + errors_of(&run, IB_ERROR_RESET) +
	                errors_of(&run, IB_ERROR_CLOSED_IDLE),
	            10);
	run_close(&run);
}

static void test_engine(void)
{
	test_refused();
	test_never_made(FAULT_CLOSE_AT_ONCE, IB_ERROR_REFUSED_BY_SERVER, "before its first echo");
	test_never_made(FAULT_RESET_AT_ONCE, IB_ERROR_REFUSED_BY_SERVER, "connection ");
	test_never_made(FAULT_CLOSE_AFTER, IB_ERROR_REFUSED_BY_SERVER, "before its first echo");
	test_never_made(FAULT_SILENT, IB_ERROR_TIMEOUT, "no complete echo of request 0");
	test_stops(FAULT_LINES);
	test_stops(FAULT_STRINGS);
	test_stops(FAULT_SILENT);
	test_descriptors();
	test_in_window(FAULT_CORRUPT, 64 * 10 + 20, IB_ERROR_DATA, "connection 0: echo of request 10, byte 20: expected", 1,
	               0);
	test_in_window(FAULT_CORRUPT, 64 * 20 + 5, IB_ERROR_DATA, "connection 0: echo of request 20, byte 5: expected", 1,
	               500);
	test_in_window(FAULT_EXTRA, 64 * 5, IB_ERROR_DATA, "connection ", 10, 0);
	test_in_window(FAULT_CLOSE_AFTER, 64 * 8, IB_ERROR_CLOSED_EARLY, "closed by the server after 8 echoes, 1 in flight",
	               10, 0);
	/* In the open loop a connection has 50 messages a second: the fault comes after the lead, within the window. */
	test_in_window(FAULT_CLOSE_AFTER, 64 * 20, IB_ERROR_CLOSED_EARLY,
	               "closed by the server after 20 echoes, 1 in flight", 10, 500);
	test_in_window(FAULT_SILENT_AFTER, 64 * 8, IB_ERROR_TIMEOUT, "no complete echo of request 8", 10, 0);
	test_in_window(FAULT_SILENT_AFTER, 64 * 20, IB_ERROR_TIMEOUT, "no complete echo of request 20", 10, 500);
	test_lost_while_idle();
}

int main(void)
{
	(void)each_engine(&engine, test_engine);
	return check_result();
}
