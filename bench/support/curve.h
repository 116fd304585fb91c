/* Steps of training at several points of a curve, measured side by side. */
#ifndef BENCH_SUPPORT_CURVE_H
#define BENCH_SUPPORT_CURVE_H

#include <stdint.h>

#include "support/measure.h"
#include "support/train.h"

enum { MOST_POINTS = 16 };

typedef struct bench_point {
    double place;                 /* on the curve's axis */
    bench_training training;      /* left open for nobody: only its description is used afterwards */
    int like_before;              /* the training of the point before serves this one too */
    int64_t sequences, documents; /* see training_batch */
    /* Found by curve_measure, in seconds of one step and operations per second; [repetitions]. */
    double step[MOST_REPETITIONS], update[MOST_REPETITIONS], clip[MOST_REPETITIONS], reference[MOST_REPETITIONS];
} bench_point;

typedef struct bench_curve {
    const char *name, *axis;
    int count;
    bench_point points[MOST_POINTS];
    int64_t repetitions;
    int alone; /* points that did not fit into memory together with those before */
} bench_curve;

/* In turn a repetition at each point, so that a busy moment meets all of them, until there are `repetitions` or `seconds` are over, but
 * at least one. Only points whose models do not fit into `bytes` together are measured after one another. */
void curve_measure(bench_curve *curve, int64_t repetitions, double seconds, double bytes);

#endif
