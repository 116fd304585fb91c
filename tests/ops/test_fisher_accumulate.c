/* fisher_accumulate: fisher = decay fisher + weight g^2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/convert.h"
#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

enum { MANY = 2 * 8192 + 300 };

static void check_accumulation(ewci_device *device, const void *user)
{
    static const int64_t counts[] = {1, 7, 16, 17, 300, MANY};
    const float weight = 0.7F, decay = 0.9F;
    (void)user;
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        int64_t n = counts[k];
        float *fisher = array_random(n, 1, 1), *gradient = array_random(n, 2, 3);
        double *expected = array_doubles(n);
        for (int64_t i = 0; i < n; i++) {
            fisher[i] = fabsf(fisher[i]);
            expected[i] =
                (double)decay * (double)fisher[i] + (double)weight * (double)gradient[i] * (double)gradient[i];
        }
        assert_int_equal(ewci_cpu_fisher_accumulate(device, fisher, (ewc_buffer){gradient, EWC_F32}, n, weight, decay),
                         EWC_OK);
        for (int64_t i = 0; i < n; i++) assert_true(fabs((double)fisher[i] - expected[i]) <= 2e-7 * expected[i]);
        arrays_free();
    }
}

static void squares_are_added_to_the_decayed_fisher(void **state)
{
    (void)state;
    each_device(check_accumulation, NULL);
}

static void check_bf16(ewci_device *device, const void *user)
{
    (void)user;
    float *gradient = array_random(MANY, 3, 1), *a = array_random(MANY, 4, 1), *b = array_copy(a, MANY);
    uint16_t *half = array_bytes((MANY + 1) * sizeof *half);
    half++; /* aligned to its element alone */
    for (int64_t i = 0; i < MANY; i++) {
        half[i] = ewci_bf16_of_f32(gradient[i]);
        gradient[i] = ewci_f32_of_bf16(half[i]);
    }
    assert_int_equal(ewci_cpu_fisher_accumulate(device, a, (ewc_buffer){gradient, EWC_F32}, MANY, 2, 1), EWC_OK);
    assert_int_equal(ewci_cpu_fisher_accumulate(device, b, (ewc_buffer){half, EWC_BF16}, MANY, 2, 1), EWC_OK);
    SAME(a, b, MANY);
    arrays_free();
}

static void a_bf16_gradient_counts_as_its_f32_value(void **state)
{
    (void)state;
    each_device(check_bf16, NULL);
}

static void check_scaling(ewci_device *device, const void *user)
{
    (void)user;
    float *fisher = array_random(MANY, 5, 1), *expected = array_copy(fisher, MANY);
    float *gradient = array_filled(MANY, INFINITY);
    for (int64_t i = 0; i < MANY; i++) expected[i] *= 0.25F;
    assert_int_equal(ewci_cpu_fisher_accumulate(device, fisher, (ewc_buffer){gradient, EWC_F32}, MANY, 0, 0.25F),
                     EWC_OK);
    SAME(fisher, expected, MANY);
    arrays_free();
}

static void weight_zero_scales_and_does_not_look_at_the_gradient(void **state)
{
    (void)state;
    each_device(check_scaling, NULL);
}

static void check_bits(ewci_device *device, const void *user)
{
    const float *expected = user;
    float *fisher = array_random(MANY, 6, 1), *gradient = array_random(MANY, 7, 1);
    assert_int_equal(ewci_cpu_fisher_accumulate(device, fisher, (ewc_buffer){gradient, EWC_F32}, MANY, 0.3F, 0.99F),
                     EWC_OK);
    SAME(fisher, expected, MANY);
}

static void every_instruction_set_and_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    opened_device *one = device_open(EWC_ISA_PORTABLE, 1);
    float *expected = array_random(MANY, 6, 1), *gradient = array_random(MANY, 7, 1);
    assert_int_equal(ewci_cpu_fisher_accumulate(one->device, expected, (ewc_buffer){gradient, EWC_F32}, MANY, 0.3F,
                                                0.99F),
                     EWC_OK);
    device_close(one);
    each_device(check_bits, expected);
    arrays_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(squares_are_added_to_the_decayed_fisher),
        cmocka_unit_test(a_bf16_gradient_counts_as_its_f32_value),
        cmocka_unit_test(weight_zero_scales_and_does_not_look_at_the_gradient),
        cmocka_unit_test(every_instruction_set_and_number_of_threads_gives_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
