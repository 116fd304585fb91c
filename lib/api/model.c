/* ewc_model_*: argument checks in front of lib/model. Loading and saving: checkpoint.c. */
#include <math.h>
#include <string.h>

#include "api/require.h"
#include "core/memory.h"
#include "core/sized.h"
#include "core/status.h"
#include "model/vocabulary.h"

void ewc_batch_default(ewc_batch *batch)
{
    memset(batch, 0, sizeof *batch);
    batch->struct_size = sizeof *batch;
}

ewc_status ewc_model_create(ewc_context *context, const ewc_model_config *config, uint64_t seed, ewc_model **model)
{
    EWCI_REQUIRE(NULL, context);
    EWCI_REQUIRE(context, config);
    EWCI_REQUIRE(context, model);
    ewc_model_config taken;
    ewc_model *created;
    ewc_model_config_default(&taken);
    EWCI_TRY(ewci_sized_take(context, "config", config, &taken, sizeof taken));
    EWCI_TRY(ewci_model_new(context, &taken, &created));
    ewc_status status = ewci_model_randomize(created, seed);
    if (status == EWC_OK)
        *model = created;
    else
        ewci_model_free(created);
    return status;
}

void ewc_model_destroy(ewc_model *model)
{
    ewci_model_free(model);
}

ewc_status ewc_model_get_config(const ewc_model *model, ewc_model_config *config)
{
    EWCI_REQUIRE(NULL, model);
    EWCI_REQUIRE(model->ctx, config);
    *config = model->config;
    config->vocab_size = ewci_vocabulary_whole(model);
    return EWC_OK;
}

ewc_status ewc_model_vocabulary(const ewc_model *model, int64_t *count, int32_t *ids)
{
    EWCI_REQUIRE(NULL, model);
    EWCI_REQUIRE(model->ctx, count);
    *count = model->config.vocab_size;
    for (int64_t i = 0; i < *count && ids != NULL; i++)
        ids[i] = model->vocabulary == NULL ? (int32_t)i : model->vocabulary->ids[i];
    return EWC_OK;
}

ewc_status ewc_model_fingerprint(ewc_model *model, uint64_t *fingerprint)
{
    EWCI_REQUIRE(NULL, model);
    EWCI_REQUIRE(model->ctx, fingerprint);
    return ewci_model_fingerprint(model, fingerprint);
}

int64_t ewc_model_parameter_count(const ewc_model *model)
{
    return model == NULL ? 0 : model->layout.parameters;
}

int64_t ewc_model_tensor_count(const ewc_model *model)
{
    return model == NULL ? 0 : model->layout.tensor_count;
}

ewc_status ewc_model_tensor(const ewc_model *model, int64_t index, ewc_tensor_info *info)
{
    EWCI_REQUIRE(NULL, model);
    EWCI_REQUIRE(model->ctx, info);
    if (index < 0 || index >= model->layout.tensor_count)
        return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT, "tensor index: expected 0 to %lld, found %lld",
                         (long long)(model->layout.tensor_count - 1), (long long)index);
    *info = model->layout.tensors[index];
    return EWC_OK;
}

static ewc_status find_tensor(ewc_model *model, const char *name, int64_t count, const ewc_tensor_info **tensor)
{
    int64_t index = ewci_layout_find(&model->layout, name);
    if (index < 0) return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT, "the model has no tensor named %s", name);
    *tensor = &model->layout.tensors[index];
    int64_t expected = (*tensor)->rows * (*tensor)->columns;
    if (count != expected)
        return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT, "%s: expected %lld values, found %lld", name,
                         (long long)expected, (long long)count);
    return EWC_OK;
}

ewc_status ewc_model_get_tensor(ewc_model *model, const char *name, float *values, int64_t count)
{
    const ewc_tensor_info *tensor;
    EWCI_REQUIRE(NULL, model);
    EWCI_REQUIRE(model->ctx, name);
    EWCI_REQUIRE(model->ctx, values);
    EWCI_TRY(find_tensor(model, name, count, &tensor));
    return model->ctx->ops->copy_out(model->ctx->device, values, model->weights + tensor->offset,
                                     (size_t)count * sizeof *values);
}

ewc_status ewc_model_set_tensor(ewc_model *model, const char *name, const float *values, int64_t count)
{
    const ewc_tensor_info *tensor;
    EWCI_REQUIRE(NULL, model);
    EWCI_REQUIRE(model->ctx, name);
    EWCI_REQUIRE(model->ctx, values);
    EWCI_TRY(find_tensor(model, name, count, &tensor));
    return model->ctx->ops->copy_in(model->ctx->device, model->weights + tensor->offset, values,
                                    (size_t)count * sizeof *values);
}

ewc_status ewc_model_set_hook(ewc_model *model, const ewc_residual_hook *hook)
{
    EWCI_REQUIRE(NULL, model);
    if (hook == NULL) {
        memset(&model->hook, 0, sizeof model->hook);
        return EWC_OK;
    }
    ewc_residual_hook taken = {0};
    EWCI_TRY(ewci_sized_take(model->ctx, "hook", hook, &taken, sizeof taken));
    hook = &taken;
    if (hook->layer < 0 || hook->layer >= model->config.layers)
        return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT, "hook.layer: expected 0 to %lld, found %lld",
                         (long long)(model->config.layers - 1), (long long)hook->layer);
    model->hook = *hook;
    return EWC_OK;
}

/* Writes the results only when all of them are there. */
static ewc_status report(ewc_context *ctx, const ewc_batch *batch, int64_t scored, const float *nll,
                         ewc_evaluation *evaluation)
{
    ewc_evaluation found = {.struct_size = sizeof found, .nll = ewci_weighted_loss(batch, nll), .tokens = scored};
    return evaluation == NULL ? EWC_OK : ewci_sized_give(ctx, "evaluation", evaluation, &found, sizeof found);
}

ewc_status ewc_model_evaluate(ewc_model *model, const ewc_batch *batch, ewc_evaluation *evaluation,
                              float *log_probabilities)
{
    EWCI_REQUIRE(NULL, model);
    int64_t scored;
    void *memory;
    EWCI_TRY(ewci_batch_check(model, batch, &scored));
    int64_t rows = batch->sequences * batch->length;
    EWCI_TRY(ewci_alloc_array(model->ctx, rows, sizeof(float), "per-token losses", &memory));
    float *nll = memory;
    ewci_pass pass = {.batch = batch, .mode = EWCI_CE_LOSS, .nll = nll};
    ewc_status status = ewci_model_run(model, &pass);
    if (status == EWC_OK) status = report(model->ctx, batch, scored, nll, evaluation);
    for (int64_t i = 0; i < rows && log_probabilities != NULL && status == EWC_OK; i++)
        log_probabilities[i] = batch->targets[i] < 0 ? 0.0F : -nll[i];
    ewci_free(model->ctx, nll);
    return status;
}

ewc_status ewc_model_gradient(ewc_model *model, const ewc_batch *batch, double normalizer, ewc_evaluation *evaluation,
                              float *gradient)
{
    EWCI_REQUIRE(NULL, model);
    EWCI_REQUIRE(model->ctx, gradient);
    ewc_context *ctx = model->ctx;
    const ewci_ops *ops = ctx->ops;
    int64_t scored;
    void *memory = NULL, *device_gradient = NULL;
    EWCI_TRY(ewci_batch_check(model, batch, &scored));
    if (!isfinite(normalizer))
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "normalizer: expected a finite number, found %g", normalizer);
    if (normalizer <= 0) normalizer = scored > 0 ? (double)scored : 1.0;
    int64_t rows = batch->sequences * batch->length;
    size_t bytes = (size_t)model->layout.parameters * sizeof(float);

    ewc_status status;
    EWCI_TRY(ewci_alloc_array(ctx, 2 * rows, sizeof(float), "per-token losses and weights", &memory));
    float *nll = memory, *row_weight = nll + rows;
    ewci_row_weights(batch, 1.0 / normalizer, row_weight);
    EWCI_TRY_GOTO(status, done, ops->alloc(ctx->device, bytes, "the gradient", &device_gradient));
    EWCI_TRY_GOTO(status, done, ops->zero(ctx->device, device_gradient, bytes));
    ewci_pass pass = {.batch = batch,
                      .row_weight = row_weight,
                      .mode = EWCI_CE_TRAIN,
                      .sink = {.gradient = device_gradient},
                      .nll = nll};
    EWCI_TRY_GOTO(status, done, ewci_model_run(model, &pass));
    EWCI_TRY_GOTO(status, done, report(ctx, batch, scored, nll, evaluation));
    EWCI_TRY_GOTO(status, done, ops->copy_out(ctx->device, gradient, device_gradient, bytes));
done:
    ops->free(ctx->device, device_gradient);
    ewci_free(ctx, nll);
    return status;
}
