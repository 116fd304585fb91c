/* rope_table and rope: rotation of halves by position times frequency; the inverse is the transpose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

enum { COUNT = 7, HEADS = 3, STRIDE_MORE = 11 };

static const int32_t POSITIONS[COUNT] = {0, 1, 2, 0, 1, 511, 8191}; /* they restart with each document */

/* The f32 angle that the reference model computes: both of its roundings are part of the definition. */
static double angle(int32_t position, int64_t i, int64_t head_dim, double theta, double linear_scale)
{
    float exponent = (float)(2 * i) / (float)head_dim;
    float frequency = 1.0F / (float)pow(theta, (double)exponent);
    return (double)((float)position * (frequency / (float)linear_scale));
}

typedef struct table_case {
    int64_t head_dim;
    double theta, linear_scale;
} table_case;

/* One unit in the last place of the frequency (powf of the C library) turns position 8191 by at most 8191 * 2^-24 = 5e-4 radians of
 * angle at frequency 1, and by less in proportion at lower ones; at positions near zero nothing is left of it. */
static void check_table(ewci_device *device, const void *user)
{
    const table_case *c = user;
    int64_t half = c->head_dim / 2;
    float *table = array_filled(COUNT * c->head_dim, NAN);
    assert_int_equal(ewci_cpu_rope_table(device, table, POSITIONS, COUNT, c->head_dim, c->theta, c->linear_scale),
                     EWC_OK);
    for (int64_t t = 0; t < COUNT; t++) {
        for (int64_t i = 0; i < half; i++) {
            double a = angle(POSITIONS[t], i, c->head_dim, c->theta, c->linear_scale), allowed = 1e-7 + 1.2e-7 * a;
            assert_true(fabs((double)table[t * c->head_dim + i] - cos(a)) <= allowed);
            assert_true(fabs((double)table[t * c->head_dim + half + i] - sin(a)) <= allowed);
        }
    }
    arrays_free();
}

static void tables_hold_cosine_and_sine_of_the_angle(void **state)
{
    (void)state;
    static const table_case cases[] = {{2, 10000, 1}, {6, 10000, 1}, {64, 10000, 1}, {256, 1e6, 8}, {30, 1e6, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) each_device(check_table, &cases[i]);
}

/* Frequencies as torch computes them for theta 10000 and head_dim 8 and 6: exact powers of ten, and 10000^(-1/3), 10000^(-2/3). */
static void known_frequencies_are_met(void **state)
{
    (void)state;
    opened_device *opened = device_open(EWC_ISA_AUTO, 1);
    const int32_t one = 1;
    float table[8];
    assert_int_equal(ewci_cpu_rope_table(opened->device, table, &one, 1, 8, 10000, 1), EWC_OK);
    for (int i = 0; i < 4; i++) assert_true(fabs((double)table[4 + i] - sin(pow(10, -i))) < 1e-7);
    assert_int_equal(ewci_cpu_rope_table(opened->device, table, &one, 1, 6, 10000, 1), EWC_OK);
    assert_true(fabs((double)table[3 + 1] - sin(0.046415888336127774)) < 1e-8);
    assert_true(fabs((double)table[3 + 2] - sin(0.0021544346900318843)) < 1e-9);
    device_close(opened);
}

static void check_rotation(ewci_device *device, const void *user)
{
    int64_t head_dim = *(const int64_t *)user, half = head_dim / 2, stride = HEADS * head_dim + STRIDE_MORE;
    float *table = array_filled(COUNT * head_dim, 0), *before = array_random(COUNT * stride, 1, 1);
    float *x = array_copy(before, COUNT * stride);
    double *expected = array_widened(before, COUNT * stride), *back = array_widened(before, COUNT * stride);
    assert_int_equal(ewci_cpu_rope_table(device, table, POSITIONS, COUNT, head_dim, 10000, 1), EWC_OK);
    for (int64_t t = 0; t < COUNT; t++) {
        for (int64_t h = 0; h < HEADS; h++) {
            for (int64_t i = 0; i < half; i++) {
                double c = (double)table[t * head_dim + i], s = (double)table[t * head_dim + half + i];
                int64_t at = t * stride + h * head_dim + i;
                double x1 = (double)before[at], x2 = (double)before[at + half];
                expected[at] = x1 * c - x2 * s;
                expected[at + half] = x2 * c + x1 * s;
            }
        }
    }
    assert_int_equal(ewci_cpu_rope(device, x, table, COUNT, HEADS, head_dim, stride, false), EWC_OK);
    CLOSE(x, expected, COUNT * stride, 2e-7);
    for (int64_t t = 0; t < COUNT; t++) /* v, behind q and k in the row, is not turned */
        SAME(x + t * stride + HEADS * head_dim, before + t * stride + HEADS * head_dim, STRIDE_MORE);
    assert_int_equal(ewci_cpu_rope(device, x, table, COUNT, HEADS, head_dim, stride, true), EWC_OK);
    CLOSE(x, back, COUNT * stride, 4e-7); /* the transpose of a rotation undoes it */
    arrays_free();
}

static void halves_are_rotated_and_the_inverse_undoes_it(void **state)
{
    (void)state;
    static const int64_t head_dims[] = {2, 6, 34, 128, 256};
    for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++) each_device(check_rotation, &head_dims[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_hold_cosine_and_sine_of_the_angle),
        cmocka_unit_test(known_frequencies_are_met),
        cmocka_unit_test(halves_are_rotated_and_the_inverse_undoes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
