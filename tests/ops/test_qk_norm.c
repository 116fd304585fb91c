/* qk_norm: against rmsnorm of every head by itself in double precision, backward by central differences. */
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

static const float EPS = 0.02F;

/* The objective is sum(dy * y). */
typedef struct norms {
    int64_t count, heads, kv_heads, head_dim, width, n;
    float *x, *w_q, *w_k, *dy;
    double *xd, *wd[2], *dyd, *y, *rstd, *dx, *dw[2];
} norms;

static void forward(const norms *s)
{
    for (int64_t t = 0; t < s->count; t++) {
        for (int64_t h = 0; h < s->heads + 2 * s->kv_heads; h++) {
            int64_t at = t * s->width + h * s->head_dim;
            for (int64_t i = 0; i < s->head_dim; i++) s->y[at + i] = s->xd[at + i];
            if (h >= s->heads + s->kv_heads) continue;
            s->rstd[t * (s->heads + s->kv_heads) + h] = reference_rstd(s->xd + at, s->head_dim, (double)EPS);
            reference_rmsnorm(s->y + at, s->xd + at, s->wd[h >= s->heads], s->head_dim, (double)EPS);
        }
    }
}

static double objective(const void *user)
{
    const norms *s = user;
    double sum = 0;
    forward(s);
    for (int64_t i = 0; i < s->n; i++) sum += s->dyd[i] * s->y[i];
    return sum;
}

static norms make_norms(int64_t count, int64_t heads, int64_t kv_heads, int64_t head_dim)
{
    norms s = {.count = count, .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim};
    s.width = (heads + 2 * kv_heads) * head_dim;
    s.n = count * s.width;
    s.x = array_random(s.n, 1, 1);
    s.w_q = array_random(head_dim, 2, 0.8);
    s.w_k = array_random(head_dim, 3, 0.8);
    s.dy = array_random(s.n, 4, 1);
    s.xd = array_widened(s.x, s.n);
    s.wd[0] = array_widened(s.w_q, head_dim);
    s.wd[1] = array_widened(s.w_k, head_dim);
    s.dyd = array_widened(s.dy, s.n);
    s.y = array_doubles(s.n);
    s.rstd = array_doubles(count * (heads + kv_heads));
    s.dx = array_doubles(s.n);
    central_differences(s.dx, s.xd, s.n, 1e-6, objective, &s);
    for (int k = 0; k < 2; k++) {
        s.dw[k] = array_doubles(head_dim);
        central_differences(s.dw[k], s.wd[k], head_dim, 1e-6, objective, &s);
    }
    forward(&s);
    return s;
}

static void check_forward(ewci_device *device, const void *user)
{
    const norms *s = user;
    int64_t normed = s->count * (s->heads + s->kv_heads);
    float *y = array_filled(s->n, NAN), *rstd = array_filled(normed, NAN);
    assert_int_equal(ewci_cpu_qk_norm_fwd(device, y, rstd, s->x, s->w_q, s->w_k, s->count, s->heads, s->kv_heads,
                                          s->head_dim, EPS),
                     EWC_OK);
    CLOSE(y, s->y, s->n, 1e-6);
    for (int64_t i = 0; i < normed; i++) CLOSE(rstd + i, s->rstd + i, 1, 1e-6);
}

static void backward(ewci_device *device, const norms *s, float *dx, float *dw_q, float *dw_k)
{
    int64_t normed = s->count * (s->heads + s->kv_heads);
    float *rstd = array_filled(normed, 0);
    for (int64_t i = 0; i < normed; i++) rstd[i] = (float)s->rstd[i];
    assert_int_equal(ewci_cpu_qk_norm_bwd(device, dx, dw_q, dw_k, s->x, s->w_q, s->w_k, rstd, s->count, s->heads,
                                          s->kv_heads, s->head_dim),
                     EWC_OK);
}

/* Weight gradients are added to what is there; either may be left out. */
static void check_backward(ewci_device *device, const void *user)
{
    const norms *s = user;
    float *dw[2] = {array_random(s->head_dim, 5, 2), array_random(s->head_dim, 6, 2)};
    double *expected[2];
    for (int k = 0; k < 2; k++) {
        expected[k] = array_widened(dw[k], s->head_dim);
        for (int64_t i = 0; i < s->head_dim; i++) expected[k][i] += s->dw[k][i];
    }
    float *dx = array_copy(s->dy, s->n), *again = array_copy(s->dy, s->n), *only_k = array_filled(s->head_dim, 0);
    backward(device, s, dx, dw[0], dw[1]);
    CLOSE(dx, s->dx, s->n, 3e-6);
    for (int k = 0; k < 2; k++) CLOSE(dw[k], expected[k], s->head_dim, 3e-6);
    backward(device, s, again, NULL, only_k);
    SAME(again, dx, s->n);
    CLOSE(only_k, s->dw[1], s->head_dim, 3e-6);
}

static void check_sizes(void (*check)(ewci_device *, const void *))
{
    static const int64_t sizes[][4] = {{1, 1, 1, 2}, {3, 4, 2, 6}, {2, 3, 1, 34}, {5, 2, 2, 16}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        norms s = make_norms(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3]);
        each_device(check, &s);
        arrays_free();
    }
}

static void every_head_is_normed_by_itself_and_values_pass(void **state)
{
    (void)state;
    check_sizes(check_forward);
}

static void backward_is_the_derivative(void **state)
{
    (void)state;
    check_sizes(check_backward);
}

static void gradients_have_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    norms s = make_norms(7, 3, 1, 34);
    float *first[3] = {0};
    for (int threads = 1; threads <= 5; threads++) {
        opened_device *opened = device_open(EWC_ISA_AUTO, threads);
        float *now[3] = {array_copy(s.dy, s.n), array_filled(34, 0), array_filled(34, 0)};
        backward(opened->device, &s, now[0], now[1], now[2]);
        for (int k = 0; k < 3; k++) {
            if (threads == 1) first[k] = now[k];
            SAME(now[k], first[k], k == 0 ? s.n : 34);
        }
        device_close(opened);
    }
    arrays_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_head_is_normed_by_itself_and_values_pass),
        cmocka_unit_test(backward_is_the_derivative),
        cmocka_unit_test(gradients_have_the_same_bits_for_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
