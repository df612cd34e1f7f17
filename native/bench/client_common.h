/*
 * client_common.h - shared by the two reference clients: connecting, the measured window, and the line of JSON at the end.
 *
 * A timer's signal marks the edges of the window, so the request loop reads no clock. The handler raises a flag, a waiting system
 * call ends with EINTR, and the loop calls window_turn() when it sees the flag.
 */
#ifndef BENCH_CLIENT_COMMON_H
#define BENCH_CLIENT_COMMON_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum { MESSAGE_MAX_BYTES = 65536 };

struct client_options {
	long port;
	long connections;
	long message_bytes;
	long warmup_ms;
	long window_ms;
	long cpu;
};

/* The timer raises it, and the loop then calls window_turn(). */
extern volatile sig_atomic_t window_flag;

/* A message, and a buffer for the echo, which nobody reads. */
extern char message_out[MESSAGE_MAX_BYTES];
extern char message_in[MESSAGE_MAX_BYTES];

void parse_client_options(int argc, char **argv, const char *purpose, struct client_options *options);

/*
 * Makes every connection: blocking, with TCP_NODELAY, and with RST at the end (no TIME_WAIT for the next run). Each is connected, sends a
 * message and receives its echo. At most 128 await their echo at one time, far below any backlog.
 */
int *connect_all(const struct client_options *options);

/* Starts the timer for the warm-up and then the window. */
void window_start(const struct client_options *options);

/* Records the start of the window (returns false), then its end (returns true: stop). `requests` counts from the start. */
bool window_turn(uint64_t requests);

/* Prints the line of JSON. */
void window_print(void);

#endif /* BENCH_CLIENT_COMMON_H */
