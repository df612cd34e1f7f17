/*
 * ends_test.c - connections that the server ends: after each echo, after a number of echoes, or for being idle; and servers that do not
 * end them.
 */
#include "load/engine.h"
#include "load_harness.h"

static const char *engine;

static uint64_t errors_of(const struct run *run, enum ib_error_class error_class)
{
	return run_sum(run, offsetof(struct ib_engine_block, errors) + error_class * sizeof(uint64_t));
}

/* Waits until a live counter of the run has reached `wanted`, at most 20 s. */
#define AWAIT_COUNT(run, field, wanted) await_count((run), offsetof(struct ib_engine_block, field), (wanted))
static void await_count(const struct run *run, size_t offset, uint64_t wanted)
{
	uint64_t until_ns = clock_now_ns() + 20000000000ull;

	while (run_sum(run, offset) < wanted && clock_now_ns() < until_ns) {
		clock_sleep_ns(1000000);
	}
	CHECK_EQUAL(run_sum(run, offset), wanted);
}

/* Waits until every engine knows whether FINs are answered, at most 20 s. */
static void await_fins_decided(const struct run *run)
{
	uint64_t until_ns = clock_now_ns() + 20000000000ull;

	while (RUN_SUM(run, fins_undecided) != 0 && clock_now_ns() < until_ns) {
		clock_sleep_ns(1000000);
	}
	CHECK_EQUAL(RUN_SUM(run, fins_undecided), 0);
}

/* A window in which every connection ends again and again without losses. */
static void check_churn_window(struct run *run, double rate_per_second)
{
	run_warm_up(run, rate_per_second);
	RUN_MEASURE_UNTIL(run, 300000000, rate_per_second, reconnects, 10);
	/* Every connection was served and ended, however slow the machine is. */
	CHECK(RUN_SUM(run, window_requests) >= 16);
	CHECK(RUN_SUM(run, reconnects) > 10);
	CHECK_EQUAL(RUN_SUM(run, window_errors), 0);
	CHECK_EQUAL(RUN_SUM(run, connections_lost), 0);
	CHECK_EQUAL(RUN_SUM(run, connections_live), 16);
}

/* The client knows after how many echoes the server closes. With requests_per_connection that is not a loss, whichever side is first. */
static void test_server_closes_as_planned(uint64_t echoes, uint32_t close_mode, uint32_t pipeline)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_ANSWER_AND_CLOSE, 64 * echoes)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 16);
	run.options[0].requests_per_connection = echoes;
	run.options[0].close_mode = close_mode;
	run.options[0].pipeline = pipeline;
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 16);
	check_churn_window(&run, 0);
	check_churn_window(&run, 400);
	run_phase(&run, IB_PHASE_VERIFY);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), 16);
	run_phase(&run, IB_PHASE_VERIFY);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), 16);
	CHECK_EQUAL(RUN_SUM(&run, connections_lost), 0);
	CHECK_EQUAL(RUN_SUM(&run, data_errors), 0);
	run_close(&run);
	echo_server_stop(&server);
}

/* With one request per connection, the first echo, which makes the connection, is that request. */
static void test_one_request_is_one(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_CLOSE_AFTER, 64)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 16);
	run.options[0].requests_per_connection = 1;
	run_connect(&run);
	check_churn_window(&run, 0);
	run_close(&run);
	echo_server_stop(&server);
}

/* The client does not know it: all connections are lost, and the number of echoes before the loss is reported. */
static void test_server_closes_unexpectedly(uint64_t echoes)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_ANSWER_AND_CLOSE, 64 * echoes)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 16);
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 16);
	run_warm_up(&run, 0);
	AWAIT_COUNT(&run, connections_lost, 16);
	CHECK_EQUAL(RUN_SUM(&run, connections_ended), 16);
	CHECK_EQUAL(RUN_SUM(&run, connections_closed_idle), 0);
	CHECK_EQUAL(RUN_SUM(&run, ended_echoes_min), echoes);
	CHECK_EQUAL(RUN_SUM(&run, ended_echoes_max), echoes);
	run_close(&run);
	echo_server_stop(&server);
}

/* The server closes idle connections. They are counted separately, and active connections are not affected. */
static void test_idle_ones_closed(void)
{
	struct echo_server server;
	struct run run;

	/* Far longer than an active connection pauses on a busy machine. */
	if (!echo_server_start(&server, FAULT_CLOSE_IDLE, 1500)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 10);
	run.options[0].connections_active = 4;
	run_connect(&run);
	run_warm_up(&run, 0);
	AWAIT_COUNT(&run, connections_closed_idle, 6);
	run_measure_start(&run, 0, 200000000, 0);
	run_await(&run);
	run_check_window(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_lost), 6);
	CHECK_EQUAL(RUN_SUM(&run, connections_closed_idle_active), 0);
	CHECK_EQUAL(RUN_SUM(&run, connections_ended), 0);
	CHECK_EQUAL(RUN_SUM(&run, connections_active), 4);
	CHECK_EQUAL(errors_of(&run, IB_ERROR_CLOSED_IDLE), 6);
	CHECK_EQUAL(RUN_SUM(&run, window_errors), 0);
	CHECK(RUN_SUM(&run, window_requests) > 0);
	/* Counted from when the engine saw the last echo, which on a busy machine is later than the server's own count. */
	CHECK(RUN_SUM(&run, closed_idle_after_min_ns) >= 750000000);
	CHECK(RUN_SUM(&run, closed_idle_after_max_ns) >= RUN_SUM(&run, closed_idle_after_min_ns));
	run_close(&run);
	echo_server_stop(&server);
}

/* At one message in 2 s per connection the active connections are idle too. */
static void test_active_ones_closed_at_a_low_rate(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_CLOSE_IDLE, 500)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 4);
	run_connect(&run);
	run.control->rate_per_second = 2;
	run_command(&run, IB_PHASE_WARMUP);
	AWAIT_COUNT(&run, connections_closed_idle_active, 4);
	CHECK_EQUAL(RUN_SUM(&run, connections_closed_idle), 4);
	CHECK_EQUAL(RUN_SUM(&run, connections_active), 0);
	CHECK(RUN_SUM(&run, closed_idle_after_min_ns) >= 250000000);
	run_close(&run);
	echo_server_stop(&server);
}

/* A server that does not answer our FIN. After the first unanswered FIN no connection waits any more, so the wait does not limit the load. */
static void test_fin_unanswered(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_KEEP_OPEN, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 4);
	run.options[0].requests_per_connection = 2;
	run.options[0].close_mode = IB_CLOSE_FIN;
	run.options[0].think_time_ns = 20000000;
	run_connect(&run);
	run_warm_up(&run, 0);
	AWAIT_COUNT(&run, fins_undecided, 1);
	await_fins_decided(&run);
	CHECK_EQUAL(RUN_SUM(&run, fins_unanswered), 4);
	RUN_MEASURE_UNTIL(&run, 500000000, 0, reconnects, 8);
	/* If each FIN were awaited, none of the four could come back twice in half a second. */
	CHECK(RUN_SUM(&run, reconnects) > 8);
	CHECK_EQUAL(RUN_SUM(&run, fins_unanswered), 4);
	CHECK_EQUAL(RUN_SUM(&run, fin_wait_ns), 0);
	CHECK_EQUAL(RUN_SUM(&run, connections_lost), 0);
	run_close(&run);
	echo_server_stop(&server);
}

/* In the open loop the wait is not part of the response time of messages that fell due during it. Returns the longest response time. */
static uint64_t longest_beside_fin_waits(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_KEEP_OPEN, 0)) {
		return 0;
	}
	run_plan(&run, engine, 1, server.port, 4);
	run.options[0].requests_per_connection = 4;
	run.options[0].close_mode = IB_CLOSE_FIN;
	run_connect(&run);
	run_measure_start(&run, LEAD_NS, 3000000000, 40);
	run_await(&run);
	run_check_window(&run);
	CHECK_EQUAL(RUN_SUM(&run, fins_unanswered), 4);
	CHECK(RUN_SUM(&run, held) >= 4);
	/* Part of the four waits, of 1 s each and up to a step of the sweep, may lie before the window. */
	CHECK(RUN_SUM(&run, fin_wait_ns) > 2000000000 && RUN_SUM(&run, fin_wait_ns) < 12000000000);
	CHECK_EQUAL(RUN_SUM(&run, window_errors), 0);
	CHECK_EQUAL(run_block(&run, 0)->response.count, RUN_SUM(&run, window_requests));
	uint64_t longest_ns = run_block(&run, 0)->response.max_ns;
	run_close(&run);
	echo_server_stop(&server);
	return longest_ns;
}

static void test_fin_wait_is_not_the_servers(void)
{
	uint64_t longest_ns = UINT64_MAX;

	/* Each waited for a FIN for at least 1 s. The first message due in that time would have taken nearly as long in every attempt. A machine
	 * that pauses one of the threads does so only in some. */
	for (int attempt = 0; attempt < 3 && longest_ns >= 800000000; attempt++) {
		longest_ns = longest_beside_fin_waits();
	}
	CHECK(longest_ns < 800000000);
}

/* The time since connecting began does not wrap within the longest timeouts, and is fine-grained with usual ones. */
static void test_begun_stamp(uint64_t timeout_ns, uint64_t elapsed_ns, uint64_t step_ns)
{
	struct run run;
	struct engine state;
	struct ib_error error;
	uint32_t index = UINT32_MAX;
	uint64_t began_ns = 5000000000000ull;

	run_plan(&run, engine, 1, 1, 1);
	run.options[0].timeout_ns = timeout_ns;
	CHECK_EQUAL(engine_init(&state, &run.options[0], NULL, NULL, run.control, &error), IB_STATUS_OK);
	state.phase = IB_PHASE_CONNECT;
	CHECK(engine_next_connect(&state, began_ns, &index));
	uint64_t since_ns = engine_since_begun_ns(&state, engine_connection(&state, index), began_ns + elapsed_ns);
	CHECK(since_ns <= elapsed_ns + step_ns && since_ns + step_ns >= elapsed_ns);
	engine_destroy(&state);
	run_free(&run);
}

/* Sends the pending bytes of a connection into `echo`. */
static void send_into(struct engine *state, uint32_t index, uint8_t echo[64])
{
	CHECK_EQUAL(engine_fill(state, index, echo, 64), 64);
	engine_sent(state, index, 64);
}

/*
 * A closed loop continues after its window until the last request of the window is answered, so that this request is served under the same
 * load as the others. The test uses no sockets and its own clock, and two connections, of which the second is slow.
 */
static void test_load_behind_window(void)
{
	static const uint64_t ms = 1000000, start_ns = 1000000000;
	static const struct engine_backend without_network = {.name = "none"};
	struct run run;
	struct engine state;
	struct ib_error error;
	uint8_t echo[2][64];
	uint64_t now = start_ns - 10 * ms;

	run_plan(&run, engine, 1, 1, 2);
	CHECK_EQUAL(engine_init(&state, &run.options[0], NULL, NULL, run.control, &error), IB_STATUS_OK);
	state.backend = &without_network;
	run_command(&run, IB_PHASE_CONNECT);
	CHECK(engine_turn(&state, now));
	for (uint32_t number = 0; number < 2; number++) {
		uint32_t index = UINT32_MAX;
		CHECK(engine_next_connect(&state, now, &index));
		CHECK_EQUAL(engine_connected(&state, index, now), ENGINE_SEND);
		send_into(&state, index, echo[index]);
		CHECK_EQUAL(engine_received(&state, index, echo[index], 64, now), ENGINE_IDLE);
	}
	CHECK(engine_turn(&state, now += 2 * ms));
	CHECK_EQUAL(run_block(&run, 0)->sequence_done, 1);
	run.control->window_start_ns = start_ns;
	run.control->window_end_ns = start_ns + 20 * ms;
	run_command(&run, IB_PHASE_MEASURE);
	now = start_ns + ms;
	CHECK(engine_turn(&state, now));
	for (uint32_t number = 0; number < 2; number++) {
		uint32_t index = UINT32_MAX;
		CHECK(engine_next_send(&state, now, &index));
		send_into(&state, index, echo[index]);
	}
	/* The first continues in the window and after it, as long as the echo of the second is outstanding. */
	for (now = start_ns + 2 * ms; now < start_ns + 30 * ms; now += ms) {
		CHECK(engine_turn(&state, now));
		CHECK_EQUAL(engine_received(&state, 0, echo[0], 64, now), ENGINE_SEND);
		send_into(&state, 0, echo[0]);
	}
	CHECK_EQUAL(engine_received(&state, 1, echo[1], 64, now), ENGINE_SEND);
	send_into(&state, 1, echo[1]);
	/* All requests of the window are answered. Outstanding echoes are awaited, and nothing more is sent. */
	CHECK(engine_turn(&state, now += 2 * ms));
	CHECK_EQUAL(run_block(&run, 0)->sequence_done, 1);
	CHECK_EQUAL(engine_received(&state, 0, echo[0], 64, now), ENGINE_IDLE);
	CHECK_EQUAL(engine_received(&state, 1, echo[1], 64, now), ENGINE_IDLE);
	CHECK(engine_turn(&state, now += 2 * ms));
	CHECK_EQUAL(run_block(&run, 0)->sequence_done, 2);
	CHECK_EQUAL(run_block(&run, 0)->window_requests, run_block(&run, 0)->window_offered);
	/* At 1 ms both; then the first at each of 2 to 19 ms. */
	CHECK_EQUAL(run_block(&run, 0)->window_requests, 2 + 18);
	CHECK_EQUAL(run_block(&run, 0)->service.max_ns, 29 * ms);
	engine_destroy(&state);
	run_free(&run);
}

static void test_engine(void)
{
	test_load_behind_window();
	for (uint32_t mode = IB_CLOSE_RESET; mode <= IB_CLOSE_FIN; mode++) {
		test_server_closes_as_planned(1, mode, 1);
		test_server_closes_as_planned(3, mode, 1);
		test_server_closes_as_planned(5, mode, 2);
	}
	test_one_request_is_one();
	test_server_closes_unexpectedly(1);
	test_server_closes_unexpectedly(100);
	test_idle_ones_closed();
	test_active_ones_closed_at_a_low_rate();
	test_fin_unanswered();
	test_fin_wait_is_not_the_servers();
	test_begun_stamp(10000000000ull, 19000000000ull, 256);
	test_begun_stamp(2000000000000ull, 3900000000000ull, 2048);
	test_begun_stamp(IB_HISTOGRAM_HIGHEST_NS, 7190000000000ull, 4096);
}

int main(void)
{
	CHECK(each_engine(&engine, test_engine) != 0);
	return check_result();
}
