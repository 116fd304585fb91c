/* embed: x_t = scale E[token_t], and its backward, in token order whatever the number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

enum { VOCAB = 11, COUNT = 57, HIDDEN = 83 };

static const float SCALE = 9.75F;

typedef struct embedding {
    float *table, *dx, *before;
    int32_t *tokens;
    double *x, *dtable;
} embedding;

static embedding make_embedding(void)
{
    embedding e = {array_random(VOCAB * HIDDEN, 1, 1), array_random(COUNT * HIDDEN, 2, 1),
                   array_random(VOCAB * HIDDEN, 3, 4), array_integers(COUNT),
                   array_doubles(COUNT * HIDDEN),      NULL};
    e.dtable = array_widened(e.before, VOCAB * HIDDEN);
    for (int64_t t = 0; t < COUNT; t++) {
        int64_t token = e.tokens[t] = (int32_t)(t * t % (VOCAB - 1)); /* many twice, the last never */
        for (int64_t i = 0; i < HIDDEN; i++) {
            e.x[t * HIDDEN + i] = (double)SCALE * (double)e.table[token * HIDDEN + i];
            e.dtable[token * HIDDEN + i] += (double)SCALE * (double)e.dx[t * HIDDEN + i];
        }
    }
    return e;
}

static void check_forward(ewci_device *device, const void *user)
{
    const embedding *e = user;
    float *x = array_filled(COUNT * HIDDEN, NAN);
    assert_int_equal(ewci_cpu_embed_fwd(device, x, e->table, e->tokens, COUNT, HIDDEN, SCALE), EWC_OK);
    CLOSE(x, e->x, COUNT * HIDDEN, 1e-7);
}

static void check_backward(ewci_device *device, const void *user)
{
    const embedding *e = user;
    float *dtable = array_copy(e->before, VOCAB * HIDDEN);
    assert_int_equal(ewci_cpu_embed_bwd(device, dtable, e->dx, e->tokens, COUNT, HIDDEN, SCALE), EWC_OK);
    CLOSE(dtable, e->dtable, VOCAB * HIDDEN, 1e-6);
    SAME(dtable + (VOCAB - 1) * HIDDEN, e->before + (VOCAB - 1) * HIDDEN, HIDDEN);
}

static void rows_of_the_table_are_scaled(void **state)
{
    (void)state;
    embedding e = make_embedding();
    each_device(check_forward, &e);
    arrays_free();
}

static void gradients_of_a_token_are_added_up(void **state)
{
    (void)state;
    embedding e = make_embedding();
    each_device(check_backward, &e);
    arrays_free();
}

static void backward_has_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    embedding e = make_embedding();
    float *first = array_copy(e.before, VOCAB * HIDDEN);
    for (int threads = 1; threads <= 7; threads++) {
        opened_device *opened = device_open(EWC_ISA_AUTO, threads);
        float *dtable = threads == 1 ? first : array_copy(e.before, VOCAB * HIDDEN);
        assert_int_equal(ewci_cpu_embed_bwd(opened->device, dtable, e.dx, e.tokens, COUNT, HIDDEN, SCALE), EWC_OK);
        SAME(dtable, first, VOCAB * HIDDEN);
        device_close(opened);
    }
    arrays_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_the_table_are_scaled),
        cmocka_unit_test(gradients_of_a_token_are_added_up),
        cmocka_unit_test(backward_has_the_same_bits_for_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
