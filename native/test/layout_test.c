/*
 * layout_test.c - the layout that the library reports is complete: every byte of every struct belongs to a named field.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iocp_bench.h"

static int failures;

static void check(int condition, const char *what, const char *line)
{
	if (!condition) {
		printf("FAIL: %s: %s\n", what, line);
		failures++;
	}
}

/* A struct's fields follow each other without a gap and end where the struct ends. */
static unsigned check_rows(char *text)
{
	char type[64] = "";
	size_t end = 0, size = 0;
	unsigned types = 0;
	for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
		char row_type[64], field[64];
		size_t offset, bytes;
		check(sscanf(line, "%63s %63s %zu %zu", row_type, field, &offset, &bytes) == 4, "four words", line);
		if (strcmp(field, ".") == 0) {
			check(end == size, "the struct before ends with its last field", line);
			snprintf(type, sizeof type, "%s", row_type);
			end = 0;
			size = bytes;
			types++;
		} else {
			check(strcmp(type, row_type) == 0, "fields follow their struct", line);
			check(offset == end, "no gap before the field", line);
			end = offset + bytes;
		}
	}
	check(end == size, "the last struct ends with its last field", "end");
	return types;
}

int main(void)
{
	const char *layout = ib_layout();
	check(layout == ib_layout(), "the text is static", "");
	check(ib_abi_version() == IB_ABI_VERSION, "version", "");
	char *copy = strdup(layout);
	unsigned types = copy != NULL ? check_rows(copy) : 0;
	check(types >= 14, "all structs", "");
	check(strstr(layout, "ib_server_options stack_size_bytes ") != NULL, "a known field", "");
	check(strstr(layout, "ib_engine_block first_echo ") != NULL, "the last field of the largest struct", "");
	free(copy);
	printf("%s: %u structs\n", failures == 0 ? "ok" : "failed", types);
	return failures == 0 ? 0 : 1;
}
