/* See sized.h. */
#include "core/sized.h"

#include <string.h>

#include "core/status.h"

/* No struct of the interface comes near; a size beyond it is a struct that was not filled in. */
enum { MOST_BYTES = 1 << 16 };

static ewc_status read_size(ewc_context *ctx, const char *what, const void *sized, size_t *size)
{
    if (sized == NULL) return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: expected a struct, found NULL", what);
    memcpy(size, sized, sizeof *size);
    if (*size > sizeof *size && *size <= MOST_BYTES) return EWC_OK;
    return ewci_fail(
        ctx, EWC_ERROR_ARGUMENT,
        "%s: struct_size: expected the size of the struct, found %zu; fill it with its default function or set it",
        what, *size);
}

ewc_status ewci_sized_check(ewc_context *ctx, const char *what, const void *given)
{
    size_t size;
    return read_size(ctx, what, given, &size);
}

ewc_status ewci_sized_take(ewc_context *ctx, const char *what, const void *given, void *out, size_t size)
{
    size_t given_size;
    const char *bytes = given;
    EWCI_TRY(read_size(ctx, what, given, &given_size));
    for (size_t i = size; i < given_size; i++) {
        if (bytes[i] != 0)
            return ewci_fail(
                ctx, EWC_ERROR_UNSUPPORTED,
                "%s: byte %zu sets a field that this library (%zu bytes) does not know; use the library of the "
                "header that the program was compiled with",
                what, i, size);
    }
    memcpy(out, given, given_size < size ? given_size : size);
    memcpy(out, &size, sizeof size);
    return EWC_OK;
}

ewc_status ewci_sized_give(ewc_context *ctx, const char *what, void *out, const void *source, size_t size)
{
    size_t given_size;
    EWCI_TRY(read_size(ctx, what, out, &given_size));
    memset(out, 0, given_size);
    memcpy(out, source, given_size < size ? given_size : size);
    memcpy(out, &given_size, sizeof given_size);
    return EWC_OK;
}
