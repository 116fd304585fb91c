/* Memory through the context's allocator, with checked sizes and an error text that names the purpose. */
#ifndef EWCI_CORE_MEMORY_H
#define EWCI_CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libewc.h"

/* Allocates `bytes` (64-byte aligned, contents undefined; 0 bytes gives a valid pointer). `what` names the purpose in
 * the error text. Large blocks are asked for in huge pages. *out is untouched on failure. */
ewc_status ewci_alloc(ewc_context *ctx, size_t bytes, const char *what, void **out);

/* The same, filled with zero. */
ewc_status ewci_alloc_zero(ewc_context *ctx, size_t bytes, const char *what, void **out);

/* count elements of `size` bytes each, overflow checked, filled with zero. */
ewc_status ewci_alloc_array(ewc_context *ctx, int64_t count, size_t size, const char *what, void **out);

/* A copy of a string. */
ewc_status ewci_strdup(ewc_context *ctx, const char *text, char **out);

void ewci_free(ewc_context *ctx, void *pointer); /* NULL is fine */

/* a * b and a + b for sizes from outside; false on overflow. */
bool ewci_mul_size(size_t a, size_t b, size_t *out);
bool ewci_add_size(size_t a, size_t b, size_t *out);

#endif
