/*
 * procfile.h - reads the small text files of /proc and /sys.
 */
#ifndef PROCFILE_H
#define PROCFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads at most size - 1 bytes of `path` into buffer and adds a NUL. False if the file cannot be read. */
bool procfile_read(const char *path, char *buffer, size_t size);
/* The unsigned number after the first `key` at the start of a line; IB_UNKNOWN if it is missing. */
uint64_t procfile_field(const char *text, const char *key);
/* The number at the start of the file; IB_UNKNOWN for "max" and for a file that cannot be read. */
uint64_t procfile_number(const char *path);
/* A value of /proc/net/snmp or netstat, where a line of names precedes a line of numbers. Both lines start with `group`. */
uint64_t procfile_named_column(const char *text, const char *group, const char *name);
/*
 * Path of `file` in this process's cgroup of `controller`: in the v1 hierarchy if the controller has one, else in v2. The file
 * need not exist. False if the process is not in such a cgroup.
 */
bool procfile_cgroup_path(char *out, size_t size, const char *controller, const char *file, bool *version_2);
/* value * factor; IB_UNKNOWN stays IB_UNKNOWN. */
uint64_t procfile_scaled(uint64_t value, uint64_t factor);

#endif /* PROCFILE_H */
