/*
 * epoll_client.c - a plain epoll client: closed loop, one message in flight per connection, without verification or timing.
 *
 * It is as fast as plain epoll can be: level-triggered, so it re-arms nothing and needs no read that ends with EAGAIN. A request costs
 * one read and one write, and a wait returns up to 512 events.
 */
#include "client_common.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

enum { EVENTS_MAX = 512 };

struct connection {
	int fd;
	uint32_t received; /* bytes of the echo so far */
};

static uint32_t message_bytes;

static int watch_all(struct connection *connections, const int *sockets, size_t count)
{
	const int epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0) {
		give_up("epoll_create1: %s", strerror(errno));
	}
	for (size_t i = 0; i < count; i++) {
		connections[i].fd = sockets[i];
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
		if (fcntl(sockets[i], F_SETFL, O_NONBLOCK) != 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, sockets[i], &event) != 0) {
			give_up("epoll_ctl: %s", strerror(errno));
		}
	}
	return epoll;
}

/* Only one message is in flight, so the socket's buffer is empty and takes all of it. */
static void send_message(const struct connection *connection)
{
	const ssize_t sent = send(connection->fd, message_out, message_bytes, MSG_NOSIGNAL);
	if (sent < 0) {
		give_up("send: %s", strerror(errno));
	}
	if ((uint32_t)sent != message_bytes) {
		give_up("a socket did not take a message of %u bytes at once; use a smaller message size", message_bytes);
	}
}

/* Whether the echo is complete now. */
static bool receive_message(struct connection *connection)
{
	const ssize_t received = recv(connection->fd, message_in, message_bytes, 0);
	if (received == 0) {
		give_up("the server closed a connection");
	}
	if (received < 0) {
		if (errno == EAGAIN) {
			return false;
		}
		give_up("recv: %s", strerror(errno));
	}
	connection->received += (uint32_t)received;
	if (connection->received < message_bytes) {
		return false;
	}
	connection->received = 0;
	return true;
}

static void run(int epoll)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t requests = 0;
	for (;;) {
		const int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
		if (count < 0 && errno != EINTR) {
			give_up("epoll_wait: %s", strerror(errno));
		}
		for (int i = 0; i < count; i++) {
			struct connection *connection = events[i].data.ptr;
			if (!receive_message(connection)) {
				continue;
			}
			requests++;
			send_message(connection);
		}
		if (window_flag && window_turn(requests)) {
			return;
		}
	}
}

int main(int argc, char **argv)
{
	struct client_options options;
	parse_client_options(argc, argv, "plain epoll client, closed loop", &options);
	const size_t count = (size_t)options.connections;
	message_bytes = (uint32_t)options.message_bytes;
	int *sockets = connect_all(&options);
	struct connection *connections = calloc(count, sizeof *connections);
	if (connections == NULL) {
		give_up("no memory for %zu connections", count);
	}
	const int epoll = watch_all(connections, sockets, count);
	window_start(&options);
	for (size_t i = 0; i < count; i++) {
		send_message(&connections[i]);
	}
	run(epoll);
	window_print();
	return 0;
}
