/* gemm and gemm_square with products in bf16: against double precision on operands rounded to bf16, for all forms, odd sizes, strides and
 * divisions; and against the f32 product, from which they may differ by the rounding of the operands alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#ifdef EWCI_ONEDNN
#include <omp.h>
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/convert.h"
#include "cpu/gemm_bf16.h"
#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

#define F32_UNIT 0x1p-24 /* largest relative error of one rounding to f32, and to bf16 */
#define BF16_UNIT 0x1p-8

typedef struct product {
    bool transpose_a, transpose_b, accumulate;
    int64_t m, n, k, lda, ldb, ldc;
    float *a, *b, *before;
    double *rounded, *exact,
        *magnitude; /* [m,n]: with operands rounded; with them as they are; sum |a||b| + |before| */
} product;

static double bf16(float x)
{
    return (double)ewci_f32_of_bf16(ewci_bf16_of_f32(x));
}

static void expect(product *p)
{
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) {
            double start = p->accumulate ? (double)p->before[i * p->ldc + j] : 0, rounded = 0, exact = 0, magnitude = 0;
            for (int64_t l = 0; l < p->k; l++) {
                float x = p->a[p->transpose_a ? l * p->lda + i : i * p->lda + l];
                float y = p->b[p->transpose_b ? j * p->ldb + l : l * p->ldb + j];
                rounded += bf16(x) * bf16(y);
                exact += (double)x * (double)y;
                magnitude += fabs((double)x * (double)y);
            }
            p->rounded[i * p->n + j] = start + rounded;
            p->exact[i * p->n + j] = start + exact;
            p->magnitude[i * p->n + j] = fabs(start) + magnitude;
        }
    }
}

static product make_product(int64_t m, int64_t n, int64_t k, int form)
{
    product p = {.transpose_a = form & 1, .transpose_b = form & 2, .accumulate = form & 4, .m = m, .n = n, .k = k};
    p.lda = (p.transpose_a ? m : k) + 3;
    p.ldb = (p.transpose_b ? k : n) + 5;
    p.ldc = n + 2;
    p.a = array_random((p.transpose_a ? k : m) * p.lda, 1, 1);
    p.b = array_random((p.transpose_b ? n : k) * p.ldb, 2, 1);
    p.before = p.accumulate ? array_random(m * p.ldc, 3, 2) : array_filled(m * p.ldc, NAN);
    p.rounded = array_doubles(m * n);
    p.exact = array_doubles(m * n);
    p.magnitude = array_doubles(m * n);
    expect(&p);
    return p;
}

/* Fails unless |found - expected| <= unit * scale everywhere. */
static void within(const product *p, const float *c, const double *expected, double unit, const char *what)
{
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) {
            double error = fabs((double)c[i * p->ldc + j] - expected[i * p->n + j]);
            if (!(error <= unit * p->magnitude[i * p->n + j]))
                fail_msg("%s: element %lld, %lld is %.9g, expected %.9g, allowed %.2g", what, (long long)i,
                         (long long)j, (double)c[i * p->ldc + j], expected[i * p->n + j],
                         unit * p->magnitude[i * p->n + j]);
        }
    }
}

/* Products of two bf16 numbers are exact in f32; a sum of k of them and of what was there rounds k times at most, in any order. */
static void check_product(ewci_device *device, const product *p)
{
    float *c = array_copy(p->before, p->m * p->ldc), *again = array_copy(p->before, p->m * p->ldc);
    for (int run = 0; run < 2; run++)
        assert_int_equal(ewci_cpu_gemm(device, p->transpose_a, p->transpose_b, p->m, p->n, p->k, p->a, p->lda, p->b,
                                       p->ldb, run == 0 ? c : again, p->ldc, p->accumulate),
                         EWC_OK);
    const double sums = (double)(p->k + 1) * F32_UNIT;
    within(p, c, p->rounded, sums, "rounded operands");
    within(p, c, p->exact, sums + 2 * BF16_UNIT + BF16_UNIT * BF16_UNIT, "f32 operands");
    for (int64_t i = 0; i < p->m; i++) {
        SAME(c + i * p->ldc, again + i * p->ldc, p->n);
        SAME(c + i * p->ldc + p->n, p->before + i * p->ldc + p->n, p->ldc - p->n); /* between the rows: untouched */
    }
}

/* On devices of every instruction set and 1 to 3 threads, with so many elements of scratch (0: all). */
static void check_forms(int64_t m, int64_t n, int64_t k, int64_t capacity)
{
    static const ewc_instruction_set sets[] = {EWC_ISA_PORTABLE, EWC_ISA_AVX2, EWC_ISA_AVX512};
    for (int form = 0; form < 8; form++) {
        product p = make_product(m, n, k, form);
        for (int s = 0; s < 3; s++) {
            if (!device_has(sets[s])) continue;
            opened_device *opened = device_open_bf16(sets[s], 1 + (form + s) % 3);
            if (capacity > 0) opened->device->bf16->capacity = capacity;
            check_product(opened->device, &p);
            device_close(opened);
        }
        arrays_free();
    }
}

static void small_products_are_right(void **state)
{
    (void)state;
    check_forms(1, 1, 1, 0);
    check_forms(3, 5, 7, 0);
    check_forms(17, 2, 33, 0);
    check_forms(1, 70, 32, 0);
}

static void products_of_several_tiles_are_right(void **state)
{
    (void)state;
    check_forms(EWCI_TILE_ROWS + 37, 67, 65, 0);
    check_forms(40, 2 * EWCI_TILE_COLUMNS + 7, 31, 0);
    check_forms(131, EWCI_TILE_COLUMNS + 1, 129, 0);
}

static void deep_products_are_summed_in_pieces(void **state)
{
    (void)state;
    check_forms(19, 23, EWCI_BF16_DEPTH + 1, 0);
    check_forms(5, 33, 2 * EWCI_BF16_DEPTH + 77, 0);
}

static void operands_beyond_the_scratch_are_converted_in_blocks(void **state)
{
    (void)state;
    check_forms(101, 203, 70, 96 * 33);  /* blocks of 33 */
    check_forms(203, 101, 70, 96 * 128); /* of 128: the smaller operand stays */
    check_forms(67, EWCI_TILE_COLUMNS + 300, 33, 64 * (int64_t)EWCI_TILE_COLUMNS); /* of one panel */
}

static void squares_of_products_are_right(void **state)
{
    static const int64_t sizes[][3] = {{7, 5, 3},
                                       {EWCI_TILE_ROWS + 5, EWCI_TILE_COLUMNS + 9, 41},
                                       {65, 40, 2 * 4096 + 9}};
    const float weight = 0.375F;
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        product p = make_product(sizes[s][0], sizes[s][1], sizes[s][2], 1);
        opened_device *opened = device_open_bf16(EWC_ISA_AUTO, 1 + (int)s);
        float *fisher = array_random(p.m * p.n, 4, 0.5), *before = array_copy(fisher, p.m * p.n);
        assert_int_equal(ewci_cpu_gemm_square(opened->device, p.m, p.n, p.k, p.a, p.lda, p.b, p.ldb, weight, fisher),
                         EWC_OK);
        for (int64_t i = 0; i < p.m * p.n; i++) {
            double sum = p.rounded[i], off = (double)(p.k + 1) * F32_UNIT * p.magnitude[i];
            double expected = (double)before[i] + (double)weight * sum * sum;
            double allowed = (double)weight * (2 * fabs(sum) + off) * off + 4 * F32_UNIT * fabs(expected) + 1e-7;
            assert_true(fabs((double)fisher[i] - expected) <= allowed);
        }
        device_close(opened);
        arrays_free();
    }
}

static void empty_products_do_nothing_and_empty_sums_are_zero(void **state)
{
    (void)state;
    opened_device *opened = device_open_bf16(EWC_ISA_AUTO, 2);
    float x = 1, c = 5;
    assert_int_equal(ewci_cpu_gemm(opened->device, false, false, 0, 4, 4, &x, 4, &x, 4, &c, 4, true), EWC_OK);
    assert_int_equal(ewci_cpu_gemm(opened->device, false, false, 4, 0, 4, &x, 4, &x, 1, &c, 1, true), EWC_OK);
    assert_int_equal(ewci_cpu_gemm(opened->device, false, false, 1, 1, 0, &x, 1, &x, 1, &c, 1, true), EWC_OK);
    assert_true(c == 5);
    c = NAN;
    assert_int_equal(ewci_cpu_gemm(opened->device, false, false, 1, 1, 0, &x, 1, &x, 1, &c, 1, false), EWC_OK);
    assert_true(c == 0);
    assert_int_equal(ewci_cpu_gemm_square(opened->device, 1, 1, 0, &x, 1, &x, 1, 1, &c), EWC_OK);
    assert_true(c == 0);
    device_close(opened);
}

/* A NaN in a row of A reaches that row of C and no other, even where B is zero. */
static void nan_is_not_swallowed(void **state)
{
    enum { N = 70 };
    (void)state;
    opened_device *opened = device_open_bf16(EWC_ISA_AUTO, 2);
    float *a = array_random((int64_t)N * N, 4, 1), *b = array_filled((int64_t)N * N, 0);
    float *c = array_filled((int64_t)N * N, 1);
    a[3 * N + 5] = NAN;
    assert_int_equal(ewci_cpu_gemm(opened->device, false, false, N, N, N, a, N, b, N, c, N, false), EWC_OK);
    for (int i = 0; i < N * N; i++) assert_true(i / N == 3 ? isnan(c[i]) : c[i] == 0);
    device_close(opened);
    arrays_free();
}

/* More shapes than a thread remembers, twice: what was forgotten is made again. */
static void any_number_of_shapes_can_follow_each_other(void **state)
{
    (void)state;
    opened_device *opened = device_open_bf16(EWC_ISA_AUTO, 2);
    for (int round = 0; round < 2; round++) {
        for (int64_t n = 1; n <= 150; n += 2) {
            product p = make_product(3, n, 5, (int)n % 8);
            check_product(opened->device, &p);
            arrays_free();
        }
    }
    device_close(opened);
}

static int threads_of_this_process(void)
{
    char line[128];
    int threads = 0;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) sscanf(line, "Threads: %d", &threads);
    fclose(file);
    return threads;
}

typedef struct watch {
    atomic_bool stop;
    int most; /* threads seen at a time, the watching one included */
} watch;

static void *watch_threads(void *argument)
{
    watch *w = argument;
    do {
        int now = threads_of_this_process();
        if (now > w->most) w->most = now;
    } while (!atomic_load(&w->stop));
    return NULL;
}

/* oneDNN would otherwise take as many as OpenMP offers; and what the host asked OpenMP for stays. */
static void a_context_of_one_thread_starts_no_other(void **state)
{
    (void)state;
#ifdef EWCI_ONEDNN
    omp_set_num_threads(5);
#endif
    watch w = {false, 0};
    pthread_t watching;
    opened_device *opened = device_open_bf16(EWC_ISA_AUTO, 1);
    int before = threads_of_this_process();
    assert_int_equal(pthread_create(&watching, NULL, watch_threads, &w), 0);
    product p = make_product(300, 200, 250, 0);
    for (int i = 0; i < 100; i++) check_product(opened->device, &p);
    atomic_store(&w.stop, true);
    pthread_join(watching, NULL);
    assert_in_range(w.most, before, before + 1);
#ifdef EWCI_ONEDNN
    assert_int_equal(omp_get_max_threads(), 5);
#endif
    device_close(opened);
    arrays_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_context_of_one_thread_starts_no_other),
        cmocka_unit_test(small_products_are_right),
        cmocka_unit_test(products_of_several_tiles_are_right),
        cmocka_unit_test(deep_products_are_summed_in_pieces),
        cmocka_unit_test(operands_beyond_the_scratch_are_converted_in_blocks),
        cmocka_unit_test(squares_of_products_are_right),
        cmocka_unit_test(empty_products_do_nothing_and_empty_sums_are_zero),
        cmocka_unit_test(nan_is_not_swallowed),
        cmocka_unit_test(any_number_of_shapes_can_follow_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
