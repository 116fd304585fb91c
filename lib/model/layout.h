/* Where each tensor lies in the flat parameter order.
 *
 * One order (Hugging Face names) for weights, gradients, moments, Fisher and anchor:
 *   model.embed_tokens.weight
 *   per layer: input_layernorm, q_proj, k_proj, v_proj, o_proj, (Gemma 3: q_norm, k_norm,) post_attention_layernorm, pre_feedforward_layernorm,
 *              gate_proj, up_proj, down_proj, post_feedforward_layernorm
 *   model.norm.weight
 * q, k, v are adjacent and so are gate and up, so that one product computes them. */
#ifndef EWCI_MODEL_LAYOUT_H
#define EWCI_MODEL_LAYOUT_H

#include "libewc.h"

typedef struct ewci_layer_offsets {
    int64_t input_norm, qkv, attention_out, q_norm, k_norm, post_attention_norm;
    int64_t pre_feedforward_norm, gate_up, down, post_feedforward_norm;
} ewci_layer_offsets;

typedef struct ewci_layout {
    ewc_tensor_info *tensors; /* [tensor_count], in flat order; names owned here */
    int64_t tensor_count;
    int64_t parameters;
    int64_t embedding, final_norm; /* offsets */
    ewci_layer_offsets *layers;    /* [config.layers] */
} ewci_layout;

/* Do queries and keys pass through norms? */
static inline int ewci_has_qk_norm(const ewc_model_config *config)
{
    return config->family == EWC_GEMMA3;
}

#define EWCI_EMBEDDING_NAME "model.embed_tokens.weight"

/* Do windowed layers turn by other angles than full ones? By their own base, or because scaling is of the full ones alone. */
static inline int ewci_has_local_rope(const ewc_model_config *config)
{
    return config->rope_local_theta != 0 || (config->rope_scale != 0 && config->rope_scale != 1);
}

/* Checks the config (every field that the layout or the operations rely on) and fails naming the field. */
ewc_status ewci_config_check(ewc_context *ctx, const ewc_model_config *config);

ewc_status ewci_layout_create(ewc_context *ctx, const ewc_model_config *config, ewci_layout *layout);
void ewci_layout_destroy(ewc_context *ctx, ewci_layout *layout);

/* Index of the tensor of that name, or -1. */
int64_t ewci_layout_find(const ewci_layout *layout, const char *name);

/* The same tensors with the same shapes? Fails naming the first difference; `what` names the other side. */
ewc_status ewci_layout_same(ewc_context *ctx, const ewci_layout *a, const ewci_layout *b, const char *what);

#endif
