/* ewc_model_score_choices: the scores are those of each prefix and choice alone, the prefix goes through the model once, and what is wrong
 * is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "support/tiny.h"

enum { VOCAB = 71, LONGEST = 64 };

/* Random items: arrays that the items point into. */
typedef struct items {
    int64_t count, choices, tokens; /* items; choices and choices' tokens of all of them */
    ewc_choice_item *all;
} items;

static int64_t below(int64_t end, uint64_t seed, uint64_t index)
{
    return (int64_t)((tiny_number(seed, index) + 1) / 2 * (double)end);
}

static int32_t *random_ids(int64_t count, uint64_t seed)
{
    int32_t *ids = array_integers(count);
    for (int64_t i = 0; i < count; i++) ids[i] = (int32_t)below(VOCAB, seed, (uint64_t)i);
    return ids;
}

/* prefix + longest choice is at most LONGEST; longer prefixes and choices as `most` grows. */
static items random_items(int64_t count, int64_t most_prefix, int64_t most_choice, uint64_t seed)
{
    items x = {.count = count, .all = array_bytes((size_t)count * sizeof(ewc_choice_item))};
    for (int64_t i = 0; i < count; i++) {
        uint64_t of_item = seed * 1000 + (uint64_t)i;
        int64_t prefix = 1 + below(most_prefix, of_item, 1), choices = 1 + below(5, of_item, 2);
        int64_t *lengths = array_bytes((size_t)choices * sizeof *lengths);
        const int32_t **tokens = array_bytes((size_t)choices * sizeof *tokens);
        for (int64_t k = 0; k < choices; k++) {
            lengths[k] = 1 + below(most_choice, of_item, 10 + (uint64_t)k);
            tokens[k] = random_ids(lengths[k], of_item * 100 + (uint64_t)k);
            x.tokens += lengths[k];
        }
        x.choices += choices;
        x.all[i] = (ewc_choice_item){sizeof x.all[i], prefix, random_ids(prefix, of_item), choices, lengths, tokens};
    }
    return x;
}

/* log p of the choice's tokens behind the prefix, by ewc_model_evaluate. */
static void score_alone(ewc_context *ctx, ewc_model *model, const ewc_choice_item *x, int64_t choice, float *found)
{
    int64_t length = x->prefix_length + x->lengths[choice] - 1, scored = x->lengths[choice];
    int32_t *tokens = array_integers(length + 1), *targets = array_integers(length);
    float *all = array_filled(length, 0);
    memcpy(tokens, x->prefix, (size_t)x->prefix_length * sizeof *tokens);
    memcpy(tokens + x->prefix_length, x->tokens[choice], (size_t)scored * sizeof *tokens);
    for (int64_t i = 0; i < length; i++) targets[i] = i + 1 < x->prefix_length ? -1 : tokens[i + 1];
    ewc_batch batch;
    ewc_batch_default(&batch);
    batch.sequences = 1;
    batch.length = length;
    batch.tokens = tokens;
    batch.targets = targets;
    OK(ctx, ewc_model_evaluate(model, &batch, NULL, all));
    memcpy(found, all + x->prefix_length - 1, (size_t)scored * sizeof *found);
}

/* Log probabilities are differences of numbers up to about 10, good to a few units of 10^-6 in f32 on any path. */
static void check_items(ewc_context *ctx, ewc_model *model, const items *x)
{
    double *sums = array_doubles(x->choices), *expected = array_doubles(x->tokens);
    float *each = array_filled(x->tokens, NAN);
    OK(ctx, ewc_model_score_choices(model, x->count, x->all, sums, each));
    int64_t choice = 0, token = 0;
    for (int64_t i = 0; i < x->count; i++) {
        for (int64_t k = 0; k < x->all[i].choices; k++, choice++) {
            int64_t length = x->all[i].lengths[k];
            float *alone = array_filled(length, NAN);
            double sum = 0;
            score_alone(ctx, model, &x->all[i], k, alone);
            for (int64_t t = 0; t < length; t++, token++) {
                expected[token] = (double)alone[t];
                sum += (double)each[token];
            }
            assert_true(sums[choice] == sum);
        }
    }
    CLOSE(each, expected, x->tokens, 5e-7);
}

static void check_shapes(ewc_context *ctx, const ewc_model_config *config)
{
    ewc_model *model = NULL;
    OK(ctx, ewc_model_create(ctx, config, 5, &model));
    for (uint64_t seed = 1; seed <= 4; seed++) {
        items x = random_items(1 + (int64_t)seed % 3, seed == 1 ? 1 : 40, seed == 2 ? 1 : 20, seed);
        check_items(ctx, model, &x);
        arrays_free();
    }
    ewc_model_destroy(model);
}

static void choices_score_as_each_of_them_alone(void **state)
{
    (void)state;
    for (int set = EWC_ISA_PORTABLE; set <= EWC_ISA_AVX512; set++) {
        for (int threads = 1; threads <= 3; threads += 2) {
            ewc_context_options options;
            ewc_context *ctx = NULL;
            ewc_context_options_default(&options);
            options.instruction_set = (ewc_instruction_set)set;
            options.threads = threads;
            if (ewc_context_create(&options, &ctx) != EWC_OK) continue; /* not of this processor */
            ewc_model_config config = tiny_config();                    /* windows of 4: shorter than most prefixes */
            check_shapes(ctx, &config);
            config.sliding_window = 30;
            check_shapes(ctx, &config);
            ewc_context_destroy(ctx);
        }
    }
}

static void many_items_are_scored_in_several_passes(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(2);
    ewc_model *model = tiny_model(ctx, 1);
    items x = random_items(100, 40, 20, 9);
    assert_true(x.tokens > 2048);
    check_items(ctx, model, &x);
    arrays_free();
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

static int count_rows(void *user, const float *h, int64_t rows, int64_t hidden)
{
    (void)h;
    (void)hidden;
    *(int64_t *)user += rows;
    return 0;
}

static void the_prefix_goes_through_the_model_once(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_model *model = tiny_model(ctx, 1);
    int64_t rows = 0, lengths[] = {4, 4, 4};
    int32_t *ids = random_ids(50, 3);
    const int32_t *tokens[] = {ids, ids + 1, ids + 2};
    double sums[3];
    ewc_choice_item item = {sizeof item, 50, ids, 3, lengths, tokens};
    ewc_residual_hook hook = {.struct_size = sizeof hook, .layer = 0, .user = &rows, .forward = count_rows};
    OK(ctx, ewc_model_set_hook(model, &hook));
    OK(ctx, ewc_model_score_choices(model, 1, &item, sums, NULL));
    assert_int_equal(rows, 49 + 3 * 4);
    arrays_free();
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

/* What a scoring leaves in the model's memory does not reach the next batch. */
static void other_passes_are_as_before(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(2);
    ewc_model *model = tiny_model(ctx, 1);
    items x = random_items(3, 20, 9, 4);
    tiny_batch b;
    float before[24], after[24];
    double *sums = array_doubles(x.choices);
    int64_t parameters = ewc_model_parameter_count(model);
    float *gradient = array_filled(parameters, 0), *again = array_filled(parameters, 0);
    tiny_batch_make(&b, VOCAB, 2, 12, 3);
    OK(ctx, ewc_model_evaluate(model, &b.batch, NULL, before));
    OK(ctx, ewc_model_gradient(model, &b.batch, 0, NULL, gradient));
    OK(ctx, ewc_model_score_choices(model, x.count, x.all, sums, NULL));
    OK(ctx, ewc_model_evaluate(model, &b.batch, NULL, after));
    OK(ctx, ewc_model_score_choices(model, x.count, x.all, sums, NULL));
    OK(ctx, ewc_model_gradient(model, &b.batch, 0, NULL, again));
    SAME(before, after, 24);
    SAME(gradient, again, parameters);
    tiny_batch_free(&b);
    arrays_free();
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

typedef struct refusal {
    ewc_context *ctx;
    ewc_model *model;
    int64_t lengths[2];
    int32_t prefix[LONGEST + 1], first[LONGEST], second[LONGEST];
    const int32_t *tokens[2];
    ewc_choice_item two[2];
} refusal;

static void refused(refusal *r, int64_t count, const char *words)
{
    double sums[4] = {7, 7, 7, 7};
    float each[2 * LONGEST] = {7};
    ewc_status status = ewc_model_score_choices(r->model, count, r->two, sums, each);
    if (status != EWC_ERROR_ARGUMENT || strstr(ewc_last_error(r->ctx), words) == NULL) {
        print_error("expected a refusal naming \"%s\", found %s: %s\n", words, ewc_status_name(status),
                    ewc_last_error(r->ctx));
        fail();
    }
    assert_true(sums[0] == 7 && sums[1] == 7 && each[0] == 7);
}

static void refused_next(refusal *r, const char *words)
{
    refused(r, 2, words);
    r->two[1] = r->two[0];
}

static void wrong_items_are_named(void **state)
{
    (void)state;
    refusal r = {.ctx = tiny_context(1), .lengths = {2, 3}};
    r.model = tiny_model(r.ctx, 1);
    r.tokens[0] = r.first;
    r.tokens[1] = r.second;
    r.two[0] = r.two[1] = (ewc_choice_item){sizeof r.two[0], 5, r.prefix, 2, r.lengths, r.tokens};
    refused(&r, 0, "count");
    r.two[1].struct_size = 8;
    refused_next(&r, "item 1: struct_size");
    r.two[1].prefix_length = 0;
    refused_next(&r, "item 1: prefix: expected at least one token");
    r.two[1].prefix = NULL;
    refused_next(&r, "item 1: prefix");
    r.two[1].choices = 0;
    refused_next(&r, "item 1: choices");
    r.two[1].lengths = NULL;
    refused_next(&r, "item 1: choices");
    r.two[1].tokens = NULL;
    refused_next(&r, "item 1: choices");
    int64_t empty[] = {1, 0};
    r.two[1].lengths = empty;
    refused_next(&r, "item 1, choice 1: expected at least one token");
    const int32_t *absent[] = {r.first, NULL};
    r.two[1].tokens = absent;
    refused_next(&r, "item 1, choice 1");
    int64_t longer[] = {1, LONGEST - 3};
    r.two[1].lengths = longer;
    refused_next(&r, "item 1, choice 1: a prefix of 5 tokens and a choice of 61 are longer");
    r.two[1].prefix_length = INT64_MAX;
    refused_next(&r, "max_position_embeddings");
    r.lengths[0] = INT64_MAX;
    refused_next(&r, "item 0, choice 0");
    r.lengths[0] = 2;
    r.second[2] = VOCAB;
    refused_next(&r, "item 0, choice 1, token 2: expected an id from 0 to 70, found 71");
    r.second[2] = 0;
    r.prefix[4] = -1;
    refused_next(&r, "item 0: prefix, token 4");
    assert_int_equal(ewc_model_score_choices(NULL, 1, r.two, NULL, NULL), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_model_score_choices(r.model, 1, NULL, NULL, NULL), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_model_score_choices(r.model, 1, r.two, NULL, NULL), EWC_ERROR_ARGUMENT);
    ewc_model_destroy(r.model);
    ewc_context_destroy(r.ctx);
}

/* The last token of a choice is predicted, not read: prefix and choice may be one token longer than the longest document. */
static void the_longest_item_fits(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_model *model = tiny_model(ctx, 1);
    int64_t lengths[] = {LONGEST - 9, 3};
    const int32_t *tokens[] = {random_ids(LONGEST, 1), random_ids(3, 2)};
    ewc_choice_item item = {sizeof item, 10, random_ids(10, 3), 2, lengths, tokens};
    items x = {1, 2, LONGEST - 9 + 3, &item};
    check_items(ctx, model, &x);
    arrays_free();
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_score_as_each_of_them_alone),
        cmocka_unit_test(many_items_are_scored_in_several_passes),
        cmocka_unit_test(the_longest_item_fits),
        cmocka_unit_test(the_prefix_goes_through_the_model_once),
        cmocka_unit_test(other_passes_are_as_before),
        cmocka_unit_test(wrong_items_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
