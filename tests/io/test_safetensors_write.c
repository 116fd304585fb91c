/* Writing safetensors: what is written reads back, converted exactly, aligned, in blocks, and whole or not at all. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/convert.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "support/bare.h"
#include "support/files.h"

enum { COUNT = 150001 }; /* more than two blocks, and odd */

/* Values that a rounding error would show in: every one differs from its bf16 and f16. */
static float value_of(int64_t tensor, int64_t index)
{
    return (float)(tensor + 1) * (float)(index - 70000) * 1.0009765F + 1e-3F;
}

typedef struct source {
    int64_t expected_next;
    int64_t largest;
} source;

static ewc_status read_values(void *user, int64_t tensor, int64_t first, int64_t count, float *values)
{
    source *s = user;
    assert_int_equal(first, s->expected_next);
    s->expected_next = first + count == COUNT ? 0 : first + count;
    if (count > s->largest) s->largest = count;
    for (int64_t i = 0; i < count; i++) values[i] = value_of(tensor, first + i);
    return EWC_OK;
}

static void round_trip_of_every_type_from_a_reader(void **state)
{
    (void)state;
    bare b;
    source s = {0};
    ewci_safetensors *st;
    ewc_context *ctx = bare_open(&b);
    const char *path = files_path("three.safetensors");
    ewci_tensor_output out[3];
    const char *names[] = {"full", "brain", "half \"quoted\" \xc4\x97"};
    for (int t = 0; t < 3; t++)
        out[t] = (ewci_tensor_output){.name = names[t],
                                      .dtype = (ewc_dtype)t,
                                      .rank = 1,
                                      .shape = {COUNT},
                                      .read = read_values,
                                      .user = &s,
                                      .tensor = t};
    assert_int_equal(ewci_safetensors_write(ctx, path, 3, out, 0, NULL, false), EWC_OK);
    assert_true(s.largest < COUNT / 2);
    assert_int_equal(ewci_safetensors_open(ctx, path, &st), EWC_OK);
    for (int t = 0; t < 3; t++) {
        const ewci_tensor_entry *e;
        float *read = malloc(COUNT * sizeof *read);
        assert_int_equal(ewci_safetensors_tensor(st, names[t], COUNT, 1, &e), EWC_OK);
        assert_int_equal(e->dtype, t);
        ewci_to_f32(read, e->data, e->dtype, COUNT);
        for (int64_t i = 0; i < COUNT; i++) {
            float x = value_of(t, i);
            float expected = t == 0   ? x
                             : t == 1 ? ewci_f32_of_bf16(ewci_bf16_of_f32(x))
                                      : ewci_f32_of_f16(ewci_f16_of_f32(x));
            if (memcmp(&read[i], &expected, sizeof expected) != 0) fail_msg("tensor %d, element %d", t, (int)i);
        }
        free(read);
    }
    ewci_safetensors_close(st);
    bare_close(&b);
}

static void round_trip_of_values_shapes_and_metadata(void **state)
{
    (void)state;
    bare b;
    ewci_safetensors *st;
    ewc_context *ctx = bare_open(&b);
    const char *path = files_path("pair.safetensors");
    const float values[6] = {0.0F, -0.0F, INFINITY, NAN, 1e-45F, -3.4e38F};
    const ewci_tensor_output out[] = {{.name = "m", .dtype = EWC_F32, .rank = 2, .shape = {2, 3}, .values = values},
                                      {.name = "none", .dtype = EWC_F32, .rank = 2, .shape = {0, 3}, .values = values},
                                      {.name = "v", .dtype = EWC_BF16, .rank = 1, .shape = {5}, .values = values}};
    const ewci_pair pairs[] = {{"estimator", "empirical"}, {"quote", "\"\n\\"}};
    assert_int_equal(ewci_safetensors_write(ctx, path, 3, out, 2, pairs, false), EWC_OK);
    assert_int_equal(ewci_safetensors_open(ctx, path, &st), EWC_OK);
    const ewci_tensor_entry *e = ewci_safetensors_find(st, "m");
    assert_true(e->rank == 2 && e->shape[0] == 2 && e->shape[1] == 3);
    assert_memory_equal(e->data, values, sizeof values);
    assert_int_equal(ewci_safetensors_find(st, "none")->count, 0);
    uint16_t kept[5];
    memcpy(kept, ewci_safetensors_find(st, "v")->data, sizeof kept);
    assert_true(isnan(ewci_f32_of_bf16(kept[3])) && isinf(ewci_f32_of_bf16(kept[2])));
    assert_string_equal(ewci_safetensors_metadata(st, "estimator"), "empirical");
    assert_string_equal(ewci_safetensors_metadata(st, "quote"), "\"\n\\");
    ewci_safetensors_close(st);
    bare_close(&b);
}

static void data_is_aligned_whatever_the_header(void **state)
{
    (void)state;
    bare b;
    ewci_safetensors *st;
    ewc_context *ctx = bare_open(&b);
    const float value = 1.0F;
    for (size_t length = 1; length < 18; length++) {
        char name[32] = "xxxxxxxxxxxxxxxxxxxxxxxx";
        name[length] = '\0';
        const ewci_tensor_output out = {.name = name, .dtype = EWC_F32, .rank = 1, .shape = {1}, .values = &value};
        size_t bytes;
        assert_int_equal(ewci_safetensors_write(ctx, files_path("a"), 1, &out, 0, NULL, true), EWC_OK);
        char *file = files_read(files_path("a"), &bytes);
        assert_int_equal((bytes - 4) % 8, 0);
        free(file);
        assert_int_equal(ewci_safetensors_open(ctx, files_path("a"), &st), EWC_OK);
        assert_true(ewci_safetensors_entry(st, 0)->aligned);
        ewci_safetensors_close(st);
    }
    bare_close(&b);
}

static void overwrites_only_when_asked(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    const float value = 1.0F;
    const ewci_tensor_output out = {.name = "t", .dtype = EWC_F32, .rank = 1, .shape = {1}, .values = &value};
    const char *path = files_text("here", "precious");
    REFUSED(ctx, ewci_safetensors_write(ctx, path, 1, &out, 0, NULL, false), EWC_ERROR_EXISTS, "here exists",
            "overwriting");
    char *kept = files_read(path, NULL);
    assert_string_equal(kept, "precious");
    free(kept);
    assert_int_equal(ewci_safetensors_write(ctx, path, 1, &out, 0, NULL, true), EWC_OK);
    assert_int_equal(files_count(files_directory()), 1);
    bare_close(&b);
}

static ewc_status read_and_fail(void *user, int64_t tensor, int64_t first, int64_t count, float *values)
{
    (void)user;
    (void)tensor;
    (void)first;
    (void)count;
    (void)values;
    return EWC_ERROR_CANCELLED;
}

static void a_failing_source_leaves_nothing(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    const ewci_tensor_output out = {.name = "t", .dtype = EWC_BF16, .rank = 1, .shape = {9}, .read = read_and_fail};
    assert_int_equal(ewci_safetensors_write(ctx, files_path("gone"), 1, &out, 0, NULL, false), EWC_ERROR_CANCELLED);
    assert_int_equal(files_count(files_directory()), 0);
    bare_close(&b);
}

static void refuses_impossible_tensors(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    const float value = 1.0F;
    ewci_tensor_output out = {.name = "t", .dtype = EWC_F32, .rank = 2, .shape = {INT64_MAX, 2}, .values = &value};
    REFUSED(ctx, ewci_safetensors_write(ctx, files_path("x"), 1, &out, 0, NULL, false), EWC_ERROR_ARGUMENT, "tensor t");
    out.shape[0] = -1;
    REFUSED(ctx, ewci_safetensors_write(ctx, files_path("x"), 1, &out, 0, NULL, false), EWC_ERROR_ARGUMENT, "tensor t");
    assert_int_equal(files_count(files_directory()), 0);
    bare_close(&b);
}

static ewc_status write_once(ewc_context *ctx, void *user)
{
    source s = {0};
    const ewci_pair pair = {"k", "v"};
    const ewci_tensor_output out[] = {
        {.name = "t", .dtype = EWC_BF16, .rank = 1, .shape = {COUNT}, .read = read_values, .user = &s, .tensor = 0},
    };
    ewc_status status = ewci_safetensors_write(ctx, user, 1, out, 1, &pair, true);
    int files = files_count(files_directory());
    assert_int_equal(files, status == EWC_OK ? 1 : files == 1 ? 1 : 0); /* the whole file, or nothing: no leftovers */
    return status;
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    char path[4200];
    files_set(path, sizeof path, files_path("starved"));
    assert_in_range(bare_starve(write_once, path), 4, 100);
}

/* cJSON takes its memory from malloc: its failures are made to happen through the hooks of this test program. */
static int64_t json_calls, json_fail_at;
static void *json_allocate(size_t bytes)
{
    return json_calls++ == json_fail_at ? NULL : malloc(bytes);
}

static void survives_every_failed_allocation_of_json(void **state)
{
    (void)state;
    cJSON_Hooks hooks = {json_allocate, free};
    bare b;
    ewc_context *ctx = bare_open(&b);
    ewc_status status = EWC_ERROR_MEMORY;
    cJSON_InitHooks(&hooks);
    for (json_fail_at = 0; status != EWC_OK && json_fail_at < 1000; json_fail_at++) {
        json_calls = 0;
        status = write_once(ctx, (void *)(uintptr_t)files_path("starved"));
        if (status != EWC_OK) REFUSED(ctx, status, EWC_ERROR_MEMORY, "no memory", "starved");
    }
    cJSON_InitHooks(NULL);
    assert_int_equal(status, EWC_OK);
    assert_true(json_fail_at > 10);
    bare_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES_TEST(round_trip_of_every_type_from_a_reader), FILES_TEST(round_trip_of_values_shapes_and_metadata),
        FILES_TEST(data_is_aligned_whatever_the_header),    FILES_TEST(overwrites_only_when_asked),
        FILES_TEST(a_failing_source_leaves_nothing),        FILES_TEST(refuses_impossible_tensors),
        FILES_TEST(survives_every_failed_allocation),       FILES_TEST(survives_every_failed_allocation_of_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
