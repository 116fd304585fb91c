/* f = decay f + weight g^2 over one block; g is not read where weight is 0. */
#include "cpu/kernels/kernels.h"

void EWCI_KERNEL(fisher_block)(float *restrict f, const float *restrict g, int64_t n, float weight, float decay)
{
    if (weight == 0.0F) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) f[i] = decay * f[i];
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) f[i] = decay * f[i] + weight * (g[i] * g[i]);
}
