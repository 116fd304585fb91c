/* Fishers and anchors in another type: the values are converted into memory of their own, compared with what they were, and only then
 * put in its place. */
#include <math.h>

#include "core/status.h"
#include "train/anchor.h"
#include "train/fisher.h"

enum { BLOCK = 4096 };

/* What rounding does to a set of values. */
typedef struct comparison {
    ewci_views *before, *after;
    const char *what;
    double distance_squared;
} comparison;

static ewc_status compare_tensor(comparison *c, int64_t t)
{
    ewc_context *ctx = c->before->ctx;
    const ewc_tensor_info *info = &c->before->layout->tensors[t];
    int64_t total = info->rows * info->columns;
    bool something = false, left = false;
    float old[BLOCK], new[BLOCK];
    for (int64_t first = 0; first < total; first += BLOCK) {
        int64_t n = total - first < BLOCK ? total - first : BLOCK;
        EWCI_TRY(ewci_views_read(c->before, t, first, n, old));
        EWCI_TRY(ewci_views_read(c->after, t, first, n, new));
        for (int64_t i = 0; i < n; i++) {
            double difference = (double)new[i] - (double)old[i];
            if (isfinite(old[i]) && !isfinite(new[i]))
                return ewci_fail(ctx, EWC_ERROR_NOT_FINITE,
                                 "%s of %s: %g at element %lld is beyond the largest bf16 number: keep f32", c->what,
                                 info->name, (double)old[i], (long long)(first + i));
            something = something || old[i] != 0;
            left = left || new[i] != 0;
            if (isfinite(old[i])) c->distance_squared += difference * difference;
        }
    }
    if (left || !something) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                     "%s of %s: every value is below the smallest bf16 number and would become zero: keep f32", c->what,
                     info->name);
}

/* Converted values that lose no tensor; *distance_squared is that between the two. */
static ewc_status convert(ewci_views *views, ewc_dtype dtype, const char *what, ewci_views *out,
                          double *distance_squared)
{
    ewci_views converted;
    EWCI_TRY(ewci_views_convert(views, dtype, what, &converted));
    comparison c = {views, &converted, what, 0};
    ewc_status status = EWC_OK;
    for (int64_t t = 0; t < views->layout->tensor_count && status == EWC_OK; t++) status = compare_tensor(&c, t);
    if (status != EWC_OK) {
        ewci_views_destroy(&converted);
        return status;
    }
    *out = converted;
    *distance_squared = c.distance_squared;
    return EWC_OK;
}

static ewc_status check(ewc_context *ctx, const char *function, ewc_dtype dtype, bool lent)
{
    if (dtype != EWC_F32 && dtype != EWC_BF16)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: dtype: expected EWC_F32 or EWC_BF16, found %d", function,
                         (int)dtype);
    if (lent)
        return ewci_fail(ctx, EWC_ERROR_STATE, "%s: only before ewc_trainer_add_anchor: a trainer was given it",
                         function);
    return EWC_OK;
}

/* In memory of its own and of that type already. */
static bool is_held(const ewci_views *views, bool mapped, ewc_dtype dtype)
{
    return !mapped && (views->flat != NULL) == (dtype == EWC_F32);
}

ewc_status ewc_fisher_convert(ewc_fisher *fisher, ewc_dtype dtype)
{
    double distance_squared;
    if (fisher == NULL) return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "ewc_fisher_convert: fisher is NULL");
    EWCI_TRY(ewci_fisher_check_ready(fisher));
    EWCI_TRY(check(fisher->model->ctx, "ewc_fisher_convert", dtype, fisher->lent));
    if (is_held(&fisher->views, fisher->file != NULL, dtype)) return EWC_OK;
    ewci_views old = fisher->views, converted;
    EWCI_TRY(convert(&old, dtype, "the Fisher", &converted, &distance_squared));
    fisher->views = converted;
    ewc_status status = ewci_fisher_seal(fisher); /* its mean */
    if (status != EWC_OK) fisher->views = old;
    ewci_views_destroy(status == EWC_OK ? &old : &converted);
    if (status != EWC_OK) return status;
    ewci_safetensors_close(fisher->file);
    fisher->file = NULL;
    return EWC_OK;
}

ewc_status ewc_anchor_convert(ewc_anchor *anchor, ewc_dtype dtype)
{
    double distance_squared;
    if (anchor == NULL) return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "ewc_anchor_convert: anchor is NULL");
    ewc_context *ctx = anchor->model->ctx;
    EWCI_TRY(check(ctx, "ewc_anchor_convert", dtype, anchor->lent));
    if (is_held(&anchor->views, anchor->hf != NULL || anchor->file != NULL, dtype)) return EWC_OK;
    ewci_views converted;
    EWCI_TRY(convert(&anchor->views, dtype, "the anchor", &converted, &distance_squared));
    ewci_views_destroy(&anchor->views);
    anchor->views = converted;
    ewci_hf_close(anchor->hf);
    ewci_safetensors_close(anchor->file);
    anchor->hf = NULL;
    anchor->file = NULL;
    if (distance_squared == 0) return EWC_OK;
    anchor->rounded = true;
    ewci_log(
        ctx, EWC_LOG_INFO,
        "the anchor was rounded to bf16: it lies at a distance of %g from the weights it was made of, and so does a "
        "model that starts from these",
        sqrt(distance_squared));
    return EWC_OK;
}
