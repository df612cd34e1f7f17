/* client_common.c - see client_common.h. */
#include "client_common.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { CONNECTING_MAX = 128 };

volatile sig_atomic_t window_flag;
char message_out[MESSAGE_MAX_BYTES];
char message_in[MESSAGE_MAX_BYTES];

/* One end of the window. */
struct moment {
	uint64_t realtime_us;
	uint64_t monotonic_ns;
	uint64_t requests;
	struct rusage usage;
};

static struct moment window_from;
static struct moment window_to;
static long window_length_ms;

void parse_client_options(int argc, char **argv, const char *purpose, struct client_options *options)
{
	*options = (struct client_options){0, 1, 64, 500, 1000, -1};
	const struct number_option table[] = {
	    {"--port", 1, 65535, &options->port, "port of the server on 127.0.0.1"},
	    {"--connections", 1, 1000000, &options->connections, "connections, one message in flight each"},
	    {"--message-size", 1, MESSAGE_MAX_BYTES, &options->message_bytes, "bytes of a message"},
	    {"--warmup-ms", 1, 60000, &options->warmup_ms, "before the window"},
	    {"--window-ms", 1, 600000, &options->window_ms, "the measured window"},
	    {"--cpu", -1, CPU_SETSIZE - 1, &options->cpu, "CPU to run on, -1: any"},
	};
	parse_options(argc, argv, purpose, table, sizeof table / sizeof table[0]);
	if (options->port == 0) {
		give_up("--port is needed");
	}
	pin_to_cpu(options->cpu);
	raise_descriptor_limit();
	memset(message_out, 'e', sizeof message_out);
}

static int connect_one(const struct client_options *options)
{
	const int one = 1;
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options->port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
		give_up("connect: %s", strerror(errno));
	}
	return fd;
}

static void receive_echo(int fd, size_t length)
{
	const ssize_t received = recv(fd, message_in, length, MSG_WAITALL);
	if (received < 0) {
		give_up("first echo: %s", strerror(errno));
	}
	if ((size_t)received != length) {
		give_up("first echo: the server closed the connection");
	}
}

int *connect_all(const struct client_options *options)
{
	const size_t count = (size_t)options->connections;
	const size_t length = (size_t)options->message_bytes;
	int *sockets = calloc(count, sizeof *sockets);
	if (sockets == NULL) {
		give_up("no memory for %zu connections", count);
	}
	for (size_t first = 0; first < count; first += CONNECTING_MAX) {
		const size_t end = first + CONNECTING_MAX < count ? first + CONNECTING_MAX : count;
		for (size_t i = first; i < end; i++) {
			sockets[i] = connect_one(options);
			if (send(sockets[i], message_out, length, MSG_NOSIGNAL) != (ssize_t)length) {
				give_up("first message: %s", strerror(errno));
			}
		}
		for (size_t i = first; i < end; i++) {
			receive_echo(sockets[i], length);
		}
	}
	return sockets;
}

static void on_timer(int signal_number)
{
	(void)signal_number;
	window_flag = 1;
}

static void set_timer(long ms)
{
	const struct itimerval timer = {.it_value = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000}};
	if (setitimer(ITIMER_REAL, &timer, NULL) != 0) {
		give_up("setitimer: %s", strerror(errno));
	}
}

void window_start(const struct client_options *options)
{
	/* Without SA_RESTART, so that the signal ends a waiting call. */
	const struct sigaction action = {.sa_handler = on_timer};
	window_length_ms = options->window_ms;
	if (sigaction(SIGALRM, &action, NULL) != 0) {
		give_up("sigaction: %s", strerror(errno));
	}
	set_timer(options->warmup_ms);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void take_moment(struct moment *moment, uint64_t requests)
{
	moment->realtime_us = clock_ns(CLOCK_REALTIME) / 1000;
	moment->monotonic_ns = clock_ns(CLOCK_MONOTONIC);
	moment->requests = requests;
	getrusage(RUSAGE_SELF, &moment->usage);
}

bool window_turn(uint64_t requests)
{
	window_flag = 0;
	if (window_from.monotonic_ns == 0) {
		take_moment(&window_from, requests);
		set_timer(window_length_ms);
		return false;
	}
	take_moment(&window_to, requests);
	return true;
}

static double microseconds_between(const struct timeval *from, const struct timeval *to)
{
	return (double)(to->tv_sec - from->tv_sec) * 1e6 + (double)(to->tv_usec - from->tv_usec);
}

void window_print(void)
{
	const uint64_t requests = window_to.requests - window_from.requests;
	const double seconds = (double)(window_to.monotonic_ns - window_from.monotonic_ns) / 1e9;
	if (requests == 0) {
		give_up("no request was answered in the window");
	}
	printf("{\"requests\":%llu,\"seconds\":%.6f,\"requests_per_second\":%.1f,\"cpu_user_us_per_request\":%.4f,"
	       "\"cpu_system_us_per_request\":%.4f,\"window_start_us\":%llu,\"window_end_us\":%llu}\n",
	       (unsigned long long)requests, seconds, (double)requests / seconds,
	       microseconds_between(&window_from.usage.ru_utime, &window_to.usage.ru_utime) / (double)requests,
	       microseconds_between(&window_from.usage.ru_stime, &window_to.usage.ru_stime) / (double)requests,
	       (unsigned long long)window_from.realtime_us, (unsigned long long)window_to.realtime_us);
}
