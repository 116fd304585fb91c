/* update with buffers of every type: the same bits as f32 buffers of the same numbers, rounded to nearest even at the end; data aligned
 * to no more than its element. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cpu/operations.h"
#include "support/devices.h"
#include "support/update_reference.h"

enum { N = 8192 + 77 };

/* ---- Types, independently of the library: a double rounded to `digits` binary digits, ties to even ---------------------- */

static double rounded(double x, int digits, int least_exponent)
{
    int exponent;
    if (x == 0) return x;
    frexp(x, &exponent);
    if (exponent < least_exponent) exponent = least_exponent;
    return ldexp(nearbyint(ldexp(x, digits - exponent)), exponent - digits);
}

static double to_bf16(double x)
{
    return rounded(x, 8, -125);
}

static double to_f16(double x)
{
    return rounded(x, 11, -13);
}

static uint16_t bits_of_bf16(double x)
{
    float y = (float)x;
    uint32_t bits;
    memcpy(&bits, &y, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static uint16_t bits_of_f16(double x)
{
    int exponent;
    double fraction = frexp(fabs(x), &exponent);
    unsigned sign = signbit(x) ? 0x8000U : 0;
    if (fraction == 0) return (uint16_t)sign;
    if (exponent < -13) return (uint16_t)(sign | (unsigned)ldexp(fabs(x), 24)); /* subnormal */
    return (uint16_t)(sign | ((unsigned)(exponent + 14) << 10) | ((unsigned)ldexp(fraction, 11) & 0x3ffU));
}

/* ---- Buffers ---------------------------------------------------------------------------------------------------------------- */

/* Rounds x to the type in place and gives a buffer with those numbers, one element off the alignment of its memory. */
static ewc_buffer typed(float *x, ewc_dtype dtype)
{
    size_t size = dtype == EWC_F32 ? sizeof(float) : sizeof(uint16_t);
    char *data = (char *)array_bytes((N + 1) * size) + size;
    for (int64_t i = 0; i < N; i++) {
        if (dtype != EWC_F32) x[i] = (float)(dtype == EWC_BF16 ? to_bf16((double)x[i]) : to_f16((double)x[i]));
        uint16_t bits = dtype == EWC_BF16 ? bits_of_bf16((double)x[i]) : bits_of_f16((double)x[i]);
        memcpy(data + (size_t)i * size, dtype == EWC_F32 ? (void *)&x[i] : (void *)&bits, size);
    }
    return (ewc_buffer){data, dtype};
}

static void check_result(ewc_buffer found, const float *expected, const char *what)
{
    for (int64_t i = 0; i < N; i++) {
        float y = expected[i];
        if (found.dtype == EWC_F32) {
            memcpy(&y, (char *)found.data + (size_t)i * sizeof y, sizeof y);
            if (y == expected[i]) continue;
        } else {
            uint16_t bits, wanted = bits_of_bf16(to_bf16((double)expected[i]));
            memcpy(&bits, (char *)found.data + (size_t)i * sizeof bits, sizeof bits);
            if (bits == wanted) continue;
        }
        print_error("%s[%lld] differs from %.9g\n", what, (long long)i, (double)expected[i]);
        fail();
    }
}

typedef struct combination {
    ewc_dtype weight, moment1, moment2, gradient, fisher, anchor;
    ewc_penalty_form form;
} combination;

static void check_combination(ewci_device *device, const void *user)
{
    const combination *c = user;
    update_arrays x = update_arrays_make(N);
    ewc_update_buffers typed_buffers = {typed(x.w, c->weight),   typed(x.m, c->moment1), typed(x.v, c->moment2),
                                        typed(x.g, c->gradient), typed(x.f, c->fisher),  typed(x.a, c->anchor)};
    ewc_update_buffers f32_buffers = update_arrays_buffers(&x);
    ewc_update_options o = update_options_of(c->form, 10);
    ewc_update_statistics found, expected;
    assert_int_equal(ewci_cpu_update(device, N, &f32_buffers, &o, &expected), EWC_OK);
    assert_int_equal(ewci_cpu_update(device, N, &typed_buffers, &o, &found), EWC_OK);
    check_result(typed_buffers.weight, x.w, "weight");
    check_result(typed_buffers.m, x.m, "m");
    check_result(typed_buffers.v, x.v, "v");
    assert_memory_equal(&found, &expected, sizeof found);
    arrays_free();
}

static void check_combinations(ewc_penalty_form form)
{
    static const ewc_instruction_set sets[] = {EWC_ISA_PORTABLE, EWC_ISA_AVX2, EWC_ISA_AVX512};
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        if (!device_has(sets[s])) continue;
        opened_device *opened = device_open(sets[s], 1);
        for (unsigned k = 0; k < 96; k++) {
            combination c = {k & 1 ? EWC_BF16 : EWC_F32,
                             k & 2 ? EWC_BF16 : EWC_F32,
                             k & 4 ? EWC_BF16 : EWC_F32,
                             k & 8 ? EWC_BF16 : EWC_F32,
                             k & 16 ? EWC_BF16 : EWC_F32,
                             (ewc_dtype)(k / 32),
                             form};
            check_combination(opened->device, &c);
        }
        device_close(opened);
    }
}

static void every_combination_of_types_in_plain_adamw(void **state)
{
    (void)state;
    check_combinations(EWC_PENALTY_NONE);
}

static void every_combination_of_types_in_the_gradient_form(void **state)
{
    (void)state;
    check_combinations(EWC_PENALTY_GRADIENT);
}

static void every_combination_of_types_in_the_proximal_form(void **state)
{
    (void)state;
    check_combinations(EWC_PENALTY_PROXIMAL);
}

static void check_bf16_rest(ewci_device *device, const void *user)
{
    (void)user;
    update_arrays x = update_arrays_make(N);
    ewc_buffer anchor = typed(x.a, EWC_BF16), weight = typed(x.a, EWC_BF16);
    memset(x.m, 0, sizeof(float) * N);
    memset(x.v, 0, sizeof(float) * N);
    memset(x.g, 0, sizeof(float) * N);
    ewc_update_buffers buffers = update_arrays_buffers(&x);
    buffers.weight = weight;
    buffers.anchor = anchor;
    ewc_update_options o = update_options_of(EWC_PENALTY_PROXIMAL, 1e6);
    o.weight_decay = 0;
    ewc_update_statistics s;
    assert_int_equal(ewci_cpu_update(device, N, &buffers, &o, &s), EWC_OK);
    assert_memory_equal(weight.data, anchor.data, N * sizeof(uint16_t));
    assert_true(s.distance_squared == 0 && s.penalty == 0);
    arrays_free();
}

static void bf16_weights_on_their_anchor_stay(void **state)
{
    (void)state;
    each_device(check_bf16_rest, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_combination_of_types_in_plain_adamw),
        cmocka_unit_test(every_combination_of_types_in_the_gradient_form),
        cmocka_unit_test(every_combination_of_types_in_the_proximal_form),
        cmocka_unit_test(bf16_weights_on_their_anchor_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
