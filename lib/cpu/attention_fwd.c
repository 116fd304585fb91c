/* attention_fwd: o_i = sum_j softmax_j(cap(scale q_i k_j)) v_j over max(document start, i - window + 1) <= j <= i, and over the keys
 * of a prefix that the token's document continues.
 *
 * A tile of queries meets the keys that one of them sees in strips, with a running maximum and sum (online softmax): memory does not grow
 * with the square of the length, and keys that no query of a tile sees are never computed. Prefixes come first, each for all queries of
 * the tile that continue it. Tiles write to places of their own. */
#include <math.h>
#include <string.h>

#include "cpu/attention.h"
#include "cpu/operations.h"

/* Multiplies what was accumulated by each lane's factor; rows whose maximum stayed are left alone. */
static void rescale(const ewci_attention_job *j, const ewci_key_strip *s, const ewci_attention_thread *m)
{
    int64_t d = j->shape->head_dim;
    for (int64_t l = s->lane; l < s->lane + s->rows; l++)
        if (m->factor[l] != 1.0F) j->device->kernels->scale_in_place(m->out + l * d, m->factor[l], d);
}

static void start(const ewci_attention_job *j, const ewci_query_tile *t, ewci_attention_thread *m)
{
    ewci_attention_gather(j, t, j->qkv, j->stride, m->q, m->q_panels);
    for (int64_t l = 0; l < t->padded; l++) {
        m->maximum[l] = EWCI_ATTENTION_NOTHING;
        m->sum[l] = 0;
    }
    memset(m->out, 0, (size_t)(t->lanes * j->shape->head_dim) * sizeof *m->out);
}

static void finish(const ewci_attention_job *j, const ewci_query_tile *t, const ewci_attention_thread *m)
{
    int64_t d = j->shape->head_dim, heads = j->shape->heads;
    for (int64_t l = 0; l < t->lanes; l++) {
        int64_t at = (t->first + l / t->heads) * heads + t->head + l % t->heads;
        j->device->kernels->scale_row(j->o + at * d, m->out + l * d, 1.0F / m->sum[l], d);
        j->lse[at] = m->maximum[l] + logf(m->sum[l]);
    }
}

/* The strip's scores, and what they add to the outputs. */
static void accumulate(const ewci_attention_job *j, const ewci_query_tile *t, const ewci_attention_thread *m,
                       const ewci_key_strip *s, ewci_attention_strip strip)
{
    const ewci_attention *a = j->shape;
    const float *v = j->qkv + s->key * j->stride + (a->heads + a->kv_heads + t->kv) * a->head_dim;
    strip.maximum = m->maximum + s->lane;
    strip.sum = m->sum + s->lane;
    strip.factor = m->factor + s->lane;
    j->device->kernels->attention_strip(&strip);
    rescale(j, s, m);
    ewci_attention_add_rows(j, m, s, m->s, v);
}

/* ---- Prefixes ---------------------------------------------------------------------------------------------------------- */

static bool has_prefix(const ewci_attention *a, int64_t query)
{
    return a->prefix_start != NULL && a->prefix_start[query] < a->prefix_end[query];
}

/* First key of its prefix that the query sees; with a short window it may lie beyond the prefix. */
static int64_t first_prefix_key(const ewci_attention *a, int64_t query)
{
    int64_t start = a->prefix_start[query], next = a->prefix_end[query] + query - a->document_start[query];
    return a->window > 0 && next - a->window + 1 > start ? next - a->window + 1 : start;
}

/* The end of the queries from `first` on, no further than `end`, that have the same prefix. */
static int64_t same_prefix_end(const ewci_attention *a, int64_t first, int64_t end)
{
    int64_t i = first + 1;
    while (i < end && a->prefix_start[i] == a->prefix_start[first] && a->prefix_end[i] == a->prefix_end[first]) i++;
    return i;
}

/* Sets lowest and highest, counted from the prefix's first key; the queries outside of [first, end) see nothing. Returns the lowest of all.
 * The lowest key grows within a document and falls back where the next one begins. */
static int64_t prefix_limits(const ewci_attention_job *j, const ewci_query_tile *t, int64_t first, int64_t end,
                             ewci_attention_thread *m)
{
    const ewci_attention *a = j->shape;
    int64_t start = a->prefix_start[first], least = a->prefix_end[first] - start;
    for (int64_t l = 0; l < t->padded; l++) {
        int64_t query = l < t->lanes ? t->first + l / t->heads : t->end - 1;
        bool inside = query >= first && query < end;
        m->lowest[l] = inside ? (int32_t)(first_prefix_key(a, query) - start) : INT32_MAX;
        m->highest[l] = inside ? a->prefix_end[first] - 1 - (int32_t)start : -1;
        if (m->lowest[l] < least) least = m->lowest[l];
    }
    return least;
}

/* Keys [key, key_end) at most, and the lanes of the queries [first, end) without those at the end that see none of them. */
static ewci_key_strip prefix_strip(const ewci_attention_job *j, const ewci_query_tile *t, int64_t first, int64_t end,
                                   int64_t key, int64_t key_end)
{
    ewci_key_strip s = {.key = key, .end = key + EWCI_KEY_STRIP};
    if (s.end > key_end) s.end = key_end;
    while (first_prefix_key(j->shape, end - 1) >= s.end) end--;
    s.lane = (first - t->first) * t->heads / EWCI_ATTENTION_VECTOR * EWCI_ATTENTION_VECTOR;
    s.rows = (end - t->first) * t->heads - s.lane;
    s.lanes = (s.rows + EWCI_ATTENTION_VECTOR - 1) / EWCI_ATTENTION_VECTOR * EWCI_ATTENTION_VECTOR;
    for (int64_t g = 0; g < EWCI_KEY_GROUPS; g++) s.to[g] = (int32_t)s.lanes;
    return s;
}

/* Queries [first, end) of the tile, which have one prefix, meet its keys. */
static void run_prefix(const ewci_attention_job *j, const ewci_query_tile *t, int64_t first, int64_t end,
                       ewci_attention_thread *m)
{
    int64_t start = j->shape->prefix_start[first], key_end = j->shape->prefix_end[first];
    ewci_query_tile counted = *t;
    ewci_key_strip s;
    counted.first_key = start;
    for (int64_t key = start + prefix_limits(j, t, first, end, m); key < key_end; key = s.end) {
        s = prefix_strip(j, t, first, end, key, key_end);
        ewci_attention_strip strip = ewci_attention_scores(j, &counted, m, &s);
        for (int64_t l = 0; l < s.lanes; l++)
            if (strip.lowest[l] > strip.seen_first) strip.seen_first = strip.lowest[l];
        accumulate(j, t, m, &s, strip);
    }
}

static void run_prefixes(const ewci_attention_job *j, const ewci_query_tile *t, ewci_attention_thread *m)
{
    if (j->shape->prefix_start == NULL) return;
    for (int64_t first = t->first, end; first < t->end; first = end) {
        end = same_prefix_end(j->shape, first, t->end);
        if (has_prefix(j->shape, first)) run_prefix(j, t, first, end, m);
    }
}

/* ---- Tiles -------------------------------------------------------------------------------------------------------------- */

static void run_tile(const ewci_attention_job *j, const ewci_query_tile *t, ewci_attention_thread *m)
{
    ewci_key_strip s;
    start(j, t, m);
    run_prefixes(j, t, m);
    ewci_attention_limits(j, t, m);
    for (int64_t key = t->first_key; key < t->end; key = s.end) {
        s = ewci_attention_strip_at(t, m, key, t->end);
        if (s.lanes > 0) accumulate(j, t, m, &s, ewci_attention_scores(j, t, m, &s));
    }
    finish(j, t, m);
}

static ewci_query_tile item_tile(const ewci_attention_job *j, int64_t item)
{
    int64_t parts = j->tiling.parts, kv_heads = j->shape->kv_heads;
    return ewci_attention_tile(j, item / parts / kv_heads, item / parts % kv_heads, item % parts);
}

static double item_cost(const ewci_attention_job *j, int64_t item)
{
    ewci_query_tile t = item_tile(j, item);
    double cost = (double)t.lanes * (double)(t.end - t.first_key);
    for (int64_t i = t.first; i < t.end && j->shape->prefix_start != NULL; i++)
        if (has_prefix(j->shape, i) && first_prefix_key(j->shape, i) < j->shape->prefix_end[i])
            cost += (double)t.heads * (double)(j->shape->prefix_end[i] - first_prefix_key(j->shape, i));
    return cost;
}

static int64_t item_count(const ewci_attention_job *j)
{
    return j->tiling.count * j->shape->kv_heads * j->tiling.parts;
}

static void run_items(void *argument, int index, int count)
{
    const ewci_attention_job *j = argument;
    ewci_attention_thread memory = ewci_attention_thread_memory(j, index);
    (void)count;
    for (int64_t item = 0; item < item_count(j); item++) {
        if (j->owner[item] != index) continue;
        ewci_query_tile t = item_tile(j, item);
        run_tile(j, &t, &memory);
    }
}

ewc_status ewci_cpu_attention_fwd(ewci_device *device, const ewci_attention *shape, void *o, float *lse,
                                  const void *qkv, void *scratch)
{
    ewci_attention_job j = ewci_attention_prepare(device, shape, qkv, scratch);
    j.o = o;
    j.lse = lse;
    ewci_attention_assign(&j, item_count(&j), item_cost);
    ewci_parallel(device->pool, device->threads, run_items, &j);
    return EWC_OK;
}
