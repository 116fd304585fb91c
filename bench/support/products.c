/* See products.h. */
#include "support/products.h"

#include <stdbool.h>

#include "core/threads.h"
#include "cpu/device.h"
#include "model/workspace.h"

enum { FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT };

void products_list(bench_products *p, int64_t tokens, ewc_recompute recompute)
{
    const ewc_model_config *c = &p->model->config;
    int64_t hidden = c->hidden_size, intermediate = c->intermediate_size, query = c->heads * c->head_dim;
    int64_t qkv = query + 2 * c->kv_heads * c->head_dim;
    int64_t chunk = ewci_logits_chunk(c, tokens), chunks = (tokens + chunk - 1) / chunk;
    int64_t layer = c->layers * (recompute >= EWC_RECOMPUTE_LAYER ? 2 : 1);
    int64_t gate_up = c->layers * (recompute >= EWC_RECOMPUTE_MLP ? 2 : 1);
    const bench_product all[PRODUCT_MATRICES] = {
        {EWC_PHASE_GEMM_QKV, tokens, qkv, hidden, qkv, {layer, c->layers, c->layers}, {{{0}}}},
        {EWC_PHASE_GEMM_ATTENTION_OUT, tokens, hidden, query, hidden, {layer, c->layers, c->layers}, {{{0}}}},
        {EWC_PHASE_GEMM_MLP,
         tokens,
         2 * intermediate,
         hidden,
         2 * intermediate,
         {gate_up, c->layers, c->layers},
         {{{0}}}},
        {EWC_PHASE_GEMM_MLP, tokens, hidden, intermediate, hidden, {layer, c->layers, c->layers}, {{{0}}}},
        {EWC_PHASE_GEMM_HEAD,
         chunk,
         c->vocab_size,
         hidden,
         p->model->workspace->logits_stride,
         {chunks, chunks, chunks},
         {{{0}}}},
    };
    for (int i = 0; i < PRODUCT_MATRICES; i++) p->all[i] = all[i];
}

int64_t products_elements(const bench_products *p)
{
    int64_t most = 0;
    for (int i = 0; i < PRODUCT_MATRICES; i++) {
        const bench_product *b = &p->all[i];
        int64_t elements = b->rows * (b->stride > b->in ? b->stride : b->in);
        if (elements > most) most = elements;
    }
    return most;
}

static int64_t offset_of(const bench_products *p, int matrix, int64_t layer)
{
    const ewci_layout *layout = &p->model->layout;
    const ewci_layer_offsets *o = &layout->layers[layer];
    const int64_t offsets[PRODUCT_MATRICES] = {o->qkv, o->attention_out, o->gate_up, o->down, layout->embedding};
    return offsets[matrix];
}

/* C[m,n] = op(A) op(B) (+ C); ld* are row strides in elements. */
typedef struct call {
    bool transpose_a, transpose_b, accumulate;
    int64_t m, n, k, lda, ldb, ldc;
    const float *a, *b;
    float *c;
    int row_slices, column_slices;
} call;

static call make_call(const bench_products *p, const bench_product *b, int kind, int64_t offset)
{
    const float *weights = p->model->weights + offset;
    call c = {.row_slices = 1,
              .column_slices = 1,
              .m = b->rows,
              .n = b->in,
              .k = b->out,
              .a = p->other,
              .lda = b->stride,
              .b = weights,
              .ldb = b->in,
              .c = p->out,
              .ldc = b->in};
    if (kind == FORWARD) {
        c.transpose_b = true;
        c.n = b->out, c.k = b->in;
        c.a = p->input, c.lda = b->in;
        c.ldc = b->stride;
    }
    if (kind == WEIGHT_GRADIENT) {
        c.transpose_a = c.accumulate = true;
        c.m = b->out, c.k = b->rows;
        c.b = p->input;
        c.c = p->gradient + offset;
    }
    return c;
}

static void run_slice(void *argument, int index, int count)
{
    const call *c = argument;
    int64_t row, row_end, column, column_end;
    (void)count;
    ewci_slice(c->m, 16, index / c->column_slices, c->row_slices, &row, &row_end);
    ewci_slice(c->n, 16, index % c->column_slices, c->column_slices, &column, &column_end);
    ewci_sgemm(c->transpose_a, c->transpose_b, row_end - row, column_end - column, c->k, 1.0F,
               c->a + (c->transpose_a ? row : row * c->lda), c->lda, c->b + (c->transpose_b ? column * c->ldb : column),
               c->ldb, c->accumulate ? 1.0F : 0.0F, c->c + row * c->ldc + column, c->ldc);
}

/* OpenBLAS on the grid of slices that are nearest to square. */
static void run_openblas(call *c, ewc_context *context)
{
    int threads = context->threads;
    double best = 0;
    for (int rows = 1; rows <= threads; rows++) {
        if (threads % rows != 0) continue;
        double edges = (double)c->m / rows + (double)c->n * rows / threads;
        if (best > 0 && edges >= best) continue;
        best = edges;
        c->row_slices = rows;
        c->column_slices = threads / rows;
    }
    ewci_parallel(context->device->pool, threads, run_slice, c);
}

static ewc_status run_library(const call *c, ewc_context *ctx)
{
    return ctx->ops->gemm(ctx->device, c->transpose_a, c->transpose_b, c->m, c->n, c->k, c->a, c->lda, c->b, c->ldb,
                          c->c, c->ldc, c->accumulate);
}

void products_run(bench_products *p, ewc_context *context, int64_t repetition)
{
    for (int i = 0; i < PRODUCT_MATRICES; i++) {
        int64_t offset = offset_of(p, i, repetition % p->model->config.layers);
        for (int kind = 0; kind < PRODUCT_KINDS; kind++) {
            call c = make_call(p, &p->all[i], kind, offset);
            double start = bench_now();
            bench_check(context, run_library(&c, context));
            double middle = bench_now();
            run_openblas(&c, context);
            p->all[i].seconds[BY_LIBRARY][kind][repetition] = middle - start;
            p->all[i].seconds[BY_OPENBLAS][kind][repetition] = bench_now() - middle;
        }
    }
}

double products_operations(const bench_products *p, int phase)
{
    double sum = 0;
    for (int i = 0; i < PRODUCT_MATRICES; i++) {
        const bench_product *b = &p->all[i];
        if (phase != EWC_PHASE_COUNT && phase != (int)b->phase) continue;
        for (int kind = 0; kind < PRODUCT_KINDS; kind++)
            sum += 2.0 * (double)b->times[kind] * (double)b->rows * (double)b->out * (double)b->in;
    }
    return sum;
}

double products_rate(const bench_products *p, int way, int phase, int64_t repetition)
{
    double seconds = 0;
    for (int i = 0; i < PRODUCT_MATRICES; i++) {
        const bench_product *b = &p->all[i];
        if (phase != EWC_PHASE_COUNT && phase != (int)b->phase) continue;
        for (int kind = 0; kind < PRODUCT_KINDS; kind++)
            seconds += (double)b->times[kind] * b->seconds[way][kind][repetition];
    }
    return products_operations(p, phase) / seconds;
}
