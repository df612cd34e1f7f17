/*
 * arrivals_test.c - the timetable's due times, exactly as they are planned: no socket and no clock takes part. Poisson arrivals have
 * exponential gaps (Kolmogorov-Smirnov at 1%), counts that vary as much as their mean, and connections chosen at random. The seeds are
 * fixed, so a result never changes.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "load/engine.h"

#define RATE 10000.0
#define START_NS (1000 * NS_PER_S)
/* The statistic's bound at 1%, for n gaps (asymptotic): D < 1.628 / sqrt(n). */
#define KOLMOGOROV_SMIRNOV 1.628
#define BIN_NS (10 * NS_PER_MS)

struct rig {
	struct engine engine;
	struct ib_control *control;
};

static bool rig_open(struct rig *rig, uint32_t arrivals, uint32_t stream, uint32_t index, uint32_t engines,
                     uint64_t connections)
{
	struct ib_error error;
	struct ib_engine_options options = {
	    .size = sizeof options,
	    .abi_version = IB_ABI_VERSION,
	    .host = "127.0.0.1",
	    .port = 1,
	    .address_count = 2, /* no port of this machine is reserved */
	    .engine_index = index,
	    .engine_count = engines,
	    .connections = connections,
	    .connections_active = connections,
	    .seed = 7,
	    .message_size_bytes = 64,
	    .pipeline = 1,
	    .timeout_ns = NS_PER_S,
	    .connect_window = 1,
	    .cpu = IB_UNKNOWN_32,
	    .arrivals = arrivals,
	    .arrivals_stream = stream,
	};
	uint64_t stride = sizeof(struct ib_engine_block) + sizeof(struct ib_timeline_bucket);

	rig->control = calloc(1, IB_CONTROL_HEADER_BYTES + engines * stride);
	if (rig->control == NULL) {
		abort();
	}
	rig->control->engine_stride_bytes = stride;
	rig->control->timeline_capacity = 1;
	rig->control->timeline_bucket_ns = 100 * NS_PER_MS;
	if (!CHECK_EQUAL(engine_init(&rig->engine, &options, NULL, NULL, rig->control, &error), IB_STATUS_OK)) {
		free(rig->control);
		return false;
	}
	for (uint32_t at = 0; at < rig->engine.count; at++) {
		struct connection *connection = engine_connection(&rig->engine, at);
		connection->state = CONNECTION_LIVE;
		connection->made = 1;
	}
	rig->engine.mode = ENGINE_MODE_OPEN;
	return true;
}

static void rig_close(struct rig *rig)
{
	engine_destroy(&rig->engine);
	free(rig->control);
}

static void rig_start(struct rig *rig, uint32_t phase, uint64_t total)
{
	rig->engine.phase = phase;
	timetable_start(&rig->engine, START_NS, RATE, total, UINT64_MAX);
}

/* Takes the next message and answers it at once. Returns its due time. `index` is UINT32_MAX if its connection could not send it. */
static uint64_t rig_step(struct rig *rig, uint32_t *index)
{
	uint64_t due_ns = rig->engine.timetable.next_due_ns;

	if (engine_timetable_step(&rig->engine, due_ns, index)) {
		engine_connection(&rig->engine, *index)->queued_ahead = 0;
		rig->engine.counters.outstanding = 0;
	} else {
		*index = UINT32_MAX;
	}
	return due_ns;
}

static int ascending(const void *a, const void *b)
{
	double first = *(const double *)a;
	double second = *(const double *)b;
	return (first > second) - (first < second);
}

static int ascending_times(const void *a, const void *b)
{
	uint64_t first = *(const uint64_t *)a;
	uint64_t second = *(const uint64_t *)b;
	return (first > second) - (first < second);
}

/* Whether the gaps (ns, sorted in place) are exponential with this mean. */
static bool gaps_are_exponential(double *gaps, size_t count, double mean_ns)
{
	double farthest = 0;

	qsort(gaps, count, sizeof *gaps, ascending);
	for (size_t at = 0; at < count; at++) {
		double expected = 1 - exp(-gaps[at] / mean_ns);
		double below = expected - (double)at / (double)count;
		double above = (double)(at + 1) / (double)count - expected;
		farthest = below > farthest ? below : farthest;
		farthest = above > farthest ? above : farthest;
	}
	return farthest * sqrt((double)count) < KOLMOGOROV_SMIRNOV;
}

/* Variance / mean of the counts per 10 ms. It is 1 for a Poisson process. */
static double dispersion(const uint64_t *due_ns, size_t count)
{
	double bins = floor((double)(due_ns[count - 1] - due_ns[0]) / (double)BIN_NS);
	double sum = 0;
	double squares = 0;
	size_t at = 0;

	for (uint64_t bin = 0; bin < (uint64_t)bins; bin++) {
		double in_bin = 0;
		for (; at < count && due_ns[at] < due_ns[0] + (bin + 1) * BIN_NS; at++) {
			in_bin++;
		}
		sum += in_bin;
		squares += in_bin * in_bin;
	}
	double mean = sum / bins;
	return (squares / bins - mean * mean) / mean;
}

/* Checks the due times of messages at a rate of RATE. */
static void check_poisson(const uint64_t *due_ns, size_t count)
{
	double *gaps = malloc(count * sizeof *gaps);
	double of_dispersion = dispersion(due_ns, count);

	if (gaps == NULL) {
		abort();
	}
	for (size_t at = 1; at < count; at++) {
		gaps[at - 1] = (double)(due_ns[at] - due_ns[at - 1]);
	}
	CHECK(gaps_are_exponential(gaps, count - 1, 1e9 / RATE));
	CHECK(of_dispersion > 0.9 && of_dispersion < 1.1);
	free(gaps);
}

static uint64_t *times(size_t count)
{
	uint64_t *due_ns = malloc(count * sizeof *due_ns);

	if (due_ns == NULL) {
		abort();
	}
	return due_ns;
}

static void test_exponential(void)
{
	struct random_stream stream = random_stream_of(1, 2, 3);

	CHECK(random_exponential(UINT64_MAX) == 0);
	CHECK(fabs(random_exponential(0) - 53 * log(2)) < 1e-12);
	for (uint32_t draw = 0; draw < 100000; draw++) {
		uint64_t bits = random_next(&stream);
		double u = (double)((bits >> 11) + 1) / 9007199254740992.0;
		CHECK(fabs(random_exponential(bits) + log(u)) < 1e-11);
	}
}

enum { MANY = 200000, CONNECTIONS = 100 };

/* One engine: gaps, counts, and a connection at random for each message, whatever the gap before it. */
static void test_poisson(void)
{
	static uint64_t per_connection[CONNECTIONS];
	struct rig rig;
	uint64_t *due_ns = times(MANY);
	double chi_square = 0;
	double repeats = 0;
	uint32_t before = UINT32_MAX;

	if (!rig_open(&rig, IB_ARRIVALS_POISSON, 1, 0, 1, CONNECTIONS)) {
		return;
	}
	rig_start(&rig, IB_PHASE_MEASURE, CONNECTIONS);
	for (size_t at = 0; at < MANY; at++) {
		uint32_t index;
		due_ns[at] = rig_step(&rig, &index);
		per_connection[index]++;
		repeats += index == before;
		before = index;
	}
	check_poisson(due_ns, MANY);
	for (uint32_t at = 0; at < CONNECTIONS; at++) {
		double expected = (double)MANY / CONNECTIONS;
		chi_square += ((double)per_connection[at] - expected) * ((double)per_connection[at] - expected) / expected;
	}
	CHECK(chi_square < 134.6); /* 99 degrees of freedom, at 1% */
	/* One in a hundred follows a message of the same connection, within 3 standard deviations. */
	CHECK(fabs(repeats - MANY / 100.0) < 3 * sqrt(MANY / 100.0));
	rig_close(&rig);
	free(due_ns);
}

/* Three engines of 34, 33 and 33 connections are together one process of the whole rate. */
static void test_superposition(void)
{
	enum { ENGINES = 3 };
	struct rig rigs[ENGINES];
	uint64_t *due_ns = times(MANY);

	for (uint32_t at = 0; at < ENGINES; at++) {
		if (!rig_open(&rigs[at], IB_ARRIVALS_POISSON, 1, at, ENGINES, CONNECTIONS)) {
			return;
		}
		rig_start(&rigs[at], IB_PHASE_MEASURE, CONNECTIONS);
	}
	for (size_t count = 0; count < MANY; count++) {
		uint32_t next = 0;
		uint32_t index;
		for (uint32_t at = 1; at < ENGINES; at++) {
			next = rigs[at].engine.timetable.next_due_ns < rigs[next].engine.timetable.next_due_ns ? at : next;
		}
		due_ns[count] = rig_step(&rigs[next], &index);
	}
	check_poisson(due_ns, MANY);
	for (uint32_t at = 0; at < ENGINES; at++) {
		rig_close(&rigs[at]);
	}
	free(due_ns);
}

/*
 * The first messages of a window, which follow a warm-up: over 2000 trials, each with its own stream. The warm-up reaches every
 * connection in its first round. Neither it nor the start of the window may show in the gaps.
 */
static void test_after_warm_up(void)
{
	enum { TRIALS = 2000, FIRST = 20, GAPS = TRIALS * FIRST };
	double *gaps = calloc(GAPS, sizeof *gaps);
	double *starts = calloc(GAPS, sizeof *starts);

	if (gaps == NULL || starts == NULL) {
		abort();
	}
	for (uint32_t trial = 0; trial < TRIALS; trial++) {
		bool reached[CONNECTIONS] = {false};
		struct rig rig;
		uint32_t index;

		if (!rig_open(&rig, IB_ARRIVALS_POISSON, trial, 0, 1, CONNECTIONS)) {
			return;
		}
		rig_start(&rig, IB_PHASE_WARMUP, CONNECTIONS);
		uint64_t before = START_NS + 20 * NS_PER_MS;
		for (uint32_t at = 0; at < CONNECTIONS; at++) {
			uint64_t due_ns = rig_step(&rig, &index);
			if (at < FIRST) {
				starts[trial * FIRST + at] = (double)(due_ns - before);
			}
			before = due_ns;
			reached[index] = true;
		}
		for (uint32_t at = 0; at < CONNECTIONS; at++) {
			CHECK(reached[at]);
		}
		rig_start(&rig, IB_PHASE_MEASURE, CONNECTIONS);
		for (uint32_t at = 0; at < FIRST; at++) {
			uint64_t due_ns = rig_step(&rig, &index);
			gaps[trial * FIRST + at] = (double)(due_ns - before);
			before = due_ns;
		}
		rig_close(&rig);
	}
	CHECK(gaps_are_exponential(starts, GAPS, 1e9 / RATE));
	CHECK(gaps_are_exponential(gaps, GAPS, 1e9 / RATE));
	free(gaps);
	free(starts);
}

/* While a connection is lost, its messages are errors. From the next command on, the others share the whole rate. */
static void test_after_loss(void)
{
	struct rig rig;
	uint64_t *due_ns = times(MANY);
	uint32_t index;

	if (!rig_open(&rig, IB_ARRIVALS_POISSON, 1, 0, 1, CONNECTIONS)) {
		return;
	}
	rig_start(&rig, IB_PHASE_MEASURE, CONNECTIONS);
	(void)rig_step(&rig, &index);
	engine_connection(&rig.engine, 17)->state = CONNECTION_GONE;
	rig.engine.timetable.broken = true;
	rig.engine.open_loop_window = true;
	rig.engine.window_start_ns = START_NS;
	rig.engine.window_length_ns = UINT64_MAX - START_NS;
	rig.engine.bucket_end_ns = UINT64_MAX;
	size_t lost = 0;
	for (size_t at = 0; at < MANY; at++) {
		due_ns[at] = rig_step(&rig, &index);
		lost += index == UINT32_MAX;
	}
	check_poisson(due_ns, MANY);
	CHECK(lost > MANY / 120 && lost < MANY / 80);
	CHECK_EQUAL(rig.engine.block->window_errors, lost);
	CHECK_EQUAL(rig.engine.block->window_unsent, lost);
	CHECK_EQUAL(rig.engine.block->window_offered, MANY);

	rig_start(&rig, IB_PHASE_MEASURE, CONNECTIONS - 1);
	for (size_t at = 0; at < MANY; at++) {
		due_ns[at] = rig_step(&rig, &index);
		CHECK(index != UINT32_MAX && index != 17);
	}
	check_poisson(due_ns, MANY);
	rig_close(&rig);
	free(due_ns);
}

/* Messages that are due on a busy connection wait behind each other, and each keeps its due time. */
static void test_waiting(void)
{
	enum { BUSY = 3, WAITING = 200000 };
	struct rig rig;
	uint64_t *due_ns = times(WAITING);
	uint64_t *released_ns = times(WAITING);
	size_t released = 0;
	uint32_t index;

	if (!rig_open(&rig, IB_ARRIVALS_POISSON, 1, 0, 1, BUSY)) {
		return;
	}
	rig_start(&rig, IB_PHASE_MEASURE, BUSY);
	for (uint32_t at = 0; at < BUSY; at++) {
		engine_connection(&rig.engine, at)->queued_ahead = 1;
	}
	/* More than one chunk of the pool, in several rounds, so that messages are given back and taken again in any order. */
	for (size_t due = 0; due < WAITING;) {
		for (size_t batch = 0; batch < WAITING / 2 && due < WAITING; batch++) {
			due_ns[due++] = rig_step(&rig, &index);
			CHECK(index == UINT32_MAX);
		}
		for (uint32_t at = 0; at < BUSY; at++) {
			struct connection *connection = engine_connection(&rig.engine, at);
			uint64_t before = 0;
			while (connection->waiting > (due < WAITING ? 1000u : 0u)) {
				uint64_t of = engine_waiting_due_ns(&rig.engine, connection);
				CHECK(of > before);
				before = of;
				connection->queued_ahead = 0;
				engine_release_waiting(&rig.engine, connection, of);
				CHECK(engine_ring_at(&rig.engine, connection, 0)->intended_ns == of);
				released_ns[released++] = of;
			}
		}
	}
	CHECK_EQUAL(released, WAITING);
	CHECK_EQUAL(rig.engine.timetable.waiting, 0);
	qsort(released_ns, released, sizeof *released_ns, ascending_times);
	CHECK(memcmp(released_ns, due_ns, WAITING * sizeof *due_ns) == 0);
	/* The pool grew to what waited at once, and not with the number of messages. */
	CHECK(rig.engine.timetable.pool.used < WAITING * 6 / 10);
	rig_close(&rig);
	free(due_ns);
	free(released_ns);
}

static uint64_t fifth_due_ns(uint32_t stream, uint32_t engine_index)
{
	struct rig rig;
	uint64_t due_ns = 0;
	uint32_t index;

	if (!rig_open(&rig, IB_ARRIVALS_POISSON, stream, engine_index, 2, CONNECTIONS)) {
		return 0;
	}
	rig_start(&rig, IB_PHASE_MEASURE, CONNECTIONS);
	for (uint32_t at = 0; at < 5; at++) {
		due_ns = rig_step(&rig, &index);
	}
	rig_close(&rig);
	return due_ns;
}

static void test_streams(void)
{
	CHECK_EQUAL(fifth_due_ns(1, 0), fifth_due_ns(1, 0));
	CHECK(fifth_due_ns(1, 0) != fifth_due_ns(2, 0));
	CHECK(fifth_due_ns(1, 0) != fifth_due_ns(1, 1));
	CHECK(random_stream_of(1, 1, 0).key != random_stream_of(2, 1, 0).key);
}

static void test_even(void)
{
	struct rig rig;
	uint32_t index;

	if (!rig_open(&rig, IB_ARRIVALS_EVEN, 1, 0, 1, CONNECTIONS)) {
		return;
	}
	rig_start(&rig, IB_PHASE_WARMUP, CONNECTIONS);
	uint64_t before = rig_step(&rig, &index);
	for (uint32_t at = 1; at < 1000; at++) {
		uint64_t due_ns = rig_step(&rig, &index);
		CHECK(fabs((double)(due_ns - before) - 1e9 / RATE) <= 1);
		CHECK_EQUAL(index, at % CONNECTIONS);
		before = due_ns;
	}
	rig_close(&rig);
}

/*
 * Three processes share a load. They take their command at different times, and their clocks differ by hours. Their messages are still
 * due at even intervals, also after the rate has changed. Each has two engines.
 */
static void test_shares(void)
{
	enum { SHARES = 3, ENGINES = 2, RIGS = SHARES * ENGINES, MESSAGES = 3000, TOTAL = SHARES * CONNECTIONS };
	static const uint64_t ahead_ns[SHARES] = {0, 7200 * NS_PER_S + 12345, 999};
	static const uint64_t late_ns[SHARES] = {0, 7654321, 61 * NS_PER_MS};
	struct rig rigs[RIGS];
	uint64_t before = 0;

	for (uint32_t at = 0; at < RIGS; at++) {
		struct engine *engine = &rigs[at].engine;
		if (!rig_open(&rigs[at], IB_ARRIVALS_EVEN, 1, at % ENGINES, ENGINES, CONNECTIONS)) {
			return;
		}
		engine->options.share_index = at / ENGINES;
		engine->options.share_count = SHARES;
		engine->options.share_origin_ns = START_NS - 1234567890 + ahead_ns[at / ENGINES];
		engine->phase = IB_PHASE_WARMUP;
		uint64_t now = START_NS + late_ns[at / ENGINES] + ahead_ns[at / ENGINES];
		timetable_start(engine, now, RATE / 3, TOTAL, UINT64_MAX);
		timetable_start(engine, now, RATE, TOTAL, UINT64_MAX);
	}
	for (uint32_t count = 0; count < MESSAGES;) {
		uint32_t next = 0;
		uint64_t due_ns = UINT64_MAX;
		uint32_t index;
		for (uint32_t at = 0; at < RIGS; at++) {
			uint64_t of = rigs[at].engine.timetable.next_due_ns - ahead_ns[at / ENGINES];
			next = of < due_ns ? at : next;
			due_ns = of < due_ns ? of : due_ns;
		}
		(void)rig_step(&rigs[next], &index);
		/* From when the last process has begun. */
		if (due_ns > START_NS + 200 * NS_PER_MS) {
			CHECK(before == 0 || fabs((double)(due_ns - before) - 1e9 / RATE) <= 3);
			before = due_ns;
			count++;
		}
	}
	for (uint32_t at = 0; at < RIGS; at++) {
		rig_close(&rigs[at]);
	}
}

enum { THREADS = 3, THREAD_CONNECTIONS = 33 };

struct due_times {
	uint64_t *due_ns;
	size_t count;
	size_t capacity;
};

/* Sends what is due before `now`. */
static void rig_send_until(struct rig *rig, uint64_t now, struct due_times *times_of)
{
	uint32_t index;

	while (rig->engine.timetable.next_due_ns < now && CHECK(times_of->count < times_of->capacity)) {
		times_of->due_ns[times_of->count++] = rig_step(rig, &index);
	}
}

/* The due times in [from_ns, from_ns + messages / rate): each gap between them is within 1% of 1 / rate, and their number is right. */
static void check_even(const struct due_times *sorted, uint64_t from_ns, double rate, uint32_t messages)
{
	double gap_ns = 1e9 / rate;
	double farthest_ns = 0;
	uint32_t found = 0;

	for (size_t at = 1; at < sorted->count; at++) {
		double after_ns = (double)sorted->due_ns[at] - (double)from_ns;
		if (after_ns >= 0 && after_ns < messages * gap_ns) {
			double off_ns = fabs((double)(sorted->due_ns[at] - sorted->due_ns[at - 1]) - gap_ns);
			farthest_ns = off_ns > farthest_ns ? off_ns : farthest_ns;
			found++;
		}
	}
	CHECK(farthest_ns < gap_ns / 100);
	/* A message at an edge may be rounded to either side of it. */
	CHECK(found + 1 >= messages && found <= messages + 1);
}

/*
 * The threads of one process take each command up to 130 ms apart, each time in another order. Their messages are due at even intervals
 * from when the last of them has begun: in the warm-up, in a window that continues it, in a window after each has lost a connection, and in
 * one that follows a pause.
 */
static void test_threads(double rate)
{
	enum { COMMANDS = 4, MESSAGES = 300 };
	static const uint64_t late_ns[COMMANDS][THREADS] = {
	    {0, 35 * NS_PER_MS, 130 * NS_PER_MS},
	    {130 * NS_PER_MS, 0, 35 * NS_PER_MS},
	    {35 * NS_PER_MS, 130 * NS_PER_MS, 0},
	    {130 * NS_PER_MS, 35 * NS_PER_MS, 0},
	};
	/* The last one begins at most 150 ms after the command, and sends its first message within one of its intervals. */
	uint64_t begun_ns = 150 * NS_PER_MS + (uint64_t)(THREADS * 1e9 / rate);
	uint64_t period_ns = begun_ns + (uint64_t)((MESSAGES + 1) * 1e9 / rate);
	struct due_times all = {.capacity = COMMANDS * ((size_t)(rate * 0.3) + 2 * MESSAGES)};

	all.due_ns = times(all.capacity);
	for (uint32_t thread = 0; thread < THREADS; thread++) {
		struct rig rig;
		uint64_t total = (uint64_t)THREADS * THREAD_CONNECTIONS;
		if (!rig_open(&rig, IB_ARRIVALS_EVEN, 1, thread, THREADS, total)) {
			return;
		}
		for (uint32_t command = 0; command < COMMANDS; command++) {
			uint64_t now = START_NS + command * period_ns + late_ns[command][thread];
			rig_send_until(&rig, now, &all);
			if (command == 2) {
				engine_connection(&rig.engine, 17)->state = CONNECTION_GONE;
				rig.engine.timetable.broken = true;
				total -= THREADS;
			}
			if (command == 3) {
				timetable_stop(&rig.engine);
			}
			rig.engine.phase = command == 0 ? IB_PHASE_WARMUP : IB_PHASE_MEASURE;
			timetable_start(&rig.engine, now, rate, total, UINT64_MAX);
		}
		rig_send_until(&rig, START_NS + COMMANDS * period_ns, &all);
		rig_close(&rig);
	}
	qsort(all.due_ns, all.count, sizeof *all.due_ns, ascending_times);
	for (uint32_t command = 0; command < COMMANDS; command++) {
		check_even(&all, START_NS + command * period_ns + begun_ns, rate, MESSAGES);
	}
	free(all.due_ns);
}

int main(void)
{
	test_exponential();
	test_poisson();
	test_superposition();
	test_after_warm_up();
	test_after_loss();
	test_waiting();
	test_streams();
	test_even();
	test_shares();
	test_threads(RATE);
	test_threads(333.3);
	test_threads(7);
	return check_result();
}
