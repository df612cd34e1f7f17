/*
 * select_server.c - the lower limit of cost for `select`: one loop around select() that only does recv and send, with a set as large as the
 * limit of descriptors. It has no counters, no bound on a peer that does not read, and no orderly stop. SIGTERM's default action ends it.
 */
#include "common.h"

#include <sys/select.h>
#include <unistd.h>

#include "server_common.h"

enum { WORD_BITS = 8 * sizeof(unsigned long) };

struct sets {
	unsigned long *watched;
	unsigned long *ready; /* select() overwrites it */
	size_t words;         /* of each that are in use */
	size_t words_max;
};

static void watch(struct sets *sets, int socket)
{
	const size_t word = (size_t)socket / WORD_BITS;
	if (word >= sets->words_max) {
		give_up("descriptor %d is beyond the limit", socket);
	}
	sets->watched[word] |= 1ul << (size_t)socket % WORD_BITS;
	sets->words = word + 1 > sets->words ? word + 1 : sets->words;
}

static void forget(struct sets *sets, int socket)
{
	sets->watched[(size_t)socket / WORD_BITS] &= ~(1ul << (size_t)socket % WORD_BITS);
	close(socket);
}

static void serve(struct sets *sets, int listener)
{
	bool listener_ready = false;
	/* accept_ready() adds words, but only after this. */
	for (size_t word = 0; word < sets->words; word++) {
		for (unsigned long bits = sets->ready[word]; bits != 0; bits &= bits - 1) {
			const int socket = (int)(word * WORD_BITS) + __builtin_ctzl(bits);
			if (socket == listener) {
				listener_ready = true;
			} else if (!echo_ready(socket)) {
				forget(sets, socket);
			}
		}
	}
	if (listener_ready) {
		for (int socket = accept_ready(listener); socket >= 0; socket = accept_ready(listener)) {
			watch(sets, socket);
		}
	}
}

static void sets_create(struct sets *sets)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
		give_up("the limit of descriptors cannot be read: %s", strerror(errno));
	}
	const size_t most = limit.rlim_cur < (1u << 24) ? (size_t)limit.rlim_cur : (1u << 24);
	sets->words_max = most / WORD_BITS + 1;
	sets->watched = calloc(sets->words_max, sizeof *sets->watched);
	sets->ready = calloc(sets->words_max, sizeof *sets->ready);
	if (sets->watched == NULL || sets->ready == NULL) {
		give_up("out of memory");
	}
}

int main(int argc, char **argv)
{
	struct sets sets = {0};
	const int listener = start_loop_server(argc, argv, "echo server with one loop around select()");
	sets_create(&sets);
	watch(&sets, listener);
	for (;;) {
		memcpy(sets.ready, sets.watched, sets.words * sizeof *sets.ready);
		const int width = (int)(sets.words * WORD_BITS);
		if (select(width, (fd_set *)(void *)sets.ready, NULL, NULL, NULL) < 0) {
			if (errno == EINTR) {
				continue;
			}
			give_up("select: %s", strerror(errno));
		}
		serve(&sets, listener);
	}
}
