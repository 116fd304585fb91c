/* Status codes and the error text of a context.
 *
 * Every internal function that can fail returns ewc_status and, when it is the one that found the failure, records a
 * sentence for a human with ewci_fail: what (file, tensor, option), expected, found, what to do. */
#ifndef EWCI_CORE_STATUS_H
#define EWCI_CORE_STATUS_H

#include "libewc.h"

/* Records the text in the context, or with ctx NULL in the calling thread's own slot. */
void ewci_record(ewc_context *ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ewci_fail(ctx, status, format, ...) records the text and is `status`: a macro, so that the compiler sees which it is. */
#define ewci_fail(ctx, status, ...) (ewci_record((ctx), __VA_ARGS__), (status))

/* Puts "<prefix>: " before the recorded text: for callers that know the file or the tensor. */
void ewci_record_in(ewc_context *ctx, const char *prefix);

/* Sends a line to the context's log callback, if any. Never prints by itself. */
void ewci_log(ewc_context *ctx, ewc_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Returns from the calling function when `expression` is not EWC_OK. */
#define EWCI_TRY(expression)                                     \
    do {                                                         \
        ewc_status ewci_try_status_ = (expression);              \
        if (ewci_try_status_ != EWC_OK) return ewci_try_status_; \
    } while (0)

/* Jumps to `label` with `status` set when `expression` is not EWC_OK. */
#define EWCI_TRY_GOTO(status, label, expression) \
    do {                                         \
        (status) = (expression);                 \
        if ((status) != EWC_OK) goto label;      \
    } while (0)

#endif
