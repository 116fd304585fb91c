/* The trainer as a host sees it: one loss per step, frozen tensors, anchors, cancellation, failures that change nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "support/tiny.h"

enum { VOCAB = 71, LENGTH = 11 };

typedef struct fixture {
    ewc_context *ctx;
    ewc_model *model;
    tiny_batch batch;
    int64_t parameters;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = tiny_context(2);
    f->model = tiny_model(f->ctx, 3);
    f->parameters = ewc_model_parameter_count(f->model);
    tiny_batch_make(&f->batch, VOCAB, 4, LENGTH, 21);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    tiny_batch_free(&f->batch);
    ewc_model_destroy(f->model);
    ewc_context_destroy(f->ctx);
    free(f);
    return 0;
}

static ewc_trainer_options options_for(int64_t sequences)
{
    ewc_trainer_options o;
    ewc_trainer_options_default(&o);
    o.schedule.peak = 1e-3;
    o.max_sequences = sequences;
    o.max_length = LENGTH;
    return o;
}

static ewc_trainer *trainer_with(fixture *f, const ewc_trainer_options *o)
{
    ewc_trainer *trainer = NULL;
    OK(f->ctx, ewc_trainer_create(f->model, o, &trainer));
    return trainer;
}

static ewc_step_statistics step(fixture *f, ewc_trainer *trainer, int64_t count, const ewc_batch *batches)
{
    ewc_step_statistics s = {.struct_size = sizeof s};
    OK(f->ctx, ewc_trainer_step(trainer, count, batches, &s));
    return s;
}

static ewc_fisher *fisher_of(fixture *f)
{
    ewc_fisher *fisher = NULL;
    OK(f->ctx, ewc_fisher_create(f->model, NULL, &fisher));
    OK(f->ctx, ewc_fisher_accumulate(fisher, &f->batch.batch));
    OK(f->ctx, ewc_fisher_finish(fisher));
    return fisher;
}

static void loss_falls_over_steps(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    o.schedule.peak = 3e-3;
    ewc_trainer *trainer = trainer_with(f, &o);
    double first = step(f, trainer, 1, &f->batch.batch).loss, last = 0;
    for (int i = 0; i < 30; i++) last = step(f, trainer, 1, &f->batch.batch).loss;
    assert_true(last < 0.8 * first);
    assert_int_equal(ewc_trainer_steps(trainer), 31);
    ewc_trainer_destroy(trainer);
}

/* One batch of four sequences, or two of one and three: the loss is the mean over all scored tokens either way. */
static void micro_batches_share_one_mean(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    float *start = tiny_weights(f->model);
    ewc_trainer *whole = trainer_with(f, &o);
    ewc_step_statistics a = step(f, whole, 1, &f->batch.batch);
    float *expected = tiny_weights(f->model);
    ewc_trainer_destroy(whole);

    tiny_set_weights(f->model, start);
    ewc_batch parts[2] = {f->batch.batch, f->batch.batch};
    parts[0].sequences = 1;
    parts[1].sequences = 3;
    parts[1].tokens += LENGTH;
    parts[1].targets += LENGTH;
    ewc_trainer *split = trainer_with(f, &o);
    ewc_step_statistics b = step(f, split, 2, parts);
    float *found = tiny_weights(f->model);
    ewc_trainer_destroy(split);
    assert_int_equal(a.tokens, b.tokens);
    assert_true(fabs(a.loss - b.loss) < 1e-6 * a.loss);
    assert_true(fabs(a.gradient_norm - b.gradient_norm) < 1e-4 * a.gradient_norm);
    int64_t far = 0; /* Adam's first step is the gradient's sign: entries near zero may differ */
    for (int64_t i = 0; i < f->parameters; i++) far += fabsf(found[i] - expected[i]) > 1e-5F;
    assert_true(far < f->parameters / 200);
    free(start);
    free(expected);
    free(found);
}

/* The loss of a sequence in a step is what evaluation says of that sequence alone before the step. */
static void losses_of_sequences_are_those_of_evaluation(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    double expected[4], losses[5] = {-7, -7, -7, -7, -7}, mean = 0;
    ewc_batch parts[2] = {f->batch.batch, f->batch.batch};
    for (int64_t t = 0; t < LENGTH; t++) f->batch.targets[2 * LENGTH + t] = -1; /* none scored */
    for (int64_t b = 0; b < 4; b++) {
        ewc_evaluation e = {.struct_size = sizeof e};
        ewc_batch one = f->batch.batch;
        one.sequences = 1;
        one.tokens += b * LENGTH;
        one.targets += b * LENGTH;
        OK(f->ctx, ewc_model_evaluate(f->model, &one, &e, NULL));
        expected[b] = e.tokens > 0 ? e.nll / (double)e.tokens : 0;
        mean += e.nll;
    }
    const float weights[3] = {2.5F, 0, -1};
    parts[0].sequences = 1;
    parts[1].sequences = 3;
    parts[1].tokens += LENGTH;
    parts[1].targets += LENGTH;
    ewc_trainer *trainer = trainer_with(f, &o);
    OK(f->ctx, ewc_trainer_set_losses(trainer, losses, 4));
    ewc_step_statistics s = step(f, trainer, 2, parts);
    for (int b = 0; b < 4; b++) assert_true(fabs(losses[b] - expected[b]) < 1e-5 * expected[b] + 1e-12);
    assert_true(fabs(s.loss - mean / (double)s.tokens) < 1e-5 * s.loss);
    assert_true(losses[4] == -7);
    parts[1].weights = weights; /* they do not enter */
    o.schedule.peak = 0;
    ewc_trainer *still = trainer_with(f, &o);
    OK(f->ctx, ewc_trainer_set_losses(still, losses, 4));
    step(f, still, 1, &f->batch.batch);
    memcpy(expected, losses, sizeof expected);
    step(f, still, 2, parts);
    for (int b = 0; b < 4; b++) assert_true(fabs(losses[b] - expected[b]) < 1e-5 * expected[b] + 1e-12);
    ewc_trainer_destroy(still);

    OK(f->ctx, ewc_trainer_set_losses(trainer, losses, 3)); /* too little room: nothing happens */
    assert_int_equal(ewc_trainer_step(trainer, 2, parts, NULL), EWC_ERROR_ARGUMENT);
    assert_non_null(strstr(ewc_last_error(f->ctx), "4 sequences"));
    assert_int_equal(ewc_trainer_steps(trainer), 1);
    assert_int_equal(ewc_trainer_set_losses(trainer, losses, 0), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_trainer_set_losses(NULL, losses, 1), EWC_ERROR_ARGUMENT);
    OK(f->ctx, ewc_trainer_set_losses(trainer, NULL, 0));
    losses[0] = -7;
    step(f, trainer, 1, &f->batch.batch);
    assert_true(losses[0] == -7);
    ewc_trainer_destroy(trainer);
}

static void frozen_tensors_keep_every_bit(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    ewc_trainer *trainer = trainer_with(f, &o);
    int64_t matched = 0;
    float *before = tiny_weights(f->model);
    OK(f->ctx, ewc_trainer_freeze(trainer, "model.layers.[02].*", &matched));
    assert_int_equal(matched, 22);
    assert_int_equal(ewc_trainer_freeze(trainer, "nothing*", NULL), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_trainer_freeze(trainer, "*", NULL), EWC_ERROR_ARGUMENT);
    step(f, trainer, 1, &f->batch.batch);
    assert_int_equal(ewc_trainer_freeze(trainer, "model.norm.weight", NULL), EWC_ERROR_STATE);
    float *after = tiny_weights(f->model);
    for (int64_t i = 0; i < ewc_model_tensor_count(f->model); i++) {
        ewc_tensor_info t;
        OK(f->ctx, ewc_model_tensor(f->model, i, &t));
        bool frozen = strncmp(t.name, "model.layers.0", 14) == 0 || strncmp(t.name, "model.layers.2", 14) == 0;
        bool same = memcmp(before + t.offset, after + t.offset, (size_t)(t.rows * t.columns) * sizeof *after) == 0;
        assert_true(same == frozen);
    }
    free(before);
    free(after);
    ewc_trainer_destroy(trainer);
}

/* With a huge lambda the proximal form keeps the weights at the anchor; the statistics say how far they are. */
static void huge_lambda_holds_the_weights(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    ewc_fisher *fisher = fisher_of(f);
    ewc_anchor *anchor = NULL;
    OK(f->ctx, ewc_anchor_from_model(f->model, &anchor));
    double moved[2];
    float *start = tiny_weights(f->model);
    for (int i = 0; i < 2; i++) {
        tiny_set_weights(f->model, start);
        ewc_trainer *trainer = trainer_with(f, &o);
        OK(f->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, i == 0 ? 0.0 : 1e12, EWC_LAMBDA_ABSOLUTE, 0));
        for (int k = 0; k < 5; k++) step(f, trainer, 1, &f->batch.batch);
        ewc_update_statistics s;
        OK(f->ctx, ewc_trainer_penalty(trainer, &s));
        moved[i] = s.fisher_distance_squared;
        assert_int_equal(s.nonfinite, 0);
        ewc_trainer_destroy(trainer);
    }
    assert_true(moved[0] > 0);
    assert_true(moved[1] < 1e-6 * moved[0]);
    free(start);
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
}

static void lambda_zero_changes_no_bit(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    ewc_fisher *fisher = fisher_of(f);
    ewc_anchor *anchor = NULL;
    OK(f->ctx, ewc_anchor_from_model(f->model, &anchor));
    float *start = tiny_weights(f->model), *ends[2];
    for (int i = 0; i < 2; i++) {
        tiny_set_weights(f->model, start);
        ewc_trainer *trainer = trainer_with(f, &o);
        if (i == 1) OK(f->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 0.0, EWC_LAMBDA_ABSOLUTE, 0));
        for (int k = 0; k < 3; k++) step(f, trainer, 1, &f->batch.batch);
        ends[i] = tiny_weights(f->model);
        ewc_trainer_destroy(trainer);
    }
    assert_memory_equal(ends[0], ends[1], (size_t)f->parameters * sizeof(float));
    free(start);
    free(ends[0]);
    free(ends[1]);
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
}

/* Tasks that do not pull fold away, also when none of several does. */
static void several_tasks_of_lambda_zero_are_plain_training(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    ewc_fisher *fisher = fisher_of(f);
    ewc_anchor *anchor = NULL;
    OK(f->ctx, ewc_anchor_from_model(f->model, &anchor));
    float *start = tiny_weights(f->model), *ends[3];
    for (int i = 0; i < 3; i++) {
        tiny_set_weights(f->model, start);
        ewc_trainer *trainer = trainer_with(f, &o);
        for (int k = 0; k < i; k++)
            OK(f->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 0.0, EWC_LAMBDA_ABSOLUTE, 0));
        for (int k = 0; k < 2; k++) step(f, trainer, 1, &f->batch.batch);
        ends[i] = tiny_weights(f->model);
        ewc_trainer_destroy(trainer);
    }
    assert_memory_equal(ends[0], ends[1], (size_t)f->parameters * sizeof(float));
    assert_memory_equal(ends[0], ends[2], (size_t)f->parameters * sizeof(float));
    free(start);
    for (int i = 0; i < 3; i++) free(ends[i]);
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
}

/* A relative lambda of x is an absolute one of x / mean(F). */
static void relative_lambda_is_divided_by_the_mean(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    ewc_fisher *fisher = fisher_of(f);
    ewc_anchor *anchor = NULL;
    ewc_fisher_statistics stats = {.struct_size = sizeof stats};
    OK(f->ctx, ewc_fisher_stats(fisher, -1, &stats));
    OK(f->ctx, ewc_anchor_from_model(f->model, &anchor));
    float *start = tiny_weights(f->model);
    double penalty[2];
    for (int i = 0; i < 2; i++) {
        tiny_set_weights(f->model, start);
        ewc_trainer *trainer = trainer_with(f, &o);
        OK(f->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, i == 0 ? 0.5 / stats.mean : 0.5,
                                          i == 0 ? EWC_LAMBDA_ABSOLUTE : EWC_LAMBDA_RELATIVE, 0));
        step(f, trainer, 1, &f->batch.batch);
        penalty[i] = step(f, trainer, 1, &f->batch.batch).penalty;
        ewc_trainer_destroy(trainer);
    }
    assert_true(penalty[0] > 0);
    assert_true(fabs(penalty[0] - penalty[1]) < 1e-6 * penalty[0]);
    free(start);
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
}

/* Without a Fisher the penalty is plain L2: lambda/2 |w - anchor|^2. */
static void without_a_fisher_the_penalty_is_plain_l2(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    ewc_anchor *anchor = NULL;
    ewc_update_statistics s;
    float *start = tiny_weights(f->model);
    OK(f->ctx, ewc_anchor_from_model(f->model, &anchor));
    ewc_trainer *trainer = trainer_with(f, &o);
    OK(f->ctx, ewc_trainer_add_anchor(trainer, anchor, NULL, 3.0, EWC_LAMBDA_ABSOLUTE, 0));
    step(f, trainer, 1, &f->batch.batch);
    OK(f->ctx, ewc_trainer_penalty(trainer, &s));
    float *end = tiny_weights(f->model);
    double sum = 0;
    for (int64_t i = 0; i < f->parameters; i++)
        sum += ((double)end[i] - (double)start[i]) * ((double)end[i] - (double)start[i]);
    assert_true(fabs(s.distance_squared - sum) < 1e-5 * sum);
    assert_true(fabs(s.penalty - 1.5 * sum) < 1e-5 * sum);
    free(start);
    free(end);
    ewc_trainer_destroy(trainer);
    ewc_anchor_destroy(anchor);
}

static void fisher_of_other_weights_is_refused(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    ewc_fisher *fisher = fisher_of(f);
    ewc_model *other = tiny_model(f->ctx, 99);
    ewc_anchor *anchor = NULL;
    OK(f->ctx, ewc_anchor_from_model(other, &anchor));
    ewc_trainer *trainer = trainer_with(f, &o);
    assert_int_equal(ewc_trainer_add_anchor(trainer, anchor, fisher, 1.0, EWC_LAMBDA_ABSOLUTE, 0), EWC_ERROR_MISMATCH);
    assert_non_null(strstr(ewc_last_error(f->ctx), "fingerprint"));
    OK(f->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 1.0, EWC_LAMBDA_ABSOLUTE, 1));
    ewc_trainer_destroy(trainer);
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
    ewc_model_destroy(other);
}

static void nan_stops_the_step_and_is_named(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    ewc_trainer *trainer = trainer_with(f, &o);
    const char *name = "model.layers.1.mlp.up_proj.weight";
    float values[27 * 20];
    step(f, trainer, 1, &f->batch.batch);
    OK(f->ctx, ewc_model_get_tensor(f->model, name, values, 27 * 20));
    values[5] = NAN;
    OK(f->ctx, ewc_model_set_tensor(f->model, name, values, 27 * 20));
    float *before = tiny_weights(f->model);
    assert_int_equal(ewc_trainer_step(trainer, 1, &f->batch.batch, NULL), EWC_ERROR_NOT_FINITE);
    assert_non_null(strstr(ewc_last_error(f->ctx), name));
    assert_non_null(strstr(ewc_last_error(f->ctx), "step 2"));
    assert_int_equal(ewc_trainer_steps(trainer), 1);
    float *after = tiny_weights(f->model);
    assert_memory_equal(before, after, (size_t)f->parameters * sizeof *after);
    free(before);
    free(after);
    ewc_trainer_destroy(trainer);
}

static int asked;
static int stop_at_third(void *user)
{
    (void)user;
    return ++asked >= 3;
}

static void cancelled_step_is_not_taken(void **state)
{
    (void)state;
    ewc_context_options co;
    ewc_context *ctx = NULL;
    ewc_context_options_default(&co);
    co.threads = 1;
    co.cancel = stop_at_third;
    asked = 0;
    OK(NULL, ewc_context_create(&co, &ctx));
    ewc_model *model = tiny_model(ctx, 3);
    ewc_trainer_options o = options_for(4);
    ewc_trainer *trainer = NULL;
    tiny_batch b;
    tiny_batch_make(&b, VOCAB, 4, LENGTH, 21);
    OK(ctx, ewc_trainer_create(model, &o, &trainer));
    float *before = tiny_weights(model);
    assert_int_equal(ewc_trainer_step(trainer, 1, &b.batch, NULL), EWC_ERROR_CANCELLED);
    assert_int_equal(ewc_trainer_steps(trainer), 0);
    float *after = tiny_weights(model);
    assert_memory_equal(before, after, (size_t)ewc_model_parameter_count(model) * sizeof *after);
    free(before);
    free(after);
    tiny_batch_free(&b);
    ewc_trainer_destroy(trainer);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

static void clipping_scales_to_the_limit(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    o.clip = 0.01;
    ewc_trainer *trainer = trainer_with(f, &o);
    ewc_step_statistics s = step(f, trainer, 1, &f->batch.batch);
    assert_true(s.gradient_norm > 0.01);
    assert_true(fabs(s.clip_factor * s.gradient_norm - 0.01) < 1e-12);
    ewc_trainer_destroy(trainer);
    o.clip_mode = EWC_CLIP_TOTAL; /* the proximal form has no penalty gradient */
    assert_int_equal(ewc_trainer_create(f->model, &o, &trainer), EWC_ERROR_ARGUMENT);
}

static void phases_add_up_to_the_step(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(4);
    ewc_trainer *trainer = trainer_with(f, &o);
    ewc_step_statistics s = step(f, trainer, 1, &f->batch.batch);
    double sum = 0;
    for (int i = 0; i < EWC_PHASE_COUNT; i++) sum += s.phase_seconds[i];
    assert_true(fabs(sum - s.seconds) < 1e-6 + 1e-3 * s.seconds);
    ewc_trainer_destroy(trainer);
}

static void batches_too_large_or_wrong_are_refused(void **state)
{
    fixture *f = *state;
    ewc_trainer_options o = options_for(2);
    ewc_trainer *trainer = trainer_with(f, &o);
    assert_int_equal(ewc_trainer_step(trainer, 1, &f->batch.batch, NULL), EWC_ERROR_ARGUMENT);
    assert_non_null(strstr(ewc_last_error(f->ctx), "max_sequences"));
    f->batch.batch.sequences = 2;
    f->batch.tokens[LENGTH + 3] = VOCAB;
    assert_int_equal(ewc_trainer_step(trainer, 1, &f->batch.batch, NULL), EWC_ERROR_ARGUMENT);
    assert_non_null(strstr(ewc_last_error(f->ctx), "sequence 1, position 3"));
    f->batch.tokens[LENGTH + 3] = 1;
    for (int i = 0; i < 2 * LENGTH; i++) f->batch.targets[i] = -1;
    assert_int_equal(ewc_trainer_step(trainer, 1, &f->batch.batch, NULL), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_trainer_steps(trainer), 0);
    ewc_trainer_destroy(trainer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(loss_falls_over_steps),
        TEST(micro_batches_share_one_mean),
        TEST(losses_of_sequences_are_those_of_evaluation),
        TEST(frozen_tensors_keep_every_bit),
        TEST(huge_lambda_holds_the_weights),
        TEST(lambda_zero_changes_no_bit),
        TEST(several_tasks_of_lambda_zero_are_plain_training),
        TEST(relative_lambda_is_divided_by_the_mean),
        TEST(without_a_fisher_the_penalty_is_plain_l2),
        TEST(fisher_of_other_weights_is_refused),
        TEST(nan_stops_the_step_and_is_named),
        cmocka_unit_test(cancelled_step_is_not_taken),
        TEST(clipping_scales_to_the_limit),
        TEST(phases_add_up_to_the_step),
        TEST(batches_too_large_or_wrong_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
