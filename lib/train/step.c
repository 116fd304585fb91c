/* One optimizer step: gradient over the micro-batches, check, clip, fused update.
 *
 *   g = (1/N) sum over micro-batches of d/dw sum_b w_b sum_t nll,   N = scored tokens of the whole step
 *   clip factor = min(1, clip / norm), the norm being that of g, or with EWC_CLIP_TOTAL of g + lambda F (w - anchor). */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/sized.h"
#include "core/status.h"
#include "model/pass.h"
#include "train/trainer.h"

/* A gradient whose square overflows f32 in Adam's second moment would freeze its weight for good. */
#define LARGEST_NORM 1e18

/* What a step finds out before it changes anything. */
typedef struct progress {
    int64_t step, tokens;
    double loss_sum, norm, clip_factor, rate;
    ewci_schedule_areas areas;
} progress;

static ewc_status check_batches(ewc_trainer *trainer, int64_t count, const ewc_batch *batches, int64_t *tokens)
{
    ewc_context *ctx = trainer->model->ctx;
    int64_t largest = trainer->options.max_sequences * trainer->options.max_length;
    int64_t sequences = 0;
    *tokens = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t scored;
        EWCI_TRY(ewci_batch_check(trainer->model, &batches[i], &scored));
        if (batches[i].sequences * batches[i].length > largest)
            return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                             "micro-batch %lld: %lld x %lld tokens are more than the trainer was created for "
                             "(max_sequences x max_length = %lld x %lld)",
                             (long long)i, (long long)batches[i].sequences, (long long)batches[i].length,
                             (long long)trainer->options.max_sequences, (long long)trainer->options.max_length);
        *tokens += scored;
        sequences += batches[i].sequences;
    }
    if (trainer->losses != NULL && sequences > trainer->losses_capacity)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "the step has %lld sequences, more than ewc_trainer_set_losses was given room for, %lld",
                         (long long)sequences, (long long)trainer->losses_capacity);
    if (*tokens == 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "the step has no scored token: every target is negative");
    return EWC_OK;
}

/* Mean loss over the scored tokens of each sequence; 0 where there is none. */
static void sequence_losses(const ewc_batch *batch, const float *nll, double *losses)
{
    for (int64_t b = 0; b < batch->sequences; b++) {
        double sum = 0;
        int64_t scored = 0;
        for (int64_t t = b * batch->length; t < (b + 1) * batch->length; t++) {
            sum += (double)nll[t];
            scored += batch->targets[t] >= 0;
        }
        losses[b] = scored > 0 ? sum / (double)scored : 0;
    }
}

static ewc_status accumulate(ewc_trainer *trainer, int64_t count, const ewc_batch *batches, progress *p)
{
    ewc_model *model = trainer->model;
    const ewci_ops *ops = model->ctx->ops;
    int64_t rows = trainer->options.max_sequences * trainer->options.max_length;
    EWCI_TRY(ewci_model_reserve(model, rows, true, trainer->recompute));
    EWCI_TRY(ops->zero(model->ctx->device, trainer->gradient, (size_t)model->layout.parameters * sizeof(float)));
    double *losses = trainer->losses;
    for (int64_t i = 0; i < count; i++) {
        EWCI_TRY(ewci_check_cancelled(model->ctx));
        ewci_row_weights(&batches[i], 1.0 / (double)p->tokens, trainer->row_weight);
        ewci_pass pass = {.batch = &batches[i],
                          .row_weight = trainer->row_weight,
                          .mode = EWCI_CE_TRAIN,
                          .sink = {.gradient = trainer->gradient},
                          .nll = trainer->nll};
        EWCI_TRY(ewci_model_run(model, &pass));
        p->loss_sum += ewci_weighted_loss(&batches[i], trainer->nll);
        if (losses == NULL) continue;
        sequence_losses(&batches[i], trainer->nll, losses);
        losses += batches[i].sequences;
    }
    return EWC_OK;
}

/* A lambda beyond f32 would turn 0 * F into NaN. */
static float lambda_f32(const ewc_trainer *trainer)
{
    return trainer->lambda > (double)FLT_MAX ? FLT_MAX : (float)trainer->lambda;
}

static ewc_status gradient_norm(ewc_trainer *trainer, bool total, double *norm)
{
    const ewci_ops *ops = trainer->model->ctx->ops;
    ewci_device *device = trainer->model->ctx->device;
    double sum = 0, part;
    int64_t nonfinite = 0, found = 0;
    for (int64_t i = 0; i < trainer->segment_count; i++) {
        const ewci_segment *s = &trainer->segments[i];
        if (total) {
            ewc_update_buffers buffers = ewci_segment_buffers(trainer, s);
            EWCI_TRY(ops->sum_squares_total(device, s->count, &buffers, 1.0F, lambda_f32(trainer), &part));
        } else {
            EWCI_TRY(ops->sum_squares(device, ewci_segment_buffers(trainer, s).gradient, s->count, &part, &found));
        }
        sum += part;
        nonfinite += found;
    }
    *norm = nonfinite > 0 ? (double)NAN : sqrt(sum);
    return EWC_OK;
}

/* The task gradient's norm is always reported and always checked; the clip factor may come from the total. */
static ewc_status check_and_clip(ewc_trainer *trainer, progress *p)
{
    double clipped;
    EWCI_TRY(gradient_norm(trainer, false, &p->norm));
    if (!isfinite(p->loss_sum) || !isfinite(p->norm))
        return ewci_report_nonfinite(trainer, p->step, isfinite(p->loss_sum) ? "gradient" : "loss");
    if (p->norm > LARGEST_NORM)
        return ewci_fail(trainer->model->ctx, EWC_ERROR_NOT_FINITE,
                         "step %lld: the gradient's norm is %g, too large for f32 moments", (long long)p->step,
                         p->norm);
    p->clip_factor = 1.0;
    if (trainer->options.clip <= 0) return EWC_OK;
    clipped = p->norm;
    if (trainer->options.clip_mode == EWC_CLIP_TOTAL && trainer->task_count > 0)
        EWCI_TRY(gradient_norm(trainer, true, &clipped));
    if (clipped > trainer->options.clip) p->clip_factor = trainer->options.clip / clipped;
    return EWC_OK;
}

static ewc_status update(ewc_trainer *trainer, const progress *p, ewc_update_statistics *sums)
{
    const ewci_ops *ops = trainer->model->ctx->ops;
    const ewc_trainer_options *o = &trainer->options;
    bool clip_total = o->clip_mode == EWC_CLIP_TOTAL;
    ewc_update_options options;
    ewc_update_options_default(&options);
    options.form = o->form;
    options.step = p->step;
    options.learning_rate = p->rate;
    options.beta1 = o->beta1;
    options.beta2 = o->beta2;
    options.epsilon = o->epsilon;
    options.gradient_scale = p->clip_factor;
    options.stochastic_rounding = o->moments_dtype == EWC_BF16;
    options.seed = o->seed;
    /* Clipping the total scales the penalty's gradient with the task's. */
    options.lambda = clip_total ? trainer->lambda * p->clip_factor : trainer->lambda;
    memset(sums, 0, sizeof *sums);
    for (int64_t i = 0; i < trainer->segment_count; i++) {
        const ewci_segment *s = &trainer->segments[i];
        ewc_update_buffers buffers = ewci_segment_buffers(trainer, s);
        ewc_update_statistics part;
        options.weight_decay = s->decay ? o->weight_decay : 0.0;
        options.first_element = s->offset;
        EWCI_TRY(ops->update(trainer->model->ctx->device, s->count, &buffers, &options, &part));
        sums->distance_squared += part.distance_squared;
        sums->fisher_distance_squared += part.fisher_distance_squared;
        sums->nonfinite += part.nonfinite;
    }
    sums->penalty = 0.5 * trainer->lambda * sums->fisher_distance_squared;
    return EWC_OK;
}

static void fill(const ewc_trainer *trainer, const progress *p, const ewc_update_statistics *sums, double seconds,
                 const double *phases, ewc_step_statistics *out)
{
    double named = 0;
    out->step = trainer->step;
    out->loss = p->loss_sum / (double)p->tokens;
    out->penalty = sums->penalty;
    out->gradient_norm = p->norm;
    out->clip_factor = p->clip_factor;
    out->learning_rate = p->rate;
    out->schedule_area1 = trainer->areas.s1;
    out->schedule_area2 = trainer->areas.s2;
    out->distance = sqrt(sums->distance_squared);
    out->fisher_distance = sqrt(sums->fisher_distance_squared);
    out->tokens = p->tokens;
    out->seconds = seconds;
    memcpy(out->phase_seconds, phases, sizeof out->phase_seconds);
    out->lambda = ewc_trainer_lambda(trainer);
    for (int i = 0; i < EWC_PHASE_COUNT; i++) named += phases[i];
    out->phase_seconds[EWC_PHASE_OTHER] = seconds > named ? seconds - named : 0;
}

static ewc_status run_step(ewc_trainer *trainer, int64_t count, const ewc_batch *batches, double *phases, progress *p,
                           ewc_update_statistics *sums)
{
    ewc_context *ctx = trainer->model->ctx;
    p->step = trainer->step + 1;
    EWCI_TRY(check_batches(trainer, count, batches, &p->tokens));
    EWCI_TRY(ewci_trainer_seal(trainer));
    EWCI_TRY(ewc_schedule_rate(ctx, &trainer->options.schedule, p->step, &p->rate));
    EWCI_TRY(accumulate(trainer, count, batches, p));
    double start = ewci_now();
    EWCI_TRY(check_and_clip(trainer, p));
    double middle = ewci_now();
    EWCI_TRY(update(trainer, p, sums));
    phases[EWC_PHASE_CLIP] += middle - start;
    phases[EWC_PHASE_UPDATE] += ewci_now() - middle;
    return EWC_OK;
}

ewc_status ewc_trainer_step(ewc_trainer *trainer, int64_t count, const ewc_batch *micro_batches,
                            ewc_step_statistics *statistics)
{
    double phases[EWC_PHASE_COUNT] = {0};
    progress p = {0};
    ewc_update_statistics sums;
    if (trainer == NULL) return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "ewc_trainer_step: trainer is NULL");
    ewc_context *ctx = trainer->model->ctx;
    if (count < 1 || micro_batches == NULL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "ewc_trainer_step: expected at least one micro-batch");
    if (statistics != NULL) EWCI_TRY(ewci_sized_check(ctx, "statistics", statistics));
    double start = ewci_now();
    trainer->model->phase_seconds = phases;
    ewc_status status = run_step(trainer, count, micro_batches, phases, &p, &sums);
    trainer->model->phase_seconds = NULL;
    if (status != EWC_OK) return status;
    trainer->step = p.step;
    ewci_schedule_areas_next(&trainer->areas, p.rate);
    ewc_step_statistics found = {.struct_size = sizeof found};
    fill(trainer, &p, &sums, ewci_now() - start, phases, &found);
    if (statistics != NULL) EWCI_TRY(ewci_sized_give(ctx, "statistics", statistics, &found, sizeof found));
    if (sums.nonfinite > 0) return ewci_report_nonfinite(trainer, p.step, "weights after the update");
    return EWC_OK;
}

ewc_status ewc_trainer_penalty(ewc_trainer *trainer, ewc_update_statistics *statistics)
{
    if (trainer == NULL || statistics == NULL)
        return ewci_fail(trainer == NULL ? NULL : trainer->model->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_trainer_penalty: %s is NULL", trainer == NULL ? "trainer" : "statistics");
    const ewci_ops *ops = trainer->model->ctx->ops;
    ewc_update_statistics sums = {0};
    EWCI_TRY(ewci_trainer_seal(trainer));
    for (int64_t i = 0; i < trainer->segment_count; i++) {
        ewc_update_statistics part;
        ewc_update_buffers buffers = ewci_segment_buffers(trainer, &trainer->segments[i]);
        EWCI_TRY(ops->penalty(trainer->model->ctx->device, trainer->segments[i].count, &buffers, lambda_f32(trainer),
                              &part));
        sums.distance_squared += part.distance_squared;
        sums.fisher_distance_squared += part.fisher_distance_squared;
        sums.nonfinite += part.nonfinite;
    }
    sums.penalty = 0.5 * trainer->lambda * sums.fisher_distance_squared;
    *statistics = sums;
    return EWC_OK;
}

ewc_status ewci_report_nonfinite(ewc_trainer *trainer, int64_t step, const char *found)
{
    ewc_context *ctx = trainer->model->ctx;
    const ewci_layout *layout = &trainer->model->layout;
    const struct {
        const char *what;
        float *values;
    } places[] = {{"weight", trainer->model->weights}, {"gradient", trainer->gradient}};
    for (int place = 0; place < 2; place++) {
        for (int64_t t = 0; t < layout->tensor_count; t++) {
            const ewc_tensor_info *tensor = &layout->tensors[t];
            double sum;
            int64_t bad;
            ewc_buffer values = {places[place].values + tensor->offset, EWC_F32};
            EWCI_TRY(ctx->ops->sum_squares(ctx->device, values, tensor->rows * tensor->columns, &sum, &bad));
            if (bad > 0)
                return ewci_fail(ctx, EWC_ERROR_NOT_FINITE,
                                 "step %lld: the %s is not finite; first in the %s of %s (%lld of its values)",
                                 (long long)step, found, places[place].what, tensor->name, (long long)bad);
        }
    }
    return ewci_fail(ctx, EWC_ERROR_NOT_FINITE, "step %lld: the %s is not finite, though every weight and gradient is",
                     (long long)step, found);
}
