/* The model: configuration, flat weights, and its forward and backward pass over the operation table.
 *
 * Used by lib/train and lib/api. Weights, gradients and Fisher are flat device buffers in the order of layout.h. */
#ifndef EWCI_MODEL_MODEL_H
#define EWCI_MODEL_MODEL_H

#include <stdbool.h>

#include "core/context.h"
#include "io/safetensors.h"
#include "libewc.h"
#include "model/layout.h"
#include "ops.h"

typedef struct ewci_workspace ewci_workspace;   /* activations and scratch: workspace.h */
typedef struct ewci_vocabulary ewci_vocabulary; /* listed tokens: vocabulary.h */

struct ewc_model {
    ewc_context *ctx;
    ewc_model_config config;     /* vocab_size: rows of the table, which are fewer than the checkpoint's with a list */
    ewci_vocabulary *vocabulary; /* the tokens that it has, or NULL: all */
    ewci_layout layout;
    float *weights;            /* device, [layout.parameters], f32 */
    char *config_json;         /* config.json as it was read, or NULL: fields to write back */
    char *source_directory;    /* where it was loaded from, or NULL: tokenizer files to carry over */
    ewci_workspace *workspace; /* NULL until first use or reserve */
    ewc_residual_hook hook;    /* hook.forward == hook.backward == NULL: off */
    double *phase_seconds;     /* [EWC_PHASE_COUNT] added to when not NULL */
};

/* A model with uninitialised weights; its config is checked. */
ewc_status ewci_model_new(ewc_context *ctx, const ewc_model_config *config, ewc_model **out);
void ewci_model_free(ewc_model *model);

/* Weights: normal with initializer_range, norm weights zero; a pure function of seed and shape. */
ewc_status ewci_model_randomize(ewc_model *model, uint64_t seed);

/* The same as ewc_model_fingerprint. */
ewc_status ewci_model_fingerprint(ewc_model *model, uint64_t *fingerprint);

/* f32 values of one tensor, from whatever holds them: weights, a mapped file, a Fisher. */
typedef ewc_status (*ewci_values_callback)(void *user, int64_t tensor, int64_t first, int64_t count, float *out);

/* Hugging Face directories (checkpoint.c). */
ewc_status ewci_model_load(ewc_context *ctx, const char *directory, ewc_model **out);
/* Of the tokens `ids` ([count], distinct) alone. */
ewc_status ewci_model_load_listed(ewc_context *ctx, const char *directory, int64_t count, const int32_t *ids,
                                  ewc_model **out);
ewc_status ewci_model_save(ewc_model *model, const char *directory, ewc_dtype dtype, bool overwrite);

/* The list of all tensors to write with ewci_safetensors_write, values from `read`; free with ewci_free. */
ewc_status ewci_model_outputs(ewc_model *model, ewc_dtype dtype, ewci_values_callback read, void *user,
                              ewci_tensor_output **out);

/* Where the gradient of a backward pass goes. Exactly one of two uses:
 * - gradient != NULL, fisher == NULL: gradient[i] += d loss / d w_i, the loss as in ewci_pass.
 * - fisher != NULL: per-sequence squares, fisher[i] += weight_b (d l_b / d w_i)^2 for each sequence b of the pass, where
 *   l_b = sum_t row_weight_t nll_t over the sequence's rows. gradient must then point to scratch for the embedding:
 *   [vocab, hidden] at least; its contents are lost. */
typedef struct ewci_sink {
    float *gradient;
    float *fisher;
    const float *sequence_weight; /* host, [sequences]: weight_b; 0 skips the sequence; NULL: 1 */
} ewci_sink;

/* One pass over a micro-batch. All arrays are host memory. The loss is sum_t row_weight_t nll_t. */
typedef struct ewci_pass {
    const ewc_batch *batch;  /* checked by ewci_batch_check */
    const float *row_weight; /* [B*L]; needed by backward (includes w_b and 1/N) */
    ewci_ce_mode mode;       /* LOSS: forward only; TRAIN, SAMPLE: backward follows into sink */
    uint64_t seed;           /* SAMPLE */
    uint64_t first_row;      /* SAMPLE: number of the batch's first row in the stream of rows */
    ewci_sink sink;          /* TRAIN, SAMPLE */
    float *nll;              /* [B*L] out, 0 where not scored */
    /* LOSS alone: [B*L] each, or NULL: rows [prefix_start, prefix_end) of the batch, which the row's document continues (ops.h). */
    const int32_t *prefix_start, *prefix_end;
} ewci_pass;

/* Shapes, ids in range, document starts in order: fails with the place. *scored = number of targets >= 0. */
ewc_status ewci_batch_check(ewc_model *model, const ewc_batch *batch, int64_t *scored);

/* Checks multiple-choice items; fails with the place. *tokens = number of all choices' tokens. */
ewc_status ewci_choices_check(ewc_model *model, int64_t count, const ewc_choice_item *items, int64_t *tokens);

/* log p of each token of each choice of items that were checked, one after the other; partly written when it fails. */
ewc_status ewci_choices_score(ewc_model *model, int64_t count, const ewc_choice_item *items, float *log_probabilities);

/* row_weight[B*L] = scale * w_b where scored, 0 elsewhere. */
void ewci_row_weights(const ewc_batch *batch, double scale, float *row_weight);

/* Sum over sequences of w_b sum_t nll, in double and in row order. */
double ewci_weighted_loss(const ewc_batch *batch, const float *nll);

/* Memory for passes of up to `tokens` = B*L tokens; kept and reused. recompute: [layers] of ewc_recompute, or NULL for the default.
 * training false: forward only. Growing replaces the old memory. */
ewc_status ewci_model_reserve(ewc_model *model, int64_t tokens, bool training, const uint8_t *recompute);

/* Runs the pass: forward, and backward unless mode is LOSS. Reserves memory if it must. */
ewc_status ewci_model_run(ewc_model *model, const ewci_pass *pass);

/* 64-bit fingerprint of the tensors' names, shapes and values: FNV-like per-tensor hashes of the f32 bits, combined in order.
 * A mapped bf16 file gives the same number as the model loaded from it. */
ewc_status ewci_fingerprint(ewc_context *ctx, const ewci_layout *layout, ewci_values_callback values, void *user,
                            uint64_t *fingerprint);

#endif
