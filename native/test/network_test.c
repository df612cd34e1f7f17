/*
 * network_test.c - what an engine reads about the network of its connections after a window: which connections, how many at once, and on
 * Linux what its two engines find.
 */
#include "load/engine.h"
#include "load_harness.h"

/* -------------------------------------------------------------------------------------- the selection */

enum { MANY = 5000, STEP = MANY / (int)IB_NETWORK_CONNECTIONS };

static uint32_t asked[MANY];
static uint32_t asked_count;

static void ask(struct engine *engine, uint32_t index)
{
	(void)engine;
	asked[asked_count++] = index;
}

static const struct engine_backend later = {.name = "later", .network_read = ask};

/* At most 1000 of 5000 connections, spread evenly and without those that are gone; never more than a few at once. */
static void test_selection(void)
{
	struct ib_error error;
	struct engine engine;
	struct ib_engine_options options = {
	    .size = sizeof options,
	    .abi_version = IB_ABI_VERSION,
	    .host = "127.0.0.1",
	    .port = 1,
	    .address_count = 2, /* no port of this machine is reserved */
	    .engine_count = 1,
	    .connections = MANY,
	    .connections_active = MANY,
	    .message_size_bytes = 64,
	    .pipeline = 1,
	    .timeout_ns = NS_PER_S,
	    .connect_window = 1,
	    .cpu = IB_UNKNOWN_32,
	};
	uint64_t stride = sizeof(struct ib_engine_block) + sizeof(struct ib_timeline_bucket);
	struct ib_control *control = calloc(1, IB_CONTROL_HEADER_BYTES + stride);

	if (control == NULL) {
		abort();
	}
	control->engine_stride_bytes = stride;
	control->timeline_capacity = 1;
	if (!CHECK_EQUAL(engine_init(&engine, &options, NULL, NULL, control, &error), IB_STATUS_OK)) {
		free(control);
		return;
	}
	engine.backend = &later;
	for (uint32_t at = 0; at < MANY; at++) {
		engine_connection(&engine, at)->state = CONNECTION_LIVE;
	}
	engine_connection(&engine, 10 * STEP)->state = CONNECTION_GONE;
	uint32_t answered = 0;
	while (!window_network_is_read(&engine) && CHECK(answered < asked_count)) {
		CHECK(asked_count - answered <= 32);
		for (; answered < asked_count; answered++) {
			/* The system does not know every seventh. */
			engine_network_read(&engine, answered % 7 == 0 ? 0 : 1000 * (answered + 1), 1);
		}
	}
	CHECK_EQUAL(asked_count, IB_NETWORK_CONNECTIONS - 1);
	for (uint32_t at = 0; at < asked_count; at++) {
		CHECK_EQUAL(asked[at], (at < 10 ? at : at + 1) * STEP);
	}
	uint32_t known = asked_count - (asked_count + 6) / 7;
	CHECK_EQUAL(engine.block->network_connections, known);
	CHECK_EQUAL(engine.block->network_retransmits, known);
	CHECK_EQUAL(engine.block->round_trip.count, known);
	CHECK_EQUAL(engine.block->round_trip.max_ns, 1000 * asked_count);
	window_reset(&engine);
	CHECK_EQUAL(engine.block->network_connections, 0);
	CHECK_EQUAL(engine.block->round_trip.count, 0);
	CHECK(!window_network_is_read(&engine));
	engine_destroy(&engine);
	free(control);
}

/* --------------------------------------------------------------------------------------- the engines */

#if defined(__linux__)

#include <dirent.h>
#include <sys/utsname.h>

static uint32_t descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	uint32_t count = 0;

	while (folder != NULL && readdir(folder) != NULL) {
		count++;
	}
	closedir(folder);
	return count;
}

static bool is_available(const char *engine)
{
	struct ib_probe probe = {.size = sizeof probe, .abi_version = IB_ABI_VERSION};
	bool available = false;

	for (uint32_t index = 0; index < ib_engine_count(); index++) {
		CHECK_EQUAL(ib_engine_probe(index, &probe), IB_STATUS_OK);
		available = available || (strcmp(probe.name, engine) == 0 && probe.available != 0);
	}
	return available;
}

/* From 6.8 on, io_uring gives ordinary descriptors of its own ones. */
static bool gives_descriptors(void)
{
	struct utsname name;

	CHECK(uname(&name) == 0);
	char *rest = name.release;
	unsigned long major = strtoul(rest, &rest, 10);
	unsigned long minor = *rest == '.' ? strtoul(rest + 1, NULL, 10) : 0;
	return major > 6 || (major == 6 && minor >= 8);
}

static void test_engine(const char *engine, bool knows)
{
	enum { CONNECTIONS = 61, WINDOWS = 2 };
	struct echo_server server;
	struct run run;

	if (!echo_server_start(&server, FAULT_NONE, 0)) {
		return;
	}
	run_plan(&run, engine, 2, server.port, CONNECTIONS);
	run_connect(&run);
	uint32_t before = descriptors();
	for (uint32_t window = 0; window < WINDOWS; window++) {
		run_warm_up(&run, 0);
		run_measure_start(&run, LEAD_NS, 100000000, 0);
		run_await(&run);
		run_check_window(&run);
		CHECK_EQUAL(RUN_SUM(&run, network_connections), knows ? CONNECTIONS : 0);
		CHECK_EQUAL(RUN_SUM(&run, connections_lost), 0);
		for (uint32_t index = 0; index < run.engines; index++) {
			const struct ib_engine_block *block = run_block(&run, index);
			CHECK_EQUAL(block->round_trip.count, block->network_connections);
			CHECK(!knows || (block->round_trip.min_ns >= 1000 && block->round_trip.max_ns < NS_PER_S));
			CHECK_EQUAL(block->round_trip.max_ns % 1000, 0);
		}
		CHECK_EQUAL(descriptors(), before);
	}
	run_close(&run);
	echo_server_stop(&server);
}

int main(void)
{
	test_selection();
	test_engine("epoll", true);
	if (is_available("io_uring")) {
		test_engine("io_uring", gives_descriptors());
	}
	return check_result();
}

#else

int main(void)
{
	test_selection();
	return check_result();
}

#endif
