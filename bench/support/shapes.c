/* See shapes.h. */
#include "support/shapes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const bench_shape SHAPES[] = {
    {"S", 4096, 256, 6, 4, 2, 64, 1024, 128, 8, 256},
    {"M", 32000, 768, 12, 8, 4, 128, 3072, 512, 4, 512},
    {"G", 262144, 640, 18, 4, 1, 256, 2048, 512, 2, 512}, /* the sizes of Gemma 3 270M */
};

const bench_shape *bench_shape_named(const char *name)
{
    if (name == NULL) name = "M";
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
        if (strcmp(SHAPES[i].name, name) == 0) return &SHAPES[i];
    fprintf(stderr, "--shape: expected S, M or G, found %s\n", name);
    exit(2);
}

ewc_model_config bench_shape_config(const bench_shape *shape)
{
    ewc_model_config c;
    ewc_model_config_default(&c);
    c.vocab_size = shape->vocab;
    c.hidden_size = shape->hidden;
    c.layers = shape->layers;
    c.heads = shape->heads;
    c.kv_heads = shape->kv_heads;
    c.head_dim = shape->head_dim;
    c.intermediate_size = shape->intermediate;
    c.sliding_window = shape->window;
    c.max_position = shape->length;
    return c;
}

ewc_batch bench_shape_batch(const bench_shape *shape, int32_t *ids)
{
    int64_t tokens = shape->sequences * shape->length;
    int32_t *targets = ids + tokens;
    uint32_t x = 1;
    ewc_batch batch;
    for (int64_t i = 0; i < tokens; i++) {
        x = x * 1664525U + 1013904223U;
        ids[i] = (int32_t)((x >> 8) % (uint32_t)shape->vocab);
    }
    for (int64_t i = 0; i < tokens; i++) targets[i] = ids[(i + 1) % tokens];
    ewc_batch_default(&batch);
    batch.sequences = shape->sequences;
    batch.length = shape->length;
    batch.tokens = ids;
    batch.targets = targets;
    return batch;
}

double bench_attention_pairs(const ewc_model_config *config, int64_t length)
{
    double pairs = 0, n = (double)length;
    for (int64_t l = 0; l < config->layers; l++) {
        double window = config->sliding[l] && config->sliding_window < length ? (double)config->sliding_window : n;
        pairs += window * (window + 1) / 2 + window * (n - window);
    }
    return pairs * (double)config->heads;
}

double bench_operations_per_token(const ewc_model_config *c, int64_t length)
{
    int64_t query = c->heads * c->head_dim, qkv = query + 2 * c->kv_heads * c->head_dim;
    int64_t layer = c->hidden_size * (qkv + query + 3 * c->intermediate_size);
    double weights = (double)(c->vocab_size * c->hidden_size + c->layers * layer);
    return 6 * weights + 12 * (double)c->head_dim * bench_attention_pairs(c, length) / (double)length;
}
