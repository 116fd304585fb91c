/* The arena of workspace.h: counted by the plan, allocated by reserve, by the same function. */
#include "model/workspace.h"

#include <string.h>

#include "core/memory.h"
#include "core/status.h"

enum {
    LEAST_LOGITS = 256,
    ALIGNMENT = 64,
    HOST_BYTES_PER_TOKEN = sizeof(int64_t) + 2 * sizeof(int32_t) + sizeof(float)
};

typedef struct arena {
    char *base; /* NULL: count only */
    size_t used;
    int64_t rows; /* T */
    size_t element;
} arena;

static void *take_bytes(arena *a, size_t bytes)
{
    void *pointer = a->base == NULL ? NULL : a->base + a->used;
    a->used += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return pointer;
}

/* [T, columns] of the compute type, of f32, of int32. */
static void *take(arena *a, int64_t columns)
{
    return take_bytes(a, (size_t)a->rows * (size_t)columns * a->element);
}

static float *take_f32(arena *a, int64_t columns)
{
    return take_bytes(a, (size_t)a->rows * (size_t)columns * sizeof(float));
}

static int32_t *take_ids(arena *a)
{
    return take_bytes(a, (size_t)a->rows * sizeof(int32_t));
}

static int64_t query_size(const ewc_model_config *c)
{
    return c->heads * c->head_dim;
}

static int64_t qkv_size(const ewc_model_config *c)
{
    return (c->heads + 2 * c->kv_heads) * c->head_dim;
}

int64_t ewci_logits_chunk(const ewc_model_config *config, int64_t tokens)
{
    int64_t rows = ((int64_t)64 << 20) / (int64_t)sizeof(float) / config->vocab_size / 16 * 16;
    if (rows < LEAST_LOGITS) rows = LEAST_LOGITS;
    return rows < tokens ? rows : tokens;
}

/* Whole lines of the cache; and the same column of neighbouring rows, which products read together, not in the same set of it. */
static int64_t logits_stride(const ewc_model_config *c)
{
    int64_t stride = (c->vocab_size + 15) / 16 * 16;
    return stride % 512 == 0 ? stride + 16 : stride;
}

/* What the norms of q and k leave, if there are any. */
static void place_qkv(arena *a, const ewc_model_config *c, ewci_activations *layer)
{
    if (ewci_has_qk_norm(c)) layer->rstd_qk = take_f32(a, c->heads + c->kv_heads);
    layer->qkv = take(a, qkv_size(c));
}

/* The tensors that a layer at `level` keeps for itself; x is placed by the caller. */
static void place_kept(arena *a, const ewc_model_config *c, int level, ewci_activations *layer)
{
    int64_t hidden = c->hidden_size;
    layer->rstd_input = take_f32(a, 1);
    layer->rstd_post_feedforward = take_f32(a, 1);
    if (level < EWC_RECOMPUTE_ELEMENTWISE) {
        layer->input_normed = take(a, hidden);
        layer->feedforward_normed = take(a, hidden);
        layer->activated = take(a, c->intermediate_size);
    }
    if (level < EWC_RECOMPUTE_MLP) layer->gate_up = take(a, 2 * c->intermediate_size);
    if (level < EWC_RECOMPUTE_ELEMENTWISE || (level < EWC_RECOMPUTE_LAYER && !ewci_has_qk_norm(c)))
        place_qkv(a, c, layer);
    if (level < EWC_RECOMPUTE_LAYER) {
        if (ewci_has_qk_norm(c)) layer->projected = take(a, qkv_size(c));
        layer->attention = take(a, query_size(c));
        layer->lse = take_f32(a, c->heads);
        layer->attention_out = take(a, hidden);
        layer->rstd_post_attention = take_f32(a, 1);
        layer->rstd_pre_feedforward = take_f32(a, 1);
        layer->x_middle = take(a, hidden);
        layer->down = take(a, hidden);
    }
}

/* Points the tensors that the layer does not keep at the shared slot. */
static void share(ewci_activations *layer, const ewci_activations *slot, int level)
{
    if (level >= EWC_RECOMPUTE_ELEMENTWISE) {
        layer->input_normed = slot->input_normed;
        layer->feedforward_normed = slot->feedforward_normed;
        layer->activated = slot->activated;
    }
    if (level >= EWC_RECOMPUTE_MLP) layer->gate_up = slot->gate_up;
    if (layer->qkv == NULL) {
        layer->rstd_qk = slot->rstd_qk;
        layer->qkv = slot->qkv;
    }
    if (level >= EWC_RECOMPUTE_LAYER) {
        layer->projected = slot->projected;
        layer->attention = slot->attention;
        layer->lse = slot->lse;
        layer->attention_out = slot->attention_out;
        layer->rstd_post_attention = slot->rstd_post_attention;
        layer->rstd_pre_feedforward = slot->rstd_pre_feedforward;
        layer->x_middle = slot->x_middle;
        layer->down = slot->down;
    }
}

/* The slot's two norm outputs are never alive together: one buffer. Only what some layer shares is placed. */
static void place_slot(arena *a, const ewc_model_config *c, int deepest, ewci_activations *slot)
{
    ewci_activations everything = {0};
    slot->input_normed = slot->feedforward_normed = take(a, c->hidden_size); /* also the final norm's output */
    if (deepest >= EWC_RECOMPUTE_ELEMENTWISE) slot->activated = take(a, c->intermediate_size);
    if (deepest >= EWC_RECOMPUTE_MLP) slot->gate_up = take(a, 2 * c->intermediate_size);
    if (deepest >= EWC_RECOMPUTE_ELEMENTWISE && ewci_has_qk_norm(c)) place_qkv(a, c, slot);
    if (deepest < EWC_RECOMPUTE_LAYER) return;
    everything = *slot;
    place_kept(a, c, EWC_RECOMPUTE_MLP, slot);
    slot->input_normed = slot->feedforward_normed = everything.input_normed;
    slot->activated = everything.activated;
    slot->gate_up = everything.gate_up;
}

static void place_layers(arena *a, struct ewci_workspace *w, const ewc_model_config *c)
{
    for (int64_t l = 0; l <= c->layers; l++) {
        ewci_activations scrap = {0}, *layer = w->layers == NULL ? &scrap : &w->layers[l];
        int level = w->training ? w->recompute[l] : EWC_RECOMPUTE_LAYER;
        memset(layer, 0, sizeof *layer);
        layer->x = w->training || l == 0 ? take(a, c->hidden_size) : w->layers == NULL ? NULL : w->layers[0].x;
        if (l == c->layers)
            layer->rstd_input = take_f32(a, 1);
        else
            place_kept(a, c, level, layer);
    }
}

static void share_layers(struct ewci_workspace *w, const ewc_model_config *c, const ewci_activations *slot)
{
    if (w->layers == NULL) return;
    for (int64_t l = 0; l < c->layers; l++) {
        share(&w->layers[l], slot, w->training ? w->recompute[l] : EWC_RECOMPUTE_LAYER);
        if (!w->training) w->layers[l].x_middle = w->layers[l].x;
    }
    w->layers[c->layers].input_normed = slot->input_normed;
}

static void place_inputs(arena *a, struct ewci_workspace *w, const ewc_model_config *c)
{
    w->tokens_in = take_ids(a);
    w->targets = take_ids(a);
    w->positions = take_ids(a);
    w->document_start = take_ids(a);
    w->scored_rows = take_ids(a);
    w->compact_ids = take_bytes(a, 2 * (size_t)a->rows * sizeof(int32_t));
    w->row_weight = take_f32(a, 1);
    w->rope_table = take_f32(a, c->head_dim);
    w->rope_local_table = ewci_has_local_rope(c) ? take_f32(a, c->head_dim) : w->rope_table;
}

static void place_backward(arena *a, struct ewci_workspace *w, const ewc_model_config *c)
{
    w->dy = take(a, c->hidden_size);
    if (!w->training) return;
    w->dx = take(a, c->hidden_size);
    w->embedding_rows = take_f32(a, c->hidden_size);
    int64_t longest = c->hidden_size > c->head_dim ? c->hidden_size : c->head_dim;
    w->norm_gradient = take_bytes(a, 2 * (size_t)longest * sizeof(float));
    size_t before = a->used;
    w->d_gate_up = take(a, 2 * c->intermediate_size);
    w->d_activated = take(a, c->intermediate_size);
    size_t mlp_end = a->used;
    a->used = before;
    w->d_qkv = take(a, qkv_size(c));
    w->d_attention = take(a, query_size(c));
    if (a->used < mlp_end) a->used = mlp_end;
}

void ewci_workspace_place(struct ewci_workspace *w, const ewc_model_config *c, const ewci_ops *ops,
                          const ewci_device *device, char *base)
{
    arena a = {.base = base, .rows = w->tokens, .element = ops->compute == EWC_F32 ? 4 : 2};
    ewci_activations slot = {0};
    int deepest = w->training ? 0 : EWC_RECOMPUTE_LAYER;
    for (int64_t l = 0; l < c->layers && w->training; l++)
        if (w->recompute[l] > deepest) deepest = w->recompute[l];

    place_layers(&a, w, c);
    w->activation_bytes = a.used;

    place_slot(&a, c, deepest, &slot);
    share_layers(w, c, &slot);
    place_inputs(&a, w, c);
    place_backward(&a, w, c);
    ewci_attention shape = {.tokens = w->tokens, .heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim};
    w->attention_scratch = take_bytes(&a, ops->attention_scratch(device, &shape));
    w->scratch_bytes = a.used - w->activation_bytes;

    w->chunk = ewci_logits_chunk(c, w->tokens);
    arena rows = a;
    rows.rows = w->chunk;
    w->logits_stride = logits_stride(c);
    w->logits = take_bytes(&rows, (size_t)w->chunk * (size_t)w->logits_stride * sizeof(float));
    w->chunk_nll = take_f32(&rows, 1);
    w->chunk_targets = take_ids(&rows);
    w->chunk_weights = take_f32(&rows, 1);
    w->chunk_hidden = take(&rows, c->hidden_size);
    w->chunk_gradient = take(&rows, c->hidden_size);
    w->logits_bytes = rows.used - a.used;
}

void ewci_workspace_destroy(ewc_model *model)
{
    struct ewci_workspace *w = model->workspace;
    if (w == NULL) return;
    model->ctx->ops->free(model->ctx->device, w->memory);
    ewci_free(model->ctx, w->host_memory);
    ewci_free(model->ctx, w->layers);
    ewci_free(model->ctx, w);
    model->workspace = NULL;
}

/* Is the present workspace large enough and of the right kind? */
static bool serves(const struct ewci_workspace *w, int64_t layers, int64_t tokens, bool training,
                   const uint8_t *recompute)
{
    if (w == NULL || w->tokens < tokens) return false;
    if (!training) return true;
    return w->training && (recompute == NULL || memcmp(w->recompute, recompute, (size_t)layers) == 0);
}

ewc_status ewci_model_reserve(ewc_model *model, int64_t tokens, bool training, const uint8_t *recompute)
{
    ewc_context *ctx = model->ctx;
    const ewc_model_config *c = &model->config;
    if (serves(model->workspace, c->layers, tokens, training, recompute)) return EWC_OK;

    struct ewci_workspace old = {0}, *w = NULL;
    if (model->workspace != NULL) old = *model->workspace;
    void *memory;
    EWCI_TRY(ewci_alloc_array(ctx, 1, sizeof *w, "the workspace", &memory));
    w = memory;
    w->tokens = tokens > old.tokens ? tokens : old.tokens;
    w->training = training || old.training;
    memset(w->recompute, EWC_RECOMPUTE_ELEMENTWISE, sizeof w->recompute);
    if (old.training) memcpy(w->recompute, old.recompute, sizeof w->recompute);
    if (recompute != NULL) memcpy(w->recompute, recompute, (size_t)c->layers);

    ewc_status status;
    EWCI_TRY_GOTO(status, fail,
                  ewci_alloc_array(ctx, c->layers + 1, sizeof *w->layers, "the layers' activations", &memory));
    w->layers = memory;
    size_t staged = model->vocabulary == NULL ? 0 : 2 * sizeof(int32_t);
    EWCI_TRY_GOTO(status, fail,
                  ewci_alloc_array(ctx, w->tokens, HOST_BYTES_PER_TOKEN + staged, "row lists", &w->host_memory));
    w->sequence_ids = w->host_memory;
    w->host_rows = (int32_t *)(w->sequence_ids + w->tokens);
    w->host_ids = w->host_rows + w->tokens;
    w->host_values = (float *)(void *)(w->host_ids + w->tokens);
    if (staged > 0) {
        w->host_tokens = (int32_t *)(void *)(w->host_values + w->tokens);
        w->host_targets = w->host_tokens + w->tokens;
    }
    ewci_workspace_place(w, c, ctx->ops, ctx->device, NULL);
    size_t bytes = w->activation_bytes + w->scratch_bytes + w->logits_bytes;
    ewci_workspace_destroy(model);
    EWCI_TRY_GOTO(status, fail, ctx->ops->alloc(ctx->device, bytes, "activations and scratch", &w->memory));
    ewci_workspace_place(w, c, ctx->ops, ctx->device, w->memory);
    model->workspace = w;
    return EWC_OK;
fail:
    ewci_free(ctx, w->host_memory);
    ewci_free(ctx, w->layers);
    ewci_free(ctx, w);
    return status;
}
