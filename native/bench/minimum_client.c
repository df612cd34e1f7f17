/*
 * minimum_client.c - the least that a client can do for a request: one write, one read, nothing else.
 *
 * A message is in flight on every connection, and the client goes round them in order: it reads the echo (blocking), sends the next
 * message, and moves to the next connection. So it never waits for readiness, which saves a system call and the kernel's work of queueing
 * an event. With many messages in flight the echo is mostly there. If it is not, the read itself waits. No other client with that many
 * connections can make fewer calls per request, except with a ring that batches them. It only measures cost: a server that starved the
 * connection whose turn it is would hold up all of them.
 */
#include "client_common.h"

#include <sys/socket.h>

#include "common.h"

static void send_message(int fd, size_t length)
{
	ssize_t sent;
	do {
		sent = send(fd, message_out, length, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent != (ssize_t)length) {
		give_up("send: %s", sent < 0 ? strerror(errno) : "the message was cut short");
	}
}

/* False if the timer's signal came before anything was received. The signal can also cut a read with MSG_WAITALL short. */
static bool receive_message(int fd, size_t length, size_t *done)
{
	const ssize_t received = recv(fd, message_in, length - *done, MSG_WAITALL);
	if (received == 0) {
		give_up("the server closed a connection");
	}
	if (received < 0) {
		if (errno == EINTR) {
			return false;
		}
		give_up("recv: %s", strerror(errno));
	}
	*done += (size_t)received;
	return *done == length;
}

static void run(const int *sockets, size_t count, size_t length)
{
	uint64_t requests = 0;
	for (;;) {
		for (size_t i = 0; i < count; i++) {
			size_t done = 0;
			bool whole;
			do {
				whole = receive_message(sockets[i], length, &done);
				if (window_flag && window_turn(requests)) {
					return;
				}
			} while (!whole);
			requests++;
			send_message(sockets[i], length);
		}
	}
}

int main(int argc, char **argv)
{
	struct client_options options;
	parse_client_options(argc, argv, "minimum client: one write and one read per request", &options);
	const size_t count = (size_t)options.connections;
	const size_t length = (size_t)options.message_bytes;
	int *sockets = connect_all(&options);
	window_start(&options);
	for (size_t i = 0; i < count; i++) {
		send_message(sockets[i], length);
	}
	run(sockets, count, length);
	window_print();
	return 0;
}
