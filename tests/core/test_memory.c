/* Memory through the context's allocator: alignment, sizes that cannot exist, failure, text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/context.h"
#include "core/memory.h"

typedef struct host {
    int allocations, releases, fail_at; /* fail_at: the allocation that fails, from 1; 0: none */
} host;

static void *host_allocate(void *user, size_t bytes)
{
    host *h = user;
    if (++h->allocations == h->fail_at) return NULL;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void host_release(void *user, void *pointer)
{
    ((host *)user)->releases++;
    free(pointer);
}

static void blocks_are_aligned_and_large_ones_to_huge_pages(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 4096, (4 << 20) - 1, 4 << 20, (5 << 20) + 7};
    ewc_context ctx = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *block = NULL;
        assert_int_equal(ewci_alloc(&ctx, sizes[i], "a block", &block), EWC_OK);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % (sizes[i] >= 4 << 20 ? 2 << 20 : 64), 0);
        memset(block, 0x5a, sizes[i]);
        ewci_free(&ctx, block);
    }
}

static void *dirty_allocate(void *user, size_t bytes)
{
    void *block = aligned_alloc(64, (bytes + 63) / 64 * 64);
    (void)user;
    return block == NULL ? NULL : memset(block, 0xff, bytes);
}

static void dirty_release(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

static void zeroed_blocks_are_zero(void **state)
{
    (void)state;
    ewc_context ctx = {.options = {.allocate = dirty_allocate, .release = dirty_release}};
    unsigned char *block = NULL;
    assert_int_equal(ewci_alloc_array(&ctx, 1001, 7, "a block", (void **)&block), EWC_OK);
    for (int i = 0; i < 7007; i++) assert_int_equal(block[i], 0);
    ewci_free(&ctx, block);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    ewc_context ctx = {0};
    void *untouched = &ctx, *out = untouched;
    assert_int_equal(ewci_alloc_array(&ctx, INT64_MAX, 8, "weights", &out), EWC_ERROR_MEMORY);
    assert_int_equal(ewci_alloc_array(&ctx, -1, 1, "weights", &out), EWC_ERROR_MEMORY);
    assert_non_null(strstr(ctx.error, "weights: -1 elements of 1 bytes cannot exist"));
    assert_int_equal(ewci_alloc(&ctx, SIZE_MAX / 2, "weights", &out), EWC_ERROR_MEMORY);
    assert_int_equal(ewci_alloc(&ctx, SIZE_MAX, "weights", &out), EWC_ERROR_MEMORY);
    assert_ptr_equal(out, untouched);
}

static void sums_and_products_of_sizes_are_checked(void **state)
{
    (void)state;
    size_t out = 5;
    assert_true(ewci_mul_size(SIZE_MAX / 3, 3, &out));
    assert_true(out == SIZE_MAX / 3 * 3);
    assert_false(ewci_mul_size(SIZE_MAX / 2, 3, &out));
    assert_true(ewci_add_size(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_false(ewci_add_size(SIZE_MAX, 1, &out));
}

static void the_text_names_purpose_and_bytes(void **state)
{
    (void)state;
    host h = {.fail_at = 1};
    ewc_context ctx = {.options = {.user = &h, .allocate = host_allocate, .release = host_release}};
    void *out = NULL;
    assert_int_equal(ewci_alloc(&ctx, 12345, "the gradient", &out), EWC_ERROR_MEMORY);
    assert_non_null(strstr(ctx.error, "the gradient"));
    assert_non_null(strstr(ctx.error, "12345 bytes"));
    assert_null(out);
}

static void the_host_allocates_and_releases_when_it_wants_to(void **state)
{
    (void)state;
    host h = {0};
    ewc_context ctx = {.options = {.user = &h, .allocate = host_allocate, .release = host_release}};
    void *a, *b;
    char *text;
    assert_int_equal(ewci_alloc(&ctx, 10, "a", &a), EWC_OK);
    assert_int_equal(ewci_alloc_zero(&ctx, 10, "b", &b), EWC_OK);
    assert_int_equal(ewci_strdup(&ctx, "three", &text), EWC_OK);
    assert_string_equal(text, "three");
    assert_int_equal(h.allocations, 3);
    ewci_free(&ctx, a);
    ewci_free(&ctx, b);
    ewci_free(&ctx, text);
    ewci_free(&ctx, NULL);
    assert_int_equal(h.releases, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_large_ones_to_huge_pages),
        cmocka_unit_test(zeroed_blocks_are_zero),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(sums_and_products_of_sizes_are_checked),
        cmocka_unit_test(the_text_names_purpose_and_bytes),
        cmocka_unit_test(the_host_allocates_and_releases_when_it_wants_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
