/* ewc_context_*: options, callbacks, description, errors: through the public header alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libewc.h"

static ewc_context_options with_defaults(void)
{
    ewc_context_options options;
    memset(&options, 0xff, sizeof options);
    ewc_context_options_default(&options);
    return options;
}

/* The status of creating a context with the options; it is destroyed again. On failure *context must stay as it was. */
static ewc_status try_create(const ewc_context_options *options)
{
    ewc_context *untouched = (ewc_context *)(uintptr_t)64, *context = untouched;
    ewc_status status = ewc_context_create(options, &context);
    if (status == EWC_OK)
        ewc_context_destroy(context);
    else
        assert_ptr_equal(context, untouched);
    return status;
}

static void refused(const ewc_context_options *options, ewc_status status, const char *word)
{
    assert_int_equal(try_create(options), status);
    if (strstr(ewc_last_error(NULL), word) == NULL) fail_msg("\"%s\" does not name %s", ewc_last_error(NULL), word);
}

static void defaults_make_a_context(void **state)
{
    (void)state;
    ewc_context_options options = with_defaults();
    assert_int_equal(options.struct_size, sizeof options);
    assert_string_equal(options.device, "cpu");
    assert_int_equal(options.threads, 0);
    assert_int_equal(try_create(&options), EWC_OK);
    assert_int_equal(try_create(NULL), EWC_OK);
    ewc_context_destroy(NULL);
}

static void wrong_options_are_refused_by_name(void **state)
{
    (void)state;
    ewc_context_options options = with_defaults();
    options.device = "abacus";
    refused(&options, EWC_ERROR_UNSUPPORTED, "abacus");
    options = with_defaults();
    options.threads = -1;
    refused(&options, EWC_ERROR_ARGUMENT, "threads");
    options.threads = 1025;
    refused(&options, EWC_ERROR_ARGUMENT, "1025");
    options = with_defaults();
    options.instruction_set = (ewc_instruction_set)77;
    refused(&options, EWC_ERROR_ARGUMENT, "instruction_set");
    options = with_defaults();
    options.products = (ewc_products)2;
    refused(&options, EWC_ERROR_ARGUMENT, "products");
    options = with_defaults();
    options.release = (void (*)(void *, void *))abort;
    refused(&options, EWC_ERROR_ARGUMENT, "allocate");
    options = with_defaults();
    options.struct_size = 0;
    refused(&options, EWC_ERROR_ARGUMENT, "struct_size");
    assert_int_equal(ewc_context_create(&options, NULL), EWC_ERROR_ARGUMENT);
}

/* Where they were not built in, or the processor has none, the text says so and what to do. */
static void bf16_products_are_had_or_refused_by_name(void **state)
{
    (void)state;
    ewc_context_options options = with_defaults();
    ewc_context *context = NULL;
    ewc_context_info info = {.struct_size = sizeof info};
    options.products = EWC_PRODUCTS_BF16;
    if (ewc_context_create(&options, &context) != EWC_OK) {
        refused(&options, EWC_ERROR_UNSUPPORTED, "products");
        refused(&options, EWC_ERROR_UNSUPPORTED, "EWC_PRODUCTS_F32");
        assert_int_equal(ewc_context_create(NULL, &context), EWC_OK);
    }
    assert_int_equal(ewc_context_describe(context, &info), EWC_OK);
    bool bf16 = info.products == EWC_PRODUCTS_BF16;
    assert_true(bf16 || info.products == EWC_PRODUCTS_F32);
    assert_non_null(strstr(info.products_through, bf16                                            ? "oneDNN"
                                                  : strcmp(info.instruction_set, "portable") == 0 ? "OpenBLAS"
                                                                                                  : "libewc"));
    assert_int_equal(info.products_bytes > 0, bf16);
    ewc_context_destroy(context);
}

static void programs_of_other_versions_are_understood(void **state)
{
    (void)state;
    ewc_context_options options = with_defaults();
    options.struct_size = offsetof(ewc_context_options, instruction_set); /* before the later fields existed */
    memset((char *)&options + options.struct_size, 0x5a, sizeof options - options.struct_size);
    assert_int_equal(try_create(&options), EWC_OK);

    struct {
        ewc_context_options options;
        int64_t later;
    } newer = {with_defaults(), 0};
    newer.options.struct_size = sizeof newer;
    assert_int_equal(try_create(&newer.options), EWC_OK);
    newer.later = 1;
    refused(&newer.options, EWC_ERROR_UNSUPPORTED, "options");
}

static void a_context_describes_itself(void **state)
{
    (void)state;
    ewc_context_options options = with_defaults();
    ewc_context *context = NULL;
    ewc_context_info info = {.struct_size = sizeof info};
    char *name = strdup("cpu");
    options.threads = 2;
    options.device = name;
    options.instruction_set = EWC_ISA_PORTABLE;
    assert_int_equal(ewc_context_create(&options, &context), EWC_OK);
    free(name); /* the string need not live on */
    assert_int_equal(ewc_context_describe(context, &info), EWC_OK);
    assert_int_equal(info.struct_size, sizeof info);
    assert_string_equal(info.device, "cpu");
    assert_string_equal(info.instruction_set, "portable");
    assert_int_equal(info.threads, 2);
    assert_true(info.memory_bytes >= info.memory_available_bytes && info.memory_available_bytes > 0);

    info.struct_size = 0;
    assert_int_equal(ewc_context_describe(context, &info), EWC_ERROR_ARGUMENT);
    assert_non_null(strstr(ewc_last_error(context), "struct_size"));
    assert_int_equal(ewc_context_describe(context, NULL), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_context_describe(NULL, &info), EWC_ERROR_ARGUMENT);
    ewc_context_destroy(context);
}

typedef struct host {
    int allocations, live, fail_at, misaligned;
} host;

static void *host_allocate(void *user, size_t bytes)
{
    host *h = user;
    if (bytes == 0) h->misaligned++;
    if (++h->allocations == h->fail_at) return NULL;
    h->live++;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void host_release(void *user, void *pointer)
{
    ((host *)user)->live--;
    free(pointer);
}

/* The host's allocator gives everything and gets it back. */
static void check_allocator(ewc_products products)
{
    host h = {0};
    ewc_context_options options = with_defaults();
    options.products = products;
    options.user = &h;
    options.allocate = host_allocate;
    options.release = host_release;
    assert_int_equal(try_create(&options), EWC_OK);
    assert_true(h.allocations > 0);
    assert_int_equal(h.live, 0);
    assert_int_equal(h.misaligned, 0);
}

static void check_each_failing_allocation(ewc_products products)
{
    ewc_status status = EWC_ERROR_MEMORY;
    for (int fail_at = 1; status != EWC_OK; fail_at++) {
        host h = {.fail_at = fail_at};
        ewc_context_options options = with_defaults();
        options.user = &h;
        options.allocate = host_allocate;
        options.release = host_release;
        options.products = products;
        assert_true(fail_at < 50);
        status = try_create(&options);
        assert_true(status == EWC_OK || status == EWC_ERROR_MEMORY);
        assert_int_equal(h.live, 0);
        if (status != EWC_OK) assert_non_null(strstr(ewc_last_error(NULL), "no memory for"));
    }
}

static void the_hosts_allocator_gives_everything_and_gets_it_back(void **state)
{
    (void)state;
    check_allocator(EWC_PRODUCTS_F32);
}

static void creation_survives_each_failing_allocation(void **state)
{
    (void)state;
    check_each_failing_allocation(EWC_PRODUCTS_F32);
}

static void so_it_does_with_bf16_products(void **state)
{
    (void)state;
    ewc_context_options options = with_defaults();
    options.products = EWC_PRODUCTS_BF16;
    if (try_create(&options) == EWC_ERROR_UNSUPPORTED) skip();
    check_allocator(EWC_PRODUCTS_BF16);
    check_each_failing_allocation(EWC_PRODUCTS_BF16);
}

static void *create_and_fail(void *argument)
{
    ewc_context_options options = with_defaults();
    options.device = argument;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(try_create(NULL), EWC_OK);
        refused(&options, EWC_ERROR_UNSUPPORTED, argument);
    }
    return NULL;
}

static void threads_make_contexts_of_their_own_with_errors_of_their_own(void **state)
{
    (void)state;
    pthread_t threads[3];
    static char names[3][8] = {"one", "two", "three"};
    for (int t = 0; t < 3; t++) assert_int_equal(pthread_create(&threads[t], NULL, create_and_fail, names[t]), 0);
    for (int t = 0; t < 3; t++) pthread_join(threads[t], NULL);
}

static void a_fresh_context_has_no_error(void **state)
{
    (void)state;
    ewc_context *context = NULL;
    assert_int_equal(ewc_context_create(NULL, &context), EWC_OK);
    assert_string_equal(ewc_last_error(context), "");
    ewc_context_destroy(context);
}

static void the_version_is_that_of_the_header(void **state)
{
    (void)state;
    char expected[32];
    snprintf(expected, sizeof expected, "%d.%d.%d", EWC_VERSION_MAJOR, EWC_VERSION_MINOR, EWC_VERSION_PATCH);
    assert_string_equal(ewc_version(), expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_make_a_context),
        cmocka_unit_test(wrong_options_are_refused_by_name),
        cmocka_unit_test(bf16_products_are_had_or_refused_by_name),
        cmocka_unit_test(programs_of_other_versions_are_understood),
        cmocka_unit_test(a_context_describes_itself),
        cmocka_unit_test(the_hosts_allocator_gives_everything_and_gets_it_back),
        cmocka_unit_test(creation_survives_each_failing_allocation),
        cmocka_unit_test(so_it_does_with_bf16_products),
        cmocka_unit_test(threads_make_contexts_of_their_own_with_errors_of_their_own),
        cmocka_unit_test(a_fresh_context_has_no_error),
        cmocka_unit_test(the_version_is_that_of_the_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
