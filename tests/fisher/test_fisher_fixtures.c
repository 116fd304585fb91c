/* Fisher diagonals against brute force in PyTorch: one double-precision backward pass for every sequence, and for the
 * sampled estimator the true Fisher by enumeration of all labels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "support/fixture.h"
#include "support/tiny.h"

/* Squares double the relative error of the gradients (3e-5 at most, see tests/model/test_fixtures.c). */
#define TOLERANCE 1e-4

typedef struct setting {
    ewc_context *ctx;
    fixture *f;
    ewc_model *model;
} setting;

static int set_up_with(void **state, const char *name, int threads)
{
    setting *s = calloc(1, sizeof *s);
    s->ctx = fixture_context(EWC_ISA_AUTO, threads);
    s->f = fixture_open(name);
    OK(s->ctx, ewc_model_load(s->ctx, fixture_directory(s->f), &s->model));
    *state = s;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, "half", 2);
}

static int set_up_gemma3(void **state)
{
    return set_up_with(state, "gemma3", 2);
}

/* For many small passes, which several threads make slower. */
static int set_up_single(void **state)
{
    return set_up_with(state, "half", 1);
}

static int tear_down(void **state)
{
    setting *s = *state;
    ewc_model_destroy(s->model);
    fixture_close(s->f);
    ewc_context_destroy(s->ctx);
    free(s);
    return 0;
}

/* Sequences [first, first + count) of a batch. */
static ewc_batch part(ewc_batch batch, int64_t first, int64_t count)
{
    batch.tokens += first * batch.length;
    batch.targets += first * batch.length;
    batch.sequences = count;
    return batch;
}

static ewc_fisher *create(setting *s, ewc_estimator estimator, ewc_fisher_unit unit, uint64_t seed)
{
    ewc_fisher *fisher = NULL;
    ewc_fisher_options options;
    ewc_fisher_options_default(&options);
    options.estimator = estimator;
    options.unit = unit;
    options.seed = seed;
    OK(s->ctx, ewc_fisher_create(s->model, &options, &fisher));
    return fisher;
}

static float *flat_of(setting *s, ewc_fisher *fisher)
{
    float *flat = malloc((size_t)ewc_model_parameter_count(s->model) * sizeof *flat);
    for (int64_t i = 0; i < ewc_model_tensor_count(s->model); i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        OK(s->ctx, ewc_fisher_get_tensor(fisher, t.name, flat + t.offset, t.rows * t.columns));
    }
    return flat;
}

/* Estimates over the batch cut into parts of the given sizes (ending with 0). */
static void check(setting *s, ewc_estimator estimator, ewc_fisher_unit unit, const char *batch_name,
                  const int64_t *parts, const char *expected)
{
    ewc_batch batch = fixture_batch(s->f, batch_name);
    ewc_fisher *fisher = create(s, estimator, unit, 1);
    for (int64_t first = 0; *parts > 0; first += *parts++) {
        ewc_batch piece = part(batch, first, *parts);
        OK(s->ctx, ewc_fisher_accumulate(fisher, &piece));
    }
    OK(s->ctx, ewc_fisher_finish(fisher));
    float *flat = flat_of(s, fisher);
    fixture_compare(s->f, s->model, expected, flat, TOLERANCE);
    free(flat);
    ewc_fisher_destroy(fisher);
}

static const int64_t ALL[] = {5, 0}, SINGLY[] = {1, 1, 1, 1, 1, 0}, UNEVEN[] = {2, 2, 1, 0};

static void empirical_is_the_mean_of_squared_sequence_gradients(void **state)
{
    const int64_t *const cuts[] = {ALL, SINGLY, UNEVEN};
    for (int i = 0; i < 3; i++) {
        check(*state, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, "fisher", cuts[i],
              "fisher/empirical/sequence_mean");
        check(*state, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_SUM, "fisher", cuts[i], "fisher/empirical/sequence_sum");
    }
}

static void empirical_of_gemma3_has_the_squares_of_its_norms(void **state)
{
    static const int64_t all[] = {3, 0}, parts[] = {1, 2, 0};
    check(*state, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, "fisher", all, "fisher/empirical/sequence_mean");
    check(*state, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, "fisher", parts, "fisher/empirical/sequence_mean");
}

static void restricted_positions_count_alone(void **state)
{
    check(*state, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, "fisher_restricted", UNEVEN,
          "fisher_restricted/empirical");
    check(*state, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_SUM, "fisher_restricted", ALL, "fisher_restricted/empirical");
}

static void batch_mean_squares_the_mean_gradient_of_each_batch(void **state)
{
    check(*state, EWC_FISHER_BATCH_MEAN, EWC_UNIT_SEQUENCE_MEAN, "fisher", UNEVEN, "fisher/batch_mean/sequence_mean");
    check(*state, EWC_FISHER_BATCH_MEAN, EWC_UNIT_SEQUENCE_SUM, "fisher", UNEVEN, "fisher/batch_mean/sequence_sum");
}

static void random_signs_over_single_sequences_are_exact(void **state)
{
    check(*state, EWC_FISHER_EMPIRICAL_SIGNS, EWC_UNIT_SEQUENCE_MEAN, "fisher", SINGLY,
          "fisher/empirical/sequence_mean");
    check(*state, EWC_FISHER_EMPIRICAL_SIGNS, EWC_UNIT_SEQUENCE_SUM, "fisher", SINGLY, "fisher/empirical/sequence_sum");
}

/* Sum over all tensors, and for each tensor its sum, of a random estimator over `rounds` passes of the data, against the
 * expected one. Sums have little variance, and their ratio to the expectation shows every wrong factor (a unit, a
 * divisor, the weight of a sequence) and every cross term that does not vanish. The limit is five times the deviation of
 * a mean of independent rounds, measured from the rounds themselves. */
static void expect_sums(setting *s, ewc_estimator estimator, ewc_fisher_unit unit, const int64_t *parts,
                        const char *expected_name)
{
    int rounds = getenv("EWC_TEST_FAST") != NULL ? 50 : 250;
    ewc_batch batch = fixture_batch(s->f, "fisher");
    float *expected = fixture_flat(s->f, s->model, expected_name);
    int64_t tensors = ewc_model_tensor_count(s->model);
    double *sum = calloc((size_t)tensors, sizeof *sum), *squares = calloc((size_t)tensors, sizeof *squares);
    for (int round = 0; round < rounds; round++) {
        ewc_fisher *fisher = create(s, estimator, unit, (uint64_t)round + 1);
        int64_t first = 0;
        for (const int64_t *size = parts; *size > 0; first += *size++) {
            ewc_batch piece = part(batch, first, *size);
            OK(s->ctx, ewc_fisher_accumulate(fisher, &piece));
        }
        OK(s->ctx, ewc_fisher_finish(fisher));
        for (int64_t i = 0; i < tensors; i++) {
            ewc_fisher_statistics statistics = {.struct_size = sizeof statistics};
            OK(s->ctx, ewc_fisher_stats(fisher, i, &statistics));
            sum[i] += statistics.sum / rounds;
            squares[i] += statistics.sum * statistics.sum / rounds;
        }
        ewc_fisher_destroy(fisher);
    }
    for (int64_t i = 0; i < tensors; i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        double exact = 0;
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        for (int64_t k = 0; k < t.rows * t.columns; k++) exact += (double)expected[t.offset + k];
        double deviation = sqrt(fmax(squares[i] - sum[i] * sum[i], 0) / (rounds - 1));
        if (!(fabs(sum[i] - exact) <= 5 * deviation + 1e-5 * exact) || !(deviation < 1.6 / sqrt(rounds) * exact))
            fail_msg("%s %s: expected a sum of %g, found %g, standard deviation %g", expected_name, t.name, exact,
                     sum[i], deviation);
    }
    free(expected);
    free(sum);
    free(squares);
}

static void random_signs_have_the_empirical_fisher_as_their_mean(void **state)
{
    expect_sums(*state, EWC_FISHER_EMPIRICAL_SIGNS, EWC_UNIT_SEQUENCE_MEAN, ALL, "fisher/empirical/sequence_mean");
    expect_sums(*state, EWC_FISHER_EMPIRICAL_SIGNS, EWC_UNIT_SEQUENCE_SUM, UNEVEN, "fisher/empirical/sequence_sum");
}

static void sampled_labels_have_the_true_fisher_as_their_mean(void **state)
{
    expect_sums(*state, EWC_FISHER_SAMPLED, EWC_UNIT_SEQUENCE_SUM, ALL, "fisher/true/sequence_sum");
    expect_sums(*state, EWC_FISHER_SAMPLED, EWC_UNIT_SEQUENCE_MEAN, UNEVEN, "fisher/true/sequence_mean");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(empirical_is_the_mean_of_squared_sequence_gradients, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empirical_of_gemma3_has_the_squares_of_its_norms, set_up_gemma3, tear_down),
        cmocka_unit_test_setup_teardown(restricted_positions_count_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(batch_mean_squares_the_mean_gradient_of_each_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_signs_over_single_sequences_are_exact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_signs_have_the_empirical_fisher_as_their_mean, set_up_single, tear_down),
        cmocka_unit_test_setup_teardown(sampled_labels_have_the_true_fisher_as_their_mean, set_up_single, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
