/* Distances of one block from the anchor: sums of (w - a)^2 and F (w - a)^2 in double over fixed lanes. f or both f and a may
 * be absent. The difference is taken in f32, where it is exact for weights near their anchor (within a factor of two). */
#include <float.h>
#include <math.h>

#include "cpu/kernels/kernels.h"

enum { LANES = EWCI_LANES };

typedef struct sums {
    double plain[LANES], fisher[LANES];
    int32_t nonfinite[LANES];
} sums;

/* `width` elements, one per lane: a constant where it is LANES. */
static inline __attribute__((always_inline)) void step(int width, const float *restrict w, const float *restrict f,
                                                       const float *restrict a, bool anchored, bool weighted, sums *s)
{
#pragma omp simd
    for (int l = 0; l < width; l++) {
        if (anchored) {
            double distance = (double)(w[l] - a[l]);
            s->plain[l] += distance * distance;
            if (weighted) s->fisher[l] += (double)f[l] * (distance * distance);
        }
        s->nonfinite[l] += fabsf(w[l]) <= FLT_MAX ? 0 : 1;
    }
}

static inline __attribute__((always_inline)) void block(int64_t n, const float *restrict w, const float *restrict f,
                                                        const float *restrict a, bool anchored, bool weighted,
                                                        ewci_penalty_lanes *lanes)
{
    sums s;
    int64_t i = 0;
    for (int l = 0; l < LANES; l++) {
        s.plain[l] = lanes->distance[l];
        s.fisher[l] = lanes->fisher_distance[l];
        s.nonfinite[l] = 0;
    }
    for (; i + LANES <= n; i += LANES) step(LANES, w + i, f + i, a + i, anchored, weighted, &s);
    if (i < n) step((int)(n - i), w + i, f + i, a + i, anchored, weighted, &s);
    for (int l = 0; l < LANES; l++) {
        lanes->distance[l] = s.plain[l];
        lanes->fisher_distance[l] = s.fisher[l];
        lanes->nonfinite[l] += s.nonfinite[l];
    }
}

void EWCI_KERNEL(penalty_block)(int64_t n, const float *restrict w, const float *restrict f, const float *restrict a,
                                ewci_penalty_lanes *lanes)
{
    if (a == NULL)
        block(n, w, w, w, false, false, lanes);
    else if (f == NULL)
        block(n, w, w, a, true, false, lanes);
    else
        block(n, w, f, a, true, true, lanes);
}
