/* Strict JSON: what RFC 8259 allows is read, what cJSON alone would let through is refused with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "io/json.h"
#include "io/utf8.h"
#include "support/bare.h"
#include "support/files.h"

static ewc_status scan(ewc_context *ctx, const char *text)
{
    /* A copy of exactly its size, so that a sanitizer sees a read beyond it. */
    size_t bytes = strlen(text);
    char *copy = malloc(bytes + (bytes == 0));
    for (size_t i = 0; i < bytes; i++) copy[i] = text[i];
    ewc_status status = ewci_json_scan(ctx, "F", copy, bytes);
    free(copy);
    return status;
}

static void accepts_what_the_standard_allows(void **state)
{
    (void)state;
    static const char *const good[] = {"{}",
                                       "[]",
                                       " [ ] ",
                                       "0",
                                       "-0",
                                       "-0.5e-10",
                                       "1E+2",
                                       "10",
                                       "true",
                                       "false",
                                       "null",
                                       "\"\"",
                                       "\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
                                       "\"\\u00e9\\uD834\\uDD1E\"",
                                       "\"\xc4\x97\xf0\x9d\x84\x9e\"",
                                       "{\"a\":[1,{\"b\":null}],\"c\":{}}",
                                       "\r\n\t[1 , 2]\n",
                                       "[[],[],[[]]]",
                                       "{\"\":0}",
                                       "\"\x7f\""};
    bare b;
    ewc_context *ctx = bare_open(&b);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (scan(ctx, good[i]) != EWC_OK) fail_msg("%s: %s", good[i], ewc_last_error(ctx));
    }
    bare_close(&b);
}

static void refuses_everything_else(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "{",
                                      "[",
                                      "[1",
                                      "[1,",
                                      "[1,]",
                                      "{\"a\"",
                                      "{\"a\":",
                                      "{\"a\":1",
                                      "{\"a\":1,",
                                      "{\"a\":1,}",
                                      "{a:1}",
                                      "{1:1}",
                                      "{'a':1}",
                                      "[1 2]",
                                      "[1]]",
                                      "{}{}",
                                      "01",
                                      "-",
                                      "+1",
                                      ".5",
                                      "1.",
                                      "1.e1",
                                      "1e",
                                      "1e+",
                                      "- 1",
                                      "0x1",
                                      "NaN",
                                      "Infinity",
                                      "nul",
                                      "nulll",
                                      "True",
                                      "\"",
                                      "\"a",
                                      "\"\\",
                                      "\"\\x\"",
                                      "\"\\u12\"",
                                      "\"\\u12g4\"",
                                      "\"\\uD834\"",
                                      "\"\\uD834x\"",
                                      "\"\\uD834\\u0041\"",
                                      "\"\\uDD1E\"",
                                      "\"\\u0000\"",
                                      "\"a\nb\"",
                                      "\"\t\"",
                                      "\"\x01\"",
                                      "\v1",
                                      "// c\n1",
                                      "[1}",
                                      "{\"a\":1]",
                                      "\"\xff\"",
                                      "\"\xc0\x80\"",
                                      "\"\xed\xa0\x80\"",
                                      "\xef\xbb\xbf{}",
                                      "[,1]",
                                      "{,}",
                                      ":",
                                      "{\"a\" 1}",
                                      "{\"a\"::1}"};
    bare b;
    ewc_context *ctx = bare_open(&b);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (scan(ctx, bad[i]) == EWC_OK) fail_msg("accepted: %s", bad[i]);
        assert_non_null(strstr(ewc_last_error(ctx), "F: not valid JSON: "));
    }
    bare_close(&b);
}

static void names_the_place(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    REFUSED(ctx, scan(ctx, "[1, x]"), EWC_ERROR_FORMAT, "column 5: expected a value, found 'x'");
    REFUSED(ctx, scan(ctx, "{\n  \"a\": 1\n  \"b\": 2\n}"), EWC_ERROR_FORMAT,
            "line 3, column 3: expected ',' or '}', found '\"'");
    REFUSED(ctx, scan(ctx, "[1"), EWC_ERROR_FORMAT, "column 3", "found the end");
    REFUSED(ctx, scan(ctx, "[\"\\u0000\"]"), EWC_ERROR_FORMAT, "column 3: expected text without NUL");
    REFUSED(ctx, scan(ctx, "[\"\xc3\"]"), EWC_ERROR_FORMAT, "column 3: expected UTF-8, found byte 0xc3");
    bare_close(&b);
}

static void refuses_a_nul_in_the_text(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    REFUSED(ctx, ewci_json_scan(ctx, "F", "[1]\0", 4), EWC_ERROR_FORMAT, "byte 0x00");
    REFUSED(ctx, ewci_json_scan(ctx, "F", "[\"a\0b\"]", 7), EWC_ERROR_FORMAT, "byte 0x00");
    REFUSED(ctx, ewci_json_scan(ctx, "F", "[\"\\\0\"]", 6), EWC_ERROR_FORMAT, "byte 0x00");
    bare_close(&b);
}

static void limits_nesting(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    char text[2 * EWCI_JSON_DEPTH + 3];
    for (size_t depth = EWCI_JSON_DEPTH; depth <= EWCI_JSON_DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        assert_int_equal(scan(ctx, text), depth <= EWCI_JSON_DEPTH ? EWC_OK : EWC_ERROR_FORMAT);
    }
    assert_non_null(strstr(ewc_last_error(ctx), "64 levels"));
    bare_close(&b);
}

static void limits_the_number_of_values(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    size_t count = EWCI_JSON_VALUES + 1;
    char *text = malloc(2 * count + 2);
    text[0] = '[';
    for (size_t i = 0; i < 2 * count; i++) text[1 + i] = i % 2 == 0 ? '0' : ',';
    text[2 * count] = ']';
    REFUSED(ctx, ewci_json_scan(ctx, "F", text, 2 * count + 1), EWC_ERROR_FORMAT, "8388608 values");
    free(text);
    bare_close(&b);
}

static ewc_status parse(ewc_context *ctx, const char *text, cJSON **root)
{
    return ewci_json_parse(ctx, "F", text, strlen(text), root);
}

static void refuses_duplicates_at_every_level_and_number(void **state)
{
    (void)state;
    bare b;
    cJSON *root = NULL;
    ewc_context *ctx = bare_open(&b);
    char many[1000] = "{";
    REFUSED(ctx, parse(ctx, "{\"a\":1,\"b\":2,\"a\":3}", &root), EWC_ERROR_FORMAT, "F: \"a\" occurs twice");
    REFUSED(ctx, parse(ctx, "{\"x\":[{\"y\":{\"a\":1,\"\\u0061\":3}}]}", &root), EWC_ERROR_FORMAT,
            "\"a\" occurs twice");
    REFUSED(ctx, parse(ctx, "{\"x\":[[1,2],{}],\"z\":{\"a\":1,\"a\":3}}", &root), EWC_ERROR_FORMAT,
            "\"a\" occurs twice");
    for (int i = 0; i < 40; i++) sprintf(many + strlen(many), "\"n%d\":0,", i);
    files_append(many, sizeof many, "\"n7\":0}");
    REFUSED(ctx, parse(ctx, many, &root), EWC_ERROR_FORMAT, "\"n7\" occurs twice");
    assert_int_equal(parse(ctx, "{\"a\":{\"a\":1},\"A\":2}", &root),
                     EWC_OK); /* neither the same place nor the same name */
    cJSON_Delete(root);
    bare_close(&b);
}

static void refuses_what_is_not_an_object_or_too_large_a_number(void **state)
{
    (void)state;
    bare b;
    cJSON *root = NULL;
    ewc_context *ctx = bare_open(&b);
    REFUSED(ctx, parse(ctx, "[1]", &root), EWC_ERROR_FORMAT, "F: expected a JSON object");
    REFUSED(ctx, parse(ctx, "{\"a\":[1,-1e999]}", &root), EWC_ERROR_FORMAT, "F:", "double");
    assert_null(root);
    bare_close(&b);
}

static void getters_check_type_and_range(void **state)
{
    (void)state;
    bare b;
    cJSON *root;
    int64_t i = 5;
    double x = 5;
    uint64_t h = 5;
    const char *s = NULL;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(parse(ctx,
                           "{\"i\":12,\"big\":9007199254740992,\"f\":1.5,\"s\":\"text\",\"n\":null,\"h\":"
                           "\"00ff00000000000a\",\"t\":true}",
                           &root),
                     EWC_OK);
    assert_int_equal(ewci_json_integer(ctx, "F", root, "i", 0, 12, &i), EWC_OK);
    assert_int_equal(i, 12);
    REFUSED(ctx, ewci_json_integer(ctx, "F", root, "i", 0, 11, &i), EWC_ERROR_FORMAT,
            "F: i: expected an integer from 0 to 11, found 12");
    REFUSED(ctx, ewci_json_integer(ctx, "F", root, "big", 0, INT64_MAX, &i), EWC_ERROR_FORMAT, "big",
            "9007199254740992");
    REFUSED(ctx, ewci_json_integer(ctx, "F", root, "f", 0, 12, &i), EWC_ERROR_FORMAT, "found 1.5");
    REFUSED(ctx, ewci_json_integer(ctx, "F", root, "I", 0, 12, &i), EWC_ERROR_FORMAT, "F: I:", "found nothing");
    assert_int_equal(i, 12);
    assert_int_equal(ewci_json_real(ctx, "F", root, "f", 0, 2, &x), EWC_OK);
    assert_true(x == 1.5);
    REFUSED(ctx, ewci_json_real(ctx, "F", root, "f", 0, 1, &x), EWC_ERROR_FORMAT,
            "F: f: expected a number from 0 to 1, found 1.5");
    REFUSED(ctx, ewci_json_real(ctx, "F", root, "n", 0, 1, &x), EWC_ERROR_FORMAT, "found null");
    assert_int_equal(ewci_json_string(ctx, "F", root, "s", &s), EWC_OK);
    assert_string_equal(s, "text");
    REFUSED(ctx, ewci_json_string(ctx, "F", root, "t", &s), EWC_ERROR_FORMAT, "F: t: expected a string, found true");
    assert_int_equal(ewci_json_hex64(ctx, "F", root, "h", &h), EWC_OK);
    assert_true(h == 0x00ff00000000000aULL);
    REFUSED(ctx, ewci_json_hex64(ctx, "F", root, "s", &h), EWC_ERROR_FORMAT, "F: s: expected 16 hexadecimal digits");
    cJSON_Delete(root);
    bare_close(&b);
}

static void prints_as_python_does(void **state)
{
    (void)state;
    bare b;
    cJSON *root;
    char *text;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(parse(ctx, "{\"a\":[1,2],\"b\":{\"c\":\"tab\\t \\\"q\\\" :\\t\"},\"d\":1e-06}", &root), EWC_OK);
    assert_int_equal(ewci_json_print(ctx, root, &text), EWC_OK);
    assert_string_equal(
        text, "{\n  \"a\": [1, 2],\n  \"b\": {\n    \"c\": \"tab\\t \\\"q\\\" :\\t\"\n  },\n  \"d\": 1e-06\n}\n");
    ewci_free(ctx, text);
    cJSON_Delete(root);
    bare_close(&b);
}

static void numbers_can_be_kept_as_they_were_written(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a1\":[1.0,-0.0,{\"x-2\":1E5,\"b\\\"3\":\"4\"}],\"c\":123456789012345678901,\"d\":{},\"e\":[]}";
    bare b;
    cJSON *root;
    char *printed;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(parse(ctx, text, &root), EWC_OK);
    assert_int_equal(ewci_json_keep_numbers(ctx, root, text), EWC_OK);
    printed = cJSON_PrintUnformatted(root);
    assert_string_equal(printed, text);
    cJSON_free(printed);
    cJSON_Delete(root);
    bare_close(&b);
}

static void floats_are_written_as_python_does(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{50, "50.0"},    {0, "0.0"},   {-3, "-3.0"},
                 {1e-6, "1e-06"}, {0.1, "0.1"}, {1.0 / 3, "0.3333333333333333"},
                 {1e22, "1e+22"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *item = ewci_json_float(cases[i].value);
        assert_string_equal(item->valuestring, cases[i].text);
        cJSON_Delete(item);
    }
}

/* Against the definition: every code point encoded, and every sequence of up to three bytes decoded slowly. */
static size_t slow_valid(const unsigned char *t, size_t n)
{
    size_t at = 0;
    while (at < n) {
        unsigned long code = t[at], least = 0;
        size_t more = 0;
        if (code >= 0xf0 && code < 0xf8)
            more = 3, code &= 7, least = 0x10000;
        else if (code >= 0xe0 && code < 0xf0)
            more = 2, code &= 15, least = 0x800;
        else if (code >= 0xc0 && code < 0xe0)
            more = 1, code &= 31, least = 0x80;
        else if (code >= 0x80)
            return at;
        for (size_t i = 1; i <= more; i++) {
            if (at + i >= n || (t[at + i] & 0xc0) != 0x80) return at;
            code = code << 6 | (t[at + i] & 63U);
        }
        if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return at;
        at += more + 1;
    }
    return at;
}

static void utf8_agrees_with_its_definition(void **state)
{
    (void)state;
    for (unsigned long bits = 0; bits < 1UL << 24; bits += 1 + (bits & 3)) {
        unsigned char text[4] = {(unsigned char)(bits >> 16), (unsigned char)(bits >> 8), (unsigned char)bits, 0x90};
        for (size_t n = 2; n <= 4; n++)
            if (ewci_utf8_valid((char *)text, n) != slow_valid(text, n))
                fail_msg("%02x %02x %02x 90, %zu bytes", text[0], text[1], text[2], n);
    }
    char plain[100];
    for (size_t n = 0; n < sizeof plain; n++) { /* the fast path for ASCII, at every length and place of an error */
        memset(plain, 'a', sizeof plain);
        assert_int_equal(ewci_utf8_valid(plain, n), n);
        plain[n] = (char)0x80;
        assert_int_equal(ewci_utf8_valid(plain, sizeof plain), n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_the_standard_allows),
        cmocka_unit_test(refuses_everything_else),
        cmocka_unit_test(names_the_place),
        cmocka_unit_test(refuses_a_nul_in_the_text),
        cmocka_unit_test(limits_nesting),
        cmocka_unit_test(limits_the_number_of_values),
        cmocka_unit_test(refuses_duplicates_at_every_level_and_number),
        cmocka_unit_test(refuses_what_is_not_an_object_or_too_large_a_number),
        cmocka_unit_test(getters_check_type_and_range),
        cmocka_unit_test(prints_as_python_does),
        cmocka_unit_test(numbers_can_be_kept_as_they_were_written),
        cmocka_unit_test(floats_are_written_as_python_does),
        cmocka_unit_test(utf8_agrees_with_its_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
