/*
 * pthread_server.c - the lower limit of cost for `blocking`: a thread per connection that only does recv and send. It has no counters, no
 * registry of connections and no orderly stop. SIGTERM's default action ends it.
 */
#include "common.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server_common.h"

enum { RECEIVE_BUFFER_BYTES = 16384 };

static int send_all(int socket, const char *bytes, size_t length)
{
	while (length > 0) {
		const ssize_t sent = send(socket, bytes, length, MSG_NOSIGNAL);
		if (sent < 0) {
			return -1;
		}
		bytes += sent;
		length -= (size_t)sent;
	}
	return 0;
}

static void *serve_connection(void *argument)
{
	const int socket = (int)(intptr_t)argument;
	char buffer[RECEIVE_BUFFER_BYTES];
	for (;;) {
		const ssize_t received = recv(socket, buffer, sizeof buffer, 0);
		if (received <= 0 || send_all(socket, buffer, (size_t)received) != 0) {
			break;
		}
	}
	close(socket);
	return NULL;
}

static void accept_forever(int listener, const pthread_attr_t *attributes)
{
	const int one = 1;
	for (;;) {
		const int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (socket < 0) {
			if (errno == EINTR || errno == ECONNABORTED) {
				continue;
			}
			give_up("accept: %s", strerror(errno));
		}
		(void)setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		pthread_t thread;
		if (pthread_create(&thread, attributes, serve_connection, (void *)(intptr_t)socket) != 0) {
			close(socket);
		}
	}
}

int main(int argc, char **argv)
{
	long port = 0;
	long backlog = 4096;
	long stack_kib = 64;
	long cpu = -1;
	const struct number_option options[] = {
	    {"--port", 0, 65535, &port, "port to listen on, 0: any"},
	    {"--backlog", 1, 65535, &backlog, "connections that may wait for accept"},
	    {"--stack-kib", 32, 65536, &stack_kib, "stack of a connection's thread"},
	    {"--cpu", -1, CPU_SETSIZE - 1, &cpu, "CPU to run on, -1: any"},
	};
	parse_options(argc, argv, "echo server with a thread per connection", options, sizeof options / sizeof options[0]);
	pin_to_cpu(cpu);
	raise_descriptor_limit();

	pthread_attr_t attributes;
	if (pthread_attr_init(&attributes) != 0 || pthread_attr_setstacksize(&attributes, (size_t)stack_kib * 1024) != 0 ||
	    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) != 0) {
		give_up("the system refuses a stack of %ld KiB", stack_kib);
	}
	unsigned bound_port = 0;
	const int listener = listen_on(port, backlog, &bound_port);
	announce_port(bound_port);
	accept_forever(listener, &attributes);
}
