/*
 * poll_server.c - the lower limit of cost for `poll`: one loop around poll() that only does recv and send. It has no counters, no bound on a
 * peer that does not read, and no orderly stop. SIGTERM's default action ends it.
 */
#include "common.h"

#include <poll.h>
#include <unistd.h>

#include "server_common.h"

/* Entry 0 is the listener. */
struct table {
	struct pollfd *entries;
	size_t count;
	size_t capacity;
};

static void add(struct table *table, int socket)
{
	if (table->count == table->capacity) {
		table->capacity = table->capacity * 2 + 1024;
		table->entries = realloc(table->entries, table->capacity * sizeof *table->entries);
		if (table->entries == NULL) {
			give_up("out of memory");
		}
	}
	table->entries[table->count++] = (struct pollfd){.fd = socket, .events = POLLIN};
}

/* From the last to the first: the last entry, which was looked at, takes the place of one that ends. */
static void serve(struct table *table, int ready)
{
	for (size_t index = table->count; index-- > 1 && ready > 0;) {
		if (table->entries[index].revents == 0) {
			continue;
		}
		ready--;
		if (!echo_ready(table->entries[index].fd)) {
			close(table->entries[index].fd);
			table->entries[index] = table->entries[--table->count];
		}
	}
	if (ready > 0) {
		for (int socket = accept_ready(table->entries[0].fd); socket >= 0;) {
			add(table, socket);
			socket = accept_ready(table->entries[0].fd);
		}
	}
}

int main(int argc, char **argv)
{
	struct table table = {0};
	add(&table, start_loop_server(argc, argv, "echo server with one loop around poll()"));
	for (;;) {
		const int ready = poll(table.entries, table.count, -1);
		if (ready < 0 && errno != EINTR) {
			give_up("poll: %s", strerror(errno));
		}
		serve(&table, ready);
	}
}
