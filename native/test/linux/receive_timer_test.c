/*
 * receive_timer_test.c - timers that end a blocking recv(): at their period, on their own thread only, and not once they are stopped.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "load/linux/receive_timer.h"
#include "platform/platform.h"

#define PERIOD_NS (2 * NS_PER_MS)
/* Of SO_RCVTIMEO: how a wait ends that no timer ends. */
#define LONGEST_US 200000

static int pair[2];

/* Waits for bytes that never come. Returns the errno. */
static int wait_code(void)
{
	char byte;

	return recv(pair[0], &byte, 1, 0) < 0 ? errno : 0;
}

static void test_running(void)
{
	struct receive_timer timer;

	CHECK(receive_timer_open(&timer));
	CHECK(!timer.runs);
	CHECK_EQUAL(wait_code(), EAGAIN);
	CHECK(receive_timer_start(&timer, PERIOD_NS));
	for (int turn = 0; turn < 20; turn++) {
		CHECK_EQUAL(wait_code(), EINTR);
	}
	/* Starting a timer that runs changes nothing. */
	CHECK(receive_timer_start(&timer, NS_PER_S));
	CHECK_EQUAL(wait_code(), EINTR);
	receive_timer_stop(&timer);
	CHECK(!timer.runs);
	CHECK_EQUAL(wait_code(), EAGAIN);
	CHECK(receive_timer_start(&timer, PERIOD_NS));
	CHECK_EQUAL(wait_code(), EINTR);
	receive_timer_close(&timer);
	CHECK_EQUAL(wait_code(), EAGAIN);
	receive_timer_close(&timer);
}

static void *wait_undisturbed(void *codes)
{
	int *code = codes;
	struct receive_timer timer;

	code[0] = wait_code();
	CHECK(receive_timer_open(&timer));
	code[1] = wait_code();
	receive_timer_close(&timer);
	return NULL;
}

/* A signal of this thread's timer must not end the calls of another, not even if that has a timer too. */
static void test_two_threads(void)
{
	struct receive_timer timer;
	int codes[2] = {0};
	pthread_t other;

	CHECK(receive_timer_open(&timer));
	CHECK(receive_timer_start(&timer, PERIOD_NS));
	if (CHECK(pthread_create(&other, NULL, wait_undisturbed, codes) == 0)) {
		CHECK_EQUAL(wait_code(), EINTR);
		pthread_join(other, NULL);
	}
	CHECK_EQUAL(codes[0], EAGAIN);
	CHECK_EQUAL(codes[1], EAGAIN);
	receive_timer_close(&timer);
}

static void on_signal(int number)
{
	(void)number;
}

/* The handlers of the process are left alone. Without a free signal there is no timer. */
static void test_no_free_signal(void)
{
	const struct sigaction action = {.sa_handler = on_signal};
	struct sigaction now;
	struct receive_timer timer;

	for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
		CHECK_EQUAL(sigaction(number, &action, NULL), 0);
	}
	CHECK(!receive_timer_open(&timer));
	CHECK(timer.id < 0);
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
		CHECK_EQUAL(sigaction(number, NULL, &now), 0);
		CHECK(now.sa_handler == on_signal);
	}
}

/* In a child, because a process chooses its signal once. */
static void in_child(void (*test)(void))
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		test();
		_exit(check_result());
	}
	CHECK_EQUAL(waitpid(child, &status, 0), child);
	CHECK_EQUAL(status, 0);
}

int main(void)
{
	const struct timeval longest = {.tv_usec = LONGEST_US};

	in_child(test_no_free_signal);
	CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_EQUAL(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest), 0);
	test_running();
	test_two_threads();
	return check_result();
}
