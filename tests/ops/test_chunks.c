/* Chunks of the flat order: a bounded number that depends on the number of elements alone and covers each element once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cpu/chunks.h"
#include "support/devices.h"

typedef struct record {
    int64_t first[EWCI_MOST_CHUNKS], n[EWCI_MOST_CHUNKS];
    int visits[EWCI_MOST_CHUNKS];
} record;

static void note(void *job, int chunk, int64_t first, int64_t n)
{
    record *r = job;
    r->first[chunk] = first;
    r->n[chunk] = n;
    r->visits[chunk]++;
}

static const int64_t TOTALS[] =
    {0, 1, 8191, 8192, 8193, 1024 * 8192, 1024 * 8192 + 1, 123456789, (int64_t)1 << 40, INT64_MAX / 8};

static void check_chunks(ewci_device *device, const void *user)
{
    const record *expected = user;
    for (size_t k = 0; k < sizeof TOTALS / sizeof *TOTALS; k++) {
        record r;
        int64_t next = 0;
        memset(&r, 0, sizeof r);
        int count = ewci_chunk_count(TOTALS[k]);
        assert_true(count <= EWCI_MOST_CHUNKS);
        ewci_each_chunk(device, TOTALS[k], note, &r);
        for (int chunk = 0; chunk < count; chunk++) {
            assert_int_equal(r.visits[chunk], 1);
            assert_true(r.first[chunk] == next && r.n[chunk] > 0);
            assert_true(chunk == count - 1 || r.n[chunk] % EWCI_BLOCK == 0);
            next += r.n[chunk];
        }
        assert_true(next == TOTALS[k]);
        assert_memory_equal(r.first, expected[k].first, sizeof r.first);
    }
}

static void chunks_cover_each_element_once_and_are_the_same_for_every_number_of_threads(void **state)
{
    (void)state;
    static record expected[sizeof TOTALS / sizeof *TOTALS];
    opened_device *one = device_open(EWC_ISA_PORTABLE, 1);
    for (size_t k = 0; k < sizeof TOTALS / sizeof *TOTALS; k++)
        ewci_each_chunk(one->device, TOTALS[k], note, &expected[k]);
    device_close(one);
    each_device(check_chunks, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_cover_each_element_once_and_are_the_same_for_every_number_of_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
