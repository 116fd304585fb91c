/* attention_fwd: o_i = sum_j softmax_j(cap(scale q_i k_j)) v_j over max(document start, i - window + 1) <= j <= i.
 *
 * A tile of queries meets the keys that one of them sees in strips, with a running maximum and sum (online softmax): memory does not grow
 * with the square of the length, and keys that no query of a tile sees are never computed. Tiles write to places of their own. */
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
    ewci_attention_gather(j, t, j->qkv, j->stride, m->q);
    ewci_attention_limits(j, t, m);
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

static void run_tile(const ewci_attention_job *j, const ewci_query_tile *t, ewci_attention_thread *m)
{
    const ewci_attention *a = j->shape;
    int64_t d = a->head_dim;
    ewci_key_strip s;
    start(j, t, m);
    for (int64_t key = t->first_key; key < t->end; key = s.end) {
        const float *v = j->qkv + key * j->stride + (a->heads + a->kv_heads + t->kv) * d;
        s = ewci_attention_strip_at(j, t, m, key, t->end);
        if (s.lanes == 0) continue;
        ewci_attention_strip strip = ewci_attention_scores(j, t, m, &s);
        strip.maximum = m->maximum + s.lane;
        strip.sum = m->sum + s.lane;
        strip.factor = m->factor + s.lane;
        j->device->kernels->attention_strip(&strip);
        rescale(j, &s, m);
        ewci_sgemm(true, false, s.rows, d, s.end - key, 1.0F, m->s, s.lanes, v, j->stride, 1.0F, m->out + s.lane * d,
                   d);
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
    return (double)t.lanes * (double)(t.end - t.first_key);
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
    ewci_parallel(device->threads, run_items, &j);
    return EWC_OK;
}
