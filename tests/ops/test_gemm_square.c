/* gemm_square: fisher += weight (A^T B)^2, against double precision, on sizes of less and of more than one tile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/device.h"
#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

typedef struct product {
    int64_t m, n, k, lda, ldb;
    float *a, *b, *before;
    double *expected;
} product;

static const float WEIGHT = 0.375F;

static product make_product(int64_t m, int64_t n, int64_t k)
{
    product p = {m, n, k, m + 3, n + 1, NULL, NULL, NULL, NULL};
    p.a = array_random(k * p.lda, 1, 1);
    p.b = array_random(k * p.ldb, 2, 1);
    p.before = array_random(m * n, 3, 0.5);
    p.expected = array_widened(p.before, m * n);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) sum += (double)p.a[l * p.lda + i] * (double)p.b[l * p.ldb + j];
            p.expected[i * n + j] += (double)WEIGHT * sum * sum;
        }
    }
    return p;
}

static void check_product(ewci_device *device, const void *user)
{
    const product *p = user;
    float *fisher = array_copy(p->before, p->m * p->n), *again = array_copy(p->before, p->m * p->n);
    for (int run = 0; run < 2; run++)
        assert_int_equal(ewci_cpu_gemm_square(device, p->m, p->n, p->k, p->a, p->lda, p->b, p->ldb, WEIGHT,
                                              run == 0 ? fisher : again),
                         EWC_OK);
    CLOSE(fisher, p->expected, p->m * p->n, 2e-6);
    SAME(fisher, again, p->m * p->n);
}

static void check_size(int64_t m, int64_t n, int64_t k)
{
    product p = make_product(m, n, k);
    each_device(check_product, &p);
    arrays_free();
}

static void squares_of_small_products_are_right(void **state)
{
    (void)state;
    check_size(1, 1, 1);
    check_size(7, 5, 3);
    check_size(37, 29, 53);
}

static void squares_of_products_of_several_tiles_are_right(void **state)
{
    (void)state;
    check_size(EWCI_TILE_ROWS + 5, EWCI_TILE_COLUMNS + 9, 11);
    check_size(2 * EWCI_TILE_ROWS + 33, 13, 70);
}

static void nothing_is_added_for_no_rows(void **state)
{
    (void)state;
    opened_device *opened = device_open(EWC_ISA_AUTO, 2);
    float x = 3, fisher = 7;
    assert_int_equal(ewci_cpu_gemm_square(opened->device, 1, 1, 0, &x, 1, &x, 1, 1, &fisher), EWC_OK);
    assert_int_equal(ewci_cpu_gemm_square(opened->device, 0, 1, 1, &x, 1, &x, 1, 1, &fisher), EWC_OK);
    assert_int_equal(ewci_cpu_gemm_square(opened->device, 1, 0, 1, &x, 1, &x, 1, 1, &fisher), EWC_OK);
    assert_true(fisher == 7);
    device_close(opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(squares_of_small_products_are_right),
        cmocka_unit_test(squares_of_products_of_several_tiles_are_right),
        cmocka_unit_test(nothing_is_added_for_no_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
