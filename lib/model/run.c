/* Runs a pass: puts the batch on the device, forward, head, backward. */
#include <string.h>
#include <time.h>

#include "core/memory.h"
#include "core/status.h"
#include "model/pass.h"
#include "model/vocabulary.h"

double ewci_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void *ewci_at(const ewci_run *run, const void *tensor, int64_t index)
{
    size_t element = run->ops->compute == EWC_F32 ? 4 : 2;
    return (char *)(uintptr_t)tensor + (size_t)index * element;
}

float ewci_sequence_weight(const ewci_run *run, int64_t b)
{
    const float *weights = run->pass->sink.sequence_weight;
    return weights == NULL ? 1.0F : weights[b];
}

/* Prefixes of documents: in the memory of the per-sequence squares, which evaluation does not use. */
static ewc_status put_prefixes(ewci_run *run)
{
    struct ewci_workspace *w = run->w;
    size_t bytes = (size_t)run->rows * sizeof(int32_t);
    w->prefix_start = w->prefix_end = NULL;
    if (run->pass->prefix_start == NULL) return EWC_OK;
    w->prefix_start = w->compact_ids;
    w->prefix_end = w->compact_ids + run->rows;
    EWCI_TRY(run->ops->copy_in(run->device, w->prefix_start, run->pass->prefix_start, bytes));
    return run->ops->copy_in(run->device, w->prefix_end, run->pass->prefix_end, bytes);
}

/* Positions restart at each document, after its prefix; document starts become indices into the packed rows. */
static ewc_status put_positions(ewci_run *run)
{
    const ewc_batch *batch = run->pass->batch;
    const int32_t *prefix_start = run->pass->prefix_start, *prefix_end = run->pass->prefix_end;
    struct ewci_workspace *w = run->w;
    int32_t *starts = w->host_rows, *positions = w->host_ids;
    size_t bytes = (size_t)run->rows * sizeof *starts;
    for (int64_t i = 0; i < run->rows; i++) {
        int64_t start = batch->document_start == NULL ? 0 : batch->document_start[i];
        positions[i] = (int32_t)(i % batch->length - start);
        starts[i] = (int32_t)i - positions[i];
        if (prefix_start != NULL) positions[i] += prefix_end[i] - prefix_start[i];
    }
    EWCI_TRY(run->ops->copy_in(run->device, w->positions, positions, bytes));
    return run->ops->copy_in(run->device, w->document_start, starts, bytes);
}

static ewc_status put_batch(ewci_run *run)
{
    const ewc_batch *batch = run->pass->batch;
    size_t bytes = (size_t)run->rows * sizeof(int32_t);
    EWCI_TRY(run->ops->copy_in(run->device, run->w->tokens_in, batch->tokens, bytes));
    EWCI_TRY(run->ops->copy_in(run->device, run->w->targets, batch->targets, bytes));
    if (run->backward) EWCI_TRY(run->ops->copy_in(run->device, run->w->row_weight, run->pass->row_weight, bytes));
    EWCI_TRY(put_prefixes(run));
    return put_positions(run);
}

ewc_status ewci_model_run(ewc_model *model, const ewci_pass *pass)
{
    ewc_context *ctx = model->ctx;
    bool backward = pass->mode != EWCI_CE_LOSS;
    int64_t rows = pass->batch->sequences * pass->batch->length;
    if (backward && pass->prefix_start != NULL)
        return ewci_fail(ctx, EWC_ERROR_UNSUPPORTED,
                         "documents that continue a prefix are for evaluation alone: there "
                         "is no backward pass through a shared prefix");
    EWCI_TRY(ewci_model_reserve(model, rows, backward, NULL));
    ewci_pass staged = *pass;
    ewc_batch batch = *pass->batch;
    if (model->vocabulary != NULL) {
        ewci_vocabulary_stage(model, &batch);
        staged.batch = &batch;
        pass = &staged;
    }
    ewci_run run = {.model = model,
                    .pass = pass,
                    .w = model->workspace,
                    .ops = ctx->ops,
                    .device = ctx->device,
                    .rows = rows,
                    .backward = backward,
                    .squares = backward && pass->sink.fisher != NULL};
    if (backward)
        run.embedding_gradient = run.squares ? pass->sink.gradient : pass->sink.gradient + model->layout.embedding;
    EWCI_TRY(put_batch(&run));
    EWCI_TRY(ewci_forward(&run));
    EWCI_TRY(ewci_head(&run));
    if (backward) EWCI_TRY(ewci_backward(&run));
    return ctx->ops->sync(ctx->device);
}
