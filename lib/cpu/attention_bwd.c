/* attention_bwd: the scores are computed again, strip by strip; with P and the row's delta = sum_d dO O,
 *
 *   dV = P^T dO,  dP = dO V^T,  dS = P (dP - delta) (1 - (c/cap)^2) scale,  dQ = dS K,  dK = dS^T Q.
 *
 * Two divisions of the work, both without atomics and without partial sums, so that each sum has one order:
 * - together: a thread does all queries of some documents and of all query heads that share a kv head, and so owns dQ, dK and dV there: five
 *   products.
 * - apart: a thread owns dQ of some tiles of queries, then dK and dV of some blocks of keys: seven products, since scores and dP are
 *   computed twice, but work for many threads in a single long sequence.
 * Which one is quicker follows from the sizes alone. */
#include <string.h>

#include "cpu/attention.h"
#include "cpu/gemm_panels.h"
#include "cpu/operations.h"

enum { KEY_BLOCK = 128 }; /* not less than half the queries of a tile: there is room for so many owners */

#define PRODUCTS_TOGETHER 5.0
#define PRODUCTS_APART 7.0

typedef struct wanted {
    bool queries, keys; /* dQ; dK and dV */
    int64_t first_key, end_key;
} wanted;

static void load_tile(const ewci_attention_job *j, const ewci_query_tile *t, ewci_attention_thread *m)
{
    const ewci_attention *a = j->shape;
    int64_t d = a->head_dim;
    ewci_attention_gather(j, t, j->qkv, j->stride, m->q, m->q_panels);
    ewci_attention_gather(j, t, j->d_o, a->heads * d, m->d_o, m->d_o_panels);
    ewci_attention_limits(j, t, m);
    for (int64_t l = 0; l < t->padded; l++) m->lse[l] = m->delta[l] = 0;
    for (int64_t l = 0; l < t->lanes; l++) {
        int64_t at = (t->first + l / t->heads) * a->heads + t->head + l % t->heads;
        m->lse[l] = j->lse[at];
        m->delta[l] = j->device->kernels->dot(m->d_o + l * d, j->o + at * d, d);
    }
    memset(m->out, 0, (size_t)(t->lanes * d) * sizeof *m->out);
}

/* Probabilities into m->s, gradients of the products of queries and keys into m->dp. */
static void score_gradients(const ewci_attention_job *j, const ewci_query_tile *t, const ewci_attention_thread *m,
                            const ewci_key_strip *s)
{
    const ewci_attention *a = j->shape;
    const float *v = j->qkv + s->key * j->stride + (a->heads + a->kv_heads + t->kv) * a->head_dim;
    ewci_attention_strip strip = ewci_attention_scores(j, t, m, s);
    ewci_attention_turned(j, m, s, m->dp, v, m->d_o_panels);
    strip.dp = m->dp;
    strip.lse = m->lse + s->lane;
    strip.delta = m->delta + s->lane;
    j->device->kernels->attention_strip_bwd(&strip);
}

/* keys[strip, head_dim] += weights[strip, lanes] rows, of the tile's gathered rows. */
static void add_to_keys(const ewci_attention_job *j, const ewci_attention_thread *m, const ewci_key_strip *s,
                        float *keys, const float *weights, const float *rows)
{
    const ewci_gemm_kernels *kernels = j->device->kernels->gemm;
    const int64_t d = j->shape->head_dim, count = s->end - s->key;
    for (int64_t g = 0, key = 0; key < count; g++, key += EWCI_KEY_GROUP) {
        int64_t from = s->from[g], to = ewci_smaller(s->to[g], s->rows);
        const ewci_gemm_panels p = {.m = ewci_smaller(count - key, EWCI_KEY_GROUP),
                                    .n = d,
                                    .k = to - from,
                                    .a = weights + key * s->lanes + from,
                                    .lda = s->lanes,
                                    .form = EWCI_A_ROWS,
                                    .b = rows + (s->lane + from) * d,
                                    .ldb = d,
                                    .next_b = kernels->columns,
                                    .c = keys + key * j->stride,
                                    .ldc = j->stride,
                                    .accumulate = true};
        if (to > from) ewci_gemm_panels_run(kernels, &p, m->panel);
    }
}

static void scatter_queries(const ewci_attention_job *j, const ewci_query_tile *t, const ewci_attention_thread *m)
{
    int64_t d = j->shape->head_dim, width = t->heads * d;
    for (int64_t i = t->first; i < t->end; i++)
        memcpy(j->dqkv + i * j->stride + t->head * d, m->out + (i - t->first) * width, (size_t)width * sizeof(float));
}

static void run_tile(const ewci_attention_job *j, const ewci_query_tile *t, const wanted *w, ewci_attention_thread *m)
{
    const ewci_attention *a = j->shape;
    int64_t d = a->head_dim, first = t->first_key > w->first_key ? t->first_key : w->first_key;
    int64_t end = t->end < w->end_key ? t->end : w->end_key;
    ewci_key_strip s;
    if (first >= end) return;
    load_tile(j, t, m);
    for (int64_t key = first; key < end; key = s.end) {
        int64_t offset = key * j->stride + (a->heads + t->kv) * d; /* of the keys; values lie kv_heads * d further on */
        s = ewci_attention_strip_at(t, m, key, end);
        if (s.lanes == 0) continue;
        score_gradients(j, t, m, &s);
        if (w->keys) {
            add_to_keys(j, m, &s, j->dqkv + offset + a->kv_heads * d, m->s, m->d_o);
            add_to_keys(j, m, &s, j->dqkv + offset, m->dp, m->q);
        }
        if (w->queries) ewci_attention_add_rows(j, m, &s, m->dp, j->qkv + offset);
    }
    if (w->queries) scatter_queries(j, t, m);
}

static void clear_keys(const ewci_attention_job *j, int64_t kv, int64_t first, int64_t end)
{
    const ewci_attention *a = j->shape;
    for (int64_t i = first; i < end; i++) {
        float *dk = j->dqkv + i * j->stride + (a->heads + kv) * a->head_dim;
        memset(dk, 0, (size_t)a->head_dim * sizeof *dk);
        memset(dk + a->kv_heads * a->head_dim, 0, (size_t)a->head_dim * sizeof *dk);
    }
}

/* Tiles [set, set_end) of a kv head's query heads. */
static void run_tiles(const ewci_attention_job *j, int64_t kv, int64_t set, int64_t set_end, const wanted *w,
                      ewci_attention_thread *m)
{
    for (int64_t part = 0; part < j->tiling.parts; part++) {
        for (int64_t s = set; s < set_end; s++) {
            ewci_query_tile t = ewci_attention_tile(j, s, kv, part);
            run_tile(j, &t, w, m);
        }
    }
}

/* ---- Together ---------------------------------------------------------------------------------------------------------- */

/* A set of queries and a kv head; the work of all sets up to one that begins with a document is done with the first of them. */
static bool begins_span(const ewci_attention_job *j, int64_t set)
{
    int32_t first = j->tiling.first[set];
    return j->shape->document_start[first] == first;
}

static int64_t span_end(const ewci_attention_job *j, int64_t set)
{
    do set++;
    while (set < j->tiling.count && !begins_span(j, set));
    return set;
}

static double span_cost(const ewci_attention_job *j, int64_t item)
{
    int64_t set = item / j->shape->kv_heads;
    double cost = 0;
    if (!begins_span(j, set)) return 0;
    for (int64_t end = span_end(j, set); set < end; set++) {
        ewci_query_tile t = ewci_attention_tile(j, set, 0, 0);
        cost += (double)(t.end - t.first) * (double)(t.end - t.first_key);
    }
    return cost;
}

static void run_together(void *argument, int index, int count)
{
    const ewci_attention_job *j = argument;
    ewci_attention_thread memory = ewci_attention_thread_memory(j, index);
    const wanted all = {true, true, 0, j->shape->tokens};
    (void)count;
    for (int64_t item = 0; item < j->tiling.count * j->shape->kv_heads; item++) {
        int64_t set = item / j->shape->kv_heads, kv = item % j->shape->kv_heads;
        if (j->owner[item] != index || !begins_span(j, set)) continue;
        int64_t end = span_end(j, set);
        clear_keys(j, kv, j->tiling.first[set], j->tiling.first[end]);
        run_tiles(j, kv, set, end, &all, &memory);
    }
}

/* ---- Apart ------------------------------------------------------------------------------------------------------------- */

static double set_cost(const ewci_attention_job *j, int64_t item)
{
    ewci_query_tile t = ewci_attention_tile(j, item / j->shape->kv_heads, 0, 0);
    return (double)(t.end - t.first) * (double)(t.end - t.first_key);
}

static void run_queries(void *argument, int index, int count)
{
    const ewci_attention_job *j = argument;
    ewci_attention_thread memory = ewci_attention_thread_memory(j, index);
    const wanted queries = {true, false, 0, j->shape->tokens};
    (void)count;
    for (int64_t item = 0; item < j->tiling.count * j->shape->kv_heads; item++) {
        int64_t set = item / j->shape->kv_heads;
        if (j->owner[item] == index) run_tiles(j, item % j->shape->kv_heads, set, set + 1, &queries, &memory);
    }
}

static int64_t block_count(const ewci_attention_job *j)
{
    return (j->shape->tokens + KEY_BLOCK - 1) / KEY_BLOCK;
}

/* The block of keys of an item, and the sets of queries between the first and the last that see a key of it. */
static wanted block_keys(const ewci_attention_job *j, int64_t item, int64_t *set, int64_t *set_end)
{
    int64_t first = item / j->shape->kv_heads * KEY_BLOCK, end = first + KEY_BLOCK;
    if (end > j->shape->tokens) end = j->shape->tokens;
    *set = 0;
    while (j->tiling.first[*set + 1] <= first) ++*set;
    *set_end = *set + 1;
    while (*set_end < j->tiling.count && ewci_first_key(j->shape, j->tiling.first[*set_end]) < end) ++*set_end;
    return (wanted){false, true, first, end};
}

static double block_cost(const ewci_attention_job *j, int64_t item)
{
    int64_t set, set_end;
    wanted w = block_keys(j, item, &set, &set_end);
    return (double)(w.end_key - w.first_key) * (double)(j->tiling.first[set_end] - j->tiling.first[set]);
}

static void run_keys(void *argument, int index, int count)
{
    const ewci_attention_job *j = argument;
    ewci_attention_thread memory = ewci_attention_thread_memory(j, index);
    int64_t set, set_end;
    (void)count;
    for (int64_t item = 0; item < block_count(j) * j->shape->kv_heads; item++) {
        if (j->owner[item] != index) continue;
        wanted w = block_keys(j, item, &set, &set_end);
        clear_keys(j, item % j->shape->kv_heads, w.first_key, w.end_key);
        run_tiles(j, item % j->shape->kv_heads, set, set_end, &w, &memory);
    }
}

ewc_status ewci_cpu_attention_bwd(ewci_device *device, const ewci_attention *shape, void *dqkv, const void *d_o,
                                  const void *o, const float *lse, const void *qkv, void *scratch)
{
    ewci_attention_job j = ewci_attention_prepare(device, shape, qkv, scratch);
    int64_t sets = j.tiling.count * shape->kv_heads;
    j.o = (float *)(uintptr_t)o;
    j.lse = (float *)(uintptr_t)lse;
    j.dqkv = dqkv;
    j.d_o = d_o;
    double apart = PRODUCTS_APART * ewci_attention_assign(&j, sets, set_cost);
    double together = PRODUCTS_TOGETHER * ewci_attention_assign(&j, sets, span_cost);
    if (together <= apart) {
        ewci_parallel(device->pool, device->threads, run_together, &j);
        return EWC_OK;
    }
    ewci_attention_assign(&j, sets, set_cost);
    ewci_parallel(device->pool, device->threads, run_queries, &j);
    ewci_attention_assign(&j, block_count(&j) * shape->kv_heads, block_cost);
    ewci_parallel(device->pool, device->threads, run_keys, &j);
    return EWC_OK;
}
