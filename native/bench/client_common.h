/*
 * client_common.h - what the two reference clients share: connecting, the measured window, and the line of JSON at the end.
 *
 * A window is bounded by a timer's signal, so that the loop of requests reads no clock: the handler raises a flag, a system call
 * that waits ends with EINTR, and the loop calls window_turn() when it sees the flag.
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

/* Raised by the timer: the loop calls window_turn. */
extern volatile sig_atomic_t window_flag;

/* A message, and the place for an echo that nobody looks at. */
extern char message_out[MESSAGE_MAX_BYTES];
extern char message_in[MESSAGE_MAX_BYTES];

void parse_client_options(int argc, char **argv, const char *purpose, struct client_options *options);

/*
 * Makes every connection, blocking, TCP_NODELAY on, RST at the end (no TIME_WAIT for the next run): connected, a message sent, its
 * echo received. At most 128 await their echo at one time, far below any backlog.
 */
int *connect_all(const struct client_options *options);

/* Starts the timer: warm-up, then the window. */
void window_start(const struct client_options *options);

/* Takes the start of the window (returns false), then its end (returns true: stop). `requests` is counted since the start. */
bool window_turn(uint64_t requests);

/* The line of JSON. */
void window_print(void);

#endif /* BENCH_CLIENT_COMMON_H */
