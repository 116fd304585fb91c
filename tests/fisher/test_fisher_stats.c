/* Statistics of a Fisher against plain reckoning: every value read, sorted, summed in long double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>

#include "support/files.h"
#include "support/tiny.h"

static const double fractions[5] = {0.10, 0.50, 0.90, 0.99, 0.999};

typedef struct setting {
    ewc_context *ctx;
    ewc_model *model;
    int64_t parameters;
    float *values;
} setting;

/* Values over thirty decades, a third of them zero, and long runs of one value, so that ranks fall into them. */
static int set_up(void **state)
{
    setting *s = calloc(1, sizeof *s);
    s->ctx = tiny_context(1);
    s->model = tiny_model(s->ctx, 3);
    s->parameters = ewc_model_parameter_count(s->model);
    s->values = array_filled(s->parameters, 0);
    for (int64_t i = 0; i < s->parameters; i++) {
        double x = tiny_number(31, (uint64_t)i);
        if (x > -0.3) s->values[i] = (float)pow(10, 15 * tiny_number(32, (uint64_t)i) - 10);
        if (x > 0.8) s->values[i] = 3e-9F;
    }
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    setting *s = *state;
    arrays_free();
    files_clear();
    ewc_model_destroy(s->model);
    ewc_context_destroy(s->ctx);
    free(s);
    return 0;
}

static ewc_fisher *fisher_of(setting *s)
{
    ewc_fisher *fisher = NULL;
    OK(s->ctx, ewc_fisher_from_values(s->model, NULL, s->values, &fisher));
    return fisher;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void check(setting *s, ewc_fisher *fisher, int64_t tensor, const float *values, int64_t n)
{
    ewc_fisher_statistics found = {.struct_size = sizeof found};
    float *sorted = array_copy(values, n);
    long double sum = 0;
    int64_t zeros = 0;
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    for (int64_t i = 0; i < n; i++) {
        sum += (long double)sorted[i];
        zeros += sorted[i] == 0;
    }
    OK(s->ctx, ewc_fisher_stats(fisher, tensor, &found));
    assert_int_equal(found.count, n);
    assert_int_equal(found.zeros, zeros);
    assert_int_equal(found.nonfinite, 0);
    assert_true(fabs(found.sum - (double)sum) <= 1e-12 * (double)sum);
    assert_true(fabs(found.mean - (double)(sum / n)) <= 1e-12 * (double)(sum / n));
    assert_true(found.maximum == (double)sorted[n - 1]);
    for (int r = 0; r < 5; r++) { /* the smallest value with at least this share of all at or below it */
        int64_t rank = 0;
        while ((double)(rank + 1) < fractions[r] * (double)n) rank++;
        assert_true(found.quantiles[r] == (double)sorted[rank]);
    }
}

static void check_all(setting *s, ewc_fisher *fisher, const float *values)
{
    check(s, fisher, -1, values, s->parameters);
    for (int64_t i = 0; i < ewc_model_tensor_count(s->model); i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        check(s, fisher, i, values + t.offset, t.rows * t.columns);
    }
}

static void of_all_and_of_each_tensor_as_sorting_has_it(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = fisher_of(s);
    check_all(s, fisher, s->values);
    ewc_fisher_destroy(fisher);
}

/* Neighbouring floats, which only the lower half of their bits tells apart. */
static void of_values_that_lie_close_together(void **state)
{
    setting *s = *state;
    for (int64_t i = 0; i < s->parameters; i++)
        s->values[i] = 1.0F + ldexpf((float)(int)(20000 * (1 + tiny_number(33, (uint64_t)i))), -23);
    ewc_fisher *fisher = fisher_of(s);
    check_all(s, fisher, s->values);
    ewc_fisher_destroy(fisher);
}

static void of_one_value_and_zeros(void **state)
{
    setting *s = *state;
    for (int64_t i = 0; i < s->parameters; i++) s->values[i] = i % 20 == 0 ? 2.5F : i % 3 == 0 ? -0.0F : 0.0F;
    ewc_fisher *fisher = fisher_of(s);
    ewc_fisher_statistics found = {.struct_size = sizeof found};
    check_all(s, fisher, s->values);
    OK(s->ctx, ewc_fisher_stats(fisher, -1, &found));
    assert_true(found.quantiles[2] == 0 && found.quantiles[3] == 2.5);
    ewc_fisher_destroy(fisher);
}

static void of_a_file_they_are_of_what_the_file_holds(void **state)
{
    setting *s = *state;
    const char *path = files_path("fisher.safetensors");
    for (int dtype = EWC_F32; dtype <= EWC_BF16; dtype++) {
        ewc_fisher *fisher = fisher_of(s), *loaded = NULL;
        float *values = array_filled(s->parameters, -1.0F);
        OK(s->ctx, ewc_fisher_save(fisher, path, (ewc_dtype)dtype, 1));
        OK(s->ctx, ewc_fisher_load(s->model, path, &loaded));
        for (int64_t i = 0; i < ewc_model_tensor_count(s->model); i++) {
            ewc_tensor_info t = {.struct_size = sizeof t};
            OK(s->ctx, ewc_model_tensor(s->model, i, &t));
            OK(s->ctx, ewc_fisher_get_tensor(loaded, t.name, values + t.offset, t.rows * t.columns));
        }
        check_all(s, loaded, values);
        ewc_fisher_destroy(loaded);
        ewc_fisher_destroy(fisher);
    }
}

/* lambda relative to the Fisher's scale is lambda / mean: the penalty says which mean the trainer took. */
static void relative_lambda_is_divided_by_the_mean_of_all(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = fisher_of(s);
    ewc_fisher_statistics statistics = {.struct_size = sizeof statistics};
    ewc_trainer_options options;
    ewc_anchor *anchor = NULL;
    double penalty[2];
    OK(s->ctx, ewc_fisher_stats(fisher, -1, &statistics));
    OK(s->ctx, ewc_anchor_from_model(s->model, &anchor));
    float *weights = tiny_weights(s->model);
    for (int64_t i = 0; i < s->parameters; i++) weights[i] += 0.01F;
    tiny_set_weights(s->model, weights);
    ewc_trainer_options_default(&options);
    options.max_sequences = 1;
    options.max_length = 8;
    for (int relative = 0; relative < 2; relative++) {
        ewc_trainer *trainer = NULL;
        ewc_update_statistics found = {0};
        OK(s->ctx, ewc_trainer_create(s->model, &options, &trainer));
        OK(s->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, relative ? 7.0 : 7.0 / statistics.mean,
                                          relative ? EWC_LAMBDA_RELATIVE : EWC_LAMBDA_ABSOLUTE, 0));
        OK(s->ctx, ewc_trainer_penalty(trainer, &found));
        penalty[relative] = found.penalty;
        ewc_trainer_destroy(trainer);
    }
    assert_true(penalty[0] > 0);
    assert_true(fabs(penalty[1] - penalty[0]) <= 1e-6 * penalty[0]);
    free(weights);
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
}

static void a_tensor_that_is_not_there_is_refused(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = fisher_of(s);
    ewc_fisher_statistics found = {.struct_size = sizeof found};
    int64_t tensors = ewc_model_tensor_count(s->model);
    REFUSED(s->ctx, ewc_fisher_stats(fisher, tensors, &found), EWC_ERROR_ARGUMENT, "tensor", "-1 (all)");
    REFUSED(s->ctx, ewc_fisher_stats(fisher, -2, &found), EWC_ERROR_ARGUMENT, "tensor", "-2");
    found.struct_size = 0;
    REFUSED(s->ctx, ewc_fisher_stats(fisher, -1, &found), EWC_ERROR_ARGUMENT, "struct_size");
    ewc_fisher_destroy(fisher);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(of_all_and_of_each_tensor_as_sorting_has_it),
        TEST(of_values_that_lie_close_together),
        TEST(of_one_value_and_zeros),
        TEST(of_a_file_they_are_of_what_the_file_holds),
        TEST(relative_lambda_is_divided_by_the_mean_of_all),
        TEST(a_tensor_that_is_not_there_is_refused),
    };
    return cmocka_run_group_tests_name("fisher_stats", tests, NULL, NULL);
}
