/* Estimates by the definition, on a small random model: the squares of single sequences' gradients from ewc_model_gradient, summed in double.
 * What batches the data comes in, two halves made apart, the unit, the second moment of a trainer, online EWC, cancellation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>

#include "support/files.h"
#include "support/tiny.h"

enum { VOCAB = 71, LENGTH = 11, SEQUENCES = 8, NOTHING_SCORED = 5 };

/* Gradients of one sequence and of a batch are the same sums in another order: f32 rounding, doubled by the square. */
#define TOLERANCE 2e-5

typedef struct setting {
    ewc_context *ctx;
    ewc_model *model;
    tiny_batch data;
    int64_t parameters, scored[SEQUENCES], scored_in_all;
    int asked, stop_at; /* of the cancellation */
} setting;

static int cancel(void *user)
{
    setting *s = user;
    return s->stop_at > 0 && ++s->asked >= s->stop_at;
}

/* Eight sequences with about one in five positions not scored; one has all but one, one has none. */
static int set_up(void **state)
{
    setting *s = calloc(1, sizeof *s);
    ewc_context_options options;
    ewc_context_options_default(&options);
    options.threads = 1;
    options.user = s;
    options.cancel = cancel;
    OK(NULL, ewc_context_create(&options, &s->ctx));
    s->model = tiny_model(s->ctx, 3);
    s->parameters = ewc_model_parameter_count(s->model);
    tiny_batch_make(&s->data, VOCAB, SEQUENCES, LENGTH, 21);
    for (int64_t t = 0; t < LENGTH; t++) {
        s->data.targets[NOTHING_SCORED * LENGTH + t] = -1;
        if (t != 7) s->data.targets[2 * LENGTH + t] = -100;
    }
    s->data.targets[2 * LENGTH + 7] = 13;
    for (int64_t i = 0; i < SEQUENCES * LENGTH; i++) {
        s->scored[i / LENGTH] += s->data.targets[i] >= 0;
        s->scored_in_all += s->data.targets[i] >= 0;
    }
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    setting *s = *state;
    tiny_batch_free(&s->data);
    arrays_free();
    files_clear();
    ewc_model_destroy(s->model);
    ewc_context_destroy(s->ctx);
    free(s);
    return 0;
}

static ewc_batch part(const setting *s, int64_t first, int64_t count)
{
    ewc_batch batch = s->data.batch;
    batch.tokens += first * LENGTH;
    batch.targets += first * LENGTH;
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

/* Adds the sequences [first, end) in batches of `cut`, the last one what is left. */
static void add(setting *s, ewc_fisher *fisher, int64_t first, int64_t end, int64_t cut)
{
    for (; first < end; first += cut) {
        ewc_batch piece = part(s, first, end - first < cut ? end - first : cut);
        OK(s->ctx, ewc_fisher_accumulate(fisher, &piece));
    }
}

static ewc_fisher *estimate(setting *s, ewc_estimator estimator, ewc_fisher_unit unit, int64_t cut)
{
    ewc_fisher *fisher = create(s, estimator, unit, 5);
    add(s, fisher, 0, SEQUENCES, cut);
    OK(s->ctx, ewc_fisher_finish(fisher));
    return fisher;
}

static float *values_of(setting *s, ewc_fisher *fisher)
{
    float *flat = array_filled(s->parameters, -1.0F);
    for (int64_t i = 0; i < ewc_model_tensor_count(s->model); i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        OK(s->ctx, ewc_fisher_get_tensor(fisher, t.name, flat + t.offset, t.rows * t.columns));
    }
    return flat;
}

static ewc_fisher_info info_of(setting *s, const ewc_fisher *fisher)
{
    ewc_fisher_info info = {.struct_size = sizeof info};
    OK(s->ctx, ewc_fisher_describe(fisher, &info));
    return info;
}

/* d l_b / dw (up to its sign), l_b being the mean or the sum over the scored tokens of sequence b. */
static void add_sequence_gradient(setting *s, int64_t b, ewc_fisher_unit unit, double factor, double *sum)
{
    float *gradient = array_filled(s->parameters, 0);
    ewc_batch one = part(s, b, 1);
    if (s->scored[b] == 0) return;
    double normalizer = unit == EWC_UNIT_SEQUENCE_MEAN ? (double)s->scored[b] : 1.0;
    OK(s->ctx, ewc_model_gradient(s->model, &one, normalizer, NULL, gradient));
    for (int64_t i = 0; i < s->parameters; i++) sum[i] += factor * (double)gradient[i];
}

/* Mean over the sequences [first, end) that have something scored of the squares of their gradients. */
static double *brute_force(setting *s, int64_t first, int64_t end, ewc_fisher_unit unit)
{
    double *mean = array_doubles(s->parameters);
    int64_t counted = 0;
    for (int64_t b = first; b < end; b++) counted += s->scored[b] > 0;
    for (int64_t b = first; b < end; b++) {
        double *g = array_doubles(s->parameters);
        add_sequence_gradient(s, b, unit, 1.0, g);
        for (int64_t i = 0; i < s->parameters; i++) mean[i] += g[i] * g[i] / (double)counted;
    }
    return mean;
}

/* Every tensor by its own scale. */
static void compare(setting *s, const float *found, const double *expected)
{
    for (int64_t i = 0; i < ewc_model_tensor_count(s->model); i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        array_check(found + t.offset, expected + t.offset, t.rows * t.columns, TOLERANCE, t.name, __FILE__, __LINE__);
    }
}

static void empirical_is_the_mean_of_squared_gradients_however_the_data_is_cut(void **state)
{
    setting *s = *state;
    static const int64_t cuts[] = {1, 3, 4};
    for (int unit = EWC_UNIT_SEQUENCE_MEAN; unit <= EWC_UNIT_SEQUENCE_SUM; unit++) {
        double *expected = brute_force(s, 0, SEQUENCES, (ewc_fisher_unit)unit);
        for (int i = 0; i < 3; i++) {
            ewc_fisher *fisher = estimate(s, EWC_FISHER_EMPIRICAL, (ewc_fisher_unit)unit, cuts[i]);
            compare(s, values_of(s, fisher), expected);
            ewc_fisher_info info = info_of(s, fisher);
            assert_int_equal(info.estimator, EWC_FISHER_EMPIRICAL);
            assert_int_equal(info.unit, unit);
            assert_int_equal(info.sequences, SEQUENCES - 1);
            assert_int_equal(info.tokens, s->scored_in_all);
            assert_int_equal(info.finished, 1);
            ewc_fisher_destroy(fisher);
        }
    }
}

static void the_data_fingerprint_is_of_the_data_not_of_the_batches(void **state)
{
    setting *s = *state;
    ewc_fisher *one = estimate(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, 1);
    uint64_t expected = info_of(s, one).data_fingerprint;
    assert_int_equal(info_of(s, one).batches, SEQUENCES - 1); /* the one with nothing scored took no pass */
    ewc_fisher_destroy(one);
    for (int64_t cut = 3; cut <= SEQUENCES; cut++) {
        ewc_fisher *fisher = estimate(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, cut);
        assert_true(info_of(s, fisher).data_fingerprint == expected);
        ewc_fisher_destroy(fisher);
    }
    int32_t *places[] = {&s->data.tokens[9], &s->data.targets[NOTHING_SCORED * LENGTH]};
    for (int i = 0; i < 2; i++) {
        int32_t present = *places[i];
        *places[i] = present == 4 ? 5 : 4;
        ewc_fisher *other = estimate(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, SEQUENCES);
        assert_true(info_of(s, other).data_fingerprint != expected);
        ewc_fisher_destroy(other);
        *places[i] = present;
    }
}

static void random_signs_of_single_sequences_are_the_empirical_fisher(void **state)
{
    setting *s = *state;
    for (int unit = EWC_UNIT_SEQUENCE_MEAN; unit <= EWC_UNIT_SEQUENCE_SUM; unit++) {
        ewc_fisher *fisher = estimate(s, EWC_FISHER_EMPIRICAL_SIGNS, (ewc_fisher_unit)unit, 1);
        compare(s, values_of(s, fisher), brute_force(s, 0, SEQUENCES, (ewc_fisher_unit)unit));
        ewc_fisher_destroy(fisher);
    }
}

/* The estimate of sequence 4 alone, after four others with nothing scored: in one batch with them, and in batches of one. */
static float *sampled_after_others(setting *s, int64_t cut, int64_t others)
{
    ewc_fisher *fisher = create(s, EWC_FISHER_SAMPLED, EWC_UNIT_SEQUENCE_MEAN, 5);
    add(s, fisher, 4 - others, 5, cut);
    OK(s->ctx, ewc_fisher_finish(fisher));
    float *values = values_of(s, fisher);
    ewc_fisher_destroy(fisher);
    return values;
}

/* Sampled labels depend on the seed and on the row's number in the whole data, not on its place in a batch. */
static void sampled_labels_are_keyed_by_row(void **state)
{
    setting *s = *state;
    for (int64_t i = 0; i < 4 * LENGTH; i++) s->data.targets[i] = -1;
    double *expected = array_widened(sampled_after_others(s, 5, 4), s->parameters);
    compare(s, sampled_after_others(s, 1, 4), expected);
    compare(s, sampled_after_others(s, 3, 4), expected);
    const float *elsewhere = sampled_after_others(s, 1, 3);
    int64_t different = 0;
    for (int64_t i = 0; i < s->parameters; i++)
        different += fabs((double)elsewhere[i] - expected[i]) > 0.01 * expected[i];
    assert_true(different > s->parameters / 2);
}

/* Sampled labels take the place of the data's: which ones these are does not matter, only which are scored. */
static void sampled_labels_do_not_look_at_the_targets(void **state)
{
    setting *s = *state;
    ewc_fisher *a = estimate(s, EWC_FISHER_SAMPLED, EWC_UNIT_SEQUENCE_SUM, 3);
    for (int64_t i = 0; i < SEQUENCES * LENGTH; i++)
        if (s->data.targets[i] >= 0) s->data.targets[i] = (s->data.targets[i] + 17) % VOCAB;
    ewc_fisher *b = estimate(s, EWC_FISHER_SAMPLED, EWC_UNIT_SEQUENCE_SUM, 3);
    SAME(values_of(s, a), values_of(s, b), s->parameters);
    ewc_fisher_destroy(a);
    ewc_fisher_destroy(b);
}

/* Mean over the batches (3, 3, 2) of (mean over a batch's sequences of dl/dw)^2; sequence 5 is in none of the means. */
static void batch_mean_squares_the_mean_gradient_of_each_batch(void **state)
{
    setting *s = *state;
    for (int unit = EWC_UNIT_SEQUENCE_MEAN; unit <= EWC_UNIT_SEQUENCE_SUM; unit++) {
        double *expected = array_doubles(s->parameters);
        for (int64_t first = 0; first < SEQUENCES; first += 3) {
            double *mean = array_doubles(s->parameters);
            int64_t counted = first == 0 ? 3 : 2; /* 5 is skipped in the second, the third has two */
            for (int64_t b = first; b < SEQUENCES && b < first + 3; b++)
                add_sequence_gradient(s, b, (ewc_fisher_unit)unit, 1.0 / (double)counted, mean);
            for (int64_t i = 0; i < s->parameters; i++) expected[i] += mean[i] * mean[i] / 3;
        }
        ewc_fisher *fisher = estimate(s, EWC_FISHER_BATCH_MEAN, (ewc_fisher_unit)unit, 3);
        compare(s, values_of(s, fisher), expected);
        assert_int_equal(info_of(s, fisher).batches, 3);
        ewc_fisher_destroy(fisher);
    }
}

static void two_halves_merged_are_one_run(void **state)
{
    setting *s = *state;
    ewc_fisher *first = create(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, 0);
    ewc_fisher *second = create(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, 0);
    add(s, first, 0, 3, 2);
    add(s, second, 3, SEQUENCES, 2);
    uint64_t alone = info_of(s, first).data_fingerprint;
    OK(s->ctx, ewc_fisher_merge(first, second));
    ewc_fisher_destroy(second);
    OK(s->ctx, ewc_fisher_finish(first));
    compare(s, values_of(s, first), brute_force(s, 0, SEQUENCES, EWC_UNIT_SEQUENCE_MEAN));
    ewc_fisher_info info = info_of(s, first);
    assert_int_equal(info.sequences, SEQUENCES - 1);
    assert_int_equal(info.tokens, s->scored_in_all);
    assert_int_equal(info.batches, 5);
    assert_true(info.data_fingerprint != alone);
    ewc_fisher_destroy(first);
}

static void merge_refuses_what_does_not_belong(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = create(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, 0);
    ewc_fisher *unit = create(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_SUM, 0);
    ewc_fisher *estimator = create(s, EWC_FISHER_SAMPLED, EWC_UNIT_SEQUENCE_MEAN, 0);
    ewc_fisher *finished = estimate(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, 4);
    ewc_model *model = tiny_model(s->ctx, 4);
    ewc_fisher *weights = NULL;
    OK(s->ctx, ewc_fisher_create(model, NULL, &weights));
    REFUSED(s->ctx, ewc_fisher_merge(fisher, unit), EWC_ERROR_MISMATCH, "sequence_mean", "sequence_sum");
    REFUSED(s->ctx, ewc_fisher_merge(fisher, estimator), EWC_ERROR_MISMATCH, "empirical", "sampled");
    REFUSED(s->ctx, ewc_fisher_merge(fisher, weights), EWC_ERROR_MISMATCH, "same weights");
    REFUSED(s->ctx, ewc_fisher_merge(fisher, finished), EWC_ERROR_STATE, "finished");
    REFUSED(s->ctx, ewc_fisher_merge(finished, fisher), EWC_ERROR_STATE, "finished");
    ewc_fisher_destroy(weights);
    ewc_model_destroy(model);
    ewc_fisher_destroy(finished);
    ewc_fisher_destroy(estimator);
    ewc_fisher_destroy(unit);
    ewc_fisher_destroy(fisher);
}

/* v of a step is beta2 v + (1 - beta2) g^2: reckoned here in double from the gradients at each step's weights. */
static void a_trainers_second_moment_is_corrected_for_its_bias(void **state)
{
    setting *s = *state;
    ewc_trainer_options options;
    ewc_trainer *trainer = NULL;
    ewc_fisher *fisher = NULL;
    ewc_trainer_options_default(&options);
    options.schedule.peak = 1e-3;
    options.beta2 = 0.9;
    options.max_sequences = SEQUENCES;
    options.max_length = LENGTH;
    OK(s->ctx, ewc_trainer_create(s->model, &options, &trainer));
    REFUSED(s->ctx, ewc_fisher_from_trainer(trainer, &fisher), EWC_ERROR_STATE, "no step");
    double *v = array_doubles(s->parameters);
    float *gradient = array_filled(s->parameters, 0);
    for (int step = 0; step < 3; step++) {
        OK(s->ctx, ewc_model_gradient(s->model, &s->data.batch, 0, NULL, gradient));
        for (int64_t i = 0; i < s->parameters; i++) v[i] = 0.9 * v[i] + 0.1 * (double)gradient[i] * (double)gradient[i];
        OK(s->ctx, ewc_trainer_step(trainer, 1, &s->data.batch, NULL));
    }
    for (int64_t i = 0; i < s->parameters; i++) v[i] /= 1 - 0.9 * 0.9 * 0.9;
    OK(s->ctx, ewc_fisher_from_trainer(trainer, &fisher));
    compare(s, values_of(s, fisher), v);
    ewc_fisher_info info = info_of(s, fisher);
    uint64_t present;
    OK(s->ctx, ewc_model_fingerprint(s->model, &present));
    assert_int_equal(info.estimator, EWC_FISHER_ADAM_V);
    assert_int_equal(info.finished, 1);
    assert_true(info.model_fingerprint == present);
    OK(s->ctx, ewc_trainer_step(trainer, 1, &s->data.batch, NULL)); /* the trainer goes on */
    ewc_fisher_destroy(fisher);
    ewc_trainer_destroy(trainer);
}

static ewc_fisher *of_part(setting *s, int64_t first, int64_t end, ewc_fisher_unit unit)
{
    ewc_fisher *fisher = create(s, EWC_FISHER_EMPIRICAL, unit, 0);
    add(s, fisher, first, end, 4);
    OK(s->ctx, ewc_fisher_finish(fisher));
    return fisher;
}

static void online_adds_gamma_times_the_previous(void **state)
{
    setting *s = *state;
    ewc_fisher *previous = of_part(s, 0, 3, EWC_UNIT_SEQUENCE_MEAN);
    ewc_fisher *fisher = of_part(s, 3, SEQUENCES, EWC_UNIT_SEQUENCE_MEAN);
    double *old = brute_force(s, 0, 3, EWC_UNIT_SEQUENCE_MEAN);
    double *expected = brute_force(s, 3, SEQUENCES, EWC_UNIT_SEQUENCE_MEAN), sum = 0;
    for (int64_t i = 0; i < s->parameters; i++) sum += expected[i] += 0.3 * old[i];
    OK(s->ctx, ewc_fisher_online(fisher, previous, 0.3));
    float *values = values_of(s, fisher);
    compare(s, values, expected);
    ewc_fisher_statistics statistics = {.struct_size = sizeof statistics};
    OK(s->ctx, ewc_fisher_stats(fisher, -1, &statistics));
    assert_true(fabs(statistics.sum - sum) < 1e-5 * sum);
    OK(s->ctx, ewc_fisher_online(fisher, previous, 0.0));
    SAME(values_of(s, fisher), values, s->parameters);
    ewc_fisher_destroy(previous);
    ewc_fisher_destroy(fisher);
}

static void online_takes_the_previous_from_a_file(void **state)
{
    setting *s = *state;
    ewc_fisher *kept = of_part(s, 0, 3, EWC_UNIT_SEQUENCE_MEAN), *previous = NULL;
    ewc_fisher *a = of_part(s, 3, SEQUENCES, EWC_UNIT_SEQUENCE_MEAN);
    ewc_fisher *b = of_part(s, 3, SEQUENCES, EWC_UNIT_SEQUENCE_MEAN);
    const char *path = files_path("previous.safetensors");
    OK(s->ctx, ewc_fisher_save(kept, path, EWC_F32, 0));
    OK(s->ctx, ewc_fisher_load(s->model, path, &previous));
    OK(s->ctx, ewc_fisher_online(a, kept, 0.7));
    OK(s->ctx, ewc_fisher_online(b, previous, 0.7));
    SAME(values_of(s, a), values_of(s, b), s->parameters);
    REFUSED(s->ctx, ewc_fisher_online(previous, a, 0.7), EWC_ERROR_STATE, "mapped from a file");
    ewc_fisher_destroy(previous);
    ewc_fisher_destroy(kept);
    ewc_fisher_destroy(a);
    ewc_fisher_destroy(b);
}

static void online_refuses_what_makes_no_sense(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = of_part(s, 3, SEQUENCES, EWC_UNIT_SEQUENCE_MEAN);
    ewc_fisher *sum = of_part(s, 0, 3, EWC_UNIT_SEQUENCE_SUM);
    ewc_fisher *unfinished = create(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, 0);
    float *before = values_of(s, fisher);
    REFUSED(s->ctx, ewc_fisher_online(fisher, sum, 0.5), EWC_ERROR_MISMATCH, "sequence_mean", "sequence_sum");
    REFUSED(s->ctx, ewc_fisher_online(fisher, unfinished, 0.5), EWC_ERROR_STATE, "not finished");
    REFUSED(s->ctx, ewc_fisher_online(fisher, fisher, -0.5), EWC_ERROR_ARGUMENT, "gamma", "-0.5");
    REFUSED(s->ctx, ewc_fisher_online(fisher, fisher, (double)NAN), EWC_ERROR_ARGUMENT, "gamma");
    SAME(values_of(s, fisher), before, s->parameters);
    /* Beyond the range of f32 there is no Fisher left, and it says so. */
    REFUSED(s->ctx, ewc_fisher_online(fisher, fisher, 1e60), EWC_ERROR_NOT_FINITE, "model.", "inf");
    REFUSED(s->ctx, ewc_fisher_save(fisher, files_path("none"), EWC_F32, 0), EWC_ERROR_STATE, "spoiled");
    ewc_fisher_destroy(unfinished);
    ewc_fisher_destroy(sum);
    ewc_fisher_destroy(fisher);
}

static void nothing_scored_is_not_a_fisher(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = create(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, 0);
    REFUSED(s->ctx, ewc_fisher_finish(fisher), EWC_ERROR_STATE, "no sequence");
    add(s, fisher, NOTHING_SCORED, NOTHING_SCORED + 1, 1);
    REFUSED(s->ctx, ewc_fisher_finish(fisher), EWC_ERROR_STATE, "no sequence");
    ewc_batch weighted = s->data.batch;
    weighted.weights = s->data.weights;
    REFUSED(s->ctx, ewc_fisher_accumulate(fisher, &weighted), EWC_ERROR_ARGUMENT, "batch.weights");
    ewc_fisher_destroy(fisher);
}

static void sums_are_not_handed_out_as_a_fisher(void **state)
{
    setting *s = *state;
    float norm[20];
    ewc_fisher_statistics statistics = {.struct_size = sizeof statistics};
    ewc_fisher *fisher = create(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, 0);
    add(s, fisher, 0, 2, 2);
    assert_int_equal(info_of(s, fisher).finished, 0);
    REFUSED(s->ctx, ewc_fisher_get_tensor(fisher, "model.norm.weight", norm, 20), EWC_ERROR_STATE, "ewc_fisher_finish");
    REFUSED(s->ctx, ewc_fisher_stats(fisher, -1, &statistics), EWC_ERROR_STATE, "ewc_fisher_finish");
    REFUSED(s->ctx, ewc_fisher_save(fisher, files_path("sums"), EWC_F32, 0), EWC_ERROR_STATE, "ewc_fisher_finish");
    OK(s->ctx, ewc_fisher_finish(fisher));
    OK(s->ctx, ewc_fisher_get_tensor(fisher, "model.norm.weight", norm, 20));
    REFUSED(s->ctx, ewc_fisher_get_tensor(fisher, "model.norm.weight", norm, 21), EWC_ERROR_ARGUMENT, "20", "21");
    REFUSED(s->ctx, ewc_fisher_get_tensor(fisher, "model.other", norm, 20), EWC_ERROR_ARGUMENT, "model.other");
    ewc_batch more = part(s, 0, 1);
    REFUSED(s->ctx, ewc_fisher_accumulate(fisher, &more), EWC_ERROR_STATE, "finished");
    REFUSED(s->ctx, ewc_fisher_finish(fisher), EWC_ERROR_STATE, "finished");
    ewc_fisher_destroy(fisher);
}

static void weights_that_changed_under_way_are_noticed(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = create(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, 0);
    float *weights = tiny_weights(s->model);
    add(s, fisher, 0, SEQUENCES, 4);
    float kept = weights[1000];
    weights[1000] += 1e-3F;
    tiny_set_weights(s->model, weights);
    REFUSED(s->ctx, ewc_fisher_finish(fisher), EWC_ERROR_STATE, "weights changed");
    weights[1000] = kept;
    tiny_set_weights(s->model, weights);
    OK(s->ctx, ewc_fisher_finish(fisher));
    compare(s, values_of(s, fisher), brute_force(s, 0, SEQUENCES, EWC_UNIT_SEQUENCE_MEAN));
    free(weights);
    ewc_fisher_destroy(fisher);
}

/* Squares go straight into the sums: an empirical estimate that was cancelled half-way is spoiled, and says so. */
static void a_cancelled_empirical_estimate_says_so(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = create(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, 0);
    ewc_fisher *other = create(s, EWC_FISHER_EMPIRICAL, EWC_UNIT_SEQUENCE_MEAN, 0);
    ewc_batch batch = part(s, 0, 4);
    add(s, fisher, 4, SEQUENCES, 4);
    s->stop_at = 1;
    assert_int_equal(ewc_fisher_accumulate(fisher, &batch), EWC_ERROR_CANCELLED);
    s->stop_at = 0;
    assert_true(s->asked > 0);
    assert_int_equal(info_of(s, fisher).sequences, 3);
    REFUSED(s->ctx, ewc_fisher_accumulate(fisher, &batch), EWC_ERROR_STATE, "failed half-way", "new estimate");
    REFUSED(s->ctx, ewc_fisher_finish(fisher), EWC_ERROR_STATE, "failed half-way");
    REFUSED(s->ctx, ewc_fisher_merge(other, fisher), EWC_ERROR_STATE, "broken");
    REFUSED(s->ctx, ewc_fisher_save(fisher, files_path("f"), EWC_F32, 0), EWC_ERROR_STATE, "spoiled", "new estimate");
    ewc_fisher_destroy(other);
    ewc_fisher_destroy(fisher);
}

/* The others square a whole gradient at the end of the batch: cancelled before that, they are as they were and go on. */
static void other_estimates_go_on_after_a_cancellation(void **state)
{
    setting *s = *state;
    static const ewc_estimator estimators[] = {EWC_FISHER_EMPIRICAL_SIGNS, EWC_FISHER_SAMPLED, EWC_FISHER_BATCH_MEAN};
    for (int i = 0; i < 3; i++) {
        ewc_fisher *whole = estimate(s, estimators[i], EWC_UNIT_SEQUENCE_MEAN, 4);
        ewc_fisher *fisher = create(s, estimators[i], EWC_UNIT_SEQUENCE_MEAN, 5);
        ewc_batch batch = part(s, 4, 4);
        add(s, fisher, 0, 4, 4);
        s->asked = 0;
        s->stop_at = 1;
        assert_int_equal(ewc_fisher_accumulate(fisher, &batch), EWC_ERROR_CANCELLED);
        s->stop_at = 0;
        OK(s->ctx, ewc_fisher_accumulate(fisher, &batch));
        OK(s->ctx, ewc_fisher_finish(fisher));
        SAME(values_of(s, fisher), values_of(s, whole), s->parameters);
        assert_true(info_of(s, fisher).data_fingerprint == info_of(s, whole).data_fingerprint);
        ewc_fisher_destroy(fisher);
        ewc_fisher_destroy(whole);
    }
}

static void options_that_are_wrong_name_themselves(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = NULL;
    ewc_fisher_options o;
    ewc_fisher_options_default(&o);
    o.estimator = EWC_FISHER_ADAM_V;
    REFUSED(s->ctx, ewc_fisher_create(s->model, &o, &fisher), EWC_ERROR_ARGUMENT, "options.estimator", "4");
    o.estimator = EWC_FISHER_EMPIRICAL;
    o.unit = (ewc_fisher_unit)2;
    REFUSED(s->ctx, ewc_fisher_create(s->model, &o, &fisher), EWC_ERROR_ARGUMENT, "options.unit", "2");
    float *ones = array_filled(s->parameters, 1.0F);
    REFUSED(s->ctx, ewc_fisher_from_values(s->model, &o, ones, &fisher), EWC_ERROR_ARGUMENT, "ewc_fisher_unit", "2");
    o.struct_size = 0;
    REFUSED(s->ctx, ewc_fisher_from_values(s->model, &o, ones, &fisher), EWC_ERROR_ARGUMENT, "struct_size");
    assert_null(fisher);
}

static void a_callers_values_are_a_finished_fisher(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = NULL;
    float *values = array_random(s->parameters, 8, 1.0);
    REFUSED(s->ctx, ewc_fisher_from_values(s->model, NULL, values, &fisher), EWC_ERROR_NOT_FINITE, "model.embed_tokens",
            "0 or more");
    for (int64_t i = 0; i < s->parameters; i++) values[i] = fabsf(values[i]);
    OK(s->ctx, ewc_fisher_from_values(s->model, NULL, values, &fisher));
    SAME(values_of(s, fisher), values, s->parameters);
    assert_int_equal(info_of(s, fisher).finished, 1);
    ewc_fisher_destroy(fisher);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(empirical_is_the_mean_of_squared_gradients_however_the_data_is_cut),
        TEST(the_data_fingerprint_is_of_the_data_not_of_the_batches),
        TEST(random_signs_of_single_sequences_are_the_empirical_fisher),
        TEST(sampled_labels_are_keyed_by_row),
        TEST(sampled_labels_do_not_look_at_the_targets),
        TEST(batch_mean_squares_the_mean_gradient_of_each_batch),
        TEST(two_halves_merged_are_one_run),
        TEST(merge_refuses_what_does_not_belong),
        TEST(a_trainers_second_moment_is_corrected_for_its_bias),
        TEST(online_adds_gamma_times_the_previous),
        TEST(online_takes_the_previous_from_a_file),
        TEST(online_refuses_what_makes_no_sense),
        TEST(nothing_scored_is_not_a_fisher),
        TEST(sums_are_not_handed_out_as_a_fisher),
        TEST(weights_that_changed_under_way_are_noticed),
        TEST(a_cancelled_empirical_estimate_says_so),
        TEST(other_estimates_go_on_after_a_cancellation),
        TEST(options_that_are_wrong_name_themselves),
        TEST(a_callers_values_are_a_finished_fisher),
    };
    return cmocka_run_group_tests_name("fisher", tests, NULL, NULL);
}
