/* Products may run at the same time on several threads (see lib/cpu/openblas_lock.c): each has the result it has alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "cpu/device.h"
#include "cpu/operations.h"
#include "support/tiny.h"

enum { THREADS = 4, M = 19, N = 21, K = 6, LARGE = 70, REPETITIONS = 400000 };

typedef struct operands {
    float a[LARGE * LARGE], b[LARGE * LARGE];
    float small[M * N], large[LARGE * LARGE]; /* results of one thread alone */
} operands;

typedef struct worker {
    const operands *o;
    pthread_barrier_t *start;
    int wrong;
} worker;

/* With a transposed operand, as in attention's scores: these are the products for which OpenBLAS packs even small ones. */
static void multiply_small(const operands *o, float *c)
{
    ewci_sgemm(false, true, M, N, K, 1.0F, o->a, K, o->b, K, 0.0F, c, N);
}

static void multiply_large(const operands *o, float *c)
{
    ewci_sgemm(false, true, LARGE, LARGE, LARGE, 1.0F, o->a, LARGE, o->b, LARGE, 0.0F, c, LARGE);
}

static void *run(void *argument)
{
    worker *w = argument;
    static _Thread_local float small[M * N], large[LARGE * LARGE];
    pthread_barrier_wait(w->start);
    for (int i = 0; i < REPETITIONS && w->wrong == 0; i++) {
        multiply_small(w->o, small);
        w->wrong += memcmp(small, w->o->small, sizeof small) != 0;
        if (i % 8 > 0) continue;
        multiply_large(w->o, large);
        w->wrong += memcmp(large, w->o->large, sizeof large) != 0;
    }
    return NULL;
}

static void concurrent_products_do_not_disturb_each_other(void **state)
{
    (void)state;
    operands *o = calloc(1, sizeof *o);
    pthread_t threads[THREADS];
    worker workers[THREADS];
    pthread_barrier_t start;
    for (int i = 0; i < LARGE * LARGE; i++) {
        o->a[i] = (float)tiny_number(1, (uint64_t)i);
        o->b[i] = (float)tiny_number(2, (uint64_t)i);
    }
    multiply_small(o, o->small);
    multiply_large(o, o->large);
    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (int t = 0; t < THREADS; t++) {
        workers[t] = (worker){o, &start, 0};
        assert_int_equal(pthread_create(&threads[t], NULL, run, &workers[t]), 0);
    }
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        assert_int_equal(workers[t].wrong, 0);
    }
    pthread_barrier_destroy(&start);
    free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(concurrent_products_do_not_disturb_each_other)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
