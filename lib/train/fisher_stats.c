/* Statistics of a Fisher. Quantiles are exact: floats of 0 or more order like their bits, so two passes of 16-bit counts find any rank
 * without sorting or copying. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/sized.h"
#include "core/status.h"
#include "train/fisher.h"

enum { BLOCK = 65536, BINS = 65536, RANKS = 5 };

static const double fractions[RANKS] = {0.10, 0.50, 0.90, 0.99, 0.999};

typedef struct survey {
    const ewc_fisher *fisher;
    int64_t first_tensor, end_tensor;
    float *block;
    int64_t *high;       /* [BINS] counts of the upper 16 bits */
    int64_t *low[RANKS]; /* [BINS] counts of the lower 16 bits within a rank's bin */
    uint32_t bin[RANKS];
    ewc_fisher_statistics s;
} survey;

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffffU;
}

static void count_high(survey *v, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        v->high[bits_of(x[i]) >> 16]++;
        v->s.count++;
        v->s.zeros += x[i] == 0;
        v->s.nonfinite += !isfinite(x[i]);
        v->s.sum += isfinite(x[i]) ? (double)x[i] : 0.0;
        if (isfinite(x[i]) && (double)x[i] > v->s.maximum) v->s.maximum = (double)x[i];
    }
}

static void count_low(survey *v, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int r = 0; r < RANKS; r++)
            if (bits_of(x[i]) >> 16 == v->bin[r]) v->low[r][bits_of(x[i]) & 0xffffU]++;
}

static ewc_status walk(survey *v, void (*visit)(survey *v, const float *x, int64_t n))
{
    const ewci_layout *layout = &v->fisher->model->layout;
    for (int64_t t = v->first_tensor; t < v->end_tensor; t++) {
        int64_t total = layout->tensors[t].rows * layout->tensors[t].columns;
        for (int64_t first = 0; first < total; first += BLOCK) {
            int64_t n = total - first < BLOCK ? total - first : BLOCK;
            EWCI_TRY(ewci_views_read((void *)(uintptr_t)&v->fisher->views, t, first, n, v->block));
            visit(v, v->block, n);
        }
    }
    return EWC_OK;
}

/* The bin that holds the element of rank `*rank` (0-based); *rank becomes its rank inside the bin. */
static uint32_t find_bin(const int64_t *counts, int64_t *rank)
{
    uint32_t bin = 0;
    while (bin < BINS - 1 && *rank >= counts[bin]) *rank -= counts[bin++];
    return bin;
}

static ewc_status measure(survey *v)
{
    int64_t inside[RANKS];
    EWCI_TRY(walk(v, count_high));
    for (int r = 0; r < RANKS; r++) {
        inside[r] = (int64_t)ceil(fractions[r] * (double)v->s.count) - 1;
        if (inside[r] < 0) inside[r] = 0;
        v->bin[r] = find_bin(v->high, &inside[r]);
    }
    EWCI_TRY(walk(v, count_low));
    for (int r = 0; r < RANKS; r++) {
        uint32_t bits = v->bin[r] << 16 | find_bin(v->low[r], &inside[r]);
        float x;
        memcpy(&x, &bits, sizeof x);
        v->s.quantiles[r] = (double)x;
    }
    v->s.mean = v->s.sum / (double)v->s.count;
    return EWC_OK;
}

ewc_status ewc_fisher_stats(ewc_fisher *fisher, int64_t tensor, ewc_fisher_statistics *statistics)
{
    if (fisher == NULL || statistics == NULL)
        return ewci_fail(fisher == NULL ? NULL : fisher->model->ctx, EWC_ERROR_ARGUMENT, "ewc_fisher_stats: %s is NULL",
                         fisher == NULL ? "fisher" : "statistics");
    ewc_context *ctx = fisher->model->ctx;
    int64_t tensors = fisher->model->layout.tensor_count;
    void *memory;
    if (tensor < -1 || tensor >= tensors)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "tensor: expected -1 (all) to %lld, found %lld",
                         (long long)(tensors - 1), (long long)tensor);
    EWCI_TRY(ewci_fisher_check_ready(fisher));
    EWCI_TRY(ewci_alloc_array(ctx, (1 + RANKS) * BINS + BLOCK / 2, sizeof(int64_t), "counts", &memory));
    survey v = {.fisher = fisher,
                .first_tensor = tensor < 0 ? 0 : tensor,
                .end_tensor = tensor < 0 ? tensors : tensor + 1,
                .high = memory,
                .s = {.struct_size = sizeof v.s}};
    for (int r = 0; r < RANKS; r++) v.low[r] = v.high + (1 + r) * BINS;
    v.block = (float *)(void *)(v.high + (1 + RANKS) * BINS);
    ewc_status status = measure(&v);
    if (status == EWC_OK) status = ewci_sized_give(ctx, "statistics", statistics, &v.s, sizeof v.s);
    ewci_free(ctx, memory);
    return status;
}
