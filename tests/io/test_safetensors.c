/* Reading safetensors: what is accepted, and every refusal with the file and the field in its text. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/safetensors.h"
#include "support/bare.h"
#include "support/files.h"

/* A file of a header and `data_bytes` bytes 0, 1, 2, ... */
static const char *make(const char *header, size_t data_bytes)
{
    size_t length = strlen(header);
    unsigned char *bytes = malloc(8 + length + data_bytes);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(length >> (8 * i));
    for (size_t i = 0; i < length; i++) bytes[8 + i] = (unsigned char)header[i];
    for (size_t i = 0; i < data_bytes; i++) bytes[8 + length + i] = (unsigned char)i;
    const char *path = files_write("case.safetensors", bytes, 8 + length + data_bytes);
    free(bytes);
    return path;
}

/* Opens a made file, which must be refused with all words. */
#define MAKE_REFUSED(header, data_bytes, ...)                                              \
    do {                                                                                   \
        bare b;                                                                            \
        ewci_safetensors *st = NULL;                                                       \
        ewc_context *ctx = bare_open(&b);                                                  \
        ewc_status status = ewci_safetensors_open(ctx, make((header), (data_bytes)), &st); \
        REFUSED(ctx, status, EWC_ERROR_FORMAT, "case.safetensors", __VA_ARGS__);           \
        assert_null(st);                                                                   \
        bare_close(&b);                                                                    \
    } while (0)

/* The header of one tensor t with the given fields. */
#define ONE(fields) "{\"t\":{" fields "}}"

static void reads_tensors_metadata_and_order(void **state)
{
    (void)state;
    bare b;
    ewci_safetensors *st;
    ewc_context *ctx = bare_open(&b);
    const char *path = make("{\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                            "\"__metadata__\":{\"format\":\"pt\",\"note\":\"\\u0117\"},"
                            "\"a\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
                            "\"empty\":{\"dtype\":\"F32\",\"shape\":[4,0],\"data_offsets\":[8,8]}}   ",
                            20);
    assert_int_equal(ewci_safetensors_open(ctx, path, &st), EWC_OK);
    assert_int_equal(ewci_safetensors_count(st), 3);
    assert_string_equal(ewci_safetensors_entry(st, 0)->name, "a");
    assert_string_equal(ewci_safetensors_entry(st, 1)->name, "empty");
    assert_string_equal(ewci_safetensors_entry(st, 2)->name, "b");
    assert_string_equal(ewci_safetensors_metadata(st, "format"), "pt");
    assert_string_equal(ewci_safetensors_metadata(st, "note"), "\xc4\x97");
    assert_null(ewci_safetensors_metadata(st, "Format"));
    const ewci_tensor_entry *e = ewci_safetensors_find(st, "b");
    assert_non_null(e);
    assert_true(e->usable && e->dtype == EWC_BF16 && e->rank == 2 && e->shape[0] == 2 && e->shape[1] == 3);
    assert_int_equal(e->count, 6);
    assert_int_equal(e->bytes, 12);
    assert_int_equal(*(const unsigned char *)e->data, 8);
    e = ewci_safetensors_find(st, "a");
    assert_false(e->usable);
    assert_int_equal(e->count, 1);
    assert_null(ewci_safetensors_find(st, "c"));
    ewci_safetensors_close(st);
    bare_close(&b);
}

static void reads_a_file_without_tensors(void **state)
{
    (void)state;
    bare b;
    ewci_safetensors *st;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_safetensors_open(ctx, make("{}", 0), &st), EWC_OK);
    assert_int_equal(ewci_safetensors_count(st), 0);
    assert_null(ewci_safetensors_find(st, "t"));
    assert_null(ewci_safetensors_metadata(st, "k"));
    ewci_safetensors_close(st);
    bare_close(&b);
}

static void knows_every_element_type_and_its_size(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int bytes_of_eight;
    } types[] = {{"F32", 32},    {"BF16", 16},   {"F16", 16},    {"F64", 64},    {"I64", 64},
                 {"I32", 32},    {"I16", 16},    {"I8", 8},      {"U64", 64},    {"U32", 32},
                 {"U16", 16},    {"U8", 8},      {"BOOL", 8},    {"C64", 64},    {"F8_E4M3", 8},
                 {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bare b;
        ewci_safetensors *st;
        ewc_context *ctx = bare_open(&b);
        char header[128];
        snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[8],\"data_offsets\":[0,%d]}}",
                 types[i].name, types[i].bytes_of_eight);
        assert_int_equal(ewci_safetensors_open(ctx, make(header, (size_t)types[i].bytes_of_eight), &st), EWC_OK);
        assert_string_equal(ewci_safetensors_entry(st, 0)->type, types[i].name);
        assert_int_equal(ewci_safetensors_entry(st, 0)->usable, i < 3);
        ewci_safetensors_close(st);
        bare_close(&b);
    }
}

static void says_when_data_is_not_aligned(void **state)
{
    (void)state;
    bare b;
    ewci_safetensors *st;
    ewc_context *ctx = bare_open(&b);
    const char *odd = "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    char header[128];
    for (size_t spaces = 0; spaces < 8; spaces++) {
        snprintf(header, sizeof header, "%s%.*s", odd, (int)spaces, "        ");
        assert_int_equal(ewci_safetensors_open(ctx, make(header, 4), &st), EWC_OK);
        assert_int_equal(ewci_safetensors_entry(st, 0)->aligned, (8 + strlen(header)) % 4 == 0);
        ewci_safetensors_close(st);
    }
    bare_close(&b);
}

static void refuses_bad_header_lengths(void **state)
{
    (void)state;
    bare b;
    ewci_safetensors *st;
    ewc_context *ctx = bare_open(&b);
    static const unsigned char beyond[] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    static const unsigned char huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
    static const unsigned char none[] = {0, 0, 0, 0, 0, 0, 0, 0};
    static const unsigned char space[] = {3, 0, 0, 0, 0, 0, 0, 0, ' ', '{', '}'};
    REFUSED(ctx, ewci_safetensors_open(ctx, files_write("x", beyond, sizeof beyond), &st), EWC_ERROR_FORMAT,
            "x: header length", "found 3");
    REFUSED(ctx, ewci_safetensors_open(ctx, files_write("x", huge, sizeof huge), &st), EWC_ERROR_FORMAT,
            "x: header length", "18446744073709551615");
    REFUSED(ctx, ewci_safetensors_open(ctx, files_write("x", none, sizeof none), &st), EWC_ERROR_FORMAT, "x: header",
            "'{'");
    REFUSED(ctx, ewci_safetensors_open(ctx, files_write("x", space, sizeof space), &st), EWC_ERROR_FORMAT, "x: header",
            "'{'");
    REFUSED(ctx, ewci_safetensors_open(ctx, files_write("x", "", 0), &st), EWC_ERROR_FORMAT, "x:", "found 0 bytes");
    bare_close(&b);
}

static void refuses_a_missing_file_a_directory_and_a_pipe(void **state)
{
    (void)state;
    bare b;
    ewci_safetensors *st;
    ewc_context *ctx = bare_open(&b);
    REFUSED(ctx, ewci_safetensors_open(ctx, files_path("nothing"), &st), EWC_ERROR_IO, "nothing", "No such file",
            "name");
    REFUSED(ctx, ewci_safetensors_open(ctx, files_directory(), &st), EWC_ERROR_IO, files_directory(), "a directory");
    REFUSED(ctx, ewci_safetensors_open(ctx, "/dev/null", &st), EWC_ERROR_IO, "/dev/null", "a pipe or device");
    bare_close(&b);
}

static void refuses_what_is_not_strict_json(void **state)
{
    (void)state;
    MAKE_REFUSED("{\"t\":1,}", 0, "not valid JSON", "column 8");
    MAKE_REFUSED("{} x", 0, "not valid JSON", "'x'");
    MAKE_REFUSED("{\"a\xff\":1}", 0, "not valid JSON", "UTF-8");
    MAKE_REFUSED("{\"a\\u0000\":1}", 0, "not valid JSON", "NUL");
    char deep[400] = "{\"a\":";
    memset(deep + 5, '[', 100);
    memset(deep + 105, ']', 100);
    deep[205] = '}';
    MAKE_REFUSED(deep, 0, "nesting");
}

static void names_from_files_cannot_command_a_terminal(void **state)
{
    (void)state;
    MAKE_REFUSED("{\"a\\u001b[2J\\u007f\":7}", 0, "tensor a?[2J?:");
}

static void refuses_names_that_occur_twice(void **state)
{
    (void)state;
#define T "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}"
    MAKE_REFUSED("{\"t\":" T ",\"t\":" T "}", 1, "\"t\" occurs twice");
    MAKE_REFUSED("{\"t\":" T ",\"\\u0074\":" T "}", 1, "\"t\" occurs twice");
    MAKE_REFUSED("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "\"k\" occurs twice");
    MAKE_REFUSED(ONE("\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]"), 1,
                 "\"dtype\" occurs twice");
#undef T
}

static void refuses_bad_metadata(void **state)
{
    (void)state;
    MAKE_REFUSED("{\"__metadata__\":[]}", 0, "__metadata__: expected an object, found an array");
    MAKE_REFUSED("{\"__metadata__\":{\"k\":3}}", 0, "__metadata__: k: expected a string, found 3");
}

static void refuses_bad_types(void **state)
{
    (void)state;
    MAKE_REFUSED("{\"t\":7}", 0, "tensor t", "found 7");
    MAKE_REFUSED(ONE("\"shape\":[1],\"data_offsets\":[0,1]"), 1, "tensor t: dtype", "found nothing");
    MAKE_REFUSED(ONE("\"dtype\":\"Q9\",\"shape\":[1],\"data_offsets\":[0,1]"), 1, "tensor t: dtype", "\"Q9\"");
    MAKE_REFUSED(ONE("\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,1]"), 1, "tensor t: dtype", "found 4");
}

static void refuses_bad_shapes(void **state)
{
    (void)state;
#define SHAPE(shape) ONE("\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[0,4]")
    MAKE_REFUSED(ONE("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, "tensor t: shape", "found nothing");
    MAKE_REFUSED(SHAPE("{}"), 4, "tensor t: shape", "an object");
    MAKE_REFUSED(SHAPE("[-1]"), 4, "tensor t: shape", "found -1");
    MAKE_REFUSED(SHAPE("[1.5]"), 4, "tensor t: shape", "found 1.5");
    MAKE_REFUSED(SHAPE("[\"1\"]"), 4, "tensor t: shape", "found \"1\"");
    MAKE_REFUSED(SHAPE("[9007199254740992]"), 4, "tensor t: shape");
    MAKE_REFUSED(SHAPE("[1e400]"), 4, "a number that a double can hold");
    MAKE_REFUSED(SHAPE("[4294967296,4294967296]"), 4, "tensor t: shape", "product");
    MAKE_REFUSED(SHAPE("[9007199254740991,1024]"), 4, "tensor t: shape", "product");
    MAKE_REFUSED(SHAPE("[1,1,1,1,1,1,1,1,1]"), 4, "tensor t: shape", "8 dimensions");
    MAKE_REFUSED(ONE("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]"), 2, "tensor t: shape",
                 "a whole number of bytes");
#undef SHAPE
}

static void refuses_bad_offsets(void **state)
{
    (void)state;
#define OFFSETS(offsets) ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets)
    MAKE_REFUSED(ONE("\"dtype\":\"F32\",\"shape\":[2]"), 8, "tensor t: data_offsets", "found nothing");
    MAKE_REFUSED(OFFSETS("[0]"), 8, "tensor t: data_offsets");
    MAKE_REFUSED(OFFSETS("[0,8,8]"), 8, "tensor t: data_offsets");
    MAKE_REFUSED(OFFSETS("[-8,0]"), 8, "tensor t: data_offsets", "found -8");
    MAKE_REFUSED(OFFSETS("[0,8.5]"), 8, "tensor t: data_offsets", "found 8.5");
    MAKE_REFUSED(OFFSETS("[0,\"8\"]"), 8, "tensor t: data_offsets", "found \"8\"");
    MAKE_REFUSED(OFFSETS("[8,0]"), 8, "tensor t: data_offsets", "8 to 0");
    MAKE_REFUSED(OFFSETS("[4,12]"), 8, "tensor t: data_offsets", "4 to 12 in 8 bytes");
    MAKE_REFUSED(OFFSETS("[0,1e400]"), 8, "a number that a double can hold");
    MAKE_REFUSED(OFFSETS("[0,4]"), 4, "tensor t: data_offsets: expected 8 bytes", "found 4");
#undef OFFSETS
}

static void refuses_overlaps_gaps_and_trailing_bytes(void **state)
{
    (void)state;
#define PAIR(second)                                                  \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}," \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" second "}}"
    MAKE_REFUSED(PAIR("[2,6]"), 6, "tensor b", "overlap");
    MAKE_REFUSED(PAIR("[0,4]"), 4, "tensor b", "overlap");
    MAKE_REFUSED(PAIR("[5,9]"), 9, "tensor b", "a gap of 1 bytes");
    MAKE_REFUSED(PAIR("[4,8]"), 11, "3 more bytes");
    MAKE_REFUSED("{}", 1, "1 more bytes");
    MAKE_REFUSED(ONE("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[1,5]"), 5, "tensor t", "a gap of 1 bytes");
#undef PAIR
}

static void refuses_a_file_cut_short_anywhere(void **state)
{
    (void)state;
    bare b;
    ewci_safetensors *st = NULL;
    ewc_context *ctx = bare_open(&b);
    size_t count;
    char *bytes = files_read(make("{\"__metadata__\":{\"k\":\"v\"},\"t\":{\"dtype\":\"F16\",\"shape\":[2,2],"
                                  "\"data_offsets\":[0,8]}}",
                                  8),
                             &count);
    for (size_t n = 0; n < count; n++)
        REFUSED(ctx, ewci_safetensors_open(ctx, files_write("short.safetensors", bytes, n), &st), EWC_ERROR_FORMAT,
                "short.safetensors");
    free(bytes);
    bare_close(&b);
}

/* Every byte of a small file replaced by several others: any answer is right but a crash. */
static void survives_every_changed_byte(void **state)
{
    (void)state;
    static const char changes[] = "\0\xff\"{],9-\\";
    bare b;
    ewc_context *ctx = bare_open(&b);
    size_t count;
    char *bytes =
        files_read(make("{\"__metadata__\":{\"k\":\"v\"},\"t\":{\"dtype\":\"F16\",\"shape\":[2,2],"
                        "\"data_offsets\":[0,8]},\"u\":{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[8,9]}}",
                        9),
                   &count);
    for (size_t n = 0; n < count; n++) {
        char kept = bytes[n];
        for (size_t c = 0; c < sizeof changes - 1; c++) {
            ewci_safetensors *st = NULL;
            bytes[n] = changes[c];
            if (ewci_safetensors_open(ctx, files_write("changed", bytes, count), &st) == EWC_OK)
                ewci_safetensors_close(st);
        }
        bytes[n] = kept;
    }
    free(bytes);
    bare_close(&b);
}

static void finds_a_tensor_of_the_wanted_shape_and_type(void **state)
{
    (void)state;
    bare b;
    ewci_safetensors *st;
    const ewci_tensor_entry *e = NULL;
    ewc_context *ctx = bare_open(&b);
    const char *path = make("{\"m\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
                            "\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]},"
                            "\"i\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[20,22]}}",
                            22);
    assert_int_equal(ewci_safetensors_open(ctx, path, &st), EWC_OK);
    assert_int_equal(ewci_safetensors_tensor(st, "m", 2, 3, &e), EWC_OK);
    assert_int_equal(ewci_safetensors_tensor(st, "v", 2, 1, &e), EWC_OK);
    assert_string_equal(e->name, "v");
    REFUSED(ctx, ewci_safetensors_tensor(st, "w", 2, 3, &e), EWC_ERROR_MISMATCH, "case.safetensors", "tensor w",
            "nothing");
    REFUSED(ctx, ewci_safetensors_tensor(st, "m", 3, 2, &e), EWC_ERROR_MISMATCH, "tensor m", "[3, 2]", "found [2, 3]");
    REFUSED(ctx, ewci_safetensors_tensor(st, "m", 6, 1, &e), EWC_ERROR_MISMATCH, "tensor m", "[6]", "found [2, 3]");
    REFUSED(ctx, ewci_safetensors_tensor(st, "v", 1, 2, &e), EWC_ERROR_MISMATCH, "tensor v", "[1, 2]", "found [2]");
    REFUSED(ctx, ewci_safetensors_tensor(st, "i", 2, 1, &e), EWC_ERROR_UNSUPPORTED, "tensor i", "BF16", "found I8");
    assert_string_equal(e->name, "v");
    ewci_safetensors_close(st);
    bare_close(&b);
}

static ewc_status open_and_close(ewc_context *ctx, void *path)
{
    ewci_safetensors *st;
    ewc_status status = ewci_safetensors_open(ctx, path, &st);
    if (status == EWC_OK) ewci_safetensors_close(st);
    return status;
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    char header[2000] = "{";
    for (int i = 0; i < 20; i++) /* enough names for the check of duplicates to need memory */
        sprintf(header + strlen(header), "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                i ? "," : "", i, i, i + 1);
    files_append(header, sizeof header, "}");
    char path[4200];
    files_set(path, sizeof path, make(header, 20));
    assert_in_range(bare_starve(open_and_close, path), 5, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES_TEST(reads_tensors_metadata_and_order),
        FILES_TEST(reads_a_file_without_tensors),
        FILES_TEST(knows_every_element_type_and_its_size),
        FILES_TEST(says_when_data_is_not_aligned),
        FILES_TEST(refuses_bad_header_lengths),
        FILES_TEST(refuses_a_missing_file_a_directory_and_a_pipe),
        FILES_TEST(refuses_what_is_not_strict_json),
        FILES_TEST(names_from_files_cannot_command_a_terminal),
        FILES_TEST(refuses_names_that_occur_twice),
        FILES_TEST(refuses_bad_metadata),
        FILES_TEST(refuses_bad_types),
        FILES_TEST(refuses_bad_shapes),
        FILES_TEST(refuses_bad_offsets),
        FILES_TEST(refuses_overlaps_gaps_and_trailing_bytes),
        FILES_TEST(refuses_a_file_cut_short_anywhere),
        FILES_TEST(survives_every_changed_byte),
        FILES_TEST(finds_a_tensor_of_the_wanted_shape_and_type),
        FILES_TEST(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
