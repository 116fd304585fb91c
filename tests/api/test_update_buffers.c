/* The level for hosts with a model of their own, through the public header alone: an optimizer on plain arrays, and its refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "libewc.h"

enum { N = 1000 };

typedef struct fixture {
    ewc_context *context;
    float weight[N], m[N], v[N], gradient[N], fisher[N], anchor[N];
    ewc_update_buffers buffers;
    ewc_update_options options;
    ewc_update_statistics statistics;
} fixture;

static fixture f;

static int setup(void **state)
{
    (void)state;
    memset(&f, 0, sizeof f);
    for (int i = 0; i < N; i++) {
        f.anchor[i] = 0.01F * (float)(i % 17 - 8);
        f.weight[i] = f.anchor[i] + 0.001F;
        f.gradient[i] = 0.1F * (float)(i % 5 - 2);
        f.fisher[i] = (float)(i % 3);
    }
    f.buffers = (ewc_update_buffers){{f.weight, EWC_F32},   {f.m, EWC_F32},      {f.v, EWC_F32},
                                     {f.gradient, EWC_F32}, {f.fisher, EWC_F32}, {f.anchor, EWC_F32}};
    ewc_update_options_default(&f.options);
    f.options.learning_rate = 1e-3;
    f.options.lambda = 2;
    return ewc_context_create(NULL, &f.context) == EWC_OK ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    ewc_context_destroy(f.context);
    return 0;
}

/* ---- Use ---------------------------------------------------------------------------------------------------------------- */

static void defaults_are_those_of_the_header(void **state)
{
    (void)state;
    ewc_update_options o;
    ewc_update_options_default(&o);
    assert_int_equal(o.struct_size, sizeof o);
    assert_int_equal(o.form, EWC_PENALTY_PROXIMAL);
    assert_true(o.beta1 == 0.9 && o.beta2 == 0.999 && o.epsilon == 1e-8 && o.weight_decay == 0);
    assert_true(o.gradient_scale == 1 && o.lambda == 0 && o.step == 1);
    assert_true(o.stochastic_rounding == 0 && o.seed == 0 && o.first_element == 0);
}

/* On the first step mhat/d is g/(|g| + eps): the sign of the gradient. */
static void the_first_step_moves_by_the_learning_rate_and_towards_the_anchor(void **state)
{
    (void)state;
    assert_int_equal(ewc_update(f.context, N, &f.buffers, &f.options, &f.statistics), EWC_OK);
    double distance = 0, weighted = 0;
    for (int i = 0; i < N; i++) {
        double before = (double)(f.anchor[i] + 0.001F), g = (double)f.gradient[i];
        double d = fabs(g) + 1e-8, r = 1e-3 * 2 * (double)f.fisher[i] / d;
        double expected = (before - 1e-3 * g / d + r * (double)f.anchor[i]) / (1 + r);
        assert_true(fabs((double)f.weight[i] - expected) < 1e-7);
        double moved = before - (double)f.anchor[i];
        distance += moved * moved;
        weighted += (double)f.fisher[i] * moved * moved;
    }
    assert_true(fabs(f.statistics.distance_squared - distance) < 1e-6 * distance);
    assert_true(fabs(f.statistics.fisher_distance_squared - weighted) < 1e-6 * weighted);
    assert_true(fabs(f.statistics.penalty - weighted) < 1e-6 * weighted); /* lambda / 2 is 1 */
    assert_int_equal(f.statistics.nonfinite, 0);
}

static void statistics_may_be_absent_and_penalty_evaluate_agrees_with_the_update(void **state)
{
    (void)state;
    ewc_update_statistics before;
    const double lambda = 1.0 / 3; /* no f32 */
    assert_int_equal(ewc_penalty_evaluate(f.context, N, &f.buffers, lambda, &before), EWC_OK);
    f.options.lambda = lambda;
    assert_int_equal(ewc_update(f.context, N, &f.buffers, &f.options, &f.statistics), EWC_OK);
    assert_memory_equal(&before, &f.statistics, sizeof before);
    assert_true(before.penalty == 0.5 * lambda * before.fisher_distance_squared);
    assert_int_equal(ewc_update(f.context, N, &f.buffers, &f.options, NULL), EWC_OK);
}

static void fisher_accumulates_and_gradients_are_summed(void **state)
{
    (void)state;
    double sum, expected = 0;
    int64_t nonfinite;
    for (int i = 0; i < N; i++) expected += (double)f.gradient[i] * (double)f.gradient[i];
    assert_int_equal(ewc_sum_squares(f.context, N, f.buffers.gradient, &sum, &nonfinite), EWC_OK);
    assert_true(fabs(sum - expected) < 1e-12 * expected && nonfinite == 0);
    assert_int_equal(ewc_fisher_accumulate_buffer(f.context, N, f.fisher, f.buffers.gradient, 0.5, 1), EWC_OK);
    for (int i = 0; i < N; i++)
        assert_true(fabs((double)f.fisher[i] - (i % 3 + 0.5 * (double)f.gradient[i] * (double)f.gradient[i])) < 1e-6);
}

/* A host's loop: quadratic task, clipping by the global norm, ends at the minimum of task and penalty. */
static void a_host_can_train_with_it(void **state)
{
    (void)state;
    for (int step = 1; step <= 3000; step++) {
        double sum;
        int64_t nonfinite;
        for (int i = 0; i < N; i++) f.gradient[i] = f.weight[i] - 0.3F;
        assert_int_equal(ewc_sum_squares(f.context, N, f.buffers.gradient, &sum, &nonfinite), EWC_OK);
        f.options.step = step;
        f.options.learning_rate = 1e-2 * (1 - step / 3001.0);
        f.options.gradient_scale = fmin(1, 8 / sqrt(sum)); /* the norm is 9 at first, below 6 at rest */
        assert_int_equal(ewc_update(f.context, N, &f.buffers, &f.options, NULL), EWC_OK);
    }
    for (int i = 0; i < N; i++) {
        double strength = 2 * (double)f.fisher[i];
        double minimum = (0.3 + strength * (double)f.anchor[i]) / (1 + strength);
        assert_true(fabs((double)f.weight[i] - minimum) < 1e-3);
    }
}

static void a_program_of_a_later_header_is_understood_while_it_asks_for_nothing_new(void **state)
{
    (void)state;
    struct {
        ewc_update_options options;
        double added;
    } later = {f.options, 0};
    later.options.struct_size = sizeof later;
    assert_int_equal(ewc_update(f.context, N, &f.buffers, &later.options, NULL), EWC_OK);
    later.added = 1;
    assert_int_equal(ewc_update(f.context, N, &f.buffers, &later.options, NULL), EWC_ERROR_UNSUPPORTED);
}

static void a_program_of_the_header_before_stochastic_rounding_rounds_to_nearest(void **state)
{
    (void)state;
    uint16_t m[2][N], v[2][N];
    ewc_update_options old = f.options;
    old.struct_size = offsetof(ewc_update_options, stochastic_rounding);
    old.stochastic_rounding = 1; /* beyond what that program knows: not read */
    for (int k = 0; k < 2; k++) {
        memset(m[k], 0, sizeof m[k]);
        memset(v[k], 0, sizeof v[k]);
        f.buffers.m = (ewc_buffer){m[k], EWC_BF16};
        f.buffers.v = (ewc_buffer){v[k], EWC_BF16};
        assert_int_equal(ewc_update(f.context, N, &f.buffers, k == 0 ? &f.options : &old, NULL), EWC_OK);
    }
    assert_memory_equal(m[0], m[1], sizeof m[0]);
    assert_memory_equal(v[0], v[1], sizeof v[0]);
}

static void no_elements_need_no_buffers(void **state)
{
    (void)state;
    ewc_update_buffers none;
    ewc_buffer absent = {NULL, EWC_F32};
    double sum = -1;
    int64_t nonfinite = -1;
    memset(&none, 0, sizeof none);
    assert_int_equal(ewc_update(f.context, 0, &none, &f.options, &f.statistics), EWC_OK);
    assert_int_equal(ewc_penalty_evaluate(f.context, 0, &none, 1, &f.statistics), EWC_OK);
    assert_int_equal(ewc_fisher_accumulate_buffer(f.context, 0, NULL, absent, 1, 1), EWC_OK);
    assert_int_equal(ewc_sum_squares(f.context, 0, absent, &sum, &nonfinite), EWC_OK);
    assert_true(f.statistics.penalty == 0 && sum == 0 && nonfinite == 0);
}

/* ---- Refusals -------------------------------------------------------------------------------------------------------------- */

static void named(ewc_status status, const char *name)
{
    assert_int_equal(status, EWC_ERROR_ARGUMENT);
    if (strstr(ewc_last_error(f.context), name) == NULL)
        print_error("%s: not named in: %s\n", name, ewc_last_error(f.context));
    assert_non_null(strstr(ewc_last_error(f.context), name));
}

/* The update is refused, nothing is written, and afterwards all is as it was. */
static void update_refused(const ewc_update_buffers *buffers, const ewc_update_options *options, int64_t n,
                           const char *name)
{
    float weight[N];
    ewc_update_statistics untouched = {7, 7, 7, 7}, s = untouched;
    memcpy(weight, f.weight, sizeof weight);
    named(ewc_update(f.context, n, buffers, options, &s), name);
    assert_memory_equal(weight, f.weight, sizeof weight);
    assert_memory_equal(&s, &untouched, sizeof s);
}

static void options_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        size_t offset;
        const char *name;
        double bad[4];
        int count;
    } fields[] = {
        {offsetof(ewc_update_options, learning_rate), "options.learning_rate", {-1e-9, NAN, INFINITY, 1e39}, 4},
        {offsetof(ewc_update_options, beta1), "options.beta1", {-0.1, 1, NAN, 2}, 4},
        {offsetof(ewc_update_options, beta2), "options.beta2", {-0.1, 1, NAN, 2}, 4},
        {offsetof(ewc_update_options, epsilon), "options.epsilon", {0, 1e-16, NAN, INFINITY}, 4},
        {offsetof(ewc_update_options, weight_decay), "options.weight_decay", {-0.1, NAN, INFINITY, 1e39}, 4},
        {offsetof(ewc_update_options, gradient_scale), "options.gradient_scale", {NAN, INFINITY, -INFINITY, 1e39}, 4},
        {offsetof(ewc_update_options, lambda), "options.lambda", {-1, NAN, INFINITY, -INFINITY}, 4},
    };
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
        for (int j = 0; j < fields[k].count; j++) {
            ewc_update_options o = f.options;
            memcpy((char *)&o + fields[k].offset, &fields[k].bad[j], sizeof(double));
            update_refused(&f.buffers, &o, N, fields[k].name);
        }
    }
    ewc_update_options o = f.options;
    o.step = 0;
    update_refused(&f.buffers, &o, N, "options.step");
    o = f.options;
    o.form = (ewc_penalty_form)3;
    update_refused(&f.buffers, &o, N, "options.form");
    o = f.options;
    o.struct_size = 0;
    update_refused(&f.buffers, &o, N, "struct_size");
    o = f.options;
    o.first_element = -1;
    update_refused(&f.buffers, &o, N, "first_element");
    o.first_element = INT64_MAX - N + 1;
    update_refused(&f.buffers, &o, N, "first_element");
    update_refused(&f.buffers, &f.options, -1, "n: ");
}

static void buffers_that_do_not_serve_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        size_t offset;
        const char *name;
        int needed, f16;
    } fields[] = {{offsetof(ewc_update_buffers, weight), "buffers.weight", 1, 0},
                  {offsetof(ewc_update_buffers, m), "buffers.m", 1, 0},
                  {offsetof(ewc_update_buffers, v), "buffers.v", 1, 0},
                  {offsetof(ewc_update_buffers, gradient), "buffers.gradient", 1, 0},
                  {offsetof(ewc_update_buffers, fisher), "buffers.fisher", 0, 0},
                  {offsetof(ewc_update_buffers, anchor), "buffers.anchor", 1, 1}};
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
        ewc_update_buffers b = f.buffers;
        ewc_buffer *buffer = (ewc_buffer *)(void *)((char *)&b + fields[k].offset);
        void *data = buffer->data;
        buffer->data = NULL;
        if (fields[k].needed) update_refused(&b, &f.options, N, fields[k].name);
        buffer->data = (char *)data + 1;
        update_refused(&b, &f.options, N - 1, fields[k].name);
        buffer->data = data;
        buffer->dtype = (ewc_dtype)3;
        update_refused(&b, &f.options, N, fields[k].name);
        buffer->dtype = (ewc_dtype)-1;
        update_refused(&b, &f.options, N, fields[k].name);
        buffer->dtype = EWC_F16;
        if (!fields[k].f16) update_refused(&b, &f.options, N, fields[k].name);
    }
}

static void other_calls_refuse_by_name_too(void **state)
{
    (void)state;
    double sum = 7;
    int64_t nonfinite = 7;
    ewc_buffer g = f.buffers.gradient, f16 = {f.gradient, EWC_F16}, absent = {NULL, EWC_F32};
    named(ewc_fisher_accumulate_buffer(f.context, N, NULL, g, 1, 1), "fisher");
    named(ewc_fisher_accumulate_buffer(f.context, N, f.fisher, absent, 1, 1), "gradient");
    named(ewc_fisher_accumulate_buffer(f.context, N, f.fisher, f16, 1, 1), "gradient");
    named(ewc_fisher_accumulate_buffer(f.context, N, f.fisher, g, NAN, 1), "weight");
    named(ewc_fisher_accumulate_buffer(f.context, N, f.fisher, g, -1, 1), "weight");
    named(ewc_fisher_accumulate_buffer(f.context, N, f.fisher, g, 1, INFINITY), "decay");
    named(ewc_fisher_accumulate_buffer(f.context, -1, f.fisher, g, 1, 1), "n: ");
    named(ewc_sum_squares(f.context, N, absent, &sum, &nonfinite), "gradient");
    named(ewc_sum_squares(f.context, -1, g, &sum, &nonfinite), "n: ");
    named(ewc_sum_squares(f.context, N, g, NULL, &nonfinite), "sum");
    named(ewc_sum_squares(f.context, N, g, &sum, NULL), "nonfinite");
    named(ewc_penalty_evaluate(f.context, N, &f.buffers, -1, &f.statistics), "lambda");
    named(ewc_penalty_evaluate(f.context, N, &f.buffers, NAN, &f.statistics), "lambda");
    named(ewc_penalty_evaluate(f.context, N, &f.buffers, 1, NULL), "statistics");
    named(ewc_penalty_evaluate(f.context, N, NULL, 1, &f.statistics), "buffers");
    named(ewc_update(f.context, N, NULL, &f.options, NULL), "buffers");
    named(ewc_update(f.context, N, &f.buffers, NULL, NULL), "options");
    assert_true(sum == 7 && nonfinite == 7);
    assert_int_equal(ewc_update(NULL, N, &f.buffers, &f.options, NULL), EWC_ERROR_ARGUMENT);
    assert_non_null(strstr(ewc_last_error(NULL), "context"));
    assert_int_equal(ewc_sum_squares(NULL, N, g, &sum, &nonfinite), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_penalty_evaluate(NULL, N, &f.buffers, 1, &f.statistics), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_fisher_accumulate_buffer(NULL, N, f.fisher, g, 1, 1), EWC_ERROR_ARGUMENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_those_of_the_header),
        TEST(the_first_step_moves_by_the_learning_rate_and_towards_the_anchor),
        TEST(statistics_may_be_absent_and_penalty_evaluate_agrees_with_the_update),
        TEST(fisher_accumulates_and_gradients_are_summed),
        TEST(a_host_can_train_with_it),
        TEST(a_program_of_a_later_header_is_understood_while_it_asks_for_nothing_new),
        TEST(a_program_of_the_header_before_stochastic_rounding_rounds_to_nearest),
        TEST(no_elements_need_no_buffers),
        TEST(options_out_of_range_are_refused_by_name),
        TEST(buffers_that_do_not_serve_are_refused_by_name),
        TEST(other_calls_refuse_by_name_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
