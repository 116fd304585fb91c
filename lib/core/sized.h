/* Structs that carry their size in their first member, so that programs and library of different versions understand each other:
 * fields are added at the end only. */
#ifndef EWCI_CORE_SIZED_H
#define EWCI_CORE_SIZED_H

#include <stddef.h>

#include "libewc.h"

/* Takes the caller's struct `given` into *out, which has `size` bytes and holds the defaults: fields that a program compiled
 * against an older header does not know keep them. Fields that this library does not know must be zero: a newer program that asks
 * for something is refused, not half obeyed. `what` names the struct in the error text. out->struct_size becomes `size`. */
ewc_status ewci_sized_take(ewc_context *ctx, const char *what, const void *given, void *out, size_t size);

/* Gives the caller as much of the filled-in struct `source` as his struct `out` has room for; the rest of his is zero. His size stays. */
ewc_status ewci_sized_give(ewc_context *ctx, const char *what, void *out, const void *source, size_t size);

/* Does the caller's struct carry a size? For calls that must know before they change anything. */
ewc_status ewci_sized_check(ewc_context *ctx, const char *what, const void *given);

#endif
