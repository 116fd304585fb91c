/* Saving and resuming: a run cut at any step and resumed ends with the bits of the uninterrupted one; what is not the same run is
 * refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "support/tiny.h"

enum { VOCAB = 71, LENGTH = 9, STEPS = 6 };

typedef struct run {
    ewc_context *ctx;
    ewc_model *model;
    ewc_anchor *anchor;
    ewc_fisher *fisher;
    ewc_trainer *trainer;
    tiny_batch old, batches[STEPS];
    ewc_step_statistics last;
} run;

static char directory[256];

static ewc_trainer_options run_options(void)
{
    ewc_trainer_options o;
    ewc_trainer_options_default(&o);
    o.schedule.kind = EWC_SCHEDULE_COSINE;
    o.schedule.peak = 2e-3;
    o.schedule.steps = STEPS;
    o.schedule.warmup = 2;
    o.weight_decay = 0.1;
    o.clip = 1.0;
    o.max_sequences = 3;
    o.max_length = LENGTH;
    return o;
}

static void begin(run *r, const ewc_trainer_options *o, double lambda)
{
    memset(r, 0, sizeof *r);
    r->ctx = tiny_context(2);
    r->model = tiny_model(r->ctx, 8);
    tiny_batch_make(&r->old, VOCAB, 3, LENGTH, 50);
    for (int i = 0; i < STEPS; i++) tiny_batch_make(&r->batches[i], VOCAB, 3, LENGTH, 60 + (uint64_t)i);
    OK(r->ctx, ewc_fisher_create(r->model, NULL, &r->fisher));
    OK(r->ctx, ewc_fisher_accumulate(r->fisher, &r->old.batch));
    OK(r->ctx, ewc_fisher_finish(r->fisher));
    OK(r->ctx, ewc_anchor_from_model(r->model, &r->anchor));
    OK(r->ctx, ewc_trainer_create(r->model, o, &r->trainer));
    OK(r->ctx, ewc_trainer_add_anchor(r->trainer, r->anchor, r->fisher, lambda, EWC_LAMBDA_RELATIVE, 0));
}

static void steps_up_to(run *r, int64_t end)
{
    r->last.struct_size = sizeof r->last;
    for (int64_t s = ewc_trainer_steps(r->trainer); s < end; s++)
        OK(r->ctx, ewc_trainer_step(r->trainer, 1, &r->batches[s].batch, &r->last));
}

static void end(run *r)
{
    ewc_trainer_destroy(r->trainer);
    ewc_fisher_destroy(r->fisher);
    ewc_anchor_destroy(r->anchor);
    ewc_model_destroy(r->model);
    ewc_context_destroy(r->ctx);
    tiny_batch_free(&r->old);
    for (int i = 0; i < STEPS; i++) tiny_batch_free(&r->batches[i]);
}

static void remove_state(void)
{
    static const char *const files[] = {"weights.safetensors", "m.safetensors", "v.safetensors", "manifest.json"};
    char path[320];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, files[i]);
        unlink(path);
    }
    rmdir(directory);
}

static void check_resumed(ewc_trainer_options o)
{
    run whole;
    begin(&whole, &o, 1.0);
    steps_up_to(&whole, STEPS);
    float *expected = tiny_weights(whole.model);
    for (int64_t cut = 1; cut < STEPS; cut++) {
        run first, second;
        char *user = NULL;
        begin(&first, &o, 1.0);
        steps_up_to(&first, cut);
        OK(first.ctx, ewc_trainer_save(first.trainer, directory, "position 7"));
        end(&first);
        begin(&second, &o, 1.0);
        OK(second.ctx, ewc_trainer_resume(second.trainer, directory, &user));
        assert_string_equal(user, "position 7");
        ewc_string_free(second.ctx, user);
        assert_int_equal(ewc_trainer_steps(second.trainer), cut);
        steps_up_to(&second, STEPS);
        float *found = tiny_weights(second.model);
        assert_memory_equal(found, expected, (size_t)ewc_model_parameter_count(second.model) * sizeof *found);
        assert_true(second.last.loss == whole.last.loss && second.last.penalty == whole.last.penalty);
        assert_true(second.last.schedule_area2 == whole.last.schedule_area2);
        free(found);
        end(&second);
    }
    free(expected);
    end(&whole);
    remove_state();
}

static void resumed_run_has_the_same_bits(void **state)
{
    (void)state;
    check_resumed(run_options());
}

static ewc_trainer_options bf16_options(uint64_t seed)
{
    ewc_trainer_options o = run_options();
    o.moments_dtype = EWC_BF16;
    o.seed = seed;
    return o;
}

static void resumed_run_with_bf16_moments_has_the_same_bits(void **state)
{
    (void)state;
    check_resumed(bf16_options(5));
}

static void check_refused(const ewc_trainer_options *saved, const ewc_trainer_options *o, const char *word)
{
    run first, second;
    begin(&first, saved, 1.0);
    steps_up_to(&first, 2);
    OK(first.ctx, ewc_trainer_save(first.trainer, directory, NULL));
    end(&first);
    begin(&second, o, 1.0);
    assert_int_equal(ewc_trainer_resume(second.trainer, directory, NULL), EWC_ERROR_MISMATCH);
    assert_non_null(strstr(ewc_last_error(second.ctx), word));
    end(&second);
    remove_state();
}

static void other_moments_or_another_seed_of_their_rounding_are_refused_by_name(void **state)
{
    (void)state;
    const ewc_trainer_options f32 = run_options(), five = bf16_options(5), six = bf16_options(6);
    check_refused(&f32, &five, "moments");
    check_refused(&five, &f32, "moments");
    check_refused(&five, &six, "seed");
}

static void an_anchor_rounded_otherwise_is_refused_by_name(void **state)
{
    (void)state;
    run first, second;
    ewc_trainer_options o = run_options();
    begin(&first, &o, 1.0);
    steps_up_to(&first, 2);
    OK(first.ctx, ewc_trainer_save(first.trainer, directory, NULL));
    end(&first);
    begin(&second, &o, 1.0);
    ewc_trainer_destroy(second.trainer);
    ewc_anchor_destroy(second.anchor);
    OK(second.ctx, ewc_anchor_from_model(second.model, &second.anchor));
    OK(second.ctx, ewc_anchor_convert(second.anchor, EWC_BF16));
    OK(second.ctx, ewc_trainer_create(second.model, &o, &second.trainer));
    OK(second.ctx, ewc_trainer_add_anchor(second.trainer, second.anchor, second.fisher, 1.0, EWC_LAMBDA_RELATIVE, 0));
    assert_int_equal(ewc_trainer_resume(second.trainer, directory, NULL), EWC_ERROR_MISMATCH);
    assert_non_null(strstr(ewc_last_error(second.ctx), "rounded to bf16"));
    end(&second);
    remove_state();
}

/* The second moment as a Fisher: the same numbers in both types, but for its rounding. */
static void the_second_moment_is_a_fisher_in_both_types(void **state)
{
    (void)state;
    const ewc_trainer_options options[] = {run_options(), bf16_options(5)};
    ewc_fisher_statistics s[2];
    for (int k = 0; k < 2; k++) {
        run r;
        ewc_fisher *fisher = NULL;
        begin(&r, &options[k], 0.0);
        steps_up_to(&r, 1);
        OK(r.ctx, ewc_fisher_from_trainer(r.trainer, &fisher));
        s[k].struct_size = sizeof s[k];
        OK(r.ctx, ewc_fisher_stats(fisher, -1, &s[k]));
        ewc_fisher_destroy(fisher);
        end(&r);
    }
    assert_int_equal(s[0].zeros, s[1].zeros);
    assert_true(s[1].sum > 0.99 * s[0].sum && s[1].sum < 1.01 * s[0].sum && s[0].sum != s[1].sum);
}

static void other_options_are_refused_by_name(void **state)
{
    (void)state;
    run first, second;
    ewc_trainer_options o = run_options();
    begin(&first, &o, 1.0);
    steps_up_to(&first, 2);
    OK(first.ctx, ewc_trainer_save(first.trainer, directory, NULL));
    end(&first);
    ewc_trainer_options other = run_options();
    other.beta2 = 0.99;
    begin(&second, &other, 1.0);
    float *before = tiny_weights(second.model);
    assert_int_equal(ewc_trainer_resume(second.trainer, directory, NULL), EWC_ERROR_MISMATCH);
    assert_non_null(strstr(ewc_last_error(second.ctx), "beta2"));
    float *after = tiny_weights(second.model);
    assert_memory_equal(before, after, (size_t)ewc_model_parameter_count(second.model) * sizeof *after);
    free(before);
    free(after);
    end(&second);
    begin(&second, &o, 2.0);
    assert_int_equal(ewc_trainer_resume(second.trainer, directory, NULL), EWC_ERROR_MISMATCH);
    assert_non_null(strstr(ewc_last_error(second.ctx), "lambda"));
    end(&second);
    remove_state();
}

/* One byte anywhere in a state file: the damage is seen, the file named, the trainer untouched. */
static void damaged_files_are_refused(void **state)
{
    (void)state;
    static const char *const files[] = {"weights.safetensors", "m.safetensors", "v.safetensors", "manifest.json"};
    run first, second;
    ewc_trainer_options o = run_options();
    begin(&first, &o, 1.0);
    steps_up_to(&first, 2);
    OK(first.ctx, ewc_trainer_save(first.trainer, directory, NULL));
    end(&first);
    begin(&second, &o, 1.0);
    for (int i = 0; i < 4; i++) {
        char path[320];
        snprintf(path, sizeof path, "%s/%s", directory, files[i]);
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        assert_int_equal(fseek(file, 40, SEEK_SET), 0);
        int byte = fgetc(file);
        assert_int_equal(fseek(file, 40, SEEK_SET), 0);
        fputc(byte ^ 0x41, file);
        fclose(file);
        assert_int_not_equal(ewc_trainer_resume(second.trainer, directory, NULL), EWC_OK);
        assert_non_null(strstr(ewc_last_error(second.ctx), "manifest") || strstr(ewc_last_error(second.ctx), files[i])
                            ? ewc_last_error(second.ctx)
                            : NULL);
        assert_int_equal(ewc_trainer_steps(second.trainer), 0);
        file = fopen(path, "r+b");
        assert_int_equal(fseek(file, 40, SEEK_SET), 0);
        fputc(byte, file);
        fclose(file);
    }
    OK(second.ctx, ewc_trainer_resume(second.trainer, directory, NULL));
    assert_int_equal(ewc_trainer_resume(second.trainer, directory, NULL), EWC_ERROR_STATE);
    end(&second);
    remove_state();
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/ewc-state-%ld", tmp != NULL ? tmp : "/tmp", (long)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resumed_run_has_the_same_bits),
        cmocka_unit_test(resumed_run_with_bf16_moments_has_the_same_bits),
        cmocka_unit_test(other_options_are_refused_by_name),
        cmocka_unit_test(other_moments_or_another_seed_of_their_rounding_are_refused_by_name),
        cmocka_unit_test(an_anchor_rounded_otherwise_is_refused_by_name),
        cmocka_unit_test(the_second_moment_is_a_fisher_in_both_types),
        cmocka_unit_test(damaged_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
