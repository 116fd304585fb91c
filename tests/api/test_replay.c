/* ewc_replay_count and ewc_data_replay_batch: old text among new, by its definition and by counting. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libewc.h"
#include "support/files.h"
#include "support/tiny.h"

static const double SHARES[] = {0, 1e-3, 0.05, 0.1, 0.15, 0.25, 1.0 / 3, 0.5, 0.7, 0.95, 0.999, 1};
enum { SHARE_COUNT = sizeof SHARES / sizeof *SHARES, LENGTH = 3, NEW = 13, OLD = 5, NEW_BASE = 1000, OLD_BASE = 5000 };

typedef struct texts {
    ewc_context *ctx;
    ewc_data *data, *replay;
} texts;

/* Sequences of LENGTH tokens base, base + 1, ...: a sequence's first token tells its number and where it is from. */
static ewc_data *open_numbers(ewc_context *ctx, const char *name, int64_t sequences, int32_t base, int64_t length)
{
    int32_t ids[LENGTH * NEW + 1];
    const char *path = files_path(name);
    ewc_data *data = NULL;
    for (int64_t i = 0; i < LENGTH * sequences + 1; i++) ids[i] = base + (int32_t)i;
    OK(ctx, ewc_npy_write_tokens(ctx, path, ids, LENGTH * sequences + 1, 1));
    OK(ctx, ewc_data_open(ctx, 1, &path, length, &data));
    return data;
}

static texts open_texts(void)
{
    texts t = {.ctx = tiny_context(1)};
    t.data = open_numbers(t.ctx, "new.npy", NEW, NEW_BASE, LENGTH);
    t.replay = open_numbers(t.ctx, "old.npy", OLD, OLD_BASE, LENGTH);
    return t;
}

static void close_texts(texts *t)
{
    ewc_data_destroy(t->data);
    ewc_data_destroy(t->replay);
    ewc_context_destroy(t->ctx);
}

static void counts_are_within_one_half_at_every_number(void **state)
{
    (void)state;
    for (int i = 0; i < SHARE_COUNT; i++) {
        assert_int_equal(ewc_replay_count(SHARES[i], 0), 0);
        for (int64_t k = 0, last = 0; k < 100000; k++) {
            int64_t count = ewc_replay_count(SHARES[i], k);
            assert_true(fabs((double)count - SHARES[i] * (double)k) <= 0.5 + (double)k * 0x1p-33 + 1e-9);
            assert_in_range(count - last, 0, 1);
            last = count;
        }
    }
}

static void any_run_of_sequences_has_its_share_within_one(void **state)
{
    (void)state;
    for (int i = 0; i < SHARE_COUNT; i++)
        for (int64_t n = 1; n <= 64; n++)
            for (int64_t first = 0; first < 2000; first++) {
                int64_t old = ewc_replay_count(SHARES[i], first + n) - ewc_replay_count(SHARES[i], first);
                assert_true(fabs((double)old - SHARES[i] * (double)n) < 1 + 1e-5);
            }
}

static void the_count_is_exact_for_numbers_of_any_size(void **state)
{
    (void)state;
    const int64_t large = INT64_MAX;
    assert_int_equal(ewc_replay_count(0.5, large), (large >> 1) + 1); /* (2^63 - 1) / 2 + 1/2 */
    assert_int_equal(ewc_replay_count(0.25, large), (large >> 2) + 1);
    assert_int_equal(ewc_replay_count(0x1p-32, large), (large >> 32) + 1);
    assert_int_equal(ewc_replay_count(1 - 0x1p-32, large), large - ((large >> 32) + 1));
    assert_int_equal(ewc_replay_count(1, large), large);
    assert_int_equal(ewc_replay_count(0, large), 0);
    assert_int_equal(ewc_replay_count(0.5, (1LL << 40) + 1), (1LL << 39) + 1);
    assert_int_equal(ewc_replay_count(0.05, 20), 1);
    assert_int_equal(ewc_replay_count(0.05, 2000000000), 100000000);
    assert_int_equal(ewc_replay_count(0.5, -1), 0);
    assert_int_equal(ewc_replay_count(-0.5, 100), 0);
    assert_int_equal(ewc_replay_count(1.5, 100), 0);
    assert_int_equal(ewc_replay_count((double)NAN, 100), 0);
}

/* Every sequence of the mixture is the next one of its own text's order, so none is lost and none comes twice in a pass. */
static void each_text_keeps_its_own_order(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    texts t = open_texts();
    int32_t tokens[COUNT * LENGTH], targets[COUNT * LENGTH], expected[LENGTH], expected_targets[LENGTH];
    uint8_t replayed[COUNT];
    for (int i = 0; i < SHARE_COUNT; i++)
        for (int order = 0; order < 2; order++) {
            int64_t next[2] = {0, 0};
            OK(t.ctx, ewc_data_replay_batch(t.data, t.replay, SHARES[i], (ewc_order)order, 3, 0, COUNT, tokens, targets,
                                            replayed));
            for (int64_t k = 0; k < COUNT; k++) {
                int old = tokens[k * LENGTH] >= OLD_BASE;
                assert_int_equal(replayed[k], old);
                OK(t.ctx, ewc_data_batch(old ? t.replay : t.data, (ewc_order)order, 3, next[old]++, 1, expected,
                                         expected_targets));
                assert_memory_equal(&tokens[k * LENGTH], expected, sizeof expected);
                assert_memory_equal(&targets[k * LENGTH], expected_targets, sizeof expected_targets);
                assert_int_equal(next[1], ewc_replay_count(SHARES[i], k + 1));
            }
        }
    close_texts(&t);
}

static void every_pass_has_each_sequence_once(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    texts t = open_texts();
    int32_t tokens[COUNT * LENGTH], targets[COUNT * LENGTH];
    const int64_t sequences[2] = {NEW, OLD};
    OK(t.ctx, ewc_data_replay_batch(t.data, t.replay, 0.3, EWC_ORDER_SHUFFLE, 8, 0, COUNT, tokens, targets, NULL));
    int64_t taken[2] = {0, 0};
    int seen[2][NEW] = {{0}};
    for (int64_t k = 0; k < COUNT; k++) {
        int old = tokens[k * LENGTH] >= OLD_BASE;
        int32_t number = (tokens[k * LENGTH] - (old ? OLD_BASE : NEW_BASE)) / LENGTH;
        seen[old][number]++;
        taken[old]++;
        if (taken[old] % sequences[old] != 0) continue;
        for (int64_t i = 0; i < sequences[old]; i++) assert_int_equal(seen[old][i], taken[old] / sequences[old]);
    }
    assert_in_range(taken[0] / NEW, 10, 100);
    assert_in_range(taken[1] / OLD, 10, 100);
    close_texts(&t);
}

static void the_number_alone_says_what_a_sequence_is(void **state)
{
    (void)state;
    enum { COUNT = 97 };
    texts t = open_texts();
    int32_t whole[COUNT * LENGTH], targets[COUNT * LENGTH], one[LENGTH], one_target[LENGTH];
    uint8_t replayed[COUNT], one_replayed;
    OK(t.ctx, ewc_data_replay_batch(t.data, t.replay, 0.25, EWC_ORDER_SHUFFLE, 1, 0, COUNT, whole, targets, replayed));
    for (int64_t i = 0; i < COUNT; i++) {
        int64_t k = (i * 31) % COUNT; /* in another order */
        OK(t.ctx,
           ewc_data_replay_batch(t.data, t.replay, 0.25, EWC_ORDER_SHUFFLE, 1, k, 1, one, one_target, &one_replayed));
        assert_memory_equal(one, &whole[k * LENGTH], sizeof one);
        assert_memory_equal(one_target, &targets[k * LENGTH], sizeof one_target);
        assert_int_equal(one_replayed, replayed[k]);
    }
    OK(t.ctx,
       ewc_data_replay_batch(t.data, t.replay, 0.25, EWC_ORDER_SHUFFLE, 1, INT64_MAX - 2, 2, whole, targets, NULL));
    close_texts(&t);
}

static void what_does_not_fit_is_refused_and_nothing_written(void **state)
{
    (void)state;
    texts t = open_texts();
    int32_t tokens[20 * LENGTH], targets[20 * LENGTH];
    uint8_t replayed[20];
    ewc_data *longer = open_numbers(t.ctx, "longer.npy", OLD, OLD_BASE, LENGTH + 1);
    ewc_context *other = tiny_context(1);
    ewc_data *foreign = open_numbers(other, "foreign.npy", OLD, OLD_BASE, LENGTH);
    memset(tokens, 0x55, sizeof tokens);
#define REPLAY(replay, share, order, first, count) \
    ewc_data_replay_batch(t.data, (replay), (share), (order), 0, (first), (count), tokens, targets, replayed)
    REFUSED(t.ctx, REPLAY(longer, 0.5, EWC_ORDER_SEQUENTIAL, 0, 4), EWC_ERROR_MISMATCH, "replay", "sequences of 3",
            "found 4");
    REFUSED(t.ctx, REPLAY(foreign, 0.5, EWC_ORDER_SEQUENTIAL, 0, 4), EWC_ERROR_MISMATCH, "replay", "context");
    REFUSED(t.ctx, REPLAY(t.replay, -0.1, EWC_ORDER_SEQUENTIAL, 0, 4), EWC_ERROR_ARGUMENT, "share", "0 to 1",
            "found -0.1");
    REFUSED(t.ctx, REPLAY(t.replay, 1.1, EWC_ORDER_SEQUENTIAL, 0, 4), EWC_ERROR_ARGUMENT, "share", "found 1.1");
    REFUSED(t.ctx, REPLAY(t.replay, (double)NAN, EWC_ORDER_SEQUENTIAL, 0, 4), EWC_ERROR_ARGUMENT, "share", "nan");
    REFUSED(t.ctx, REPLAY(t.replay, 0.5, EWC_ORDER_SEQUENTIAL, -1, 4), EWC_ERROR_ARGUMENT, "first", "found -1");
    REFUSED(t.ctx, REPLAY(t.replay, 0.5, EWC_ORDER_SEQUENTIAL, INT64_MAX, 1), EWC_ERROR_ARGUMENT, "first");
    REFUSED(t.ctx, REPLAY(t.replay, 0.5, (ewc_order)7, 0, 4), EWC_ERROR_ARGUMENT, "order", "found 7");
    REFUSED(t.ctx, REPLAY(NULL, 0.5, EWC_ORDER_SEQUENTIAL, 0, 4), EWC_ERROR_ARGUMENT, "replay is NULL");
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) assert_int_equal(tokens[i], 0x55555555);
    OK(t.ctx, REPLAY(t.replay, 0.5, EWC_ORDER_SEQUENTIAL, 0, 20));
    OK(t.ctx, ewc_data_begin(t.data, 2));
    REFUSED(t.ctx, REPLAY(t.replay, 0.5, EWC_ORDER_SEQUENTIAL, 0, 4), EWC_ERROR_MISMATCH, "replay", "begin with 2",
            "found -1");
    OK(t.ctx, ewc_data_begin(t.replay, 3));
    REFUSED(t.ctx, REPLAY(t.replay, 0.5, EWC_ORDER_SEQUENTIAL, 0, 4), EWC_ERROR_MISMATCH, "begin with 2", "found 3");
    OK(t.ctx, ewc_data_begin(t.replay, 2));
    OK(t.ctx, REPLAY(t.replay, 0.5, EWC_ORDER_SEQUENTIAL, 0, 20));
#undef REPLAY
    REFUSED(NULL, ewc_data_replay_batch(NULL, t.replay, 0.5, EWC_ORDER_SEQUENTIAL, 0, 0, 1, tokens, targets, NULL),
            EWC_ERROR_ARGUMENT, "data is NULL");
    REFUSED(t.ctx, ewc_data_replay_batch(t.data, t.replay, 0.5, EWC_ORDER_SEQUENTIAL, 0, 0, 1, NULL, targets, NULL),
            EWC_ERROR_ARGUMENT, "tokens is NULL");
    ewc_data_destroy(longer);
    ewc_data_destroy(foreign);
    ewc_context_destroy(other);
    close_texts(&t);
}

static uint64_t fingerprint_of(ewc_context *ctx, int64_t files, const char *const *paths)
{
    ewc_data *data = NULL;
    uint64_t fingerprint = 0;
    OK(ctx, ewc_data_open(ctx, files, paths, 2, &data));
    OK(ctx, ewc_data_fingerprint(data, &fingerprint));
    ewc_data_destroy(data);
    return fingerprint;
}

static void the_fingerprint_is_of_the_ids_in_order(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    const int32_t ids[] = {5, 6, 7, 8, 70000, 9}, swapped[] = {5, 6, 8, 7, 70000, 9};
    const char *whole = files_path("whole.npy"), *parts[] = {files_path("a.npy"), files_path("b.npy")},
               *other = files_path("other.npy");
    OK(ctx, ewc_npy_write_tokens(ctx, whole, ids, 6, 1));
    OK(ctx, ewc_npy_write_tokens(ctx, parts[0], ids, 4, 1)); /* of another type: uint16 */
    OK(ctx, ewc_npy_write_tokens(ctx, parts[1], ids + 4, 2, 1));
    OK(ctx, ewc_npy_write_tokens(ctx, other, swapped, 6, 1));
    uint64_t expected = fingerprint_of(ctx, 1, &whole);
    assert_true(expected == fingerprint_of(ctx, 2, parts));
    assert_true(expected != fingerprint_of(ctx, 1, &other));
    OK(ctx, ewc_npy_write_tokens(ctx, other, ids, 5, 1));
    assert_true(expected != fingerprint_of(ctx, 1, &other));
    ewc_data *data = open_numbers(ctx, "n.npy", 2, 0, LENGTH);
    REFUSED(NULL, ewc_data_fingerprint(NULL, &expected), EWC_ERROR_ARGUMENT, "data is NULL");
    REFUSED(ctx, ewc_data_fingerprint(data, NULL), EWC_ERROR_ARGUMENT, "fingerprint is NULL");
    ewc_data_destroy(data);
    ewc_context_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES_TEST(counts_are_within_one_half_at_every_number),
        FILES_TEST(any_run_of_sequences_has_its_share_within_one),
        FILES_TEST(the_count_is_exact_for_numbers_of_any_size),
        FILES_TEST(each_text_keeps_its_own_order),
        FILES_TEST(every_pass_has_each_sequence_once),
        FILES_TEST(the_number_alone_says_what_a_sequence_is),
        FILES_TEST(what_does_not_fit_is_refused_and_nothing_written),
        FILES_TEST(the_fingerprint_is_of_the_ids_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
