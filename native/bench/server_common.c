/* server_common.c - see server_common.h. */
#include "server_common.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

enum { RECEIVE_BUFFER_BYTES = 16384 };

int listen_on(long port, long backlog, unsigned *bound_port)
{
	const int one = 1;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	socklen_t length = sizeof address;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
	    bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, (int)backlog) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
		give_up("port %ld: %s", port, strerror(errno));
	}
	*bound_port = ntohs(address.sin_port);
	return listener;
}

int accept_ready(int listener)
{
	const int one = 1;
	for (;;) {
		const int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (socket >= 0) {
			(void)setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
			return socket;
		}
		if (errno == EAGAIN) {
			return -1;
		}
		if (errno != EINTR && errno != ECONNABORTED) {
			give_up("accept: %s", strerror(errno));
		}
	}
}

bool echo_ready(int socket)
{
	static char buffer[RECEIVE_BUFFER_BYTES];
	const ssize_t received = recv(socket, buffer, sizeof buffer, MSG_DONTWAIT);
	if (received < 0 && (errno == EAGAIN || errno == EINTR)) {
		return true;
	}
	for (ssize_t sent = 0; sent < received;) {
		const ssize_t more = send(socket, buffer + sent, (size_t)(received - sent), MSG_NOSIGNAL);
		if (more < 0) {
			return false;
		}
		sent += more;
	}
	return received > 0;
}

static void *idle(void *nothing)
{
	for (;;) {
		pause();
	}
	return nothing;
}

static void start_idle_threads(long count)
{
	for (long index = 0; index < count; index++) {
		pthread_t thread;
		const int code = pthread_create(&thread, NULL, idle, NULL);
		if (code != 0) {
			give_up("a thread cannot be started: %s", strerror(code));
		}
	}
}

int start_loop_server(int argc, char **argv, const char *purpose)
{
	long port = 0;
	long backlog = 4096;
	long cpu = -1;
	long idle_threads = 0;
	const struct number_option options[] = {
	    {"--port", 0, 65535, &port, "port to listen on, 0: any"},
	    {"--backlog", 1, 65535, &backlog, "connections that may wait for accept"},
	    {"--cpu", -1, CPU_SETSIZE - 1, &cpu, "CPU to run on, -1: any"},
	    {"--idle-threads", 0, 64, &idle_threads,
	     "threads that only wait; with one, the kernel counts references to files"},
	};
	parse_options(argc, argv, purpose, options, sizeof options / sizeof options[0]);
	pin_to_cpu(cpu);
	raise_descriptor_limit();
	start_idle_threads(idle_threads);
	unsigned bound_port = 0;
	const int listener = listen_on(port, backlog, &bound_port);
	if (fcntl(listener, F_SETFL, O_NONBLOCK) != 0) {
		give_up("the listener cannot be made non-blocking: %s", strerror(errno));
	}
	announce_port(bound_port);
	return listener;
}
