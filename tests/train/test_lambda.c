/* ewc_trainer_set_lambda: what is set before a step is what pulls in it; of several anchors all are multiplied; a resumed run goes on with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "support/tiny.h"

enum { VOCAB = 71, LENGTH = 9, STEPS = 4 };

static const double rate = 1e-3;

typedef struct run {
    ewc_context *ctx;
    ewc_model *model;
    ewc_anchor *anchor;
    ewc_trainer *trainer;
    tiny_batch batches[STEPS];
} run;

/* anchors: how often the model's first weights are added as an anchor of plain L2. */
static void begin(run *r, int anchors, double lambda)
{
    ewc_trainer_options o;
    memset(r, 0, sizeof *r);
    r->ctx = tiny_context(2);
    r->model = tiny_model(r->ctx, 8);
    for (int i = 0; i < STEPS; i++) tiny_batch_make(&r->batches[i], VOCAB, 3, LENGTH, 60 + (uint64_t)i);
    OK(r->ctx, ewc_anchor_from_model(r->model, &r->anchor));
    ewc_trainer_options_default(&o);
    o.schedule.peak = rate;
    o.max_sequences = 3;
    o.max_length = LENGTH;
    OK(r->ctx, ewc_trainer_create(r->model, &o, &r->trainer));
    for (int k = 0; k < anchors; k++)
        OK(r->ctx, ewc_trainer_add_anchor(r->trainer, r->anchor, NULL, lambda, EWC_LAMBDA_ABSOLUTE, 0));
}

static void end(run *r)
{
    ewc_trainer_destroy(r->trainer);
    ewc_anchor_destroy(r->anchor);
    ewc_model_destroy(r->model);
    ewc_context_destroy(r->ctx);
    for (int i = 0; i < STEPS; i++) tiny_batch_free(&r->batches[i]);
}

static ewc_step_statistics step(run *r)
{
    ewc_step_statistics s = {.struct_size = sizeof s};
    OK(r->ctx, ewc_trainer_step(r->trainer, 1, &r->batches[ewc_trainer_steps(r->trainer)].batch, &s));
    return s;
}

/* Steps by ewc_model_gradient and ewc_update on buffers of the test's own, a lambda for each. */
static float *by_hand(int steps, const double *lambdas)
{
    run r;
    begin(&r, 0, 0);
    int64_t n = ewc_model_parameter_count(r.model);
    float *w = tiny_weights(r.model), *anchor = tiny_weights(r.model);
    float *m = calloc((size_t)n, sizeof *m), *v = calloc((size_t)n, sizeof *v);
    float *g = malloc((size_t)n * sizeof *g), *ones = malloc((size_t)n * sizeof *ones);
    for (int64_t i = 0; i < n; i++) ones[i] = 1;
    for (int s = 0; s < steps; s++) {
        ewc_update_options o;
        ewc_update_options_default(&o);
        o.step = s + 1;
        o.learning_rate = rate;
        o.lambda = lambdas[s];
        const ewc_update_buffers buffers = {{w, EWC_F32}, {m, EWC_F32},    {v, EWC_F32},
                                            {g, EWC_F32}, {ones, EWC_F32}, {anchor, EWC_F32}};
        OK(r.ctx, ewc_model_gradient(r.model, &r.batches[s].batch, 0, NULL, g));
        OK(r.ctx, ewc_update(r.ctx, n, &buffers, &o, NULL));
        tiny_set_weights(r.model, w);
    }
    free(anchor);
    free(m);
    free(v);
    free(g);
    free(ones);
    end(&r);
    return w;
}

static void check_weights(run *r, const float *expected, float tolerance)
{
    float *found = tiny_weights(r->model);
    for (int64_t i = 0; i < ewc_model_parameter_count(r->model); i++)
        assert_true(fabsf(found[i] - expected[i]) <= tolerance);
    free(found);
}

static void each_step_is_taken_with_the_lambda_that_was_set_before_it(void **state)
{
    (void)state;
    static const double lambdas[STEPS] = {0, 3, 0.25, 40};
    float *expected = by_hand(STEPS, lambdas);
    run r;
    begin(&r, 1, 0);
    for (int s = 0; s < STEPS; s++) {
        OK(r.ctx, ewc_trainer_set_lambda(r.trainer, lambdas[s]));
        ewc_step_statistics found = step(&r);
        assert_true(found.lambda == lambdas[s] && ewc_trainer_lambda(r.trainer) == lambdas[s]);
        assert_true(fabs(found.penalty - lambdas[s] / 2 * found.fisher_distance * found.fisher_distance) <=
                    1e-12 * found.penalty);
    }
    check_weights(&r, expected, 0);
    free(expected);
    end(&r);
}

static void of_several_anchors_all_are_multiplied(void **state)
{
    (void)state;
    static const double lambdas[STEPS] = {6, 6, 24, 24};
    float *expected = by_hand(STEPS, lambdas);
    run r;
    begin(&r, 3, 2); /* together 6 */
    assert_true(ewc_trainer_lambda(r.trainer) == 1);
    step(&r);
    step(&r);
    OK(r.ctx, ewc_trainer_set_lambda(r.trainer, 4));
    step(&r);
    assert_true(step(&r).lambda == 4);
    check_weights(&r, expected, 1e-8F);
    free(expected);
    end(&r);
}

/* A task of lambda 0 does not pull, whatever the factor; that of the others is multiplied. */
static void an_anchor_of_lambda_zero_stays_at_zero(void **state)
{
    (void)state;
    static const double lambdas[2] = {5, 15};
    float *expected = by_hand(2, lambdas);
    run r;
    begin(&r, 1, 0);
    OK(r.ctx, ewc_trainer_add_anchor(r.trainer, r.anchor, NULL, 5, EWC_LAMBDA_ABSOLUTE, 0));
    step(&r);
    OK(r.ctx, ewc_trainer_set_lambda(r.trainer, 3));
    step(&r);
    check_weights(&r, expected, 0);
    free(expected);
    end(&r);
}

static void one_more_anchor_goes_back_to_what_was_added(void **state)
{
    (void)state;
    run r;
    begin(&r, 1, 5);
    assert_true(ewc_trainer_lambda(r.trainer) == 5);
    OK(r.ctx, ewc_trainer_set_lambda(r.trainer, 7));
    OK(r.ctx, ewc_trainer_add_anchor(r.trainer, r.anchor, NULL, 2, EWC_LAMBDA_ABSOLUTE, 0));
    assert_true(ewc_trainer_lambda(r.trainer) == 1);
    end(&r);
}

static void a_resumed_run_goes_on_with_the_saved_lambda(void **state)
{
    (void)state;
    static const double lambdas[STEPS] = {5, 30, 30, 30};
    const char *tmp = getenv("TMPDIR");
    char directory[256], file[320];
    float *expected = by_hand(STEPS, lambdas);
    snprintf(directory, sizeof directory, "%s/ewc-lambda-%ld", tmp != NULL ? tmp : "/tmp", (long)getpid());
    for (int sealed = 0; sealed < 2; sealed++) {
        run first, second;
        begin(&first, 1, 5);
        step(&first);
        OK(first.ctx, ewc_trainer_set_lambda(first.trainer, 30));
        step(&first);
        OK(first.ctx, ewc_trainer_save(first.trainer, directory, NULL));
        end(&first);
        begin(&second, 1, 5);
        ewc_update_statistics sums;
        if (sealed) OK(second.ctx, ewc_trainer_penalty(second.trainer, &sums));
        OK(second.ctx, ewc_trainer_resume(second.trainer, directory, NULL));
        assert_true(ewc_trainer_lambda(second.trainer) == 30);
        step(&second);
        step(&second);
        check_weights(&second, expected, 0);
        end(&second);
        static const char *const files[] = {"weights.safetensors", "m.safetensors", "v.safetensors", "manifest.json"};
        for (int i = 0; i < 4; i++) {
            snprintf(file, sizeof file, "%s/%s", directory, files[i]);
            unlink(file);
        }
        rmdir(directory);
    }
    free(expected);
}

static void what_cannot_be_set_is_refused(void **state)
{
    (void)state;
    run r;
    begin(&r, 0, 0);
    assert_true(ewc_trainer_lambda(r.trainer) == 0 && ewc_trainer_lambda(NULL) == 0);
    assert_int_equal(ewc_trainer_set_lambda(NULL, 1), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_trainer_set_lambda(r.trainer, 1), EWC_ERROR_STATE);
    OK(r.ctx, ewc_trainer_add_anchor(r.trainer, r.anchor, NULL, 5, EWC_LAMBDA_ABSOLUTE, 0));
    assert_int_equal(ewc_trainer_set_lambda(r.trainer, -1), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_trainer_set_lambda(r.trainer, (double)NAN), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_trainer_set_lambda(r.trainer, (double)INFINITY), EWC_ERROR_ARGUMENT);
    assert_true(ewc_trainer_lambda(r.trainer) == 5);
    end(&r);
    begin(&r, 2, 0); /* two that do not pull, whatever multiplies them */
    assert_int_equal(ewc_trainer_set_lambda(r.trainer, 1), EWC_ERROR_STATE);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_step_is_taken_with_the_lambda_that_was_set_before_it),
        cmocka_unit_test(of_several_anchors_all_are_multiplied),
        cmocka_unit_test(an_anchor_of_lambda_zero_stays_at_zero),
        cmocka_unit_test(one_more_anchor_goes_back_to_what_was_added),
        cmocka_unit_test(a_resumed_run_goes_on_with_the_saved_lambda),
        cmocka_unit_test(what_cannot_be_set_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
