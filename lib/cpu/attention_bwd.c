/* attention_bwd: the scores are computed again tile by tile; with P and the row's delta = sum_d dO O,
 *
 *   dV = P^T dO,  dP = dO V^T,  dS = P (dP - delta) (1 - (c/cap)^2) scale,  dQ = dS K,  dK = dS^T Q.
 *
 * A (document, query head) is one piece of work: it owns its rows of dQ and its own dK and dV. Where several query heads share a
 * kv head, their dK and dV are kept apart and added in the heads' order afterwards: no atomics, the same bits every run. */
#include <string.h>

#include "cpu/attention.h"
#include "cpu/operations.h"

typedef struct piece {
    int64_t start, end, head, kv;
    float *dk, *dv; /* of row `start` */
    int64_t d_stride;
} piece;

static void score_gradients(const ewci_attention_job *j, const piece *p, int64_t first, int64_t last, int64_t key,
                            int64_t key_end, const float *delta, float *s, float *dp)
{
    const ewci_attention *a = j->shape;
    int64_t d = a->head_dim, width = key_end - key, rows = last - first, o_stride = a->heads * d;
    const float *q = j->qkv + first * j->stride + p->head * d;
    const float *k = j->qkv + key * j->stride + (a->heads + p->kv) * d, *v = k + a->kv_heads * d;
    const float *d_o = j->d_o + first * o_stride + p->head * d;
    ewci_sgemm(false, true, rows, width, d, a->scale, q, j->stride, k, j->stride, 0.0F, s, width);
    ewci_sgemm(false, true, rows, width, d, 1.0F, d_o, o_stride, v, j->stride, 0.0F, dp, width);
    for (int64_t i = first; i < last; i++) {
        int64_t row = i - first, begin = ewci_first_key(a, p->start, i) - key, end = i + 1 - key;
        // delta has a value for each of the rows: NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage)
        j->device->kernels->attention_bwd_row(s + row * width, dp + row * width, begin > 0 ? begin : 0,
                                              end < width ? end : width, width, a->softcap, a->scale,
                                              j->lse[i * a->heads + p->head], delta[row]);
    }
}

static void run_tile(const ewci_attention_job *j, const piece *p, int64_t first, int64_t last, float *scratch)
{
    const ewci_attention *a = j->shape;
    int64_t d = a->head_dim, rows = last - first, o_stride = a->heads * d;
    float *s = scratch, *dp = scratch + EWCI_SCORE_TILE, delta[EWCI_QUERY_TILE];
    const float *q = j->qkv + first * j->stride + p->head * d;
    const float *d_o = j->d_o + first * o_stride + p->head * d, *o = j->o + first * o_stride + p->head * d;
    float *dq = j->dqkv + first * j->stride + p->head * d;
    for (int64_t i = 0; i < rows; i++) delta[i] = j->device->kernels->dot(d_o + i * o_stride, o + i * o_stride, d);
    int64_t lowest = ewci_first_key(a, p->start, first);
    for (int64_t key = lowest; key < last; key += EWCI_KEY_TILE) {
        int64_t key_end = last - key < EWCI_KEY_TILE ? last : key + EWCI_KEY_TILE, width = key_end - key;
        const float *k = j->qkv + key * j->stride + (a->heads + p->kv) * d;
        float *dk = p->dk + (key - p->start) * p->d_stride, *dv = p->dv + (key - p->start) * p->d_stride;
        score_gradients(j, p, first, last, key, key_end, delta, s, dp);
        ewci_sgemm(true, false, width, d, rows, 1.0F, s, width, d_o, o_stride, 1.0F, dv, p->d_stride);
        ewci_sgemm(true, false, width, d, rows, 1.0F, dp, width, q, j->stride, 1.0F, dk, p->d_stride);
        ewci_sgemm(false, false, rows, d, width, 1.0F, dp, width, k, j->stride, key > lowest ? 1.0F : 0.0F, dq,
                   j->stride);
    }
}

static void run_piece(const ewci_attention_job *j, const piece *p, float *scratch)
{
    size_t bytes = (size_t)j->shape->head_dim * sizeof(float);
    for (int64_t i = 0; i < p->end - p->start; i++) {
        memset(p->dk + i * p->d_stride, 0, bytes);
        memset(p->dv + i * p->d_stride, 0, bytes);
    }
    for (int64_t first = p->start; first < p->end; first += EWCI_QUERY_TILE)
        run_tile(j, p, first, p->end - first < EWCI_QUERY_TILE ? p->end : first + EWCI_QUERY_TILE, scratch);
}

static void run_slice(void *argument, int index, int count)
{
    const ewci_attention_job *j = argument;
    const ewci_attention *a = j->shape;
    int64_t d = a->head_dim, number = 0;
    float *scratch = j->thread_scratch + index * ewci_attention_thread_scratch(a);
    for (int64_t start = 0, end; start < a->tokens; start = end) {
        end = ewci_document_end(a, start);
        for (int64_t head = 0; head < a->heads; head++) {
            if (number++ % count != index) continue;
            piece p = {.start = start, .end = end, .head = head, .kv = head / (a->heads / a->kv_heads)};
            if (j->partial != NULL) {
                p.dk = j->partial + (head * a->tokens + start) * 2 * d;
                p.dv = p.dk + d;
                p.d_stride = 2 * d;
            } else {
                p.dk = j->dqkv + start * j->stride + (a->heads + p.kv) * d;
                p.dv = p.dk + a->kv_heads * d;
                p.d_stride = j->stride;
            }
            run_piece(j, &p, scratch);
        }
    }
}

/* dK and dV of a kv head: the sum over its query heads, in their order. */
static void reduce_slice(void *argument, int index, int count)
{
    const ewci_attention_job *j = argument;
    const ewci_attention *a = j->shape;
    int64_t begin, end, d = a->head_dim, group = a->heads / a->kv_heads;
    ewci_slice(a->tokens, 1, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        for (int64_t kv = 0; kv < a->kv_heads; kv++) {
            float *dk = j->dqkv + i * j->stride + (a->heads + kv) * d, *dv = dk + a->kv_heads * d;
            for (int64_t g = 0; g < group; g++) {
                const float *part = j->partial + ((kv * group + g) * a->tokens + i) * 2 * d;
                if (g == 0) {
                    memcpy(dk, part, (size_t)d * sizeof *dk);
                    memcpy(dv, part + d, (size_t)d * sizeof *dv);
                } else {
                    j->device->kernels->add_scaled(dk, part, 1.0F, d);
                    j->device->kernels->add_scaled(dv, part + d, 1.0F, d);
                }
            }
        }
    }
}

ewc_status ewci_cpu_attention_bwd(ewci_device *device, const ewci_attention *shape, void *dqkv, const void *d_o,
                                  const void *o, const float *lse, const void *qkv, void *scratch)
{
    bool shared = shape->heads > shape->kv_heads;
    ewci_attention_job j = {.device = device,
                            .shape = shape,
                            .stride = (shape->heads + 2 * shape->kv_heads) * shape->head_dim,
                            .qkv = qkv,
                            .o = (float *)(uintptr_t)o,
                            .lse = (float *)(uintptr_t)lse,
                            .dqkv = dqkv,
                            .d_o = d_o,
                            .thread_scratch = scratch};
    if (shared) j.partial = j.thread_scratch + device->threads * ewci_attention_thread_scratch(shape);
    ewci_parallel(ewci_team(device, 8 * shape->tokens * shape->heads * shape->head_dim), run_slice, &j);
    if (shared) ewci_parallel(ewci_team(device, shape->tokens * shape->heads * shape->head_dim), reduce_slice, &j);
    return EWC_OK;
}
