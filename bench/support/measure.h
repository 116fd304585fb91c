/* What the benchmarks share: the machine's description, time, medians. */
#ifndef BENCH_SUPPORT_MEASURE_H
#define BENCH_SUPPORT_MEASURE_H

#include <stdint.h>

#include "libewc.h"

enum { MOST_REPETITIONS = 101 };

/* Options of the command line, each as --name value; what is not given stays as it was: 0 or NULL is the default. */
typedef struct bench_options {
    int64_t elements, repetitions, threads, instruction_set, stagger, recompute, seconds, memory;
    const char *shape, *curve, *state, *json; /* a name of shapes.h, of scaling.c, of step.c; a file to write */
    const char *products;                     /* "f32", "bf16" */
} bench_options;
void bench_parse(int argc, char **argv, bench_options *options);

/* A context, after printing what it runs on. Ends the program with a message when it cannot be had. */
ewc_context *bench_context(const bench_options *options);

/* Ends the program with the context's error text unless status is EWC_OK. */
void bench_check(ewc_context *context, ewc_status status);

double bench_now(void);

/* The middle of count <= MOST_REPETITIONS numbers, which stay as they are. */
double bench_median(const double *values, int64_t count);

#endif
