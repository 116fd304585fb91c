/* Sums of squares in double over fixed lanes, and element-wise accumulation. */
#include <float.h>
#include <math.h>

#include "cpu/kernels/kernels.h"

enum { LANES = 16 };

static double total(const double lane[LANES])
{
    double sum = 0;
    for (int l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

double EWCI_KERNEL(sum_squares_block)(const float *restrict x, int64_t n, int64_t *nonfinite)
{
    double lane[LANES] = {0};
    int32_t bad[LANES] = {0};
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
#pragma omp simd
        for (int l = 0; l < LANES; l++) {
            float y = fabsf(x[i + l]) <= FLT_MAX ? x[i + l] : 0.0F;
            bad[l] += fabsf(x[i + l]) <= FLT_MAX ? 0 : 1;
            lane[l] += (double)y * (double)y;
        }
    }
    for (int64_t i = whole; i < n; i++) {
        float y = fabsf(x[i]) <= FLT_MAX ? x[i] : 0.0F;
        bad[i - whole] += fabsf(x[i]) <= FLT_MAX ? 0 : 1;
        lane[i - whole] += (double)y * (double)y;
    }
    for (int l = 0; l < LANES; l++) *nonfinite += bad[l];
    return total(lane);
}

double EWCI_KERNEL(sum_squares_total_block)(int64_t n, const float *restrict g, const float *restrict w,
                                            const float *restrict f, const float *restrict a, float scale, float lambda)
{
    double lane[LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        double y = (double)(scale * g[i] + lambda * f[i] * (w[i] - a[i]));
        lane[i % LANES] += y * y;
    }
    return total(lane);
}

void EWCI_KERNEL(fisher_block)(float *restrict f, const float *restrict g, int64_t n, float weight, float decay)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) f[i] = decay * f[i] + weight * (g[i] * g[i]);
}

void EWCI_KERNEL(f32_of_bf16)(float *restrict y, const uint16_t *restrict x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = ewci_f32_of_bf16(x[i]);
}

void EWCI_KERNEL(bf16_of_f32)(uint16_t *restrict y, const float *restrict x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = ewci_bf16_of_f32(x[i]);
}
