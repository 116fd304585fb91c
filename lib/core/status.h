/* Status codes and the error text of a context.
 *
 * Every internal function that can fail returns ewc_status and, when it is the one that found the failure, records a
 * sentence for a human with ewci_fail: what (file, tensor, option), expected, found, what to do. */
#ifndef EWCI_CORE_STATUS_H
#define EWCI_CORE_STATUS_H

#include "libewc.h"

/* Records the text in the context (ctx may be NULL: then in the calling thread's own slot) and returns `status`. */
ewc_status ewci_fail(ewc_context *ctx, ewc_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "<prefix>: " before the recorded text: for callers that know the file or the tensor. Returns `status`. */
ewc_status ewci_fail_in(ewc_context *ctx, ewc_status status, const char *prefix);

/* Sends a line to the context's log callback, if any. Never prints by itself. */
void ewci_log(ewc_context *ctx, ewc_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Returns from the calling function when `expression` is not EWC_OK. */
#define EWCI_TRY(expression)                                                                                           \
    do {                                                                                                               \
        ewc_status ewci_try_status_ = (expression);                                                                    \
        if (ewci_try_status_ != EWC_OK) return ewci_try_status_;                                                       \
    } while (0)

/* Jumps to `label` with `status` set when `expression` is not EWC_OK. */
#define EWCI_TRY_GOTO(status, label, expression)                                                                       \
    do {                                                                                                               \
        (status) = (expression);                                                                                       \
        if ((status) != EWC_OK) goto label;                                                                            \
    } while (0)

#endif
