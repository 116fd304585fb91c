/* Activations and scratch memory of a pass: one arena, laid out once for a largest number of tokens.
 *
 * Each layer keeps what its backward pass needs, except what its recompute level drops; dropped tensors live in one shared
 * slot during the forward pass and are computed again, into the same slot, in the backward pass. */
#ifndef EWCI_MODEL_WORKSPACE_H
#define EWCI_MODEL_WORKSPACE_H

#include <stdbool.h>

#include "model/model.h"

/* One layer's activations; T tokens, H hidden, F intermediate, q heads * head_dim, Q = q + 2 * kv_heads * head_dim. */
typedef struct ewci_activations {
    void *x;             /* [T,H] residual stream entering the layer */
    float *rstd_input;   /* [T] of the input norm */
    void *input_normed;  /* [T,H]; dropped from ELEMENTWISE on */
    void *projected;     /* [T,Q] before the norms of q and k; dropped at LAYER; NULL without them */
    float *rstd_qk;      /* [T,heads+kv_heads]; as qkv */
    void *qkv;           /* [T,Q] after rotation; dropped at LAYER, with norms from ELEMENTWISE on */
    void *attention;     /* [T,q] heads' outputs; dropped at LAYER */
    float *lse;          /* [T,heads]; dropped at LAYER */
    void *attention_out; /* [T,H] after o_proj; dropped at LAYER */
    float *rstd_post_attention, *rstd_pre_feedforward; /* [T]; dropped at LAYER */
    void *x_middle;               /* [T,H] residual stream between attention and MLP; dropped at LAYER */
    void *feedforward_normed;     /* [T,H]; dropped from ELEMENTWISE on */
    void *gate_up;                /* [T,2F]; dropped from MLP on */
    void *activated;              /* [T,F]; dropped from ELEMENTWISE on */
    void *down;                   /* [T,H] after down_proj; dropped at LAYER */
    float *rstd_post_feedforward; /* [T] */
} ewci_activations;

struct ewci_workspace {
    int64_t tokens; /* capacity T */
    bool training;
    uint8_t recompute[EWC_MAX_LAYERS];
    void *memory;                                         /* the arena */
    size_t activation_bytes, scratch_bytes, logits_bytes; /* parts of the arena, in this order */

    ewci_activations
        *layers;   /* [config.layers + 1]; the last has only x and rstd_input and input_normed: the final norm */
    int64_t chunk; /* rows of logits at a time */
    int64_t logits_stride;               /* of such a row; >= vocab */
    void *logits;                        /* [chunk, logits_stride] */
    float *chunk_nll;                    /* [chunk] */
    void *chunk_hidden, *chunk_gradient; /* [chunk,H] rows gathered where only some are scored */
    int32_t *chunk_targets;              /* [chunk] */
    float *chunk_weights;                /* [chunk] */

    int32_t *tokens_in, *targets, *positions, *document_start, *scored_rows; /* [T] device copies */
    int32_t *compact_ids; /* [B,2,L] per-sequence squares: distinct input ids, then each token's place among them */
    int32_t *prefix_start, *prefix_end; /* [T] evaluation: prefixes of documents, in compact_ids' memory; or NULL */
    float *row_weight;                  /* [T] */
    float *rope_table;                  /* [T, head_dim] */
    float *rope_local_table; /* [T, head_dim] of windowed layers: rope_table itself unless they have their own base */
    void *attention_scratch;

    void *dx, *dy;                 /* [T,H] gradient of the residual stream and of a norm's output */
    void *d_gate_up, *d_activated; /* [T,2F], [T,F] */
    void *d_qkv, *d_attention;     /* [T,Q], [T,q]: the same memory as the MLP's, never alive together */
    float *embedding_rows; /* [T,H] per-sequence squares: the head's gradient of the rows that also are inputs */
    float *norm_gradient;  /* [2 max(H, head_dim)] per-sequence squares: one sequence's norm gradients */
    /* host memory, outside the arena, [T] each */
    int32_t *host_rows, *host_ids; /* row lists, ids */
    int32_t *host_tokens,
        *host_targets; /* the batch in rows of the table; NULL where the model has the whole vocabulary */
    float *host_values;
    void *host_memory;     /* all of them */
    int64_t *sequence_ids; /* per sequence: number of distinct input ids */
};

/* Lays the workspace out; with base NULL only counts bytes. Fills all pointers and the *_bytes fields. */
void ewci_workspace_place(struct ewci_workspace *workspace, const ewc_model_config *config, const ewci_ops *ops,
                          const ewci_device *device, char *base);

/* Rows of logits in a chunk: about 64 MiB of them, but at least 256 rows, since the table is read once for each chunk; a multiple of 16, never
 * more than `tokens`. */
int64_t ewci_logits_chunk(const ewc_model_config *config, int64_t tokens);

void ewci_workspace_destroy(ewc_model *model);

#endif
