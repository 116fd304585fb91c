/* The memory plan: every buffer's bytes from configuration and options, by the functions that lay the buffers out. */
#include "train/plan.h"

#include <string.h>

#include "core/memory.h"
#include "core/sized.h"
#include "core/status.h"
#include "model/workspace.h"

/* Code and data of the library and libc, for a context of one thread; each further thread adds a stack, a tile and packed operands. An
 * estimate: bench-step prints the resident memory of a run beside the plan's. */
#define LIBRARY_BYTES ((int64_t)6 << 20)
#define THREAD_BYTES ((int64_t)2 << 20)

void ewc_plan_options_default(ewc_plan_options *options)
{
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
    options->recompute = EWC_RECOMPUTE_ELEMENTWISE;
    options->training = 1;
    options->fisher_dtype = EWC_F32;
    options->anchor_dtype = EWC_BF16;
}

static int64_t element_bytes(ewc_dtype dtype)
{
    return dtype == EWC_F32 ? 4 : 2;
}

/* Bytes of the workspace in its three parts. */
static void count_workspace(ewc_context *ctx, const ewc_model_config *config, int64_t tokens, bool training,
                            ewc_recompute recompute, const uint8_t *layer_recompute, ewc_plan *plan)
{
    struct ewci_workspace w = {.tokens = tokens, .training = training};
    memset(w.recompute, (int)recompute, sizeof w.recompute);
    if (layer_recompute != NULL) memcpy(w.recompute, layer_recompute, (size_t)config->layers);
    ewci_workspace_place(&w, config, ctx->ops, ctx->device, NULL);
    plan->activations_bytes = (int64_t)w.activation_bytes;
    plan->scratch_bytes = (int64_t)w.scratch_bytes;
    plan->logits_bytes = (int64_t)w.logits_bytes;
}

static ewc_status check_options(ewc_context *ctx, const ewc_model_config *config, const ewc_plan_options *o)
{
    EWCI_TRY(ewci_config_check(ctx, config));
    if (o->sequences < 1 || o->length < 1 || o->sequences > INT32_MAX / o->length)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "sequences, length: expected a micro-batch of at least 1 x 1, found %lld x %lld",
                         (long long)o->sequences, (long long)o->length);
    if ((unsigned)o->recompute > EWC_RECOMPUTE_LAYER)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "recompute: expected 0 to 3, found %d", (int)o->recompute);
    for (int64_t l = 0; o->layer_recompute != NULL && l < config->layers; l++)
        if (o->layer_recompute[l] > EWC_RECOMPUTE_LAYER)
            return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "layer_recompute[%lld]: expected 0 to 3, found %d", (long long)l,
                             (int)o->layer_recompute[l]);
    if (o->vocabulary < 0 || o->vocabulary > config->vocab_size)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "vocabulary: expected 0 (all) to %lld tokens, found %lld",
                         (long long)config->vocab_size, (long long)o->vocabulary);
    if (o->fisher < 0 || o->fisher > 2)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "fisher: expected 0, 1 or 2, found %d", o->fisher);
    if (o->anchor < 0 || o->anchor > 3)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "anchor: expected 0, 1, 2 or 3, found %d", o->anchor);
    if (o->moments_dtype != EWC_F32 && o->moments_dtype != EWC_BF16)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "moments_dtype: expected EWC_F32 or EWC_BF16, found %d",
                         (int)o->moments_dtype);
    return EWC_OK;
}

/* What a list of tokens adds: the maps between ids and rows, and a mapped anchor's rows, which are copied. */
static void add_vocabulary(const ewc_model_config *whole, const ewc_plan_options *o, ewc_plan *plan)
{
    if (o->vocabulary == 0 || o->vocabulary == whole->vocab_size) return;
    plan->library_bytes += (whole->vocab_size + o->vocabulary) * (int64_t)sizeof(int32_t);
    if (o->anchor == 2) plan->mapped_bytes -= element_bytes(o->anchor_dtype) * o->vocabulary * whole->hidden_size;
}

static void add_up(ewc_plan *plan)
{
    plan->total_bytes = plan->weights_bytes + plan->gradients_bytes + plan->moments_bytes + plan->fisher_bytes +
                        plan->anchor_bytes + plan->activations_bytes + plan->scratch_bytes + plan->logits_bytes +
                        plan->library_bytes;
}

ewc_status ewc_plan_memory(ewc_context *context, const ewc_model_config *config, const ewc_plan_options *options,
                           ewc_plan *out)
{
    if (context == NULL || config == NULL || options == NULL || out == NULL)
        return ewci_fail(context, EWC_ERROR_ARGUMENT, "ewc_plan_memory: an argument is NULL");
    ewc_model_config shape;
    ewc_plan_options taken;
    ewc_model_config_default(&shape);
    ewc_plan_options_default(&taken);
    EWCI_TRY(ewci_sized_take(context, "config", config, &shape, sizeof shape));
    EWCI_TRY(ewci_sized_take(context, "options", options, &taken, sizeof taken));
    config = &shape;
    options = &taken;
    EWCI_TRY(check_options(context, config, options));
    ewc_model_config whole = shape;
    if (options->vocabulary > 0) shape.vocab_size = options->vocabulary;
    ewci_layout layout;
    EWCI_TRY(ewci_layout_create(context, config, &layout));
    ewc_plan plan = {.struct_size = sizeof plan, .parameters = layout.parameters};
    ewci_layout_destroy(context, &layout);

    int64_t n = plan.parameters;
    plan.weights_bytes = 4 * n;
    if (options->training) {
        plan.gradients_bytes = 4 * n;
        plan.moments_bytes = 2 * element_bytes(options->moments_dtype) * n;
    }
    if (options->fisher) plan.fisher_bytes = element_bytes(options->fisher_dtype) * n;
    if (options->anchor == 1) plan.anchor_bytes = 4 * n;
    if (options->anchor >= 2) plan.anchor_bytes = element_bytes(options->anchor_dtype) * n;
    if (options->anchor == 2) plan.mapped_bytes += plan.anchor_bytes;
    if (options->fisher == 2) plan.mapped_bytes += plan.fisher_bytes;
    count_workspace(context, config, options->sequences * options->length, options->training != 0, options->recompute,
                    options->layer_recompute, &plan);
    ewc_context_info info = {.struct_size = sizeof info};
    EWCI_TRY(ewc_context_describe(context, &info));
    plan.library_bytes = LIBRARY_BYTES + (context->threads - 1) * THREAD_BYTES + info.products_bytes;
    add_vocabulary(&whole, options, &plan);
    add_up(&plan);
    plan.available_bytes = info.memory_available_bytes;
    return ewci_sized_give(context, "plan", out, &plan, sizeof plan);
}

ewc_status ewci_plan_check_trainer(ewc_model *model, const ewc_trainer_options *options)
{
    ewc_plan plan = {0};
    ewc_context_info info = {.struct_size = sizeof info};
    count_workspace(model->ctx, &model->config, options->max_sequences * options->max_length, true, options->recompute,
                    options->layer_recompute, &plan);
    plan.gradients_bytes = 4 * model->layout.parameters;
    plan.moments_bytes = 2 * element_bytes(options->moments_dtype) * model->layout.parameters;
    add_up(&plan);
    EWCI_TRY(ewc_context_describe(model->ctx, &info));
    if (info.memory_available_bytes <= 0 || plan.total_bytes <= info.memory_available_bytes) return EWC_OK;
    return ewci_fail(
        model->ctx, EWC_ERROR_MEMORY,
        "training with %lld x %lld tokens needs %lld MiB more (gradients %lld, moments %lld, activations %lld, "
        "scratch %lld, logits %lld), %lld MiB are available: smaller micro-batches or a deeper recompute "
        "level need less",
        (long long)options->max_sequences, (long long)options->max_length, (long long)(plan.total_bytes >> 20),
        (long long)(plan.gradients_bytes >> 20), (long long)(plan.moments_bytes >> 20),
        (long long)(plan.activations_bytes >> 20), (long long)(plan.scratch_bytes >> 20),
        (long long)(plan.logits_bytes >> 20), (long long)(info.memory_available_bytes >> 20));
}
