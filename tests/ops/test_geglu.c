/* geglu: act = gelu_tanh(gate) * up against double precision; backward against central differences of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

static double gelu(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

typedef struct activation {
    int64_t rows, intermediate;
    float *gate_up, *dact;
    double *act, *d_gate_up;
} activation;

/* Gates from -12 to 12, so that both tails of the tanh are reached; the derivative of an element by differences. */
static activation make_activation(int64_t rows, int64_t f)
{
    activation a = {rows,
                    f,
                    array_random(rows * 2 * f, 1, 2),
                    array_random(rows * f, 2, 1),
                    array_doubles(rows * f),
                    array_doubles(rows * 2 * f)};
    const double h = 1e-5;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < f; i++) {
            if (i % 3 == 0) a.gate_up[r * 2 * f + i] *= 6;
            double g = (double)a.gate_up[r * 2 * f + i], u = (double)a.gate_up[r * 2 * f + f + i];
            double d = (double)a.dact[r * f + i];
            a.act[r * f + i] = gelu(g) * u;
            a.d_gate_up[r * 2 * f + i] = d * u * (gelu(g + h) - gelu(g - h)) / (2 * h);
            a.d_gate_up[r * 2 * f + f + i] = d * gelu(g);
        }
    }
    return a;
}

static void check_forward(ewci_device *device, const void *user)
{
    const activation *a = user;
    int64_t n = a->rows * a->intermediate;
    float *act = array_filled(n, NAN);
    assert_int_equal(ewci_cpu_geglu_fwd(device, act, a->gate_up, a->rows, a->intermediate), EWC_OK);
    CLOSE(act, a->act, n, 5e-7);
}

static void check_backward(ewci_device *device, const void *user)
{
    const activation *a = user;
    int64_t n = a->rows * 2 * a->intermediate;
    float *d_gate_up = array_filled(n, NAN);
    assert_int_equal(ewci_cpu_geglu_bwd(device, d_gate_up, a->dact, a->gate_up, a->rows, a->intermediate), EWC_OK);
    CLOSE(d_gate_up, a->d_gate_up, n, 1e-6);
}

static void check_sizes(void (*check)(ewci_device *, const void *))
{
    static const int64_t sizes[][2] = {{1, 1}, {3, 5}, {5, 16}, {4, 333}, {2, 1027}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        activation a = make_activation(sizes[i][0], sizes[i][1]);
        each_device(check, &a);
        arrays_free();
    }
}

static void forward_is_that_of_double_precision(void **state)
{
    (void)state;
    check_sizes(check_forward);
}

static void backward_is_the_derivative(void **state)
{
    (void)state;
    check_sizes(check_backward);
}

/* Large gates: the identity above, zero below; their slopes one and zero. */
static void check_tails(ewci_device *device, const void *user)
{
    (void)user;
    const float gate_up[8] = {1e4F, -1e4F, 1e8F, -1e8F, 1, 1, 1, 1}, dact[4] = {1, 1, 1, 1};
    float act[4], d[8];
    assert_int_equal(ewci_cpu_geglu_fwd(device, act, gate_up, 1, 4), EWC_OK);
    assert_int_equal(ewci_cpu_geglu_bwd(device, d, dact, gate_up, 1, 4), EWC_OK);
    for (int i = 0; i < 4; i++) assert_true(act[i] == (i % 2 == 0 ? gate_up[i] : 0) && d[i] == (i % 2 == 0 ? 1 : 0));
}

static void tails_saturate(void **state)
{
    (void)state;
    each_device(check_tails, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_that_of_double_precision),
        cmocka_unit_test(backward_is_the_derivative),
        cmocka_unit_test(tails_saturate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
