/* sum_squares and sum_squares_total: norms of gradients, in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/convert.h"
#include "cpu/operations.h"
#include "support/devices.h"
#include "support/update_reference.h"

enum { MANY = 3 * 8192 + 41 };

static void check_relative(double found, double expected, double tolerance)
{
    if (fabs(found - expected) <= tolerance * fabs(expected)) return;
    print_error("found %.17g, expected %.17g\n", found, expected);
    fail();
}

static void check_sum(ewci_device *device, const void *user)
{
    static const int64_t counts[] = {0, 1, 15, 16, 17, 255, 257, 8193, MANY};
    (void)user;
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        float *x = array_random(counts[k], 1, 1e-3);
        double expected = 0, sum = -1;
        int64_t nonfinite = -1;
        for (int64_t i = 0; i < counts[k]; i++) expected += (double)x[i] * (double)x[i];
        assert_int_equal(ewci_cpu_sum_squares(device, (ewc_buffer){x, EWC_F32}, counts[k], &sum, &nonfinite), EWC_OK);
        check_relative(sum, expected, 1e-13);
        assert_int_equal(nonfinite, 0);
        arrays_free();
    }
}

static void the_sum_is_that_of_double_precision(void **state)
{
    (void)state;
    each_device(check_sum, NULL);
}

/* Squares of 1e30 overflow f32, those of 1e-30 underflow. */
static void check_range(ewci_device *device, const void *user)
{
    (void)user;
    for (int k = 0; k < 2; k++) {
        float *x = array_filled(1000, k == 0 ? 1e30F : 1e-30F);
        double sum;
        int64_t nonfinite;
        assert_int_equal(ewci_cpu_sum_squares(device, (ewc_buffer){x, EWC_F32}, 1000, &sum, &nonfinite), EWC_OK);
        check_relative(sum, k == 0 ? 1e63 : 1e-57, 1e-6);
        arrays_free();
    }
}

static void squares_neither_overflow_nor_underflow(void **state)
{
    (void)state;
    each_device(check_range, NULL);
}

static void check_nonfinite(ewci_device *device, const void *user)
{
    const ewc_dtype dtype = *(const ewc_dtype *)user;
    float *x = array_random(MANY, 2, 1);
    uint16_t *half = array_bytes((MANY + 1) * sizeof *half);
    double expected = 0, sum;
    int64_t nonfinite;
    half++;
    x[0] = NAN;
    x[100] = INFINITY;
    x[8192] = -INFINITY;
    x[MANY - 1] = -NAN;
    for (int64_t i = 0; i < MANY; i++) {
        half[i] = ewci_bf16_of_f32(x[i]);
        double y = dtype == EWC_F32 ? (double)x[i] : (double)ewci_f32_of_bf16(half[i]);
        if (isfinite(y)) expected += y * y;
    }
    ewc_buffer buffer = {dtype == EWC_F32 ? (void *)x : (void *)half, dtype};
    assert_int_equal(ewci_cpu_sum_squares(device, buffer, MANY, &sum, &nonfinite), EWC_OK);
    assert_int_equal(nonfinite, 4);
    check_relative(sum, expected, 1e-13);
    arrays_free();
}

static void elements_that_are_not_finite_are_counted_and_left_out(void **state)
{
    (void)state;
    static const ewc_dtype dtypes[] = {EWC_F32, EWC_BF16};
    for (int k = 0; k < 2; k++) each_device(check_nonfinite, &dtypes[k]);
}

typedef struct sums {
    double plain, total;
} sums;

static sums both_sums(ewci_device *device, const update_arrays *x)
{
    ewc_update_buffers buffers = update_arrays_buffers(x);
    int64_t nonfinite;
    sums s;
    assert_int_equal(ewci_cpu_sum_squares(device, buffers.gradient, x->n, &s.plain, &nonfinite), EWC_OK);
    assert_int_equal(ewci_cpu_sum_squares_total(device, x->n, &buffers, 0.5F, 3.0F, &s.total), EWC_OK);
    return s;
}

static void check_bits(ewci_device *device, const void *user)
{
    update_arrays x = update_arrays_make(MANY);
    sums s = both_sums(device, &x);
    assert_memory_equal(&s, user, sizeof s);
    arrays_free();
}

static void every_instruction_set_and_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    opened_device *one = device_open(EWC_ISA_PORTABLE, 1);
    update_arrays x = update_arrays_make(MANY);
    sums expected = both_sums(one->device, &x);
    device_close(one);
    arrays_free();
    each_device(check_bits, &expected);
}

static void check_total(ewci_device *device, const void *user)
{
    static const int64_t counts[] = {1, 16, 17, 300, MANY};
    (void)user;
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        update_arrays x = update_arrays_make(counts[k]);
        ewc_update_buffers buffers = update_arrays_buffers(&x);
        double expected = 0, unpenalised = 0, sum;
        for (int64_t i = 0; i < x.n; i++) {
            double task = 0.25 * (double)x.g[i];
            double total = task + 40.0 * (double)x.f[i] * ((double)x.w[i] - (double)x.a[i]);
            expected += total * total;
            unpenalised += task * task;
        }
        assert_int_equal(ewci_cpu_sum_squares_total(device, x.n, &buffers, 0.25F, 40.0F, &sum), EWC_OK);
        check_relative(sum, expected, 1e-12);
        buffers.fisher.data = NULL;
        assert_int_equal(ewci_cpu_sum_squares_total(device, x.n, &buffers, 0.25F, 40.0F, &sum), EWC_OK);
        check_relative(sum, unpenalised, 1e-12);
        arrays_free();
    }
}

static void the_total_is_of_the_scaled_gradient_and_the_penalty_together(void **state)
{
    (void)state;
    each_device(check_total, NULL);
}

static void check_large_total(ewci_device *device, const void *user)
{
    (void)user;
    update_arrays x = update_arrays_make(64);
    ewc_update_buffers buffers = update_arrays_buffers(&x);
    double sum;
    for (int64_t i = 0; i < x.n; i++) x.f[i] = 1e30F;
    assert_int_equal(ewci_cpu_sum_squares_total(device, x.n, &buffers, 1.0F, 1e12F, &sum), EWC_OK);
    assert_true(isfinite(sum) && sum > 1e80);
    x.g[63] = NAN;
    assert_int_equal(ewci_cpu_sum_squares_total(device, x.n, &buffers, 1.0F, 1.0F, &sum), EWC_OK);
    assert_true(isnan(sum));
    buffers.fisher.data = NULL;
    assert_int_equal(ewci_cpu_sum_squares_total(device, x.n, &buffers, 1.0F, 1.0F, &sum), EWC_OK);
    assert_true(isnan(sum));
    arrays_free();
}

static void a_strong_penalty_does_not_overflow_the_total_and_nan_shows(void **state)
{
    (void)state;
    each_device(check_large_total, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sum_is_that_of_double_precision),
        cmocka_unit_test(squares_neither_overflow_nor_underflow),
        cmocka_unit_test(elements_that_are_not_finite_are_counted_and_left_out),
        cmocka_unit_test(every_instruction_set_and_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(the_total_is_of_the_scaled_gradient_and_the_penalty_together),
        cmocka_unit_test(a_strong_penalty_does_not_overflow_the_total_and_nan_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
