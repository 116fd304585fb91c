/* Rotary embedding of one head, halves not pairs: (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin). */
#include "cpu/kernels/kernels.h"

void EWCI_KERNEL(rope_head)(float *restrict x, const float *restrict cosine, const float *restrict sine, int64_t half)
{
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[half + i];
        x[i] = a * cosine[i] - b * sine[i];
        x[half + i] = b * cosine[i] + a * sine[i];
    }
}

void EWCI_KERNEL(rope_head_back)(float *restrict x, const float *restrict cosine, const float *restrict sine,
                                 int64_t half)
{
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[half + i];
        x[i] = a * cosine[i] + b * sine[i];
        x[half + i] = b * cosine[i] - a * sine[i];
    }
}
