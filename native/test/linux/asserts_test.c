/*
 * asserts_test.c - assertions are there where they are built in: a promise that is broken ends the process, and says which.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load/engine.h"
#include "load_harness.h"

/* Closes a connection twice, of an engine that began it once. */
static void closed_twice(void)
{
	struct run run;
	struct engine engine;
	struct ib_error error;
	uint32_t index;

	run_plan(&run, "epoll", 1, 1, 2);
	if (engine_init(&engine, &run.options[0], NULL, NULL, run.control, &error) != IB_STATUS_OK) {
		_exit(2);
	}
	engine.phase = IB_PHASE_CONNECT;
	(void)engine_next_connect(&engine, clock_now_ns(), &index);
	(void)engine_next_connect(&engine, clock_now_ns(), &index);
	(void)engine_failed(&engine, index, ECONNREFUSED, clock_now_ns());
	engine_closed(&engine, index);
	engine_closed(&engine, index);
	_exit(0);
}

int main(void)
{
	int ends[2];
	char text[512] = "";
	int status = 0;

	CHECK(pipe(ends) == 0);
	pid_t child = fork();
	if (child == 0) {
		(void)dup2(ends[1], STDERR_FILENO);
		closed_twice();
	}
	close(ends[1]);
	CHECK_EQUAL(waitpid(child, &status, 0), child);
	(void)!read(ends[0], text, sizeof text - 1);
	if (IB_ASSERTS) {
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		CHECK(strstr(text, "connections.c") != NULL);
		CHECK(strstr(text, "assertion failed: connection->state == CONNECTION_CLOSING") != NULL);
	} else {
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		CHECK_EQUAL(strlen(text), 0);
	}
	return check_result();
}
