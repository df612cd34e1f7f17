/*
 * process_symbol.c - finds functions that the running program exports.
 */
#include "platform/platform.h"

#include <windows.h>

void *process_symbol(const char *name)
{
	return (void *)(uintptr_t)GetProcAddress(GetModuleHandleW(NULL), name);
}
