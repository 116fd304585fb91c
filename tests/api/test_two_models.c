/* Two contexts with a model each train at the same time in two threads, and get the bits that each gets alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "support/tiny.h"

enum { STEPS = 4 };

typedef struct job {
    uint64_t seed;
    float *weights;
    double loss;
} job;

static void *train(void *pointer)
{
    job *j = pointer;
    ewc_context *ctx = tiny_context(2);
    ewc_model *model = tiny_model(ctx, j->seed);
    ewc_trainer_options o;
    ewc_trainer *trainer = NULL;
    tiny_batch b;
    tiny_batch_make(&b, 71, 3, 12, j->seed + 40);
    ewc_trainer_options_default(&o);
    o.max_sequences = 3;
    o.max_length = 12;
    OK(ctx, ewc_trainer_create(model, &o, &trainer));
    for (int i = 0; i < STEPS; i++) {
        ewc_step_statistics s = {.struct_size = sizeof s};
        OK(ctx, ewc_trainer_step(trainer, 1, &b.batch, &s));
        j->loss = s.loss;
    }
    j->weights = tiny_weights(model);
    tiny_batch_free(&b);
    ewc_trainer_destroy(trainer);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
    return NULL;
}

static void contexts_do_not_disturb_each_other(void **state)
{
    (void)state;
    job alone[2] = {{1, NULL, 0}, {2, NULL, 0}}, together[2] = {{1, NULL, 0}, {2, NULL, 0}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) train(&alone[i]);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, train, &together[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    ewc_context *ctx = tiny_context(1);
    ewc_model *model = tiny_model(ctx, 1);
    size_t bytes = (size_t)ewc_model_parameter_count(model) * sizeof(float);
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(alone[i].weights, together[i].weights, bytes);
        assert_true(alone[i].loss == together[i].loss);
        free(alone[i].weights);
        free(together[i].weights);
    }
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(contexts_do_not_disturb_each_other)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
