/* common.c - see common.h. */
#include "common.h"

#include <stdarg.h>

void give_up(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static void print_help(const char *program, const char *purpose, const struct number_option *options, size_t count)
{
	printf("%s: %s\n\n", program, purpose);
	for (size_t i = 0; i < count; i++) {
		printf("  %-18s %s (default: %ld)\n", options[i].name, options[i].help, *options[i].value);
	}
}

static void take_option(const char *name, const char *text, const struct number_option *options, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(name, options[i].name) != 0) {
			continue;
		}
		char *end = NULL;
		errno = 0;
		const long value = strtol(text, &end, 10);
		if (errno != 0 || end == text || *end != '\0' || value < options[i].minimum || value > options[i].maximum) {
			give_up("%s takes a number from %ld to %ld, not \"%s\"", name, options[i].minimum, options[i].maximum,
			        text);
		}
		*options[i].value = value;
		return;
	}
	give_up("unknown option %s; --help lists them", name);
}

void parse_options(int argc, char **argv, const char *purpose, const struct number_option *options, size_t count)
{
	for (int i = 1; i < argc; i += 2) {
		if (strcmp(argv[i], "--help") == 0) {
			print_help(argv[0], purpose, options, count);
			exit(0);
		}
		if (i + 1 == argc) {
			give_up("%s needs a value", argv[i]);
		}
		take_option(argv[i], argv[i + 1], options, count);
	}
}

void pin_to_cpu(long cpu)
{
	if (cpu < 0) {
		return;
	}
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0) {
		give_up("CPU %ld: %s", cpu, strerror(errno));
	}
}

void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
		return;
	}
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

void announce_port(unsigned port)
{
	printf("listening %u\n", port);
	fflush(stdout);
}
