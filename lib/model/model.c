/* Making and freeing a model, its tensors, and its fingerprint. Loading and saving: checkpoint.c. */
#include "model/model.h"

#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "core/status.h"
#include "model/vocabulary.h"
#include "model/workspace.h"

enum { BLOCK = 4096 };

ewc_status ewci_model_new(ewc_context *ctx, const ewc_model_config *config, ewc_model **out)
{
    void *memory;
    ewc_status status;
    EWCI_TRY(ewci_alloc_array(ctx, 1, sizeof(ewc_model), "a model", &memory));
    ewc_model *model = memory;
    model->ctx = ctx;
    if (config != NULL) model->config = *config;
    EWCI_TRY_GOTO(status, fail, ewci_layout_create(ctx, config, &model->layout));
    if (model->config.query_scale == 0) model->config.query_scale = (double)model->config.head_dim;
    EWCI_TRY_GOTO(status, fail,
                  ctx->ops->alloc(ctx->device, (size_t)model->layout.parameters * sizeof(float), "the model's weights",
                                  &memory));
    model->weights = memory;
    *out = model;
    return EWC_OK;
fail:
    ewci_model_free(model);
    return status;
}

void ewci_model_free(ewc_model *model)
{
    if (model == NULL) return;
    ewc_context *ctx = model->ctx;
    ewci_workspace_destroy(model);
    ctx->ops->free(ctx->device, model->weights);
    ewci_free(ctx, model->config_json);
    ewci_free(ctx, model->source_directory);
    ewci_vocabulary_free(ctx, model->vocabulary);
    ewci_layout_destroy(ctx, &model->layout);
    ewci_free(ctx, model);
}

ewc_status ewci_model_randomize(ewc_model *model, uint64_t seed)
{
    ewc_context *ctx = model->ctx;
    float block[BLOCK];
    for (int64_t t = 0; t < model->layout.tensor_count; t++) {
        const ewc_tensor_info *tensor = &model->layout.tensors[t];
        int64_t total = tensor->rows * tensor->columns;
        double deviation = tensor->is_vector ? 0.0 : model->config.initializer_range;
        for (int64_t first = 0; first < total; first += BLOCK) {
            int64_t n = total - first < BLOCK ? total - first : BLOCK;
            for (int64_t i = 0; i < n; i++) {
                uint64_t index = (uint64_t)(first + i);
                block[i] = tensor->is_vector
                               ? 0.0F
                               : (float)(deviation * ewci_normal(seed, EWCI_STREAM_INIT, (uint64_t)t, index));
            }
            EWCI_TRY(ctx->ops->copy_in(ctx->device, model->weights + tensor->offset + first, block,
                                       (size_t)n * sizeof *block));
        }
    }
    return EWC_OK;
}

static ewc_status weight_values(void *user, int64_t tensor, int64_t first, int64_t count, float *out)
{
    ewc_model *model = user;
    const float *source = model->weights + model->layout.tensors[tensor].offset + first;
    return model->ctx->ops->copy_out(model->ctx->device, out, source, (size_t)count * sizeof *out);
}

ewc_status ewci_model_fingerprint(ewc_model *model, uint64_t *fingerprint)
{
    return ewci_fingerprint(model->ctx, &model->layout, weight_values, model, fingerprint);
}
