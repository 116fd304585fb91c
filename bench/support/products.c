/* See products.h. */
#include "support/products.h"

#include <stdbool.h>

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
        {EWC_PHASE_GEMM_QKV, tokens, qkv, hidden, {layer, c->layers, c->layers}, {{0}}},
        {EWC_PHASE_GEMM_ATTENTION_OUT, tokens, hidden, query, {layer, c->layers, c->layers}, {{0}}},
        {EWC_PHASE_GEMM_MLP, tokens, 2 * intermediate, hidden, {gate_up, c->layers, c->layers}, {{0}}},
        {EWC_PHASE_GEMM_MLP, tokens, hidden, intermediate, {layer, c->layers, c->layers}, {{0}}},
        {EWC_PHASE_GEMM_HEAD, chunk, c->vocab_size, hidden, {chunks, chunks, chunks}, {{0}}},
    };
    for (int i = 0; i < PRODUCT_MATRICES; i++) p->all[i] = all[i];
}

int64_t products_elements(const bench_products *p)
{
    int64_t most = 0;
    for (int i = 0; i < PRODUCT_MATRICES; i++) {
        const bench_product *b = &p->all[i];
        int64_t elements = b->rows * (b->out > b->in ? b->out : b->in);
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

static ewc_status run_product(const bench_products *p, ewc_context *ctx, const bench_product *b, int kind,
                              int64_t offset)
{
    const float *weights = p->model->weights + offset;
    switch (kind) {
    case FORWARD:
        return ctx->ops->gemm(ctx->device, false, true, b->rows, b->out, b->in, p->input, b->in, weights, b->in, p->out,
                              b->out, false);
    case INPUT_GRADIENT:
        return ctx->ops->gemm(ctx->device, false, false, b->rows, b->in, b->out, p->other, b->out, weights, b->in,
                              p->out, b->in, false);
    default:
        return ctx->ops->gemm(ctx->device, true, false, b->out, b->in, b->rows, p->other, b->out, p->input, b->in,
                              p->gradient + offset, b->in, true);
    }
}

void products_run(bench_products *p, ewc_context *context, int64_t repetition)
{
    for (int i = 0; i < PRODUCT_MATRICES; i++) {
        int64_t offset = offset_of(p, i, repetition % p->model->config.layers);
        for (int kind = 0; kind < PRODUCT_KINDS; kind++) {
            double start = bench_now();
            bench_check(context, run_product(p, context, &p->all[i], kind, offset));
            p->all[i].seconds[kind][repetition] = bench_now() - start;
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

double products_seconds(const bench_products *p, int phase, int64_t repetition)
{
    double sum = 0;
    for (int i = 0; i < PRODUCT_MATRICES; i++) {
        const bench_product *b = &p->all[i];
        if (phase != EWC_PHASE_COUNT && phase != (int)b->phase) continue;
        for (int kind = 0; kind < PRODUCT_KINDS; kind++) sum += (double)b->times[kind] * b->seconds[kind][repetition];
    }
    return sum;
}
