/* gemm: C = op(A) op(B) (+ C), against double precision, on odd sizes, small and large, with strides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "cpu/device.h"
#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

typedef struct shape {
    int64_t m, n, k;
} shape;

/* A product with row strides that are longer than the rows. */
typedef struct product {
    bool transpose_a, transpose_b, accumulate;
    shape size;
    int64_t lda, ldb, ldc;
    float *a, *b, *before;
    double *expected; /* [m, ldc] */
} product;

static product make_product(shape s, bool transpose_a, bool transpose_b, bool accumulate)
{
    product p = {transpose_a, transpose_b, accumulate, s, 0, 0, 0, NULL, NULL, NULL, NULL};
    int64_t a_rows = transpose_a ? s.k : s.m, b_rows = transpose_b ? s.n : s.k;
    p.lda = (transpose_a ? s.m : s.k) + 3;
    p.ldb = (transpose_b ? s.k : s.n) + 5;
    p.ldc = s.n + 2;
    p.a = array_random(a_rows * p.lda, 1, 1);
    p.b = array_random(b_rows * p.ldb, 2, 1);
    p.before = accumulate ? array_random(s.m * p.ldc, 3, 2) : array_filled(s.m * p.ldc, NAN);
    p.expected = array_doubles(s.m * p.ldc);
    for (int64_t i = 0; i < s.m; i++) {
        for (int64_t j = 0; j < s.n; j++) {
            double sum = accumulate ? (double)p.before[i * p.ldc + j] : 0;
            for (int64_t l = 0; l < s.k; l++)
                sum += (double)p.a[transpose_a ? l * p.lda + i : i * p.lda + l] *
                       (double)p.b[transpose_b ? j * p.ldb + l : l * p.ldb + j];
            p.expected[i * p.ldc + j] = sum;
        }
    }
    return p;
}

static void multiply(ewci_device *device, const product *p, float *c)
{
    shape s = p->size;
    assert_int_equal(ewci_cpu_gemm(device, p->transpose_a, p->transpose_b, s.m, s.n, s.k, p->a, p->lda, p->b, p->ldb, c,
                                   p->ldc, p->accumulate),
                     EWC_OK);
}

/* A sum of k products of numbers below 1 rounds by at most k eps in the worst case, and by less than sqrt(k) eps in practice. */
static void check_product(ewci_device *device, const void *user)
{
    const product *p = user;
    shape s = p->size;
    float *c = array_copy(p->before, s.m * p->ldc), *again = array_copy(p->before, s.m * p->ldc);
    multiply(device, p, c);
    multiply(device, p, again);
    for (int64_t i = 0; i < s.m; i++) {
        CLOSE(c + i * p->ldc, p->expected + i * p->ldc, s.n, 1e-7 * (4 + sqrt((double)s.k)));
        SAME(c + i * p->ldc, again + i * p->ldc, s.n);
        SAME(c + i * p->ldc + s.n, p->before + i * p->ldc + s.n, p->ldc - s.n); /* between the rows: untouched */
    }
}

static void check_all_forms(shape s)
{
    for (int form = 0; form < 8; form++) {
        product p = make_product(s, form & 1, form & 2, form & 4);
        each_device(check_product, &p);
        arrays_free();
    }
}

static void small_products_are_right(void **state)
{
    (void)state;
    check_all_forms((shape){1, 1, 1});
    check_all_forms((shape){3, 5, 7});
    check_all_forms((shape){17, 2, 33});
}

static void products_that_are_divided_are_right(void **state)
{
    (void)state;
    check_all_forms((shape){131, 67, 45});
    check_all_forms((shape){19, 211, 130});  /* columns are divided */
    check_all_forms((shape){205, 21, 129});  /* rows are divided */
    check_all_forms((shape){161, 177, 301}); /* beyond OpenBLAS's kernels for small matrices */
    check_all_forms((shape){29, 801, 401});  /* several blocks of columns and of depth */
}

/* Where the library's own kernels multiply. */
static void bits_do_not_depend_on_the_number_of_threads(void **state)
{
    (void)state;
    const shape s = {77, 133, 801};
    for (ewc_instruction_set set = EWC_ISA_AVX2; set <= EWC_ISA_AVX512; set++) {
        if (!device_has(set)) continue;
        for (int form = 0; form < 8; form++) {
            product p = make_product(s, form & 1, form & 2, form & 4);
            float *one = NULL;
            for (int threads = 1; threads <= 6; threads++) {
                opened_device *opened = device_open(set, threads);
                float *c = array_copy(p.before, s.m * p.ldc);
                multiply(opened->device, &p, c);
                for (int64_t i = 0; one != NULL && i < s.m; i++) SAME(c + i * p.ldc, one + i * p.ldc, s.n);
                one = c;
                device_close(opened);
            }
            arrays_free();
        }
    }
}

static void check_nothing(ewci_device *device, const void *user)
{
    float x = 1, c = 5;
    (void)user;
    assert_int_equal(ewci_cpu_gemm(device, false, false, 0, 4, 4, &x, 4, &x, 4, &c, 4, true), EWC_OK);
    assert_int_equal(ewci_cpu_gemm(device, false, false, 4, 0, 4, &x, 4, &x, 1, &c, 1, true), EWC_OK);
    assert_true(c == 5);
    assert_int_equal(ewci_cpu_gemm(device, false, false, 1, 1, 0, &x, 1, &x, 1, &c, 1, true), EWC_OK);
    assert_true(c == 5);
    c = NAN;
    assert_int_equal(ewci_cpu_gemm(device, false, false, 1, 1, 0, &x, 1, &x, 1, &c, 1, false), EWC_OK);
    assert_true(c == 0);
}

static void empty_products_do_nothing_and_empty_sums_are_zero(void **state)
{
    (void)state;
    each_device(check_nothing, NULL);
}

/* A NaN in a row of A reaches that row of C and no other, even where B is zero. */
static void check_nan(ewci_device *device, const void *user)
{
    enum { N = 70 };
    (void)user;
    float *a = array_random(N * N, 4, 1), *b = array_filled(N * N, 0), *c = array_filled(N * N, 1);
    a[3 * N + 5] = NAN;
    assert_int_equal(ewci_cpu_gemm(device, false, false, N, N, N, a, N, b, N, c, N, false), EWC_OK);
    for (int i = 0; i < N * N; i++) assert_true(i / N == 3 ? isnan(c[i]) : c[i] == 0);
    arrays_free();
}

static void nan_is_not_swallowed(void **state)
{
    (void)state;
    each_device(check_nan, NULL);
}

static void sizes_beyond_the_blas_are_refused_by_name(void **state)
{
    (void)state;
    opened_device *opened = device_open(EWC_ISA_AUTO, 1);
    float x = 0;
    int64_t huge = (int64_t)1 << 31;
    assert_int_equal(ewci_cpu_gemm(opened->device, false, false, huge, 1, 1, &x, 1, &x, 1, &x, 1, false),
                     EWC_ERROR_UNSUPPORTED);
    assert_non_null(strstr(opened->ctx.error, "2147483648 x 1 x 1"));
    device_close(opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_products_are_right),
        cmocka_unit_test(products_that_are_divided_are_right),
        cmocka_unit_test(bits_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(empty_products_do_nothing_and_empty_sums_are_zero),
        cmocka_unit_test(nan_is_not_swallowed),
        cmocka_unit_test(sizes_beyond_the_blas_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
