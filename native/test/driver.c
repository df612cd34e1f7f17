/*
 * driver.c - runs conformance scenarios against every backend in one process, so that sanitizers can check the library.
 *
 *   driver [--backend NAME] [--variant NAME] [--scenario NAME]
 *
 * A variant is a backend in one of its configurations, such as epoll-1-worker; --backend runs all variants of a backend. Prints one
 * line per scenario and variant, and exits with 1 if one failed.
 */
#include <stdio.h>
#include <string.h>

#include "driver.h"

/* CMakeLists.txt reads these rows, each in a line of its own, and makes a test of each. */
static const struct variant variants[] = {
    {"blocking", "blocking", 0, 0},
    {"process", "process", 0, 0},
    {"pool", "pool", 0, 0},
    {"select", "select", 2, 0},
    {"select-1-worker", "select", 1, 0},
    {"poll", "poll", 2, 0},
    {"poll-1-worker", "poll", 1, 0},
    {"epoll", "epoll", 2, 0},
    {"epoll-1-worker", "epoll", 1, 0},
    {"epoll-edge", "epoll", 2, IB_SERVER_EDGE_TRIGGERED},
    {"io_uring", "io_uring", 2, 0},
    {"io_uring-1-worker", "io_uring", 1, 0},
    {"event_select", "event_select", 2, 0},
    {"event_select-1-worker", "event_select", 1, 0},
    {"completion_routine", "completion_routine", 2, 0},
    {"completion_routine-1-worker", "completion_routine", 1, 0},
    {"thread_pool_io", "thread_pool_io", 2, 0},
    {"thread_pool_io-1-worker", "thread_pool_io", 1, 0},
    {"iocp", "iocp", 2, 0},
    {"iocp-1-worker", "iocp", 1, 0},
    {"iocp-zero-byte", "iocp", 2, IB_SERVER_ZERO_BYTE_RECV},
};

/* Why the backend cannot run here; "" if it can. */
static const char *unavailable(const char *backend)
{
	static struct ib_probe probe;
	for (uint32_t index = 0; index < ib_backend_count(); index++) {
		probe = (struct ib_probe){.size = sizeof probe, .abi_version = IB_ABI_VERSION};
		ib_backend_probe(index, &probe);
		if (strcmp(probe.name, backend) == 0) {
			return probe.available != 0 ? "" : probe.reason;
		}
	}
	return "no such backend";
}

/* Why the scenario does not apply to this variant; NULL if it does. */
static const char *unsuited(const struct variant *variant, const struct scenario *scenario)
{
	bool is_shared = strcmp(variant->backend, "iocp") == 0 || strcmp(variant->backend, "thread_pool_io") == 0;
	if (scenario->needs_workers && (variant->workers == 0 || is_shared)) {
		return "has no workers with connections of their own";
	}
	if (scenario->needs_many && strcmp(variant->backend, "pool") == 0) {
		return "has more connections at once than a pool has threads";
	}
	if (scenario->needs_limit && strcmp(variant->backend, "process") == 0) {
		return "has one connection per process, so descriptors do not run out";
	}
	if (scenario->needs_limit && !descriptor_limit_set(0)) {
		return "this system does not limit descriptors";
	}
	return NULL;
}

struct tally {
	unsigned passed, failed, skipped;
};

/* Runs a list against a variant, or prints the `reason` (unless "") why it cannot run here. `only`: one scenario; NULL: all. */
static void list_run(const struct variant *variant, const char *reason, const struct scenario_list *list,
                     const char *only, struct tally *tally)
{
	for (size_t index = 0; index < list->count; index++) {
		const struct scenario *scenario = &list->first[index];
		if (only != NULL && strcmp(only, scenario->name) != 0) {
			continue;
		}
		const char *why = unsuited(variant, scenario);
		if (why == NULL) {
			why = reason;
		}
		if (why[0] != '\0') {
			printf("skip %s %s: %s\n", variant->name, scenario->name, why);
			tally->skipped++;
		} else if (scenario_run(variant, scenario)) {
			tally->passed++;
		} else {
			tally->failed++;
		}
	}
}

static int usage(const char *program)
{
	fprintf(stderr, "usage: %s [--backend NAME] [--variant NAME] [--scenario NAME]\n", program);
	return 2;
}

int main(int argc, char **argv)
{
	const char *only_backend = NULL;
	const char *only_variant = NULL;
	const char *only_scenario = NULL;
	for (int index = 1; index < argc; index += 2) {
		if (index + 1 == argc) {
			return usage(argv[0]);
		}
		if (strcmp(argv[index], "--backend") == 0) {
			only_backend = argv[index + 1];
		} else if (strcmp(argv[index], "--variant") == 0) {
			only_variant = argv[index + 1];
		} else if (strcmp(argv[index], "--scenario") == 0) {
			only_scenario = argv[index + 1];
		} else {
			return usage(argv[0]);
		}
	}
	struct tally tally = {0};
	for (size_t row = 0; row < sizeof variants / sizeof variants[0]; row++) {
		const struct variant *variant = &variants[row];
		if ((only_backend != NULL && strcmp(only_backend, variant->backend) != 0) ||
		    (only_variant != NULL && strcmp(only_variant, variant->name) != 0)) {
			continue;
		}
		const char *reason = unavailable(variant->backend);
		if (reason[0] == '\0') {
			warm_up(variant);
		}
		list_run(variant, reason, &serving_scenarios, only_scenario, &tally);
		list_run(variant, reason, &lifecycle_scenarios, only_scenario, &tally);
		list_run(variant, reason, &service_scenarios, only_scenario, &tally);
		list_run(variant, reason, &http_scenarios, only_scenario, &tally);
	}
	printf("%u passed, %u failed, %u skipped\n", tally.passed, tally.failed, tally.skipped);
	return tally.failed == 0 && tally.passed + tally.skipped > 0 ? 0 : 1;
}
