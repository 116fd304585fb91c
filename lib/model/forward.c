/* Forward pass of the decoder: embedding, then per layer (Gemma 2 report, section 2; numerics in docs/ops.md)
 *
 *   qkv = rope(norm(x; w_input) W_qkv^T), in Gemma 3 with norms over head_dim of q and k before the rotation
 *   x_middle = x + norm(attention(qkv) W_o^T; w_post_attention)
 *   x_next = x_middle + norm((gelu(gate) * up) W_down^T; w_post_feedforward),  gate, up = norm(x_middle; w_pre_feedforward) W^T
 *
 * The norm that follows a residual addition is computed with it, so a layer's last stage leaves the next layer's normed input. */
#include <math.h>

#include "core/status.h"
#include "model/pass.h"

ewci_attention ewci_attention_shape(const ewci_run *run, int64_t layer)
{
    const ewc_model_config *c = &run->model->config;
    double query_scale = c->query_scale != 0 ? c->query_scale : (double)c->head_dim;
    return (ewci_attention){.tokens = run->rows,
                            .heads = c->heads,
                            .kv_heads = c->kv_heads,
                            .head_dim = c->head_dim,
                            .window = c->sliding[layer] ? c->sliding_window : 0,
                            .scale = (float)(1.0 / sqrt(query_scale)),
                            .softcap = (float)c->attention_softcap,
                            .document_start = run->w->document_start,
                            .prefix_start = run->w->prefix_start,
                            .prefix_end = run->w->prefix_end};
}

const float *ewci_rope_table(const ewci_run *run, int64_t layer)
{
    return run->model->config.sliding[layer] ? run->w->rope_local_table : run->w->rope_table;
}

/* y[T,out] = x[T,in] W^T, W stored [out,in] at `offset`. */
static ewc_status project(ewci_run *run, void *y, const void *x, int64_t offset, int64_t out, int64_t in)
{
    return run->ops->gemm(run->device, false, true, run->rows, out, in, x, in, ewci_weight(run, offset), in, y, out,
                          false);
}

static ewc_status stage_qkv(ewci_run *run, int64_t l)
{
    const ewc_model_config *c = &run->model->config;
    ewci_activations *a = &run->w->layers[l];
    int64_t width = (c->heads + 2 * c->kv_heads) * c->head_dim;
    void *projected = ewci_has_qk_norm(c) ? a->projected : a->qkv;
    EWCI_PHASE(run, EWC_PHASE_GEMM_QKV,
               project(run, projected, a->input_normed, run->model->layout.layers[l].qkv, width, c->hidden_size));
    return EWC_OK;
}

static ewc_status stage_heads(ewci_run *run, int64_t l)
{
    const ewc_model_config *c = &run->model->config;
    const ewci_layer_offsets *o = &run->model->layout.layers[l];
    ewci_activations *a = &run->w->layers[l];
    int64_t width = (c->heads + 2 * c->kv_heads) * c->head_dim;
    if (ewci_has_qk_norm(c))
        EWCI_PHASE(run, EWC_PHASE_NORM,
                   run->ops->qk_norm_fwd(run->device, a->qkv, a->rstd_qk, a->projected, ewci_weight(run, o->q_norm),
                                         ewci_weight(run, o->k_norm), run->rows, c->heads, c->kv_heads, c->head_dim,
                                         (float)c->rms_norm_eps));
    EWCI_PHASE(run, EWC_PHASE_ROPE,
               run->ops->rope(run->device, a->qkv, ewci_rope_table(run, l), run->rows, c->heads + c->kv_heads,
                              c->head_dim, width, false));
    return EWC_OK;
}

static ewc_status stage_attention(ewci_run *run, int64_t l)
{
    const ewc_model_config *c = &run->model->config;
    const ewci_layer_offsets *o = &run->model->layout.layers[l];
    ewci_activations *a = &run->w->layers[l];
    ewci_attention shape = ewci_attention_shape(run, l);
    EWCI_PHASE(run, EWC_PHASE_ATTENTION,
               run->ops->attention_fwd(run->device, &shape, a->attention, a->lse, a->qkv, run->w->attention_scratch));
    EWCI_PHASE(run, EWC_PHASE_GEMM_ATTENTION_OUT,
               project(run, a->attention_out, a->attention, o->attention_out, c->hidden_size, c->heads * c->head_dim));
    EWCI_PHASE(run, EWC_PHASE_NORM,
               run->ops->rmsnorm_residual_fwd(run->device, a->x_middle, a->feedforward_normed, a->rstd_post_attention,
                                              a->rstd_pre_feedforward, a->x, a->attention_out,
                                              ewci_weight(run, o->post_attention_norm),
                                              ewci_weight(run, o->pre_feedforward_norm), run->rows, c->hidden_size,
                                              (float)c->rms_norm_eps));
    return EWC_OK;
}

static ewc_status stage_gate_up(ewci_run *run, int64_t l)
{
    const ewc_model_config *c = &run->model->config;
    ewci_activations *a = &run->w->layers[l];
    EWCI_PHASE(run, EWC_PHASE_GEMM_MLP,
               project(run, a->gate_up, a->feedforward_normed, run->model->layout.layers[l].gate_up,
                       2 * c->intermediate_size, c->hidden_size));
    return EWC_OK;
}

static ewc_status stage_activate(ewci_run *run, int64_t l)
{
    ewci_activations *a = &run->w->layers[l];
    EWCI_PHASE(run, EWC_PHASE_MLP_ACTIVATION,
               run->ops->geglu_fwd(run->device, a->activated, a->gate_up, run->rows,
                                   run->model->config.intermediate_size));
    return EWC_OK;
}

static ewc_status stage_down(ewci_run *run, int64_t l)
{
    const ewc_model_config *c = &run->model->config;
    ewci_activations *a = &run->w->layers[l];
    EWCI_PHASE(run, EWC_PHASE_GEMM_MLP,
               project(run, a->down, a->activated, run->model->layout.layers[l].down, c->hidden_size,
                       c->intermediate_size));
    return EWC_OK;
}

ewc_status ewci_layer_stages(ewci_run *run, int64_t layer, ewci_stage from, ewci_stage to)
{
    static ewc_status (*const stages[])(ewci_run *, int64_t) = {stage_qkv,     stage_heads,    stage_attention,
                                                                stage_gate_up, stage_activate, stage_down};
    for (int stage = (int)from; stage <= (int)to; stage++) EWCI_TRY(stages[stage](run, layer));
    return EWC_OK;
}

/* x_next = x_middle + norm(down), and the norm that reads it: the next layer's input norm or the final one. */
static ewc_status leave_layer(ewci_run *run, int64_t l)
{
    const ewc_model_config *c = &run->model->config;
    const ewci_layout *layout = &run->model->layout;
    ewci_activations *a = &run->w->layers[l], *next = a + 1;
    int64_t next_norm = l + 1 < c->layers ? layout->layers[l + 1].input_norm : layout->final_norm;
    EWCI_PHASE(run, EWC_PHASE_NORM,
               run->ops->rmsnorm_residual_fwd(run->device, next->x, next->input_normed, a->rstd_post_feedforward,
                                              next->rstd_input, a->x_middle, a->down,
                                              ewci_weight(run, layout->layers[l].post_feedforward_norm),
                                              ewci_weight(run, next_norm), run->rows, c->hidden_size,
                                              (float)c->rms_norm_eps));
    const ewc_residual_hook *hook = &run->model->hook;
    if (hook->forward != NULL && hook->layer == l && hook->forward(hook->user, next->x, run->rows, c->hidden_size) != 0)
        return ewci_fail(run->model->ctx, EWC_ERROR_CANCELLED, "the residual hook's forward asked to stop");
    return EWC_OK;
}

static ewc_status embed(ewci_run *run)
{
    const ewc_model_config *c = &run->model->config;
    ewci_activations *first = &run->w->layers[0];
    EWCI_PHASE(run, EWC_PHASE_ROPE,
               run->ops->rope_table(run->device, run->w->rope_table, run->w->positions, run->rows, c->head_dim,
                                    c->rope_theta, c->rope_scale == 0 ? 1.0 : c->rope_scale));
    if (ewci_has_local_rope(c))
        EWCI_PHASE(run, EWC_PHASE_ROPE,
                   run->ops->rope_table(run->device, run->w->rope_local_table, run->w->positions, run->rows,
                                        c->head_dim, c->rope_local_theta == 0 ? c->rope_theta : c->rope_local_theta,
                                        1.0));
    EWCI_PHASE(run, EWC_PHASE_EMBED,
               run->ops->embed_fwd(run->device, first->x, ewci_weight(run, run->model->layout.embedding),
                                   run->w->tokens_in, run->rows, c->hidden_size, (float)sqrt((double)c->hidden_size)));
    EWCI_PHASE(run, EWC_PHASE_NORM,
               run->ops->rmsnorm_fwd(run->device, first->input_normed, first->rstd_input, first->x,
                                     ewci_weight(run, run->model->layout.layers[0].input_norm), run->rows,
                                     c->hidden_size, (float)c->rms_norm_eps));
    return EWC_OK;
}

ewc_status ewci_forward(ewci_run *run)
{
    EWCI_TRY(embed(run));
    for (int64_t l = 0; l < run->model->config.layers; l++) {
        EWCI_TRY(ewci_layer_stages(run, l, EWCI_STAGE_QKV, EWCI_STAGE_DOWN));
        EWCI_TRY(leave_layer(run, l));
    }
    return EWC_OK;
}
