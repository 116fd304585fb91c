/* Error text and log lines: see status.h. */
#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/context.h"

enum { TEXT_BYTES = sizeof((ewc_context *)0)->error };

/* For failures without a context, such as creating one. */
static _Thread_local char thread_error[TEXT_BYTES];

static char *slot(ewc_context *ctx)
{
    return ctx == NULL ? thread_error : ctx->error;
}

void ewci_record(ewc_context *ctx, const char *format, ...)
{
    char text[TEXT_BYTES]; /* an argument may be the present text */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c != '\0'; c++) /* names from files may carry what a terminal obeys */
        if (((unsigned char)*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f) *c = '?';
    memcpy(slot(ctx), text, sizeof text);
}

void ewci_record_in(ewc_context *ctx, const char *prefix)
{
    ewci_record(ctx, "%s: %s", prefix, slot(ctx));
}

void ewci_log(ewc_context *ctx, ewc_log_level level, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list arguments;
    if (ctx == NULL || ctx->options.log == NULL) return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ctx->options.log(ctx->options.user, level, text);
}

const char *ewc_last_error(const ewc_context *context)
{
    return context == NULL ? thread_error : context->error;
}

const char *ewc_status_name(ewc_status status)
{
    switch (status) {
#define NAME(name, value, meaning) \
    case name: return #name;
        EWC_STATUS_LIST(NAME)
#undef NAME
    }
    return "unknown status";
}

const char *ewc_status_meaning(ewc_status status)
{
    switch (status) {
#define MEANING(name, value, meaning) \
    case name: return meaning;
        EWC_STATUS_LIST(MEANING)
#undef MEANING
    }
    return "unknown status";
}

ewc_status ewci_check_cancelled(ewc_context *ctx)
{
    if (ctx->options.cancel == NULL || ctx->options.cancel(ctx->options.user) == 0) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_CANCELLED, "the host asked to stop");
}
