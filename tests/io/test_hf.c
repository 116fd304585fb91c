/* Hugging Face directories: one file or shards, the index as hostile input, writing whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/file.h"
#include "io/hf.h"
#include "io/json.h"
#include "support/bare.h"
#include "support/files.h"

enum { TENSORS = 5, ELEMENTS = 10 };

static float values[TENSORS][ELEMENTS];
static const char *const names[TENSORS] = {"model.embed_tokens.weight", "b", "a", "d", "c"};

/* Five tensors of ten elements of `dtype`, whose values begin with `base`. */
static void fill(ewci_tensor_output *tensors, ewc_dtype dtype, float base)
{
    for (int t = 0; t < TENSORS; t++) {
        for (int i = 0; i < ELEMENTS; i++) values[t][i] = base + (float)t;
        tensors[t] =
            (ewci_tensor_output){.name = names[t], .dtype = dtype, .rank = 2, .shape = {5, 2}, .values = values[t]};
    }
}

/* Writes directory d with the given largest shard (F32: 40 bytes a tensor). */
static ewc_status write_model(ewc_context *ctx, float base, int64_t shard_bytes, const char *tokenizer, bool overwrite)
{
    ewci_tensor_output tensors[TENSORS];
    fill(tensors, EWC_F32, base);
    const ewci_hf_output output = {.config = "{\"a\": 1}\n",
                                   .tokenizer_source = tokenizer,
                                   .count = TENSORS,
                                   .tensors = tensors,
                                   .shard_bytes = shard_bytes,
                                   .overwrite = overwrite};
    return ewci_hf_write(ctx, files_path("d"), &output);
}

/* The directory reads as a model whose values begin with `base`. */
static void check_model(ewc_context *ctx, float base)
{
    ewci_hf *hf;
    if (ewci_hf_open(ctx, files_path("d"), &hf) != EWC_OK) fail_msg("%s", ewc_last_error(ctx));
    assert_string_equal(ewci_hf_config(hf), "{\"a\": 1}\n");
    assert_string_equal(ewci_hf_directory(hf), files_path("d"));
    assert_string_equal(ewci_hf_config_path(hf), files_path("d/config.json"));
    assert_int_equal(ewci_hf_count(hf), TENSORS);
    assert_string_equal(ewci_hf_entry(hf, 0)->name, "a");
    assert_string_equal(ewci_hf_entry(hf, 4)->name, "model.embed_tokens.weight");
    for (int t = 0; t < TENSORS; t++) {
        const ewci_tensor_entry *e;
        float first;
        assert_int_equal(ewci_hf_tensor(hf, names[t], 5, 2, &e), EWC_OK);
        memcpy(&first, e->data, sizeof first);
        assert_true(first == base + (float)t);
    }
    assert_null(ewci_hf_find(hf, "e"));
    ewci_hf_close(hf);
}

static void one_file_round_trip(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(write_model(ctx, 1, 0, NULL, false), EWC_OK);
    assert_true(ewci_path_exists(files_path("d/model.safetensors")));
    assert_int_equal(files_count(files_path("d")), 2);
    check_model(ctx, 1);
    bare_close(&b);
}

/* Of a directory with a text and a vision part, in both namings. */
static void text_parts_are_found_under_their_plain_names(void **state)
{
    (void)state;
    static const char *const stored[][2] = {{"language_model.model.norm.weight", "language_model.lm_head.weight"},
                                            {"model.language_model.norm.weight", "lm_head.weight"}};
    for (int i = 0; i < 2; i++) {
        bare b;
        ewci_hf *hf;
        ewci_tensor_output tensors[TENSORS];
        ewc_context *ctx = bare_open(&b);
        fill(tensors, EWC_F32, 1);
        tensors[0].name = stored[i][0];
        tensors[1].name = stored[i][1];
        const ewci_hf_output output = {.config = "{}", .count = TENSORS, .tensors = tensors};
        assert_int_equal(ewci_hf_write(ctx, files_path("d"), &output), EWC_OK);
        assert_int_equal(ewci_hf_open(ctx, files_path("d"), &hf), EWC_OK);
        assert_string_equal(ewci_hf_find(hf, "model.norm.weight")->name, stored[i][0]);
        assert_string_equal(ewci_hf_find(hf, "lm_head.weight")->name, stored[i][1]);
        assert_string_equal(ewci_hf_find(hf, "a")->name, "a");
        assert_null(ewci_hf_find(hf, "norm.weight"));
        ewci_hf_close(hf);
        files_clear();
        bare_close(&b);
    }
}

static void shards_are_as_large_as_allowed(void **state)
{
    (void)state;
    static const struct {
        int64_t bytes;
        int shards;
    } cases[] = {{200, 1}, {199, 2}, {80, 3}, {79, 5}, {40, 5}, {1, 5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bare b;
        char *index;
        ewc_context *ctx = bare_open(&b);
        assert_int_equal(write_model(ctx, 2, cases[i].bytes, NULL, false), EWC_OK);
        assert_int_equal(files_count(files_path("d")), cases[i].shards == 1 ? 2 : cases[i].shards + 2);
        check_model(ctx, 2);
        if (cases[i].shards > 1) {
            index = files_read(files_path("d/model.safetensors.index.json"), NULL);
            assert_non_null(strstr(index, "\"total_size\": 200"));
            assert_non_null(strstr(index, "\"a\": \"model-0000"));
            free(index);
        }
        files_clear();
        bare_close(&b);
    }
}

static void shards_say_that_they_are_for_pytorch(void **state)
{
    (void)state;
    bare b;
    ewci_safetensors *st;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(write_model(ctx, 2, 100, NULL, false), EWC_OK);
    assert_int_equal(ewci_safetensors_open(ctx, files_path("d/model-00001-of-00003.safetensors"), &st), EWC_OK);
    assert_string_equal(ewci_safetensors_metadata(st, "format"), "pt");
    ewci_safetensors_close(st);
    bare_close(&b);
}

static void does_not_overwrite_unless_asked(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    files_make_directory("d");
    REFUSED(ctx, write_model(ctx, 1, 0, NULL, false), EWC_ERROR_EXISTS, "/d exists", "overwriting");
    assert_int_equal(files_count(files_path("d")), 0);
    rmdir(files_path("d"));
    files_text("d", "a file");
    REFUSED(ctx, write_model(ctx, 1, 0, NULL, false), EWC_ERROR_EXISTS, "/d exists");
    REFUSED(ctx, write_model(ctx, 1, 0, NULL, true), EWC_ERROR_IO, "/d", "directory");
    assert_int_equal(files_count(files_directory()), 1);
    bare_close(&b);
}

/* From one file to shards, to other shards, to the same ones, and back: no old weights are left, other files stay. */
static void overwriting_replaces_the_weights_alone(void **state)
{
    (void)state;
    static const struct {
        int64_t bytes;
        int files;
    } turns[] = {{0, 2}, {100, 5}, {100, 5}, {100, 5}, {40, 7}, {0, 2}, {0, 2}, {40, 7}};
    bare b;
    ewc_context *ctx = bare_open(&b);
    files_make_directory("d");
    files_text("d/notes.txt", "mine");
    files_text("d/reference.safetensors", "mine too");
    files_make_directory("d/state");
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
        if (write_model(ctx, (float)i, turns[i].bytes, NULL, true) != EWC_OK) fail_msg("%s", ewc_last_error(ctx));
        check_model(ctx, (float)i);
        assert_int_equal(files_count(files_path("d")), turns[i].files + 3);
    }
    assert_int_equal(files_count(files_directory()), 1);
    bare_close(&b);
}

/* The index is the last to be put into place: with a directory where it belongs, everything else has been moved. */
static void interrupted_before_the_index_the_old_shards_still_count(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(write_model(ctx, 1, 100, NULL, false), EWC_OK);
    assert_int_equal(rename(files_path("d/model.safetensors.index.json"), files_path("index")), 0);
    files_make_directory("d/model.safetensors.index.json");
    files_text("d/model.safetensors.index.json/x", "");
    REFUSED(ctx, write_model(ctx, 2, 100, NULL, true), EWC_ERROR_IO, "model.safetensors.index.json");
    assert_int_equal(unlink(files_path("d/model.safetensors.index.json/x")), 0);
    assert_int_equal(rmdir(files_path("d/model.safetensors.index.json")), 0);
    assert_int_equal(rename(files_path("index"), files_path("d/model.safetensors.index.json")), 0);
    check_model(ctx, 1);
    assert_int_equal(write_model(ctx, 3, 100, NULL, true), EWC_OK);
    check_model(ctx, 3);
    assert_int_equal(files_count(files_path("d")), 5); /* what the interrupted one left is gone */
    bare_close(&b);
}

static void tokenizer_files_are_carried_over(void **state)
{
    (void)state;
    static const char *const carried[] = {"tokenizer.model",         "tokenizer.json",    "tokenizer_config.json",
                                          "special_tokens_map.json", "added_tokens.json", "generation_config.json",
                                          "chat_template.jinja"};
    bare b;
    char name[64];
    ewc_context *ctx = bare_open(&b);
    files_make_directory("source");
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++) {
        snprintf(name, sizeof name, "source/%s", carried[i]);
        files_text(name, carried[i]);
    }
    files_text("source/model.safetensors", "not this");
    files_text("source/config.json", "nor this");
    files_text("source/README.md", "nor this");
    files_make_directory("source/chat_templates");
    assert_int_equal(write_model(ctx, 1, 0, files_path("source"), false), EWC_OK);
    assert_int_equal(files_count(files_path("d")), 2 + 7);
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++) {
        snprintf(name, sizeof name, "d/%s", carried[i]);
        char *text = files_read(files_path(name), NULL);
        assert_string_equal(text, carried[i]);
        free(text);
    }
    check_model(ctx, 1);
    assert_int_equal(write_model(ctx, 2, 0, files_path("d"), true), EWC_OK); /* onto itself */
    assert_int_equal(files_count(files_path("d")), 2 + 7);
    assert_int_equal(b.warnings, 0);
    assert_int_equal(write_model(ctx, 3, 0, files_path("gone"), true), EWC_OK);
    assert_int_equal(b.warnings, 1);
    check_model(ctx, 3);
    bare_close(&b);
}

/* A directory with config.json, two shards (a and b; c) and the given index. */
static void make_sharded(ewc_context *ctx, const char *index)
{
    const float x[2] = {1, 2};
    const ewci_tensor_output t[3] = {{.name = "a", .dtype = EWC_F32, .rank = 1, .shape = {2}, .values = x},
                                     {.name = "b", .dtype = EWC_F32, .rank = 1, .shape = {2}, .values = x},
                                     {.name = "c", .dtype = EWC_F32, .rank = 1, .shape = {2}, .values = x}};
    if (!ewci_path_exists(files_path("m"))) files_make_directory("m");
    files_text("m/config.json", "{}");
    assert_int_equal(ewci_safetensors_write(ctx, files_path("m/one.safetensors"), 2, t, 0, NULL, true), EWC_OK);
    assert_int_equal(ewci_safetensors_write(ctx, files_path("m/two.safetensors"), 1, t + 2, 0, NULL, true), EWC_OK);
    assert_int_equal(ewci_safetensors_write(ctx, files_path("outside.safetensors"), 1, t + 2, 0, NULL, true), EWC_OK);
    files_text("m/model.safetensors.index.json", index);
}

static ewc_status open_model(ewc_context *ctx, const char *directory)
{
    ewci_hf *hf;
    ewc_status status = ewci_hf_open(ctx, directory, &hf);
    if (status == EWC_OK) ewci_hf_close(hf);
    return status;
}

#define INDEX(map) "{\"metadata\": {\"total_size\": 24}, \"weight_map\": " map "}"
#define INDEX_REFUSED(index, status, ...)                                        \
    do {                                                                         \
        bare b_;                                                                 \
        ewc_context *ctx_ = bare_open(&b_);                                      \
        make_sharded(ctx_, (index));                                             \
        REFUSED(ctx_, open_model(ctx_, files_path("m")), (status), __VA_ARGS__); \
        bare_close(&b_);                                                         \
    } while (0)

static void the_index_is_checked(void **state)
{
    (void)state;
    static const char index[] = "model.safetensors.index.json";
    static const ewc_status format = EWC_ERROR_FORMAT;
    bare b;
    ewc_context *ctx = bare_open(&b);
    make_sharded(ctx, INDEX("{\"c\": \"two.safetensors\", \"a\": \"one.safetensors\", \"b\": \"one.safetensors\"}"));
    assert_int_equal(open_model(ctx, files_path("m")), EWC_OK);
    bare_close(&b);
    INDEX_REFUSED("{}", format, index, "weight_map", "nothing");
    INDEX_REFUSED(INDEX("{}"), format, index, "weight_map");
    INDEX_REFUSED(INDEX("[]"), format, index, "weight_map", "an array");
    INDEX_REFUSED(INDEX("{\"a\": 5}"), format, index, "weight_map", "a:", "found 5");
    INDEX_REFUSED(INDEX("{\"a\": \"one.safetensors\", \"a\": \"two.safetensors\"}"), format, index,
                  "\"a\" occurs twice");
    INDEX_REFUSED("{\"weight_map\": ", format, index, "not valid JSON");
    INDEX_REFUSED(INDEX("{\"a\": \"one.safetensors\", \"b\": \"one.safetensors\", \"c\": \"one.safetensors\"}"), format,
                  index, "weight_map: c", "one.safetensors");
    INDEX_REFUSED(INDEX("{\"a\": \"one.safetensors\", \"c\": \"two.safetensors\"}"), format,
                  "one.safetensors: tensor b", index);
    INDEX_REFUSED(INDEX("{\"a\": \"one.safetensors\", \"b\": \"one.safetensors\", \"d\": \"two.safetensors\"}"), format,
                  index, "weight_map: d");
    INDEX_REFUSED(INDEX("{\"a\": \"none.safetensors\"}"), EWC_ERROR_IO, index, "none.safetensors", "No such file");
}

static void a_tensor_in_two_shards_is_refused(void **state)
{
    (void)state;
    const float x[2] = {1, 2};
    const ewci_tensor_output t[2] = {{.name = "c", .dtype = EWC_F32, .rank = 1, .shape = {2}, .values = x},
                                     {.name = "a", .dtype = EWC_F32, .rank = 1, .shape = {2}, .values = x}};
    bare b;
    ewc_context *ctx = bare_open(&b);
    make_sharded(ctx, INDEX("{\"c\": \"two.safetensors\", \"a\": \"one.safetensors\", \"b\": \"one.safetensors\"}"));
    assert_int_equal(ewci_safetensors_write(ctx, files_path("m/two.safetensors"), 2, t, 0, NULL, true), EWC_OK);
    REFUSED(ctx, open_model(ctx, files_path("m")), EWC_ERROR_FORMAT, "two.safetensors: tensor a", "in one shard alone",
            "one.safetensors");
    bare_close(&b);
}

static void names_may_not_leave_the_directory(void **state)
{
    (void)state;
    static const char *const bad[] = {"../outside.safetensors", "/etc/passwd",      "..", ".", "",
                                      "m/one.safetensors",      "./one.safetensors"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char index[256];
        snprintf(index, sizeof index, INDEX("{\"a\": \"%s\"}"), bad[i]);
        INDEX_REFUSED(index, EWC_ERROR_FORMAT, "weight_map: a", "same directory", bad[i]);
    }
}

static void says_what_is_missing(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    REFUSED(ctx, open_model(ctx, files_path("m")), EWC_ERROR_IO, "m/config.json", "No such file");
    files_make_directory("m");
    REFUSED(ctx, open_model(ctx, files_path("m")), EWC_ERROR_IO, "m/config.json", "No such file");
    files_text("m/config.json", "{}");
    REFUSED(ctx, open_model(ctx, files_path("m")), EWC_ERROR_IO, "/m", "model.safetensors.index.json", "neither",
            "transformers");
    files_text("m/model.safetensors", "");
    REFUSED(ctx, open_model(ctx, files_path("m")), EWC_ERROR_FORMAT, "m/model.safetensors");
    files_write("m/config.json", "{\0}", 3);
    REFUSED(ctx, open_model(ctx, files_path("m")), EWC_ERROR_FORMAT, "m/config.json", "NUL");
    files_text("file", "");
    REFUSED(ctx, open_model(ctx, files_path("file")), EWC_ERROR_IO, "/file", "expected a model directory");
    bare_close(&b);
}

static ewc_status open_it(ewc_context *ctx, void *directory)
{
    return open_model(ctx, directory);
}

static ewc_status write_it(ewc_context *ctx, void *user)
{
    ewc_status status = write_model(ctx, 5, 100, user, true);
    assert_int_equal(files_count(files_directory()), 2); /* the model and the source: no stage is left */
    return status;
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    bare b;
    char path[4200];
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(write_model(ctx, 1, 100, NULL, false), EWC_OK);
    bare_close(&b);
    files_set(path, sizeof path, files_path("d"));
    assert_in_range(bare_starve(open_it, path), 20, 200);
    files_set(path, sizeof path, files_make_directory("source"));
    files_text("source/tokenizer.model", "t");
    assert_in_range(bare_starve(write_it, path), 30, 400);
    check_model(bare_open(&b), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES_TEST(one_file_round_trip),
        FILES_TEST(text_parts_are_found_under_their_plain_names),
        FILES_TEST(shards_are_as_large_as_allowed),
        FILES_TEST(shards_say_that_they_are_for_pytorch),
        FILES_TEST(does_not_overwrite_unless_asked),
        FILES_TEST(overwriting_replaces_the_weights_alone),
        FILES_TEST(interrupted_before_the_index_the_old_shards_still_count),
        FILES_TEST(tokenizer_files_are_carried_over),
        FILES_TEST(the_index_is_checked),
        FILES_TEST(a_tensor_in_two_shards_is_refused),
        FILES_TEST(names_may_not_leave_the_directory),
        FILES_TEST(says_what_is_missing),
        FILES_TEST(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
