/* penalty: the penalty and the distances from the anchor at the present weights; the statistics of update are the same numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>

#include "core/convert.h"
#include "cpu/operations.h"
#include "support/devices.h"
#include "support/update_reference.h"

enum { MANY = 3 * 8192 + 41 };

static void check_relative(double found, double expected, double tolerance, const char *what)
{
    if (fabs(found - expected) <= tolerance * fabs(expected)) return;
    print_error("%s: found %.17g, expected %.17g\n", what, found, expected);
    fail();
}

/* The weights of update_arrays_make lie within a factor of two of their anchors: the f32 difference is exact, all else is double. */
static void check_sums(ewci_device *device, const void *user)
{
    static const int64_t counts[] = {1, 5, 16, 17, 1000, MANY};
    (void)user;
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        update_arrays x = update_arrays_make(counts[k]);
        ewc_update_buffers buffers = update_arrays_buffers(&x);
        ewc_update_statistics s;
        long double distance = 0, weighted = 0;
        for (int64_t i = 0; i < x.n; i++) {
            long double d = (long double)x.w[i] - (long double)x.a[i];
            distance += d * d;
            weighted += (long double)x.f[i] * d * d;
        }
        assert_int_equal(ewci_cpu_penalty(device, x.n, &buffers, 8.0F, &s), EWC_OK);
        check_relative(s.distance_squared, (double)distance, 1e-14, "distance_squared");
        check_relative(s.fisher_distance_squared, (double)weighted, 1e-14, "fisher_distance_squared");
        check_relative(s.penalty, (double)(4 * weighted), 1e-14, "penalty");
        assert_int_equal(s.nonfinite, 0);
        arrays_free();
    }
}

static void sums_are_those_of_double_precision(void **state)
{
    (void)state;
    each_device(check_sums, NULL);
}

/* Whatever the form: an update reports what penalty reports before it, in the same bits. */
static void check_update_reports(ewci_device *device, const void *user)
{
    static const ewc_penalty_form forms[] = {EWC_PENALTY_NONE, EWC_PENALTY_GRADIENT, EWC_PENALTY_PROXIMAL};
    (void)user;
    for (int k = 0; k < 6; k++) {
        update_arrays x = update_arrays_make(MANY);
        ewc_update_buffers buffers = update_arrays_buffers(&x);
        ewc_update_options o = update_options_of(forms[k % 3], 4.0);
        ewc_update_statistics before, during;
        if (k >= 3) buffers.fisher.data = NULL;
        assert_int_equal(ewci_cpu_penalty(device, x.n, &buffers, 4.0F, &before), EWC_OK);
        assert_int_equal(ewci_cpu_update(device, x.n, &buffers, &o, &during), EWC_OK);
        assert_memory_equal(&before, &during, sizeof before);
        assert_true(before.distance_squared > 0 && (k >= 3) == (before.penalty == 0));
        arrays_free();
    }
}

static void an_update_reports_what_penalty_reports_before_it(void **state)
{
    (void)state;
    each_device(check_update_reports, NULL);
}

static void check_absent(ewci_device *device, const void *user)
{
    (void)user;
    update_arrays x = update_arrays_make(500);
    ewc_update_buffers buffers = update_arrays_buffers(&x);
    ewc_update_statistics s;
    buffers.fisher.data = buffers.anchor.data = NULL;
    buffers.m.data = buffers.v.data = buffers.gradient.data = NULL;
    x.w[3] = NAN;
    assert_int_equal(ewci_cpu_penalty(device, x.n, &buffers, 1.0F, &s), EWC_OK);
    assert_true(s.penalty == 0 && s.distance_squared == 0 && s.fisher_distance_squared == 0 && s.nonfinite == 1);
    arrays_free();
}

static void without_an_anchor_all_sums_are_zero(void **state)
{
    (void)state;
    each_device(check_absent, NULL);
}

static void check_large(ewci_device *device, const void *user)
{
    (void)user;
    update_arrays x = update_arrays_make(100);
    ewc_update_buffers buffers = update_arrays_buffers(&x);
    ewc_update_statistics s;
    for (int64_t i = 0; i < x.n; i++) {
        x.w[i] = 1e25F;
        x.f[i] = 1e30F;
    }
    assert_int_equal(ewci_cpu_penalty(device, x.n, &buffers, 1e12F, &s), EWC_OK);
    check_relative(s.penalty, 0.5 * 1e12 * 100 * 1e30 * 1e50, 1e-6, "penalty");
    arrays_free();
}

static void sums_do_not_overflow_where_f32_would(void **state)
{
    (void)state;
    each_device(check_large, NULL);
}

static void check_f16_anchor(ewci_device *device, const void *user)
{
    (void)user;
    update_arrays x = update_arrays_make(3000);
    uint16_t *half = array_bytes((size_t)x.n * sizeof *half);
    ewc_update_buffers buffers = update_arrays_buffers(&x);
    ewc_update_statistics wide, narrow;
    for (int64_t i = 0; i < x.n; i++) {
        half[i] = ewci_f16_of_f32(x.a[i]);
        x.a[i] = ewci_f32_of_f16(half[i]);
    }
    assert_int_equal(ewci_cpu_penalty(device, x.n, &buffers, 1.0F, &wide), EWC_OK);
    buffers.anchor = (ewc_buffer){half, EWC_F16};
    assert_int_equal(ewci_cpu_penalty(device, x.n, &buffers, 1.0F, &narrow), EWC_OK);
    assert_memory_equal(&wide, &narrow, sizeof wide);
    arrays_free();
}

static void a_16_bit_anchor_counts_as_its_f32_values(void **state)
{
    (void)state;
    each_device(check_f16_anchor, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_double_precision),
        cmocka_unit_test(an_update_reports_what_penalty_reports_before_it),
        cmocka_unit_test(without_an_anchor_all_sums_are_zero),
        cmocka_unit_test(sums_do_not_overflow_where_f32_would),
        cmocka_unit_test(a_16_bit_anchor_counts_as_its_f32_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
