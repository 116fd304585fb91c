/* Making, finishing and freeing Fishers. The estimators are in fisher_estimate.c, files in fisher_file.c, statistics in
 * fisher_stats.c. */
#include "train/fisher.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/sized.h"
#include "core/status.h"
#include "train/trainer.h"

enum { BLOCK = 65536 };

void ewc_fisher_options_default(ewc_fisher_options *options)
{
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
}

ewc_buffer ewci_fisher_view(const ewc_fisher *fisher, int64_t tensor)
{
    return fisher->views.tensors[tensor];
}

double ewci_fisher_mean(const ewc_fisher *fisher)
{
    return fisher->mean;
}

uint64_t ewci_fisher_model_fingerprint(const ewc_fisher *fisher)
{
    return fisher->info.model_fingerprint;
}

ewc_status ewci_fisher_check_ready(const ewc_fisher *fisher)
{
    if (fisher->info.finished) return EWC_OK;
    if (fisher->broken)
        return ewci_fail(fisher->model->ctx, EWC_ERROR_STATE,
                         "the Fisher is spoiled by an earlier failure: start a new estimate");
    return ewci_fail(fisher->model->ctx, EWC_ERROR_STATE, "the Fisher is not finished: call ewc_fisher_finish first");
}

ewc_status ewci_fisher_flat(ewc_model *model, ewc_estimator estimator, ewc_fisher_unit unit, ewc_fisher **out)
{
    void *memory;
    ewc_status status;
    EWCI_TRY(ewci_alloc_array(model->ctx, 1, sizeof(ewc_fisher), "a Fisher", &memory));
    ewc_fisher *fisher = memory;
    fisher->model = model;
    fisher->info = (ewc_fisher_info){.struct_size = sizeof fisher->info, .estimator = estimator, .unit = unit};
    EWCI_TRY_GOTO(status, fail, ewci_model_fingerprint(model, &fisher->info.model_fingerprint));
    EWCI_TRY_GOTO(status, fail, ewci_views_flat(model, "the Fisher", &fisher->views));
    EWCI_TRY_GOTO(status, fail,
                  model->ctx->ops->zero(model->ctx->device, fisher->views.flat,
                                        (size_t)model->layout.parameters * sizeof(float)));
    *out = fisher;
    return EWC_OK;
fail:
    ewc_fisher_destroy(fisher);
    return status;
}

void ewc_fisher_destroy(ewc_fisher *fisher)
{
    if (fisher == NULL) return;
    ewc_context *ctx = fisher->model->ctx;
    ctx->ops->free(ctx->device, fisher->gradient);
    ewci_views_destroy(&fisher->views);
    ewci_safetensors_close(fisher->file);
    ewci_free(ctx, fisher);
}

/* Sums one tensor; fails naming it when a value cannot be a Fisher's. */
static ewc_status check_tensor(ewc_fisher *fisher, int64_t t, float *block, double *sum)
{
    const ewc_tensor_info *info = &fisher->model->layout.tensors[t];
    int64_t total = info->rows * info->columns;
    for (int64_t first = 0; first < total; first += BLOCK) {
        int64_t n = total - first < BLOCK ? total - first : BLOCK;
        double part = 0;
        EWCI_TRY(ewci_views_read(&fisher->views, t, first, n, block));
        for (int64_t i = 0; i < n; i++) {
            if (block[i] >= 0 && block[i] <= 3.4028235e38F) {
                part += (double)block[i];
                continue;
            }
            return ewci_fail(fisher->model->ctx, EWC_ERROR_NOT_FINITE,
                             "the Fisher of %s: expected finite values of 0 or more, found %g at element %lld",
                             info->name, (double)block[i], (long long)(first + i));
        }
        *sum += part;
    }
    return EWC_OK;
}

ewc_status ewci_fisher_seal(ewc_fisher *fisher)
{
    ewc_context *ctx = fisher->model->ctx;
    void *memory;
    double sum = 0;
    EWCI_TRY(ewci_alloc(ctx, BLOCK * sizeof(float), "a block to read", &memory));
    ewc_status status = EWC_OK;
    for (int64_t t = 0; t < fisher->model->layout.tensor_count && status == EWC_OK; t++)
        status = check_tensor(fisher, t, memory, &sum);
    ewci_free(ctx, memory);
    if (status != EWC_OK) return status;
    if (sum == 0)
        return ewci_fail(ctx, EWC_ERROR_NOT_FINITE,
                         "the Fisher is zero everywhere: a penalty with it would do nothing (were any tokens scored?)");
    fisher->mean = sum / (double)fisher->model->layout.parameters;
    fisher->info.finished = 1;
    return EWC_OK;
}

ewc_status ewci_fisher_scale(ewc_fisher *fisher, double factor)
{
    const ewci_ops *ops = fisher->model->ctx->ops;
    ewci_device *device = fisher->model->ctx->device;
    int64_t total = fisher->model->layout.parameters;
    ewci_buffer zeros = {fisher->gradient, EWC_F32};
    EWCI_TRY(ops->zero(device, fisher->gradient, (size_t)fisher->gradient_count * sizeof(float)));
    for (int64_t first = 0; first < total; first += fisher->gradient_count) {
        int64_t n = total - first < fisher->gradient_count ? total - first : fisher->gradient_count;
        EWCI_TRY(ops->fisher_accumulate(device, fisher->views.flat + first, zeros, n, 0.0F, (float)factor));
    }
    return EWC_OK;
}

static ewc_status fill(ewc_fisher *fisher, const float *values)
{
    ewc_context *ctx = fisher->model->ctx;
    EWCI_TRY(ctx->ops->copy_in(ctx->device, fisher->views.flat, values,
                               (size_t)fisher->model->layout.parameters * sizeof *values));
    return ewci_fisher_seal(fisher);
}

ewc_status ewc_fisher_from_values(ewc_model *model, const ewc_fisher_options *options, const float *values,
                                  ewc_fisher **out)
{
    ewc_fisher_options taken;
    ewc_fisher *fisher;
    ewc_fisher_options_default(&taken);
    if (model == NULL || values == NULL || out == NULL)
        return ewci_fail(model == NULL ? NULL : model->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_fisher_from_values: an argument is NULL");
    if (options != NULL) EWCI_TRY(ewci_sized_take(model->ctx, "options", options, &taken, sizeof taken));
    if ((unsigned)taken.estimator > EWC_FISHER_FOLDED || (unsigned)taken.unit > EWC_UNIT_SEQUENCE_SUM)
        return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT,
                         "options: expected an ewc_estimator and an ewc_fisher_unit, found %d and %d",
                         (int)taken.estimator, (int)taken.unit);
    EWCI_TRY(ewci_fisher_flat(model, taken.estimator, taken.unit, &fisher));
    ewc_status status = fill(fisher, values);
    if (status == EWC_OK)
        *out = fisher;
    else
        ewc_fisher_destroy(fisher);
    return status;
}

/* Constant values, block by block. */
ewc_status ewci_fisher_unit_values(ewc_model *model, ewc_fisher **out)
{
    ewc_fisher *fisher;
    float block[1024];
    int64_t total = model->layout.parameters;
    for (int i = 0; i < 1024; i++) block[i] = 1.0F;
    EWCI_TRY(ewci_fisher_flat(model, EWC_FISHER_FOLDED, EWC_UNIT_SEQUENCE_MEAN, &fisher));
    ewc_status status = EWC_OK;
    for (int64_t first = 0; first < total && status == EWC_OK; first += 1024) {
        int64_t n = total - first < 1024 ? total - first : 1024;
        status =
            model->ctx->ops->copy_in(model->ctx->device, fisher->views.flat + first, block, (size_t)n * sizeof *block);
    }
    if (status == EWC_OK) status = ewci_fisher_seal(fisher);
    if (status == EWC_OK)
        *out = fisher;
    else
        ewc_fisher_destroy(fisher);
    return status;
}

/* v / (1 - beta2^t): decay of the accumulation is the factor, the squares have weight 0. */
static ewc_status take_second_moment(ewc_trainer *trainer, ewc_fisher *fisher)
{
    ewc_context *ctx = trainer->model->ctx;
    double correction;
    ewc_buffer v = ewci_trainer_second_moment(trainer, &correction);
    ewci_buffer any = {trainer->gradient, EWC_F32};
    int64_t n = trainer->model->layout.parameters;
    EWCI_TRY(ctx->ops->convert(ctx->device, fisher->views.flat, EWC_F32, v.data, v.dtype, n));
    EWCI_TRY(ctx->ops->zero(ctx->device, trainer->gradient, (size_t)n * sizeof(float)));
    EWCI_TRY(ctx->ops->fisher_accumulate(ctx->device, fisher->views.flat, any, n, 0.0F, (float)(1.0 / correction)));
    return ewci_fisher_seal(fisher);
}

ewc_status ewc_fisher_from_trainer(ewc_trainer *trainer, ewc_fisher **out)
{
    ewc_fisher *fisher;
    if (trainer == NULL || out == NULL)
        return ewci_fail(trainer == NULL ? NULL : trainer->model->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_fisher_from_trainer: %s is NULL", trainer == NULL ? "trainer" : "fisher");
    if (trainer->step == 0)
        return ewci_fail(trainer->model->ctx, EWC_ERROR_STATE,
                         "ewc_fisher_from_trainer: the trainer has taken no step, its second moment is zero");
    EWCI_TRY(ewci_fisher_flat(trainer->model, EWC_FISHER_ADAM_V, EWC_UNIT_SEQUENCE_MEAN, &fisher));
    ewc_status status = take_second_moment(trainer, fisher);
    if (status == EWC_OK)
        *out = fisher;
    else
        ewc_fisher_destroy(fisher);
    return status;
}

ewc_status ewc_fisher_describe(const ewc_fisher *fisher, ewc_fisher_info *info)
{
    if (fisher == NULL || info == NULL)
        return ewci_fail(fisher == NULL ? NULL : fisher->model->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_fisher_describe: %s is NULL", fisher == NULL ? "fisher" : "info");
    return ewci_sized_give(fisher->model->ctx, "info", info, &fisher->info, sizeof fisher->info);
}

ewc_status ewc_fisher_get_tensor(ewc_fisher *fisher, const char *name, float *values, int64_t count)
{
    if (fisher == NULL || name == NULL || values == NULL)
        return ewci_fail(fisher == NULL ? NULL : fisher->model->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_fisher_get_tensor: an argument is NULL");
    EWCI_TRY(ewci_fisher_check_ready(fisher)); /* sums are not a Fisher */
    const ewci_layout *layout = &fisher->model->layout;
    int64_t t = ewci_layout_find(layout, name);
    if (t < 0) return ewci_fail(fisher->model->ctx, EWC_ERROR_ARGUMENT, "the Fisher has no tensor named %s", name);
    int64_t expected = layout->tensors[t].rows * layout->tensors[t].columns;
    if (count != expected)
        return ewci_fail(fisher->model->ctx, EWC_ERROR_ARGUMENT, "%s: expected %lld values, found %lld", name,
                         (long long)expected, (long long)count);
    return ewci_views_read(&fisher->views, t, 0, count, values);
}
