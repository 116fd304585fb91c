/* rmsnorm: forward against double precision, backward against central differences of the double-precision forward. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"
#include "support/rmsnorm_reference.h"

static const float EPS = 0.02F; /* large: an eps outside the mean or forgotten shows */

/* One norm, and the objective sum(dy * y) whose gradient the backward pass is. */
typedef struct norm {
    int64_t rows, hidden;
    float *x, *w, *dy;
    double *xd, *wd, *dyd; /* the same in double */
    double *y, *rstd, *dx, *dw;
} norm;

static void forward(const norm *n, double *y, double *rstd)
{
    for (int64_t r = 0; r < n->rows; r++) {
        rstd[r] = reference_rstd(n->xd + r * n->hidden, n->hidden, (double)EPS);
        reference_rmsnorm(y + r * n->hidden, n->xd + r * n->hidden, n->wd, n->hidden, (double)EPS);
    }
}

static double objective(const void *user)
{
    const norm *n = user;
    double sum = 0;
    forward(n, n->y, n->rstd);
    for (int64_t i = 0; i < n->rows * n->hidden; i++) sum += n->dyd[i] * n->y[i];
    return sum;
}

static norm make_norm(int64_t rows, int64_t hidden)
{
    int64_t n = rows * hidden;
    norm s = {.rows = rows, .hidden = hidden};
    s.x = array_random(n, 1, 1);
    s.w = array_random(hidden, 2, 0.8);
    s.dy = array_random(n, 3, 1);
    for (int64_t i = 0; i < hidden && rows > 1; i++) s.x[i] *= 1e-3F; /* a row that eps dominates */
    s.xd = array_widened(s.x, n);
    s.wd = array_widened(s.w, hidden);
    s.dyd = array_widened(s.dy, n);
    s.y = array_doubles(n);
    s.rstd = array_doubles(rows);
    s.dx = array_doubles(n);
    s.dw = array_doubles(hidden);
    central_differences(s.dx, s.xd, n, 1e-6, objective, &s);
    central_differences(s.dw, s.wd, hidden, 1e-6, objective, &s);
    forward(&s, s.y, s.rstd);
    return s;
}

/* A mean of n squares in f32 is off by at most n eps / 16 with 16 partial sums; the rest is a few roundings. */
static void check_forward(ewci_device *device, const void *user)
{
    const norm *s = user;
    float *y = array_filled(s->rows * s->hidden, NAN), *rstd = array_filled(s->rows, NAN);
    assert_int_equal(ewci_cpu_rmsnorm_fwd(device, y, rstd, s->x, s->w, s->rows, s->hidden, EPS), EWC_OK);
    CLOSE(y, s->y, s->rows * s->hidden, 1e-6);
    for (int64_t r = 0; r < s->rows; r++) CLOSE(rstd + r, s->rstd + r, 1, 1e-6);
}

static float *rstd_of(const norm *s)
{
    float *rstd = array_filled(s->rows, 0);
    for (int64_t r = 0; r < s->rows; r++) rstd[r] = (float)s->rstd[r];
    return rstd;
}

static void check_backward(ewci_device *device, const void *user)
{
    const norm *s = user;
    int64_t n = s->rows * s->hidden;
    float *dx = array_filled(n, NAN), *again = array_filled(n, NAN), *dw = array_filled(s->hidden, 0),
          *rstd = rstd_of(s);
    assert_int_equal(ewci_cpu_rmsnorm_bwd(device, dx, dw, s->dy, s->x, s->w, rstd, s->rows, s->hidden, false), EWC_OK);
    for (int64_t r = 0; r < s->rows; r++) CLOSE(dx + r * s->hidden, s->dx + r * s->hidden, s->hidden, 3e-6);
    CLOSE(dw, s->dw, s->hidden, 3e-6);
    assert_int_equal(ewci_cpu_rmsnorm_bwd(device, again, NULL, s->dy, s->x, s->w, rstd, s->rows, s->hidden, false),
                     EWC_OK);
    SAME(again, dx, n); /* without dw; and the same bits again */
}

static void check_accumulation(ewci_device *device, const void *user)
{
    const norm *s = user;
    int64_t n = s->rows * s->hidden;
    float *dx = array_random(n, 9, 2), *dw = array_random(s->hidden, 10, 3);
    double *expected_dx = array_widened(dx, n), *expected_dw = array_widened(dw, s->hidden);
    for (int64_t i = 0; i < n; i++) expected_dx[i] += s->dx[i];
    for (int64_t i = 0; i < s->hidden; i++) expected_dw[i] += s->dw[i];
    assert_int_equal(ewci_cpu_rmsnorm_bwd(device, dx, dw, s->dy, s->x, s->w, rstd_of(s), s->rows, s->hidden, true),
                     EWC_OK);
    CLOSE(dx, expected_dx, n, 3e-6);
    CLOSE(dw, expected_dw, s->hidden, 3e-6);
}

/* dx may be dy. */
static void check_in_place(ewci_device *device, const void *user)
{
    const norm *s = user;
    int64_t n = s->rows * s->hidden;
    float *dx = array_copy(s->dy, n), *dw = array_filled(s->hidden, 0);
    assert_int_equal(ewci_cpu_rmsnorm_bwd(device, dx, dw, dx, s->x, s->w, rstd_of(s), s->rows, s->hidden, false),
                     EWC_OK);
    for (int64_t r = 0; r < s->rows; r++) CLOSE(dx + r * s->hidden, s->dx + r * s->hidden, s->hidden, 3e-6);
    CLOSE(dw, s->dw, s->hidden, 3e-6);
}

static void check_sizes(void (*check)(ewci_device *, const void *))
{
    static const int64_t sizes[][2] = {{1, 1}, {5, 7}, {3, 16}, {4, 101}, {2, 259}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        norm s = make_norm(sizes[i][0], sizes[i][1]);
        each_device(check, &s);
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

static void gradients_are_added_to_what_is_there(void **state)
{
    (void)state;
    check_sizes(check_accumulation);
}

static void backward_works_in_place(void **state)
{
    (void)state;
    check_sizes(check_in_place);
}

static void weight_gradients_have_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    norm s = make_norm(9, 83);
    float *first = array_filled(83, 0), *dx = array_filled(9 * 83, 0), *rstd = rstd_of(&s);
    for (int threads = 1; threads <= 7; threads++) {
        opened_device *opened = device_open(EWC_ISA_AUTO, threads);
        float *dw = threads == 1 ? first : array_filled(83, 0);
        assert_int_equal(ewci_cpu_rmsnorm_bwd(opened->device, dx, dw, s.dy, s.x, s.w, rstd, 9, 83, false), EWC_OK);
        SAME(dw, first, 83);
        device_close(opened);
    }
    arrays_free();
}

static void wide_rows_keep_their_precision(void **state)
{
    (void)state;
    norm s = make_norm(1, 1);
    s.rows = 3;
    s.hidden = 9001;
    s.x = array_random(s.rows * s.hidden, 1, 1);
    s.w = array_random(s.hidden, 2, 0.8);
    s.xd = array_widened(s.x, s.rows * s.hidden);
    s.wd = array_widened(s.w, s.hidden);
    s.y = array_doubles(s.rows * s.hidden);
    s.rstd = array_doubles(s.rows);
    forward(&s, s.y, s.rstd);
    each_device(check_forward, &s);
    arrays_free();
}

static void a_row_of_zeros_stays_zero(void **state)
{
    (void)state;
    opened_device *opened = device_open(EWC_ISA_AUTO, 1);
    float x[5] = {0}, w[5] = {1, 2, 3, 4, 5}, y[5], dx[5], dy[5] = {1, 1, 1, 1, 1}, rstd = 0;
    assert_int_equal(ewci_cpu_rmsnorm_fwd(opened->device, y, &rstd, x, w, 1, 5, 1e-6F), EWC_OK);
    assert_int_equal(ewci_cpu_rmsnorm_bwd(opened->device, dx, NULL, dy, x, w, &rstd, 1, 5, false), EWC_OK);
    for (int i = 0; i < 5; i++) assert_true(y[i] == 0 && isfinite(dx[i]));
    device_close(opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_that_of_double_precision),
        cmocka_unit_test(backward_is_the_derivative),
        cmocka_unit_test(gradients_are_added_to_what_is_there),
        cmocka_unit_test(backward_works_in_place),
        cmocka_unit_test(weight_gradients_have_the_same_bits_for_any_number_of_threads),
        cmocka_unit_test(wide_rows_keep_their_precision),
        cmocka_unit_test(a_row_of_zeros_stays_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
