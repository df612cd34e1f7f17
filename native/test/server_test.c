/*
 * server_test.c - the server half of the ABI refuses wrong arguments and says what is wrong. Also checks platform facts that backends
 * rely on.
 */
#include <stdio.h>
#include <string.h>

#include "platform/platform.h"
#include "server/backend.h"

static int failures;

#define CHECK(condition)                                                                                               \
	do {                                                                                                               \
		if (!(condition)) {                                                                                            \
			printf("FAIL: line %d: %s\n", __LINE__, #condition);                                                       \
			failures++;                                                                                                \
		}                                                                                                              \
	} while (0)

static struct ib_server_options options_good(void)
{
	return (struct ib_server_options){.size = sizeof(struct ib_server_options),
	                                  .abi_version = IB_ABI_VERSION,
	                                  .backend = "blocking",
	                                  .host = "127.0.0.1",
	                                  .address_count = 1,
	                                  .backlog = 128,
	                                  .receive_buffer_bytes = 16384,
	                                  .stack_size_bytes = 65536};
}

/* The status of a start that must fail with a message and leave nothing behind. */
static int32_t refused(const struct ib_server_options *options)
{
	struct ib_server *server = (struct ib_server *)(void *)&failures;
	struct ib_error error;
	uint32_t port = 1;
	int32_t status = ib_server_start(options, &server, &port, &error);
	CHECK(status != IB_STATUS_OK);
	CHECK(server == NULL && port == 0);
	CHECK(error.code == status && error.message[0] != '\0');
	return status;
}

static void test_options(void)
{
	struct ib_server_options options = options_good();
	options.size--;
	CHECK(refused(&options) == IB_STATUS_ABI);
	options = options_good();
	options.abi_version++;
	CHECK(refused(&options) == IB_STATUS_ABI);
	options = options_good();
	options.port = 65536;
	CHECK(refused(&options) == IB_STATUS_USAGE);
	options = options_good();
	options.address_count = 0;
	CHECK(refused(&options) == IB_STATUS_USAGE);
	options = options_good();
	options.backlog = 0;
	CHECK(refused(&options) == IB_STATUS_USAGE);
	options = options_good();
	options.receive_buffer_bytes = 1023;
	CHECK(refused(&options) == IB_STATUS_USAGE);
	options = options_good();
	options.workers = 1025;
	CHECK(refused(&options) == IB_STATUS_USAGE);
	options = options_good();
	options.stack_size_bytes = 1;
	CHECK(refused(&options) == IB_STATUS_USAGE);
	options = options_good();
	memset(options.backend, 'x', sizeof options.backend);
	CHECK(refused(&options) == IB_STATUS_USAGE);
	options = options_good();
	snprintf(options.backend, sizeof options.backend, "none");
	CHECK(refused(&options) == IB_STATUS_USAGE);
	options = options_good();
	snprintf(options.host, sizeof options.host, "localhost");
	CHECK(refused(&options) == IB_STATUS_ADDRESS);
	options = options_good();
	snprintf(options.host, sizeof options.host, "203.0.113.7");
	CHECK(refused(&options) == IB_STATUS_ADDRESS);
	options = options_good();
	snprintf(options.host, sizeof options.host, "::1");
	options.address_count = 2;
	CHECK(refused(&options) == IB_STATUS_ADDRESS);
}

/* Each backend of the table is either available, or reports why it is not and cannot be started. */
static void test_probes(void)
{
	uint32_t available = 0;
	for (uint32_t index = 0; index < ib_backend_count(); index++) {
		struct ib_probe probe = {.size = sizeof probe, .abi_version = IB_ABI_VERSION};
		CHECK(ib_backend_probe(index, &probe) == IB_STATUS_OK);
		CHECK((probe.available != 0) == (probe.reason[0] == '\0'));
		available += probe.available;
		if (probe.available == 0) {
			struct ib_server_options options = options_good();
			snprintf(options.backend, sizeof options.backend, "%s", probe.name);
			CHECK(refused(&options) == IB_STATUS_UNAVAILABLE);
		}
	}
	CHECK(available >= 2);
	struct ib_probe probe = {.size = sizeof probe, .abi_version = IB_ABI_VERSION};
	CHECK(ib_backend_probe(ib_backend_count(), &probe) == IB_STATUS_USAGE);
	probe.size = 1;
	CHECK(ib_backend_probe(0, &probe) == IB_STATUS_ABI);
}

static void test_process(void)
{
	struct ib_error error;
	struct ib_process_usage usage = {.size = sizeof usage, .abi_version = IB_ABI_VERSION};
	CHECK(ib_process_usage(0, &usage, &error) == IB_STATUS_OK);
	CHECK(usage.threads != IB_UNKNOWN && usage.threads >= 1);
	CHECK(usage.resident_bytes != IB_UNKNOWN && usage.resident_bytes > 0);
	struct ib_limits limits = {.size = sizeof limits, .abi_version = IB_ABI_VERSION};
	CHECK(ib_limits(&limits, &error) == IB_STATUS_OK);
	/* Wine does not count handles. */
	CHECK(usage.descriptors > 0 && (usage.descriptors == IB_UNKNOWN) == (limits.compatibility[0] != '\0'));
	usage.size = 4;
	CHECK(ib_process_usage(0, &usage, &error) == IB_STATUS_ABI);

	uint32_t cpus[1024];
	uint32_t count = ib_process_get_affinity(cpus, 1024);
	CHECK(count >= 1);
	CHECK(ib_process_set_affinity(cpus, 1, &error) == IB_STATUS_OK);
	CHECK(ib_process_get_affinity(NULL, 0) == 1);
	CHECK(cpu_count() == 1);
	CHECK(ib_process_set_affinity(cpus, count, &error) == IB_STATUS_OK);
	CHECK(ib_process_get_affinity(NULL, 0) == count);
	CHECK(ib_process_set_affinity(cpus, 0, &error) == IB_STATUS_USAGE);

	CHECK(limits.system[0] != '\0' && limits.cpus_online >= 1 && limits.clock_resolution_ns >= 1);
	struct ib_system_sample sample = {.size = sizeof sample, .abi_version = IB_ABI_VERSION};
	CHECK(ib_system_sample(&sample, &error) == IB_STATUS_OK);
	CHECK(sample.cpu_idle_ns != 0);
#ifdef __linux__
	/* The kernel's threads are visible if process 2 is kthreadd. Their time is part of the busy time. */
	char name[16] = "";
	FILE *file = fopen("/proc/2/comm", "r");
	bool visible = file != NULL && fgets(name, sizeof name, file) != NULL && strcmp(name, "kthreadd\n") == 0;
	if (file != NULL) {
		fclose(file);
	}
	CHECK(visible == (sample.cpu_network_threads_ns != IB_UNKNOWN));
	CHECK(!visible || sample.cpu_network_threads_ns < sample.cpu_busy_ns + NS_PER_S);
#endif
}

int main(void)
{
	struct ib_error error;
	CHECK(socket_library_start(&error) == IB_STATUS_OK);
	test_options();
	test_probes();
	test_process();
	printf("%s\n", failures == 0 ? "ok" : "failed");
	return failures == 0 ? 0 : 1;
}
