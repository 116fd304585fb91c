/* One-dimensional npy files: what NumPy writes is read, everything else is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/npy.h"
#include "support/bare.h"
#include "support/files.h"

/* A file of the given version and header text, with data behind it. */
static const char *make(int major, const char *header, const void *data, size_t bytes)
{
    unsigned char file[1024] = "\x93NUMPY";
    size_t length = strlen(header), at = 6;
    file[at++] = (unsigned char)major;
    file[at++] = 0;
    for (int i = 0; i < (major == 1 ? 2 : 4); i++) file[at++] = (unsigned char)(length >> (8 * i));
    memcpy(file + at, header, length);
    memcpy(file + at + length, data, bytes);
    return files_write("case.npy", file, at + length + bytes);
}

static const unsigned char eight[] = {1, 0, 2, 0, 0xff, 0xff, 0xff, 0xff};

static void reads_every_type_and_version(void **state)
{
    (void)state;
    bare b;
    ewci_npy npy;
    ewc_context *ctx = bare_open(&b);
    const char *u2 = "{'descr': '<u2', 'fortran_order': False, 'shape': (4,), }      \n";
    for (int version = 1; version <= 3; version++) {
        assert_int_equal(ewci_npy_open(ctx, make(version, u2, eight, 8), &npy), EWC_OK);
        assert_int_equal(npy.count, 4);
        assert_int_equal(ewci_npy_id(&npy, 0), 1);
        assert_int_equal(ewci_npy_id(&npy, 3), 65535);
        ewci_npy_close(&npy);
    }
    assert_int_equal(ewci_npy_open(ctx, make(1, "{\"shape\":(2,),\"fortran_order\":True,\"descr\":\"<u4\"}", eight, 8),
                                   &npy),
                     EWC_OK);
    assert_int_equal(ewci_npy_id(&npy, 0), 131073);
    assert_true(ewci_npy_id(&npy, 1) == 4294967295LL);
    ewci_npy_close(&npy);
    assert_int_equal(ewci_npy_open(ctx, make(2, "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}\n", eight, 8),
                                   &npy),
                     EWC_OK);
    assert_int_equal(ewci_npy_id(&npy, 1), -1);
    ewci_npy_close(&npy);
    assert_int_equal(ewci_npy_open(ctx, make(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (0,)}\n", "", 0),
                                   &npy),
                     EWC_OK);
    assert_int_equal(npy.count, 0);
    ewci_npy_close(&npy);
    bare_close(&b);
}

static void refuses_other_headers(void **state)
{
    (void)state;
#define FIELDS(descr, order, shape) "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }"
    static const struct {
        const char *header, *field, *found;
    } cases[] = {
        {FIELDS("'<i8'", "False", "(1,)"), "descr", "<i8"},
        {FIELDS("'>u2'", "False", "(4,)"), "descr", ">u2"},
        {FIELDS("'|u1'", "False", "(8,)"), "descr", "|u1"},
        {FIELDS("'<f4'", "False", "(2,)"), "descr", "<f4"},
        {FIELDS("[('a', '<u2')]", "False", "(4,)"), "descr", "[("},
        {FIELDS("<u2", "False", "(4,)"), "descr", "<u2"},
        {FIELDS("'<u2'", "0", "(4,)"), "fortran_order", "0"},
        {FIELDS("'<u2'", "False", "(2, 2)"), "shape", "(2, 2)"},
        {FIELDS("'<u2'", "False", "()"), "shape", "()"},
        {FIELDS("'<u2'", "False", "4"), "shape", "4"},
        {FIELDS("'<u2'", "False", "(4)"), "shape", "(4)"},
        {FIELDS("'<u2'", "False", "(-4,)"), "shape", "(-4,)"},
        {FIELDS("'<u2'", "False", "(4.0,)"), "shape", "(4.0,)"},
        {FIELDS("'<u2'", "False", "(99999999999999999999,)"), "shape", "9999"},
        {"{'descr': '<u2', 'fortran_order': False, }", "shape", "nothing"},
        {"{'descr': '<u2', 'shape': (4,), }", "fortran_order", "nothing"},
        {"{'fortran_order': False, 'shape': (4,), }", "descr", "nothing"},
        {"{'descr': '<u2', 'descr': '<u2', 'fortran_order': False, 'shape': (4,)}", "each once", "'descr'"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (4,), 'more': 1}", "each once", "'more'"},
        {"{'descr': '<u2' 'fortran_order': False, 'shape': (4,)}", "descr", "'fortran_order'"},
        {"{'descr' '<u2', 'fortran_order': False, 'shape': (4,)}", "descr", "'<u2'"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (4,)} x", "end", "x"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (4,)", "shape", "\"\""},
        {"'descr': '<u2'}", "beginning", "'descr'"},
        {"{'descr: 1}", "field", "'descr"},
        {"{", "field", "\"\""},
        {"", "beginning", "\"\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bare b;
        ewci_npy npy;
        ewc_context *ctx = bare_open(&b);
        ewc_status status = ewci_npy_open(ctx, make(1, cases[i].header, eight, 8), &npy);
        if (status != EWC_ERROR_FORMAT && status != EWC_ERROR_UNSUPPORTED) fail_msg("accepted: %s", cases[i].header);
        REFUSED(ctx, status, status, "case.npy: npy header", cases[i].field, cases[i].found);
        bare_close(&b);
    }
}

static void refuses_what_is_no_npy_file(void **state)
{
    (void)state;
    bare b;
    ewci_npy npy;
    ewc_context *ctx = bare_open(&b);
    const char *u2 = "{'descr': '<u2', 'fortran_order': False, 'shape': (4,)}";
    REFUSED(ctx, ewci_npy_open(ctx, files_text("t.npy", "some text that is long enough"), &npy), EWC_ERROR_FORMAT,
            "t.npy", "NUMPY");
    REFUSED(ctx, ewci_npy_open(ctx, files_text("t.npy", ""), &npy), EWC_ERROR_FORMAT, "t.npy", "NUMPY");
    REFUSED(ctx, ewci_npy_open(ctx, make(4, u2, eight, 8), &npy), EWC_ERROR_UNSUPPORTED, "case.npy: npy version",
            "4.0");
    REFUSED(ctx, ewci_npy_open(ctx, make(0, u2, eight, 8), &npy), EWC_ERROR_UNSUPPORTED, "case.npy: npy version",
            "0.0");
    REFUSED(ctx, ewci_npy_open(ctx, make(1, u2, eight, 7), &npy), EWC_ERROR_FORMAT, "case.npy", "found 7 bytes",
            "cut short");
    REFUSED(ctx, ewci_npy_open(ctx, make(1, u2, "123456789", 9), &npy), EWC_ERROR_FORMAT, "case.npy", "found 9 bytes",
            "too long");
    REFUSED(ctx, ewci_npy_open(ctx, make(1, u2, "1234567890", 10), &npy), EWC_ERROR_FORMAT, "case.npy",
            "found 10 bytes", "too long");
    bare_close(&b);
}

static void refuses_a_file_cut_short_anywhere(void **state)
{
    (void)state;
    bare b;
    ewci_npy npy;
    ewc_context *ctx = bare_open(&b);
    for (int version = 1; version <= 2; version++) {
        size_t count;
        char *bytes =
            files_read(make(version, "{'descr': '<u2', 'fortran_order': False, 'shape': (4,)}  \n", eight, 8), &count);
        for (size_t n = 0; n < count; n++)
            REFUSED(ctx, ewci_npy_open(ctx, files_write("short.npy", bytes, n), &npy), EWC_ERROR_FORMAT, "short.npy");
        free(bytes);
    }
    bare_close(&b);
}

static void survives_every_changed_byte(void **state)
{
    (void)state;
    static const char changes[] = "\0\xff'({},:9 ";
    bare b;
    ewc_context *ctx = bare_open(&b);
    size_t count;
    char *bytes = files_read(make(1, "{'descr': '<u2', 'fortran_order': False, 'shape': (4,)}", eight, 8), &count);
    for (size_t n = 0; n < count; n++) {
        char kept = bytes[n];
        for (size_t c = 0; c < sizeof changes - 1; c++) {
            ewci_npy npy;
            bytes[n] = changes[c];
            if (ewci_npy_open(ctx, files_write("changed.npy", bytes, count), &npy) == EWC_OK) ewci_npy_close(&npy);
        }
        bytes[n] = kept;
    }
    free(bytes);
    bare_close(&b);
}

static void finds_ids_outside_a_range(void **state)
{
    (void)state;
    static const int32_t ids[] = {0, 5, 6, -1, 2147483647};
    bare b;
    ewci_npy npy;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_npy_open(ctx,
                                   make(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (5,)}", ids, sizeof ids),
                                   &npy),
                     EWC_OK);
    assert_int_equal(ewci_npy_find_outside(&npy, 0, 3, 7), -1);
    assert_int_equal(ewci_npy_find_outside(&npy, 0, 5, 7), 3);
    assert_int_equal(ewci_npy_find_outside(&npy, 0, 5, 6), 2);
    assert_int_equal(ewci_npy_find_outside(&npy, 4, 1, 2147483648LL), -1);
    assert_int_equal(ewci_npy_find_outside(&npy, 4, 1, 2147483647LL), 4);
    ewci_npy_close(&npy);
    assert_int_equal(ewci_npy_open(ctx, make(1, "{'descr': '<u2', 'fortran_order': False, 'shape': (4,)}", eight, 8),
                                   &npy),
                     EWC_OK);
    assert_int_equal(ewci_npy_find_outside(&npy, 0, 4, 65535), 2);
    assert_int_equal(ewci_npy_find_outside(&npy, 0, 4, 65536), -1);
    ewci_npy_close(&npy);
    bare_close(&b);
}

static void writes_ids_as_narrow_as_they_fit(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    bare b;
    ewci_npy npy;
    ewc_context *ctx = bare_open(&b);
    int32_t *ids = malloc(COUNT * sizeof *ids), *read = malloc(COUNT * sizeof *read);
    for (int i = 0; i < COUNT; i++) ids[i] = (i * 7919) % 65536;
    ids[3] = 65535;
    for (int wide = 0; wide < 2; wide++) {
        if (wide) ids[COUNT - 1] = 65536;
        assert_int_equal(ewci_npy_write_ids(ctx, files_path("w.npy"), ids, COUNT, true), EWC_OK);
        assert_int_equal(ewci_npy_open(ctx, files_path("w.npy"), &npy), EWC_OK);
        assert_int_equal(npy.type, wide ? EWCI_NPY_U32 : EWCI_NPY_U16);
        assert_int_equal((npy.data - npy.map.data) % 64, 0);
        assert_int_equal(npy.count, COUNT);
        ewci_npy_copy(&npy, 0, COUNT, read);
        assert_memory_equal(read, ids, COUNT * sizeof *ids);
        ewci_npy_close(&npy);
    }
    REFUSED(ctx, ewci_npy_write_ids(ctx, files_path("w.npy"), ids, COUNT, false), EWC_ERROR_EXISTS, "w.npy");
    ids[77] = -2;
    REFUSED(ctx, ewci_npy_write_ids(ctx, files_path("x.npy"), ids, COUNT, false), EWC_ERROR_ARGUMENT, "x.npy: token 77",
            "found -2");
    assert_int_equal(ewci_npy_write_ids(ctx, files_path("none.npy"), ids, 0, false), EWC_OK);
    assert_int_equal(ewci_npy_open(ctx, files_path("none.npy"), &npy), EWC_OK);
    assert_int_equal(npy.count, 0);
    ewci_npy_close(&npy);
    free(ids);
    free(read);
    bare_close(&b);
}

static void writes_floats_byte_for_byte_as_numpy_does(void **state)
{
    (void)state;
    static const char expected[] =
        "\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"
        "                                                            \n\x00\x00\x80\x3f\x00\x00\x00\xc0";
    const float values[] = {1.0F, -2.0F};
    bare b;
    size_t count;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_npy_write_f32(ctx, files_path("f.npy"), values, 2, false), EWC_OK);
    char *bytes = files_read(files_path("f.npy"), &count);
    assert_int_equal(count, sizeof expected - 1);
    assert_memory_equal(bytes, expected, sizeof expected - 1);
    free(bytes);
    bare_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES_TEST(reads_every_type_and_version),     FILES_TEST(refuses_other_headers),
        FILES_TEST(refuses_what_is_no_npy_file),      FILES_TEST(refuses_a_file_cut_short_anywhere),
        FILES_TEST(survives_every_changed_byte),      FILES_TEST(finds_ids_outside_a_range),
        FILES_TEST(writes_ids_as_narrow_as_they_fit), FILES_TEST(writes_floats_byte_for_byte_as_numpy_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
