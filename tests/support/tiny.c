/* See tiny.h. */
#include "support/tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void tiny_ok(ewc_context *ctx, ewc_status status, const char *file, int line)
{
    if (status == EWC_OK) return;
    print_error("%s: %s\n", ewc_status_name(status), ewc_last_error(ctx));
    _fail(file, line);
}

ewc_context *tiny_context(int threads)
{
    ewc_context_options options;
    ewc_context *ctx = NULL;
    ewc_context_options_default(&options);
    options.threads = threads;
    OK(NULL, ewc_context_create(&options, &ctx));
    return ctx;
}

ewc_model_config tiny_config(void)
{
    ewc_model_config c;
    ewc_model_config_default(&c);
    c.vocab_size = 71;
    c.hidden_size = 20;
    c.intermediate_size = 27;
    c.layers = 3;
    c.heads = 4;
    c.kv_heads = 2;
    c.head_dim = 6;
    c.query_scale = 9.0;
    c.attention_softcap = 2.0;
    c.final_softcap = 5.0;
    c.sliding_window = 4;
    c.max_position = 64;
    c.initializer_range = 0.3;
    return c;
}

float *tiny_weights(ewc_model *model)
{
    float *flat = malloc((size_t)ewc_model_parameter_count(model) * sizeof *flat);
    assert_non_null(flat);
    for (int64_t i = 0; i < ewc_model_tensor_count(model); i++) {
        ewc_tensor_info t;
        assert_int_equal(ewc_model_tensor(model, i, &t), EWC_OK);
        assert_int_equal(ewc_model_get_tensor(model, t.name, flat + t.offset, t.rows * t.columns), EWC_OK);
    }
    return flat;
}

void tiny_set_weights(ewc_model *model, const float *flat)
{
    for (int64_t i = 0; i < ewc_model_tensor_count(model); i++) {
        ewc_tensor_info t;
        assert_int_equal(ewc_model_tensor(model, i, &t), EWC_OK);
        assert_int_equal(ewc_model_set_tensor(model, t.name, flat + t.offset, t.rows * t.columns), EWC_OK);
    }
}

ewc_model_config tiny_gemma3_config(void)
{
    ewc_model_config c = tiny_config();
    c.family = EWC_GEMMA3;
    c.attention_softcap = 0;
    c.rope_theta = 3000;
    c.rope_local_theta = 50;
    c.rope_scale = 8;
    return c;
}

ewc_model *tiny_model(ewc_context *ctx, uint64_t seed)
{
    ewc_model_config config = tiny_config();
    return tiny_model_of(ctx, &config, seed);
}

ewc_model *tiny_model_of(ewc_context *ctx, const ewc_model_config *config, uint64_t seed)
{
    ewc_model *model = NULL;
    OK(ctx, ewc_model_create(ctx, config, seed, &model));
    float *flat = tiny_weights(model);
    for (int64_t i = 0; i < ewc_model_tensor_count(model); i++) {
        ewc_tensor_info t;
        assert_int_equal(ewc_model_tensor(model, i, &t), EWC_OK);
        for (int64_t j = 0; t.is_vector && j < t.rows; j++)
            flat[t.offset + j] = (float)(0.4 * tiny_number(seed + 7, (uint64_t)(t.offset + j)));
    }
    tiny_set_weights(model, flat);
    free(flat);
    return model;
}

static int32_t random_id(int64_t vocab, uint64_t seed, int64_t index)
{
    return (int32_t)((tiny_number(seed, (uint64_t)index) * 0.5 + 0.5) * (double)vocab);
}

void tiny_batch_make(tiny_batch *b, int64_t vocab, int64_t sequences, int64_t length, uint64_t seed)
{
    int64_t rows = sequences * length;
    memset(b, 0, sizeof *b);
    ewc_batch_default(&b->batch);
    b->tokens = malloc((size_t)rows * sizeof *b->tokens);
    b->targets = malloc((size_t)rows * sizeof *b->targets);
    b->document_start = calloc((size_t)rows, sizeof *b->document_start);
    b->weights = malloc((size_t)sequences * sizeof *b->weights);
    assert_true(b->tokens && b->targets && b->document_start && b->weights);
    for (int64_t i = 0; i < rows; i++) {
        b->tokens[i] = random_id(vocab, seed, i);
        b->targets[i] = tiny_number(seed + 1, (uint64_t)i) < -0.6 ? -1 : random_id(vocab, seed + 2, i);
    }
    for (int64_t i = 0; i < sequences; i++) b->weights[i] = (float)(1.5 * tiny_number(seed + 3, (uint64_t)i));
    b->batch.sequences = sequences;
    b->batch.length = length;
    b->batch.tokens = b->tokens;
    b->batch.targets = b->targets;
}

void tiny_batch_free(tiny_batch *b)
{
    free(b->tokens);
    free(b->targets);
    free(b->document_start);
    free(b->weights);
}
