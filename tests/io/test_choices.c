/* Multiple-choice items of .jsonl files, as text and as token ids, and what is refused with its line and field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/text.h"
#include "support/bare.h"
#include "support/files.h"

static ewc_text *open_text(ewc_context *ctx, const char *name, const char *content)
{
    ewc_text *text = NULL;
    assert_int_equal(ewci_text_open(ctx, files_text(name, content), EWCI_TEXT_LIMIT, &text), EWC_OK);
    return text;
}

static void text_items_are_read(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    ewc_choice_line line = {0};
    ewc_text *text =
        open_text(ctx, "a.jsonl",
                  "{\"prefix\": \"Two and two\", \"choices\": [\" is 4\", \" is \\u0117\"], \"answer\": 1}\n"
                  "\n"
                  "{\"id\": [9], \"answer\": 0, \"choices\": [\"x\"], \"prefix\": \"\"}\n");
    assert_int_equal(ewci_text_next_choices(text, &line), EWC_OK);
    assert_int_equal(line.line, 1);
    assert_int_equal(line.choices, 2);
    assert_int_equal(line.answer, 1);
    assert_null(line.ids);
    assert_string_equal(line.prefix, "Two and two");
    assert_string_equal(line.texts[0], " is 4");
    assert_string_equal(line.texts[1], " is \xc4\x97");
    assert_int_equal(ewci_text_next_choices(text, &line), EWC_OK);
    assert_int_equal(line.line, 3);
    assert_int_equal(line.choices, 1);
    assert_string_equal(line.prefix, "");
    for (int k = 0; k < 2; k++) { /* the end stays the end */
        assert_int_equal(ewci_text_next_choices(text, &line), EWC_OK);
        assert_int_equal(line.choices, 0);
    }
    ewci_text_close(text);
    bare_close(&b);
}

static void items_of_ids_are_read(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    ewc_choice_line line = {0};
    ewc_text *text = open_text(ctx, "a.jsonl", "{\"prefix\":[2,7,2147483647],\"choices\":[[5],[6,0,1]],\"answer\":0}");
    assert_int_equal(ewci_text_next_choices(text, &line), EWC_OK);
    assert_null(line.prefix);
    assert_null(line.texts);
    const ewc_choice_item *item = line.ids;
    assert_int_equal(item->struct_size, sizeof *item);
    assert_int_equal(item->prefix_length, 3);
    assert_memory_equal(item->prefix, ((int32_t[]){2, 7, 2147483647}), 12);
    assert_int_equal(item->choices, 2);
    assert_int_equal(item->lengths[0], 1);
    assert_int_equal(item->tokens[0][0], 5);
    assert_int_equal(item->lengths[1], 3);
    assert_memory_equal(item->tokens[1], ((int32_t[]){6, 0, 1}), 12);
    ewci_text_close(text);
    bare_close(&b);
}

static void refused(const char *json, const char *field, const char *expected)
{
    bare b;
    ewc_context *ctx = bare_open(&b);
    char content[512];
    ewc_choice_line line = {0};
    snprintf(content, sizeof content, "\n%s\n", json);
    ewc_text *text = open_text(ctx, "wrong.jsonl", content);
    REFUSED(ctx, ewci_text_next_choices(text, &line), EWC_ERROR_FORMAT, "wrong.jsonl: line 2", field, expected);
    ewci_text_close(text);
    bare_close(&b);
}

static void wrong_lines_are_named(void **state)
{
    (void)state;
    refused("{\"choices\": [\"a\"], \"answer\": 0}", "prefix", "found nothing");
    refused("{\"prefix\": 3, \"choices\": [\"a\"], \"answer\": 0}", "prefix", "found 3");
    refused("{\"prefix\": \"p\", \"answer\": 0}", "choices", "found nothing");
    refused("{\"prefix\": \"p\", \"choices\": [], \"answer\": 0}", "choices", "at least one");
    refused("{\"prefix\": \"p\", \"choices\": [\"a\", \"\"], \"answer\": 0}", "choices[1]", "not empty");
    refused("{\"prefix\": \"p\", \"choices\": [\"a\", [3]], \"answer\": 0}", "choices[1]", "as the prefix is one");
    refused("{\"prefix\": [2], \"choices\": [[3], \"a\"], \"answer\": 0}", "choices[1]", "as the prefix is one");
    refused("{\"prefix\": [], \"choices\": [[3]], \"answer\": 0}", "prefix", "at least one token id");
    refused("{\"prefix\": [2], \"choices\": [[3], []], \"answer\": 0}", "choices[1]", "at least one token id");
    refused("{\"prefix\": [2, -1], \"choices\": [[3]], \"answer\": 0}", "prefix", "found -1");
    refused("{\"prefix\": [2], \"choices\": [[3, 2147483648]], \"answer\": 0}", "choices[0]", "found 2147483648");
    refused("{\"prefix\": [2], \"choices\": [[3, 1.5]], \"answer\": 0}", "choices[0]", "found 1.5");
    refused("{\"prefix\": \"p\", \"choices\": [\"a\"]}", "answer", "found nothing");
    refused("{\"prefix\": \"p\", \"choices\": [\"a\", \"b\"], \"answer\": 2}", "answer", "from 0 to 1");
    refused("{\"prefix\": \"p\", \"choices\": [\"a\"], \"answer\": -1}", "answer", "from 0 to 0");
    refused("[1]", "expected", "object");
}

static void a_file_of_plain_text_has_no_items(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    ewc_choice_line line = {0};
    ewc_text *text = open_text(ctx, "a.txt", "one");
    REFUSED(ctx, ewci_text_next_choices(text, &line), EWC_ERROR_UNSUPPORTED, "a.txt", ".jsonl");
    ewci_text_close(text);
    bare_close(&b);
}

static ewc_status read_all(ewc_context *ctx, void *path)
{
    ewc_text *text;
    ewc_choice_line line = {.choices = 1};
    ewc_status status = ewci_text_open(ctx, path, EWCI_TEXT_LIMIT, &text);
    if (status != EWC_OK) return status;
    while (status == EWC_OK && line.choices > 0) status = ewci_text_next_choices(text, &line);
    ewci_text_close(text);
    return status;
}

static void no_memory_is_an_error_and_leaves_nothing(void **state)
{
    (void)state;
    const char *path = files_text("a.jsonl", "{\"prefix\":[2],\"choices\":[[5],[6]],\"answer\":0}\n"
                                             "{\"prefix\":\"p\",\"choices\":[\"a\"],\"answer\":0}\n");
    assert_true(bare_starve(read_all, (void *)(uintptr_t)path) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_items_are_read),
        cmocka_unit_test(items_of_ids_are_read),
        cmocka_unit_test(wrong_lines_are_named),
        cmocka_unit_test(a_file_of_plain_text_has_no_items),
        cmocka_unit_test(no_memory_is_an_error_and_leaves_nothing),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    files_clear();
    return failed;
}
