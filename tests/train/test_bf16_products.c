/* A training with products in bf16 beside one in f32: its loss follows, it repeats itself bit for bit, and its Fisher is close. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "support/arrays.h"
#include "support/tiny.h"

enum { VOCAB = 71, LENGTH = 16, SEQUENCES = 8, STEPS = 60 };

typedef struct run {
    double loss[STEPS];
    float *fisher, *weights; /* before and after the steps */
    int64_t parameters;
} run;

static ewc_context *context_with(ewc_products products)
{
    ewc_context_options options;
    ewc_context *ctx = NULL;
    ewc_context_options_default(&options);
    options.threads = 2;
    options.products = products;
    ewc_status status = ewc_context_create(&options, &ctx);
    if (products == EWC_PRODUCTS_BF16 && status == EWC_ERROR_UNSUPPORTED) {
        print_message("# %s\n", ewc_last_error(NULL));
        skip();
    }
    OK(NULL, status);
    return ctx;
}

static float *fisher_of(ewc_context *ctx, ewc_model *model, const ewc_batch *batch)
{
    ewc_fisher *fisher = NULL;
    const int64_t n = ewc_model_parameter_count(model);
    float *values = malloc((size_t)n * sizeof *values);
    assert_non_null(values);
    OK(ctx, ewc_fisher_create(model, NULL, &fisher));
    OK(ctx, ewc_fisher_accumulate(fisher, batch));
    OK(ctx, ewc_fisher_finish(fisher));
    for (int64_t i = 0; i < ewc_model_tensor_count(model); i++) {
        ewc_tensor_info t;
        OK(ctx, ewc_model_tensor(model, i, &t));
        OK(ctx, ewc_fisher_get_tensor(fisher, t.name, values + t.offset, t.rows * t.columns));
    }
    ewc_fisher_destroy(fisher);
    return values;
}

static run run_with(ewc_products products)
{
    run r = {.fisher = NULL};
    ewc_context *ctx = context_with(products);
    ewc_model *model = tiny_model(ctx, 3);
    ewc_trainer *trainer = NULL;
    ewc_trainer_options options;
    tiny_batch batch;
    tiny_batch_make(&batch, VOCAB, SEQUENCES, LENGTH, 21);
    r.parameters = ewc_model_parameter_count(model);
    r.fisher = fisher_of(ctx, model, &batch.batch);
    ewc_trainer_options_default(&options);
    options.schedule.peak = 5e-3;
    options.max_sequences = SEQUENCES;
    options.max_length = LENGTH;
    OK(ctx, ewc_trainer_create(model, &options, &trainer));
    for (int i = 0; i < STEPS; i++) {
        ewc_step_statistics s = {.struct_size = sizeof s};
        OK(ctx, ewc_trainer_step(trainer, 1, &batch.batch, &s));
        r.loss[i] = s.loss;
    }
    r.weights = tiny_weights(model);
    tiny_batch_free(&batch);
    ewc_trainer_destroy(trainer);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
    return r;
}

static void run_free(run *r)
{
    free(r->fisher);
    free(r->weights);
}

/* bf16 rounds by 2^-8 at most: that, as a share of the loss, is what the same weights may differ by. Later steps are those of other
 * weights: Adam's first steps are the gradient's signs, which the rounding of the smallest changes; by then the loss must have
 * fallen as far, to within 3 % of what it began with. */
static void the_loss_follows_that_in_f32(void **state)
{
    (void)state;
    run bf16 = run_with(EWC_PRODUCTS_BF16), f32 = run_with(EWC_PRODUCTS_F32);
    assert_true(fabs(bf16.loss[0] - f32.loss[0]) <= 0x1p-8 * f32.loss[0]);
    assert_true(bf16.loss[0] != f32.loss[0]);
    assert_true(f32.loss[STEPS - 1] < 0.5 * f32.loss[0]);
    for (int i = 0; i < STEPS; i++)
        if (fabs(bf16.loss[i] - f32.loss[i]) > 0.03 * f32.loss[0])
            fail_msg("step %d: loss %.6f in bf16, %.6f in f32", i + 1, bf16.loss[i], f32.loss[i]);
    run_free(&bf16);
    run_free(&f32);
}

static void the_same_training_gives_the_same_bits(void **state)
{
    (void)state;
    run first = run_with(EWC_PRODUCTS_BF16), second = run_with(EWC_PRODUCTS_BF16);
    assert_memory_equal(first.loss, second.loss, sizeof first.loss);
    SAME(first.weights, second.weights, first.parameters);
    SAME(first.fisher, second.fisher, first.parameters);
    run_free(&first);
    run_free(&second);
}

/* Squares of gradients that a few roundings in a row make uncertain: a few per cent of the whole. */
static void the_fisher_is_close_to_that_in_f32(void **state)
{
    (void)state;
    run bf16 = run_with(EWC_PRODUCTS_BF16), f32 = run_with(EWC_PRODUCTS_F32);
    double difference = 0, total = 0;
    for (int64_t i = 0; i < f32.parameters; i++) {
        difference += fabs((double)bf16.fisher[i] - (double)f32.fisher[i]);
        total += (double)f32.fisher[i];
    }
    print_message("# Fisher: %.4f of its sum away; losses %.4f and %.4f, at the end %.4f and %.4f\n",
                  difference / total, bf16.loss[0], f32.loss[0], bf16.loss[STEPS - 1], f32.loss[STEPS - 1]);
    assert_true(total > 0 && difference > 0 && difference <= 0.03 * total);
    run_free(&bf16);
    run_free(&f32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loss_follows_that_in_f32),
        cmocka_unit_test(the_same_training_gives_the_same_bits),
        cmocka_unit_test(the_fisher_is_close_to_that_in_f32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
