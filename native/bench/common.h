/*
 * common.h - shared by the reference programs: options, the CPU they run on, and giving up.
 *
 * They use nothing of the library on purpose: a bug in our code must not also be in the programs it is compared with.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* One option "--name VALUE" of a program: a whole number with its bounds. *value already holds the default. */
struct number_option {
	const char *name;
	long minimum;
	long maximum;
	long *value;
	const char *help;
};

__attribute__((noreturn, format(printf, 1, 2))) void give_up(const char *format, ...);

/* Fills the options from the command line, and lists them for --help. Anything else ends the program. */
void parse_options(int argc, char **argv, const char *purpose, const struct number_option *options, size_t count);

/* Confines the process to one CPU. -1: any CPU. */
void pin_to_cpu(long cpu);

/* Raises the soft descriptor limit to the hard limit. */
void raise_descriptor_limit(void);

/* Prints the only line of output of a reference server. */
void announce_port(unsigned port);

#endif /* BENCH_COMMON_H */
