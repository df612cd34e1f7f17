/*
 * libuv_server.c - the reference for the event-driven models: an echo server on libuv, as fast as libuv's API allows.
 *
 * One loop, one read buffer. libuv requests a buffer right before each read, and a connection is not read while it has unsent bytes, so
 * all connections can share one buffer. uv_try_write writes the echo from that buffer at once, without a request object and without a
 * turn of the loop. Only the bytes that the socket does not take are copied and queued, and reading pauses until they are sent. So a
 * message costs no allocation and two system calls, besides its share of epoll_wait.
 *
 * SIGTERM's default action ends it, and the kernel closes the sockets.
 */
#include "common.h"

#include <netinet/in.h>
#include <uv.h>

enum { READ_BUFFER_MAX_BYTES = 1 << 20 };

static char read_buffer[READ_BUFFER_MAX_BYTES];
static long read_buffer_bytes = 16384;

/* The rest of an echo that the socket did not take. */
struct pending_write {
	uv_write_t request;
	uv_stream_t *stream;
	char bytes[];
};

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

static void close_stream(uv_stream_t *stream)
{
	uv_handle_t *handle = (uv_handle_t *)stream;
	if (!uv_is_closing(handle)) {
		uv_close(handle, on_closed);
	}
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	(void)handle;
	(void)suggested;
	*buffer = uv_buf_init(read_buffer, (unsigned)read_buffer_bytes);
}

static void on_written(uv_write_t *request, int status)
{
	struct pending_write *pending = (struct pending_write *)request;
	uv_stream_t *stream = pending->stream;
	free(pending);
	if (status < 0 || uv_read_start(stream, on_allocate, on_read) != 0) {
		close_stream(stream);
	}
}

/* Reading stops until these bytes are sent, so a connection holds at most the bytes of one read. */
static void write_later(uv_stream_t *stream, const char *bytes, size_t length)
{
	uv_read_stop(stream);
	struct pending_write *pending = malloc(sizeof *pending + length);
	if (pending == NULL) {
		close_stream(stream);
		return;
	}
	pending->stream = stream;
	memcpy(pending->bytes, bytes, length);
	const uv_buf_t buffer = uv_buf_init(pending->bytes, (unsigned)length);
	if (uv_write(&pending->request, stream, &buffer, 1, on_written) != 0) {
		free(pending);
		close_stream(stream);
	}
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
	if (count == 0) {
		return;
	}
	if (count < 0) {
		close_stream(stream);
		return;
	}
	const uv_buf_t echo = uv_buf_init(buffer->base, (unsigned)count);
	int sent = uv_try_write(stream, &echo, 1);
	if (sent == UV_EAGAIN) {
		sent = 0;
	}
	if (sent < 0) {
		close_stream(stream);
	} else if (sent < count) {
		write_later(stream, buffer->base + sent, (size_t)(count - sent));
	}
}

static void on_connection(uv_stream_t *listener, int status)
{
	if (status < 0) {
		return;
	}
	uv_tcp_t *client = malloc(sizeof *client);
	if (client == NULL) {
		give_up("no memory for a connection");
	}
	if (uv_tcp_init(listener->loop, client) != 0) {
		give_up("uv_tcp_init failed");
	}
	uv_stream_t *stream = (uv_stream_t *)client;
	if (uv_accept(listener, stream) != 0 || uv_tcp_nodelay(client, 1) != 0 ||
	    uv_read_start(stream, on_allocate, on_read) != 0) {
		close_stream(stream);
	}
}

static unsigned port_of(const uv_tcp_t *listener)
{
	struct sockaddr_in address;
	int length = sizeof address;
	if (uv_tcp_getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
		give_up("the port number could not be read");
	}
	return ntohs(address.sin_port);
}

int main(int argc, char **argv)
{
	long port = 0;
	long backlog = 4096;
	long cpu = -1;
	const struct number_option options[] = {
	    {"--port", 0, 65535, &port, "port to listen on, 0: any"},
	    {"--backlog", 1, 65535, &backlog, "connections that may wait for accept"},
	    {"--receive-buffer", 1024, READ_BUFFER_MAX_BYTES, &read_buffer_bytes, "bytes of one read"},
	    {"--cpu", -1, CPU_SETSIZE - 1, &cpu, "CPU to run on, -1: any"},
	};
	parse_options(argc, argv, "echo server on libuv", options, sizeof options / sizeof options[0]);
	pin_to_cpu(cpu);
	raise_descriptor_limit();

	uv_loop_t *loop = uv_default_loop();
	uv_tcp_t listener;
	struct sockaddr_in address;
	int status = uv_ip4_addr("127.0.0.1", (int)port, &address);
	if (status == 0) {
		status = uv_tcp_init(loop, &listener);
	}
	if (status == 0) {
		status = uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0);
	}
	if (status == 0) {
		status = uv_listen((uv_stream_t *)&listener, (int)backlog, on_connection);
	}
	if (status != 0) {
		give_up("port %ld: %s", port, uv_strerror(status));
	}
	announce_port(port_of(&listener));
	return uv_run(loop, UV_RUN_DEFAULT);
}
