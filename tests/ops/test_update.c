/* update: against its formulas in double precision, and the promises that are exact. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <string.h>

#include "cpu/operations.h"
#include "support/devices.h"
#include "support/update_reference.h"

static const ewc_penalty_form FORMS[] = {EWC_PENALTY_NONE, EWC_PENALTY_GRADIENT, EWC_PENALTY_PROXIMAL};

static ewc_update_statistics run(ewci_device *device, const update_arrays *x, const ewc_update_options *o)
{
    ewc_update_buffers buffers = update_arrays_buffers(x);
    ewc_update_statistics statistics;
    assert_int_equal(ewci_cpu_update(device, x->n, &buffers, o, &statistics), EWC_OK);
    return statistics;
}

static void check_all_same(const update_arrays *x, const update_arrays *y)
{
    SAME(x->w, y->w, x->n);
    SAME(x->m, y->m, x->n);
    SAME(x->v, y->v, x->n);
}

static void check_close(double found, double expected, double tolerance, const char *what, int64_t i)
{
    if (fabs(found - expected) <= tolerance) return;
    print_error("%s[%lld]: found %.10g, expected %.10g\n", what, (long long)i, found, expected);
    fail();
}

/* ---- Against the formulas ----------------------------------------------------------------------------------------------- */

enum { STEPS = 4 };

/* Each step from the f32 state before it. f32 rounds each of about ten operations, a sum relative to its larger term. */
static void check_element(const update_arrays *x, const update_arrays *old, int64_t i, const ewc_update_options *o)
{
    const double ulps = 5e-7;
    update_state before = {(double)old->w[i], (double)old->m[i], (double)old->v[i], 0, 0};
    update_state after = reference_update(before, (double)x->g[i], (double)x->f[i], (double)x->a[i], o);
    double m_terms = o->beta1 * fabs(before.m) + (1 - o->beta1) * after.g;
    double v_terms = o->beta2 * before.v + (1 - o->beta2) * after.g * after.g;
    double movement = o->learning_rate * m_terms / (1 - pow(o->beta1, (double)o->step)) / after.d;
    check_close((double)x->m[i], after.m, ulps * m_terms, "m", i);
    check_close((double)x->v[i], after.v, ulps * v_terms + 1e-37, "v", i);
    double tolerance = ulps * (fabs(before.w) + 2 * movement + fabs(after.w - before.w));
    if (o->form == EWC_PENALTY_NONE) tolerance = 1.3e-7 * fabs(before.w) + 2 * ulps * movement;
    check_close((double)x->w[i], after.w, tolerance, "w", i);
}

static void check_steps(ewci_device *device, const void *user)
{
    const ewc_penalty_form form = *(const ewc_penalty_form *)user;
    static const double lambdas[] = {0.0, 3.0, 1e6};
    for (size_t k = 0; k < sizeof lambdas / sizeof *lambdas; k++) {
        for (int64_t n = 1; n <= 1027; n = n < 18 ? n + 1 : n * 3 + 5) {
            update_arrays x = update_arrays_make(n);
            for (int step = 1; step <= STEPS; step++) {
                update_arrays old = update_arrays_copy(&x);
                ewc_update_options o = update_options_of(form, lambdas[k]);
                o.step = step;
                run(device, &x, &o);
                for (int64_t i = 0; i < n; i++) check_element(&x, &old, i, &o);
            }
            arrays_free();
        }
    }
}

static void plain_adamw_follows_its_formula(void **state)
{
    (void)state;
    each_device(check_steps, &FORMS[0]);
}

static void gradient_form_follows_its_formula(void **state)
{
    (void)state;
    each_device(check_steps, &FORMS[1]);
}

static void proximal_form_follows_its_formula(void **state)
{
    (void)state;
    each_device(check_steps, &FORMS[2]);
}

static void check_extreme_betas(ewci_device *device, const void *user)
{
    (void)user;
    update_arrays x = update_arrays_make(100), before = update_arrays_copy(&x);
    ewc_update_options o = update_options_of(EWC_PENALTY_PROXIMAL, 5);
    o.beta1 = 0;
    o.beta2 = 0;
    o.step = INT64_MAX;
    run(device, &x, &o);
    for (int64_t i = 0; i < x.n; i++) check_element(&x, &before, i, &o);
    arrays_free();
}

static void betas_of_zero_and_the_last_step_are_fine(void **state)
{
    (void)state;
    each_device(check_extreme_betas, NULL);
}

/* ---- What is exact ------------------------------------------------------------------------------------------------------- */

enum { MANY = 3 * 8192 + 37 };

typedef struct expected_bits {
    ewc_update_options options;
    update_arrays start, end;
    ewc_update_statistics statistics;
} expected_bits;

static void check_bits(ewci_device *device, const void *user)
{
    const expected_bits *e = user;
    update_arrays x = update_arrays_copy(&e->start);
    ewc_update_statistics s = run(device, &x, &e->options);
    check_all_same(&x, &e->end);
    assert_memory_equal(&s, &e->statistics, sizeof s);
}

static void every_instruction_set_and_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof FORMS / sizeof *FORMS; k++) {
        opened_device *one = device_open(EWC_ISA_PORTABLE, 1);
        expected_bits e = {.options = update_options_of(FORMS[k], 100), .start = update_arrays_make(MANY)};
        e.end = update_arrays_copy(&e.start);
        e.statistics = run(one->device, &e.end, &e.options);
        assert_true(e.statistics.penalty > 0);
        device_close(one);
        each_device(check_bits, &e);
        arrays_free();
    }
}

static void check_without_penalty(ewci_device *device, const void *user)
{
    (void)user;
    update_arrays plain = update_arrays_make(1000);
    for (int64_t i = 0; i < plain.n; i++) plain.a[i] *= -7.7F; /* w is not a + (w - a) once that is rounded */
    update_arrays x = update_arrays_copy(&plain), y = update_arrays_copy(&plain), z = update_arrays_copy(&plain);
    ewc_update_options none = update_options_of(EWC_PENALTY_NONE, 1e6);
    ewc_update_options zero = update_options_of(EWC_PENALTY_PROXIMAL, 0), strong = zero;
    strong.lambda = 1e300;
    run(device, &plain, &none);
    run(device, &x, &zero);
    check_all_same(&x, &plain);
    memset(y.f, 0, (size_t)y.n * sizeof *y.f);
    run(device, &y, &strong);
    check_all_same(&y, &plain);
    ewc_update_buffers absent = update_arrays_buffers(&z);
    absent.fisher.data = absent.anchor.data = NULL;
    assert_int_equal(ewci_cpu_update(device, z.n, &absent, &strong, NULL), EWC_OK);
    check_all_same(&z, &plain);
    arrays_free();
}

static void no_penalty_by_lambda_by_fisher_or_by_absence_is_plain_adamw_bit_for_bit(void **state)
{
    (void)state;
    each_device(check_without_penalty, NULL);
}

static void check_infinite(ewci_device *device, const void *user)
{
    (void)user;
    update_arrays x = update_arrays_make(500);
    ewc_update_options o = update_options_of(EWC_PENALTY_PROXIMAL, 1e300);
    for (int64_t i = 0; i < x.n; i++) x.f[i] = 1e30F;
    run(device, &x, &o);
    SAME(x.w, x.a, x.n);
    arrays_free();
}

static void an_infinite_penalty_gives_the_anchor_bit_for_bit(void **state)
{
    (void)state;
    each_device(check_infinite, NULL);
}

static void check_rest(ewci_device *device, const void *user)
{
    (void)user;
    static const double lambdas[] = {0.0, 1e-3, 1.0, 1e12, 1e300};
    for (size_t k = 0; k < 3 * sizeof lambdas / sizeof *lambdas; k++) {
        update_arrays x = update_arrays_make(700);
        ewc_update_options o = update_options_of(FORMS[k % 3], lambdas[k / 3]);
        o.weight_decay = 0;
        for (int64_t i = 0; i < x.n; i++) {
            x.w[i] = i == 5 ? -0.0F : x.a[i];
            x.a[i] = x.w[i];
            x.m[i] = x.v[i] = x.g[i] = 0;
            if (i % 3 == 0) x.f[i] = 1e30F;
        }
        run(device, &x, &o);
        for (int64_t i = 0; i < x.n; i++) assert_true(x.w[i] == x.a[i] && x.m[i] == 0 && x.v[i] == 0);
        SAME(x.w + 6, x.a + 6, x.n - 6);
        arrays_free();
    }
}

static void a_weight_on_its_anchor_without_gradient_stays_bit_for_bit(void **state)
{
    (void)state;
    each_device(check_rest, NULL);
}

/* ---- No lambda is too large ----------------------------------------------------------------------------------------------- */

static void check_large(ewci_device *device, const void *user)
{
    (void)user;
    for (double lambda = 1; lambda < 1e300; lambda *= 1e6) {
        update_arrays x = update_arrays_make(300), y = update_arrays_copy(&x);
        ewc_update_options o = update_options_of(EWC_PENALTY_PROXIMAL, lambda), none = o;
        none.form = EWC_PENALTY_NONE;
        for (int64_t i = 0; i < x.n; i += 2) x.f[i] = 1e30F;
        run(device, &y, &none);
        ewc_update_statistics s = run(device, &x, &o);
        assert_int_equal(s.nonfinite, 0);
        /* Between where AdamW alone would have gone and the anchor. */
        for (int64_t i = 0; i < x.n; i++) {
            assert_true(x.w[i] >= fminf(y.w[i], x.a[i]) && x.w[i] <= fmaxf(y.w[i], x.a[i]));
            if (lambda >= 1e12 && x.f[i] == 1e30F) assert_true(x.w[i] == x.a[i]);
        }
        arrays_free();
    }
}

static void the_proximal_form_stays_between_adamw_and_the_anchor_for_every_lambda(void **state)
{
    (void)state;
    each_device(check_large, NULL);
}

static void check_gradient_overflow(ewci_device *device, const void *user)
{
    (void)user;
    update_arrays x = update_arrays_make(300), start = update_arrays_copy(&x);
    ewc_update_options o = update_options_of(EWC_PENALTY_GRADIENT, 1e12);
    for (int64_t i = 0; i < x.n; i++) {
        x.f[i] = 1e30F;
        if (i % 3 == 0) x.w[i] = x.a[i];
    }
    for (int step = 1; step <= 50; step++) {
        o.step = step;
        assert_int_equal(run(device, &x, &o).nonfinite, 0);
    }
    for (int64_t i = 0; i < x.n; i++)
        assert_true(isfinite(x.m[i]) && isfinite(x.v[i]) && fabsf(x.w[i] - start.w[i]) < 1);
    arrays_free();
}

static void the_gradient_form_stays_finite_where_lambda_times_fisher_overflows(void **state)
{
    (void)state;
    each_device(check_gradient_overflow, NULL);
}

/* ---- Moments --------------------------------------------------------------------------------------------------------------- */

static void check_subnormal(ewci_device *device, const void *user)
{
    (void)user;
    update_arrays x = update_arrays_make(64);
    ewc_update_options o = update_options_of(EWC_PENALTY_NONE, 0);
    for (int64_t i = 0; i < x.n; i++) {
        x.m[i] = x.v[i] = FLT_MIN * (i < 32 ? 1.05F : 100.0F);
        x.g[i] = 0;
    }
    run(device, &x, &o);
    for (int64_t i = 0; i < 32; i++) assert_true(x.m[i] == 0);
    for (int64_t i = 32; i < 64; i++) assert_true(x.m[i] > 80 * FLT_MIN && x.v[i] > 90 * FLT_MIN);
    arrays_free();
}

static void moments_that_fade_end_at_zero_not_among_the_subnormal_numbers(void **state)
{
    (void)state;
    each_device(check_subnormal, NULL);
}

/* ---- Non-finite ------------------------------------------------------------------------------------------------------------- */

static void check_nonfinite(ewci_device *device, const void *user)
{
    const int absent = *(const int *)user;
    update_arrays x = update_arrays_make(2 * 8192 + 700);
    ewc_update_options o = update_options_of(absent ? EWC_PENALTY_NONE : EWC_PENALTY_PROXIMAL, 1);
    ewc_update_buffers buffers = update_arrays_buffers(&x);
    ewc_update_statistics s;
    x.w[0] = NAN;
    x.g[300] = NAN;
    x.w[9000] = INFINITY;
    x.w[x.n - 1] = -INFINITY;
    if (absent > 1) buffers.fisher.data = NULL;
    if (absent > 2) buffers.anchor.data = NULL;
    assert_int_equal(ewci_cpu_update(device, x.n, &buffers, &o, &s), EWC_OK);
    assert_int_equal(s.nonfinite, 4);
    for (int64_t i = 1; i < 300; i++) assert_true(isfinite(x.w[i]));
    arrays_free();
}

static void weights_that_are_not_finite_are_counted(void **state)
{
    (void)state;
    for (int absent = 0; absent <= 3; absent++) each_device(check_nonfinite, &absent);
}

static void check_nothing(ewci_device *device, const void *user)
{
    (void)user;
    ewc_update_buffers buffers = {0};
    ewc_update_options o = update_options_of(EWC_PENALTY_PROXIMAL, 1);
    ewc_update_statistics s = {1, 1, 1, 1};
    assert_int_equal(ewci_cpu_update(device, 0, &buffers, &o, &s), EWC_OK);
    assert_true(s.penalty == 0 && s.distance_squared == 0 && s.fisher_distance_squared == 0 && s.nonfinite == 0);
}

static void no_elements_are_fine(void **state)
{
    (void)state;
    each_device(check_nothing, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_adamw_follows_its_formula),
        cmocka_unit_test(gradient_form_follows_its_formula),
        cmocka_unit_test(proximal_form_follows_its_formula),
        cmocka_unit_test(betas_of_zero_and_the_last_step_are_fine),
        cmocka_unit_test(every_instruction_set_and_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(no_penalty_by_lambda_by_fisher_or_by_absence_is_plain_adamw_bit_for_bit),
        cmocka_unit_test(an_infinite_penalty_gives_the_anchor_bit_for_bit),
        cmocka_unit_test(a_weight_on_its_anchor_without_gradient_stays_bit_for_bit),
        cmocka_unit_test(the_proximal_form_stays_between_adamw_and_the_anchor_for_every_lambda),
        cmocka_unit_test(the_gradient_form_stays_finite_where_lambda_times_fisher_overflows),
        cmocka_unit_test(moments_that_fade_end_at_zero_not_among_the_subnormal_numbers),
        cmocka_unit_test(weights_that_are_not_finite_are_counted),
        cmocka_unit_test(no_elements_are_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
