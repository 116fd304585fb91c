/* Sums of squares of one block in double over fixed lanes. */
#include <float.h>
#include <math.h>

#include "cpu/kernels/kernels.h"

enum { LANES = EWCI_LANES };

/* `width` elements, one per lane: a constant where it is LANES. A square of an f32 is exact in double. */
static inline __attribute__((always_inline)) void step(int width, const float *restrict x, double *restrict lane,
                                                       int32_t *restrict bad)
{
#pragma omp simd
    for (int l = 0; l < width; l++) {
        float y = fabsf(x[l]) <= FLT_MAX ? x[l] : 0.0F;
        bad[l] += fabsf(x[l]) <= FLT_MAX ? 0 : 1;
        lane[l] += (double)y * (double)y;
    }
}

void EWCI_KERNEL(sum_squares_block)(const float *restrict x, int64_t n, double *lanes, int64_t *nonfinite)
{
    double lane[LANES];
    int32_t bad[LANES] = {0};
    int64_t i = 0;
    for (int l = 0; l < LANES; l++) lane[l] = lanes[l];
    for (; i + LANES <= n; i += LANES) step(LANES, x + i, lane, bad);
    if (i < n) step((int)(n - i), x + i, lane, bad);
    for (int l = 0; l < LANES; l++) {
        lanes[l] = lane[l];
        *nonfinite += bad[l];
    }
}

/* Double throughout: a strong penalty far from its anchor does not overflow. */
static inline __attribute__((always_inline)) void total_step(int width, const float *restrict g,
                                                             const float *restrict w, const float *restrict f,
                                                             const float *restrict a, double scale, double lambda,
                                                             double *restrict lane)
{
#pragma omp simd
    for (int l = 0; l < width; l++) {
        double y = scale * (double)g[l] + lambda * ((double)f[l] * (double)(w[l] - a[l]));
        lane[l] += y * y;
    }
}

void EWCI_KERNEL(sum_squares_total_block)(int64_t n, const float *restrict g, const float *restrict w,
                                          const float *restrict f, const float *restrict a, float scale, float lambda,
                                          double *lanes)
{
    double lane[LANES];
    int64_t i = 0;
    for (int l = 0; l < LANES; l++) lane[l] = lanes[l];
    for (; i + LANES <= n; i += LANES)
        total_step(LANES, g + i, w + i, f + i, a + i, (double)scale, (double)lambda, lane);
    if (i < n) total_step((int)(n - i), g + i, w + i, f + i, a + i, (double)scale, (double)lambda, lane);
    for (int l = 0; l < LANES; l++) lanes[l] = lane[l];
}
