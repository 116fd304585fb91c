/* ewc_data_*, ewc_npy_* and ewc_text_*: the stream of tokens as a user sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libewc.h"
#include "support/files.h"
#include "support/tiny.h"

static const char *write_tokens(ewc_context *ctx, const char *name, int32_t first, int64_t count, int32_t base)
{
    const char *path = files_path(name);
    int32_t *ids = malloc((size_t)(count + 1) * sizeof *ids);
    for (int64_t i = 0; i < count; i++) ids[i] = base + first + (int32_t)i;
    OK(ctx, ewc_npy_write_tokens(ctx, path, ids, count, 1));
    free(ids);
    return path;
}

/* Opens the numbers base, base + 1, ... cut into files of the given lengths (0 ends the list of at most 8). */
static ewc_data *open_numbers(ewc_context *ctx, const int64_t *lengths, int64_t files, int64_t length, int32_t base)
{
    const char *paths[8];
    ewc_data *data = NULL;
    int64_t first = 0;
    for (int64_t i = 0; i < files; i++) {
        char name[32];
        snprintf(name, sizeof name, "part%d.npy", (int)i);
        paths[i] = write_tokens(ctx, name, (int32_t)first, lengths[i], base);
        first += lengths[i];
    }
    OK(ctx, ewc_data_open(ctx, files, paths, length, &data));
    return data;
}

static void sequences_are_cut_one_token_overlapping(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    const int64_t lengths[] = {11};
    ewc_data *data = open_numbers(ctx, lengths, 1, 3, 100);
    int32_t tokens[12], targets[12];
    assert_int_equal(ewc_data_tokens(data), 11);
    assert_int_equal(ewc_data_sequences(data), 3); /* (11 - 1) / 3 */
    OK(ctx, ewc_data_batch(data, EWC_ORDER_SEQUENTIAL, 0, 1, 4, tokens, targets));
    const int32_t starts[] = {103, 106, 100, 103}; /* sequences 1, 2, and 0, 1 again */
    for (int i = 0; i < 12; i++) {
        assert_int_equal(tokens[i], starts[i / 3] + i % 3);
        assert_int_equal(targets[i], tokens[i] + 1);
    }
    ewc_data_destroy(data);
    ewc_context_destroy(ctx);
}

static void a_token_more_makes_a_sequence_more(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    for (int64_t tokens = 4; tokens < 12; tokens++) {
        ewc_data *data = open_numbers(ctx, &tokens, 1, 3, 0);
        assert_int_equal(ewc_data_sequences(data), (tokens - 1) / 3);
        ewc_data_destroy(data);
    }
    ewc_context_destroy(ctx);
}

static void files_are_one_stream(void **state)
{
    (void)state;
    static const int64_t cuts[][5] = {{5, 1, 0, 1, 14}, {0, 0, 21, 0, 0}, {1, 1, 1, 1, 17}, {20, 1, 0, 0, 0}};
    for (int c = 0; c < 4; c++) {
        for (int wide = 0; wide < 2; wide++) { /* uint16, or uint32 where ids are large */
            ewc_context *ctx = tiny_context(1);
            ewc_data *data = open_numbers(ctx, cuts[c], 5, 4, wide ? 65530 : 0);
            int32_t tokens[20], targets[20];
            assert_int_equal(ewc_data_sequences(data), 5);
            OK(ctx, ewc_data_batch(data, EWC_ORDER_SEQUENTIAL, 7, 0, 5, tokens, targets));
            for (int i = 0; i < 20; i++) {
                assert_int_equal(tokens[i], i + (wide ? 65530 : 0));
                assert_int_equal(targets[i], tokens[i] + 1);
            }
            ewc_data_destroy(data);
            ewc_context_destroy(ctx);
        }
    }
}

static void shuffling_visits_each_sequence_once_a_pass(void **state)
{
    (void)state;
    enum { N = 13 };
    ewc_context *ctx = tiny_context(1);
    const int64_t lengths[] = {20, 2 * N + 1 - 20};
    ewc_data *data = open_numbers(ctx, lengths, 2, 2, 0);
    int32_t tokens[3][2 * N], targets[2 * N], single[2];
    int different = 0;
    for (int pass = 0; pass < 3; pass++) {
        int seen[N] = {0};
        OK(ctx, ewc_data_batch(data, EWC_ORDER_SHUFFLE, 5, pass * N, N, tokens[pass], targets));
        for (int i = 0; i < N; i++) {
            assert_int_equal(tokens[pass][2 * i] % 2, 0);
            assert_int_equal(tokens[pass][2 * i + 1], tokens[pass][2 * i] + 1);
            assert_int_equal(targets[2 * i + 1], tokens[pass][2 * i] + 2);
            seen[tokens[pass][2 * i] / 2]++;
            /* the same sequence when it is asked for alone: a pure function of seed and number */
            OK(ctx, ewc_data_batch(data, EWC_ORDER_SHUFFLE, 5, pass * N + i, 1, single, targets + 0));
            assert_int_equal(single[0], tokens[pass][2 * i]);
            OK(ctx, ewc_data_batch(data, EWC_ORDER_SHUFFLE, 5, pass * N, N, tokens[pass], targets));
        }
        for (int i = 0; i < N; i++) assert_int_equal(seen[i], 1);
    }
    for (int i = 0; i < 2 * N; i++) different += tokens[0][i] != tokens[1][i];
    assert_true(different > 0);
    OK(ctx, ewc_data_batch(data, EWC_ORDER_SHUFFLE, 6, 0, N, tokens[1], targets));
    assert_memory_not_equal(tokens[0], tokens[1], sizeof tokens[0]);
    ewc_data_destroy(data);
    ewc_context_destroy(ctx);
}

static void numbers_far_beyond_the_data_are_fine(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    const int64_t lengths[] = {11};
    ewc_data *data = open_numbers(ctx, lengths, 1, 5, 0);
    int32_t tokens[5], targets[5];
    OK(ctx, ewc_data_batch(data, EWC_ORDER_SEQUENTIAL, 0, INT64_MAX - 2, 1, tokens, targets));
    assert_int_equal(tokens[0], (INT64_MAX - 2) % 2 * 5);
    OK(ctx, ewc_data_batch(data, EWC_ORDER_SHUFFLE, ~0ULL, INT64_MAX - 2, 1, tokens, targets));
    REFUSED(ctx, ewc_data_batch(data, EWC_ORDER_SEQUENTIAL, 0, INT64_MAX, 1, tokens, targets), EWC_ERROR_ARGUMENT,
            "first");
    REFUSED(ctx, ewc_data_batch(data, EWC_ORDER_SEQUENTIAL, 0, -1, 1, tokens, targets), EWC_ERROR_ARGUMENT, "found -1");
    REFUSED(ctx, ewc_data_batch(data, EWC_ORDER_SEQUENTIAL, 0, 0, -1, tokens, targets), EWC_ERROR_ARGUMENT, "-1");
    REFUSED(ctx, ewc_data_batch(data, (ewc_order)9, 0, 0, 1, tokens, targets), EWC_ERROR_ARGUMENT, "order", "found 9");
    OK(ctx, ewc_data_batch(data, EWC_ORDER_SEQUENTIAL, 0, 0, 0, tokens, targets));
    ewc_data_destroy(data);
    ewc_context_destroy(ctx);
}

static void ids_are_checked_with_file_and_position(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    const int64_t lengths[] = {6, 6};
    ewc_data *data = open_numbers(ctx, lengths, 2, 3, 0);
    OK(ctx, ewc_data_check(data, 12));
    REFUSED(ctx, ewc_data_check(data, 11), EWC_ERROR_FORMAT, "part1.npy: token 5", "from 0 to 10", "found 11");
    REFUSED(ctx, ewc_data_check(data, 3), EWC_ERROR_FORMAT, "part0.npy: token 3", "found 3");
    REFUSED(ctx, ewc_data_check(data, 0), EWC_ERROR_ARGUMENT, "vocab", "found 0");
    ewc_data_destroy(data);
    ewc_context_destroy(ctx);
}

/* Every token but the first of all is the target of one sequence, except BOS where a document begins. */
static void sequences_begin_with_bos_and_every_token_is_scored_once(void **state)
{
    (void)state;
    enum { BOS = 2, L = 4, N = 14 };
    static const int32_t stream[N] = {BOS, 10, 11, 12, BOS, 13, 14, 15, 16, BOS, 17, 18, 19, 20};
    static const int32_t inputs[2][L] = {{BOS, BOS, 10, 11}, {BOS, 12, BOS, 13}};
    ewc_context *ctx = tiny_context(1);
    ewc_data *data = NULL;
    const char *path = files_path("b.npy");
    OK(ctx, ewc_npy_write_tokens(ctx, path, stream, N, 1));
    OK(ctx, ewc_data_open(ctx, 1, &path, L, &data));
    OK(ctx, ewc_data_begin(data, BOS));
    assert_int_equal(ewc_data_sequences(data), 4); /* (14 - 1) / 3 */
    int32_t tokens[5 * L], targets[5 * L];
    OK(ctx, ewc_data_batch(data, EWC_ORDER_SEQUENTIAL, 0, 0, 5, tokens, targets));
    for (int k = 0; k < 5; k++) {
        assert_int_equal(tokens[k * L], BOS);
        assert_int_equal(targets[k * L], -1);
        for (int i = 1; i < L; i++) {
            int at = k % 4 * (L - 1) + i;
            assert_int_equal(tokens[k * L + i], stream[at - 1]);
            assert_int_equal(targets[k * L + i], stream[at] == BOS ? -1 : stream[at]);
        }
    }
    assert_memory_equal(tokens, inputs[0], sizeof inputs[0]);
    assert_memory_equal(tokens + L, inputs[1], sizeof inputs[1]);
    REFUSED(ctx, ewc_data_begin(data, -1), EWC_ERROR_ARGUMENT, "token", "found -1");
    ewc_data_destroy(data);
    OK(ctx, ewc_data_open(ctx, 1, &path, 1, &data));
    REFUSED(ctx, ewc_data_begin(data, BOS), EWC_ERROR_ARGUMENT, "at least 2 tokens");
    ewc_data_destroy(data);
    REFUSED(NULL, ewc_data_begin(NULL, BOS), EWC_ERROR_ARGUMENT, "data is NULL");
    ewc_context_destroy(ctx);
}

/* As many tokens as a sequence has: none without BOS in front, one with it. Their ids can be had in either case. */
static void tokens_of_one_sequence_need_bos(void **state)
{
    (void)state;
    enum { L = 4 };
    ewc_context *ctx = tiny_context(1);
    const int64_t lengths[] = {L - 1, 1}, more[] = {L + 1};
    ewc_data *data = open_numbers(ctx, lengths, 2, L, 10);
    int32_t tokens[L], targets[L];
    uint8_t listed[20] = {0};
    assert_int_equal(ewc_data_sequences(data), 0);
    REFUSED(ctx, ewc_data_batch(data, EWC_ORDER_SEQUENTIAL, 0, 0, 1, tokens, targets), EWC_ERROR_ARGUMENT, "part0.npy",
            "more than 4 tokens", "found 4 in all files");
    OK(ctx, ewc_data_vocabulary(data, 20, listed));
    assert_true(listed[10] && listed[13] && !listed[14]);
    OK(ctx, ewc_data_begin(data, 2));
    assert_int_equal(ewc_data_sequences(data), 1);
    OK(ctx, ewc_data_batch(data, EWC_ORDER_SHUFFLE, 0, 5, 1, tokens, targets));
    const int32_t expected[] = {2, 10, 11, 12}, expected_targets[] = {-1, 11, 12, 13};
    assert_memory_equal(tokens, expected, sizeof tokens);
    assert_memory_equal(targets, expected_targets, sizeof targets);
    ewc_data_destroy(data);
    ewc_data *replay = open_numbers(ctx, lengths, 2, L, 10);
    data = open_numbers(ctx, more, 1, L, 0);
    REFUSED(ctx, ewc_data_replay_batch(data, replay, 0.5, EWC_ORDER_SEQUENTIAL, 0, 0, 1, tokens, targets, NULL),
            EWC_ERROR_ARGUMENT, "more than 4 tokens");
    ewc_data_destroy(replay);
    ewc_data_destroy(data);
    ewc_context_destroy(ctx);
}

/* An int32 file by hand, since the library does not write negative ids. */
static void negative_ids_are_refused_before_anything_is_written(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_data *data = NULL;
    const int32_t ids[] = {1, 2, 3, 4, -5, 6, 7};
    char file[128] = "\x93NUMPY\x01\0\x3a\0{'descr': '<i4', 'fortran_order': False, 'shape': (7,), }\n";
    const size_t start = 10 + 58;
    int32_t tokens[6] = {-9, -9, -9, -9, -9, -9}, targets[6];
    memcpy(file + start, ids, sizeof ids);
    const char *path = files_write("n.npy", file, start + sizeof ids);
    OK(ctx, ewc_data_open(ctx, 1, &path, 3, &data));
    REFUSED(ctx, ewc_data_batch(data, EWC_ORDER_SEQUENTIAL, 0, 0, 2, tokens, targets), EWC_ERROR_FORMAT,
            "n.npy: token 4", "found -5");
    for (int i = 0; i < 6; i++) assert_int_equal(tokens[i], -9);
    REFUSED(ctx, ewc_data_check(data, 100), EWC_ERROR_FORMAT, "n.npy: token 4", "found -5");
    ewc_data_destroy(data);
    ewc_context_destroy(ctx);
}

static void opening_says_what_is_wrong(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_data *data = NULL;
    const char *paths[2] = {write_tokens(ctx, "a.npy", 0, 4, 0), files_path("none.npy")};
    REFUSED(ctx, ewc_data_open(ctx, 2, paths, 3, &data), EWC_ERROR_IO, "none.npy", "No such file");
    REFUSED(ctx, ewc_data_open(ctx, 1, paths, 5, &data), EWC_ERROR_ARGUMENT, "a.npy", "more than 5 tokens", "found 4");
    REFUSED(ctx, ewc_data_open(ctx, 1, paths, INT64_MAX, &data), EWC_ERROR_ARGUMENT, "a.npy");
    REFUSED(ctx, ewc_data_open(ctx, 1, paths, 0, &data), EWC_ERROR_ARGUMENT, "length", "found 0");
    REFUSED(ctx, ewc_data_open(ctx, 0, paths, 3, &data), EWC_ERROR_ARGUMENT, "files", "found 0");
    paths[1] = NULL;
    REFUSED(ctx, ewc_data_open(ctx, 2, paths, 3, &data), EWC_ERROR_ARGUMENT, "paths[1]");
    paths[1] = files_text("text.npy", "these are no tokens");
    REFUSED(ctx, ewc_data_open(ctx, 2, paths, 3, &data), EWC_ERROR_FORMAT, "text.npy", "NUMPY");
    assert_null(data);
    REFUSED(NULL, ewc_data_open(NULL, 1, paths, 3, &data), EWC_ERROR_ARGUMENT, "context is NULL");
    REFUSED(ctx, ewc_data_open(ctx, 1, NULL, 3, &data), EWC_ERROR_ARGUMENT, "paths is NULL");
    REFUSED(ctx, ewc_data_open(ctx, 1, paths, 3, NULL), EWC_ERROR_ARGUMENT, "data is NULL");
    REFUSED(NULL, ewc_data_batch(NULL, EWC_ORDER_SEQUENTIAL, 0, 0, 1, NULL, NULL), EWC_ERROR_ARGUMENT, "data is NULL");
    REFUSED(NULL, ewc_data_check(NULL, 5), EWC_ERROR_ARGUMENT, "data is NULL");
    assert_int_equal(ewc_data_tokens(NULL), 0);
    assert_int_equal(ewc_data_sequences(NULL), 0);
    ewc_data_destroy(NULL);
    ewc_context_destroy(ctx);
}

static void documents_begin_at_their_first_token(void **state)
{
    (void)state;
    static const int32_t tokens[] = {5, 2, 6, 7, 2, 2, 2, 9, 9, 9, 9, 2, 8, 8, 8, 8, 8, 8};
    static const int32_t expected[] = {0, 1, 1, 1, 4, 5, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0};
    int32_t starts[18];
    OK(NULL, ewc_data_documents(3, 6, tokens, 2, starts));
    assert_memory_equal(starts, expected, sizeof starts);
    REFUSED(NULL, ewc_data_documents(1, 0, tokens, 2, starts), EWC_ERROR_ARGUMENT, "length");
    REFUSED(NULL, ewc_data_documents(-1, 6, tokens, 2, starts), EWC_ERROR_ARGUMENT, "count");
    REFUSED(NULL, ewc_data_documents(1, 6, NULL, 2, starts), EWC_ERROR_ARGUMENT, "tokens is NULL");
    REFUSED(NULL, ewc_data_documents(1, 6, tokens, 2, NULL), EWC_ERROR_ARGUMENT, "document_start is NULL");
}

static void writing_refuses_what_it_must(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    const int32_t ids[] = {1, -1};
    const float x[] = {1.0F};
    REFUSED(ctx, ewc_npy_write_tokens(ctx, files_path("w.npy"), ids, 2, 0), EWC_ERROR_ARGUMENT, "w.npy: token 1",
            "found -1");
    REFUSED(ctx, ewc_npy_write_tokens(ctx, files_path("w.npy"), ids, -1, 0), EWC_ERROR_ARGUMENT, "count", "found -1");
    REFUSED(ctx, ewc_npy_write_tokens(ctx, NULL, ids, 1, 0), EWC_ERROR_ARGUMENT, "path is NULL");
    REFUSED(ctx, ewc_npy_write_f32(ctx, files_path("w.npy"), NULL, 1, 0), EWC_ERROR_ARGUMENT, "values is NULL");
    assert_int_equal(files_count(files_directory()), 0);
    OK(ctx, ewc_npy_write_f32(ctx, files_path("w.npy"), x, 1, 0));
    REFUSED(ctx, ewc_npy_write_f32(ctx, files_path("w.npy"), x, 1, 0), EWC_ERROR_EXISTS, "w.npy exists");
    OK(ctx, ewc_npy_write_tokens(ctx, files_path("w.npy"), ids, 1, 1));
    ewc_context_destroy(ctx);
}

static void text_comes_document_by_document(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_text *text = NULL;
    const char *document;
    size_t bytes;
    OK(ctx, ewc_text_open(ctx, files_text("t.jsonl", "{\"text\":\"one\"}\n{\"text\":\"zwei\"}\n"), &text));
    OK(ctx, ewc_text_next(text, &document, &bytes));
    assert_string_equal(document, "one");
    OK(ctx, ewc_text_next(text, &document, &bytes));
    assert_string_equal(document, "zwei");
    assert_int_equal(bytes, 4);
    OK(ctx, ewc_text_next(text, &document, &bytes));
    assert_null(document);
    REFUSED(ctx, ewc_text_next(text, NULL, &bytes), EWC_ERROR_ARGUMENT, "document is NULL");
    REFUSED(ctx, ewc_text_next(text, &document, NULL), EWC_ERROR_ARGUMENT, "bytes is NULL");
    ewc_text_close(text);
    REFUSED(NULL, ewc_text_next(NULL, &document, &bytes), EWC_ERROR_ARGUMENT, "text is NULL");
    REFUSED(ctx, ewc_text_open(ctx, NULL, &text), EWC_ERROR_ARGUMENT, "path is NULL");
    REFUSED(ctx, ewc_text_open(ctx, files_path("t.jsonl"), NULL), EWC_ERROR_ARGUMENT, "text is NULL");
    ewc_text_close(NULL);
    ewc_context_destroy(ctx);
}

/* A host's allocator that fails at a chosen call. */
typedef struct starved {
    int64_t calls, fail_at, live;
} starved;

static void *starved_allocate(void *user, size_t bytes)
{
    starved *s = user;
    void *pointer = NULL;
    if (s->calls++ == s->fail_at || posix_memalign(&pointer, 64, bytes) != 0) return NULL;
    s->live++;
    return pointer;
}

static void starved_release(void *user, void *pointer)
{
    starved *s = user;
    s->live--;
    free(pointer);
}

static void opening_survives_every_failed_allocation(void **state)
{
    (void)state;
    starved s = {.fail_at = -1};
    ewc_context_options options;
    ewc_context *ctx;
    ewc_status status = EWC_ERROR_MEMORY;
    ewc_context_options_default(&options);
    options.threads = 1;
    options.user = &s;
    options.allocate = starved_allocate;
    options.release = starved_release;
    OK(NULL, ewc_context_create(&options, &ctx));
    const char *paths[2] = {write_tokens(ctx, "a.npy", 0, 4, 0), write_tokens(ctx, "b.npy", 0, 4, 0)};
    int64_t before = s.live, n = 0;
    for (; status == EWC_ERROR_MEMORY; n++) {
        ewc_data *data = NULL;
        s.calls = 0;
        s.fail_at = n;
        status = ewc_data_open(ctx, 2, paths, 3, &data);
        if (status == EWC_OK) ewc_data_destroy(data);
        assert_int_equal(s.live, before);
    }
    s.fail_at = -1;
    OK(ctx, status);
    assert_in_range(n, 5, 50);
    ewc_context_destroy(ctx);
    assert_int_equal(s.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES_TEST(sequences_are_cut_one_token_overlapping),
        FILES_TEST(a_token_more_makes_a_sequence_more),
        FILES_TEST(files_are_one_stream),
        FILES_TEST(shuffling_visits_each_sequence_once_a_pass),
        FILES_TEST(numbers_far_beyond_the_data_are_fine),
        FILES_TEST(ids_are_checked_with_file_and_position),
        FILES_TEST(negative_ids_are_refused_before_anything_is_written),
        FILES_TEST(opening_says_what_is_wrong),
        FILES_TEST(sequences_begin_with_bos_and_every_token_is_scored_once),
        FILES_TEST(tokens_of_one_sequence_need_bos),
        FILES_TEST(documents_begin_at_their_first_token),
        FILES_TEST(writing_refuses_what_it_must),
        FILES_TEST(text_comes_document_by_document),
        FILES_TEST(opening_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
