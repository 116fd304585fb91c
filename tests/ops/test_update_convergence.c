/* Where repeated updates come to rest. On L(w) = sum h/2 (w - t)^2 with the penalty lambda/2 sum F (w - a)^2 the minimum is
 * w* = (h t + lambda F a) / (h + lambda F). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/operations.h"
#include "support/devices.h"
#include "support/update_reference.h"

enum { N = 48, STEPS = 6000 };

static float curvature(int64_t i)
{
    return (float)pow(10, (double)(i % 4) - 3); /* 1e-3 to 1: Adam's scale differs from weight to weight */
}

static float target(int64_t i)
{
    return 0.5F * (float)tiny_number(11, (uint64_t)i);
}

/* Largest |w - w*| after STEPS steps with a learning rate that falls to zero. */
static double distance_from_minimum(ewci_device *device, ewc_penalty_form form, double lambda)
{
    update_arrays x = update_arrays_make(N);
    ewc_update_buffers buffers = update_arrays_buffers(&x);
    ewc_update_options o = update_options_of(form, lambda);
    double worst = 0;
    o.weight_decay = 0;
    o.gradient_scale = 1;
    o.epsilon = 1e-8;
    for (int64_t i = 0; i < N; i++) {
        x.m[i] = x.v[i] = 0;
        x.f[i] = (float)pow(10, -(double)(i % 5));
        x.a[i] = 0.5F * (float)tiny_number(12, (uint64_t)i);
        x.w[i] = x.a[i];
    }
    for (int step = 1; step <= STEPS; step++) {
        o.step = step;
        o.learning_rate = 1e-2 * (1.0 - (step - 1.0) / STEPS);
        for (int64_t i = 0; i < N; i++) x.g[i] = curvature(i) * (x.w[i] - target(i));
        assert_int_equal(ewci_cpu_update(device, N, &buffers, &o, NULL), EWC_OK);
    }
    for (int64_t i = 0; i < N; i++) {
        double h = (double)curvature(i), strength = lambda * (double)x.f[i];
        double minimum = (h * (double)target(i) + strength * (double)x.a[i]) / (h + strength);
        worst = fmax(worst, fabs((double)x.w[i] - minimum));
    }
    arrays_free();
    return worst;
}

/* A hundredth of the distance between target and anchor would be a wrong fixed point; 1e-4 is Adam's own unrest at the end. */
static void check_form(ewc_penalty_form form, const double *lambdas, size_t count)
{
    opened_device *opened = device_open(EWC_ISA_AUTO, 1);
    for (size_t k = 0; k < count; k++) {
        double distance = distance_from_minimum(opened->device, form, lambdas[k]);
        if (!(distance <= 1e-4)) print_error("lambda %g: %g from the minimum\n", lambdas[k], distance);
        assert_true(distance <= 1e-4);
    }
    device_close(opened);
}

static void plain_adamw_comes_to_rest_at_the_minimum_of_the_task(void **state)
{
    (void)state;
    const double lambdas[] = {0.0};
    check_form(EWC_PENALTY_NONE, lambdas, 1);
}

static void the_proximal_form_comes_to_rest_at_the_penalised_minimum_for_every_lambda(void **state)
{
    (void)state;
    const double lambdas[] = {1e-3, 1e-2, 0.1, 1, 10, 100, 1e4, 1e6, 1e9, 1e12};
    check_form(EWC_PENALTY_PROXIMAL, lambdas, sizeof lambdas / sizeof *lambdas);
}

static void the_gradient_form_comes_to_rest_at_the_penalised_minimum_for_small_lambda(void **state)
{
    (void)state;
    const double lambdas[] = {1e-3, 1e-2, 0.1, 1};
    check_form(EWC_PENALTY_GRADIENT, lambdas, sizeof lambdas / sizeof *lambdas);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_adamw_comes_to_rest_at_the_minimum_of_the_task),
        cmocka_unit_test(the_proximal_form_comes_to_rest_at_the_penalised_minimum_for_every_lambda),
        cmocka_unit_test(the_gradient_form_comes_to_rest_at_the_penalised_minimum_for_small_lambda),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
