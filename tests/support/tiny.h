/* A tiny random model with every feature of the family on, and batches for it: for tests of the public interface. */
#ifndef TESTS_SUPPORT_TINY_H
#define TESTS_SUPPORT_TINY_H

#include <stdint.h>

#include "libewc.h"
#include "support/arrays.h" /* tiny_number */

/* A context with `threads` threads; fails the test when it cannot be had. */
ewc_context *tiny_context(int threads);

/* 3 layers (windowed, full, windowed), odd sizes, softcaps that bite, about 10 000 parameters. */
ewc_model_config tiny_config(void);

/* The same sizes as Gemma 3: queries and keys with norms, two bases, linear scaling, no softcap of attention. */
ewc_model_config tiny_gemma3_config(void);

/* A model of tiny_config, or of another, whose norm weights are random too. */
ewc_model *tiny_model(ewc_context *ctx, uint64_t seed);
ewc_model *tiny_model_of(ewc_context *ctx, const ewc_model_config *config, uint64_t seed);

/* Random tokens and targets (targets: next token; about one in five is -1). Free with tiny_batch_free. */
typedef struct tiny_batch {
    ewc_batch batch;
    int32_t *tokens, *targets, *document_start;
    float *weights;
} tiny_batch;
void tiny_batch_make(tiny_batch *b, int64_t vocab, int64_t sequences, int64_t length, uint64_t seed);
void tiny_batch_free(tiny_batch *b);

/* All weights of a model, flat; free() it. */
float *tiny_weights(ewc_model *model);
void tiny_set_weights(ewc_model *model, const float *flat);

/* Fails the test with the library's text when status is not EWC_OK. */
void tiny_ok(ewc_context *ctx, ewc_status status, const char *file, int line);
#define OK(ctx, call) tiny_ok((ctx), (call), __FILE__, __LINE__)

#endif
