/* attention_fwd: o_i = sum_j softmax_j(cap(scale q_i k_j)) v_j over max(document start, i - window + 1) <= j <= i.
 *
 * Tiled: one query tile of one head meets the key tiles that it can see, one after the other; memory does not grow with the
 * square of the length and tiles that are masked whole are never computed. A (document, head, query tile) is one piece of work; pieces
 * write to places of their own, and go to the threads in turn. */
#include <math.h>

#include "cpu/attention.h"
#include "cpu/operations.h"

typedef struct tile {
    int64_t start;      /* of the document */
    int64_t first, end; /* queries */
    int64_t head;
} tile;

static void scores(const ewci_attention_job *j, const tile *t, int64_t key, int64_t key_end, float *s)
{
    const ewci_attention *a = j->shape;
    int64_t d = a->head_dim, kv = t->head / (a->heads / a->kv_heads);
    const float *q = j->qkv + t->first * j->stride + t->head * d;
    const float *k = j->qkv + key * j->stride + (a->heads + kv) * d;
    ewci_sgemm(false, true, t->end - t->first, key_end - key, d, a->scale, q, j->stride, k, j->stride, 0.0F, s,
               key_end - key);
}

static void softmax_tile(const ewci_attention_job *j, const tile *t, int64_t key, int64_t key_end, float *s, float *sum,
                         float *maximum, float *out)
{
    const ewci_kernels *kernels = j->device->kernels;
    int64_t width = key_end - key, d = j->shape->head_dim;
    for (int64_t i = t->first; i < t->end; i++) {
        int64_t row = i - t->first, begin = ewci_first_key(j->shape, t->start, i) - key, end = i + 1 - key;
        float factor = kernels->attention_row(s + row * width, begin > 0 ? begin : 0, end < width ? end : width, width,
                                              j->shape->softcap, &maximum[row], &sum[row]);
        if (factor != 1.0F) kernels->scale_in_place(out + row * d, factor, d);
    }
}

static void run_tile(const ewci_attention_job *j, const tile *t, float *scratch)
{
    const ewci_attention *a = j->shape;
    int64_t d = a->head_dim, kv = t->head / (a->heads / a->kv_heads), rows = t->end - t->first;
    float *s = scratch, *out = scratch + 2 * EWCI_SCORE_TILE, sum[EWCI_QUERY_TILE], maximum[EWCI_QUERY_TILE];
    for (int64_t i = 0; i < rows; i++) {
        sum[i] = 0;
        maximum[i] = -INFINITY;
    }
    for (int64_t i = 0; i < rows * d; i++) out[i] = 0;
    for (int64_t key = ewci_first_key(a, t->start, t->first); key < t->end; key += EWCI_KEY_TILE) {
        int64_t key_end = t->end - key < EWCI_KEY_TILE ? t->end : key + EWCI_KEY_TILE;
        const float *v = j->qkv + key * j->stride + (a->heads + a->kv_heads + kv) * d;
        scores(j, t, key, key_end, s);
        softmax_tile(j, t, key, key_end, s, sum, maximum, out);
        ewci_sgemm(false, false, rows, d, key_end - key, 1.0F, s, key_end - key, v, j->stride, 1.0F, out, d);
    }
    for (int64_t i = 0; i < rows; i++) {
        j->device->kernels->scale_row(j->o + (t->first + i) * a->heads * d + t->head * d, out + i * d, 1.0F / sum[i],
                                      d);
        j->lse[(t->first + i) * a->heads + t->head] = maximum[i] + logf(sum[i]);
    }
}

static void run_slice(void *argument, int index, int count)
{
    const ewci_attention_job *j = argument;
    const ewci_attention *a = j->shape;
    float *scratch = j->thread_scratch + index * ewci_attention_thread_scratch(a);
    int64_t piece = 0;
    for (int64_t start = 0, end; start < a->tokens; start = end) {
        end = ewci_document_end(a, start);
        for (int64_t head = 0; head < a->heads; head++) {
            for (int64_t first = start; first < end; first += EWCI_QUERY_TILE) {
                tile t = {start, first, end - first < EWCI_QUERY_TILE ? end : first + EWCI_QUERY_TILE, head};
                if (piece++ % count == index) run_tile(j, &t, scratch);
            }
        }
    }
}

ewc_status ewci_cpu_attention_fwd(ewci_device *device, const ewci_attention *shape, void *o, float *lse,
                                  const void *qkv, void *scratch)
{
    ewci_attention_job j = {.device = device,
                            .shape = shape,
                            .stride = (shape->heads + 2 * shape->kv_heads) * shape->head_dim,
                            .qkv = qkv,
                            .o = o,
                            .lse = lse,
                            .thread_scratch = scratch};
    ewci_parallel(ewci_team(device, 8 * shape->tokens * shape->heads * shape->head_dim), run_slice, &j);
    return EWC_OK;
}
