/* Parallel regions and slices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/context.h"
#include "core/status.h"
#include "core/threads.h"
#include "support/bare.h"

enum { MOST = 100 };

typedef struct record {
    int runs[MOST], counts[MOST];
} record;

static void note(void *argument, int index, int count)
{
    record *r = argument;
    r->runs[index]++;
    r->counts[index] = count;
}

static ewci_pool *open_pool(bare *b, int threads)
{
    ewci_pool *pool = NULL;
    assert_int_equal(ewci_pool_create(bare_open(b), threads, &pool), EWC_OK);
    return pool;
}

static void close_pool(bare *b, ewci_pool *pool)
{
    ewci_pool_destroy(&b->ctx, pool);
    bare_close(b);
}

static void every_index_runs_once_and_knows_the_count(void **state)
{
    (void)state;
    bare b;
    for (int threads = 1; threads <= 9; threads += 2) {
        ewci_pool *pool = open_pool(&b, threads);
        for (int round = 0; round < 300; round++) {
            for (int count = 1; count <= threads + 2; count++) {
                record r;
                memset(&r, 0, sizeof r);
                ewci_parallel(pool, count, note, &r);
                for (int i = 0; i < MOST; i++) {
                    assert_int_equal(r.runs[i], i < count);
                    if (i < count) assert_int_equal(r.counts[i], count);
                }
            }
        }
        close_pool(&b, pool);
    }
}

static void a_region_after_a_pause_finds_sleeping_threads(void **state)
{
    (void)state;
    bare b;
    ewci_pool *pool = open_pool(&b, 3);
    record r;
    memset(&r, 0, sizeof r);
    for (int round = 0; round < 20; round++) {
        usleep(2000);
        ewci_parallel(pool, 3, note, &r);
    }
    for (int i = 0; i < 3; i++) assert_int_equal(r.runs[i], 20);
    close_pool(&b, pool);
}

typedef struct meeting {
    atomic_int arrived;
    pthread_t here[2];
} meeting;

/* Waits for the other, but not for ever: a pool that is one thread is found out. */
static void meet(void *argument, int index, int count)
{
    meeting *m = argument;
    m->here[index] = pthread_self();
    atomic_fetch_add(&m->arrived, 1);
    for (int i = 0; i < 2000 && atomic_load(&m->arrived) < count; i++) usleep(1000);
}

static void two_threads_run_at_the_same_time(void **state)
{
    (void)state;
    bare b;
    ewci_pool *pool = open_pool(&b, 2);
    meeting m = {0};
    usleep(20000); /* the other one sleeps by now */
    ewci_parallel(pool, 2, meet, &m);
    assert_false(pthread_equal(m.here[0], m.here[1]));
    close_pool(&b, pool);
}

/* Index 0 is done as soon as index 1 has begun, which takes longer than the caller spins: it has to be woken. */
static void take_long(void *argument, int index, int count)
{
    meet(argument, index, count);
    if (index == 1) usleep(5000);
}

static void a_caller_that_sleeps_is_woken(void **state)
{
    (void)state;
    bare b;
    ewci_pool *pool = open_pool(&b, 2);
    alarm(20); /* a call that is never woken would hang */
    for (int round = 0; round < 10; round++) {
        meeting m = {0};
        ewci_parallel(pool, 2, take_long, &m);
        assert_int_equal(atomic_load(&m.arrived), 2);
    }
    alarm(0);
    close_pool(&b, pool);
}

static void fewer_than_one_index_is_one(void **state)
{
    (void)state;
    bare b;
    ewci_pool *pool = open_pool(&b, 2);
    record r;
    memset(&r, 0, sizeof r);
    ewci_parallel(pool, 0, note, &r);
    ewci_parallel(pool, -3, note, &r);
    ewci_parallel(NULL, -3, note, &r);
    assert_int_equal(r.runs[0], 3);
    assert_int_equal(r.counts[0], 1);
    close_pool(&b, pool);
}

static void *regions_in_a_thread(void *argument)
{
    bare b;
    ewci_pool *pool = open_pool(&b, 3);
    for (int i = 0; i < 500; i++) ewci_parallel(pool, 3, note, argument);
    close_pool(&b, pool);
    return NULL;
}

static void pools_do_not_disturb_each_other(void **state)
{
    (void)state;
    enum { HOST_THREADS = 4 };
    pthread_t threads[HOST_THREADS];
    static record records[HOST_THREADS];
    for (int t = 0; t < HOST_THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, regions_in_a_thread, &records[t]), 0);
    for (int t = 0; t < HOST_THREADS; t++) {
        pthread_join(threads[t], NULL);
        for (int i = 0; i < 3; i++) assert_int_equal(records[t].runs[i], 500);
    }
}

typedef struct nest {
    ewci_pool *pool;
    record records[2];
} nest;

static void nested_region(void *argument, int index, int count)
{
    nest *n = argument;
    (void)count;
    ewci_parallel(n->pool, 2, note, &n->records[index]);
}

static void a_region_inside_a_region_runs_every_index(void **state)
{
    (void)state;
    bare b;
    nest n = {.pool = open_pool(&b, 2)};
    ewci_parallel(n.pool, 2, nested_region, &n);
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < 2; i++) assert_int_equal(n.records[r].runs[i], 1);
    close_pool(&b, n.pool);
}

static void a_forked_child_works_alone(void **state)
{
    (void)state;
    bare b;
    ewci_pool *pool = open_pool(&b, 2);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        record r;
        memset(&r, 0, sizeof r);
        alarm(20);
        ewci_parallel(pool, 2, note, &r);
        ewci_pool_destroy(&b.ctx, pool);
        _exit(r.runs[0] == 1 && r.runs[1] == 1 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close_pool(&b, pool);
}

static void signals_of_the_host_stay_with_its_threads(void **state)
{
    (void)state;
    bare b;
    sigset_t before, after;
    memset(&before, 0, sizeof before); /* the system sets a part of it */
    memset(&after, 0, sizeof after);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    ewci_pool *pool = open_pool(&b, 2);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_memory_equal(&before, &after, sizeof before);
    close_pool(&b, pool);
}

static ewc_status create_and_destroy(ewc_context *ctx, void *unused)
{
    ewci_pool *pool;
    (void)unused;
    EWCI_TRY(ewci_pool_create(ctx, 2, &pool));
    ewci_pool_destroy(ctx, pool);
    return EWC_OK;
}

static void without_memory_there_is_no_pool(void **state)
{
    (void)state;
    assert_true(bare_starve(create_and_destroy, NULL) >= 2);
}

static void slices_cover_everything_once_in_order(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 2, 15, 16, 17, 100, 1000003, INT64_MAX / 2};
    static const int64_t aligns[] = {1, 16, 4096};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t a = 0; a < sizeof aligns / sizeof *aligns; a++) {
            for (int count = 1; count < 40; count += 3) {
                int64_t expected = 0, least = INT64_MAX, most = 0;
                for (int i = 0; i < count; i++) {
                    int64_t begin, end;
                    ewci_slice(sizes[s], aligns[a], i, count, &begin, &end);
                    assert_true(begin == expected && end >= begin && end <= sizes[s]);
                    assert_true(begin % aligns[a] == 0 || begin == sizes[s]);
                    expected = end;
                    least = end - begin < least ? end - begin : least;
                    most = end - begin > most ? end - begin : most;
                }
                assert_true(expected == sizes[s]);
                assert_true(most - least <= 2 * aligns[a]); /* even, but for one block and the ragged end */
            }
        }
    }
}

static void processors_are_at_least_one_and_at_most_those_online(void **state)
{
    (void)state;
    assert_in_range(ewci_processor_count(), 1, sysconf(_SC_NPROCESSORS_CONF));
}

/* In a process with little address space, stacks run out: nothing is left behind, and the number that did start is told. */
static void threads_that_cannot_start_are_an_error(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they need address space of their own */
#else
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bare b;
        ewci_pool *pool;
        struct rlimit limit = {(rlim_t)256 << 20, (rlim_t)256 << 20};
        ewc_context *ctx = bare_open(&b);
        if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(9);
        if (ewci_pool_create(ctx, 500, &pool) != EWC_ERROR_DEVICE || b.live != 0) _exit(1);
        _exit(strstr(ctx->error, "threads: expected 500, the system starts ") != NULL ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_runs_once_and_knows_the_count),
        cmocka_unit_test(a_region_after_a_pause_finds_sleeping_threads),
        cmocka_unit_test(two_threads_run_at_the_same_time),
        cmocka_unit_test(a_caller_that_sleeps_is_woken),
        cmocka_unit_test(fewer_than_one_index_is_one),
        cmocka_unit_test(pools_do_not_disturb_each_other),
        cmocka_unit_test(a_region_inside_a_region_runs_every_index),
        cmocka_unit_test(a_forked_child_works_alone),
        cmocka_unit_test(signals_of_the_host_stay_with_its_threads),
        cmocka_unit_test(without_memory_there_is_no_pool),
        cmocka_unit_test(threads_that_cannot_start_are_an_error),
        cmocka_unit_test(slices_cover_everything_once_in_order),
        cmocka_unit_test(processors_are_at_least_one_and_at_most_those_online),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
