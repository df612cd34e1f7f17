/*
 * client_socket.c - makes and closes the sockets of a Linux engine.
 */
#include "load/linux/client_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A stopped engine returns within 100 ms. Closing may take this much of it. */
#define ABANDON_LONGEST_NS (50 * NS_PER_MS)

/*
 * With an explicit port, SO_REUSEADDR lets connections to different targets share it (connect() checks that the four-tuples differ).
 * Without one, IP_BIND_ADDRESS_NO_PORT leaves the choice to connect(), which knows the target and can use every port once per target
 * instead of once.
 */
static int source_bind(int socket, const struct engine_route *route, bool plain)
{
	struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(route->source_address)};
	int one = 1;

	if (route->source_port != 0 && !plain) {
		source.sin_port = htons((uint16_t)route->source_port);
		setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	} else {
		setsockopt(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	}
	return bind(socket, (const struct sockaddr *)&source, sizeof source) == 0 ? 0 : errno;
}

int client_socket_open(struct engine *engine, const struct engine_route *route, bool plain, int flags, int *code)
{
	int family = route->target->storage.ss_family;
	int one = 1;
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	int handle = socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, IPPROTO_TCP);

	engine->counters.system_calls++;
	if (handle < 0) {
		*code = errno;
		return -1;
	}
	engine->counters.system_calls += engine->fin ? 1 : 2;
	setsockopt(handle, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (!engine->fin) {
		/* Set now rather than before the close, so that a killed client leaves no TIME_WAIT either. */
		setsockopt(handle, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	}
	*code = 0;
	if (route->source_address != 0 && family == AF_INET) {
		engine->counters.system_calls += 2;
		*code = source_bind(handle, route, plain);
	}
	if (*code != 0) {
		engine->counters.system_calls++;
		close(handle);
		return -1;
	}
	return handle;
}

static int try_connect(struct engine *engine, const struct engine_route *route, bool plain, int *code)
{
	int handle = client_socket_open(engine, route, plain, SOCK_NONBLOCK, code);

	if (handle < 0) {
		return -1;
	}
	engine->counters.system_calls++;
	if (connect(handle, (const struct sockaddr *)&route->target->storage, route->target->length) != 0 &&
	    errno != EINPROGRESS) {
		*code = errno;
		engine->counters.system_calls++;
		close(handle);
		return -1;
	}
	return handle;
}

int client_socket_connect(struct engine *engine, uint32_t index, int *code)
{
	struct engine_route route = engine_route(engine, index);
	int handle = try_connect(engine, &route, false, code);

	if (handle < 0 && route.source_port != 0 && (*code == EADDRINUSE || *code == EADDRNOTAVAIL)) {
		/* Another program uses that port. Let the system choose one. */
		engine->port_retries++;
		handle = try_connect(engine, &route, true, code);
	}
	return handle;
}

void client_socket_network_read(struct engine *engine, int socket)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof info;

	engine->counters.system_calls++;
	if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) {
		info = (struct tcp_info){0};
	}
	engine_network_read(engine, info.tcpi_rtt * 1000ull, info.tcpi_total_retrans);
}

void client_socket_close(struct engine *engine, int socket, bool set_linger)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	engine->counters.system_calls += set_linger ? 2 : 1;
	if (set_linger) {
		setsockopt(socket, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	}
	close(socket);
}

/* ------------------------------------------------------------------------------------ after a stop */

struct leftovers {
	size_t count;
	int sockets[];
};

static void leftovers_close(void *argument)
{
	struct leftovers *leftovers = argument;

	for (size_t at = 0; at < leftovers->count; at++) {
		close(leftovers->sockets[at]);
	}
	free(leftovers);
}

static bool has_socket(const struct connection *connection)
{
	return connection->state >= CONNECTION_CONNECTING && connection->state <= CONNECTION_CLOSING;
}

static void leave_to_thread(struct engine *engine, uint32_t first)
{
	struct leftovers *leftovers =
	    malloc(sizeof *leftovers + (size_t)(engine->count - first) * sizeof leftovers->sockets[0]);

	if (leftovers == NULL) {
		return; /* the process is about to end, and the system closes them */
	}
	leftovers->count = 0;
	for (uint32_t index = first; index < engine->count; index++) {
		struct connection *connection = engine_connection(engine, index);
		if (has_socket(connection)) {
			leftovers->sockets[leftovers->count++] = (int)connection->handle;
		}
	}
	if (thread_start_detached(leftovers_close, leftovers, 0) != 0) {
		leftovers_close(leftovers);
	}
}

void client_sockets_abandon(struct engine *engine)
{
	uint64_t until_ns = clock_now_ns() + ABANDON_LONGEST_NS;

	if (engine->open == 0) {
		return;
	}
	for (uint32_t index = 0; index < engine->count; index++) {
		struct connection *connection = engine_connection(engine, index);

		if (!has_socket(connection)) {
			continue;
		}
		if (index % 64 == 0 && clock_now_ns() > until_ns) {
			leave_to_thread(engine, index);
			return;
		}
		close((int)connection->handle);
	}
}
