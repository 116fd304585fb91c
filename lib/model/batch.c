/* Checks a batch before anything is computed from it. */
#include <stdio.h>

#include "core/status.h"
#include "model/vocabulary.h"

static ewc_status refuse_token(ewc_model *model, const char *array, const ewc_batch *batch, int64_t row, int64_t lowest)
{
    int64_t id = (lowest == 0 ? batch->tokens : batch->targets)[row];
    char place[96];
    snprintf(place, sizeof place, "batch.%s: sequence %lld, position %lld", array, (long long)(row / batch->length),
             (long long)(row % batch->length));
    return ewci_refuse_token(model, place, lowest, id);
}

/* Within a sequence: 0 at its first token; at every token either its own position or what the token before it has. */
static ewc_status check_documents(ewc_model *model, const ewc_batch *batch)
{
    for (int64_t b = 0; b < batch->sequences; b++) {
        const int32_t *start = batch->document_start + b * batch->length;
        for (int64_t t = 0; t < batch->length; t++) {
            if (start[t] == t || (t > 0 && start[t] == start[t - 1])) continue;
            return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT,
                             "batch.document_start: sequence %lld, position %lld: expected the position itself or the "
                             "value before it, found %d",
                             (long long)b, (long long)t, (int)start[t]);
        }
    }
    return EWC_OK;
}

/* Length of the longest document. */
static int64_t longest_document(const ewc_batch *batch)
{
    int64_t longest = 0;
    if (batch->document_start == NULL) return batch->length;
    for (int64_t i = 0; i < batch->sequences * batch->length; i++) {
        int64_t length = i % batch->length - batch->document_start[i] + 1;
        if (length > longest) longest = length;
    }
    return longest;
}

ewc_status ewci_batch_check(ewc_model *model, const ewc_batch *batch, int64_t *scored)
{
    ewc_context *ctx = model->ctx;
    if (batch == NULL || batch->struct_size != sizeof *batch)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "batch: struct_size is not that of this library's ewc_batch; fill the struct with "
                         "ewc_batch_default()");
    if (batch->sequences < 1 || batch->length < 1 || batch->sequences > INT32_MAX / batch->length)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "batch: expected at least one sequence and one token and at most %d tokens in all, found %lld "
                         "sequences of %lld",
                         INT32_MAX, (long long)batch->sequences, (long long)batch->length);
    if (batch->tokens == NULL || batch->targets == NULL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "batch.%s is NULL", batch->tokens == NULL ? "tokens" : "targets");
    int64_t rows = batch->sequences * batch->length, count = 0;
    for (int64_t i = 0; i < rows; i++) {
        bool scored_row = batch->targets[i] >= 0;
        if (!ewci_has_token(model, batch->tokens[i])) return refuse_token(model, "tokens", batch, i, 0);
        if (scored_row && !ewci_has_token(model, batch->targets[i]))
            return refuse_token(model, "targets", batch, i, -1);
        count += scored_row;
    }
    if (batch->document_start != NULL) EWCI_TRY(check_documents(model, batch));
    if (longest_document(batch) > model->config.max_position)
        return ewci_fail(
            ctx, EWC_ERROR_ARGUMENT,
            "batch: a document of %lld tokens is longer than the model's max_position_embeddings, %lld; use "
            "shorter sequences",
            (long long)longest_document(batch), (long long)model->config.max_position);
    *scored = count;
    return EWC_OK;
}

void ewci_row_weights(const ewc_batch *batch, double scale, float *row_weight)
{
    for (int64_t i = 0; i < batch->sequences * batch->length; i++) {
        double weight = batch->weights == NULL ? 1.0 : (double)batch->weights[i / batch->length];
        row_weight[i] = batch->targets[i] < 0 ? 0.0F : (float)(weight * scale);
    }
}

double ewci_weighted_loss(const ewc_batch *batch, const float *nll)
{
    double sum = 0;
    for (int64_t b = 0; b < batch->sequences; b++) {
        double part = 0;
        for (int64_t t = 0; t < batch->length; t++) part += (double)nll[b * batch->length + t];
        sum += batch->weights == NULL ? part : (double)batch->weights[b] * part;
    }
    return sum;
}
