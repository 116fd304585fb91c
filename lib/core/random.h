/* Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
 *
 * A number is a pure function of (seed, stream, index): nothing depends on order, threads or where a run resumed. */
#ifndef EWCI_CORE_RANDOM_H
#define EWCI_CORE_RANDOM_H

#include <stdint.h>

/* What a number is used for: keeps the uses independent of each other under one seed. */
typedef enum ewci_stream {
    EWCI_STREAM_INIT = 1,     /* initial weights */
    EWCI_STREAM_ORDER = 2,    /* shuffled data order */
    EWCI_STREAM_SIGNS = 3,    /* random signs of empirical_signs */
    EWCI_STREAM_LABELS = 4,   /* sampled labels */
    EWCI_STREAM_ROUNDING = 5, /* stochastic rounding */
} ewci_stream;

/* The block function itself, as the paper defines it. */
void ewci_philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Four 32-bit words for counter (high, low) under key (seed, stream). */
void ewci_philox(uint64_t seed, uint32_t stream, uint64_t high, uint64_t low, uint32_t out[4]);

/* Uniform in (0, 1), never 0 or 1: (x + 0.5) / 2^32. */
double ewci_uniform(uint64_t seed, uint32_t stream, uint64_t high, uint64_t low);

/* Standard normal deviate (Box-Muller on two words of one block). */
double ewci_normal(uint64_t seed, uint32_t stream, uint64_t high, uint64_t low);

/* A permutation of [0, n) by a keyed Feistel network with cycle walking: the image of `index`, no table needed.
 * n is at most 2^62. */
uint64_t ewci_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t index);

#endif
