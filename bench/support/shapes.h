/* The three sizes of model on which steps are timed, and how many operations a step on them takes. */
#ifndef BENCH_SUPPORT_SHAPES_H
#define BENCH_SUPPORT_SHAPES_H

#include <stdint.h>

#include "libewc.h"

typedef struct bench_shape {
    const char *name; /* "S", "M", "G" */
    int64_t vocab, hidden, layers, heads, kv_heads, head_dim, intermediate, window;
    int64_t sequences, length; /* of a micro-batch */
} bench_shape;

/* The shape of that name (NULL: "M"). Ends the program with a message when there is none. */
const bench_shape *bench_shape_named(const char *name);

/* A Gemma 2 model of that shape. */
ewc_model_config bench_shape_config(const bench_shape *shape);

/* Random tokens, each one's target being the next: all are scored. `ids` has room for 2 * sequences * length. */
ewc_batch bench_shape_batch(const bench_shape *shape, int32_t *ids);

/* Pairs of query and key that the mask leaves, over all layers and heads, of one sequence. */
double bench_attention_pairs(const ewc_model_config *config, int64_t length);

/* Operations of forward and backward per token: 6 for each weight of a matrix (the tied embedding's as the head's), and 12 head_dim for
 * each pair that the mask leaves: two products forward, their four backward. Nothing that is computed again counts. */
double bench_operations_per_token(const ewc_model_config *config, int64_t length);

#endif
