/* The operation table: everything lib/model and lib/train ask of a backend, and nothing else.
 *
 * Conventions
 * - All matrices are row-major. T is the number of tokens of a micro-batch (sequences laid end to end), H the hidden size.
 * - `void *` operands are in the device's compute type (f32 on the CPU); `float *`, `int32_t *` and `double *` are what they say.
 *   Pointers are device pointers except those marked host.
 * - Operations return a status, allocate nothing and may be asynchronous on a device; results marked host are ready on return.
 * - Reductions have a fixed order: same inputs, same thread count, same bits.
 * - Sizes of zero are fine and do nothing.
 * The mathematics of each operation is in docs/ops.md under the operation's name; its proof in tests/ops/test_<name>.c. */
#ifndef EWCI_OPS_H
#define EWCI_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libewc.h"

#define EWCI_OPS_VERSION 1

typedef struct ewci_device ewci_device; /* a backend's own state: threads, kernels chosen, streams */

/* Shape of causal self-attention over T packed tokens. */
typedef struct ewci_attention {
    int64_t tokens;          /* T */
    int64_t heads, kv_heads; /* heads is a multiple of kv_heads; query head h reads kv head h / (heads / kv_heads) */
    int64_t head_dim;        /* d */
    int64_t window;          /* token i sees j with i - window < j <= i; 0 = no window */
    float scale;             /* multiplies q·k */
    float softcap;           /* s <- softcap * tanh(s / softcap) before the mask; 0 = none */
    const int32_t *document_start; /* [T] index in [0, T) of the first token of the token's document; never decreases */
    /* [T] each, or NULL. A document may continue a prefix, tokens [prefix_start, prefix_end) before it: its tokens also see the prefix's
     * keys, as if the prefix stood right before the document (the window reaches on into it). Several documents may continue the same
     * one; where start = end there is none. All tokens of a document have the same. Forward only: NULL for attention_bwd. */
    const int32_t *prefix_start, *prefix_end;
} ewci_attention;

typedef enum ewci_ce_mode {
    EWCI_CE_LOSS,   /* nll only; logits are destroyed */
    EWCI_CE_TRAIN,  /* nll, and logits <- row_weight * d(nll)/d(logits) */
    EWCI_CE_SAMPLE, /* as TRAIN with each scored row's label drawn from its own softmax */
} ewci_ce_mode;

/* Softcapped cross entropy over n rows of logits. With c = softcap * tanh(z / softcap) (c = z when softcap is 0):
 *   nll = log sum_j exp(c_j) - c_target,   d nll/d z_j = (softmax(c)_j - [j = target]) * (1 - (c_j / softcap)^2). */
typedef struct ewci_cross_entropy {
    int64_t rows, vocab;
    int64_t stride; /* of a row of logits; 0: vocab */
    float softcap;
    ewci_ce_mode mode;
    const int32_t *targets;  /* [rows]; < 0: not scored, nll 0 and gradient 0 */
    const float *row_weight; /* [rows]; unused in LOSS */
    float *nll;              /* [rows] out */
    int32_t *labels;         /* [rows] out: label scored (SAMPLE: the drawn one; -1 unscored), or NULL */
    uint64_t seed;           /* SAMPLE: row i uses number ewci_uniform(seed, EWCI_STREAM_LABELS, 0, first_row + i) */
    uint64_t first_row;
} ewci_cross_entropy;

/* A typed view of a contiguous buffer; data may be NULL (absent). */
typedef ewc_buffer ewci_buffer;

typedef struct ewci_ops {
    uint32_t version;     /* EWCI_OPS_VERSION */
    uint32_t struct_size; /* sizeof(ewci_ops) */
    const char *name;     /* "cpu" */
    ewc_dtype compute;    /* type of the `void *` operands */
    /* Operations may be given a mapped file's tensors, which are host memory, for what they only read. */
    bool device_reads_host;

    /* ---- runtime ------------------------------------------------------------------------------------------------- */
    ewc_status (*open)(ewc_context *ctx, const ewc_context_options *options, ewci_device **out);
    void (*close)(ewci_device *device);
    void (*describe)(const ewci_device *device, ewc_context_info *info);
    ewc_status (*alloc)(ewci_device *device, size_t bytes, const char *what, void **out);
    void (*free)(ewci_device *device, void *pointer);
    ewc_status (*copy_in)(ewci_device *device, void *destination, const void *host_source, size_t bytes);
    ewc_status (*copy_out)(ewci_device *device, void *host_destination, const void *source, size_t bytes);
    ewc_status (*copy)(ewci_device *device, void *destination, const void *source, size_t bytes);
    ewc_status (*zero)(ewci_device *device, void *destination, size_t bytes);
    ewc_status (*sync)(ewci_device *device);

    /* ---- products ------------------------------------------------------------------------------------------------ */
    /* C[m,n] = op(A) op(B) (+ C when accumulate); op(A) is m x k, op(B) is k x n; ld* are row strides in elements. */
    ewc_status (*gemm)(ewci_device *device, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                       const void *a, int64_t lda, const void *b, int64_t ldb, void *c, int64_t ldc, bool accumulate);
    /* fisher[m,n] += weight * (A^T B)^2 element by element; A is k x m, B is k x n. The product is never stored whole. */
    ewc_status (*gemm_square)(ewci_device *device, int64_t m, int64_t n, int64_t k, const void *a, int64_t lda,
                              const void *b, int64_t ldb, float weight, float *fisher);

    /* ---- embedding ----------------------------------------------------------------------------------------------- */
    /* x[t,:] = scale * table[token_t,:] */
    ewc_status (*embed_fwd)(ewci_device *device, void *x, const void *table, const int32_t *tokens, int64_t count,
                            int64_t hidden, float scale);
    /* dtable[token_t,:] += scale * dx[t,:], in token order whatever the number of threads */
    ewc_status (*embed_bwd)(ewci_device *device, float *dtable, const void *dx, const int32_t *tokens, int64_t count,
                            int64_t hidden, float scale);
    /* rows[i,:] = table[index_i,:]; then, if clear, table[index_i,:] = 0. Indices are distinct. */
    ewc_status (*gather_rows)(ewci_device *device, float *rows, float *table, const int32_t *index, int64_t count,
                              int64_t hidden, bool clear);
    /* fisher[index_i,:] += weight * rows[i,:]^2. Indices are distinct. */
    ewc_status (*scatter_square)(ewci_device *device, float *fisher, const float *rows, const int32_t *index,
                                 int64_t count, int64_t hidden, float weight);

    /* ---- RMSNorm, with Gemma's (1 + w) ---------------------------------------------------------------------------- */
    /* y = x * rstd * (1 + w), rstd[r] = 1 / sqrt(mean(x_r^2) + eps) */
    ewc_status (*rmsnorm_fwd)(ewci_device *device, void *y, float *rstd, const void *x, const void *w, int64_t rows,
                              int64_t hidden, float eps);
    /* dx (+)= d/dx (added to dx when accumulate), dw += d/dw. dw may be NULL (not wanted). */
    ewc_status (*rmsnorm_bwd)(ewci_device *device, void *dx, float *dw, const void *dy, const void *x, const void *w,
                              const float *rstd, int64_t rows, int64_t hidden, bool accumulate);
    /* Gemma's sandwich: out = x + rmsnorm(o, w_post); y = rmsnorm(out, w_pre). One pass over memory. out may be x. */
    ewc_status (*rmsnorm_residual_fwd)(ewci_device *device, void *out, void *y, float *rstd_post, float *rstd_pre,
                                       const void *x, const void *o, const void *w_post, const void *w_pre,
                                       int64_t rows, int64_t hidden, float eps);
    /* In: dy (gradient of y), dx (gradient of out from the residual path). Out: dx = total gradient of out (= of x),
     * d_o = gradient of o; dw_post, dw_pre += (either may be NULL). d_o may be dy. */
    ewc_status (*rmsnorm_residual_bwd)(ewci_device *device, void *d_o, void *dx, float *dw_post, float *dw_pre,
                                       const void *dy, const void *out, const void *o, const void *w_post,
                                       const void *w_pre, const float *rstd_post, const float *rstd_pre, int64_t rows,
                                       int64_t hidden);

    /* Norms of queries and keys over head_dim d, each head by itself. Rows of x and y are heads of q, kv_heads of k, kv_heads of v:
     * q and k as rmsnorm with w_q and w_k [d], v copied. rstd[T, heads + kv_heads]. y is not x. */
    ewc_status (*qk_norm_fwd)(ewci_device *device, void *y, float *rstd, const void *x, const void *w_q,
                              const void *w_k, int64_t count, int64_t heads, int64_t kv_heads, int64_t head_dim,
                              float eps);
    /* In place, dx: gradient of y -> gradient of x (v's stays). dw_q, dw_k += (either may be NULL). */
    ewc_status (*qk_norm_bwd)(ewci_device *device, void *dx, float *dw_q, float *dw_k, const void *x, const void *w_q,
                              const void *w_k, const float *rstd, int64_t count, int64_t heads, int64_t kv_heads,
                              int64_t head_dim);

    /* ---- RoPE (halves, not pairs) ---------------------------------------------------------------------------------- */
    /* table[t, 0..d/2) = cos, table[t, d/2..d) = sin of position_t * frequency_i, with frequency_i =
     * theta^(-2i/d) / linear_scale in f32 and the angle the f32 product, as the reference model computes them. */
    ewc_status (*rope_table)(ewci_device *device, float *table, const int32_t *positions, int64_t count,
                             int64_t head_dim, double theta, double linear_scale);
    /* Rotates, in place, the first `heads` heads of each row (q and k lie first in a row of stride `stride`):
     * (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin); `inverse` applies the transpose: the backward. */
    ewc_status (*rope)(ewci_device *device, void *x, const float *table, int64_t count, int64_t heads, int64_t head_dim,
                       int64_t stride, bool inverse);

    /* ---- attention -------------------------------------------------------------------------------------------------- */
    /* Bytes of scratch that the two calls below need for this shape. */
    size_t (*attention_scratch)(const ewci_device *device, const ewci_attention *shape);
    /* o[T, heads*d]; lse[T, heads] = log-sum-exp of the capped, masked scores; qkv[T, (heads+2*kv_heads)*d] */
    ewc_status (*attention_fwd)(ewci_device *device, const ewci_attention *shape, void *o, float *lse, const void *qkv,
                                void *scratch);
    ewc_status (*attention_bwd)(ewci_device *device, const ewci_attention *shape, void *dqkv, const void *d_o,
                                const void *o, const float *lse, const void *qkv, void *scratch);

    /* ---- GEGLU ---------------------------------------------------------------------------------------------------- */
    /* act[r,i] = gelu_tanh(gate_up[r,i]) * gate_up[r,F+i] */
    ewc_status (*geglu_fwd)(ewci_device *device, void *act, const void *gate_up, int64_t rows, int64_t intermediate);
    /* d_gate_up[rows, 2F] from dact[rows, F]. */
    ewc_status (*geglu_bwd)(ewci_device *device, void *d_gate_up, const void *dact, const void *gate_up, int64_t rows,
                            int64_t intermediate);

    /* ---- loss ------------------------------------------------------------------------------------------------------- */
    ewc_status (*cross_entropy)(ewci_device *device, const ewci_cross_entropy *args, void *logits);

    /* ---- reductions and element-wise -------------------------------------------------------------------------------- */
    /* *sum (host) = sum of squares in double; *nonfinite (host) = how many elements are NaN or infinite (they are left out). */
    ewc_status (*sum_squares)(ewci_device *device, ewci_buffer x, int64_t n, double *sum, int64_t *nonfinite);
    /* destination += alpha * source */
    ewc_status (*add)(ewci_device *device, float *destination, const float *source, float alpha, int64_t n);
    /* Any of f32, bf16, f16 to any other, round to nearest even. */
    ewc_status (*convert)(ewci_device *device, void *destination, ewc_dtype to, const void *source, ewc_dtype from,
                          int64_t n);

    /* ---- continual learning ----------------------------------------------------------------------------------------- */
    /* fisher = decay * fisher + weight * g^2 */
    ewc_status (*fisher_accumulate)(ewci_device *device, float *fisher, ewci_buffer gradient, int64_t n, float weight,
                                    float decay);
    /* The fused AdamW+EWC pass: see ewc_update in libewc.h. stats (host) may be NULL. */
    ewc_status (*update)(ewci_device *device, int64_t n, const ewc_update_buffers *buffers,
                         const ewc_update_options *options, ewc_update_statistics *stats);
    /* The statistics of `update` without the update: penalty and distances at the present weights. */
    ewc_status (*penalty)(ewci_device *device, int64_t n, const ewc_update_buffers *buffers, float lambda,
                          ewc_update_statistics *stats);
    /* *sum (host) = sum of squares of the total gradient scale * g + lambda * F (w - anchor); for clipping of the total. */
    ewc_status (*sum_squares_total)(ewci_device *device, int64_t n, const ewc_update_buffers *buffers,
                                    float gradient_scale, float lambda, double *sum);
    /* a[i] += lambda * f[i]; b[i] += lambda * f[i] * c[i]: one task's share of a folded quadratic (double sums). */
    ewc_status (*fold_add)(ewci_device *device, double *a, double *b, ewci_buffer fisher, ewci_buffer anchor, int64_t n,
                           double lambda);
} ewci_ops;

extern const ewci_ops ewci_cpu_ops;

#endif
