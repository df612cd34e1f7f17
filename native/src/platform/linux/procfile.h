/*
 * procfile.h - reading the small text files of /proc and /sys.
 */
#ifndef PROCFILE_H
#define PROCFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads at most size - 1 bytes of `path` into buffer and terminates them. False where the file cannot be read. */
bool procfile_read(const char *path, char *buffer, size_t size);
/* The unsigned number that follows `key` at the start of a line; IB_UNKNOWN where there is none. */
uint64_t procfile_field(const char *text, const char *key);
/* The number that is the file's only content; IB_UNKNOWN for "max" and for a file that cannot be read. */
uint64_t procfile_number(const char *path);
/* A value of /proc/net/snmp or netstat, where a line of names is followed by a line of numbers, both starting with `group`. */
uint64_t procfile_named_column(const char *text, const char *group, const char *name);
/*
 * Path of `file` in this process' cgroup of `controller` (v1 hierarchy where the controller has one, else v2). The file need
 * not exist. False where the process is in no such cgroup.
 */
bool procfile_cgroup_path(char *out, size_t size, const char *controller, const char *file, bool *version_2);
/* Product that keeps IB_UNKNOWN. */
uint64_t procfile_scaled(uint64_t value, uint64_t factor);

#endif /* PROCFILE_H */
