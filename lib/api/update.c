/* The level for hosts with a model of their own: argument checks in front of the operations. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "api/require.h"
#include "core/context.h"
#include "core/convert.h"
#include "core/sized.h"
#include "ops.h"

/* The root of the smallest second moment that f32 holds is 1e-19: eps must stand well above it. */
#define SMALLEST_EPSILON 1e-15

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
        return needed ? ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: expected a buffer, found data NULL", name) : EWC_OK;
    if (buffer.dtype != EWC_F32 && buffer.dtype != EWC_BF16 && !(f16 && buffer.dtype == EWC_F16))
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: expected dtype EWC_F32%s EWC_BF16, found %d", name,
                         f16 ? ", EWC_F16 or" : " or", (int)buffer.dtype);
    if ((uintptr_t)buffer.data % ewci_dtype_bytes(buffer.dtype) != 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: expected data aligned to its element of %zu bytes, found %p",
                         name, ewci_dtype_bytes(buffer.dtype), buffer.data);
    return EWC_OK;
}

static ewc_status check_penalty_buffers(ewc_context *ctx, const ewc_update_buffers *b)
{
    EWCI_TRY(check_buffer(ctx, "buffers.weight", b->weight, true, false));
    EWCI_TRY(check_buffer(ctx, "buffers.fisher", b->fisher, false, false));
    EWCI_TRY(check_buffer(ctx, "buffers.anchor", b->anchor, false, true));
    if (b->fisher.data != NULL && b->anchor.data == NULL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "buffers.anchor: a fisher needs the weights it was estimated at, found data NULL");
    return EWC_OK;
}

/* least <= value < below; never NaN. */
static ewc_status check_range(ewc_context *ctx, const char *name, double value, double least, double below)
{
    if (value >= least && value < below) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: expected %g <= value < %g, found %g", name, least, below, value);
}

/* Zero or a positive number that is also an f32. */
static ewc_status check_positive(ewc_context *ctx, const char *name, double value)
{
    if (value >= 0 && value <= (double)FLT_MAX) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: expected a number from 0 to 3.4e38, found %g", name, value);
}

static ewc_status check_lambda(ewc_context *ctx, const char *name, double lambda)
{
    if (lambda >= 0 && lambda <= DBL_MAX) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: expected a finite number, 0 or more, found %g", name, lambda);
}

static ewc_status check_options(ewc_context *ctx, const ewc_update_options *o)
{
    if ((unsigned)o->form > EWC_PENALTY_PROXIMAL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "options.form: expected an ewc_penalty_form, found %d", (int)o->form);
    if (o->step < 1)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "options.step: expected 1 or more, found %lld", (long long)o->step);
    EWCI_TRY(check_positive(ctx, "options.learning_rate", o->learning_rate));
    EWCI_TRY(check_range(ctx, "options.beta1", o->beta1, 0, 1));
    EWCI_TRY(check_range(ctx, "options.beta2", o->beta2, 0, 1));
    EWCI_TRY(check_range(ctx, "options.epsilon", o->epsilon, SMALLEST_EPSILON, (double)FLT_MAX));
    EWCI_TRY(check_positive(ctx, "options.weight_decay", o->weight_decay));
    if (!(fabs(o->gradient_scale) <= (double)FLT_MAX))
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "options.gradient_scale: expected a finite number, found %g",
                         o->gradient_scale);
    return check_lambda(ctx, "options.lambda", o->lambda);
}

ewc_status ewc_update(ewc_context *context, int64_t n, const ewc_update_buffers *buffers,
                      const ewc_update_options *options, ewc_update_statistics *statistics)
{
    ewc_update_options o;
    EWCI_REQUIRE(NULL, context);
    EWCI_REQUIRE(context, buffers);
    EWCI_REQUIRE(context, options);
    ewc_update_options_default(&o);
    EWCI_TRY(ewci_sized_take(context, "options", options, &o, sizeof o));
    EWCI_TRY(check_count(context, n));
    EWCI_TRY(check_options(context, &o));
    if (o.first_element < 0 || o.first_element > INT64_MAX - n)
        return ewci_fail(context, EWC_ERROR_ARGUMENT,
                         "options.first_element: expected 0 or more, found %lld for n %lld", (long long)o.first_element,
                         (long long)n);
    if (n > 0) {
        EWCI_TRY(check_penalty_buffers(context, buffers));
        EWCI_TRY(check_buffer(context, "buffers.m", buffers->m, true, false));
        EWCI_TRY(check_buffer(context, "buffers.v", buffers->v, true, false));
        EWCI_TRY(check_buffer(context, "buffers.gradient", buffers->gradient, true, false));
    }
    return context->ops->update(context->device, n, buffers, &o, statistics);
}

ewc_status ewc_fisher_accumulate_buffer(ewc_context *context, int64_t n, float *fisher, ewc_buffer gradient,
                                        double weight, double decay)
{
    EWCI_REQUIRE(NULL, context);
    EWCI_TRY(check_count(context, n));
    if (n > 0) {
        ewc_buffer target = {fisher, EWC_F32};
        EWCI_TRY(check_buffer(context, "fisher", target, true, false));
        EWCI_TRY(check_buffer(context, "gradient", gradient, true, false));
    }
    EWCI_TRY(check_positive(context, "weight", weight));
    EWCI_TRY(check_positive(context, "decay", decay));
    return context->ops->fisher_accumulate(context->device, fisher, gradient, n, (float)weight, (float)decay);
}

ewc_status ewc_penalty_evaluate(ewc_context *context, int64_t n, const ewc_update_buffers *buffers, double lambda,
                                ewc_update_statistics *statistics)
{
    ewc_update_statistics found;
    EWCI_REQUIRE(NULL, context);
    EWCI_REQUIRE(context, buffers);
    EWCI_REQUIRE(context, statistics);
    EWCI_TRY(check_count(context, n));
    EWCI_TRY(check_lambda(context, "lambda", lambda));
    if (n > 0) EWCI_TRY(check_penalty_buffers(context, buffers));
    EWCI_TRY(context->ops->penalty(context->device, n, buffers, 1.0F, &found));
    found.penalty = 0.5 * lambda * found.fisher_distance_squared; /* not rounded to the operation's f32 */
    *statistics = found;
    return EWC_OK;
}

ewc_status ewc_sum_squares(ewc_context *context, int64_t n, ewc_buffer gradient, double *sum, int64_t *nonfinite)
{
    EWCI_REQUIRE(NULL, context);
    EWCI_REQUIRE(context, sum);
    EWCI_REQUIRE(context, nonfinite);
    EWCI_TRY(check_count(context, n));
    if (n > 0) EWCI_TRY(check_buffer(context, "gradient", gradient, true, false));
    return context->ops->sum_squares(context->device, gradient, n, sum, nonfinite);
}
