/* Structs that carry their size: older and newer programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/context.h"
#include "core/sized.h"

typedef struct older {
    size_t struct_size;
    int64_t first;
} older;

typedef struct present {
    size_t struct_size;
    int64_t first, second;
} present;

typedef struct newer {
    size_t struct_size;
    int64_t first, second, third;
} newer;

static void the_same_version_is_copied(void **state)
{
    (void)state;
    ewc_context ctx = {0};
    present given = {sizeof given, 3, 4}, out = {0, 10, 20};
    assert_int_equal(ewci_sized_take(&ctx, "options", &given, &out, sizeof out), EWC_OK);
    assert_memory_equal(&out, &given, sizeof out);
}

static void fields_an_older_program_does_not_know_keep_their_defaults(void **state)
{
    (void)state;
    ewc_context ctx = {0};
    older given = {sizeof given, 3};
    present out = {sizeof out, 10, 20};
    assert_int_equal(ewci_sized_take(&ctx, "options", &given, &out, sizeof out), EWC_OK);
    assert_true(out.struct_size == sizeof out && out.first == 3 && out.second == 20);
}

static void a_newer_program_may_not_ask_for_what_is_unknown(void **state)
{
    (void)state;
    ewc_context ctx = {0};
    newer given = {sizeof given, 3, 4, 0};
    present out = {sizeof out, 10, 20};
    assert_int_equal(ewci_sized_take(&ctx, "options", &given, &out, sizeof out), EWC_OK);
    assert_true(out.struct_size == sizeof out && out.first == 3 && out.second == 4);
    given.third = 1;
    given.first = 99;
    assert_int_equal(ewci_sized_take(&ctx, "options", &given, &out, sizeof out), EWC_ERROR_UNSUPPORTED);
    assert_non_null(strstr(ctx.error, "options"));
    assert_int_equal(out.first, 3);
}

static void structs_that_were_not_filled_in_are_refused(void **state)
{
    (void)state;
    ewc_context ctx = {0};
    present out = {sizeof out, 10, 20}, given = {0, 1, 2};
    assert_int_equal(ewci_sized_take(&ctx, "options", &given, &out, sizeof out), EWC_ERROR_ARGUMENT);
    assert_non_null(strstr(ctx.error, "options: struct_size"));
    given.struct_size = SIZE_MAX;
    assert_int_equal(ewci_sized_take(&ctx, "options", &given, &out, sizeof out), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewci_sized_take(&ctx, "options", NULL, &out, sizeof out), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewci_sized_give(&ctx, "info", NULL, &out, sizeof out), EWC_ERROR_ARGUMENT);
    assert_int_equal(out.first, 10);
}

static void results_fit_the_struct_of_the_caller(void **state)
{
    (void)state;
    ewc_context ctx = {0};
    present source = {sizeof source, 3, 4};
    struct {
        older result;
        int64_t behind;
    } small = {{sizeof small.result, 0}, 77};
    newer large = {sizeof large, 7, 7, 7};
    assert_int_equal(ewci_sized_give(&ctx, "info", &small.result, &source, sizeof source), EWC_OK);
    assert_true(small.result.struct_size == sizeof small.result && small.result.first == 3 && small.behind == 77);
    assert_int_equal(ewci_sized_give(&ctx, "info", &large, &source, sizeof source), EWC_OK);
    assert_true(large.struct_size == sizeof large && large.first == 3 && large.second == 4 && large.third == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_version_is_copied),
        cmocka_unit_test(fields_an_older_program_does_not_know_keep_their_defaults),
        cmocka_unit_test(a_newer_program_may_not_ask_for_what_is_unknown),
        cmocka_unit_test(structs_that_were_not_filled_in_are_refused),
        cmocka_unit_test(results_fit_the_struct_of_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
