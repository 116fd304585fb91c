/* fold_add: a += lambda F, b += lambda F c, in double; two tasks added this way are one quadratic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "core/convert.h"
#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

enum { N = 8192 + 333 };

static const double LAMBDAS[] = {3.0, 1e7};

typedef struct tasks {
    float *fisher[2], *centre[2];
    ewc_buffer fisher_view[2], centre_view[2];
} tasks;

static tasks make_tasks(void)
{
    tasks t;
    for (int k = 0; k < 2; k++) {
        uint16_t *half = array_bytes(N * sizeof *half);
        t.fisher[k] = array_random(N, 10 + (uint64_t)k, 1);
        t.centre[k] = array_random(N, 20 + (uint64_t)k, 1);
        for (int64_t i = 0; i < N; i++) {
            t.fisher[k][i] = fabsf(t.fisher[k][i]);
            half[i] = ewci_bf16_of_f32(t.centre[k][i]);
            if (k == 1) t.centre[k][i] = ewci_f32_of_bf16(half[i]);
        }
        t.fisher_view[k] = (ewc_buffer){t.fisher[k], EWC_F32};
        t.centre_view[k] = k == 1 ? (ewc_buffer){half, EWC_BF16} : (ewc_buffer){t.centre[k], EWC_F32};
    }
    return t;
}

static void check_fold(ewci_device *device, const void *user)
{
    (void)user;
    tasks t = make_tasks();
    double *a = array_doubles(N), *b = array_doubles(N);
    for (int k = 0; k < 2; k++)
        assert_int_equal(ewci_cpu_fold_add(device, a, b, t.fisher_view[k], t.centre_view[k], N, LAMBDAS[k]), EWC_OK);
    for (int64_t i = 0; i < N; i++) {
        double first = LAMBDAS[0] * (double)t.fisher[0][i], second = LAMBDAS[1] * (double)t.fisher[1][i];
        double moment = first * (double)t.centre[0][i] + second * (double)t.centre[1][i];
        assert_true(fabs(a[i] - (first + second)) <= 1e-15 * (first + second));
        assert_true(fabs(b[i] - moment) <= 1e-15 * (first + second));
    }
    arrays_free();
}

static void shares_are_added_in_double(void **state)
{
    (void)state;
    each_device(check_fold, NULL);
}

/* A/2 (w - b/A)^2 differs from the sum of the tasks' penalties by a constant: the same at every w. */
static void check_quadratic(ewci_device *device, const void *user)
{
    (void)user;
    tasks t = make_tasks();
    double *a = array_doubles(N), *b = array_doubles(N);
    for (int k = 0; k < 2; k++)
        assert_int_equal(ewci_cpu_fold_add(device, a, b, t.fisher_view[k], t.centre_view[k], N, LAMBDAS[k]), EWC_OK);
    for (int64_t i = 0; i < N; i += 97) {
        double constant[2];
        for (int j = 0; j < 2; j++) {
            double w = j == 0 ? -0.8 : 0.6, sum = 0;
            for (int k = 0; k < 2; k++)
                sum += 0.5 * LAMBDAS[k] * (double)t.fisher[k][i] * pow(w - (double)t.centre[k][i], 2);
            constant[j] = sum - 0.5 * a[i] * pow(w - b[i] / a[i], 2);
        }
        assert_true(fabs(constant[0] - constant[1]) <= 1e-14 * a[i]);
    }
    arrays_free();
}

static void the_folded_quadratic_is_the_sum_of_the_tasks_up_to_a_constant(void **state)
{
    (void)state;
    each_device(check_quadratic, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_added_in_double),
        cmocka_unit_test(the_folded_quadratic_is_the_sum_of_the_tasks_up_to_a_constant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
