/* Backward pass: the reverse of forward.c, layer by layer, computing again what a layer dropped.
 *
 * dx is the gradient of the residual stream, dy that of the output of the norm that reads it. Weight gradients are products
 * dW = dY^T X; in the per-sequence mode each sequence's product is squared and added to the Fisher instead. */
#include <math.h>

#include "core/status.h"
#include "model/pass.h"

/* dW[out,in] (+)= dy[T,out]^T x[T,in], or per sequence fisher += weight_b (dy_b^T x_b)^2. */
static ewc_status weight_gradient(ewci_run *run, int64_t offset, const void *dy, int64_t out, const void *x, int64_t in)
{
    const ewci_sink *sink = &run->pass->sink;
    if (!run->squares)
        return run->ops->gemm(run->device, true, false, out, in, run->rows, dy, out, x, in, sink->gradient + offset, in,
                              true);
    int64_t length = run->pass->batch->length;
    for (int64_t b = 0; b < run->pass->batch->sequences; b++) {
        float weight = ewci_sequence_weight(run, b);
        if (weight == 0) continue;
        EWCI_TRY(run->ops->gemm_square(run->device, out, in, length, ewci_at(run, dy, b * length * out), out,
                                       ewci_at(run, x, b * length * in), in, weight, sink->fisher + offset));
    }
    return EWC_OK;
}

/* dx[T,in] = dy[T,out] W, W stored [out,in]. */
static ewc_status input_gradient(ewci_run *run, void *dx, int64_t in, const void *dy, int64_t out, int64_t offset)
{
    return run->ops->gemm(run->device, false, false, run->rows, in, out, dy, out, ewci_weight(run, offset), in, dx, in,
                          false);
}

/* A residual addition and the two norms around it. */
typedef struct junction {
    const void *out, *o; /* residual stream after the addition; what the post norm read */
    const float *rstd_post, *rstd_pre;
    int64_t w_post, w_pre; /* offsets */
} junction;

static ewc_status junction_rows(ewci_run *run, const junction *j, int64_t first, int64_t rows, float *dw_post,
                                float *dw_pre)
{
    int64_t hidden = run->model->config.hidden_size;
    void *dy = ewci_at(run, run->w->dy, first * hidden);
    return run->ops->rmsnorm_residual_bwd(run->device, dy, ewci_at(run, run->w->dx, first * hidden), dw_post, dw_pre,
                                          dy, ewci_at(run, j->out, first * hidden), ewci_at(run, j->o, first * hidden),
                                          ewci_weight(run, j->w_post), ewci_weight(run, j->w_pre), j->rstd_post + first,
                                          j->rstd_pre + first, rows, hidden);
}

static ewc_status square_vector(ewci_run *run, int64_t offset, float *gradient, int64_t n, float weight)
{
    ewci_buffer buffer = {gradient, EWC_F32};
    return run->ops->fisher_accumulate(run->device, run->pass->sink.fisher + offset, buffer, n, weight, 1.0F);
}

/* In: dy and dx. Out: dx complete for this point of the residual stream, dy = gradient of what the post norm read. */
static ewc_status junction_backward(ewci_run *run, const junction *j)
{
    const ewci_sink *sink = &run->pass->sink;
    if (!run->squares)
        return junction_rows(run, j, 0, run->rows, sink->gradient + j->w_post, sink->gradient + j->w_pre);
    int64_t length = run->pass->batch->length, hidden = run->model->config.hidden_size;
    float *scratch = run->w->norm_gradient;
    for (int64_t b = 0; b < run->pass->batch->sequences; b++) {
        float weight = ewci_sequence_weight(run, b);
        EWCI_TRY(run->ops->zero(run->device, scratch, 2 * (size_t)hidden * sizeof *scratch));
        EWCI_TRY(junction_rows(run, j, b * length, length, scratch, scratch + hidden));
        if (weight == 0) continue;
        EWCI_TRY(square_vector(run, j->w_post, scratch, hidden, weight));
        EWCI_TRY(square_vector(run, j->w_pre, scratch + hidden, hidden, weight));
    }
    return EWC_OK;
}

static int recompute_level(const ewci_run *run, int64_t layer)
{
    return run->w->recompute[layer];
}

/* Computes again what the MLP half of the layer needs: in dependency order, into the shared slot. */
static ewc_status restore_mlp(ewci_run *run, int64_t l)
{
    const ewc_model_config *c = &run->model->config;
    ewci_activations *a = &run->w->layers[l];
    int level = recompute_level(run, l);
    if (level == EWC_RECOMPUTE_NONE) return EWC_OK;
    if (level == EWC_RECOMPUTE_LAYER) {
        EWCI_PHASE(run, EWC_PHASE_NORM,
                   run->ops->rmsnorm_fwd(run->device, a->input_normed, a->rstd_input, a->x,
                                         ewci_weight(run, run->model->layout.layers[l].input_norm), run->rows,
                                         c->hidden_size, (float)c->rms_norm_eps));
        EWCI_TRY(ewci_layer_stages(run, l, EWCI_STAGE_QKV, EWCI_STAGE_ATTENTION));
    } else {
        EWCI_PHASE(run, EWC_PHASE_NORM,
                   run->ops->rmsnorm_fwd(run->device, a->feedforward_normed, a->rstd_pre_feedforward, a->x_middle,
                                         ewci_weight(run, run->model->layout.layers[l].pre_feedforward_norm), run->rows,
                                         c->hidden_size, (float)c->rms_norm_eps));
    }
    if (level >= EWC_RECOMPUTE_MLP) EWCI_TRY(ewci_layer_stages(run, l, EWCI_STAGE_GATE_UP, EWCI_STAGE_GATE_UP));
    EWCI_TRY(ewci_layer_stages(run, l, EWCI_STAGE_ACTIVATE, EWCI_STAGE_ACTIVATE));
    if (level == EWC_RECOMPUTE_LAYER) EWCI_TRY(ewci_layer_stages(run, l, EWCI_STAGE_DOWN, EWCI_STAGE_DOWN));
    return EWC_OK;
}

static ewc_status backward_mlp(ewci_run *run, int64_t l)
{
    const ewc_model_config *c = &run->model->config;
    const ewci_layout *layout = &run->model->layout;
    struct ewci_workspace *w = run->w;
    ewci_activations *a = &w->layers[l], *next = a + 1;
    int64_t hidden = c->hidden_size, intermediate = c->intermediate_size;
    junction j = {.out = next->x,
                  .o = a->down,
                  .rstd_post = a->rstd_post_feedforward,
                  .rstd_pre = next->rstd_input,
                  .w_post = layout->layers[l].post_feedforward_norm,
                  .w_pre = l + 1 < c->layers ? layout->layers[l + 1].input_norm : layout->final_norm};
    const ewc_residual_hook *hook = &run->model->hook;
    if (hook->backward != NULL && hook->layer == l && hook->backward(hook->user, w->dx, run->rows, hidden) != 0)
        return ewci_fail(run->model->ctx, EWC_ERROR_CANCELLED, "the residual hook's backward asked to stop");
    EWCI_PHASE(run, EWC_PHASE_NORM, junction_backward(run, &j));
    EWCI_PHASE(run, EWC_PHASE_GEMM_MLP,
               input_gradient(run, w->d_activated, intermediate, w->dy, hidden, layout->layers[l].down));
    EWCI_PHASE(run, EWC_PHASE_GEMM_MLP,
               weight_gradient(run, layout->layers[l].down, w->dy, hidden, a->activated, intermediate));
    EWCI_PHASE(run, EWC_PHASE_MLP_ACTIVATION,
               run->ops->geglu_bwd(run->device, w->d_gate_up, w->d_activated, a->gate_up, run->rows, intermediate));
    EWCI_PHASE(run, EWC_PHASE_GEMM_MLP,
               weight_gradient(run, layout->layers[l].gate_up, w->d_gate_up, 2 * intermediate, a->feedforward_normed,
                               hidden));
    EWCI_PHASE(run, EWC_PHASE_GEMM_MLP,
               input_gradient(run, w->dy, hidden, w->d_gate_up, 2 * intermediate, layout->layers[l].gate_up));
    return EWC_OK;
}

static ewc_status qk_norm_rows(ewci_run *run, int64_t l, int64_t first, int64_t rows, float *dw_q, float *dw_k)
{
    const ewc_model_config *c = &run->model->config;
    const ewci_layer_offsets *o = &run->model->layout.layers[l];
    const ewci_activations *a = &run->w->layers[l];
    int64_t width = (c->heads + 2 * c->kv_heads) * c->head_dim;
    return run->ops->qk_norm_bwd(run->device, ewci_at(run, run->w->d_qkv, first * width), dw_q, dw_k,
                                 ewci_at(run, a->projected, first * width), ewci_weight(run, o->q_norm),
                                 ewci_weight(run, o->k_norm), a->rstd_qk + first * (c->heads + c->kv_heads), rows,
                                 c->heads, c->kv_heads, c->head_dim);
}

/* d_qkv through the norms of q and k. */
static ewc_status backward_qk_norm(ewci_run *run, int64_t l)
{
    const ewc_model_config *c = &run->model->config;
    const ewci_layer_offsets *o = &run->model->layout.layers[l];
    const ewci_sink *sink = &run->pass->sink;
    if (!run->squares)
        return qk_norm_rows(run, l, 0, run->rows, sink->gradient + o->q_norm, sink->gradient + o->k_norm);
    int64_t length = run->pass->batch->length;
    float *scratch = run->w->norm_gradient;
    for (int64_t b = 0; b < run->pass->batch->sequences; b++) {
        float weight = ewci_sequence_weight(run, b);
        EWCI_TRY(run->ops->zero(run->device, scratch, 2 * (size_t)c->head_dim * sizeof *scratch));
        EWCI_TRY(qk_norm_rows(run, l, b * length, length, scratch, scratch + c->head_dim));
        if (weight == 0) continue;
        EWCI_TRY(square_vector(run, o->q_norm, scratch, c->head_dim, weight));
        EWCI_TRY(square_vector(run, o->k_norm, scratch + c->head_dim, c->head_dim, weight));
    }
    return EWC_OK;
}

/* The norms' outputs that a layer dropped while it kept what they read. */
static ewc_status restore_heads(ewci_run *run, int64_t l)
{
    int level = recompute_level(run, l);
    if (!ewci_has_qk_norm(&run->model->config) || level == EWC_RECOMPUTE_NONE || level == EWC_RECOMPUTE_LAYER)
        return EWC_OK;
    return ewci_layer_stages(run, l, EWCI_STAGE_HEADS, EWCI_STAGE_HEADS);
}

static ewc_status backward_attention(ewci_run *run, int64_t l)
{
    const ewc_model_config *c = &run->model->config;
    const ewci_layer_offsets *o = &run->model->layout.layers[l];
    struct ewci_workspace *w = run->w;
    ewci_activations *a = &w->layers[l];
    int64_t hidden = c->hidden_size, query = c->heads * c->head_dim;
    int64_t width = query + 2 * c->kv_heads * c->head_dim;
    ewci_attention shape = ewci_attention_shape(run, l);
    junction j = {.out = a->x_middle,
                  .o = a->attention_out,
                  .rstd_post = a->rstd_post_attention,
                  .rstd_pre = a->rstd_pre_feedforward,
                  .w_post = o->post_attention_norm,
                  .w_pre = o->pre_feedforward_norm};
    EWCI_PHASE(run, EWC_PHASE_NORM, junction_backward(run, &j));
    EWCI_PHASE(run, EWC_PHASE_GEMM_ATTENTION_OUT,
               input_gradient(run, w->d_attention, query, w->dy, hidden, o->attention_out));
    EWCI_PHASE(run, EWC_PHASE_GEMM_ATTENTION_OUT,
               weight_gradient(run, o->attention_out, w->dy, hidden, a->attention, query));
    EWCI_TRY(restore_heads(run, l));
    EWCI_PHASE(run, EWC_PHASE_ATTENTION,
               run->ops->attention_bwd(run->device, &shape, w->d_qkv, w->d_attention, a->attention, a->lse, a->qkv,
                                       w->attention_scratch));
    EWCI_PHASE(run, EWC_PHASE_ROPE,
               run->ops->rope(run->device, w->d_qkv, ewci_rope_table(run, l), run->rows, c->heads + c->kv_heads,
                              c->head_dim, width, true));
    if (ewci_has_qk_norm(c)) EWCI_PHASE(run, EWC_PHASE_NORM, backward_qk_norm(run, l));
    if (recompute_level(run, l) != EWC_RECOMPUTE_NONE)
        EWCI_PHASE(run, EWC_PHASE_NORM,
                   run->ops->rmsnorm_fwd(run->device, a->input_normed, a->rstd_input, a->x,
                                         ewci_weight(run, o->input_norm), run->rows, hidden, (float)c->rms_norm_eps));
    EWCI_PHASE(run, EWC_PHASE_GEMM_QKV, weight_gradient(run, o->qkv, w->d_qkv, width, a->input_normed, hidden));
    EWCI_PHASE(run, EWC_PHASE_GEMM_QKV, input_gradient(run, w->dy, hidden, w->d_qkv, width, o->qkv));
    return EWC_OK;
}

/* The first layer's input norm reads the embedding, with no norm before the addition. */
static ewc_status backward_first_norm(ewci_run *run)
{
    const ewc_model_config *c = &run->model->config;
    const ewci_sink *sink = &run->pass->sink;
    struct ewci_workspace *w = run->w;
    int64_t hidden = c->hidden_size, norm = run->model->layout.layers[0].input_norm;
    const float *weight = ewci_weight(run, norm);
    if (!run->squares)
        return run->ops->rmsnorm_bwd(run->device, w->dx, sink->gradient + norm, w->dy, w->layers[0].x, weight,
                                     w->layers[0].rstd_input, run->rows, hidden, true);
    int64_t length = run->pass->batch->length;
    for (int64_t b = 0; b < run->pass->batch->sequences; b++) {
        int64_t first = b * length;
        EWCI_TRY(run->ops->zero(run->device, w->norm_gradient, (size_t)hidden * sizeof(float)));
        EWCI_TRY(run->ops->rmsnorm_bwd(run->device, ewci_at(run, w->dx, first * hidden), w->norm_gradient,
                                       ewci_at(run, w->dy, first * hidden),
                                       ewci_at(run, w->layers[0].x, first * hidden), weight,
                                       w->layers[0].rstd_input + first, length, hidden, true));
        if (ewci_sequence_weight(run, b) != 0)
            EWCI_TRY(square_vector(run, norm, w->norm_gradient, hidden, ewci_sequence_weight(run, b)));
    }
    return EWC_OK;
}

static ewc_status backward_embedding(ewci_run *run)
{
    const ewc_model_config *c = &run->model->config;
    struct ewci_workspace *w = run->w;
    int64_t hidden = c->hidden_size, length = run->pass->batch->length, table = run->model->layout.embedding;
    float scale = (float)sqrt((double)hidden);
    if (!run->squares)
        return run->ops->embed_bwd(run->device, run->embedding_gradient, w->dx, w->tokens_in, run->rows, hidden, scale);
    for (int64_t b = 0; b < run->pass->batch->sequences; b++) {
        float weight = ewci_sequence_weight(run, b);
        if (weight == 0) continue;
        float *rows = w->embedding_rows + b * length * hidden;
        const int32_t *ids = w->compact_ids + 2 * b * length;
        EWCI_TRY(run->ops->embed_bwd(run->device, rows, ewci_at(run, w->dx, b * length * hidden), ids + length, length,
                                     hidden, scale));
        EWCI_TRY(run->ops->scatter_square(run->device, run->pass->sink.fisher + table, rows, ids, w->sequence_ids[b],
                                          hidden, weight));
    }
    return EWC_OK;
}

ewc_status ewci_backward(ewci_run *run)
{
    const ewc_model_config *c = &run->model->config;
    size_t bytes = (size_t)(run->rows * c->hidden_size) * (run->ops->compute == EWC_F32 ? 4 : 2);
    EWCI_TRY(run->ops->zero(run->device, run->w->dx, bytes));
    for (int64_t l = c->layers - 1; l >= 0; l--) {
        EWCI_TRY(ewci_check_cancelled(run->model->ctx));
        EWCI_TRY(restore_mlp(run, l));
        EWCI_TRY(backward_mlp(run, l));
        EWCI_TRY(backward_attention(run, l));
    }
    EWCI_PHASE(run, EWC_PHASE_NORM, backward_first_norm(run));
    EWCI_PHASE(run, EWC_PHASE_EMBED, backward_embedding(run));
    return EWC_OK;
}
