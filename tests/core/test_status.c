/* Error text, log lines, cancellation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/context.h"
#include "core/status.h"

static void text_goes_to_the_context_and_the_status_comes_back(void **state)
{
    (void)state;
    ewc_context ctx = {0};
    assert_string_equal(ewc_last_error(&ctx), "");
    assert_int_equal((ewci_fail(&ctx, EWC_ERROR_IO, "%s: line %d", "a.json", 7)), EWC_ERROR_IO);
    assert_string_equal(ewc_last_error(&ctx), "a.json: line 7");
}

static void a_prefix_is_put_before_the_text(void **state)
{
    (void)state;
    ewc_context ctx = {0};
    ewci_record(&ctx, "expected 3, found 4");
    ewci_record_in(&ctx, "model.embed_tokens.weight");
    ewci_record_in(&ctx, "dir/model.safetensors");
    assert_string_equal(ewc_last_error(&ctx), "dir/model.safetensors: model.embed_tokens.weight: expected 3, found 4");
}

static void text_that_is_too_long_is_cut(void **state)
{
    (void)state;
    ewc_context ctx = {0};
    char text[3 * sizeof ctx.error];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    ewci_record(&ctx, "%s", text);
    assert_int_equal(strlen(ewc_last_error(&ctx)), sizeof ctx.error - 1);
    ewci_record_in(&ctx, "prefix");
    assert_int_equal(strlen(ewc_last_error(&ctx)), sizeof ctx.error - 1);
    assert_memory_equal(ewc_last_error(&ctx), "prefix: xxx", 11);
}

static void the_text_may_be_its_own_argument(void **state)
{
    (void)state;
    ewc_context ctx = {0};
    ewci_record(&ctx, "inner");
    ewci_record(&ctx, "outer (%s)", ctx.error);
    assert_string_equal(ewc_last_error(&ctx), "outer (inner)");
}

static void *fail_in_a_thread(void *argument)
{
    (void)argument;
    assert_string_equal(ewc_last_error(NULL), "");
    ewci_record(NULL, "of another thread");
    return NULL;
}

static void each_thread_has_its_own_text_without_a_context(void **state)
{
    (void)state;
    pthread_t thread;
    ewci_record(NULL, "of this thread");
    assert_int_equal(pthread_create(&thread, NULL, fail_in_a_thread, NULL), 0);
    pthread_join(thread, NULL);
    assert_string_equal(ewc_last_error(NULL), "of this thread");
}

static void names_and_meanings_are_those_of_the_list(void **state)
{
    (void)state;
#define CHECK(name, value, meaning)                    \
    assert_int_equal(name, value);                     \
    assert_string_equal(ewc_status_name(name), #name); \
    assert_string_equal(ewc_status_meaning(name), meaning);
    EWC_STATUS_LIST(CHECK)
#undef CHECK
    assert_string_equal(ewc_status_name((ewc_status)99), "unknown status");
    assert_string_equal(ewc_status_meaning((ewc_status)-1), "unknown status");
}

typedef struct heard {
    ewc_log_level level;
    char text[64];
    int lines;
} heard;

static void hear(void *user, ewc_log_level level, const char *message)
{
    heard *h = user;
    h->level = level;
    h->lines++;
    snprintf(h->text, sizeof h->text, "%.60s", message);
}

static void log_lines_go_to_the_callback_and_nowhere_else(void **state)
{
    (void)state;
    heard h = {EWC_LOG_DEBUG, "", 0};
    ewc_context ctx = {.options = {.user = &h, .log = hear}}, silent = {0};
    ewci_log(&ctx, EWC_LOG_WARNING, "%d of %d", 2, 3);
    assert_int_equal(h.lines, 1);
    assert_int_equal(h.level, EWC_LOG_WARNING);
    assert_string_equal(h.text, "2 of 3");
    ewci_log(&silent, EWC_LOG_WARNING, "unheard");
    ewci_log(NULL, EWC_LOG_WARNING, "unheard");
}

static int answer(void *user)
{
    return *(int *)user;
}

static void the_host_can_cancel(void **state)
{
    (void)state;
    int stop = 0;
    ewc_context ctx = {.options = {.user = &stop, .cancel = answer}}, patient = {0};
    assert_int_equal(ewci_check_cancelled(&patient), EWC_OK);
    assert_int_equal(ewci_check_cancelled(&ctx), EWC_OK);
    stop = 1;
    assert_int_equal(ewci_check_cancelled(&ctx), EWC_ERROR_CANCELLED);
    assert_string_not_equal(ewc_last_error(&ctx), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_goes_to_the_context_and_the_status_comes_back),
        cmocka_unit_test(a_prefix_is_put_before_the_text),
        cmocka_unit_test(text_that_is_too_long_is_cut),
        cmocka_unit_test(the_text_may_be_its_own_argument),
        cmocka_unit_test(each_thread_has_its_own_text_without_a_context),
        cmocka_unit_test(names_and_meanings_are_those_of_the_list),
        cmocka_unit_test(log_lines_go_to_the_callback_and_nowhere_else),
        cmocka_unit_test(the_host_can_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
