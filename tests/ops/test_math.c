/* exp and tanh of lib/cpu/kernels/math.h, as each instruction set's kernels compute them, against double over all f32. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "cpu/device.h"
#include "support/arrays.h"
#include "support/devices.h"

enum { BLOCK = 1 << 16 };

/* Every stride-th bit pattern, NaN and infinities included; strides are prime, so that all exponents and low bits occur. */
static uint64_t stride(void)
{
    if (getenv("EWC_TEST_EXHAUSTIVE") != NULL) return 1;
    return getenv("EWC_TEST_FAST") != NULL ? 65521 : 251;
}

/* exp(x) is the unnormalised softmax that the cross-entropy kernel finds for x with largest 0; tanh(x) the softcap with cap 1. An
 * infinite logit has no gradient: for that one the sum over one element is asked. */
static void exp_row(const ewci_kernels *kernels, float *x, float *scratch, int64_t n)
{
    memcpy(scratch, x, (size_t)n * sizeof *x);
    kernels->cross_entropy_gradient(x, n, 0.0F, 1.0F, 0.0F);
    for (int64_t i = 0; i < n; i++)
        if (isinf(scratch[i])) x[i] = (float)kernels->exp_sum(&scratch[i], 1, 0.0F);
}

static void tanh_row(const ewci_kernels *kernels, float *x, float *scratch, int64_t n)
{
    (void)scratch;
    kernels->softcap_max(x, n, 1.0F);
}

typedef struct function {
    void (*row)(const ewci_kernels *kernels, float *x, float *scratch, int64_t n);
    double (*reference)(double);
    double most_ulp, tiny; /* allowed error in units of the last place; absolute error allowed near zero */
} function;

static void check_value(const function *f, float x, float found, double *worst, float *worst_at)
{
    double expected = f->reference((double)x);
    if (isnan(x)) {
        assert_true(isnan(found));
        return;
    }
    if ((double)(float)expected == (double)found) return; /* infinities and zeros too */
    double error = fabs((double)found - expected);
    if (error <= f->tiny) return;
    int exponent;
    frexp(expected, &exponent);
    double ulp = ldexp(1.0, exponent - 24);
    if (!(error / ulp > *worst)) return;
    *worst = error / ulp;
    *worst_at = x;
}

static void check_kernels(const ewci_kernels *kernels, const function *f)
{
    float *x = array_filled(BLOCK, 0), *y = array_filled(BLOCK, 0), *scratch = array_filled(BLOCK, 0), worst_at = 0;
    double worst = 0;
    uint64_t bits = 0, step = stride();
    while (bits < ((uint64_t)1 << 32)) {
        int64_t n = 0;
        for (; n < BLOCK && bits < ((uint64_t)1 << 32); n++, bits += step) {
            uint32_t word = (uint32_t)bits;
            memcpy(&x[n], &word, sizeof word);
        }
        memcpy(y, x, (size_t)n * sizeof *y);
        f->row(kernels, y, scratch, n);
        for (int64_t i = 0; i < n; i++) check_value(f, x[i], y[i], &worst, &worst_at);
    }
    print_message("# %s: worst error %.3f ulp at %.9g\n", kernels->name, worst, (double)worst_at);
    assert_true(worst <= f->most_ulp);
    arrays_free();
}

static void check_function(const function *f)
{
    static const ewc_instruction_set sets[] = {EWC_ISA_PORTABLE, EWC_ISA_AVX2, EWC_ISA_AVX512};
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        if (!device_has(sets[s])) continue;
        opened_device *opened = device_open(sets[s], 1);
        check_kernels(opened->device->kernels, f);
        device_close(opened);
    }
}

static void exp_is_as_exact_as_stated(void **state)
{
    (void)state;
    check_function(&(function){exp_row, exp, 1.02, 3e-38});
}

static void tanh_is_as_exact_as_stated(void **state)
{
    (void)state;
    check_function(&(function){tanh_row, tanh, 1.34, 0.0});
}

static float one(void (*row)(const ewci_kernels *, float *, float *, int64_t), const ewci_kernels *kernels, float x)
{
    float scratch = 0;
    row(kernels, &x, &scratch, 1);
    return x;
}

static void check_limits(ewci_device *device, const void *user)
{
    const ewci_kernels *k = device->kernels;
    (void)user;
    assert_true(one(exp_row, k, INFINITY) == INFINITY);
    assert_true(one(exp_row, k, 1e30F) == INFINITY);
    assert_true(one(exp_row, k, -INFINITY) == 0.0F);
    assert_true(one(exp_row, k, -1e30F) == 0.0F);
    assert_true(one(exp_row, k, 0.0F) == 1.0F);
    assert_true(isfinite(one(exp_row, k, 88.72F)));
    assert_true(isnan(one(exp_row, k, NAN)));
    assert_true(one(tanh_row, k, INFINITY) == 1.0F);
    assert_true(one(tanh_row, k, -INFINITY) == -1.0F);
    assert_true(one(tanh_row, k, 1e30F) == 1.0F);
    assert_true(one(tanh_row, k, -50.0F) == -1.0F);
    assert_true(one(tanh_row, k, 0.0F) == 0.0F);
    assert_true(isnan(one(tanh_row, k, NAN)));
}

static void limits_are_exact_and_nan_stays_nan(void **state)
{
    (void)state;
    each_device(check_limits, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_as_exact_as_stated),
        cmocka_unit_test(tanh_is_as_exact_as_stated),
        cmocka_unit_test(limits_are_exact_and_nan_stays_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
