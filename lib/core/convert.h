/* Conversions between f32, bf16 and f16, exact or rounded to nearest even; NaN stays NaN. */
#ifndef EWCI_CORE_CONVERT_H
#define EWCI_CORE_CONVERT_H

#include <stdint.h>
#include <string.h>

#include "libewc.h"

/* 4 or 2; 0 for anything that is not an ewc_dtype. */
static inline size_t ewci_dtype_bytes(ewc_dtype dtype)
{
    return dtype == EWC_F32 ? 4 : dtype == EWC_BF16 || dtype == EWC_F16 ? 2 : 0;
}

static inline float ewci_f32_of_bf16(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

static inline uint16_t ewci_bf16_of_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40U;
    return (uint16_t)((bits & 0x7fffffffU) > 0x7f800000U ? quiet : rounded);
}

static inline uint32_t ewci_f32_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

#define EWCI_LARGEST_BF16 0x7f7f0000U /* finite, as an f32's bits */

/* To one of the two neighbours, with the chance that makes the mean x when `random` is uniform over 0 .. 65535: a number that
 * bf16 holds stays itself. Above the largest finite one, where the upper neighbour is infinity, to nearest. */
static inline uint16_t ewci_bf16_of_f32_stochastic(float x, uint32_t random)
{
    uint32_t bits = ewci_f32_bits(x), magnitude = bits & 0x7fffffffU;
    uint32_t rounded = (bits + (magnitude > EWCI_LARGEST_BF16 ? 0x8000U : random)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40U;
    return (uint16_t)(magnitude > 0x7f800000U ? quiet : rounded);
}

/* 2^-14 f16 numbers and smaller are handled by scaling with 2^112, which the exponents differ by. */
static inline float ewci_f32_of_f16(uint16_t x)
{
    uint32_t magnitude = ((uint32_t)x & 0x7fffU) << 13, sign = ((uint32_t)x & 0x8000U) << 16, bits;
    float y;
    memcpy(&y, &magnitude, sizeof y);
    y *= 0x1p112F;
    memcpy(&bits, &y, sizeof bits);
    if ((x & 0x7c00U) == 0x7c00U) bits = magnitude | 0x7f800000U; /* infinity, NaN */
    bits |= sign;
    memcpy(&y, &bits, sizeof y);
    return y;
}

uint16_t ewci_f16_of_f32(float x);

/* `count` elements of dtype `from` at source (any alignment) to f32, and back with rounding. */
void ewci_to_f32(float *destination, const void *source, ewc_dtype from, int64_t count);
void ewci_from_f32(void *destination, ewc_dtype to, const float *source, int64_t count);

#endif
