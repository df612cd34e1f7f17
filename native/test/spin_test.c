/*
 * spin_test.c - polling for a due message instead of sleeping, with every engine that can run here. It is apart from phases_test.c, because it
 * needs a CPU for itself and runs alone.
 */
#include "load_harness.h"

static const char *engine;

/*
 * Polling for a due message instead of sleeping: many polls per message, which count as waiting. Not under Wine, where each poll is a
 * request to the wineserver, so that only a few fit between two messages, and where no run spins.
 */
static void test_spin(void)
{
	struct ib_limits limits = {.size = sizeof limits, .abi_version = IB_ABI_VERSION};
	struct ib_error error;
	struct echo_server server;
	struct run run;

	CHECK_EQUAL(ib_limits(&limits, &error), IB_STATUS_OK);
	if (limits.compatibility[0] != '\0') {
		return;
	}
	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 1, server.port, 4);
	run.options[0].spin_ns = 1000000;
	run_connect(&run);
	run_warm_up(&run, 2000);
	run_measure_start(&run, LEAD_NS, 500000000, 2000);
	run_await(&run);
	run_check_window(&run);
	run_check_offered(&run, 2000);
	CHECK_EQUAL(RUN_SUM(&run, window_requests), RUN_SUM(&run, window_offered));
	CHECK(run_block(&run, 0)->waits >= 4 * run_block(&run, 0)->window_requests);
	CHECK(run_block(&run, 0)->wait_ns >= run_block(&run, 0)->wall_ns / 5);
	CHECK(run_block(&run, 0)->wait_ns <= run_block(&run, 0)->wall_ns);
	run_close(&run);
	echo_server_stop(&server);
}

int main(void)
{
	(void)each_engine(&engine, test_spin);
	return check_result();
}
