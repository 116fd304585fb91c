/* RMSNorm with Gemma's (1 + w), one row at a time: y = x r (1 + w), r = 1 / sqrt(mean(x^2) + eps).
 *
 * Backward, with g = dy (1 + w):  dx = r (g - x r^2 mean(g x)),  dw = sum over rows of dy x r. */
#include <math.h>

#include "cpu/kernels/kernels.h"

float EWCI_KERNEL(rms_reciprocal)(const float *restrict x, int64_t n, float eps)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return 1.0F / sqrtf(sum / (float)n + eps);
}

void EWCI_KERNEL(rmsnorm_row)(float *restrict y, const float *restrict x, const float *restrict w, float rstd,
                              int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * rstd * (1.0F + w[i]);
}

void EWCI_KERNEL(rmsnorm_add_row)(float *out, const float *x, const float *restrict o, const float *restrict w,
                                  float rstd, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) out[i] = x[i] + o[i] * rstd * (1.0F + w[i]);
}

void EWCI_KERNEL(rmsnorm_bwd_row)(float *dx, const float *dy, const float *restrict x, const float *restrict w,
                                  float rstd, int64_t n, bool accumulate)
{
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < n; i++) dot += dy[i] * (1.0F + w[i]) * x[i];
    float back = dot / (float)n * rstd * rstd;
    if (accumulate) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dx[i] += rstd * (dy[i] * (1.0F + w[i]) - x[i] * back);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dx[i] = rstd * (dy[i] * (1.0F + w[i]) - x[i] * back);
    }
}

void EWCI_KERNEL(rmsnorm_bwd_weight)(float *restrict dw, const float *restrict dy, const float *restrict x, float rstd,
                                     int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dw[i] += dy[i] * x[i] * rstd;
}
