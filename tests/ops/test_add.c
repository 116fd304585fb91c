/* add: destination += alpha source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

static void check_add(ewci_device *device, const void *user)
{
    static const int64_t counts[] = {0, 1, 17, 1000, 2 * 8192 + 5};
    (void)user;
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        int64_t n = counts[k];
        float *y = array_random(n, 1, 1), *x = array_random(n, 2, 1), *source = array_copy(x, n);
        double *expected = array_doubles(n);
        for (int64_t i = 0; i < n; i++) expected[i] = (double)y[i] + (double)-0.3F * (double)x[i];
        assert_int_equal(ewci_cpu_add(device, y, x, -0.3F, n), EWC_OK);
        CLOSE(y, expected, n, 1e-7);
        SAME(x, source, n);
        arrays_free();
    }
}

static void a_multiple_of_the_source_is_added(void **state)
{
    (void)state;
    each_device(check_add, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_multiple_of_the_source_is_added)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
