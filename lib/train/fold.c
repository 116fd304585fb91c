/* Several old tasks as one: the folded quadratic, and online EWC.
 *
 * sum_k lambda_k/2 F_k (w - a_k)^2 = A/2 (w - c)^2 + constant,  A = sum_k lambda_k F_k,  c = sum_k lambda_k F_k a_k / A.
 * Sums are double, the results f32. Where A = 0 the centre does not matter; it is the first anchor. */
#include <math.h>

#include "core/convert.h"
#include "core/memory.h"
#include "core/status.h"
#include "model/vocabulary.h"
#include "train/anchor.h"
#include "train/fisher.h"

typedef struct tasks {
    int64_t count;
    ewc_anchor *const *anchors;
    ewc_fisher *const *fishers;
    const double *lambdas;
} tasks;

static ewc_status check_tasks(ewc_model *model, const tasks *k)
{
    if (k->count < 1 || k->anchors == NULL || k->fishers == NULL || k->lambdas == NULL)
        return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT, "ewc_anchor_fold: expected at least one task with its lists");
    for (int64_t i = 0; i < k->count; i++) {
        if (k->anchors[i] == NULL || k->fishers[i] == NULL)
            return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT, "ewc_anchor_fold: task %lld: anchor or fisher is NULL",
                             (long long)i);
        if (!isfinite(k->lambdas[i]) || k->lambdas[i] < 0)
            return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT,
                             "ewc_anchor_fold: lambdas[%lld]: expected a finite number >= 0, "
                             "found %g",
                             (long long)i, k->lambdas[i]);
        EWCI_TRY(ewci_fisher_check_ready(k->fishers[i]));
        EWCI_TRY(ewci_model_same(model, k->anchors[i]->model, "an anchor"));
        EWCI_TRY(ewci_model_same(model, k->fishers[i]->model, "a Fisher"));
    }
    return EWC_OK;
}

/* A part of a tensor at a time: what folding needs does not grow with the model. */
enum { PART = 1 << 18 };

typedef struct sums {
    double *a, *b;             /* device, [PART] */
    double *host_a, *host_b;   /* [PART] */
    float *centre, *precision; /* [PART] */
} sums;

static void sums_free(ewc_context *ctx, sums *s)
{
    ctx->ops->free(ctx->device, s->a);
    ewci_free(ctx, s->host_a);
}

static ewc_status sums_make(ewc_context *ctx, sums *s)
{
    void *memory;
    EWCI_TRY(ctx->ops->alloc(ctx->device, 2 * PART * sizeof(double), "the folded sums", &memory));
    s->a = memory;
    s->b = s->a + PART;
    EWCI_TRY(ewci_alloc_array(ctx, PART, 2 * (sizeof(double) + sizeof(float)), "the folded sums", &memory));
    s->host_a = memory;
    s->host_b = s->host_a + PART;
    s->centre = (float *)(void *)(s->host_b + PART);
    s->precision = s->centre + PART;
    return EWC_OK;
}

static ewc_buffer from(ewc_buffer buffer, int64_t first)
{
    return (ewc_buffer){(char *)buffer.data + (size_t)first * ewci_dtype_bytes(buffer.dtype), buffer.dtype};
}

/* Elements [first, first + n) of tensor t: the sums, then their f32 forms. */
static ewc_status fold_part(ewc_context *ctx, const tasks *k, int64_t t, int64_t first, int64_t n, sums *s)
{
    const ewci_ops *ops = ctx->ops;
    size_t bytes = (size_t)n * sizeof(double);
    EWCI_TRY(ops->zero(ctx->device, s->a, bytes));
    EWCI_TRY(ops->zero(ctx->device, s->b, bytes));
    for (int64_t i = 0; i < k->count; i++)
        EWCI_TRY(ops->fold_add(ctx->device, s->a, s->b, from(ewci_fisher_view(k->fishers[i], t), first),
                               from(ewci_anchor_view(k->anchors[i], t), first), n, k->lambdas[i]));
    EWCI_TRY(ops->copy_out(ctx->device, s->host_a, s->a, bytes));
    EWCI_TRY(ops->copy_out(ctx->device, s->host_b, s->b, bytes));
    EWCI_TRY(ewci_views_read(&k->anchors[0]->views, t, first, n, s->centre));
    for (int64_t i = 0; i < n; i++) {
        s->precision[i] = (float)s->host_a[i];
        if (s->host_a[i] > 0) s->centre[i] = (float)(s->host_b[i] / s->host_a[i]);
    }
    return EWC_OK;
}

static ewc_status fold_tensor(ewc_context *ctx, const tasks *k, int64_t t, sums *s, float *anchor, float *fisher)
{
    const ewc_tensor_info *info = &k->anchors[0]->model->layout.tensors[t];
    int64_t total = info->rows * info->columns;
    for (int64_t first = 0; first < total; first += PART) {
        int64_t n = total - first < PART ? total - first : PART;
        size_t bytes = (size_t)n * sizeof(float);
        EWCI_TRY(fold_part(ctx, k, t, first, n, s));
        EWCI_TRY(ctx->ops->copy_in(ctx->device, anchor + info->offset + first, s->centre, bytes));
        EWCI_TRY(ctx->ops->copy_in(ctx->device, fisher + info->offset + first, s->precision, bytes));
    }
    return EWC_OK;
}

static ewc_status fold_all(ewc_model *model, const tasks *k, ewc_anchor *anchor, ewc_fisher *fisher)
{
    sums s = {0};
    ewc_status status = sums_make(model->ctx, &s);
    for (int64_t t = 0; t < model->layout.tensor_count && status == EWC_OK; t++)
        status = fold_tensor(model->ctx, k, t, &s, anchor->views.flat, fisher->views.flat);
    sums_free(model->ctx, &s);
    return status;
}

ewc_status ewc_anchor_fold(ewc_model *model, int64_t count, ewc_anchor *const *anchors, ewc_fisher *const *fishers,
                           const double *lambdas, ewc_anchor **folded_anchor, ewc_fisher **folded_fisher)
{
    tasks k = {count, anchors, fishers, lambdas};
    ewc_anchor *anchor = NULL;
    ewc_fisher *fisher = NULL;
    ewc_status status;
    if (model == NULL || folded_anchor == NULL || folded_fisher == NULL)
        return ewci_fail(model == NULL ? NULL : model->ctx, EWC_ERROR_ARGUMENT, "ewc_anchor_fold: an argument is NULL");
    EWCI_TRY(check_tasks(model, &k));
    EWCI_TRY_GOTO(status, fail, ewci_anchor_flat(model, &anchor));
    EWCI_TRY_GOTO(status, fail, ewci_fisher_flat(model, EWC_FISHER_FOLDED, fishers[0]->info.unit, &fisher));
    EWCI_TRY_GOTO(status, fail, fold_all(model, &k, anchor, fisher));
    EWCI_TRY_GOTO(status, fail, ewci_anchor_seal(anchor));
    fisher->info.model_fingerprint = anchor->fingerprint; /* they belong together */
    for (int64_t i = 0; i < count; i++) {
        fisher->info.sequences += fishers[i]->info.sequences;
        fisher->info.tokens += fishers[i]->info.tokens;
        fisher->info.batches += fishers[i]->info.batches;
    }
    EWCI_TRY_GOTO(status, fail, ewci_fisher_seal(fisher));
    *folded_anchor = anchor;
    *folded_fisher = fisher;
    return EWC_OK;
fail:
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
    return status;
}

/* this += gamma * previous, tensor by tensor, in f32 through host blocks (previous may be mapped). */
static ewc_status add_previous(ewc_fisher *fisher, const ewc_fisher *previous, double gamma)
{
    enum { BLOCK = 4096 };
    const ewci_ops *ops = fisher->model->ctx->ops;
    ewci_device *device = fisher->model->ctx->device;
    float mine[BLOCK], old[BLOCK];
    for (int64_t t = 0; t < fisher->model->layout.tensor_count; t++) {
        const ewc_tensor_info *info = &fisher->model->layout.tensors[t];
        int64_t total = info->rows * info->columns;
        for (int64_t first = 0; first < total; first += BLOCK) {
            int64_t n = total - first < BLOCK ? total - first : BLOCK;
            EWCI_TRY(ewci_views_read(&fisher->views, t, first, n, mine));
            EWCI_TRY(ewci_views_read((void *)(uintptr_t)&previous->views, t, first, n, old));
            for (int64_t i = 0; i < n; i++) mine[i] = (float)((double)mine[i] + gamma * (double)old[i]);
            EWCI_TRY(ops->copy_in(device, fisher->views.flat + info->offset + first, mine, (size_t)n * sizeof *mine));
        }
    }
    return ewci_fisher_seal(fisher);
}

ewc_status ewc_fisher_online(ewc_fisher *fisher, const ewc_fisher *previous, double gamma)
{
    if (fisher == NULL || previous == NULL)
        return ewci_fail(fisher == NULL ? NULL : fisher->model->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_fisher_online: %s is NULL", fisher == NULL ? "fisher" : "previous");
    ewc_context *ctx = fisher->model->ctx;
    EWCI_TRY(ewci_fisher_check_ready(fisher));
    EWCI_TRY(ewci_fisher_check_ready(previous));
    EWCI_TRY(ewci_model_same(fisher->model, previous->model, "the previous Fisher"));
    if (fisher->info.unit != previous->info.unit)
        return ewci_fail(ctx, EWC_ERROR_MISMATCH, "the previous Fisher: unit: expected %s, found %s",
                         ewc_fisher_unit_name(fisher->info.unit), ewc_fisher_unit_name(previous->info.unit));
    if (!isfinite(gamma) || gamma < 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "gamma: expected a finite number >= 0, found %g", gamma);
    if (fisher->views.flat == NULL)
        return ewci_fail(ctx, EWC_ERROR_STATE,
                         "ewc_fisher_online: the Fisher is mapped from a file or held in bf16 and cannot change; make "
                         "`fisher` the one "
                         "that was just estimated and `previous` this one");
    fisher->info.finished = 0; /* until it is whole again */
    fisher->broken = true;
    EWCI_TRY(add_previous(fisher, previous, gamma));
    fisher->broken = false;
    return EWC_OK;
}
