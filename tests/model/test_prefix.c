/* Documents that continue a shared prefix are for evaluation: a backward pass through them is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "model/model.h"
#include "support/tiny.h"

static void a_backward_pass_through_a_shared_prefix_is_refused(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_model *model = tiny_model(ctx, 1);
    static const ewci_ce_mode modes[] = {EWCI_CE_TRAIN, EWCI_CE_SAMPLE};
    float *gradient = array_filled(ewc_model_parameter_count(model), 0), nll[6], weights[6] = {1, 1, 1, 1, 1, 1};
    int32_t *prefix_start = array_integers(6), *prefix_end = array_integers(6);
    tiny_batch b;
    tiny_batch_make(&b, 71, 1, 6, 3);
    for (int k = 0; k < 2; k++) {
        ewci_pass pass = {.batch = &b.batch,
                          .row_weight = weights,
                          .mode = modes[k],
                          .sink = {.gradient = gradient},
                          .nll = nll,
                          .prefix_start = prefix_start,
                          .prefix_end = prefix_end};
        assert_int_equal(ewci_model_run(model, &pass), EWC_ERROR_UNSUPPORTED);
        assert_non_null(strstr(ewc_last_error(ctx), "prefix"));
        pass.mode = EWCI_CE_LOSS;
        OK(ctx, ewci_model_run(model, &pass));
    }
    tiny_batch_free(&b);
    arrays_free();
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_backward_pass_through_a_shared_prefix_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
