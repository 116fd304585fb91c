/* Several old tasks folded into one: the same penalty but for a constant, the same steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>

#include "support/files.h"
#include "support/tiny.h"
#include "train/anchor.h"

enum { VOCAB = 71, LENGTH = 11, SEQUENCES = 4, TASKS = 3 };

static const double lambdas[TASKS] = {3.0, 0.25, 11.0};

/* Three tasks with anchors around the model and Fishers over a few decades; one parameter in four has F = 0 in a task, some in all. */
typedef struct setting {
    ewc_context *ctx;
    ewc_model *model;
    tiny_batch data;
    int64_t parameters;
    float *start, *centre[TASKS], *values[TASKS];
    ewc_anchor *anchors[TASKS];
    ewc_fisher *fishers[TASKS];
} setting;

static float *model_values(ewc_model *model)
{
    float *taken = tiny_weights(model), *kept = array_copy(taken, ewc_model_parameter_count(model));
    free(taken);
    return kept;
}

static void make_task(setting *s, int k)
{
    uint64_t seed = 100 + 10 * (uint64_t)k;
    s->centre[k] = array_copy(s->start, s->parameters);
    s->values[k] = array_filled(s->parameters, 0);
    for (int64_t i = 0; i < s->parameters; i++) {
        s->centre[k][i] += (float)(0.05 * tiny_number(seed, (uint64_t)i));
        bool nothing = i % 50 == 0 || tiny_number(seed + 1, (uint64_t)i) < -0.5;
        s->values[k][i] = nothing ? 0 : (float)pow(10, 2 * tiny_number(seed + 2, (uint64_t)i) - 2);
    }
    tiny_set_weights(s->model, s->centre[k]);
    OK(s->ctx, ewc_anchor_from_model(s->model, &s->anchors[k]));
    OK(s->ctx, ewc_fisher_from_values(s->model, NULL, s->values[k], &s->fishers[k]));
    tiny_set_weights(s->model, s->start);
}

static int set_up_with(void **state, int64_t vocab)
{
    setting *s = calloc(1, sizeof *s);
    ewc_model_config config = tiny_config();
    config.vocab_size = vocab;
    s->ctx = tiny_context(1);
    OK(s->ctx, ewc_model_create(s->ctx, &config, 3, &s->model));
    s->parameters = ewc_model_parameter_count(s->model);
    tiny_set_weights(s->model, array_random(s->parameters, 3, 0.1)); /* norm weights too */
    s->start = model_values(s->model);
    for (int k = 0; k < TASKS; k++) make_task(s, k);
    tiny_batch_make(&s->data, VOCAB, SEQUENCES, LENGTH, 21);
    *state = s;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, VOCAB);
}

/* An embedding of 280 000 weights: tensors are folded in parts of 2^18. */
static int set_up_long(void **state)
{
    return set_up_with(state, 14000);
}

static int tear_down(void **state)
{
    setting *s = *state;
    for (int k = 0; k < TASKS; k++) {
        ewc_anchor_destroy(s->anchors[k]);
        ewc_fisher_destroy(s->fishers[k]);
    }
    tiny_batch_free(&s->data);
    arrays_free();
    files_clear();
    ewc_model_destroy(s->model);
    ewc_context_destroy(s->ctx);
    free(s);
    return 0;
}

static void fold(setting *s, int64_t tasks, ewc_anchor **anchor, ewc_fisher **fisher)
{
    OK(s->ctx, ewc_anchor_fold(s->model, tasks, s->anchors, s->fishers, lambdas, anchor, fisher));
}

static float *anchor_values(setting *s, ewc_anchor *anchor)
{
    float *flat = array_filled(s->parameters, 0);
    for (int64_t i = 0; i < ewc_model_tensor_count(s->model); i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        OK(s->ctx, ewci_views_read(&anchor->views, i, 0, t.rows * t.columns, flat + t.offset));
    }
    return flat;
}

static ewc_trainer *trainer_with(setting *s, ewc_penalty_form form)
{
    ewc_trainer *trainer = NULL;
    ewc_trainer_options options;
    ewc_trainer_options_default(&options);
    options.schedule.peak = 1e-2;
    options.form = form;
    options.max_sequences = SEQUENCES;
    options.max_length = LENGTH;
    OK(s->ctx, ewc_trainer_create(s->model, &options, &trainer));
    return trainer;
}

/* By the definition: sum over tasks of lambda_k/2 sum F_k (w - a_k)^2. */
static double sum_of_penalties(setting *s, int64_t tasks, const float *w)
{
    double sum = 0;
    for (int64_t k = 0; k < tasks; k++) {
        for (int64_t i = 0; i < s->parameters; i++) {
            double away = (double)w[i] - (double)s->centre[k][i];
            sum += lambdas[k] / 2 * (double)s->values[k][i] * away * away;
        }
    }
    return sum;
}

/* At weights far and near, the folded penalty is the sum less one constant: what the sum has at its own minimum. */
static void the_folded_penalty_is_the_sum_but_for_a_constant(void **state)
{
    setting *s = *state;
    for (int64_t tasks = 2; tasks <= TASKS; tasks++) {
        ewc_anchor *anchor = NULL;
        ewc_fisher *fisher = NULL;
        fold(s, tasks, &anchor, &fisher);
        double constant = sum_of_penalties(s, tasks, anchor_values(s, anchor));
        assert_true(constant > 0);
        ewc_trainer *trainer = trainer_with(s, EWC_PENALTY_PROXIMAL);
        OK(s->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 1.0, EWC_LAMBDA_ABSOLUTE, 0));
        for (int trial = 0; trial < 5; trial++) {
            ewc_update_statistics found = {0};
            float *w = array_random(s->parameters, 200 + (uint64_t)trial, 0.02 * (1 + 10 * trial));
            for (int64_t i = 0; i < s->parameters; i++) w[i] += s->start[i];
            tiny_set_weights(s->model, w);
            OK(s->ctx, ewc_trainer_penalty(trainer, &found));
            double expected = sum_of_penalties(s, tasks, w);
            assert_true(fabs(found.penalty + constant - expected) <= 1e-6 * expected);
        }
        tiny_set_weights(s->model, s->start);
        ewc_trainer_destroy(trainer);
        ewc_fisher_destroy(fisher);
        ewc_anchor_destroy(anchor);
    }
}

static void precision_and_centre_are_what_the_formula_says(void **state)
{
    setting *s = *state;
    ewc_anchor *anchor = NULL;
    ewc_fisher *fisher = NULL;
    double *precision = array_doubles(s->parameters), *centre = array_doubles(s->parameters);
    fold(s, TASKS, &anchor, &fisher);
    for (int k = 0; k < TASKS; k++) {
        for (int64_t i = 0; i < s->parameters; i++) {
            precision[i] += lambdas[k] * (double)s->values[k][i];
            centre[i] += lambdas[k] * (double)s->values[k][i] * (double)s->centre[k][i];
        }
    }
    int64_t without = 0;
    const float *found = anchor_values(s, anchor);
    for (int64_t i = 0; i < s->parameters; i++) {
        if (precision[i] > 0) {
            assert_true(fabs((double)found[i] - centre[i] / precision[i]) <= 6e-8 * fabs((double)found[i]));
            continue;
        }
        without++; /* no task holds this one: the first anchor, bit for bit */
        assert_memory_equal(&found[i], &s->centre[0][i], sizeof found[i]);
    }
    assert_true(without >= s->parameters / 50);
    for (int64_t i = 0; i < ewc_model_tensor_count(s->model); i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        float *values = array_filled(t.rows * t.columns, -1.0F);
        OK(s->ctx, ewc_fisher_get_tensor(fisher, t.name, values, t.rows * t.columns));
        array_check(values, precision + t.offset, t.rows * t.columns, 6e-8, t.name, __FILE__, __LINE__);
    }
    ewc_fisher_destroy(fisher);
    ewc_anchor_destroy(anchor);
}

/* Where all tasks have one anchor, the centre is it: no weight at rest is moved by rounding. */
static void anchors_that_agree_are_kept_bit_for_bit(void **state)
{
    setting *s = *state;
    ewc_anchor *same[TASKS] = {s->anchors[1], s->anchors[1], s->anchors[1]}, *anchor = NULL;
    ewc_fisher *fisher = NULL;
    OK(s->ctx, ewc_anchor_fold(s->model, TASKS, same, s->fishers, lambdas, &anchor, &fisher));
    SAME(anchor_values(s, anchor), s->centre[1], s->parameters);
    ewc_fisher_destroy(fisher);
    ewc_anchor_destroy(anchor);
}

static float *after_steps(setting *s, ewc_trainer *trainer, double *penalty)
{
    for (int step = 0; step < 4; step++) {
        ewc_step_statistics found = {.struct_size = sizeof found};
        OK(s->ctx, ewc_trainer_step(trainer, 1, &s->data.batch, &found));
        *penalty = found.penalty;
    }
    float *values = model_values(s->model);
    tiny_set_weights(s->model, s->start);
    ewc_trainer_destroy(trainer);
    return values;
}

static void a_trainer_with_several_anchors_steps_as_with_the_folded_one(void **state)
{
    setting *s = *state;
    static const ewc_penalty_form forms[] = {EWC_PENALTY_PROXIMAL, EWC_PENALTY_GRADIENT};
    for (int i = 0; i < 2; i++) {
        ewc_anchor *anchor = NULL;
        ewc_fisher *fisher = NULL;
        double penalties[3];
        ewc_trainer *several = trainer_with(s, forms[i]);
        for (int k = 0; k < 2; k++)
            OK(s->ctx,
               ewc_trainer_add_anchor(several, s->anchors[k], s->fishers[k], lambdas[k], EWC_LAMBDA_ABSOLUTE, 1));
        float *a = after_steps(s, several, &penalties[0]);
        fold(s, 2, &anchor, &fisher);
        ewc_trainer *one = trainer_with(s, forms[i]);
        OK(s->ctx, ewc_trainer_add_anchor(one, anchor, fisher, 1.0, EWC_LAMBDA_ABSOLUTE, 0));
        float *b = after_steps(s, one, &penalties[1]);
        SAME(a, b, s->parameters);
        assert_true(penalties[0] > 0 && penalties[0] == penalties[1]);
        float *plain = after_steps(s, trainer_with(s, forms[i]), &penalties[2]); /* and the penalty is felt */
        int64_t different = 0;
        for (int64_t j = 0; j < s->parameters; j++) different += fabsf(plain[j] - a[j]) > 1e-4F;
        assert_true(different > s->parameters / 10);
        ewc_fisher_destroy(fisher);
        ewc_anchor_destroy(anchor);
    }
}

/* The same against the definition: one step of AdamW in the gradient form on the sum of the tasks' gradients, from zero moments. */
static void one_step_follows_the_sum_of_the_tasks_gradients(void **state)
{
    setting *s = *state;
    float *gradient = array_filled(s->parameters, 0);
    OK(s->ctx, ewc_model_gradient(s->model, &s->data.batch, 0, NULL, gradient));
    ewc_trainer *trainer = trainer_with(s, EWC_PENALTY_GRADIENT);
    for (int k = 0; k < TASKS; k++)
        OK(s->ctx, ewc_trainer_add_anchor(trainer, s->anchors[k], s->fishers[k], lambdas[k], EWC_LAMBDA_ABSOLUTE, 1));
    OK(s->ctx, ewc_trainer_step(trainer, 1, &s->data.batch, NULL));
    float *moved = model_values(s->model);
    ewc_trainer_destroy(trainer);
    int64_t compared = 0;
    for (int64_t i = 0; i < s->parameters; i++) {
        double g = (double)gradient[i];
        for (int k = 0; k < TASKS; k++)
            g += lambdas[k] * (double)s->values[k][i] * ((double)s->start[i] - (double)s->centre[k][i]);
        if (fabs(g) < 1e-4) continue; /* the first step is the sign of g: near zero it is rounding */
        double step = (double)moved[i] - (double)s->start[i], expected = -1e-2 * g / (fabs(g) + 1e-8);
        assert_true(fabs(step - expected) < 2e-6);
        compared++;
    }
    assert_true(compared > s->parameters / 2);
}

static void plain_l2_is_a_task_like_the_others(void **state)
{
    setting *s = *state;
    ewc_update_statistics found = {0};
    ewc_trainer *trainer = trainer_with(s, EWC_PENALTY_PROXIMAL);
    OK(s->ctx, ewc_trainer_add_anchor(trainer, s->anchors[0], s->fishers[0], lambdas[0], EWC_LAMBDA_ABSOLUTE, 1));
    OK(s->ctx, ewc_trainer_add_anchor(trainer, s->anchors[1], NULL, lambdas[1], EWC_LAMBDA_ABSOLUTE, 0));
    for (int64_t i = 0; i < s->parameters; i++) s->values[1][i] = 1.0F;
    double differences[2];
    for (int trial = 0; trial < 2; trial++) {
        float *w = array_random(s->parameters, 300 + (uint64_t)trial, 1.0);
        tiny_set_weights(s->model, w);
        OK(s->ctx, ewc_trainer_penalty(trainer, &found));
        differences[trial] = sum_of_penalties(s, 2, w) - found.penalty;
    }
    assert_true(fabs(differences[0] - differences[1]) <= 1e-6 * found.penalty);
    ewc_trainer_destroy(trainer);
}

static void the_folded_pair_belongs_together_and_is_kept_in_files(void **state)
{
    setting *s = *state;
    ewc_anchor *anchor = NULL, *anchor_again = NULL;
    ewc_fisher *fisher = NULL, *fisher_again = NULL;
    double penalty[2];
    fold(s, TASKS, &anchor, &fisher);
    ewc_fisher_info info = {.struct_size = sizeof info};
    uint64_t fingerprint;
    OK(s->ctx, ewc_fisher_describe(fisher, &info));
    OK(s->ctx, ewc_anchor_fingerprint(anchor, &fingerprint));
    assert_int_equal(info.estimator, EWC_FISHER_FOLDED);
    assert_true(info.model_fingerprint == fingerprint);
    OK(s->ctx, ewc_anchor_save(anchor, files_path("anchor.safetensors"), 0));
    OK(s->ctx, ewc_fisher_save(fisher, files_path("fisher.safetensors"), EWC_F32, 0));
    OK(s->ctx, ewc_anchor_load(s->model, files_path("anchor.safetensors"), &anchor_again));
    OK(s->ctx, ewc_fisher_load(s->model, files_path("fisher.safetensors"), &fisher_again));
    ewc_trainer *trainer = trainer_with(s, EWC_PENALTY_PROXIMAL);
    OK(s->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 1.0, EWC_LAMBDA_ABSOLUTE, 0));
    float *a = after_steps(s, trainer, &penalty[0]);
    trainer = trainer_with(s, EWC_PENALTY_PROXIMAL);
    OK(s->ctx, ewc_trainer_add_anchor(trainer, anchor_again, fisher_again, 1.0, EWC_LAMBDA_ABSOLUTE, 0));
    SAME(a, after_steps(s, trainer, &penalty[1]), s->parameters);
    ewc_fisher_destroy(fisher_again);
    ewc_anchor_destroy(anchor_again);
    ewc_fisher_destroy(fisher);
    ewc_anchor_destroy(anchor);
}

static void tasks_that_are_wrong_are_named(void **state)
{
    setting *s = *state;
    ewc_anchor *anchor = NULL, *no_anchor[2] = {s->anchors[0], NULL};
    ewc_fisher *fisher = NULL, *unfinished = NULL;
    double negative[2] = {1.0, -2.0}, infinite[2] = {1.0, INFINITY}, zero[2] = {0, 0};
    REFUSED(s->ctx, ewc_anchor_fold(s->model, 0, s->anchors, s->fishers, lambdas, &anchor, &fisher), EWC_ERROR_ARGUMENT,
            "at least one task");
    REFUSED(s->ctx, ewc_anchor_fold(s->model, 2, no_anchor, s->fishers, lambdas, &anchor, &fisher), EWC_ERROR_ARGUMENT,
            "task 1");
    REFUSED(s->ctx, ewc_anchor_fold(s->model, 2, s->anchors, s->fishers, negative, &anchor, &fisher),
            EWC_ERROR_ARGUMENT, "lambdas[1]", "-2");
    REFUSED(s->ctx, ewc_anchor_fold(s->model, 2, s->anchors, s->fishers, infinite, &anchor, &fisher),
            EWC_ERROR_ARGUMENT, "lambdas[1]", "inf");
    REFUSED(s->ctx, ewc_anchor_fold(s->model, 2, s->anchors, s->fishers, zero, &anchor, &fisher), EWC_ERROR_NOT_FINITE,
            "zero everywhere");
    OK(s->ctx, ewc_fisher_create(s->model, NULL, &unfinished));
    ewc_fisher *fishers[2] = {s->fishers[0], unfinished};
    REFUSED(s->ctx, ewc_anchor_fold(s->model, 2, s->anchors, fishers, lambdas, &anchor, &fisher), EWC_ERROR_STATE,
            "not finished");
    assert_null(anchor);
    assert_null(fisher);
    ewc_fisher_destroy(unfinished);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_folded_penalty_is_the_sum_but_for_a_constant),
        TEST(precision_and_centre_are_what_the_formula_says),
        cmocka_unit_test_setup_teardown(precision_and_centre_are_what_the_formula_says, set_up_long, tear_down),
        TEST(anchors_that_agree_are_kept_bit_for_bit),
        TEST(a_trainer_with_several_anchors_steps_as_with_the_folded_one),
        TEST(one_step_follows_the_sum_of_the_tasks_gradients),
        TEST(plain_l2_is_a_task_like_the_others),
        TEST(the_folded_pair_belongs_together_and_is_kept_in_files),
        TEST(tasks_that_are_wrong_are_named),
    };
    return cmocka_run_group_tests_name("fold", tests, NULL, NULL);
}
