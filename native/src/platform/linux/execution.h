/*
 * execution.h - instructions and cycles of the whole process, for its usage.
 */
#ifndef EXECUTION_H
#define EXECUTION_H

#include "platform/platform.h"

/* Since ib_execution_count(), which has to come before; else unknown. Takes a microsecond per thread that lives or is counted. */
void execution_of_process(struct execution *out);

#endif /* EXECUTION_H */
