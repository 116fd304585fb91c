/* Scalars and sums of the update's kernels. */
#ifndef EWCI_CPU_KERNELS_UPDATE_PARAMETERS_H
#define EWCI_CPU_KERNELS_UPDATE_PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>

#include "libewc.h"

enum {
    EWCI_UPDATE_BLOCK = 256, /* elements: short enough that memory streams on while a block is converted and updated */
    EWCI_LANES = 16          /* element i adds to lane i mod 16, whatever the width of the vectors */
};

/* Of one call, prepared in double and rounded once. */
typedef struct ewci_update_parameters {
    ewc_penalty_form form;
    float gradient_scale;
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float correction1, correction2; /* 1 / (1 - beta^step) */
    float epsilon;
    float rate;        /* eta */
    float keep;        /* 1 - eta * weight decay */
    float lambda;      /* gradient form; at most FLT_MAX */
    float rate_lambda; /* proximal form: eta lambda, at most FLT_MAX */
} ewci_update_parameters;

/* How results are rounded to bf16: to nearest even, or by random bits (kernels/rounding.h). */
typedef struct ewci_rounding {
    bool stochastic;
    uint32_t key[4]; /* of the seed, the step and the upper halves of the elements' numbers */
    uint32_t first;  /* lower half of the first element's number in the flat order; + n must not reach 2^32 */
} ewci_rounding;

/* Running sums over the blocks of a chunk. */
typedef struct ewci_penalty_lanes {
    double distance[EWCI_LANES];        /* (w - anchor)^2 */
    double fisher_distance[EWCI_LANES]; /* F (w - anchor)^2 */
    int64_t nonfinite[EWCI_LANES];
} ewci_penalty_lanes;

#endif
