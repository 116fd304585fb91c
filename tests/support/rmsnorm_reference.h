/* RMSNorm with Gemma's (1 + w) in double precision. */
#ifndef TESTS_SUPPORT_RMSNORM_REFERENCE_H
#define TESTS_SUPPORT_RMSNORM_REFERENCE_H

#include <math.h>
#include <stdint.h>

/* 1 / sqrt(mean(x^2) + eps) of one row. */
static inline double reference_rstd(const double *x, int64_t hidden, double eps)
{
    double sum = 0;
    for (int64_t i = 0; i < hidden; i++) sum += x[i] * x[i];
    return 1 / sqrt(sum / (double)hidden + eps);
}

/* y = x rstd (1 + w), one row. */
static inline void reference_rmsnorm(double *y, const double *x, const double *w, int64_t hidden, double eps)
{
    double rstd = reference_rstd(x, hidden, eps);
    for (int64_t i = 0; i < hidden; i++) y[i] = x[i] * rstd * (1 + w[i]);
}

#endif
