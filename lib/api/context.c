/* ewc_context_*: creation, description, and the library's own facts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/context.h"
#include "core/memory.h"
#include "core/status.h"
#include "core/threads.h"
#include "ops.h"

enum { MOST_THREADS = 1024 };

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const char *ewc_version(void)
{
    return TEXT(EWC_VERSION_MAJOR) "." TEXT(EWC_VERSION_MINOR) "." TEXT(EWC_VERSION_PATCH);
}

void ewc_context_options_default(ewc_context_options *options)
{
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
    options->device = "cpu";
}

static ewc_status check_options(const ewc_context_options *o)
{
    if (o->struct_size != sizeof *o)
        return ewci_fail(NULL, EWC_ERROR_ARGUMENT,
                         "options: struct_size: expected %zu, found %zu; fill the struct with "
                         "ewc_context_options_default()",
                         sizeof *o, o->struct_size);
    if (o->device != NULL && strcmp(o->device, "cpu") != 0)
        return ewci_fail(NULL, EWC_ERROR_UNSUPPORTED, "device: expected \"cpu\", found \"%s\"", o->device);
    if (o->threads < 0 || o->threads > MOST_THREADS)
        return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "threads: expected 0 (all processors) to %d, found %d", MOST_THREADS,
                         o->threads);
    if ((o->allocate == NULL) != (o->release == NULL))
        return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "allocate, release: expected both or neither");
    return EWC_OK;
}

/* The context itself comes from the host's allocator too. */
static ewc_status new_context(const ewc_context_options *options, ewc_context **out)
{
    ewc_context seed = {.options = *options};
    void *memory;
    ewc_status status = ewci_alloc_zero(&seed, sizeof(ewc_context), "a context", &memory);
    if (status != EWC_OK) return ewci_fail(NULL, status, "%s", seed.error);
    *out = memory;
    return EWC_OK;
}

ewc_status ewc_context_create(const ewc_context_options *options, ewc_context **context)
{
    ewc_context_options defaults;
    ewc_context *ctx;
    ewc_context_options_default(&defaults);
    if (options == NULL) options = &defaults;
    if (context == NULL) return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "ewc_context_create: context is NULL");
    EWCI_TRY(check_options(options));
    EWCI_TRY(new_context(options, &ctx));
    ctx->options = *options;
    ctx->options.device = "cpu";
    ctx->threads = options->threads > 0 ? options->threads : ewci_processor_count();
    ctx->ops = &ewci_cpu_ops;
    ewc_status status = ctx->ops->open(ctx, &ctx->options, &ctx->device);
    if (status != EWC_OK) {
        ewci_record(NULL, "%s", ctx->error);
        ewc_context seed = {.options = ctx->options};
        ewci_free(&seed, ctx);
        return status;
    }
    *context = ctx;
    return EWC_OK;
}

void ewc_context_destroy(ewc_context *context)
{
    if (context == NULL) return;
    ewc_context seed = {.options = context->options}; /* outlives what it frees */
    context->ops->close(context->device);
    ewci_free(&seed, context);
}

ewc_status ewc_context_describe(ewc_context *context, ewc_context_info *info)
{
    if (context == NULL || info == NULL)
        return ewci_fail(context, EWC_ERROR_ARGUMENT, "ewc_context_describe: %s is NULL",
                         context == NULL ? "context" : "info");
    if (info->struct_size != sizeof *info)
        return ewci_fail(context, EWC_ERROR_ARGUMENT, "info: struct_size: expected %zu, found %zu", sizeof *info,
                         info->struct_size);
    context->ops->describe(context->device, info);
    return EWC_OK;
}

void ewc_string_free(ewc_context *context, char *text)
{
    if (context != NULL) ewci_free(context, text);
}
