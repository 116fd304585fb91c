/* cross_entropy: losses and gradients against double precision, that gradient against central differences; sampled labels against the inverse
 * of the exact distribution function. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "core/random.h"
#include "cpu/device.h"
#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

typedef struct problem {
    int64_t rows, vocab;
    float softcap;
    float *logits, *weight;
    int32_t *targets;
    double *nll, *gradient; /* expected for the targets */
    double *other;          /* the largest probability of another label */
    double nll_error;       /* allowed, absolute */
} problem;

static double capped(double z, double cap)
{
    return cap > 0 ? cap * tanh(z / cap) : z;
}

/* Probabilities of the capped logits; returns their log-sum-exp. */
static double softmax(const double *z, int64_t n, double cap, double *p)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, capped(z[i], cap));
    for (int64_t i = 0; i < n; i++) sum += p[i] = exp(capped(z[i], cap) - largest);
    for (int64_t i = 0; i < n; i++) p[i] /= sum;
    // cppcheck-suppress invalidFunctionArg ; n > 0, and the largest one adds exp(0)
    return largest + log(sum);
}

/* d (weight nll) / d z for one row. */
static void reference_gradient(const double *z, int64_t n, double cap, int64_t label, double weight, double *gradient)
{
    double others = 0;
    softmax(z, n, cap, gradient);
    for (int64_t i = 0; i < n; i++) others += i == label ? 0 : gradient[i];
    for (int64_t i = 0; i < n; i++) {
        double t = cap > 0 ? tanh(z[i] / cap) : 0;
        gradient[i] = weight * (i == label ? -others : gradient[i]) * (1 - t * t);
    }
}

static double reference_nll(const double *z, int64_t n, double cap, int64_t label, double *p)
{
    return softmax(z, n, cap, p) - capped(z[label], cap);
}

/* The last row but one is not scored. */
static problem make_problem(int64_t rows, int64_t vocab, float softcap, double spread)
{
    problem p = {.rows = rows, .vocab = vocab, .softcap = softcap, .nll_error = 1e-5};
    p.logits = array_random(rows * vocab, 7, spread);
    p.weight = array_random(rows, 8, 2);
    p.targets = array_integers(rows);
    for (int64_t r = 0; r < rows; r++)
        p.targets[r] = r == rows - 2 ? -100 : (int32_t)(r == 0 ? vocab - 1 : r * 7919 % vocab);
    return p;
}

/* The largest probability of a label other than this one. */
static double largest_other(const double *p, int64_t n, int64_t label)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        if (i != label) largest = fmax(largest, p[i]);
    return largest;
}

static void expect(problem *p)
{
    p->nll = array_doubles(p->rows);
    p->other = array_doubles(p->rows);
    p->gradient = array_doubles(p->rows * p->vocab);
    for (int64_t r = 0; r < p->rows; r++) {
        if (p->targets[r] < 0) continue;
        double *z = array_widened(p->logits + r * p->vocab, p->vocab), *row = p->gradient + r * p->vocab;
        p->nll[r] = reference_nll(z, p->vocab, (double)p->softcap, p->targets[r], row);
        p->other[r] = largest_other(row, p->vocab, p->targets[r]);
        reference_gradient(z, p->vocab, (double)p->softcap, p->targets[r], (double)p->weight[r], row);
    }
}

static void run(ewci_device *device, const problem *p, ewci_ce_mode mode, float *logits, float *nll, int32_t *labels)
{
    ewci_cross_entropy args = {.rows = p->rows,
                               .vocab = p->vocab,
                               .softcap = p->softcap,
                               .mode = mode,
                               .targets = p->targets,
                               .row_weight = mode == EWCI_CE_LOSS ? NULL : p->weight,
                               .nll = nll,
                               .labels = labels};
    assert_int_equal(ewci_cpu_cross_entropy(device, &args, logits), EWC_OK);
}

/* The label's entry relative to the weight, which it does not exceed: where the label is all but certain, or the cap all but saturated,
 * it is a small difference of f32 numbers near 1. The others relative to the largest of their probabilities: a c near a cap of 30 is good to
 * 2.5e-6. */
static void check_gradient(const float *found, const double *expected, int64_t n, int64_t label, double weight,
                           double largest)
{
    for (int64_t i = 0; i < n; i++) {
        double allowed = fabs(weight) * (i == label ? 5e-7 : 3e-6 * largest);
        if (fabs((double)found[i] - expected[i]) <= allowed) continue;
        fail_msg("gradient %d of %d: found %.9g, expected %.9g, allowed %.3g", (int)i, (int)n, (double)found[i],
                 expected[i], allowed);
    }
}

static void check_problem(ewci_device *device, const void *user)
{
    const problem *p = user;
    int64_t n = p->rows * p->vocab;
    float *logits = array_copy(p->logits, n), *again = array_copy(p->logits, n), *lost = array_copy(p->logits, n);
    float *nll = array_filled(p->rows, NAN), *nll_alone = array_filled(p->rows, NAN);
    int32_t *labels = array_integers(p->rows);
    run(device, p, EWCI_CE_TRAIN, logits, nll, labels);
    run(device, p, EWCI_CE_TRAIN, again, nll, NULL);
    run(device, p, EWCI_CE_LOSS, lost, nll_alone, NULL);
    for (int64_t r = 0; r < p->rows; r++) {
        assert_true(fabs((double)nll[r] - p->nll[r]) <= p->nll_error);
        assert_int_equal(labels[r], p->targets[r] < 0 ? -1 : p->targets[r]);
        check_gradient(logits + r * p->vocab, p->gradient + r * p->vocab, p->vocab, p->targets[r], (double)p->weight[r],
                       p->other[r]);
    }
    SAME(logits, again, n);
    SAME(nll, nll_alone, p->rows);
}

static void check_size(int64_t rows, int64_t vocab, float softcap, double spread)
{
    problem p = make_problem(rows, vocab, softcap, spread);
    print_message("# %d rows of %d, softcap %g\n", (int)rows, (int)vocab, (double)softcap);
    expect(&p);
    each_device(check_problem, &p);
    arrays_free();
}

typedef struct row {
    int64_t vocab, label;
    double softcap;
    double *z, *p;
} row;

static double row_loss(const void *user)
{
    const row *r = user;
    return 3 * reference_nll(r->z, r->vocab, r->softcap, r->label, r->p);
}

static void the_reference_gradient_is_the_derivative_of_the_reference(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        row r = {13, k * 4, k % 2 ? 2.5 : 0, array_widened(array_random(13, 3, 4), 13), array_doubles(13)};
        double *numeric = array_doubles(13), *gradient = array_doubles(13);
        central_differences(numeric, r.z, 13, 1e-5, row_loss, &r);
        reference_gradient(r.z, 13, r.softcap, r.label, 3, gradient);
        for (int i = 0; i < 13; i++) assert_true(fabs(numeric[i] - gradient[i]) < 1e-8);
    }
    arrays_free();
}

static void small_vocabularies_are_right(void **state)
{
    (void)state;
    check_size(2, 1, 0, 3);
    check_size(3, 2, 4, 3);
    check_size(7, 17, 0, 6);
    check_size(5, 333, 5, 12);
    check_size(5, 600, 50, 60); /* a cap with which the largest must be known */
}

static void vocabularies_of_several_blocks_are_right(void **state)
{
    (void)state;
    check_size(3, 4097, 30, 40);
    check_size(4, 8191, 0, 10);
    check_size(3, 32000, 30, 20);
}

static void the_largest_vocabulary_is_right(void **state)
{
    (void)state;
    check_size(2, 262144, 30, 12);
    check_size(2, 262147, 0, 1e-3);
    check_size(2, 262144, 40, 400); /* the largest sums of exp(c) */
}

/* Logits of 10^4 without a cap; a label that is all but certain, and one that is all but impossible. */
static void extreme_logits_are_right(void **state)
{
    (void)state;
    problem p = make_problem(4, 777, 0, 1e4);
    p.nll_error = 0x1p-10; /* half a unit of f32 at 2^14 */
    expect(&p);
    each_device(check_problem, &p);
    p = make_problem(4, 600, 0, 1);
    p.logits[599] = 22; /* row 0: nll about 3e-7 */
    p.logits[600 + p.targets[1]] = -90;
    expect(&p);
    assert_true(p.nll[0] < 1e-6 && p.nll[1] > 90 && p.nll[1] < 128);
    each_device(check_problem, &p);
    arrays_free();
}

/* The cap saturates: no gradient, and none that is not finite. */
static void check_saturated(ewci_device *device, const void *user)
{
    (void)user;
    float logits[4] = {1e30F, -1e30F, 3e4F, 0}, nll, weight = 1;
    int32_t target = 0;
    ewci_cross_entropy args = {.rows = 1,
                               .vocab = 4,
                               .softcap = 30,
                               .mode = EWCI_CE_TRAIN,
                               .targets = &target,
                               .row_weight = &weight,
                               .nll = &nll};
    assert_int_equal(ewci_cpu_cross_entropy(device, &args, logits), EWC_OK);
    assert_true(fabs((double)nll - log(2)) < 1e-6);
    assert_true(logits[0] == 0 && logits[1] == 0 && logits[2] == 0);
}

static void a_saturated_cap_has_no_gradient(void **state)
{
    (void)state;
    each_device(check_saturated, NULL);
}

static void nothing_is_done_for_no_rows(void **state)
{
    (void)state;
    opened_device *opened = device_open(EWC_ISA_AUTO, 2);
    ewci_cross_entropy args = {.vocab = 10, .mode = EWCI_CE_TRAIN};
    assert_int_equal(ewci_cpu_cross_entropy(opened->device, &args, NULL), EWC_OK);
    device_close(opened);
}

/* ---- Sampled labels --------------------------------------------------------------------------------------------------- */

enum { FIRST_ROW = 1000 };
static const uint64_t SEED = 0x123456789abcdefULL;

static void sample(ewci_device *device, const problem *p, int64_t first, int64_t count, float *logits, float *nll,
                   int32_t *labels)
{
    ewci_cross_entropy args = {.rows = count,
                               .vocab = p->vocab,
                               .softcap = p->softcap,
                               .mode = EWCI_CE_SAMPLE,
                               .targets = p->targets + first,
                               .row_weight = p->weight + first,
                               .nll = nll + first,
                               .labels = labels == NULL ? NULL : labels + first,
                               .seed = SEED,
                               .first_row = FIRST_ROW + (uint64_t)first};
    assert_int_equal(ewci_cpu_cross_entropy(device, &args, logits + first * p->vocab), EWC_OK);
}

/* Each label is where the exact distribution function passes the row's number; loss and gradient are the label's. The rows in two
 * calls get the same labels as in one. */
static void check_samples(ewci_device *device, const void *user)
{
    const problem *p = user;
    int64_t n = p->rows * p->vocab, half = p->rows / 2;
    float *logits = array_copy(p->logits, n), *parts = array_copy(p->logits, n);
    float *nll = array_filled(p->rows, NAN), *nll_parts = array_filled(p->rows, NAN);
    int32_t *labels = array_integers(p->rows);
    double *probability = array_doubles(p->vocab), *gradient = array_doubles(p->vocab);
    sample(device, p, 0, p->rows, logits, nll, labels);
    sample(device, p, 0, half, parts, nll_parts, NULL);
    sample(device, p, half, p->rows - half, parts, nll_parts, NULL);
    SAME(logits, parts, n);
    SAME(nll, nll_parts, p->rows);
    for (int64_t r = 0; r < p->rows; r++) {
        if (p->targets[r] < 0) {
            assert_true(labels[r] == -1 && nll[r] == 0);
            for (int64_t i = 0; i < p->vocab; i++) assert_true(logits[r * p->vocab + i] == 0);
            continue;
        }
        double *z = array_widened(p->logits + r * p->vocab, p->vocab), below = 0;
        double u = ewci_uniform(SEED, EWCI_STREAM_LABELS, 0, FIRST_ROW + (uint64_t)r);
        assert_true(labels[r] >= 0 && labels[r] < p->vocab);
        softmax(z, p->vocab, (double)p->softcap, probability);
        for (int64_t i = 0; i < labels[r]; i++) below += probability[i];
        assert_true(probability[labels[r]] > 0);
        assert_true(below - 2e-6 <= u && u <= below + probability[labels[r]] + 2e-6);
        assert_true(fabs((double)nll[r] + log(probability[labels[r]])) <= p->nll_error);
        reference_gradient(z, p->vocab, (double)p->softcap, labels[r], (double)p->weight[r], gradient);
        check_gradient(logits + r * p->vocab, gradient, p->vocab, labels[r], (double)p->weight[r],
                       largest_other(probability, p->vocab, labels[r]));
    }
}

static void sampled_labels_invert_the_distribution_function(void **state)
{
    static const struct {
        int64_t rows, vocab;
        float softcap;
        double spread;
    } list[] = {{40, 5, 0, 3}, {30, 333, 5, 12}, {12, 9001, 30, 8}, {4, 262144, 0, 6}, {9, 1, 0, 1}};
    (void)state;
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        problem p = make_problem(list[k].rows, list[k].vocab, list[k].softcap, list[k].spread);
        each_device(check_samples, &p);
        arrays_free();
    }
}

/* One distribution for all rows, with two impossible labels at its ends and one inside. */
static void sampled_labels_have_the_probabilities_of_the_softmax(void **state)
{
    enum { ROWS = 20000, VOCAB = 8 };
    static const float z[VOCAB] = {-1e4F, 0, 1, -2, -1e4F, 2, 0.5F, -1e4F};
    int64_t count[VOCAB] = {0};
    double p[VOCAB], chi_square = 0;
    (void)state;
    problem q = make_problem(ROWS, VOCAB, 0, 1);
    for (int64_t i = 0; i < (int64_t)ROWS * VOCAB; i++) q.logits[i] = z[i % VOCAB];
    for (int64_t r = 0; r < ROWS; r++) q.targets[r] = 0;
    float *nll = array_filled(ROWS, 0);
    int32_t *labels = array_integers(ROWS);
    opened_device *opened = device_open(EWC_ISA_AUTO, 2);
    sample(opened->device, &q, 0, ROWS, q.logits, nll, labels);
    device_close(opened);
    double widened[VOCAB];
    for (int i = 0; i < VOCAB; i++) widened[i] = (double)z[i];
    softmax(widened, VOCAB, 0, p);
    for (int64_t r = 0; r < ROWS; r++) count[labels[r]]++;
    for (int i = 0; i < VOCAB; i++) {
        if (p[i] == 0) assert_int_equal(count[i], 0);
        if (p[i] > 0) chi_square += ((double)count[i] - ROWS * p[i]) * ((double)count[i] - ROWS * p[i]) / (ROWS * p[i]);
    }
    assert_true(chi_square < 18.5); /* 4 degrees of freedom: 0.001 */
    arrays_free();
}

/* A goal that the roundings of a sum in f32 put beyond the sum in double still falls on a label that can be: not on the impossible ones
 * behind it. */
static void check_last_label(ewci_device *device, const void *user)
{
    (void)user;
    for (uint64_t seed = 0; seed < 50; seed++) {
        float *c = array_random(120, seed, 5);
        for (int i = 100; i < 120; i++) c[i] = -1e4F;
        assert_in_range(device->kernels->exp_sum_reach(c, 120, 5, device->kernels->exp_sum(c, 120, 5)), 90, 99);
        assert_int_equal(device->kernels->exp_sum_reach(c, 120, 5, 1e-30), 0);
    }
}

static void rounding_does_not_lead_to_impossible_labels(void **state)
{
    (void)state;
    each_device(check_last_label, NULL);
    arrays_free();
}

/* Rows further apart than they are long: the same results, and what lies between them is left alone. */
static void check_stride(ewci_device *device, const void *unused)
{
    enum { ROWS = 3, VOCAB = 37, STRIDE = 48 };
    (void)unused;
    problem p = make_problem(ROWS, VOCAB, 30, 20);
    float *wide = array_filled(ROWS * STRIDE, NAN), *close = array_copy(p.logits, ROWS * VOCAB);
    float *nll = array_filled(ROWS, NAN), *nll_wide = array_filled(ROWS, NAN);
    for (int r = 0; r < ROWS; r++) memcpy(wide + r * STRIDE, p.logits + r * VOCAB, VOCAB * sizeof *wide);
    ewci_cross_entropy args = {.rows = ROWS,
                               .vocab = VOCAB,
                               .stride = STRIDE,
                               .softcap = 30,
                               .mode = EWCI_CE_TRAIN,
                               .targets = p.targets,
                               .row_weight = p.weight,
                               .nll = nll_wide};
    run(device, &p, EWCI_CE_TRAIN, close, nll, NULL);
    assert_int_equal(ewci_cpu_cross_entropy(device, &args, wide), EWC_OK);
    SAME(nll, nll_wide, ROWS);
    for (int r = 0; r < ROWS; r++) {
        SAME(close + r * VOCAB, wide + r * STRIDE, VOCAB);
        for (int i = VOCAB; i < STRIDE; i++) assert_true(isnan(wide[r * STRIDE + i]));
    }
    arrays_free();
}

static void rows_may_lie_apart(void **state)
{
    (void)state;
    each_device(check_stride, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_gradient_is_the_derivative_of_the_reference),
        cmocka_unit_test(small_vocabularies_are_right),
        cmocka_unit_test(vocabularies_of_several_blocks_are_right),
        cmocka_unit_test(the_largest_vocabulary_is_right),
        cmocka_unit_test(extreme_logits_are_right),
        cmocka_unit_test(a_saturated_cap_has_no_gradient),
        cmocka_unit_test(nothing_is_done_for_no_rows),
        cmocka_unit_test(sampled_labels_invert_the_distribution_function),
        cmocka_unit_test(sampled_labels_have_the_probabilities_of_the_softmax),
        cmocka_unit_test(rounding_does_not_lead_to_impossible_labels),
        cmocka_unit_test(rows_may_lie_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
