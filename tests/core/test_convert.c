/* f16 and bf16: every 16-bit pattern to f32, and f32 rounded to nearest even, against arithmetic in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/convert.h"

/* A 16-bit format: bits of exponent and of fraction. */
typedef struct format {
    ewc_dtype dtype;
    int exponent_bits, fraction_bits;
} format;

static const format FORMATS[] = {{EWC_F16, 5, 10}, {EWC_BF16, 8, 7}};

static double value_of(const format *f, uint16_t bits)
{
    int bias = (1 << (f->exponent_bits - 1)) - 1, exponent = (bits >> f->fraction_bits) & ((1 << f->exponent_bits) - 1);
    int fraction = bits & ((1 << f->fraction_bits) - 1);
    double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == (1 << f->exponent_bits) - 1) return fraction != 0 ? NAN : sign * HUGE_VAL;
    if (exponent == 0) return sign * ldexp(fraction, 1 - bias - f->fraction_bits);
    return sign * ldexp((1 << f->fraction_bits) + fraction, exponent - bias - f->fraction_bits);
}

static uint16_t narrowed(const format *f, float x)
{
    uint16_t bits;
    ewci_from_f32(&bits, f->dtype, &x, 1);
    return bits;
}

static void every_pattern_is_widened_exactly_and_comes_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++) {
        for (uint32_t bits = 0; bits < 65536; bits++) {
            const format *f = &FORMATS[i];
            uint16_t half = (uint16_t)bits;
            float x;
            double expected = value_of(f, half);
            ewci_to_f32(&x, &half, f->dtype, 1);
            if (isnan(expected)) {
                assert_true(isnan(x));
                assert_true(isnan(value_of(f, narrowed(f, x))));
                continue;
            }
            assert_true((double)x == expected && (signbit(x) != 0) == (half >> 15));
            assert_int_equal(narrowed(f, x), half);
        }
    }
}

/* Nearest, and between two equally near ones the even one: judged by the neighbours of the result. */
static void check_rounding(const format *f, float x)
{
    uint16_t found = narrowed(f, x);
    double y = value_of(f, found),
           largest = value_of(f, (uint16_t)(((1 << f->exponent_bits) - 1) << f->fraction_bits) - 1);
    if (isnan(x)) {
        assert_true(isnan(y));
        return;
    }
    assert_int_equal(found >> 15, signbit(x) != 0);
    double magnitude = fabs((double)x),
           unit = largest - value_of(f, (uint16_t)(((1 << f->exponent_bits) - 1) << f->fraction_bits) - 2);
    if (magnitude >= largest + unit / 2) {
        assert_true(isinf(y));
        return;
    }
    assert_true(isfinite(y));
    uint16_t magnitude_bits = found & 0x7fff;
    double error = fabs(fabs(y) - magnitude);
    double above = value_of(f, magnitude_bits + 1);
    if (isinf(above)) above = largest + unit;
    double error_above = fabs(above - magnitude);
    assert_true(error < error_above || (error == error_above && magnitude_bits % 2 == 0));
    if (magnitude_bits == 0) return;
    double error_below = fabs(value_of(f, magnitude_bits - 1) - magnitude);
    assert_true(error < error_below || (error == error_below && magnitude_bits % 2 == 0));
}

static void f32_is_rounded_to_nearest_even(void **state)
{
    (void)state;
    const uint64_t step = getenv("EWC_TEST_FAST") != NULL ? 65521 : 4093;
    for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++) {
        for (uint64_t bits = 0; bits < (uint64_t)1 << 32; bits += step) {
            uint32_t word = (uint32_t)bits;
            float x;
            memcpy(&x, &word, sizeof x);
            check_rounding(&FORMATS[i], x);
        }
        /* halfway between neighbours, and just beside it */
        for (uint32_t bits = 0; bits < 0x7fff; bits += 3) {
            double low = value_of(&FORMATS[i], (uint16_t)bits), high = value_of(&FORMATS[i], (uint16_t)(bits + 1));
            if (!isfinite(high)) continue;
            float middle = (float)((low + high) / 2);
            check_rounding(&FORMATS[i], middle);
            check_rounding(&FORMATS[i], nextafterf(middle, INFINITY));
            check_rounding(&FORMATS[i], nextafterf(middle, 0));
            check_rounding(&FORMATS[i], -middle);
        }
    }
}

static void arrays_may_lie_anywhere(void **state)
{
    (void)state;
    unsigned char bytes[9] = {0};
    float x[3] = {1.5F, -2, 0.25F}, y[3] = {0};
    ewci_from_f32(bytes + 1, EWC_BF16, x, 3);
    ewci_to_f32(y, bytes + 1, EWC_BF16, 3);
    assert_memory_equal(x, y, sizeof x);
    ewci_from_f32(bytes + 1, EWC_F16, x, 3);
    ewci_to_f32(y, bytes + 1, EWC_F16, 3);
    assert_memory_equal(x, y, sizeof x);
    ewci_to_f32(y, NULL, EWC_F32, 0);
}

static void types_have_their_sizes(void **state)
{
    (void)state;
    assert_int_equal(ewci_dtype_bytes(EWC_F32), 4);
    assert_int_equal(ewci_dtype_bytes(EWC_BF16), 2);
    assert_int_equal(ewci_dtype_bytes(EWC_F16), 2);
    assert_int_equal(ewci_dtype_bytes((ewc_dtype)17), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pattern_is_widened_exactly_and_comes_back),
        cmocka_unit_test(f32_is_rounded_to_nearest_even),
        cmocka_unit_test(arrays_may_lie_anywhere),
        cmocka_unit_test(types_have_their_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
