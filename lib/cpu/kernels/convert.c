/* Blocks of 16-bit numbers to f32 and back, for the buffers of the update. */
#include "core/convert.h"

#include "cpu/kernels/kernels.h"

void EWCI_KERNEL(f32_of_bf16)(float *restrict y, const uint16_t *restrict x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = ewci_f32_of_bf16(x[i]);
}

void EWCI_KERNEL(f32_of_f16)(float *restrict y, const uint16_t *restrict x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = ewci_f32_of_f16(x[i]);
}

void EWCI_KERNEL(bf16_of_f32)(uint16_t *restrict y, const float *restrict x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = ewci_bf16_of_f32(x[i]);
}
