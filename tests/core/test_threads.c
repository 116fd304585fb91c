/* Parallel regions and slices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/threads.h"

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

static void every_index_runs_once_and_knows_the_count(void **state)
{
    (void)state;
    for (int threads = 1; threads <= MOST; threads += threads < 9 ? 1 : 30) {
        record r;
        memset(&r, 0, sizeof r);
        ewci_parallel(threads, note, &r);
        for (int i = 0; i < MOST; i++) {
            assert_int_equal(r.runs[i], i < threads);
            if (i < threads) assert_int_equal(r.counts[i], threads);
        }
    }
}

#ifndef EWCI_THREADS_PTHREAD
#include <omp.h>

static void note_setting(void *argument)
{
    *(int *)argument = omp_get_max_threads();
}

static void note_settings(void *argument, int index, int count)
{
    int *inside = argument, before = omp_get_max_threads();
    (void)count;
    ewci_alone(note_setting, &inside[index]);
    if (omp_get_max_threads() != before) inside[index] = -1;
}

static void openmp_is_alone_in_a_call_and_as_before_after_it(void **state)
{
    (void)state;
    const int outside = omp_get_max_threads();
    omp_set_num_threads(5);
    for (int threads = 1; threads <= 3; threads++) {
        int inside[3] = {0};
        ewci_parallel(threads, note_settings, inside);
        for (int i = 0; i < threads; i++) assert_int_equal(inside[i], 1);
        assert_int_equal(omp_get_max_threads(), 5);
    }
    omp_set_num_threads(outside);
}
#else
static void openmp_is_alone_in_a_call_and_as_before_after_it(void **state)
{
    (void)state;
    skip();
}
#endif

static void fewer_than_one_thread_is_one(void **state)
{
    (void)state;
    record r;
    memset(&r, 0, sizeof r);
    ewci_parallel(0, note, &r);
    ewci_parallel(-3, note, &r);
    assert_int_equal(r.runs[0], 2);
    assert_int_equal(r.counts[0], 1);
}

static void *region_in_a_thread(void *argument)
{
    for (int i = 0; i < 50; i++) ewci_parallel(3, note, argument);
    return NULL;
}

static void threads_of_the_host_have_regions_of_their_own(void **state)
{
    (void)state;
    enum { HOST_THREADS = 4 };
    pthread_t threads[HOST_THREADS];
    static record records[HOST_THREADS];
    for (int t = 0; t < HOST_THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, region_in_a_thread, &records[t]), 0);
    for (int t = 0; t < HOST_THREADS; t++) {
        pthread_join(threads[t], NULL);
        for (int i = 0; i < 3; i++) assert_int_equal(records[t].runs[i], 50);
    }
}

static void nested_region(void *argument, int index, int count)
{
    (void)count;
    ewci_parallel(2, note, (record *)argument + index);
}

static void a_region_inside_a_region_runs_every_index(void **state)
{
    (void)state;
    static record records[2];
    ewci_parallel(2, nested_region, records);
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < 2; i++) assert_int_equal(records[r].runs[i], 1);
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

static void threads_can_be_tried_out(void **state)
{
    (void)state;
    assert_int_equal(ewci_threads_startable(1), 1);
    assert_int_equal(ewci_threads_startable(5), 5);
}

/* In a process with little address space, stacks run out: the number that did start is told. */
static void threads_that_cannot_start_are_not_counted(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they need address space of their own */
#else
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit = {(rlim_t)256 << 20, (rlim_t)256 << 20};
        if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(9);
        int found = ewci_threads_startable(500);
        _exit(found >= 1 && found < 100 ? 0 : 1);
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
        cmocka_unit_test(openmp_is_alone_in_a_call_and_as_before_after_it),
        cmocka_unit_test(fewer_than_one_thread_is_one),
        cmocka_unit_test(threads_of_the_host_have_regions_of_their_own),
        cmocka_unit_test(a_region_inside_a_region_runs_every_index),
        cmocka_unit_test(slices_cover_everything_once_in_order),
        cmocka_unit_test(processors_are_at_least_one_and_at_most_those_online),
        cmocka_unit_test(threads_can_be_tried_out),
        cmocka_unit_test(threads_that_cannot_start_are_not_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
