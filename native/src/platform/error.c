/*
 * error.c - fills struct ib_error and sorts socket errors into the classes of a report. The same on every platform.
 */
#include <stdarg.h>
#include <stdio.h>

#include "platform/platform.h"

int32_t error_set(struct ib_error *error, enum ib_status status, int os_code, const char *format, ...)
{
	if (error != NULL) {
		va_list arguments;
		va_start(arguments, format);
		vsnprintf(error->message, sizeof error->message, format, arguments);
		va_end(arguments);
		error->code = (int32_t)status;
		error->os_code = os_code;
		error->hint[0] = '\0';
	}
	return (int32_t)status;
}

void error_hint(struct ib_error *error, const char *format, ...)
{
	if (error != NULL) {
		va_list arguments;
		va_start(arguments, format);
		vsnprintf(error->hint, sizeof error->hint, format, arguments);
		va_end(arguments);
	}
}

enum ib_error_class socket_error_class(int os_code)
{
	switch (socket_condition_of(os_code)) {
	case SOCKET_REFUSED:
		return IB_ERROR_REFUSED;
	case SOCKET_RESET:
	case SOCKET_ABORTED:
		return IB_ERROR_RESET;
	case SOCKET_TIMED_OUT:
		return IB_ERROR_TIMEOUT;
	case SOCKET_DESCRIPTORS:
		return IB_ERROR_DESCRIPTORS;
	case SOCKET_MEMORY:
		return IB_ERROR_MEMORY;
	case SOCKET_PORTS:
		return IB_ERROR_PORTS;
	case SOCKET_UNREACHABLE:
		return IB_ERROR_UNREACHABLE;
	case SOCKET_FINE:
	case SOCKET_WOULD_BLOCK:
	case SOCKET_INTERRUPTED:
	case SOCKET_CLOSED:
	case SOCKET_OTHER:
		break;
	}
	return IB_ERROR_OTHER;
}
