/* Fishers and anchors held in bf16: the numbers of their bf16 files, half the memory, and what would be lost is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "support/files.h"
#include "support/tiny.h"

enum { VOCAB = 71, LENGTH = 9, SEQUENCES = 2 };

/* ---- A context that knows how many bytes it holds ------------------------------------------------------------------------- */

enum { HEADER = 64 };

static size_t held;

static void *counting_allocate(void *user, size_t bytes)
{
    char *memory = NULL;
    (void)user;
    if (posix_memalign((void **)(void *)&memory, HEADER, bytes + HEADER) != 0) return NULL;
    memcpy(memory, &bytes, sizeof bytes);
    held += bytes;
    return memory + HEADER;
}

static void counting_release(void *user, void *pointer)
{
    size_t bytes;
    (void)user;
    if (pointer == NULL) return;
    memcpy(&bytes, (char *)pointer - HEADER, sizeof bytes);
    held -= bytes;
    free((char *)pointer - HEADER);
}

typedef struct setting {
    ewc_context *ctx;
    ewc_model *model;
    tiny_batch batch;
    int64_t parameters;
    float *values; /* a Fisher's */
} setting;

static int set_up(void **state)
{
    setting *s = calloc(1, sizeof *s);
    ewc_context_options options;
    ewc_context_options_default(&options);
    options.threads = 1;
    options.allocate = counting_allocate;
    options.release = counting_release;
    held = 0;
    OK(NULL, ewc_context_create(&options, &s->ctx));
    s->model = tiny_model(s->ctx, 3);
    s->parameters = ewc_model_parameter_count(s->model);
    s->values = array_random(s->parameters, 9, 1e-6);
    for (int64_t i = 0; i < s->parameters; i++) s->values[i] = fabsf(s->values[i]);
    tiny_batch_make(&s->batch, VOCAB, SEQUENCES, LENGTH, 21);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    setting *s = *state;
    tiny_batch_free(&s->batch);
    arrays_free();
    files_clear();
    ewc_model_destroy(s->model);
    ewc_context_destroy(s->ctx);
    assert_int_equal(held, 0);
    free(s);
    return 0;
}

static ewc_fisher *fisher_of(setting *s)
{
    ewc_fisher *fisher = NULL;
    OK(s->ctx, ewc_fisher_from_values(s->model, NULL, s->values, &fisher));
    return fisher;
}

static float *values_of(setting *s, ewc_fisher *fisher)
{
    float *flat = array_filled(s->parameters, -1.0F);
    for (int64_t i = 0; i < ewc_model_tensor_count(s->model); i++) {
        ewc_tensor_info t;
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        OK(s->ctx, ewc_fisher_get_tensor(fisher, t.name, flat + t.offset, t.rows * t.columns));
    }
    return flat;
}

static void check_refused(setting *s, ewc_status found, ewc_status expected, const char *word)
{
    assert_int_equal(found, expected);
    if (strstr(ewc_last_error(s->ctx), word) == NULL) print_error("%s\n", ewc_last_error(s->ctx));
    assert_non_null(strstr(ewc_last_error(s->ctx), word));
}

/* ---- Fisher ------------------------------------------------------------------------------------------------------------------ */

/* test_fisher_file.c proves the file's rounding. */
static void a_converted_fisher_has_the_numbers_of_its_bf16_file(void **state)
{
    setting *s = *state;
    const char *path = files_path("fisher.safetensors");
    ewc_fisher *fisher = fisher_of(s), *loaded = NULL;
    OK(s->ctx, ewc_fisher_save(fisher, path, EWC_BF16, 1));
    OK(s->ctx, ewc_fisher_load(s->model, path, &loaded));
    OK(s->ctx, ewc_fisher_convert(fisher, EWC_BF16));
    SAME(values_of(s, fisher), values_of(s, loaded), s->parameters);
    ewc_fisher_statistics a = {.struct_size = sizeof a}, b = a;
    OK(s->ctx, ewc_fisher_stats(fisher, -1, &a));
    OK(s->ctx, ewc_fisher_stats(loaded, -1, &b));
    assert_memory_equal(&a, &b, sizeof a);
    OK(s->ctx, ewc_fisher_convert(loaded, EWC_F32)); /* from the mapped file, and back from bf16 */
    OK(s->ctx, ewc_fisher_convert(fisher, EWC_F32));
    SAME(values_of(s, fisher), values_of(s, loaded), s->parameters);
    ewc_fisher_destroy(fisher);
    ewc_fisher_destroy(loaded);
}

static void bf16_takes_half_the_memory(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = fisher_of(s);
    ewc_anchor *anchor = NULL;
    OK(s->ctx, ewc_anchor_from_model(s->model, &anchor));
    const size_t before = held;
    OK(s->ctx, ewc_fisher_convert(fisher, EWC_BF16));
    assert_int_equal(before - held, 2 * s->parameters);
    OK(s->ctx, ewc_anchor_convert(anchor, EWC_BF16));
    assert_int_equal(before - held, 4 * s->parameters);
    OK(s->ctx, ewc_anchor_convert(anchor, EWC_BF16));
    assert_int_equal(before - held, 4 * s->parameters);
    ewc_fisher_destroy(fisher);
    ewc_anchor_destroy(anchor);
}

static void a_tensor_that_would_be_lost_is_named_and_nothing_changes(void **state)
{
    setting *s = *state;
    ewc_tensor_info t;
    OK(s->ctx, ewc_model_tensor(s->model, 3, &t));
    for (int64_t i = 0; i < t.rows * t.columns; i++) s->values[t.offset + i] = 4e-41F;
    ewc_fisher *fisher = fisher_of(s);
    check_refused(s, ewc_fisher_convert(fisher, EWC_BF16), EWC_ERROR_ARGUMENT, t.name);
    SAME(values_of(s, fisher), s->values, s->parameters);
    ewc_fisher_destroy(fisher);
    s->values[t.offset + 5] = 3.4e38F; /* the largest bf16 is 3.3895e38 */
    fisher = fisher_of(s);
    check_refused(s, ewc_fisher_convert(fisher, EWC_BF16), EWC_ERROR_NOT_FINITE, t.name);
    SAME(values_of(s, fisher), s->values, s->parameters);
    s->values[t.offset + 5] = 1e-6F; /* one value is left: rounding to zero is what rounding is */
    ewc_fisher_destroy(fisher);
    fisher = fisher_of(s);
    OK(s->ctx, ewc_fisher_convert(fisher, EWC_BF16));
    ewc_fisher_destroy(fisher);
}

static void a_weight_beyond_bf16_is_named(void **state)
{
    setting *s = *state;
    ewc_tensor_info t;
    ewc_anchor *anchor = NULL;
    float *weights = tiny_weights(s->model);
    uint64_t before, after;
    OK(s->ctx, ewc_model_tensor(s->model, 3, &t));
    weights[t.offset + 1] = -3.4e38F;
    tiny_set_weights(s->model, weights);
    free(weights);
    OK(s->ctx, ewc_anchor_from_model(s->model, &anchor));
    OK(s->ctx, ewc_anchor_fingerprint(anchor, &before));
    check_refused(s, ewc_anchor_convert(anchor, EWC_BF16), EWC_ERROR_NOT_FINITE, t.name);
    OK(s->ctx, ewc_anchor_fingerprint(anchor, &after));
    assert_true(before == after);
    ewc_anchor_destroy(anchor);
}

static void what_cannot_be_converted_is_refused(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = NULL;
    OK(s->ctx, ewc_fisher_create(s->model, NULL, &fisher));
    check_refused(s, ewc_fisher_convert(fisher, EWC_BF16), EWC_ERROR_STATE, "finish");
    ewc_fisher_destroy(fisher);
    fisher = fisher_of(s);
    check_refused(s, ewc_fisher_convert(fisher, EWC_F16), EWC_ERROR_ARGUMENT, "dtype");
    OK(s->ctx, ewc_fisher_convert(fisher, EWC_BF16));
    ewc_fisher *other = fisher_of(s);
    check_refused(s, ewc_fisher_online(fisher, other, 0.5), EWC_ERROR_STATE, "bf16");
    assert_int_equal(ewc_fisher_convert(NULL, EWC_BF16), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_anchor_convert(NULL, EWC_BF16), EWC_ERROR_ARGUMENT);
    ewc_fisher_destroy(fisher);
    ewc_fisher_destroy(other);
}

/* ---- In training ---------------------------------------------------------------------------------------------------------------- */

static ewc_trainer *trainer_of(setting *s, ewc_anchor *anchor, ewc_fisher *fisher)
{
    ewc_trainer *trainer = NULL;
    ewc_trainer_options o;
    ewc_trainer_options_default(&o);
    o.max_sequences = SEQUENCES;
    o.max_length = LENGTH;
    o.schedule.peak = 1e-2;
    OK(s->ctx, ewc_trainer_create(s->model, &o, &trainer));
    OK(s->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 10, EWC_LAMBDA_RELATIVE, 0));
    return trainer;
}

/* Weights after a few steps with this anchor and Fisher, from those that the model has now, which it has again afterwards. */
static float *after_steps(setting *s, ewc_anchor *anchor, ewc_fisher *fisher)
{
    float *before = tiny_weights(s->model);
    ewc_trainer *trainer = trainer_of(s, anchor, fisher);
    for (int i = 0; i < 4; i++) OK(s->ctx, ewc_trainer_step(trainer, 1, &s->batch.batch, NULL));
    ewc_trainer_destroy(trainer);
    float *after = tiny_weights(s->model);
    tiny_set_weights(s->model, before);
    free(before);
    return after;
}

static void training_with_converted_ones_is_that_with_bf16_files(void **state)
{
    setting *s = *state;
    const char *directory = files_path("checkpoint"), *path = files_path("fisher.safetensors");
    ewc_fisher *fisher = fisher_of(s), *mapped_fisher = NULL;
    ewc_anchor *anchor = NULL, *mapped_anchor = NULL;
    OK(s->ctx, ewc_fisher_save(fisher, path, EWC_BF16, 1));
    OK(s->ctx, ewc_fisher_load(s->model, path, &mapped_fisher));
    OK(s->ctx, ewc_model_save(s->model, directory, EWC_BF16, 1));
    OK(s->ctx, ewc_anchor_open(s->model, directory, &mapped_anchor));
    OK(s->ctx, ewc_anchor_from_model(s->model, &anchor));
    OK(s->ctx, ewc_fisher_convert(fisher, EWC_BF16));
    OK(s->ctx, ewc_anchor_convert(anchor, EWC_BF16));
    float *held_in_memory = after_steps(s, anchor, fisher);
    ewc_trainer *trainer = NULL;
    ewc_trainer_options o;
    ewc_trainer_options_default(&o);
    o.max_sequences = SEQUENCES;
    o.max_length = LENGTH;
    o.schedule.peak = 1e-2;
    OK(s->ctx, ewc_trainer_create(s->model, &o, &trainer));
    OK(s->ctx, ewc_trainer_add_anchor(trainer, mapped_anchor, mapped_fisher, 10, EWC_LAMBDA_RELATIVE, 1));
    for (int i = 0; i < 4; i++) OK(s->ctx, ewc_trainer_step(trainer, 1, &s->batch.batch, NULL));
    float *mapped = tiny_weights(s->model);
    SAME(held_in_memory, mapped, s->parameters);
    free(held_in_memory);
    free(mapped);
    ewc_trainer_destroy(trainer);
    ewc_fisher_destroy(fisher);
    ewc_fisher_destroy(mapped_fisher);
    ewc_anchor_destroy(anchor);
    ewc_anchor_destroy(mapped_anchor);
}

/* The Fisher still belongs to a rounded anchor; the model begins at the distance that rounding made. */
static void the_penalty_pulls_to_the_rounded_anchor(void **state)
{
    setting *s = *state;
    const char *directory = files_path("checkpoint");
    ewc_fisher *fisher = fisher_of(s);
    ewc_anchor *anchor = NULL, *rounded = NULL;
    ewc_update_statistics sums;
    double expected = 0;
    OK(s->ctx, ewc_anchor_from_model(s->model, &anchor));
    OK(s->ctx, ewc_anchor_convert(anchor, EWC_BF16));
    ewc_trainer *trainer = trainer_of(s, anchor, fisher);
    check_refused(s, ewc_anchor_convert(anchor, EWC_F32), EWC_ERROR_STATE, "trainer");
    check_refused(s, ewc_fisher_convert(fisher, EWC_BF16), EWC_ERROR_STATE, "trainer");
    OK(s->ctx, ewc_trainer_penalty(trainer, &sums));
    ewc_trainer_destroy(trainer);
    float *weights = tiny_weights(s->model);
    for (int64_t i = 0; i < s->parameters; i++) {
        int exponent;
        double w = (double)weights[i];
        frexp(w, &exponent);
        double difference = w - ldexp(nearbyint(ldexp(w, 8 - exponent)), exponent - 8);
        expected += difference * difference;
    }
    free(weights);
    assert_true(expected > 0);
    assert_true(fabs(sums.distance_squared - expected) <= 1e-9 * expected);

    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
    ewc_model *again = NULL; /* weights that are bf16 numbers */
    OK(s->ctx, ewc_model_save(s->model, directory, EWC_BF16, 1));
    OK(s->ctx, ewc_model_load(s->ctx, directory, &again));
    ewc_model_destroy(s->model);
    s->model = again;
    OK(s->ctx, ewc_anchor_from_model(s->model, &rounded));
    OK(s->ctx, ewc_anchor_convert(rounded, EWC_BF16));
    ewc_fisher *of_rounded = fisher_of(s);
    trainer = trainer_of(s, rounded, of_rounded);
    OK(s->ctx, ewc_trainer_penalty(trainer, &sums));
    assert_true(sums.distance_squared == 0);
    ewc_trainer_destroy(trainer);
    ewc_anchor_destroy(rounded);
    ewc_fisher_destroy(of_rounded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_converted_fisher_has_the_numbers_of_its_bf16_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bf16_takes_half_the_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_tensor_that_would_be_lost_is_named_and_nothing_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_weight_beyond_bf16_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_converted_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(training_with_converted_ones_is_that_with_bf16_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_penalty_pulls_to_the_rounded_anchor, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
