/* Row arithmetic of the embedding and of the per-sequence squares. */
#include "cpu/kernels/kernels.h"

void EWCI_KERNEL(scale_row)(float *restrict y, const float *restrict x, float scale, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = scale * x[i];
}

void EWCI_KERNEL(add_scaled)(float *restrict y, const float *restrict x, float scale, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += scale * x[i];
}

void EWCI_KERNEL(add_square)(float *restrict f, const float *restrict x, float weight, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) f[i] += weight * (x[i] * x[i]);
}
