/*
 * common.h - what the reference programs share: their options, the CPU they run on, and how they give up.
 *
 * They stand outside the library on purpose and use none of it: a fault in ours must not be in what ours is compared with.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* One "--name VALUE" of a program: a whole number with its bounds, and the default already in *value. */
struct number_option {
	const char *name;
	long minimum;
	long maximum;
	long *value;
	const char *help;
};

__attribute__((noreturn, format(printf, 1, 2))) void give_up(const char *format, ...);

/* Fills the options from the command line; prints the list of them for --help. Ends the program on anything else. */
void parse_options(int argc, char **argv, const char *purpose, const struct number_option *options, size_t count);

/* Confines the process to one CPU; -1 leaves it where it is. */
void pin_to_cpu(long cpu);

/* Raises the soft limit of descriptors to the hard one. */
void raise_descriptor_limit(void);

/* The one line that a reference server prints. */
void announce_port(unsigned port);

#endif /* BENCH_COMMON_H */
