/* Several old tasks as one: the folded quadratic, and online EWC.
 *
 * sum_k lambda_k/2 F_k (w - a_k)^2 = A/2 (w - c)^2 + constant,  A = sum_k lambda_k F_k,  c = sum_k lambda_k F_k a_k / A.
 * Sums are double, the results f32. Where A = 0 the centre does not matter; it is the first anchor. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
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
        EWCI_TRY(ewci_layout_same(model->ctx, &model->layout, ewci_anchor_layout(k->anchors[i]), "an anchor"));
        EWCI_TRY(ewci_layout_same(model->ctx, &model->layout, ewci_fisher_layout(k->fishers[i]), "a Fisher"));
    }
    return EWC_OK;
}

/* One tensor: the sums, then their f32 forms through host memory. */
static ewc_status fold_tensor(ewc_model *model, const tasks *k, int64_t t, double *a, double *b, float *centre,
                              float *precision)
{
    const ewc_tensor_info *info = &model->layout.tensors[t];
    int64_t n = info->rows * info->columns;
    memset(a, 0, (size_t)n * sizeof *a);
    memset(b, 0, (size_t)n * sizeof *b);
    for (int64_t i = 0; i < k->count; i++)
        EWCI_TRY(model->ctx->ops->fold_add(model->ctx->device, a, b, ewci_fisher_view(k->fishers[i], t),
                                           ewci_anchor_view(k->anchors[i], t), n, k->lambdas[i]));
    EWCI_TRY(ewci_views_read(&k->anchors[0]->views, t, 0, n, centre));
    for (int64_t i = 0; i < n; i++) {
        precision[i] = (float)a[i];
        if (a[i] > 0) centre[i] = (float)(b[i] / a[i]);
    }
    return EWC_OK;
}

static ewc_status fold_all(ewc_model *model, const tasks *k, ewc_anchor *anchor, ewc_fisher *fisher)
{
    const ewci_ops *ops = model->ctx->ops;
    const ewci_layout *layout = &model->layout;
    int64_t longest = 0;
    void *memory;
    for (int64_t t = 0; t < layout->tensor_count; t++) {
        int64_t n = layout->tensors[t].rows * layout->tensors[t].columns;
        if (n > longest) longest = n;
    }
    EWCI_TRY(ewci_alloc_array(model->ctx, 3 * longest, sizeof(double), "the folded sums", &memory));
    double *a = memory, *b = a + longest;
    float *centre = (float *)(void *)(b + longest), *precision = centre + longest;
    ewc_status status = EWC_OK;
    for (int64_t t = 0; t < layout->tensor_count && status == EWC_OK; t++) {
        size_t bytes = (size_t)(layout->tensors[t].rows * layout->tensors[t].columns) * sizeof(float);
        status = fold_tensor(model, k, t, a, b, centre, precision);
        if (status == EWC_OK)
            status = ops->copy_in(model->ctx->device, anchor->views.flat + layout->tensors[t].offset, centre, bytes);
        if (status == EWC_OK)
            status = ops->copy_in(model->ctx->device, fisher->views.flat + layout->tensors[t].offset, precision, bytes);
    }
    ewci_free(model->ctx, memory);
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
    EWCI_TRY(ewci_layout_same(ctx, &fisher->model->layout, &previous->model->layout, "the previous Fisher"));
    if (fisher->info.unit != previous->info.unit)
        return ewci_fail(ctx, EWC_ERROR_MISMATCH, "the previous Fisher: unit: expected %s, found %s",
                         ewc_fisher_unit_name(fisher->info.unit), ewc_fisher_unit_name(previous->info.unit));
    if (!isfinite(gamma) || gamma < 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "gamma: expected a finite number >= 0, found %g", gamma);
    if (fisher->views.flat == NULL)
        return ewci_fail(
            ctx, EWC_ERROR_STATE,
            "ewc_fisher_online: the Fisher is mapped from a file and cannot change; make `fisher` the one that was "
            "just estimated and `previous` the loaded one");
    fisher->info.finished = 0; /* until it is whole again */
    fisher->broken = true;
    EWCI_TRY(add_previous(fisher, previous, gamma));
    fisher->broken = false;
    return EWC_OK;
}
