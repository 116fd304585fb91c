/* attention_scratch, and what the two directions share. */
#include "cpu/attention.h"

#include <string.h>

#include "cpu/gemm_panels.h"
#include "cpu/operations.h"

enum { LEAST_QUERIES = 16, /* no more is halved */ TILES_PER_THREAD = 6 };

static int64_t parts_of(const ewci_attention *shape)
{
    int64_t group = shape->heads / shape->kv_heads;
    return (group + EWCI_TILE_HEADS - 1) / EWCI_TILE_HEADS;
}

static int64_t tile_heads(const ewci_attention *shape)
{
    int64_t group = shape->heads / shape->kv_heads, parts = parts_of(shape);
    return (group + parts - 1) / parts;
}

/* Smaller tiles where there would not be a few for each thread. */
static int64_t tile_queries(const ewci_device *device, const ewci_attention *shape)
{
    int64_t queries = EWCI_TILE_LANES / tile_heads(shape), tiles_of_a_query = shape->kv_heads * parts_of(shape);
    while (queries > LEAST_QUERIES && shape->tokens / queries * tiles_of_a_query < TILES_PER_THREAD * device->threads)
        queries /= 2;
    return queries;
}

/* A tile but the last has more than half of the queries it may have. Fewer tokens may have smaller tiles, and more of them: so not
 * less than what any number of tokens gives whose tiles were halved. (Halved from q, tokens < q (TILES_PER_THREAD threads / tiles of a query + 1),
 * and q / (q / 2 / 2) < 5.) The scratch of more tokens then serves fewer. */
static int64_t most_tiles(const ewci_device *device, const ewci_attention *shape)
{
    int64_t whole = shape->tokens / (tile_queries(device, shape) / 2) + 1;
    int64_t halved = 5 * (TILES_PER_THREAD * device->threads / (shape->kv_heads * parts_of(shape)) + 1) + 1;
    return whole > halved ? whole : halved;
}

static int64_t thread_floats(const ewci_attention *shape)
{
    int64_t wide = (shape->head_dim + EWCI_GEMM_MOST_COLUMNS - 1) / EWCI_GEMM_MOST_COLUMNS * EWCI_GEMM_MOST_COLUMNS;
    return EWCI_TILE_LANES * (5 * shape->head_dim + 2 * EWCI_KEY_STRIP + 7) + EWCI_KEY_STRIP * wide +
           EWCI_GEMM_PACKED_A;
}

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t first_bytes(const ewci_device *device, const ewci_attention *shape)
{
    return aligned((size_t)(most_tiles(device, shape) + 1) * sizeof(int32_t));
}

/* The most items of any division: a tile of each kv head and part; or a block of keys, which is no shorter than half a tile. */
static size_t owner_bytes(const ewci_device *device, const ewci_attention *shape)
{
    return aligned((size_t)(most_tiles(device, shape) * shape->kv_heads * parts_of(shape)) * sizeof(int32_t));
}

static size_t load_bytes(const ewci_device *device)
{
    return aligned((size_t)device->threads * sizeof(double));
}

size_t ewci_cpu_attention_scratch(const ewci_device *device, const ewci_attention *shape)
{
    return (size_t)device->threads * (size_t)thread_floats(shape) * sizeof(float) + first_bytes(device, shape) +
           owner_bytes(device, shape) + load_bytes(device);
}

int64_t ewci_first_key(const ewci_attention *shape, int64_t query)
{
    int64_t first = shape->window > 0 ? query - shape->window + 1 : 0, start = shape->document_start[query];
    return first > start ? first : start;
}

/* Cuts where a document begins if there is such a place in the second half of a tile: nobody looks across it. */
static void cut_tiles(ewci_attention_tiling *tiling, const ewci_attention *shape)
{
    int64_t first = 0;
    while (first < shape->tokens) {
        int64_t end = first + tiling->queries, least = first + tiling->queries / 2;
        tiling->first[tiling->count++] = (int32_t)first;
        if (end >= shape->tokens) break;
        int64_t start = shape->document_start[end];
        first = start > least ? start : end;
    }
    tiling->first[tiling->count] = (int32_t)shape->tokens;
}

ewci_attention_job ewci_attention_prepare(ewci_device *device, const ewci_attention *shape, const void *qkv,
                                          void *scratch)
{
    char *memory = scratch;
    ewci_attention_job job = {.device = device,
                              .shape = shape,
                              .stride = (shape->heads + 2 * shape->kv_heads) * shape->head_dim,
                              .qkv = qkv};
    job.threads = (float *)(void *)memory;
    memory += (size_t)device->threads * (size_t)thread_floats(shape) * sizeof(float);
    job.load = (double *)(void *)memory;
    memory += load_bytes(device);
    job.owner = (int32_t *)memory;
    memory += owner_bytes(device, shape);
    job.tiling = (ewci_attention_tiling){.heads = tile_heads(shape),
                                         .parts = parts_of(shape),
                                         .queries = tile_queries(device, shape),
                                         .first = (int32_t *)memory};
    cut_tiles(&job.tiling, shape);
    return job;
}

ewci_attention_thread ewci_attention_thread_memory(const ewci_attention_job *job, int index)
{
    const int64_t lanes = EWCI_TILE_LANES, rows = lanes * job->shape->head_dim, strip = lanes * EWCI_KEY_STRIP;
    float *base = job->threads + index * thread_floats(job->shape), *small = base + 5 * rows + 2 * strip;
    /* s, dp, q and d_o are also read beyond their ends, where the next one lies */
    return (ewci_attention_thread){.s = base,
                                   .dp = base + strip,
                                   .q = base + 2 * strip,
                                   .d_o = base + 2 * strip + rows,
                                   .out = base + 2 * strip + 2 * rows,
                                   .q_panels = base + 2 * strip + 3 * rows,
                                   .d_o_panels = base + 2 * strip + 4 * rows,
                                   .maximum = small,
                                   .sum = small + lanes,
                                   .factor = small + 2 * lanes,
                                   .lse = small + 3 * lanes,
                                   .delta = small + 4 * lanes,
                                   .lowest = (int32_t *)(void *)(small + 5 * lanes),
                                   .highest = (int32_t *)(void *)(small + 6 * lanes),
                                   .panel = small + 7 * lanes,
                                   .strip = small + 7 * lanes + EWCI_GEMM_PACKED_A};
}

ewci_query_tile ewci_attention_tile(const ewci_attention_job *job, int64_t set, int64_t kv, int64_t part)
{
    const ewci_attention_tiling *tiling = &job->tiling;
    int64_t group = job->shape->heads / job->shape->kv_heads, before = part * tiling->heads;
    ewci_query_tile t = {.first = tiling->first[set],
                         .end = tiling->first[set + 1],
                         .kv = kv,
                         .head = kv * group + before,
                         .heads = group - before < tiling->heads ? group - before : tiling->heads};
    t.first_key = ewci_first_key(job->shape, t.first);
    t.lanes = t.heads * (t.end - t.first);
    t.padded = (t.lanes + EWCI_ATTENTION_VECTOR - 1) / EWCI_ATTENTION_VECTOR * EWCI_ATTENTION_VECTOR;
    return t;
}

void ewci_attention_gather(const ewci_attention_job *job, const ewci_query_tile *t, const float *x, int64_t stride,
                           float *rows, float *panels)
{
    int64_t d = job->shape->head_dim, width = t->heads * d;
    for (int64_t i = t->first; i < t->end; i++)
        memcpy(rows + (i - t->first) * width, x + i * stride + t->head * d, (size_t)width * sizeof *rows);
    memset(rows + t->lanes * d, 0, (size_t)((t->padded - t->lanes) * d) * sizeof *rows);
    ewci_gemm_pack_b(job->device->kernels->gemm, panels, rows, d, true, t->padded, d);
}

void ewci_attention_limits(const ewci_attention_job *job, const ewci_query_tile *t, ewci_attention_thread *memory)
{
    for (int64_t l = 0; l < t->padded; l++) {
        int64_t query = l < t->lanes ? t->first + l / t->heads : t->end - 1;
        memory->lowest[l] = (int32_t)(ewci_first_key(job->shape, query) - t->first_key);
        memory->highest[l] = (int32_t)(query - t->first_key);
    }
}

/* The queries after `query` up to the last that sees a key before `end`. */
static int64_t last_to_see(const ewci_query_tile *t, const ewci_attention_thread *memory, int64_t query, int64_t end)
{
    int64_t last = t->end;
    while (last > query && t->first_key + memory->lowest[(last - 1 - t->first) * t->heads] >= end) last--;
    return last;
}

/* The lanes of a strip that see one of its keys, group by group: queries at or after the key, up to the last that sees it. */
static void set_groups(const ewci_query_tile *t, const ewci_attention_thread *memory, ewci_key_strip *s)
{
    const int64_t vector = EWCI_ATTENTION_VECTOR;
    for (int64_t g = 0, key = s->key; key < s->end; g++, key += EWCI_KEY_GROUP) {
        int64_t end = ewci_smaller(key + EWCI_KEY_GROUP, s->end);
        int64_t query = key > t->first ? key : t->first, query_end = last_to_see(t, memory, query, end);
        int64_t from = ((query - t->first) * t->heads - s->lane) / vector * vector;
        int64_t to = ((query_end - t->first) * t->heads - s->lane + vector - 1) / vector * vector;
        s->from[g] = (int32_t)from;
        s->to[g] = (int32_t)(query_end > query ? to : from);
    }
}

ewci_key_strip ewci_attention_strip_at(const ewci_query_tile *t, const ewci_attention_thread *memory, int64_t key,
                                       int64_t end)
{
    const int64_t vector = EWCI_ATTENTION_VECTOR, query = key > t->first ? key : t->first;
    end = ewci_smaller(end, key + EWCI_KEY_STRIP);
    int64_t query_end = last_to_see(t, memory, query, end);
    ewci_key_strip s = {.key = key, .end = end};
    if (query_end == query) return s;
    s.lane = (query - t->first) * t->heads / vector * vector;
    s.rows = (query_end - t->first) * t->heads - s.lane;
    s.lanes = (s.rows + vector - 1) / vector * vector;
    set_groups(t, memory, &s);
    return s;
}

void ewci_attention_turned(const ewci_attention_job *job, const ewci_attention_thread *memory,
                           const ewci_key_strip *strip, float *product, const float *keys, const float *panels)
{
    const ewci_gemm_kernels *kernels = job->device->kernels->gemm;
    const int64_t d = job->shape->head_dim, count = strip->end - strip->key;
    for (int64_t g = 0, key = 0; key < count; g++, key += EWCI_KEY_GROUP) {
        const ewci_gemm_panels p = {.m = ewci_smaller(count - key, EWCI_KEY_GROUP),
                                    .n = strip->to[g] - strip->from[g],
                                    .k = d,
                                    .a = keys + key * job->stride,
                                    .lda = job->stride,
                                    .form = EWCI_A_ROWS,
                                    .b = panels + (strip->lane + strip->from[g]) * d,
                                    .ldb = kernels->columns,
                                    .next_b = d * kernels->columns,
                                    .c = product + key * strip->lanes + strip->from[g],
                                    .ldc = strip->lanes};
        ewci_gemm_panels_run(kernels, &p, memory->panel);
    }
}

/* The keys [*first, *end) of the groups that one of the lanes [lane, lane + lanes) sees. */
static void keys_of_lanes(const ewci_key_strip *s, int64_t lane, int64_t lanes, int64_t *first, int64_t *end)
{
    const int64_t count = s->end - s->key;
    *first = *end = 0;
    for (int64_t g = 0; g * EWCI_KEY_GROUP < count; g++) {
        if (s->to[g] <= lane || s->from[g] >= lane + lanes) continue;
        if (*end == 0) *first = g * EWCI_KEY_GROUP;
        *end = ewci_smaller((g + 1) * EWCI_KEY_GROUP, count);
    }
}

void ewci_attention_add_rows(const ewci_attention_job *job, const ewci_attention_thread *memory,
                             const ewci_key_strip *strip, const float *weights, const float *keys)
{
    const ewci_gemm_kernels *kernels = job->device->kernels->gemm;
    const int64_t d = job->shape->head_dim, count = strip->end - strip->key;
    ewci_gemm_pack_b(kernels, memory->strip, keys, job->stride, false, d, count);
    for (int64_t lane = 0; lane < strip->rows; lane += kernels->rows) {
        int64_t first, end, lanes = ewci_smaller(strip->rows - lane, kernels->rows);
        keys_of_lanes(strip, lane, lanes, &first, &end);
        const ewci_gemm_panels p = {.m = lanes,
                                    .n = d,
                                    .k = end - first,
                                    .a = weights + first * strip->lanes + lane,
                                    .lda = strip->lanes,
                                    .form = EWCI_A_IN_PLACE,
                                    .b = memory->strip + first * kernels->columns,
                                    .ldb = kernels->columns,
                                    .next_b = count * kernels->columns,
                                    .c = memory->out + (strip->lane + lane) * d,
                                    .ldc = d,
                                    .accumulate = true};
        if (end > first) ewci_gemm_panels_run(kernels, &p, memory->panel);
    }
}

ewci_attention_strip ewci_attention_scores(const ewci_attention_job *job, const ewci_query_tile *t,
                                           const ewci_attention_thread *memory, const ewci_key_strip *strip)
{
    const ewci_attention *a = job->shape;
    const float *k = job->qkv + strip->key * job->stride + (a->heads + t->kv) * a->head_dim;
    ewci_attention_turned(job, memory, strip, memory->s, k, memory->q_panels);
    return (ewci_attention_strip){.keys = strip->end - strip->key,
                                  .lanes = strip->lanes,
                                  .from = strip->from,
                                  .to = strip->to,
                                  .first = strip->key - t->first_key,
                                  .seen_first = memory->lowest[strip->lane + strip->lanes - 1],
                                  .seen_last = memory->highest[strip->lane],
                                  .lowest = memory->lowest + strip->lane,
                                  .highest = memory->highest + strip->lane,
                                  .softcap = a->softcap,
                                  .scale = a->scale,
                                  .s = memory->s};
}

double ewci_attention_assign(ewci_attention_job *job, int64_t items,
                             double (*cost)(const ewci_attention_job *job, int64_t item))
{
    double largest = 0;
    for (int i = 0; i < job->device->threads; i++) job->load[i] = 0;
    for (int64_t item = items - 1; item >= 0; item--) {
        int least = 0;
        for (int i = 1; i < job->device->threads; i++)
            if (job->load[i] < job->load[least]) least = i;
        job->owner[item] = least;
        job->load[least] += cost(job, item);
        if (job->load[least] > largest) largest = job->load[least];
    }
    return largest;
}
