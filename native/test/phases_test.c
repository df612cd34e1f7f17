/*
 * phases_test.c - every phase of a run, closed and open loop, against a healthy server, with every engine that can run here.
 */
#include "load_harness.h"

static const char *engine;

static void test_whole_life(uint32_t engines)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, engines, server.port, 21);
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_started), 21);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 21);
	CHECK_EQUAL(RUN_SUM(&run, connections_live), 21);
	CHECK_EQUAL(RUN_SUM(&run, requests_completed), 21);
	CHECK_EQUAL(RUN_SUM(&run, connect.count), 21);
	CHECK_EQUAL(RUN_SUM(&run, first_echo.count), 21);
	CHECK_EQUAL(RUN_SUM(&run, bytes_sent), 21 * 64);
	CHECK_EQUAL(RUN_SUM(&run, bytes_received), 21 * 64);

	run_warm_up(&run, 0);
	CHECK_EQUAL(RUN_SUM(&run, connections_echoed), 21);
	RUN_MEASURE_UNTIL(&run, 250000000, 0, window_requests, 21);
	CHECK(RUN_SUM(&run, window_requests) > 21);
	CHECK_EQUAL(RUN_SUM(&run, window_errors), 0);
	CHECK_EQUAL(RUN_SUM(&run, response.count), 0);
	CHECK_EQUAL(RUN_SUM(&run, window_bytes), RUN_SUM(&run, window_requests) * 64);
	CHECK_EQUAL(RUN_SUM(&run, fairness_connections), 21);
	CHECK_EQUAL(RUN_SUM(&run, fairness_starved), 0);
	CHECK(RUN_SUM(&run, window_completions) <= RUN_SUM(&run, requests_completed));
	/* An engine that was late at the first edge has observed less. wall_ns accounts for that. */
	const struct ib_engine_block *block = run_block(&run, 0);
	CHECK(block->wall_ns + block->window_begun_ns >= block->window_end_ns);
	CHECK(block->window_end_ns <= block->window_start_ns + 250000000);
	CHECK(run_block(&run, 0)->wait_ns <= run_block(&run, 0)->wall_ns);
	CHECK(run_block(&run, 0)->cpu_user_ns != IB_UNKNOWN);

	run_phase(&run, IB_PHASE_DRAIN);
	run_phase(&run, IB_PHASE_VERIFY);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), 21);
	CHECK_EQUAL(RUN_SUM(&run, service.count), 21);
	CHECK_EQUAL(RUN_SUM(&run, data_errors), 0);
	CHECK_EQUAL(RUN_SUM(&run, error_samples_count), 0);
	run_close(&run);
	CHECK(strcmp(run.result[0].engine, engine) == 0);
	CHECK(run.result[0].memory_bytes > 0);
	echo_server_stop(&server);
}

/* Messages of many sizes, and several in flight: every message comes back, however it is split. */
static void test_sizes(uint64_t connections, uint32_t size, uint32_t pipeline, enum fault fault)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, fault, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, connections);
	run.options[0].message_size_bytes = size;
	run.options[0].pipeline = pipeline;
	run_connect(&run);
	run_warm_up(&run, 0);
	run_measure_start(&run, LEAD_NS, 100000000, 0);
	run_await(&run);
	run_check_window(&run);
	CHECK_EQUAL(RUN_SUM(&run, data_errors), 0);
	CHECK_EQUAL(RUN_SUM(&run, window_errors), 0);
	CHECK_EQUAL(RUN_SUM(&run, connections_live), connections);
	CHECK_EQUAL(RUN_SUM(&run, bytes_sent), RUN_SUM(&run, requests_completed) * size);
	run_phase(&run, IB_PHASE_VERIFY);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), connections);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_open_loop(uint32_t engines, uint32_t pipeline, uint32_t arrivals)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, engines, server.port, 10);
	for (uint32_t index = 0; index < engines; index++) {
		run.options[index].pipeline = pipeline;
		run.options[index].arrivals = arrivals;
	}
	run_connect(&run);
	run_warm_up(&run, 1000);
	run_measure_start(&run, LEAD_NS, 500000000, 1000);
	run_await(&run);
	run_check_window(&run);
	run_check_offered(&run, 1000);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), RUN_SUM(&run, window_offered));
	CHECK_EQUAL(RUN_SUM(&run, response.count), RUN_SUM(&run, window_requests));
	CHECK_EQUAL(RUN_SUM(&run, send_lag.count) + RUN_SUM(&run, turn_lag.count), RUN_SUM(&run, window_requests));
	CHECK(RUN_SUM(&run, response.sum_ns) >= RUN_SUM(&run, service.sum_ns));
	CHECK_EQUAL(RUN_SUM(&run, window_unsent), 0);
	for (uint32_t index = 0; index < engines; index++) {
		/* Evenly spread: no connection has more than one message more than another. */
		CHECK(arrivals != IB_ARRIVALS_EVEN ||
		      run_block(&run, index)->fairness_max - run_block(&run, index)->fairness_min <= 1);
	}

	/* A second window at another rate, and then the closed loop, on the same connections. */
	run_measure_start(&run, LEAD_NS, 200000000, 500);
	run_await(&run);
	run_check_window(&run);
	run_check_offered(&run, 500);
	/* Long enough that a shared machine, which may pause this thread, does not pause it for the whole window. */
	run_measure_start(&run, LEAD_NS, 500000000, 0);
	run_await(&run);
	run_check_window(&run);
	CHECK_EQUAL(RUN_SUM(&run, response.count), 0);
	CHECK(RUN_SUM(&run, window_requests) > 0);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_idle_connections(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 2, server.port, 30);
	run.options[0].connections_active = run.options[1].connections_active = 5;
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_live), 30);
	CHECK_EQUAL(RUN_SUM(&run, connections_active), 5);
	run_warm_up(&run, 0);
	CHECK_EQUAL(RUN_SUM(&run, connections_echoed), 5);
	run_measure_start(&run, LEAD_NS, 100000000, 0);
	run_await(&run);
	run_check_window(&run);
	CHECK_EQUAL(RUN_SUM(&run, fairness_connections), 5);
	run_phase(&run, IB_PHASE_VERIFY);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), 30);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_think_time(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 4);
	run.options[0].think_time_ns = 50000000;
	run.options[0].pipeline = 2;
	run_connect(&run);
	run_warm_up(&run, 0);
	run_measure_start(&run, LEAD_NS, 500000000, 0);
	run_await(&run);
	run_check_window(&run);
	/* Each of 8 places sends at most once in 50 ms. */
	CHECK(RUN_SUM(&run, window_requests) > 0);
	CHECK(RUN_SUM(&run, window_requests) <= 8 * 11);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_churn(uint32_t close_mode, double rate_per_second, uint32_t pipeline, uint64_t requests_per_connection,
                       uint32_t arrivals)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 8);
	run.options[0].requests_per_connection = requests_per_connection;
	run.options[0].arrivals = arrivals;
	run.options[0].close_mode = close_mode;
	run.options[0].pipeline = pipeline;
	run_connect(&run);
	run_warm_up(&run, rate_per_second);
	RUN_MEASURE_UNTIL(&run, 300000000, rate_per_second, reconnects, 0);
	uint64_t requests = RUN_SUM(&run, window_requests);
	uint64_t reconnects = RUN_SUM(&run, reconnects);
	CHECK(reconnects > 0);
	/* Echoes within the window: a slow machine sends some of its requests, and makes connections for them, only after its end. */
	CHECK(reconnects + 8 + pipeline >= RUN_SUM(&run, window_completions) / requests_per_connection);
	/* Requests in flight when the window began belong to an earlier time, and may end a connection in the window. */
	CHECK(reconnects <= (requests + 8 * pipeline) / requests_per_connection + 8);
	CHECK_EQUAL(RUN_SUM(&run, window_errors), 0);
	CHECK_EQUAL(RUN_SUM(&run, connections_lost), 0);
	CHECK_EQUAL(RUN_SUM(&run, connections_live), 8);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 8);
	run_phase(&run, IB_PHASE_VERIFY);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), 8);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_close_with_fin(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 12);
	run.options[0].close_mode = IB_CLOSE_FIN;
	run_connect(&run);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_connect_rate(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 21);
	run.options[0].connect_rate_per_second = 100;
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 21);
	/* 21 connections at 100/s: the last is begun 200 ms after the first, and never before. */
	CHECK(RUN_SUM(&run, connect_last_ns) - RUN_SUM(&run, connect_first_ns) >= 190000000);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_sources(void)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 12);
	run.options[0].source_address_first = 0x7f000101;
	run.options[0].source_address_count = 3;
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 12);
	run_close(&run);
	/* Explicit ports, among them one that is in use: the server's own. */
	run_plan(&run, engine, 1, server.port, 12);
	run.options[0].source_address_first = 0x7f000001;
	run.options[0].source_address_count = 4;
	run.options[0].source_port_first = server.port;
	run.options[0].source_port_count = 1;
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), 12);
	run_close(&run);
	echo_server_stop(&server);
}

static void test_stop(bool loaded)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 2, server.port, 50);
	run_connect(&run);
	if (loaded) {
		run_warm_up(&run, 0);
	}
	__atomic_store_n(&run.control->stop, 1, __ATOMIC_RELAXED);
	run_join(&run);
	run_free(&run);
	echo_server_stop(&server);
}

static void test_wrong_options(void)
{
	struct run run;

	run_plan(&run, engine, 1, 1, 1);
	struct ib_engine_options options = run.options[0];
	struct ib_error error;
	options.pipeline = 0;
	CHECK_EQUAL(ib_engine_run(&options, NULL, NULL, run.control, &run.result[0], &error), IB_STATUS_USAGE);
	CHECK(strstr(error.message, "pipeline") != NULL);
	options = run.options[0];
	options.size--;
	CHECK_EQUAL(ib_engine_run(&options, NULL, NULL, run.control, &run.result[0], &error), IB_STATUS_ABI);
	options = run.options[0];
	memset(options.engine, 0, sizeof options.engine);
	CHECK_EQUAL(ib_engine_run(&options, NULL, NULL, run.control, &run.result[0], &error), IB_STATUS_USAGE);
	options = run.options[0];
	options.spin_ns = 1000001;
	CHECK_EQUAL(ib_engine_run(&options, NULL, NULL, run.control, &run.result[0], &error), IB_STATUS_USAGE);
	CHECK(strstr(error.message, "spin_ns") != NULL);
	options = run.options[0];
	snprintf(options.host, sizeof options.host, "localhost");
	CHECK_EQUAL(ib_engine_run(&options, NULL, NULL, run.control, &run.result[0], &error), IB_STATUS_ADDRESS);
	run.control->engine_stride_bytes = 8;
	CHECK_EQUAL(ib_engine_run(&run.options[0], NULL, NULL, run.control, &run.result[0], &error), IB_STATUS_USAGE);
	run_free(&run);
}

static void test_engine(void)
{
	static const uint32_t sizes[] = {1, 15, 16, 100, 4096, 100001, 1048576};

	test_wrong_options();
	test_whole_life(1);
	test_whole_life(2);
	for (size_t at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
		test_sizes(5, sizes[at], 1, FAULT_NONE);
		test_sizes(5, sizes[at], 3, FAULT_NONE);
	}
	test_sizes(5, 64, 1024, FAULT_NONE);
	test_sizes(5, 64, 4, FAULT_DRIBBLE);
	/* More messages in flight than an engine has buffers. No connection may starve. */
	test_sizes(100, 65536, 16, FAULT_NONE);
	test_open_loop(1, 1, IB_ARRIVALS_EVEN);
	test_open_loop(2, 4, IB_ARRIVALS_EVEN);
	test_open_loop(2, 4, IB_ARRIVALS_POISSON);
	test_idle_connections();
	test_think_time();
	test_churn(IB_CLOSE_RESET, 0, 1, 3, IB_ARRIVALS_EVEN);
	test_churn(IB_CLOSE_FIN, 0, 1, 1, IB_ARRIVALS_EVEN);
	test_churn(IB_CLOSE_RESET, 400, 1, 5, IB_ARRIVALS_EVEN);
	test_churn(IB_CLOSE_RESET, 400, 1, 5, IB_ARRIVALS_POISSON);
	test_churn(IB_CLOSE_RESET, 0, 4, 10, IB_ARRIVALS_EVEN);
	test_close_with_fin();
	test_connect_rate();
	test_sources();
	test_stop(false);
	test_stop(true);
}

int main(void)
{
	(void)each_engine(&engine, test_engine);
	return check_result();
}
