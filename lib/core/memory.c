/* Memory through the context's allocator: see memory.h. */
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/context.h"
#include "core/status.h"

#define ALIGNMENT ((size_t)64)
#define HUGE_PAGE ((size_t)2 << 20)

/* Large blocks are aligned to huge pages and the system is asked for them: fewer page faults and table walks. */
static void *allocate(size_t bytes)
{
    void *pointer;
    size_t alignment = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGNMENT;
    if (posix_memalign(&pointer, alignment, bytes) != 0) return NULL;
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE) madvise(pointer, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
    return pointer;
}

ewc_status ewci_alloc(ewc_context *ctx, size_t bytes, const char *what, void **out)
{
    if (bytes == 0) bytes = 1;
    void *pointer = ctx->options.allocate != NULL ? ctx->options.allocate(ctx->options.user, bytes) : allocate(bytes);
    if (pointer == NULL)
        return ewci_fail(ctx, EWC_ERROR_MEMORY, "no memory for %s: %zu bytes were asked for", what, bytes);
    *out = pointer;
    return EWC_OK;
}

ewc_status ewci_alloc_zero(ewc_context *ctx, size_t bytes, const char *what, void **out)
{
    void *pointer;
    EWCI_TRY(ewci_alloc(ctx, bytes, what, &pointer));
    memset(pointer, 0, bytes);
    *out = pointer;
    return EWC_OK;
}

ewc_status ewci_alloc_array(ewc_context *ctx, int64_t count, size_t size, const char *what, void **out)
{
    size_t bytes;
    if (count < 0 || !ewci_mul_size((size_t)count, size, &bytes))
        return ewci_fail(ctx, EWC_ERROR_MEMORY, "no memory for %s: %lld elements of %zu bytes cannot exist", what,
                         (long long)count, size);
    return ewci_alloc_zero(ctx, bytes, what, out);
}

ewc_status ewci_strdup(ewc_context *ctx, const char *text, char **out)
{
    void *copy;
    size_t bytes = strlen(text) + 1;
    EWCI_TRY(ewci_alloc(ctx, bytes, "a string", &copy));
    memcpy(copy, text, bytes);
    *out = copy;
    return EWC_OK;
}

void ewci_free(ewc_context *ctx, void *pointer)
{
    if (pointer == NULL) return;
    if (ctx->options.release != NULL)
        ctx->options.release(ctx->options.user, pointer);
    else
        free(pointer);
}

bool ewci_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool ewci_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
