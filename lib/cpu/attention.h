/* What the two directions of attention share: tiles, documents, strides. */
#ifndef EWCI_CPU_ATTENTION_H
#define EWCI_CPU_ATTENTION_H

#include "cpu/device.h"

/* Rows of a query tile and of a key tile: the scores of a tile (128 KiB) stay in cache between product and softmax. */
enum { EWCI_QUERY_TILE = 128, EWCI_KEY_TILE = 256, EWCI_SCORE_TILE = EWCI_QUERY_TILE * EWCI_KEY_TILE };

typedef struct ewci_attention_job {
    ewci_device *device;
    const ewci_attention *shape;
    int64_t stride; /* of a row of qkv */
    const float *qkv;
    float *o, *lse; /* lse: written forward, read backward */
    float *dqkv;    /* backward */
    const float *d_o;
    float *thread_scratch; /* [threads, ewci_attention_thread_scratch] */
    float *partial; /* [heads, tokens, 2d] one query head's dK and dV, or NULL when each kv head has one query head */
} ewci_attention_job;

/* Floats of scratch per thread. */
int64_t ewci_attention_thread_scratch(const ewci_attention *shape);

/* First row after the document that starts at `start`. */
int64_t ewci_document_end(const ewci_attention *shape, int64_t start);

/* First key that some query of [i, ...) of the document starting at `start` sees. */
int64_t ewci_first_key(const ewci_attention *shape, int64_t start, int64_t query);

#endif
