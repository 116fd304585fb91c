/* ewc_context_*: creation, description, and the library's own facts. */
#include <string.h>

#include "core/context.h"
#include "core/memory.h"
#include "core/sized.h"
#include "core/status.h"
#include "core/threads.h"
#include "ops.h"

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
    if (o->device != NULL && strcmp(o->device, "cpu") != 0)
        return ewci_fail(NULL, EWC_ERROR_UNSUPPORTED, "device: expected \"cpu\", found \"%s\"", o->device);
    if (o->threads < 0 || o->threads > EWCI_MOST_THREADS)
        return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "threads: expected 0 (all processors) to %d, found %d",
                         EWCI_MOST_THREADS, o->threads);
    if ((unsigned)o->products > EWC_PRODUCTS_BF16)
        return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "products: expected an ewc_products, found %d", (int)o->products);
    if ((o->allocate == NULL) != (o->release == NULL))
        return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "allocate, release: expected both or neither");
    return EWC_OK;
}

static int processors(void)
{
    int count = ewci_processor_count();
    return count < EWCI_MOST_THREADS ? count : EWCI_MOST_THREADS;
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
    ewc_context_options taken;
    ewc_context *ctx;
    if (context == NULL) return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "ewc_context_create: context is NULL");
    ewc_context_options_default(&taken);
    if (options != NULL) EWCI_TRY(ewci_sized_take(NULL, "options", options, &taken, sizeof taken));
    EWCI_TRY(check_options(&taken));
    taken.device = "cpu"; /* the caller's string need not live on */
    EWCI_TRY(new_context(&taken, &ctx));
    ctx->options = taken;
    ctx->threads = taken.threads > 0 ? taken.threads : processors();
    ctx->ops = &ewci_cpu_ops;
    ewc_status status = ctx->ops->open(ctx, &ctx->options, &ctx->device);
    if (status != EWC_OK) {
        ewci_record(NULL, "%s", ctx->error);
        ewc_context seed = {.options = taken};
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
    ewc_context_info found = {.struct_size = sizeof found};
    if (context == NULL) return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "ewc_context_describe: context is NULL");
    context->ops->describe(context->device, &found);
    return ewci_sized_give(context, "info", info, &found, sizeof found);
}

void ewc_string_free(ewc_context *context, char *text)
{
    if (context != NULL) ewci_free(context, text);
}
