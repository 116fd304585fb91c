/* Builds the flat parameter order of layout.h. */
#include "model/layout.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"

enum { TENSORS_PER_LAYER = 13, NAME_BYTES = 96 };

typedef struct builder {
    ewc_context *ctx;
    ewci_layout *layout;
} builder;

/* Appends a tensor and returns its offset through *offset (which may be NULL). */
static ewc_status append(builder *b, const char *name, int64_t rows, int64_t columns, int is_vector, int64_t *offset)
{
    ewci_layout *layout = b->layout;
    ewc_tensor_info *tensor = &layout->tensors[layout->tensor_count];
    char *copy;
    EWCI_TRY(ewci_strdup(b->ctx, name, &copy));
    *tensor = (ewc_tensor_info){.struct_size = sizeof *tensor,
                                .name = copy,
                                .rows = rows,
                                .columns = columns,
                                .offset = layout->parameters,
                                .is_vector = is_vector};
    layout->tensor_count++;
    if (offset != NULL) *offset = layout->parameters;
    layout->parameters += rows * columns;
    return EWC_OK;
}

static ewc_status append_in_layer(builder *b, int64_t layer, const char *part, int64_t rows, int64_t columns,
                                  int64_t *offset)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)layer, part);
    return append(b, name, rows, columns, columns == 1, offset);
}

static ewc_status append_layer(builder *b, const ewc_model_config *c, int64_t layer)
{
    ewci_layer_offsets *o = &b->layout->layers[layer];
    int64_t hidden = c->hidden_size, intermediate = c->intermediate_size;
    int64_t query = c->heads * c->head_dim, key = c->kv_heads * c->head_dim;
    EWCI_TRY(append_in_layer(b, layer, "input_layernorm", hidden, 1, &o->input_norm));
    EWCI_TRY(append_in_layer(b, layer, "self_attn.q_proj", query, hidden, &o->qkv));
    EWCI_TRY(append_in_layer(b, layer, "self_attn.k_proj", key, hidden, NULL));
    EWCI_TRY(append_in_layer(b, layer, "self_attn.v_proj", key, hidden, NULL));
    EWCI_TRY(append_in_layer(b, layer, "self_attn.o_proj", hidden, query, &o->attention_out));
    if (ewci_has_qk_norm(c)) {
        EWCI_TRY(append_in_layer(b, layer, "self_attn.q_norm", c->head_dim, 1, &o->q_norm));
        EWCI_TRY(append_in_layer(b, layer, "self_attn.k_norm", c->head_dim, 1, &o->k_norm));
    }
    EWCI_TRY(append_in_layer(b, layer, "post_attention_layernorm", hidden, 1, &o->post_attention_norm));
    EWCI_TRY(append_in_layer(b, layer, "pre_feedforward_layernorm", hidden, 1, &o->pre_feedforward_norm));
    EWCI_TRY(append_in_layer(b, layer, "mlp.gate_proj", intermediate, hidden, &o->gate_up));
    EWCI_TRY(append_in_layer(b, layer, "mlp.up_proj", intermediate, hidden, NULL));
    EWCI_TRY(append_in_layer(b, layer, "mlp.down_proj", hidden, intermediate, &o->down));
    return append_in_layer(b, layer, "post_feedforward_layernorm", hidden, 1, &o->post_feedforward_norm);
}

ewc_status ewci_layout_create(ewc_context *ctx, const ewc_model_config *config, ewci_layout *out)
{
    ewci_layout layout = {0};
    builder b = {ctx, &layout};
    ewc_status status;
    void *memory;
    EWCI_TRY_GOTO(status, fail, ewci_config_check(ctx, config));
    EWCI_TRY_GOTO(status, fail,
                  ewci_alloc_array(ctx, TENSORS_PER_LAYER * config->layers + 2, sizeof *layout.tensors,
                                   "the tensor list", &memory));
    layout.tensors = memory;
    EWCI_TRY_GOTO(status, fail,
                  ewci_alloc_array(ctx, config->layers, sizeof *layout.layers, "the layer list", &memory));
    layout.layers = memory;
    EWCI_TRY_GOTO(status, fail,
                  append(&b, EWCI_EMBEDDING_NAME, config->vocab_size, config->hidden_size, 0, &layout.embedding));
    for (int64_t layer = 0; layer < config->layers; layer++)
        EWCI_TRY_GOTO(status, fail, append_layer(&b, config, layer));
    EWCI_TRY_GOTO(status, fail, append(&b, "model.norm.weight", config->hidden_size, 1, 1, &layout.final_norm));
    *out = layout;
    return EWC_OK;
fail:
    ewci_layout_destroy(ctx, &layout);
    return status;
}

void ewci_layout_destroy(ewc_context *ctx, ewci_layout *layout)
{
    for (int64_t i = 0; i < layout->tensor_count; i++) ewci_free(ctx, (void *)(uintptr_t)layout->tensors[i].name);
    ewci_free(ctx, layout->tensors);
    ewci_free(ctx, layout->layers);
    memset(layout, 0, sizeof *layout);
}

int64_t ewci_layout_find(const ewci_layout *layout, const char *name)
{
    for (int64_t i = 0; i < layout->tensor_count; i++)
        if (strcmp(layout->tensors[i].name, name) == 0) return i;
    return -1;
}

ewc_status ewci_layout_same(ewc_context *ctx, const ewci_layout *a, const ewci_layout *b, const char *what)
{
    int64_t common = a->tensor_count < b->tensor_count ? a->tensor_count : b->tensor_count;
    for (int64_t i = 0; i < common; i++) {
        const ewc_tensor_info *x = &a->tensors[i], *y = &b->tensors[i];
        if (strcmp(x->name, y->name) != 0)
            return ewci_fail(ctx, EWC_ERROR_MISMATCH, "%s: expected tensor %s, found %s", what, x->name, y->name);
        if (x->rows != y->rows || x->columns != y->columns)
            return ewci_fail(ctx, EWC_ERROR_MISMATCH, "%s: tensor %s: expected %lld x %lld, found %lld x %lld", what,
                             x->name, (long long)x->rows, (long long)x->columns, (long long)y->rows,
                             (long long)y->columns);
    }
    if (a->tensor_count != b->tensor_count)
        return ewci_fail(ctx, EWC_ERROR_MISMATCH, "%s: expected %lld tensors, found %lld", what,
                         (long long)a->tensor_count, (long long)b->tensor_count);
    return EWC_OK;
}
