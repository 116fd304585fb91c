/* The estimators (docs/ewc.md). With l_b the log-likelihood of sequence b's scored tokens, their mean or their sum:
 *
 *   empirical        F = mean_b (dl_b/dw)^2                 per-sequence squares inside the backward pass
 *   empirical_signs  F = (1/B) (sum_b s_b dl_b/dw)^2 summed over batches, s_b = +-1
 *   sampled          the same without signs, labels drawn from the model: scores have mean zero, cross terms vanish
 *   batch_mean       F = mean over batches of (mean_b dl_b/dw)^2 */
#include <math.h>

#include "core/hash.h"
#include "core/memory.h"
#include "core/random.h"
#include "core/sized.h"
#include "core/status.h"
#include "model/vocabulary.h"
#include "train/fisher.h"

/* What a batch needs on the host. */
typedef struct weights {
    float *nll, *row_weight; /* [rows] */
    float *sequence_weight;  /* [sequences] 1 where something is scored */
    int64_t counted;         /* sequences with something scored */
    int64_t scored;
} weights;

static ewc_status check_options(ewc_context *ctx, const ewc_fisher_options *o)
{
    if ((unsigned)o->estimator > EWC_FISHER_BATCH_MEAN)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "options.estimator: expected EMPIRICAL, EMPIRICAL_SIGNS, SAMPLED or BATCH_MEAN, found %d",
                         (int)o->estimator);
    if ((unsigned)o->unit > EWC_UNIT_SEQUENCE_SUM)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "options.unit: expected an ewc_fisher_unit, found %d", (int)o->unit);
    return EWC_OK;
}

ewc_status ewc_fisher_create(ewc_model *model, const ewc_fisher_options *options, ewc_fisher **out)
{
    ewc_fisher_options taken;
    ewc_fisher *fisher;
    void *memory;
    ewc_fisher_options_default(&taken);
    if (model == NULL || out == NULL)
        return ewci_fail(model == NULL ? NULL : model->ctx, EWC_ERROR_ARGUMENT, "ewc_fisher_create: %s is NULL",
                         model == NULL ? "model" : "fisher");
    if (options != NULL) EWCI_TRY(ewci_sized_take(model->ctx, "options", options, &taken, sizeof taken));
    options = &taken;
    EWCI_TRY(check_options(model->ctx, options));
    EWCI_TRY(ewci_fisher_flat(model, options->estimator, options->unit, &fisher));
    fisher->seed = options->seed;
    bool squares = options->estimator == EWC_FISHER_EMPIRICAL;
    fisher->gradient_count = squares ? model->config.vocab_size * model->config.hidden_size : model->layout.parameters;
    ewc_status status = model->ctx->ops->alloc(model->ctx->device, (size_t)fisher->gradient_count * sizeof(float),
                                               "the Fisher's gradient", &memory);
    if (status == EWC_OK) {
        fisher->gradient = memory;
        *out = fisher;
    } else {
        ewc_fisher_destroy(fisher);
    }
    return status;
}

static int64_t scored_in(const ewc_batch *batch, int64_t b)
{
    int64_t count = 0;
    for (int64_t t = 0; t < batch->length; t++) count += batch->targets[b * batch->length + t] >= 0;
    return count;
}

static double sign_of(const ewc_fisher *fisher, int64_t sequence)
{
    uint32_t words[4];
    ewci_philox(fisher->seed, EWCI_STREAM_SIGNS, 0, (uint64_t)sequence, words);
    return words[0] & 1U ? 1.0 : -1.0;
}

/* Row weights such that the pass's loss is what the estimator differentiates: l_b (up to its sign, which squaring forgets). */
static void set_weights(const ewc_fisher *fisher, const ewc_batch *batch, weights *w)
{
    for (int64_t b = 0; b < batch->sequences; b++) w->counted += scored_in(batch, b) > 0;
    int64_t sequence = fisher->info.sequences;
    for (int64_t b = 0; b < batch->sequences; b++) {
        int64_t scored = scored_in(batch, b);
        double weight = fisher->info.unit == EWC_UNIT_SEQUENCE_MEAN && scored > 0 ? 1.0 / (double)scored : 1.0;
        if (fisher->info.estimator == EWC_FISHER_BATCH_MEAN) weight /= (double)w->counted;
        if (fisher->info.estimator == EWC_FISHER_EMPIRICAL_SIGNS && scored > 0) weight *= sign_of(fisher, sequence++);
        w->sequence_weight[b] = scored > 0 ? 1.0F : 0.0F;
        for (int64_t t = 0; t < batch->length; t++) {
            int64_t row = b * batch->length + t;
            w->row_weight[row] = batch->targets[row] < 0 ? 0.0F : (float)weight;
        }
    }
}

/* Of tokens and targets, sequence by sequence: how the data was cut into batches does not matter. */
static void hash_data(ewc_fisher *fisher, const ewc_batch *batch)
{
    uint64_t hash = fisher->info.data_fingerprint;
    for (int64_t i = 0; i < batch->sequences * batch->length; i++) {
        uint64_t word = (uint64_t)(uint32_t)batch->tokens[i] << 32 | (uint32_t)batch->targets[i];
        if (i % batch->length == 0) hash = (hash ^ (uint64_t)batch->length) * 0x9e3779b97f4a7c15ULL;
        hash = ewci_hash_mix(hash, word);
    }
    fisher->info.data_fingerprint = hash;
}

static ewc_status run(ewc_fisher *fisher, const ewc_batch *batch, const weights *w)
{
    ewc_context *ctx = fisher->model->ctx;
    bool squares = fisher->info.estimator == EWC_FISHER_EMPIRICAL;
    ewci_pass pass = {.batch = batch,
                      .row_weight = w->row_weight,
                      .mode = fisher->info.estimator == EWC_FISHER_SAMPLED ? EWCI_CE_SAMPLE : EWCI_CE_TRAIN,
                      .seed = fisher->seed,
                      .first_row = (uint64_t)fisher->rows,
                      .sink = {.gradient = fisher->gradient},
                      .nll = w->nll};
    if (squares) {
        pass.sink.fisher = fisher->views.flat;
        pass.sink.sequence_weight = w->sequence_weight;
        fisher->broken = true; /* squares go straight into the sums: half a pass cannot be taken back */
        EWCI_TRY(ewci_model_run(fisher->model, &pass));
        fisher->broken = false;
        return EWC_OK;
    }
    ewci_buffer gradient = {fisher->gradient, EWC_F32};
    EWCI_TRY(ctx->ops->zero(ctx->device, fisher->gradient, (size_t)fisher->gradient_count * sizeof(float)));
    EWCI_TRY(ewci_model_run(fisher->model, &pass));
    return ctx->ops->fisher_accumulate(ctx->device, fisher->views.flat, gradient, fisher->gradient_count, 1.0F, 1.0F);
}

static ewc_status check_open(const ewc_fisher *fisher, const char *function)
{
    if (fisher == NULL) return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "%s: fisher is NULL", function);
    if (fisher->info.finished)
        return ewci_fail(fisher->model->ctx, EWC_ERROR_STATE, "%s: the Fisher is finished", function);
    if (fisher->broken)
        return ewci_fail(fisher->model->ctx, EWC_ERROR_STATE,
                         "%s: an earlier accumulation failed half-way; start a new estimate", function);
    return EWC_OK;
}

static ewc_status accumulate(ewc_fisher *fisher, const ewc_batch *batch, int64_t scored)
{
    void *memory;
    int64_t rows = batch->sequences * batch->length;
    weights w = {.scored = scored};
    EWCI_TRY(ewci_alloc_array(fisher->model->ctx, 2 * rows + batch->sequences, sizeof(float), "row weights", &memory));
    w.nll = memory;
    w.row_weight = w.nll + rows;
    w.sequence_weight = w.row_weight + rows;
    set_weights(fisher, batch, &w);
    ewc_status status = w.counted == 0 ? EWC_OK : run(fisher, batch, &w);
    if (status == EWC_OK) {
        fisher->info.sequences += w.counted;
        fisher->info.tokens += scored;
        fisher->info.batches += w.counted > 0;
        fisher->rows += rows;
        hash_data(fisher, batch);
    }
    ewci_free(fisher->model->ctx, memory);
    return status;
}

ewc_status ewc_fisher_accumulate(ewc_fisher *fisher, const ewc_batch *batch)
{
    int64_t scored;
    EWCI_TRY(check_open(fisher, "ewc_fisher_accumulate"));
    EWCI_TRY(ewci_batch_check(fisher->model, batch, &scored));
    if (batch->weights != NULL)
        return ewci_fail(fisher->model->ctx, EWC_ERROR_ARGUMENT,
                         "batch.weights: a Fisher is defined without sequence weights; leave them NULL");
    return accumulate(fisher, batch, scored);
}

static ewc_status check_mergeable(const ewc_fisher *a, const ewc_fisher *b)
{
    ewc_context *ctx = a->model->ctx;
    EWCI_TRY(ewci_model_same(a->model, b->model, "the other Fisher"));
    if (a->info.estimator != b->info.estimator || a->info.unit != b->info.unit)
        return ewci_fail(ctx, EWC_ERROR_MISMATCH, "the other Fisher: expected %s in %s, found %s in %s",
                         ewc_estimator_name(a->info.estimator), ewc_fisher_unit_name(a->info.unit),
                         ewc_estimator_name(b->info.estimator), ewc_fisher_unit_name(b->info.unit));
    if (a->info.model_fingerprint != b->info.model_fingerprint)
        return ewci_fail(ctx, EWC_ERROR_MISMATCH,
                         "the other Fisher: expected one of the same weights (%016llx), found %016llx",
                         (unsigned long long)a->info.model_fingerprint, (unsigned long long)b->info.model_fingerprint);
    return EWC_OK;
}

ewc_status ewc_fisher_merge(ewc_fisher *fisher, const ewc_fisher *other)
{
    EWCI_TRY(check_open(fisher, "ewc_fisher_merge"));
    if (other == NULL) return ewci_fail(fisher->model->ctx, EWC_ERROR_ARGUMENT, "ewc_fisher_merge: other is NULL");
    if (other->info.finished || other->broken)
        return ewci_fail(fisher->model->ctx, EWC_ERROR_STATE, "ewc_fisher_merge: the other Fisher is %s",
                         other->broken ? "broken" : "finished");
    EWCI_TRY(check_mergeable(fisher, other));
    EWCI_TRY(fisher->model->ctx->ops->add(fisher->model->ctx->device, fisher->views.flat, other->views.flat, 1.0F,
                                          fisher->model->layout.parameters));
    fisher->info.sequences += other->info.sequences;
    fisher->info.tokens += other->info.tokens;
    fisher->info.batches += other->info.batches;
    fisher->rows += other->rows;
    fisher->info.data_fingerprint ^= other->info.data_fingerprint * 0x9e3779b97f4a7c15ULL;
    return EWC_OK;
}

ewc_status ewc_fisher_finish(ewc_fisher *fisher)
{
    uint64_t now;
    EWCI_TRY(check_open(fisher, "ewc_fisher_finish"));
    ewc_context *ctx = fisher->model->ctx;
    bool by_batch = fisher->info.estimator == EWC_FISHER_BATCH_MEAN;
    int64_t count = by_batch ? fisher->info.batches : fisher->info.sequences;
    if (count == 0)
        return ewci_fail(ctx, EWC_ERROR_STATE, "ewc_fisher_finish: no sequence with scored tokens was accumulated");
    EWCI_TRY(ewci_model_fingerprint(fisher->model, &now));
    if (now != fisher->info.model_fingerprint)
        return ewci_fail(ctx, EWC_ERROR_STATE,
                         "ewc_fisher_finish: the model's weights changed since the estimate was begun; start again");
    fisher->broken = true; /* until it is whole again */
    EWCI_TRY(ewci_fisher_scale(fisher, 1.0 / (double)count));
    EWCI_TRY(ewci_fisher_seal(fisher));
    fisher->broken = false;
    ctx->ops->free(ctx->device, fisher->gradient);
    fisher->gradient = NULL;
    return EWC_OK;
}
