/*
 * stop_faults_test.c - a stop while worker 0 still hands out connections to a worker that has nothing left to do.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "driver.h"
#include "server/hand_out.h"

/* Long enough for a worker that ends too early to end. */
#define WORKER_ENDS_MS 300

static struct fixture *stopped;
static atomic_int hand_outs;
static atomic_bool stop_begun;

uint32_t __real_hand_out_emptiest(uint32_t count, uint32_t *next, uint64_t (*open)(const void *, uint32_t),
                                  const void *server);
uint32_t __wrap_hand_out_emptiest(uint32_t count, uint32_t *next, uint64_t (*open)(const void *, uint32_t),
                                  const void *server);
void __real_thread_join(struct thread *thread);
void __wrap_thread_join(struct thread *thread);

/* The first connection goes to worker 1 when the stop has begun, the second when worker 1 has ended, or would have. */
uint32_t __wrap_hand_out_emptiest(uint32_t count, uint32_t *next, uint64_t (*open)(const void *, uint32_t),
                                  const void *server)
{
	int number = stopped == NULL ? 0 : ++hand_outs;
	if (number == 1) {
		for (int waited_ms = 0; !stop_begun && waited_ms < TIMEOUT_MS; waited_ms++) {
			pause_ms(1);
		}
		return 1;
	}
	if (number == 2) {
		for (int waited_ms = 0; stats_now(stopped).threads > 1 && waited_ms < WORKER_ENDS_MS; waited_ms++) {
			pause_ms(1);
		}
		return 1;
	}
	return __real_hand_out_emptiest(count, next, open, server);
}

/* A stop waits for the workers after it has told them. */
void __wrap_thread_join(struct thread *thread)
{
	stop_begun = true;
	__real_thread_join(thread);
}

static bool connect_and_send(struct client *client, struct target target)
{
	if (!client_open(client, 1, target)) {
		return false;
	}
	for (int waited_ms = 0; waited_ms < TIMEOUT_MS; waited_ms++) {
		if (client_send(client, 1) != 0) {
			return client->sent == 1;
		}
		pause_ms(1);
	}
	return false;
}

static bool stop_while_accepting(struct fixture *fixture)
{
	struct client clients[2];
	hand_outs = 0;
	stop_begun = false;
	REQUIRE(fixture, server_start(fixture));
	stopped = fixture;
	REQUIRE(fixture, connect_and_send(&clients[0], fixture->target));
	for (int waited_ms = 0; hand_outs == 0 && waited_ms < TIMEOUT_MS; waited_ms++) {
		pause_ms(1);
	}
	REQUIRE(fixture, hand_outs == 1);
	REQUIRE(fixture, connect_and_send(&clients[1], fixture->target));
	bool right = server_stop(fixture, 5000, IB_STATUS_OK);
	stopped = NULL;
	REQUIRE(fixture, right && hand_outs == 2);
	for (int index = 0; index < 2; index++) {
		REQUIRE(fixture, client_await_end(&clients[index], TIMEOUT_MS) && clients[index].received == 1);
		client_close(&clients[index]);
	}
	return true;
}

static bool is_available(const char *backend)
{
	for (uint32_t index = 0; index < ib_backend_count(); index++) {
		struct ib_probe probe = {.size = sizeof probe, .abi_version = IB_ABI_VERSION};
		if (ib_backend_probe(index, &probe) == IB_STATUS_OK && strcmp(probe.name, backend) == 0) {
			return probe.available != 0;
		}
	}
	return false;
}

int main(void)
{
	/* Not event_select, whose worker 0 accepts one connection at a time and checks for a stop after each. */
	static const char *const backends[] = {"select", "poll", "epoll"};
	static const struct scenario scenario = {.name = "stop-while-accepting", .run = stop_while_accepting};
	bool right = true;
	for (size_t index = 0; index < sizeof backends / sizeof backends[0]; index++) {
		struct variant variant = {.name = backends[index], .backend = backends[index], .workers = 2};
		if (is_available(backends[index])) {
			warm_up(&variant);
			right = scenario_run(&variant, &scenario) && right;
		}
	}
	return right ? 0 : 1;
}
