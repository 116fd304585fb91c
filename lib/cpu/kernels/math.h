/* exp and tanh for loops that the compiler vectorises: no branches, no calls, no conversions.
 *
 * Measured against double over every f32 (tests/ops/test_math.c): exp within 1.02 ulp on [-86.5, 88.7], 0 below (absolute error below
 * 3e-38), infinity above; tanh within 1.34 ulp. NaN stays NaN. */
#ifndef EWCI_CPU_KERNELS_MATH_H
#define EWCI_CPU_KERNELS_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float ewci_float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t ewci_bits_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* e^x = 2^n e^r with n = round(x log2 e), r = x - n log 2 in two parts, and a polynomial for e^r on [-0.35, 0.35] (Cephes,
 * expf). Adding 1.5 * 2^23 rounds to an integer whose bits are then the exponent; 2^n is applied as 2^(n-1) * 2, so that the largest
 * arguments do not overflow early and those beyond them do. */
static inline float ewci_exp(float x)
{
    const float shift = 12582912.0F;
    float c = x < -86.5F ? -86.5F : x;
    c = c > 89.0F ? 89.0F : c;
    float k = c * 1.44269504088896341F + shift;
    float n = k - shift;
    float r = c - n * 0.693359375F;
    r = r + n * 2.12194440e-4F;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * (r * r) + r + 1.0F;
    float power = ewci_float_of_bits((ewci_bits_of_float(k) + 126U) << 23);
    return x < -86.5F ? 0.0F : p * power * 2.0F;
}

/* Odd polynomial below 0.625 (Cephes, tanhf), 1 - 2 / (e^2|x| + 1) above. */
static inline float ewci_tanh(float x)
{
    float a = fabsf(x), z = x * x;
    float p = -5.70498872745e-3F;
    p = p * z + 2.06390887954e-2F;
    p = p * z - 5.37397155531e-2F;
    p = p * z + 1.33314422036e-1F;
    p = p * z - 3.33332819422e-1F;
    float small = x + x * z * p;
    float large = copysignf(1.0F - 2.0F / (ewci_exp(2.0F * a) + 1.0F), x);
    return a < 0.625F ? small : large;
}

#endif
