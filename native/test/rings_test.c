/*
 * rings_test.c - an io_uring engine with more connections than a table of direct descriptors has slots: several rings on one thread. The
 * test lowers the descriptor limit, so that a few hundred connections are enough.
 */
#include "load_harness.h"

#if defined(__linux__)

#include <sys/resource.h>

/* The server in this process uses a descriptor per connection, the client none. Both fit the limit, but the client's table does not. */
enum { CONNECTIONS = 460, DESCRIPTORS = 500 };

static bool io_uring_is_available(void)
{
	for (uint32_t index = 0; index < ib_engine_count(); index++) {
		struct ib_probe probe = {.size = sizeof probe, .abi_version = IB_ABI_VERSION};
		if (ib_engine_probe(index, &probe) == IB_STATUS_OK && strcmp(probe.name, "io_uring") == 0) {
			return probe.available != 0;
		}
	}
	return false;
}

static void test_several_rings(const char *engine, uint64_t requests_per_connection, uint32_t close_mode)
{
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, CONNECTIONS);
	run.options[0].requests_per_connection = requests_per_connection;
	run.options[0].close_mode = close_mode;
	run_connect(&run);
	CHECK_EQUAL(RUN_SUM(&run, connections_made), CONNECTIONS);
	run_warm_up(&run, 0);
	run_measure_start(&run, LEAD_NS, 200000000, 0);
	run_await(&run);
	run_check_window(&run);
	run_warm_up(&run, 2000);
	run_measure_start(&run, LEAD_NS, 300000000, 2000);
	run_await(&run);
	run_check_window(&run);
	CHECK_EQUAL(RUN_SUM(&run, window_errors), 0);
	CHECK_EQUAL(RUN_SUM(&run, connections_live), CONNECTIONS);
	run_phase(&run, IB_PHASE_VERIFY);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), CONNECTIONS);
	run_phase(&run, IB_PHASE_CLOSE);
	run_join(&run);
	CHECK(strcmp(run.result[0].engine, "io_uring") == 0);
	CHECK(strstr(run.result[0].features, "rings:2") != NULL);
	run_free(&run);
	echo_server_stop(&server);
}

int main(void)
{
	struct rlimit limit;

	if (!io_uring_is_available()) {
		(void)fprintf(stderr, "skipped: io_uring cannot run here\n");
		return 0;
	}
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = DESCRIPTORS;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	test_several_rings("io_uring", 0, IB_CLOSE_RESET);
	/* The automatic choice is the engine for which these descriptors are enough. */
	test_several_rings("auto", 5, IB_CLOSE_FIN);
	return check_result();
}

#else

int main(void)
{
	return 0; /* only Linux has rings */
}

#endif
