/* See listed.h. */
#include "support/listed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "support/files.h"

/* BOS, EOS, padding and about half of the others, the first and the last of the vocabulary among those left out and taken. */
static void choose(listed *l)
{
    for (int32_t id = 0; id < LISTED_WHOLE; id++)
        if (id < 3 || id == LISTED_WHOLE - 1 || id * 7 % 11 < 5) l->ids[l->count++] = id;
    assert_true(l->count > 25 && l->count < 45);
}

float *listed_tensor(ewc_context *ctx, ewc_model *model, const char *name, int64_t *count)
{
    for (int64_t i = 0; i < ewc_model_tensor_count(model); i++) {
        ewc_tensor_info t;
        OK(ctx, ewc_model_tensor(model, i, &t));
        if (strcmp(t.name, name) != 0) continue;
        float *values = array_filled(t.rows * t.columns, 0);
        OK(ctx, ewc_model_get_tensor(model, name, values, t.rows * t.columns));
        *count = t.rows * t.columns;
        return values;
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

void listed_same(const float *a, const float *b, int64_t count)
{
    assert_memory_equal(a, b, (size_t)count * sizeof *a);
}

/* A model of its own with the whole one's weights, and of its table the rows of the list. */
static void cut_by_hand(listed *l)
{
    ewc_model_config config;
    OK(l->ctx, ewc_model_get_config(l->whole, &config));
    config.vocab_size = l->count;
    OK(l->ctx, ewc_model_create(l->ctx, &config, 99, &l->cut));
    for (int64_t i = 0; i < ewc_model_tensor_count(l->whole); i++) {
        ewc_tensor_info t;
        int64_t count;
        OK(l->ctx, ewc_model_tensor(l->whole, i, &t));
        float *values = listed_tensor(l->ctx, l->whole, t.name, &count);
        if (strcmp(t.name, LISTED_TABLE) == 0) {
            for (int64_t k = 0; k < l->count; k++)
                memmove(values + k * t.columns, values + l->ids[k] * t.columns, (size_t)t.columns * sizeof *values);
            count = l->count * t.columns;
        }
        OK(l->ctx, ewc_model_set_tensor(l->cut, t.name, values, count));
    }
}

static ewc_model *load(listed *l, int64_t count, const int32_t *ids)
{
    ewc_model *model = NULL;
    OK(l->ctx, ewc_model_load_vocabulary(l->ctx, l->directory, count, ids, &model));
    return model;
}

void listed_set_up(listed *l, ewc_dtype dtype)
{
    int32_t turned[LISTED_WHOLE];
    memset(l, 0, sizeof *l);
    l->ctx = tiny_context(1);
    choose(l);
    snprintf(l->directory, sizeof l->directory, "%s", files_path("checkpoint"));
    ewc_model *made = tiny_model(l->ctx, 5);
    OK(l->ctx, ewc_model_save(made, l->directory, dtype, 0));
    ewc_model_destroy(made);
    OK(l->ctx, ewc_model_load(l->ctx, l->directory, &l->whole));
    for (int64_t k = 0; k < l->count; k++) turned[k] = l->ids[l->count - 1 - k];
    l->listed = load(l, l->count, turned);
    cut_by_hand(l);
}

void listed_tear_down(listed *l)
{
    ewc_model_destroy(l->cut);
    ewc_model_destroy(l->listed);
    ewc_model_destroy(l->whole);
    ewc_context_destroy(l->ctx);
    arrays_free();
    files_clear();
}

ewc_model *listed_other(listed *l)
{
    int32_t ids[LISTED_WHOLE];
    memcpy(ids, l->ids, sizeof ids);
    int64_t k = 4;
    while (ids[k] == ids[k - 1] + 1) k++;
    ids[k]--;
    return load(l, l->count, ids);
}

void listed_batch_make(const listed *l, listed_batch *b, int64_t sequences, int64_t length, uint64_t seed)
{
    tiny_batch_make(&b->of_cut, l->count, sequences, length, seed);
    tiny_batch_make(&b->of_listed, l->count, sequences, length, seed);
    for (int64_t i = 0; i < sequences * length; i++) {
        b->of_listed.tokens[i] = l->ids[b->of_cut.tokens[i]];
        if (b->of_cut.targets[i] >= 0) b->of_listed.targets[i] = l->ids[b->of_cut.targets[i]];
    }
}

void listed_batch_free(listed_batch *b)
{
    tiny_batch_free(&b->of_cut);
    tiny_batch_free(&b->of_listed);
}
