/* Scalars of one call of the update, prepared in double and rounded once. */
#ifndef EWCI_CPU_KERNELS_UPDATE_PARAMETERS_H
#define EWCI_CPU_KERNELS_UPDATE_PARAMETERS_H

#include "libewc.h"

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

/* f32 within a block of at most EWCI_UPDATE_BLOCK elements, double between blocks. */
typedef struct ewci_update_sums {
    double distance_squared, fisher_distance_squared;
    int64_t nonfinite;
} ewci_update_sums;

enum { EWCI_UPDATE_BLOCK = 1024 };

#endif
