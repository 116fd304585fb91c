/* rmsnorm_residual: out = x + norm(o, w_post); y = norm(out, w_pre). Forward against double precision, backward against central
 * differences of the double-precision forward. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"
#include "support/rmsnorm_reference.h"

static const float EPS = 0.03F;

/* The objective is sum(dy * y) + sum(dout * out): out goes on along the residual stream. */
typedef struct sandwich {
    int64_t rows, hidden;
    float *x, *o, *w_post, *w_pre, *dy, *dout;
    double *xd, *od, *w_postd, *w_pred;
    double *out, *y, *rstd_post, *rstd_pre;
    double *dx, *d_o, *dw_post, *dw_pre;
} sandwich;

static void forward(const sandwich *s)
{
    int64_t h = s->hidden;
    for (int64_t r = 0; r < s->rows; r++) {
        double *out = s->out + r * h;
        s->rstd_post[r] = reference_rstd(s->od + r * h, h, (double)EPS);
        reference_rmsnorm(out, s->od + r * h, s->w_postd, h, (double)EPS);
        for (int64_t i = 0; i < h; i++) out[i] += s->xd[r * h + i];
        s->rstd_pre[r] = reference_rstd(out, h, (double)EPS);
        reference_rmsnorm(s->y + r * h, out, s->w_pred, h, (double)EPS);
    }
}

static double objective(const void *user)
{
    const sandwich *s = user;
    double sum = 0;
    forward(s);
    for (int64_t i = 0; i < s->rows * s->hidden; i++)
        sum += (double)s->dy[i] * s->y[i] + (double)s->dout[i] * s->out[i];
    return sum;
}

static sandwich make_sandwich(int64_t rows, int64_t hidden)
{
    int64_t n = rows * hidden;
    sandwich s = {.rows = rows, .hidden = hidden};
    s.x = array_random(n, 1, 1);
    s.o = array_random(n, 2, 2);
    s.w_post = array_random(hidden, 3, 0.7);
    s.w_pre = array_random(hidden, 4, 0.7);
    s.dy = array_random(n, 5, 1);
    s.dout = array_random(n, 6, 1);
    s.xd = array_widened(s.x, n);
    s.od = array_widened(s.o, n);
    s.w_postd = array_widened(s.w_post, hidden);
    s.w_pred = array_widened(s.w_pre, hidden);
    double **all[] = {&s.out, &s.y, &s.dx, &s.d_o};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) *all[i] = array_doubles(n);
    s.rstd_post = array_doubles(rows);
    s.rstd_pre = array_doubles(rows);
    s.dw_post = array_doubles(hidden);
    s.dw_pre = array_doubles(hidden);
    central_differences(s.dx, s.xd, n, 1e-6, objective, &s);
    central_differences(s.d_o, s.od, n, 1e-6, objective, &s);
    central_differences(s.dw_post, s.w_postd, hidden, 1e-6, objective, &s);
    central_differences(s.dw_pre, s.w_pred, hidden, 1e-6, objective, &s);
    forward(&s);
    return s;
}

static float *narrowed(const double *x, int64_t n)
{
    float *y = array_filled(n, 0);
    for (int64_t i = 0; i < n; i++) y[i] = (float)x[i];
    return y;
}

static void check_forward(ewci_device *device, const void *user)
{
    const sandwich *s = user;
    int64_t n = s->rows * s->hidden;
    float *out = array_filled(n, NAN), *y = array_filled(n, NAN), *stream = array_copy(s->x, n);
    float *rstd_post = array_filled(s->rows, NAN), *rstd_pre = array_filled(s->rows, NAN),
          *y_in_place = array_filled(n, NAN);
    assert_int_equal(ewci_cpu_rmsnorm_residual_fwd(device, out, y, rstd_post, rstd_pre, s->x, s->o, s->w_post, s->w_pre,
                                                   s->rows, s->hidden, EPS),
                     EWC_OK);
    CLOSE(out, s->out, n, 1e-6);
    CLOSE(y, s->y, n, 1e-6);
    CLOSE(rstd_post, s->rstd_post, s->rows, 1e-6);
    CLOSE(rstd_pre, s->rstd_pre, s->rows, 1e-6);
    assert_int_equal(ewci_cpu_rmsnorm_residual_fwd(device, stream, y_in_place, rstd_post, rstd_pre, stream, s->o,
                                                   s->w_post, s->w_pre, s->rows, s->hidden, EPS),
                     EWC_OK);
    SAME(stream, out, n); /* out may be x */
    SAME(y_in_place, y, n);
}

static void check_backward(ewci_device *device, const void *user)
{
    const sandwich *s = user;
    int64_t n = s->rows * s->hidden, h = s->hidden;
    float *out = narrowed(s->out, n), *rstd_post = narrowed(s->rstd_post, s->rows),
          *rstd_pre = narrowed(s->rstd_pre, s->rows);
    float *dx = array_copy(s->dout, n), *d_o = array_filled(n, NAN);
    float *dw_post = array_filled(h, 1), *dw_pre = array_filled(h, -2);
    double *expected_post = array_doubles(h), *expected_pre = array_doubles(h);
    for (int64_t i = 0; i < h; i++) expected_post[i] = s->dw_post[i] + 1;
    for (int64_t i = 0; i < h; i++) expected_pre[i] = s->dw_pre[i] - 2;
    assert_int_equal(ewci_cpu_rmsnorm_residual_bwd(device, d_o, dx, dw_post, dw_pre, s->dy, out, s->o, s->w_post,
                                                   s->w_pre, rstd_post, rstd_pre, s->rows, h),
                     EWC_OK);
    CLOSE(dx, s->dx, n, 3e-6);
    CLOSE(d_o, s->d_o, n, 3e-6);
    CLOSE(dw_post, expected_post, h, 3e-6);
    CLOSE(dw_pre, expected_pre, h, 3e-6);

    float *dx_again = array_copy(s->dout, n), *shared = array_copy(s->dy, n), *dw_again = array_filled(h, -2);
    assert_int_equal(ewci_cpu_rmsnorm_residual_bwd(device, shared, dx_again, NULL, dw_again, shared, out, s->o,
                                                   s->w_post, s->w_pre, rstd_post, rstd_pre, s->rows, h),
                     EWC_OK);
    SAME(shared, d_o, n); /* d_o may be dy; dw_post may be unwanted */
    SAME(dx_again, dx, n);
    SAME(dw_again, dw_pre, h);
}

static void check_sizes(void (*check)(ewci_device *, const void *))
{
    static const int64_t sizes[][2] = {{1, 3}, {5, 7}, {4, 61}, {2, 145}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sandwich s = make_sandwich(sizes[i][0], sizes[i][1]);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_that_of_double_precision),
        cmocka_unit_test(backward_is_the_derivative),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
