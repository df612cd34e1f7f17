/*
 * execution.c - instructions and cycles: Windows lets only a driver or a trace session of an administrator count them.
 */
#include <stdio.h>

#include "abi.h"
#include "platform/platform.h"

static const char reason[] = "Windows does not let a process count its instructions";

int32_t ib_execution_probe(struct ib_probe *out)
{
	int32_t status = abi_check(out->size, out->abi_version, sizeof *out, "ib_probe", NULL);
	if (status == IB_STATUS_OK) {
		abi_probe_start(out, "execution");
		snprintf(out->reason, sizeof out->reason, "%s", reason);
	}
	return status;
}

int32_t ib_execution_count(struct ib_error *error)
{
	return error_set(error, IB_STATUS_UNAVAILABLE, 0, "%s", reason);
}

void execution_counter_none(struct execution_counter *out)
{
	out->unused = 0;
}

bool execution_counter_open(struct execution_counter *out)
{
	execution_counter_none(out);
	return false;
}

void execution_counter_read(const struct execution_counter *counter, struct execution *out)
{
	(void)counter;
	out->instructions = IB_UNKNOWN;
	out->cycles = IB_UNKNOWN;
	out->scope = IB_UNKNOWN_32;
}

void execution_counter_close(struct execution_counter *counter)
{
	(void)counter;
}
