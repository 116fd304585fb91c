/* Random bits for stochastic rounding, and a few elements of typed buffers to f32 and back.
 *
 * The bits of element e of the flat order at one step are h = hash(e, key), the key being four words of Philox of (seed, step, the upper
 * half of e). Within a key the hash is a bijection of the lower half of e: two multiplications by odd numbers, each between
 * shifts that bring the high bits down (the finaliser of MurmurHash3: Appleby 2011), with the second key word added between them, so
 * that the sequences of two steps are not shifts of each other. m takes the lower 16 bits of h, v the upper 16, a bf16 weight the
 * upper 16 of a hash under the other two key words. tests/ops/test_update_rounding.c tests the mean and the correlations. */
#ifndef EWCI_CPU_KERNELS_ROUNDING_H
#define EWCI_CPU_KERNELS_ROUNDING_H

#include "cpu/kernels/kernels.h"

static inline uint32_t ewci_rounding_hash(uint32_t element, uint32_t key0, uint32_t key1)
{
    uint32_t h = element ^ key0;
    h = (h ^ h >> 16) * 0x85EBCA6BU;
    h = ((h ^ h >> 13) + key1) * 0xC2B2AE35U;
    return h ^ h >> 16;
}

/* Elements first .. first + width of a buffer as f32: where they lie, or widened into `block`. */
static inline __attribute__((always_inline)) float *ewci_lanes_read(int width, ewc_buffer buffer, int64_t first,
                                                                    float *restrict block)
{
    const uint16_t *half = (const uint16_t *)buffer.data + first;
    if (buffer.dtype == EWC_F32) return (float *)buffer.data + first;
    if (buffer.dtype == EWC_BF16) {
#pragma omp simd
        for (int l = 0; l < width; l++) block[l] = ewci_f32_of_bf16(half[l]);
    } else {
#pragma omp simd
        for (int l = 0; l < width; l++) block[l] = ewci_f32_of_f16(half[l]);
    }
    return block;
}

/* Are all finite, with a finite upper neighbour in bf16? Then rounding is an addition and a shift. */
static inline __attribute__((always_inline)) bool ewci_lanes_are_ordinary(int width, const float *restrict x)
{
    uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
    for (int l = 0; l < width; l++) {
        uint32_t magnitude = ewci_f32_bits(x[l]) & 0x7fffffffU;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest <= EWCI_LARGEST_BF16;
}

/* The 16 random bits of a hash from `shift` on. */
static inline uint32_t ewci_rounding_draw(uint32_t hash, int shift)
{
    return hash >> shift & 0xffffU;
}

/* Puts them back if they are bf16: to nearest even where `random` is NULL, else by the hashes in it. */
static inline __attribute__((always_inline)) void ewci_lanes_write(int width, ewc_buffer buffer, int64_t first,
                                                                   const float *restrict x,
                                                                   const uint32_t *restrict random, int shift)
{
    uint16_t *half = (uint16_t *)buffer.data + first;
    if (buffer.dtype != EWC_BF16) return;
    if (random == NULL) {
#pragma omp simd
        for (int l = 0; l < width; l++) half[l] = ewci_bf16_of_f32(x[l]);
    } else if (ewci_lanes_are_ordinary(width, x)) {
#pragma omp simd
        for (int l = 0; l < width; l++)
            half[l] = (uint16_t)((ewci_f32_bits(x[l]) + ewci_rounding_draw(random[l], shift)) >> 16);
    } else {
#pragma omp simd
        for (int l = 0; l < width; l++)
            half[l] = ewci_bf16_of_f32_stochastic(x[l], ewci_rounding_draw(random[l], shift));
    }
}

#endif
