/*
 * process_symbol.c - finds functions that the running program exports.
 */
#include <dlfcn.h>

#include "platform/platform.h"

void *process_symbol(const char *name)
{
	return dlsym(RTLD_DEFAULT, name);
}
