/* The level for hosts with a model of their own: argument checks in front of the operations. */
#include <math.h>
#include <string.h>

#include "core/context.h"
#include "core/convert.h"
#include "core/status.h"
#include "ops.h"

void ewc_update_options_default(ewc_update_options *options)
{
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
    options->form = EWC_PENALTY_PROXIMAL;
    options->step = 1;
    options->beta1 = 0.9;
    options->beta2 = 0.999;
    options->epsilon = 1e-8;
    options->gradient_scale = 1.0;
}

static ewc_status check_count(ewc_context *ctx, int64_t n)
{
    if (n >= 0) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "n: expected 0 or more elements, found %lld", (long long)n);
}

static ewc_status check_buffer(ewc_context *ctx, const char *name, ewc_buffer buffer, bool needed, bool f16)
{
    if (buffer.data == NULL)
        return needed ? ewci_fail(ctx, EWC_ERROR_ARGUMENT, "buffers.%s: data is NULL", name) : EWC_OK;
    if (buffer.dtype != EWC_F32 && buffer.dtype != EWC_BF16 && !(f16 && buffer.dtype == EWC_F16))
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "buffers.%s: expected EWC_F32%s EWC_BF16, found dtype %d", name,
                         f16 ? ", EWC_F16 or" : " or", (int)buffer.dtype);
    if ((uintptr_t)buffer.data % ewci_dtype_bytes(buffer.dtype) != 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "buffers.%s: data is not aligned to its element", name);
    return EWC_OK;
}

static ewc_status check_penalty_buffers(ewc_context *ctx, const ewc_update_buffers *b)
{
    EWCI_TRY(check_buffer(ctx, "weight", b->weight, true, false));
    EWCI_TRY(check_buffer(ctx, "fisher", b->fisher, false, false));
    EWCI_TRY(check_buffer(ctx, "anchor", b->anchor, false, true));
    if (b->fisher.data != NULL && b->anchor.data == NULL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "buffers.anchor: a fisher needs its anchor");
    return EWC_OK;
}

static ewc_status check_range(ewc_context *ctx, const char *name, double value, double least, double below)
{
    if (value >= least && value < below) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "options.%s: expected %g <= value < %g, found %g", name, least, below,
                     value);
}

static ewc_status check_options(ewc_context *ctx, const ewc_update_options *o)
{
    if (o->struct_size != sizeof *o)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "options.struct_size: expected %zu, found %zu; fill the struct with "
                         "ewc_update_options_default()",
                         sizeof *o, o->struct_size);
    if ((unsigned)o->form > EWC_PENALTY_PROXIMAL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "options.form: expected an ewc_penalty_form, found %d", (int)o->form);
    if (o->step < 1)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "options.step: expected 1 or more, found %lld", (long long)o->step);
    EWCI_TRY(check_range(ctx, "learning_rate", o->learning_rate, 0, (double)INFINITY));
    EWCI_TRY(check_range(ctx, "beta1", o->beta1, 0, 1));
    EWCI_TRY(check_range(ctx, "beta2", o->beta2, 0, 1));
    EWCI_TRY(check_range(ctx, "epsilon", o->epsilon, 1e-30, (double)INFINITY));
    EWCI_TRY(check_range(ctx, "weight_decay", o->weight_decay, 0, (double)INFINITY));
    EWCI_TRY(check_range(ctx, "gradient_scale", o->gradient_scale, -(double)INFINITY, (double)INFINITY));
    return check_range(ctx, "lambda", o->lambda, 0, (double)INFINITY);
}

ewc_status ewc_update(ewc_context *context, int64_t n, const ewc_update_buffers *buffers,
                      const ewc_update_options *options, ewc_update_statistics *statistics)
{
    if (context == NULL || buffers == NULL || options == NULL)
        return ewci_fail(context, EWC_ERROR_ARGUMENT, "ewc_update: %s is NULL",
                         context == NULL   ? "context"
                         : buffers == NULL ? "buffers"
                                           : "options");
    EWCI_TRY(check_count(context, n));
    EWCI_TRY(check_options(context, options));
    if (n > 0) {
        EWCI_TRY(check_penalty_buffers(context, buffers));
        EWCI_TRY(check_buffer(context, "m", buffers->m, true, false));
        EWCI_TRY(check_buffer(context, "v", buffers->v, true, false));
        EWCI_TRY(check_buffer(context, "gradient", buffers->gradient, true, false));
    }
    return context->ops->update(context->device, n, buffers, options, statistics);
}

ewc_status ewc_fisher_accumulate_buffer(ewc_context *context, int64_t n, float *fisher, ewc_buffer gradient,
                                        double weight, double decay)
{
    if (context == NULL) return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "ewc_fisher_accumulate_buffer: context is NULL");
    EWCI_TRY(check_count(context, n));
    if (n > 0) {
        ewc_buffer target = {fisher, EWC_F32};
        EWCI_TRY(check_buffer(context, "fisher", target, true, false));
        EWCI_TRY(check_buffer(context, "gradient", gradient, true, false));
    }
    if (!isfinite(weight) || !isfinite(decay))
        return ewci_fail(context, EWC_ERROR_ARGUMENT, "weight, decay: expected finite numbers, found %g, %g", weight,
                         decay);
    return context->ops->fisher_accumulate(context->device, fisher, gradient, n, (float)weight, (float)decay);
}

ewc_status ewc_penalty_evaluate(ewc_context *context, int64_t n, const ewc_update_buffers *buffers, double lambda,
                                ewc_update_statistics *statistics)
{
    if (context == NULL || buffers == NULL || statistics == NULL)
        return ewci_fail(context, EWC_ERROR_ARGUMENT, "ewc_penalty_evaluate: %s is NULL",
                         context == NULL   ? "context"
                         : buffers == NULL ? "buffers"
                                           : "statistics");
    EWCI_TRY(check_count(context, n));
    EWCI_TRY(check_range(context, "lambda", lambda, 0, (double)INFINITY));
    if (n > 0) EWCI_TRY(check_penalty_buffers(context, buffers));
    return context->ops->penalty(context->device, n, buffers, (float)lambda, statistics);
}

ewc_status ewc_sum_squares(ewc_context *context, int64_t n, ewc_buffer gradient, double *sum, int64_t *nonfinite)
{
    if (context == NULL || sum == NULL || nonfinite == NULL)
        return ewci_fail(context, EWC_ERROR_ARGUMENT, "ewc_sum_squares: an argument is NULL");
    EWCI_TRY(check_count(context, n));
    if (n > 0) EWCI_TRY(check_buffer(context, "gradient", gradient, true, false));
    return context->ops->sum_squares(context->device, gradient, n, sum, nonfinite);
}
