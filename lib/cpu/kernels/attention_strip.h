/* A strip of attention scores: some keys against the queries of one tile, transposed, so that a row belongs to a key and the queries of several
 * heads lie side by side in the lanes of vectors. */
#ifndef EWCI_CPU_KERNELS_ATTENTION_STRIP_H
#define EWCI_CPU_KERNELS_ATTENTION_STRIP_H

#include <stdint.h>

typedef struct ewci_attention_strip {
    int64_t keys, lanes; /* lanes is a multiple of EWCI_ATTENTION_VECTOR */
    /* [keys / EWCI_KEY_GROUP, rounded up] lanes that see a key of each group, multiples of EWCI_ATTENTION_VECTOR; the others' scores are
     * undefined on entry, their probabilities and gradients zero. */
    const int32_t *from, *to;
    int64_t first;                   /* number of the strip's first key, counted as lowest and highest are */
    int64_t seen_first, seen_last;   /* every lane sees the keys between these, both included */
    const int32_t *lowest, *highest; /* [lanes] a lane sees key j when lowest <= j <= highest */
    float softcap, scale;
    float *s; /* [keys, lanes] in: products of queries and keys; out: probabilities, forward up to a factor */
    float *maximum, *sum,
        *factor; /* [lanes] forward: running maximum and sum; what earlier results are to be multiplied by */
    float *dp;   /* [keys, lanes] backward, in: gradient of the probabilities, out: of the uncapped, unscaled scores */
    const float *lse, *delta; /* [lanes] backward */
} ewci_attention_strip;

/* Lanes come in so many: a whole number of every instruction set's tiles of products. */
enum { EWCI_ATTENTION_VECTOR = 32 };

/* Keys that have one range of lanes: a whole number of every instruction set's tiles too. */
enum { EWCI_KEY_GROUP = 12 };

/* A running maximum before any score: finite, so that a lane that sees nothing yet has differences, and far below any score. */
#define EWCI_ATTENTION_NOTHING (-3e38F)

#endif
