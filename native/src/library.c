/*
 * library.c - facts about the library itself: its version, its clock, and the layout of its ABI.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "abi_layout.generated.h"
#include "platform/platform.h"

#define ROW_STRUCT(type) {#type, ".", 0, sizeof(struct type)},
#define ROW_FIELD(type, field) {#type, #field, offsetof(struct type, field), sizeof(((struct type *)NULL)->field)},

static const struct row {
	const char *type;
	const char *field;
	size_t offset;
	size_t size;
} rows[] = {ABI_LAYOUT(ROW_STRUCT, ROW_FIELD)};

#define ROW_COUNT (sizeof rows / sizeof rows[0])
/* Two names of up to 40 characters, two numbers, separators. */
#define LAYOUT_CAPACITY (ROW_COUNT * 112)

uint32_t ib_abi_version(void)
{
	return IB_ABI_VERSION;
}

uint64_t ib_clock_now_ns(void)
{
	return clock_now_ns();
}

const char *ib_layout(void)
{
	static char text[LAYOUT_CAPACITY];
	/* 0: not written yet, 1: a thread is writing it, 2: written. */
	static atomic_int state;
	int expected = 0;
	if (atomic_compare_exchange_strong(&state, &expected, 1)) {
		size_t used = 0;
		for (size_t index = 0; index < ROW_COUNT; index++) {
			const struct row *row = &rows[index];
			int length = snprintf(text + used, sizeof text - used, "%s %s %zu %zu\n", row->type, row->field,
			                      row->offset, row->size);
			used += (size_t)length;
		}
		atomic_store(&state, 2);
	}
	while (atomic_load(&state) != 2) {
		clock_sleep_ns(1000);
	}
	return text;
}
