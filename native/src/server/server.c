/*
 * server.c - the server half of the ABI: checks what it is given, and hands it to the backend.
 */
#include <stdio.h>
#include <string.h>

#include "abi.h"
#include "platform/ib_assert.h"
#include "platform/platform.h"
#include "server/backend.h"
#include "server/counters.h"

#define DEADLINE_MAX_MS 600000u
/* As many as Tomcat's maxThreads, the best known pool of this kind, has by default. */
#define POOL_THREADS_DEFAULT 200u

/* ------------------------------------------------------------------------------------------ backends */

uint32_t ib_backend_count(void)
{
	return backends_count;
}

static void backend_probe(const struct backend *backend, struct ib_probe *out)
{
	abi_probe_start(out, backend->name);
	backend->probe(out);
}

int32_t ib_backend_probe(uint32_t index, struct ib_probe *out)
{
	int32_t status = abi_check(out->size, out->abi_version, sizeof *out, "ib_probe", NULL);
	if (status != IB_STATUS_OK) {
		return status;
	}
	if (index >= backends_count) {
		return IB_STATUS_USAGE;
	}
	backend_probe(backends[index], out);
	return IB_STATUS_OK;
}

/* NULL where no backend has this name. */
static const struct backend *backend_named(const char *name)
{
	for (uint32_t index = 0; index < backends_count; index++) {
		if (strcmp(backends[index]->name, name) == 0) {
			return backends[index];
		}
	}
	return NULL;
}

/* ------------------------------------------------------------------------------------------- options */

/* What a server does for its requests, if more than their echo. */
static int32_t service_check(const struct ib_server_options *options, struct ib_error *error)
{
	bool needs_size = options->protocol == IB_PROTOCOL_ECHO && (options->work_ns != 0 || options->wait_ns != 0);
	const struct abi_range ranges[] = {
	    {"work_ns", options->work_ns, 0, WORK_NS_MAX},
	    {"wait_ns", options->wait_ns, 0, 60 * NS_PER_S},
	    {"message_size_bytes", options->message_size_bytes, needs_size, 1024 * 1024},
	    {"protocol", options->protocol, IB_PROTOCOL_ECHO, IB_PROTOCOL_HTTP},
	    {"body_size_bytes", options->body_size_bytes, 0, HTTP_BODY_BYTES_MAX},
	};
	int32_t status = abi_ranges_check(ranges, sizeof ranges / sizeof ranges[0], error);
	if (status == IB_STATUS_OK && (options->flags & IB_SERVER_WAIT_BLOCKS) != 0 && options->wait_ns == 0) {
		status = error_set(error, IB_STATUS_USAGE, 0, "a wait that blocks needs wait_ns");
	}
	return status;
}

static int32_t options_check(const struct ib_server_options *options, struct ib_error *error)
{
	if (memchr(options->backend, '\0', sizeof options->backend) == NULL ||
	    memchr(options->host, '\0', sizeof options->host) == NULL) {
		return error_set(error, IB_STATUS_USAGE, 0, "backend or host name is too long");
	}
	const struct abi_range ranges[] = {
	    {"port", options->port, 0, UINT16_MAX},
	    {"address_count", options->address_count, 1, 256},
	    {"workers", options->workers, 0, 1024},
	    {"backlog", options->backlog, 1, 65535},
	    {"receive_buffer_bytes", options->receive_buffer_bytes, 1024, 1024 * 1024},
	    {"stack_size_bytes", options->stack_size_bytes, 16 * 1024, 64 * 1024 * 1024},
	    {"pool_threads", options->pool_threads, 0, 16384},
	    {"flags", options->flags, 0, IB_SERVER_ZERO_BYTE_RECV | IB_SERVER_EDGE_TRIGGERED | IB_SERVER_WAIT_BLOCKS},
	};
	int32_t status = abi_ranges_check(ranges, sizeof ranges / sizeof ranges[0], error);
	return status == IB_STATUS_OK ? service_check(options, error) : status;
}

/* The addresses are parsed here too, so that a wrong one is told before anything is opened. */
static int32_t address_check(const struct ib_server_options *options, struct ib_error *error)
{
	struct socket_address address;
	return socket_address_parse(&address, options->host, options->port, options->address_count - 1, error);
}

static int32_t availability_check(const struct backend *backend, struct ib_error *error)
{
	struct ib_probe probe;
	backend_probe(backend, &probe);
	if (probe.available != 0) {
		return IB_STATUS_OK;
	}
	error_set(error, IB_STATUS_UNAVAILABLE, probe.os_code, "%s cannot run here: %.200s", backend->name, probe.reason);
	error_hint(error, "%s", probe.hint);
	return IB_STATUS_UNAVAILABLE;
}

/* -------------------------------------------------------------------------------------------- server */

/* The opaque handle of the ABI is the base of the backend's own struct. */
static struct server *server_of(struct ib_server *handle)
{
	return (struct server *)(void *)handle;
}

int32_t server_stopped(uint32_t reset, uint32_t deadline_ms, struct ib_error *error)
{
	if (reset == 0) {
		return IB_STATUS_OK;
	}
	return error_set(error, IB_STATUS_DEADLINE, 0, "%u connections were not drained within %u ms and were reset", reset,
	                 deadline_ms);
}

static _Atomic(struct server *) abandoned;

int32_t server_abandon(struct server *server, struct ib_error *error)
{
	server->abandoned_next = atomic_load(&abandoned);
	while (!atomic_compare_exchange_weak(&abandoned, &server->abandoned_next, server)) {
		continue;
	}
	return error_set(error, IB_STATUS_DEADLINE, 0,
	                 "not every operation of the server has come back; its memory is left to the end of the process");
}

/* Looks at the address of the server alone, whose memory may have been freed. */
static bool server_is_abandoned(const struct server *server)
{
	for (const struct server *one = atomic_load(&abandoned); one != NULL; one = one->abandoned_next) {
		if (one == server) {
			return true;
		}
	}
	return false;
}

/*
 * What follows from the service for the sums of a backend: which of them are unknown, because requests have no cost or the clock cannot measure
 * a burn, and what a request is. *service may be a copy of a server that has ended.
 */
static void service_stats(const struct service *service, struct ib_server_stats *out)
{
	const struct work *work = &service->work;
	if (service->is_http) {
		out->requests = out->served;
	} else {
		out->rejected = IB_UNKNOWN;
	}
	if (!service->has_cost) {
		out->served = out->dropped = out->waits = out->waited_ns = IB_UNKNOWN;
	}
	if (!service->has_cost || !work->has_clock) {
		out->work_burnt_ns = out->work_measured = IB_UNKNOWN;
	}
	out->work_spread_ppm = service->has_cost && work->work_ns > 0 ? work->spread_ppm : IB_UNKNOWN;
}

int32_t ib_server_start(const struct ib_server_options *options, struct ib_server **out, uint32_t *bound_port,
                        struct ib_error *error)
{
	error_set(error, IB_STATUS_OK, 0, "%s", "");
	*out = NULL;
	*bound_port = 0;
	int32_t status = abi_check(options->size, options->abi_version, sizeof *options, "ib_server_options", error);
	if (status == IB_STATUS_OK) {
		status = options_check(options, error);
	}
	if (status != IB_STATUS_OK) {
		return status;
	}
	const struct backend *backend = backend_named(options->backend);
	if (backend == NULL) {
		return error_set(error, IB_STATUS_USAGE, 0, "there is no backend \"%s\"", options->backend);
	}
	status = availability_check(backend, error);
	if (status == IB_STATUS_OK && options->protocol == IB_PROTOCOL_HTTP && !backend->speaks_http) {
		status = error_set(error, IB_STATUS_UNAVAILABLE, 0, "%s does not support HTTP", backend->name);
	}
	if (status == IB_STATUS_OK) {
		status = socket_library_start(error);
	}
	if (status == IB_STATUS_OK) {
		status = address_check(options, error);
	}
	if (status != IB_STATUS_OK) {
		return status;
	}

	struct server_config config = {.options = *options};
	if (config.options.workers == 0) {
		config.options.workers = cpu_count();
	}
	if (config.options.pool_threads == 0) {
		config.options.pool_threads = POOL_THREADS_DEFAULT;
	}
	service_init(&config.service, options);
	if (!service_prepare(&config.service)) {
		return error_set(error, IB_STATUS_MEMORY, 0, "no memory for the replies of the server");
	}
	struct server *server = NULL;
	const struct server *abandoned_before = atomic_load(&abandoned);
	status = backend->start(&config, &server, bound_port, error);
	if (status == IB_STATUS_OK) {
		*out = (struct ib_server *)(void *)server;
	} else if (atomic_load(&abandoned) == abandoned_before) {
		service_free(&config.service);
	}
	return status;
}

int32_t ib_server_stats(struct ib_server *server, struct ib_server_stats *out, struct ib_error *error)
{
	int32_t status = abi_check(out->size, out->abi_version, sizeof *out, "ib_server_stats", error);
	if (status != IB_STATUS_OK) {
		return status;
	}
	counters_clear(out);
	server_of(server)->backend->stats(server_of(server), out);
	service_stats(&server_of(server)->service, out);
	return IB_STATUS_OK;
}

int32_t ib_server_sample(struct ib_server *server, uint32_t memory, struct ib_process_usage *usage,
                         struct ib_server_stats *stats, struct ib_error *error)
{
	int32_t status = abi_check(stats->size, stats->abi_version, sizeof *stats, "ib_server_stats", error);
	if (status == IB_STATUS_OK) {
		status = abi_check(usage->size, usage->abi_version, sizeof *usage, "ib_process_usage", error);
	}
	if (status != IB_STATUS_OK) {
		return status;
	}
	counters_clear(stats);
	const struct backend *backend = server_of(server)->backend;
	if (backend->sample != NULL) {
		status = backend->sample(server_of(server), memory != 0, usage, stats, error);
		service_stats(&server_of(server)->service, stats);
		return status;
	}
	status = ib_process_usage(0, usage, error);
	if (status == IB_STATUS_OK) {
		backend->stats(server_of(server), stats);
		service_stats(&server_of(server)->service, stats);
	}
	return status;
}

int32_t ib_server_stop(struct ib_server *server, uint32_t deadline_ms, struct ib_server_stats *final_stats,
                       struct ib_error *error)
{
	error_set(error, IB_STATUS_OK, 0, "%s", "");
	const struct abi_range range = {"deadline_ms", deadline_ms, 0, DEADLINE_MAX_MS};
	int32_t status = abi_ranges_check(&range, 1, error);
	if (status == IB_STATUS_OK && final_stats != NULL) {
		status = abi_check(final_stats->size, final_stats->abi_version, sizeof *final_stats, "ib_server_stats", error);
	}
	if (status != IB_STATUS_OK) {
		return status;
	}
	struct ib_server_stats unwanted;
	struct ib_server_stats *stats = final_stats != NULL ? final_stats : &unwanted;
	counters_clear(stats);
	struct service service = server_of(server)->service;
	status = server_of(server)->backend->stop(server_of(server), deadline_ms, stats, error);
	if (!server_is_abandoned(server_of(server))) {
		service_free(&service);
	}
	service_stats(&service, stats);
	/* Nothing is left of a server that ended in time: no thread, no connection, no operation. */
	ib_assert(status != IB_STATUS_OK || (stats->threads == 0 && stats->accepted == stats->closed));
	ib_assert(status != IB_STATUS_OK || stats->operations_posted == stats->operations_completed);
	return status;
}
