/* The whole model's gradient against central differences of its own loss, and what must not change it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "model/model.h"
#include "support/tiny.h"

static void both_families(void (*check)(const ewc_model_config *))
{
    ewc_model_config second = tiny_config(), third = tiny_gemma3_config();
    check(&second);
    check(&third);
}

static double loss_of(ewc_context *ctx, ewc_model *model, const ewc_batch *batch)
{
    ewc_evaluation e = {.struct_size = sizeof e};
    OK(ctx, ewc_model_evaluate(model, batch, &e, NULL));
    return e.nll / (double)e.tokens;
}

static float *gradient_of(ewc_context *ctx, ewc_model *model, const ewc_batch *batch)
{
    float *gradient = malloc((size_t)ewc_model_parameter_count(model) * sizeof *gradient);
    assert_non_null(gradient);
    OK(ctx, ewc_model_gradient(model, batch, 0, NULL, gradient));
    return gradient;
}

static float largest(const float *x, int64_t n)
{
    float m = 0;
    for (int64_t i = 0; i < n; i++) m = fmaxf(m, fabsf(x[i]));
    return m;
}

/* Directional derivatives: moving one tensor along a random direction by +-h changes the loss by 2h g·u. The loss is f32, so
 * the difference is only good to about 1e-3 of the slope. */
static void check_tensor(ewc_context *ctx, ewc_model *model, const ewc_batch *batch, const float *weights,
                         const float *gradient, const ewc_tensor_info *t, uint64_t seed)
{
    int64_t n = t->rows * t->columns;
    float *moved = malloc((size_t)n * sizeof *moved);
    double slope = 0, h = 2e-3, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        double u = tiny_number(seed, (uint64_t)i);
        slope += u * (double)gradient[t->offset + i];
        norm += (double)gradient[t->offset + i] * (double)gradient[t->offset + i];
    }
    double losses[2];
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++)
            moved[i] = (float)((double)weights[t->offset + i] + (side ? h : -h) * tiny_number(seed, (uint64_t)i));
        OK(ctx, ewc_model_set_tensor(model, t->name, moved, n));
        losses[side] = loss_of(ctx, model, batch);
    }
    OK(ctx, ewc_model_set_tensor(model, t->name, weights + t->offset, n));
    double measured = (losses[1] - losses[0]) / (2 * h);
    double tolerance = 0.02 * sqrt(norm) + 2e-4;
    if (fabs(measured - slope) > tolerance) {
        print_error("%s: slope %g, measured %g, tolerance %g\n", t->name, slope, measured, tolerance);
        fail();
    }
    free(moved);
}

static void check_slope(const ewc_model_config *config)
{
    ewc_context *ctx = tiny_context(2);
    ewc_model *model = tiny_model_of(ctx, config, 1);
    tiny_batch b;
    tiny_batch_make(&b, 71, 3, 13, 5);
    b.batch.weights = b.weights;
    for (int64_t i = 0; i < 39; i++) b.document_start[i] = i % 13 >= 8 ? 8 : 0;
    b.batch.document_start = b.document_start;
    float *weights = tiny_weights(model), *gradient = gradient_of(ctx, model, &b.batch);
    for (int64_t i = 0; i < ewc_model_tensor_count(model); i++) {
        ewc_tensor_info t;
        assert_int_equal(ewc_model_tensor(model, i, &t), EWC_OK);
        assert_true(largest(gradient + t.offset, t.rows * t.columns) > 1e-5F);
        for (uint64_t seed = 1; seed <= 3; seed++) check_tensor(ctx, model, &b.batch, weights, gradient, &t, seed);
    }
    free(weights);
    free(gradient);
    tiny_batch_free(&b);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

static void gradient_is_the_slope_of_the_loss(void **state)
{
    (void)state;
    both_families(check_slope);
}

static void check_recompute(const ewc_model_config *config)
{
    ewc_context *ctx = tiny_context(2);
    ewc_model *model = tiny_model_of(ctx, config, 2);
    tiny_batch b;
    tiny_batch_make(&b, 71, 2, 17, 6);
    int64_t n = ewc_model_parameter_count(model);
    float *expected = NULL;
    uint8_t mixed[3] = {EWC_RECOMPUTE_LAYER, EWC_RECOMPUTE_NONE, EWC_RECOMPUTE_MLP};
    for (int level = 0; level <= 4; level++) {
        uint8_t levels[3] = {(uint8_t)level, (uint8_t)level, (uint8_t)level};
        OK(ctx, ewci_model_reserve(model, 34, true, level < 4 ? levels : mixed));
        float *gradient = gradient_of(ctx, model, &b.batch);
        if (expected == NULL) {
            expected = gradient;
            continue;
        }
        assert_memory_equal(gradient, expected, (size_t)n * sizeof *gradient);
        free(gradient);
    }
    free(expected);
    tiny_batch_free(&b);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

static void every_recompute_level_gives_the_same_bits(void **state)
{
    (void)state;
    both_families(check_recompute);
}

static void packed_documents_are_independent(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(2);
    ewc_model *model = tiny_model(ctx, 3);
    tiny_batch packed, alone;
    float together[20], apart[20];
    ewc_evaluation e = {.struct_size = sizeof e};
    tiny_batch_make(&packed, 71, 1, 20, 7);
    for (int i = 0; i < 20; i++) packed.document_start[i] = i < 9 ? 0 : 9;
    packed.batch.document_start = packed.document_start;
    OK(ctx, ewc_model_evaluate(model, &packed.batch, &e, together));
    tiny_batch_make(&alone, 71, 1, 11, 7);
    for (int part = 0; part < 2; part++) {
        alone.batch.length = part == 0 ? 9 : 11;
        memcpy(alone.tokens, packed.tokens + 9 * part, (size_t)alone.batch.length * sizeof(int32_t));
        memcpy(alone.targets, packed.targets + 9 * part, (size_t)alone.batch.length * sizeof(int32_t));
        OK(ctx, ewc_model_evaluate(model, &alone.batch, &e, apart + 9 * part));
    }
    for (int i = 0; i < 20; i++) assert_true(fabsf(together[i] - apart[i]) < 2e-5F);
    tiny_batch_free(&packed);
    tiny_batch_free(&alone);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

static void unscored_rows_change_nothing(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_model *model = tiny_model(ctx, 4);
    tiny_batch b;
    float some[24], all[24];
    ewc_evaluation e = {.struct_size = sizeof e};
    tiny_batch_make(&b, 71, 2, 12, 8);
    for (int i = 0; i < 24; i++) b.targets[i] = (i * 7) % 71;
    OK(ctx, ewc_model_evaluate(model, &b.batch, &e, all));
    assert_int_equal(e.tokens, 24);
    for (int i = 0; i < 24; i++)
        if (i % 3 == 1) b.targets[i] = -1;
    OK(ctx, ewc_model_evaluate(model, &b.batch, &e, some));
    assert_int_equal(e.tokens, 16);
    for (int i = 0; i < 24; i++) assert_true(fabsf(some[i] - (i % 3 == 1 ? 0 : all[i])) < 2e-5F);
    tiny_batch_free(&b);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

/* Per-sequence squares of the model against one gradient per sequence, squared. */
static void check_squares(const ewc_model_config *config)
{
    ewc_context *ctx = tiny_context(2);
    ewc_model *model = tiny_model_of(ctx, config, 5);
    tiny_batch b, one;
    int64_t n = ewc_model_parameter_count(model), length = 14;
    tiny_batch_make(&b, 71, 4, length, 9);
    for (int64_t i = 0; i < length; i++) b.targets[2 * length + i] = -1; /* a sequence with nothing scored */
    float *fisher = calloc((size_t)n, sizeof *fisher), *scratch = calloc((size_t)n, sizeof *scratch);
    double *expected = calloc((size_t)n, sizeof *expected);
    float row_weight[56], nll[56], weight[4] = {1.0F, 0.5F, 1.0F, 0.0F};
    ewci_row_weights(&b.batch, 0.25, row_weight);
    ewci_pass pass = {.batch = &b.batch,
                      .row_weight = row_weight,
                      .mode = EWCI_CE_TRAIN,
                      .sink = {.gradient = scratch, .fisher = fisher, .sequence_weight = weight},
                      .nll = nll};
    OK(ctx, ewci_model_run(model, &pass));
    for (int s = 0; s < 4; s++) {
        one = b;
        one.batch.sequences = 1;
        one.batch.tokens = b.tokens + s * length;
        one.batch.targets = b.targets + s * length;
        OK(ctx, ewc_model_gradient(model, &one.batch, 4.0, NULL, scratch));
        for (int64_t i = 0; i < n; i++) expected[i] += (double)weight[s] * (double)scratch[i] * (double)scratch[i];
    }
    for (int64_t t = 0; t < ewc_model_tensor_count(model); t++) {
        ewc_tensor_info info;
        assert_int_equal(ewc_model_tensor(model, t, &info), EWC_OK);
        double scale = 0;
        for (int64_t i = 0; i < info.rows * info.columns; i++) scale = fmax(scale, expected[info.offset + i]);
        assert_true(scale > 0);
        for (int64_t i = info.offset; i < info.offset + info.rows * info.columns; i++)
            assert_true(fabs((double)fisher[i] - expected[i]) < 2e-5 * scale);
    }
    free(fisher);
    free(scratch);
    free(expected);
    tiny_batch_free(&b);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

static void per_sequence_squares_are_sums_of_squared_gradients(void **state)
{
    (void)state;
    both_families(check_squares);
}

typedef struct hook_record {
    float *h;
    int64_t rows, hidden;
    double coefficient;
} hook_record;

static int keep(void *user, const float *h, int64_t rows, int64_t hidden)
{
    hook_record *r = user;
    assert_int_equal(rows, r->rows);
    assert_int_equal(hidden, r->hidden);
    memcpy(r->h, h, (size_t)(rows * hidden) * sizeof *h);
    return 0;
}

static int pull(void *user, float *d_h, int64_t rows, int64_t hidden)
{
    hook_record *r = user;
    for (int64_t i = 0; i < rows * hidden; i++) d_h[i] += (float)(r->coefficient * (double)r->h[i]);
    return 0;
}

/* Adding c h to the gradient of h must give the gradient of loss + c/2 |h|^2. */
static void hook_adds_the_gradient_of_a_penalty_on_the_residual_stream(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(2);
    ewc_model *model = tiny_model(ctx, 6);
    tiny_batch b;
    tiny_batch_make(&b, 71, 2, 7, 10);
    float *plain = gradient_of(ctx, model, &b.batch);
    hook_record record = {.h = malloc(14 * 20 * sizeof(float)), .rows = 14, .hidden = 20, .coefficient = 0.05};
    ewc_residual_hook hook = {sizeof hook, 1, &record, keep, pull};
    OK(ctx, ewc_model_set_hook(model, &hook));
    float *hooked = gradient_of(ctx, model, &b.batch), *weights = tiny_weights(model);
    const char *name = "model.layers.0.mlp.down_proj.weight";
    int64_t n = 20 * 27, offset = 0;
    for (int64_t i = 0; i < ewc_model_tensor_count(model); i++) {
        ewc_tensor_info t;
        assert_int_equal(ewc_model_tensor(model, i, &t), EWC_OK);
        if (strcmp(t.name, name) == 0) offset = t.offset;
    }
    double slope = 0, value[2], h = 1e-3;
    float *moved = malloc((size_t)n * sizeof *moved);
    for (int64_t i = 0; i < n; i++)
        slope += tiny_number(3, (uint64_t)i) * (double)(hooked[offset + i] - plain[offset + i]);
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++)
            moved[i] = (float)((double)weights[offset + i] + (side ? h : -h) * tiny_number(3, (uint64_t)i));
        OK(ctx, ewc_model_set_tensor(model, name, moved, n));
        loss_of(ctx, model, &b.batch);
        value[side] = 0;
        for (int i = 0; i < 14 * 20; i++)
            value[side] += 0.5 * record.coefficient * (double)record.h[i] * (double)record.h[i];
    }
    assert_true(fabs(slope) > 1e-3);
    assert_true(fabs((value[1] - value[0]) / (2 * h) - slope) < 0.02 * fabs(slope) + 1e-3);
    OK(ctx, ewc_model_set_tensor(model, name, weights + offset, n));
    OK(ctx, ewc_model_set_hook(model, NULL));
    float *again = gradient_of(ctx, model, &b.batch);
    assert_memory_equal(plain, again, (size_t)ewc_model_parameter_count(model) * sizeof *plain);
    free(again);
    free(moved);
    free(plain);
    free(hooked);
    free(weights);
    free(record.h);
    tiny_batch_free(&b);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_is_the_slope_of_the_loss),
        cmocka_unit_test(every_recompute_level_gives_the_same_bits),
        cmocka_unit_test(packed_documents_are_independent),
        cmocka_unit_test(unscored_rows_change_nothing),
        cmocka_unit_test(per_sequence_squares_are_sums_of_squared_gradients),
        cmocka_unit_test(hook_adds_the_gradient_of_a_penalty_on_the_residual_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
