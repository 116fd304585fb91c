/* ewc_trainer_*: creation with its checks, anchors, frozen tensors. The step is in lib/train/step.c. */
#include <fnmatch.h>
#include <math.h>
#include <string.h>

#include "core/convert.h"
#include "core/memory.h"
#include "core/sized.h"
#include "core/status.h"
#include "model/vocabulary.h"
#include "train/plan.h"
#include "train/trainer.h"

void ewc_trainer_options_default(ewc_trainer_options *options)
{
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
    ewc_schedule_default(&options->schedule);
    options->beta1 = 0.9;
    options->beta2 = 0.999;
    options->epsilon = 1e-8;
    options->form = EWC_PENALTY_PROXIMAL;
    options->recompute = EWC_RECOMPUTE_ELEMENTWISE;
}

const char *ewc_phase_name(ewc_phase phase)
{
    static const char *const names[EWC_PHASE_COUNT] = {"embed",          "norm",      "rope",     "attention",
                                                       "mlp_activation", "loss",      "gemm_qkv", "gemm_attention_out",
                                                       "gemm_mlp",       "gemm_head", "clip",     "update",
                                                       "other"};
    return (unsigned)phase < EWC_PHASE_COUNT ? names[phase] : "unknown";
}

static ewc_status check_number(ewc_context *ctx, const char *name, double value, double least, double below)
{
    if (value >= least && value < below) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: expected %g <= value < %g, found %g", name, least, below, value);
}

static ewc_status check_recompute(ewc_context *ctx, const ewc_trainer_options *o, int64_t layers)
{
    if ((unsigned)o->recompute > EWC_RECOMPUTE_LAYER)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "recompute: expected 0 to 3, found %d", (int)o->recompute);
    for (int64_t l = 0; o->layer_recompute != NULL && l < layers; l++)
        if (o->layer_recompute[l] > EWC_RECOMPUTE_LAYER)
            return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "layer_recompute[%lld]: expected 0 to 3, found %d", (long long)l,
                             (int)o->layer_recompute[l]);
    return EWC_OK;
}

static ewc_status check_options(ewc_model *model, const ewc_trainer_options *o)
{
    ewc_context *ctx = model->ctx;
    double rate;
    EWCI_TRY(ewc_schedule_rate(ctx, &o->schedule, 1, &rate));
    EWCI_TRY(check_number(ctx, "beta1", o->beta1, 0, 1));
    EWCI_TRY(check_number(ctx, "beta2", o->beta2, 0, 1));
    EWCI_TRY(check_number(ctx, "epsilon", o->epsilon, 1e-15, (double)INFINITY));
    EWCI_TRY(check_number(ctx, "weight_decay", o->weight_decay, 0, (double)INFINITY));
    EWCI_TRY(check_number(ctx, "clip", o->clip, 0, (double)INFINITY));
    if ((unsigned)o->form > EWC_PENALTY_PROXIMAL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "form: expected an ewc_penalty_form, found %d", (int)o->form);
    if (o->clip_mode == EWC_CLIP_TOTAL && o->form != EWC_PENALTY_GRADIENT)
        return ewci_fail(
            ctx, EWC_ERROR_ARGUMENT,
            "clip_mode: EWC_CLIP_TOTAL needs form EWC_PENALTY_GRADIENT: in the proximal form the penalty has "
            "no gradient to clip");
    if (o->clip_mode != EWC_CLIP_TASK && o->clip_mode != EWC_CLIP_TOTAL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "clip_mode: expected an ewc_clip_mode, found %d", (int)o->clip_mode);
    if (o->moments_dtype != EWC_F32 && o->moments_dtype != EWC_BF16)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "moments_dtype: expected EWC_F32 or EWC_BF16, found %d",
                         (int)o->moments_dtype);
    if (o->max_sequences < 1 || o->max_length < 1 || o->max_sequences > INT32_MAX / o->max_length)
        return ewci_fail(
            ctx, EWC_ERROR_ARGUMENT,
            "max_sequences, max_length: expected the largest micro-batch, at least 1 x 1, found %lld x %lld",
            (long long)o->max_sequences, (long long)o->max_length);
    return check_recompute(ctx, o, model->config.layers);
}

/* Zero. */
static ewc_status allocate_moment(ewc_trainer *trainer, const char *what, ewc_buffer *moment)
{
    ewc_context *ctx = trainer->model->ctx;
    ewc_dtype dtype = trainer->options.moments_dtype;
    size_t bytes = (size_t)trainer->model->layout.parameters * ewci_dtype_bytes(dtype);
    void *memory;
    EWCI_TRY(ctx->ops->alloc(ctx->device, bytes, what, &memory));
    *moment = (ewc_buffer){memory, dtype};
    return ctx->ops->zero(ctx->device, memory, bytes);
}

static ewc_status allocate(ewc_trainer *trainer)
{
    ewc_model *model = trainer->model;
    ewc_context *ctx = model->ctx;
    const ewci_ops *ops = ctx->ops;
    size_t bytes = (size_t)model->layout.parameters * sizeof(float);
    int64_t rows = trainer->options.max_sequences * trainer->options.max_length;
    void *memory;
    EWCI_TRY(ewci_alloc_array(ctx, model->layout.tensor_count, sizeof(bool), "the frozen set", &memory));
    trainer->frozen = memory;
    EWCI_TRY(ewci_alloc_array(ctx, rows, 2 * sizeof(float), "per-token losses and weights", &memory));
    trainer->nll = memory;
    trainer->row_weight = trainer->nll + rows;
    EWCI_TRY(ops->alloc(ctx->device, bytes, "the gradient", &memory));
    trainer->gradient = memory;
    EWCI_TRY(allocate_moment(trainer, "Adam's first moment", &trainer->m));
    EWCI_TRY(allocate_moment(trainer, "Adam's second moment", &trainer->v));
    return ewci_model_reserve(model, rows, true, trainer->recompute);
}

ewc_status ewc_trainer_create(ewc_model *model, const ewc_trainer_options *options, ewc_trainer **out)
{
    void *memory;
    if (model == NULL || options == NULL || out == NULL)
        return ewci_fail(model == NULL ? NULL : model->ctx, EWC_ERROR_ARGUMENT, "ewc_trainer_create: %s is NULL",
                         model == NULL     ? "model"
                         : options == NULL ? "options"
                                           : "trainer");
    ewc_trainer_options taken;
    ewc_trainer_options_default(&taken);
    EWCI_TRY(ewci_sized_take(model->ctx, "options", options, &taken, sizeof taken));
    options = &taken;
    EWCI_TRY(check_options(model, options));
    EWCI_TRY(ewci_plan_check_trainer(model, options));
    EWCI_TRY(ewci_alloc_array(model->ctx, 1, sizeof(ewc_trainer), "a trainer", &memory));
    ewc_trainer *trainer = memory;
    trainer->model = model;
    trainer->options = *options;
    trainer->options.layer_recompute = NULL;
    memset(trainer->recompute, (int)options->recompute, sizeof trainer->recompute);
    if (options->layer_recompute != NULL)
        memcpy(trainer->recompute, options->layer_recompute, (size_t)model->config.layers);
    ewc_status status = allocate(trainer);
    if (status == EWC_OK)
        *out = trainer;
    else
        ewc_trainer_destroy(trainer);
    return status;
}

void ewc_trainer_destroy(ewc_trainer *trainer)
{
    if (trainer == NULL) return;
    ewc_context *ctx = trainer->model->ctx;
    ewci_trainer_unseal(trainer);
    ctx->ops->free(ctx->device, trainer->gradient);
    ctx->ops->free(ctx->device, trainer->m.data);
    ctx->ops->free(ctx->device, trainer->v.data);
    ewci_free(ctx, trainer->nll);
    ewci_free(ctx, trainer->frozen);
    ewci_free(ctx, trainer->tasks);
    ewci_free(ctx, trainer);
}

static ewc_status check_open(const ewc_trainer *trainer, const char *function)
{
    if (trainer == NULL) return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "%s: trainer is NULL", function);
    if (trainer->step == 0) return EWC_OK;
    return ewci_fail(trainer->model->ctx, EWC_ERROR_STATE, "%s: only before the first step; %lld were taken", function,
                     (long long)trainer->step);
}

static ewc_status check_pair(ewc_trainer *trainer, const ewc_anchor *anchor, const ewc_fisher *fisher,
                             int allow_other_model)
{
    ewc_model *model = trainer->model;
    uint64_t of_anchor, of_fisher;
    EWCI_TRY(ewci_model_same(model, anchor->model, "the anchor"));
    if (fisher == NULL) return EWC_OK;
    EWCI_TRY(ewci_fisher_check_ready(fisher));
    EWCI_TRY(ewci_model_same(model, fisher->model, "the Fisher"));
    if (allow_other_model) return EWC_OK;
    EWCI_TRY(ewc_anchor_fingerprint(anchor, &of_anchor));
    of_fisher = ewci_fisher_model_fingerprint(fisher);
    if (of_anchor == of_fisher) return EWC_OK;
    return ewci_fail(
        model->ctx, EWC_ERROR_MISMATCH,
        "the Fisher belongs to a model with fingerprint %016llx, the anchor has %016llx: estimate the Fisher on "
        "the anchor's weights, or allow another model's",
        (unsigned long long)of_fisher, (unsigned long long)of_anchor);
}

ewc_status ewc_trainer_add_anchor(ewc_trainer *trainer, ewc_anchor *anchor, ewc_fisher *fisher, double lambda,
                                  ewc_lambda_scale scale, int allow_other_model)
{
    EWCI_TRY(check_open(trainer, "ewc_trainer_add_anchor"));
    ewc_context *ctx = trainer->model->ctx;
    if (anchor == NULL) return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "ewc_trainer_add_anchor: anchor is NULL");
    if (!isfinite(lambda) || lambda < 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "lambda: expected a finite number >= 0, found %g", lambda);
    if (scale != EWC_LAMBDA_ABSOLUTE && scale != EWC_LAMBDA_RELATIVE)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "scale: expected an ewc_lambda_scale, found %d", (int)scale);
    EWCI_TRY(check_pair(trainer, anchor, fisher, allow_other_model));
    if (scale == EWC_LAMBDA_RELATIVE && fisher != NULL) lambda /= ewci_fisher_mean(fisher);

    void *memory;
    EWCI_TRY(ewci_alloc_array(ctx, trainer->task_count + 1, sizeof(ewci_task), "the tasks", &memory));
    ewci_task *tasks = memory;
    if (trainer->task_count > 0) memcpy(tasks, trainer->tasks, (size_t)trainer->task_count * sizeof *tasks);
    tasks[trainer->task_count] = (ewci_task){anchor, fisher, lambda};
    anchor->lent = true;
    if (fisher != NULL) fisher->lent = true;
    ewci_free(ctx, trainer->tasks);
    trainer->tasks = tasks;
    trainer->task_count++;
    trainer->strength_set = false;
    ewci_trainer_unseal(trainer);
    return EWC_OK;
}

ewc_status ewc_trainer_set_lambda(ewc_trainer *trainer, double lambda)
{
    if (trainer == NULL) return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "ewc_trainer_set_lambda: trainer is NULL");
    ewc_context *ctx = trainer->model->ctx;
    if (trainer->task_count == 0)
        return ewci_fail(ctx, EWC_ERROR_STATE,
                         "ewc_trainer_set_lambda: there is no penalty: call ewc_trainer_add_anchor first");
    bool pulls = trainer->task_count == 1;
    for (int64_t t = 0; t < trainer->task_count; t++) pulls = pulls || trainer->tasks[t].lambda > 0;
    if (!pulls)
        return ewci_fail(
            ctx, EWC_ERROR_STATE,
            "ewc_trainer_set_lambda: it multiplies the lambdas of several anchors, and all were added with 0: "
            "add one with more");
    if (!isfinite(lambda) || lambda < 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "lambda: expected a finite number >= 0, found %g", lambda);
    trainer->strength_set = true;
    trainer->strength = lambda;
    if (trainer->sealed) ewci_trainer_apply_strength(trainer);
    return EWC_OK;
}

double ewc_trainer_lambda(const ewc_trainer *trainer)
{
    if (trainer == NULL || trainer->task_count == 0) return 0;
    if (trainer->strength_set) return trainer->strength;
    return trainer->task_count == 1 ? trainer->tasks[0].lambda : 1.0;
}

ewc_status ewc_trainer_freeze(ewc_trainer *trainer, const char *pattern, int64_t *matched)
{
    int64_t count = 0, left = 0;
    EWCI_TRY(check_open(trainer, "ewc_trainer_freeze"));
    ewc_context *ctx = trainer->model->ctx;
    const ewci_layout *layout = &trainer->model->layout;
    if (pattern == NULL) return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "ewc_trainer_freeze: pattern is NULL");
    for (int64_t t = 0; t < layout->tensor_count; t++) {
        bool match = fnmatch(pattern, layout->tensors[t].name, 0) == 0;
        count += match;
        left += !match && !trainer->frozen[t];
    }
    if (count == 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "no tensor's name matches \"%s\" (names look like %s)", pattern,
                         layout->tensors[1].name);
    if (left == 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "\"%s\" would freeze every tensor that is left to train", pattern);
    for (int64_t t = 0; t < layout->tensor_count; t++)
        if (fnmatch(pattern, layout->tensors[t].name, 0) == 0) trainer->frozen[t] = true;
    if (matched != NULL) *matched = count;
    ewci_trainer_unseal(trainer);
    return EWC_OK;
}

ewc_status ewc_trainer_set_losses(ewc_trainer *trainer, double *losses, int64_t capacity)
{
    if (trainer == NULL) return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "ewc_trainer_set_losses: trainer is NULL");
    if (losses != NULL && capacity < 1)
        return ewci_fail(trainer->model->ctx, EWC_ERROR_ARGUMENT, "capacity: expected at least 1, found %lld",
                         (long long)capacity);
    trainer->losses = losses;
    trainer->losses_capacity = capacity;
    return EWC_OK;
}

int64_t ewc_trainer_steps(const ewc_trainer *trainer)
{
    return trainer == NULL ? 0 : trainer->step;
}

ewc_buffer ewci_trainer_second_moment(const ewc_trainer *trainer, double *bias_correction)
{
    *bias_correction = 1.0 - pow(trainer->options.beta2, (double)trainer->step);
    return trainer->v;
}
