/* Philox against the known answers of its authors, and what is drawn from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"

/* Random123 1.09, kat_vectors: philox4x32 with 10 rounds. */
static void philox_gives_the_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], answer[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t out[4];
        ewci_philox_block(cases[i].counter, cases[i].key, out);
        assert_memory_equal(out, cases[i].answer, sizeof out);
    }
}

static void every_part_of_the_address_matters(void **state)
{
    (void)state;
    uint32_t words[7][4];
    ewci_philox(5, EWCI_STREAM_INIT, 7, 11, words[0]);
    ewci_philox(6, EWCI_STREAM_INIT, 7, 11, words[1]);
    ewci_philox(5 + ((uint64_t)1 << 32), EWCI_STREAM_INIT, 7, 11, words[2]);
    ewci_philox(5, EWCI_STREAM_ORDER, 7, 11, words[3]);
    ewci_philox(5, EWCI_STREAM_INIT, 8, 11, words[4]);
    ewci_philox(5, EWCI_STREAM_INIT, 7, 11 + ((uint64_t)1 << 40), words[5]);
    ewci_philox(5, EWCI_STREAM_INIT, 7 + ((uint64_t)1 << 40), 11, words[6]);
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < i; j++) assert_memory_not_equal(words[i], words[j], sizeof words[i]);
}

static void uniform_numbers_have_the_moments_of_the_interval(void **state)
{
    (void)state;
    enum { N = 100000 };
    double sum = 0, squares = 0, least = 1, most = 0;
    for (uint64_t i = 0; i < N; i++) {
        double u = ewci_uniform(1, EWCI_STREAM_LABELS, 0, i);
        sum += u;
        squares += u * u;
        least = fmin(least, u);
        most = fmax(most, u);
    }
    assert_true(least > 0 && most < 1);
    assert_true(fabs(sum / N - 0.5) < 4 * sqrt(1.0 / 12 / N)); /* four standard errors */
    assert_true(fabs(squares / N - 1.0 / 3) < 4 * sqrt(4.0 / 45 / N));
}

static void normal_numbers_have_the_moments_of_the_distribution(void **state)
{
    (void)state;
    enum { N = 100000 };
    double moment[5] = {0};
    for (uint64_t i = 0; i < N; i++) {
        double z = ewci_normal(2, EWCI_STREAM_INIT, 3, i), power = 1;
        for (int m = 0; m < 5; m++, power *= z) moment[m] += power / N;
    }
    assert_true(fabs(moment[1]) < 4 * sqrt(1.0 / N));
    assert_true(fabs(moment[2] - 1) < 4 * sqrt(2.0 / N));
    assert_true(fabs(moment[3]) < 4 * sqrt(15.0 / N));
    assert_true(fabs(moment[4] - 3) < 4 * sqrt(96.0 / N));
}

static void a_permutation_meets_every_index_once(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000, 4097, 65536};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        uint64_t n = sizes[s];
        unsigned char *met = calloc(n, 1);
        assert_non_null(met);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t image = ewci_permute(9, 2, n, i);
            assert_true(image < n);
            assert_int_equal(met[image]++, 0);
        }
        free(met);
    }
}

/* Over many epochs, the first index goes everywhere equally often: chi-squared below its 99.99th percentile. */
static void check_first_place(uint64_t n, double percentile)
{
    enum { EPOCHS = 5000 };
    int count[16] = {0};
    double chi = 0, mean = (double)EPOCHS / (double)n;
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) count[ewci_permute(4, epoch, n, 0)]++;
    for (uint64_t i = 0; i < n; i++) chi += (count[i] - mean) * (count[i] - mean) / mean;
    assert_true(chi < percentile);
}

static void permutations_favour_no_place(void **state)
{
    (void)state;
    check_first_place(2, 15.14);
    check_first_place(3, 18.42);
    check_first_place(5, 23.51);
    check_first_place(16, 44.26);
}

static void permutations_differ_by_seed_and_epoch(void **state)
{
    (void)state;
    enum { N = 1000 };
    int same_seed = 0, same_epoch = 0, fixed = 0;
    for (uint64_t i = 0; i < N; i++) {
        uint64_t image = ewci_permute(1, 1, N, i);
        same_seed += image == ewci_permute(1, 2, N, i);
        same_epoch += image == ewci_permute(2, 1, N, i);
        fixed += image == i;
        assert_true(image == ewci_permute(1, 1, N, i));
    }
    assert_true(same_seed < 10 && same_epoch < 10 && fixed < 10); /* one is expected */
}

static void permutations_of_large_ranges_stay_in_them(void **state)
{
    (void)state;
    uint64_t n = (uint64_t)1 << 62;
    for (uint64_t i = 0; i < 1000; i++) assert_true(ewci_permute(3, 0, n, n - 1 - i) < n);
    assert_true(ewci_permute(3, 0, 0, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(every_part_of_the_address_matters),
        cmocka_unit_test(uniform_numbers_have_the_moments_of_the_interval),
        cmocka_unit_test(normal_numbers_have_the_moments_of_the_distribution),
        cmocka_unit_test(a_permutation_meets_every_index_once),
        cmocka_unit_test(permutations_favour_no_place),
        cmocka_unit_test(permutations_differ_by_seed_and_epoch),
        cmocka_unit_test(permutations_of_large_ranges_stay_in_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
