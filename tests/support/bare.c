/* See bare.h. */
#include "support/bare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void *count_allocate(void *user, size_t bytes)
{
    bare *b = user;
    void *pointer = NULL;
    if (b->made++ == b->fail_at || posix_memalign(&pointer, 64, bytes) != 0) return NULL;
    b->live++;
    return pointer;
}

static void count_release(void *user, void *pointer)
{
    bare *b = user;
    b->live--;
    free(pointer);
}

static void count_log(void *user, ewc_log_level level, const char *message)
{
    bare *b = user;
    (void)message;
    b->warnings += level == EWC_LOG_WARNING;
}

ewc_context *bare_open(bare *b)
{
    memset(b, 0, sizeof *b);
    b->fail_at = -1;
    b->ctx.threads = 1;
    b->ctx.options.struct_size = sizeof b->ctx.options;
    b->ctx.options.user = b;
    b->ctx.options.allocate = count_allocate;
    b->ctx.options.release = count_release;
    b->ctx.options.log = count_log;
    return &b->ctx;
}

void bare_close(bare *b)
{
    assert_int_equal(b->live, 0);
}

int64_t bare_starve(bare_call call, void *argument)
{
    for (int64_t n = 0; n < 100000; n++) {
        bare b;
        ewc_context *ctx = bare_open(&b);
        b.fail_at = n;
        ewc_status status = call(ctx, argument);
        assert_int_equal(b.live, 0);
        if (b.made <= n) { /* there was no n-th allocation to fail */
            assert_int_equal(status, EWC_OK);
            return n;
        }
        assert_int_equal(status, EWC_ERROR_MEMORY);
        assert_non_null(strstr(ewc_last_error(ctx), "no memory"));
    }
    fail_msg("the call never ran out of allocations");
    return -1;
}
