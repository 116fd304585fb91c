/* The tied head and its loss, in chunks of rows: never more than [chunk, vocab] logits at a time.
 *
 * Per chunk of n rows X[n,H] of the final norm's output:  Z = X E^T,  cross entropy turns Z into dZ,  dX = dZ E,  dE += dZ^T X.
 * Rows that are not scored are left out. For per-sequence squares a chunk never crosses a sequence, and dE of each sequence is
 * squared by itself: the rows of E that are also inputs of the sequence are set aside first, because their gradient is the
 * sum of both uses (backward.c adds the other one and squares the sum). */
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "model/pass.h"

/* Lists the scored rows of [first_row, first_row + rows) in w->host_rows and returns their number. */
static int64_t list_scored_rows(const ewci_run *run, int64_t first_row, int64_t rows)
{
    int32_t *list = run->w->host_rows;
    const int32_t *targets = run->pass->batch->targets;
    int64_t count = 0;
    for (int64_t i = first_row; i < first_row + rows; i++)
        if (targets[i] >= 0) list[count++] = (int32_t)i;
    return count;
}

/* Rows first..first+count of the list; contiguous ones need no gathering. */
typedef struct chunk {
    int64_t count;
    int64_t first_row; /* of the batch, when contiguous */
    bool contiguous;
    const int32_t *rows; /* device: the rows' numbers */
} chunk;

static ewc_status gather(ewci_run *run, const chunk *k, const void **x, const int32_t **targets, const float **weights)
{
    struct ewci_workspace *w = run->w;
    int64_t hidden = run->model->config.hidden_size;
    void *normed = w->layers[run->model->config.layers].input_normed;
    if (k->contiguous) {
        *x = ewci_at(run, normed, k->first_row * hidden);
        *targets = w->targets + k->first_row;
        *weights = w->row_weight + k->first_row;
        return EWC_OK;
    }
    EWCI_PHASE(run, EWC_PHASE_EMBED,
               run->ops->embed_fwd(run->device, w->chunk_hidden, normed, k->rows, k->count, hidden, 1.0F));
    *x = w->chunk_hidden;
    *targets = w->chunk_targets;
    *weights = w->chunk_weights;
    return EWC_OK;
}

static ewc_status chunk_loss(ewci_run *run, const chunk *k, const int32_t *targets, const float *weights)
{
    const ewc_model_config *c = &run->model->config;
    ewci_cross_entropy args = {.rows = k->count,
                               .vocab = c->vocab_size,
                               .stride = run->w->logits_stride,
                               .softcap = (float)c->final_softcap,
                               .mode = run->pass->mode,
                               .targets = targets,
                               .row_weight = weights,
                               .nll = run->w->chunk_nll,
                               .seed = run->pass->seed,
                               .first_row = run->pass->first_row + (uint64_t)k->first_row};
    EWCI_PHASE(run, EWC_PHASE_LOSS, run->ops->cross_entropy(run->device, &args, run->w->logits));
    return EWC_OK;
}

static ewc_status chunk_backward(ewci_run *run, const chunk *k, const void *x)
{
    const ewc_model_config *c = &run->model->config;
    struct ewci_workspace *w = run->w;
    int64_t hidden = c->hidden_size, vocab = c->vocab_size;
    const float *table = ewci_weight(run, run->model->layout.embedding);
    void *dx = k->contiguous ? ewci_at(run, w->dy, k->first_row * hidden) : w->chunk_gradient;
    EWCI_PHASE(run, EWC_PHASE_GEMM_HEAD,
               run->ops->gemm(run->device, false, false, k->count, hidden, vocab, w->logits, w->logits_stride, table,
                              hidden, dx, hidden, false));
    EWCI_PHASE(run, EWC_PHASE_GEMM_HEAD,
               run->ops->gemm(run->device, true, false, vocab, hidden, k->count, w->logits, w->logits_stride, x, hidden,
                              run->embedding_gradient, hidden, true));
    if (!k->contiguous) /* each row once: adding to zero puts it in its place */
        EWCI_PHASE(run, EWC_PHASE_EMBED, run->ops->embed_bwd(run->device, w->dy, dx, k->rows, k->count, hidden, 1.0F));
    return EWC_OK;
}

/* Hands the chunk's losses to the caller's array. */
static ewc_status collect(ewci_run *run, const chunk *k, const int32_t *host_rows)
{
    struct ewci_workspace *w = run->w;
    float *nll = run->pass->nll;
    if (k->contiguous)
        return run->ops->copy_out(run->device, nll + k->first_row, w->chunk_nll, (size_t)k->count * sizeof(float));
    EWCI_TRY(run->ops->copy_out(run->device, w->host_values, w->chunk_nll, (size_t)k->count * sizeof(float)));
    for (int64_t i = 0; i < k->count; i++) nll[host_rows[i]] = w->host_values[i];
    return EWC_OK;
}

static ewc_status prepare_scattered(ewci_run *run, const chunk *k, const int32_t *host_rows)
{
    struct ewci_workspace *w = run->w;
    const ewci_pass *pass = run->pass;
    size_t bytes = (size_t)k->count * sizeof(float);
    EWCI_TRY(run->ops->copy_in(run->device, w->scored_rows, host_rows, bytes));
    for (int64_t i = 0; i < k->count; i++) w->host_ids[i] = pass->batch->targets[host_rows[i]];
    EWCI_TRY(run->ops->copy_in(run->device, w->chunk_targets, w->host_ids, bytes));
    if (!run->backward) return EWC_OK;
    for (int64_t i = 0; i < k->count; i++) w->host_values[i] = pass->row_weight[host_rows[i]];
    return run->ops->copy_in(run->device, w->chunk_weights, w->host_values, bytes);
}

/* Rows [first_row, first_row + rows) of the batch, chunk by chunk. Sampled labels are keyed by row number, so there unscored rows
 * between scored ones go through the product too and cross entropy leaves them out. */
static ewc_status head_rows(ewci_run *run, int64_t first_row, int64_t rows)
{
    const ewc_model_config *c = &run->model->config;
    struct ewci_workspace *w = run->w;
    int64_t scored = list_scored_rows(run, first_row, rows);
    if (scored == 0) return EWC_OK;
    const int32_t *list = w->host_rows;
    bool dense = run->pass->mode == EWCI_CE_SAMPLE || scored == list[scored - 1] - list[0] + 1;
    int64_t total = dense ? list[scored - 1] - list[0] + 1 : scored, start = list[0];
    for (int64_t done = 0; done < total; done += w->chunk) {
        chunk k = {.count = total - done < w->chunk ? total - done : w->chunk,
                   .first_row = dense ? start + done : 0,
                   .contiguous = dense,
                   .rows = w->scored_rows};
        const void *x;
        const int32_t *targets;
        const float *weights;
        EWCI_TRY(ewci_check_cancelled(run->model->ctx));
        if (!dense) EWCI_TRY(prepare_scattered(run, &k, list + done));
        EWCI_TRY(gather(run, &k, &x, &targets, &weights));
        EWCI_PHASE(run, EWC_PHASE_GEMM_HEAD,
                   run->ops->gemm(run->device, false, true, k.count, c->vocab_size, c->hidden_size, x, c->hidden_size,
                                  ewci_weight(run, run->model->layout.embedding), c->hidden_size, w->logits,
                                  w->logits_stride, false));
        EWCI_TRY(chunk_loss(run, &k, targets, weights));
        EWCI_TRY(collect(run, &k, list + done));
        if (run->backward) EWCI_TRY(chunk_backward(run, &k, x));
    }
    return EWC_OK;
}

static int compare_ids(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The distinct input tokens of sequence b, sorted, and each token's place among them, into run->w->compact_ids. */
static ewc_status list_input_ids(ewci_run *run, int64_t b)
{
    struct ewci_workspace *w = run->w;
    int64_t length = run->pass->batch->length, count = 0;
    const int32_t *tokens = run->pass->batch->tokens + b * length;
    int32_t *ids = w->host_rows, *places = w->host_ids;
    memcpy(ids, tokens, (size_t)length * sizeof *ids);
    qsort(ids, (size_t)length, sizeof *ids, compare_ids);
    for (int64_t i = 0; i < length; i++)
        if (i == 0 || ids[i] != ids[i - 1]) ids[count++] = ids[i];
    for (int64_t i = 0; i < length; i++) {
        const int32_t *found = bsearch(&tokens[i], ids, (size_t)count, sizeof *ids, compare_ids);
        places[i] = (int32_t)(found - ids);
    }
    w->sequence_ids[b] = count;
    int32_t *device_ids = w->compact_ids + 2 * b * length;
    EWCI_TRY(run->ops->copy_in(run->device, device_ids, ids, (size_t)count * sizeof *ids));
    return run->ops->copy_in(run->device, device_ids + length, places, (size_t)length * sizeof *places);
}

/* Squares the head's gradient of sequence b, except the rows set aside in w->embedding_rows. */
static ewc_status head_squares(ewci_run *run, int64_t b)
{
    const ewc_model_config *c = &run->model->config;
    struct ewci_workspace *w = run->w;
    int64_t length = run->pass->batch->length, table = c->vocab_size * c->hidden_size;
    EWCI_TRY(run->ops->zero(run->device, run->embedding_gradient, (size_t)table * sizeof(float)));
    EWCI_TRY(head_rows(run, b * length, length));
    EWCI_TRY(list_input_ids(run, b));
    EWCI_PHASE(run, EWC_PHASE_EMBED,
               run->ops->gather_rows(run->device, w->embedding_rows + b * length * c->hidden_size,
                                     run->embedding_gradient, w->compact_ids + 2 * b * length, w->sequence_ids[b],
                                     c->hidden_size, true));
    ewci_buffer gradient = {run->embedding_gradient, EWC_F32};
    EWCI_PHASE(run, EWC_PHASE_UPDATE,
               run->ops->fisher_accumulate(run->device, run->pass->sink.fisher + run->model->layout.embedding, gradient,
                                           table, ewci_sequence_weight(run, b), 1.0F));
    return EWC_OK;
}

ewc_status ewci_head(ewci_run *run)
{
    const ewc_model_config *c = &run->model->config;
    memset(run->pass->nll, 0, (size_t)run->rows * sizeof(float));
    if (run->backward)
        EWCI_TRY(run->ops->zero(run->device, run->w->dy,
                                (size_t)(run->rows * c->hidden_size) * (run->ops->compute == EWC_F32 ? 4 : 2)));
    if (!run->squares) return head_rows(run, 0, run->rows);
    for (int64_t b = 0; b < run->pass->batch->sequences; b++)
        if (ewci_sequence_weight(run, b) != 0) EWCI_TRY(head_squares(run, b));
    return EWC_OK;
}
