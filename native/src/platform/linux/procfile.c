/*
 * procfile.c - reads the small text files of /proc and /sys.
 */
#include "procfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "platform/platform.h"

bool procfile_read(const char *path, char *buffer, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0) {
		return false;
	}
	size_t used = 0;
	while (used < size - 1) {
		ssize_t length = read(file, buffer + used, size - 1 - used);
		if (length < 0 && errno == EINTR) {
			continue;
		}
		if (length <= 0) {
			break;
		}
		used += (size_t)length;
	}
	close(file);
	buffer[used] = '\0';
	return used > 0;
}

static uint64_t number_at(const char *text)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	/* strtoull accepts a minus sign, but none of our figures is negative. */
	if (end == text || errno != 0 || strchr(text, '-') == text) {
		return IB_UNKNOWN;
	}
	return value;
}

uint64_t procfile_field(const char *text, const char *key)
{
	size_t length = strlen(key);
	for (const char *line = text; line != NULL && *line != '\0';) {
		if (strncmp(line, key, length) == 0) {
			return number_at(line + length);
		}
		line = strchr(line, '\n');
		if (line != NULL) {
			line++;
		}
	}
	return IB_UNKNOWN;
}

uint64_t procfile_number(const char *path)
{
	char text[64];
	return procfile_read(path, text, sizeof text) ? number_at(text) : IB_UNKNOWN;
}

static const char *next_word(const char *text, size_t *length)
{
	text += strspn(text, " ");
	*length = strcspn(text, " \n");
	return text;
}

uint64_t procfile_named_column(const char *text, const char *group, const char *name)
{
	size_t group_length = strlen(group);
	const char *names = text;
	while (names != NULL && strncmp(names, group, group_length) != 0) {
		names = strchr(names, '\n');
		names = names != NULL ? names + 1 : NULL;
	}
	const char *values = names != NULL ? strchr(names, '\n') : NULL;
	if (values == NULL || strncmp(values + 1, group, group_length) != 0) {
		return IB_UNKNOWN;
	}
	names += group_length;
	values += 1 + group_length;
	for (;;) {
		size_t name_length, value_length;
		names = next_word(names, &name_length);
		values = next_word(values, &value_length);
		if (name_length == 0 || value_length == 0) {
			return IB_UNKNOWN;
		}
		if (name_length == strlen(name) && strncmp(names, name, name_length) == 0) {
			return number_at(values);
		}
		names += name_length;
		values += value_length;
	}
}

/* Lines of /proc/self/cgroup are "number:controller,controller:/path". For version 2 the line is "0::/path". */
static bool cgroup_of(const char *text, const char *controller, char *path, size_t size)
{
	for (const char *line = text; line != NULL && *line != '\0';) {
		const char *end = strchr(line, '\n');
		const char *names = strchr(line, ':');
		const char *where = names != NULL ? strchr(names + 1, ':') : NULL;
		if (where == NULL || (end != NULL && where > end)) {
			return false;
		}
		size_t names_length = (size_t)(where - names - 1);
		bool found = *controller == '\0' && names_length == 0;
		for (const char *name = names + 1; !found && name < where;) {
			size_t length = strcspn(name, ",:");
			found = length == strlen(controller) && length > 0 && strncmp(name, controller, length) == 0;
			name += length + 1;
		}
		if (found) {
			size_t length = end != NULL ? (size_t)(end - where - 1) : strlen(where + 1);
			snprintf(path, size, "%.*s", (int)length, where + 1);
			return true;
		}
		line = end != NULL ? end + 1 : NULL;
	}
	return false;
}

bool procfile_cgroup_path(char *out, size_t size, const char *controller, const char *file, bool *version_2)
{
	char text[4096];
	char path[1024];
	if (!procfile_read("/proc/self/cgroup", text, sizeof text)) {
		return false;
	}
	if (cgroup_of(text, controller, path, sizeof path)) {
		*version_2 = false;
		snprintf(out, size, "/sys/fs/cgroup/%s%s/%s", controller, path, file);
		/* In a container the path is that of the host, but the mount shows the container's own group as the root. */
		if (access(out, R_OK) != 0) {
			snprintf(out, size, "/sys/fs/cgroup/%s/%s", controller, file);
		}
		return true;
	}
	if (cgroup_of(text, "", path, sizeof path)) {
		*version_2 = true;
		snprintf(out, size, "/sys/fs/cgroup%s/%s", path, file);
		if (access(out, R_OK) != 0) {
			snprintf(out, size, "/sys/fs/cgroup/%s", file);
		}
		return true;
	}
	return false;
}

uint64_t procfile_scaled(uint64_t value, uint64_t factor)
{
	return value == IB_UNKNOWN ? IB_UNKNOWN : value * factor;
}
