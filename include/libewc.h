/* libewc: continual pre-training of Gemma-2-class decoders with elastic weight consolidation (EWC).
 *
 * This header is the reference manual. The way of one batch through the library is in docs/architecture.md, the choice of
 * estimators, lambda and penalty form in docs/ewc.md, file formats in docs/files.md.
 *
 * What holds for every call
 * - It returns an ewc_status. On failure nothing is written to out-parameters, handles stay usable, and
 *   ewc_last_error() has a sentence that names the file, tensor or option, what was expected, what was found and the remedy.
 * - The library never exits, aborts, prints, installs signal handlers, changes the locale, the environment or the process's
 *   OpenBLAS or OpenMP settings. Messages go to the log callback, if one is given.
 * - create/load/open calls hand an object to the caller, who frees it with the matching destroy call; destroy(NULL) is fine.
 *   Everything made from a context must be destroyed before the context; objects made from a model before the model.
 * - Options are structs whose first member is their size. Fill them with the matching ewc_..._default() function, which sets
 *   it, then change what you want; fields may be added at the end in later versions without breaking compiled programs.
 * - Threads: one context, and all objects made from it, is used by one thread at a time. Different contexts are independent
 *   and may be used at the same time. A context runs its work on its own number of threads.
 * - Sizes are counts of elements unless a name says bytes. Matrices are row-major. Losses are in nats.
 * - Same inputs, same build, same machine, same number of threads: the same bits, every run. */
#ifndef LIBEWC_H
#define LIBEWC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EWC_VERSION_MAJOR 0
#define EWC_VERSION_MINOR 1
#define EWC_VERSION_PATCH 0

#if defined(__GNUC__)
#define EWC_API __attribute__((visibility("default")))
#else
#define EWC_API
#endif

/* ---- Status ------------------------------------------------------------------------------------------------------- */

/* X(name, value, meaning) */
#define EWC_STATUS_LIST(X)                                                                                      \
    X(EWC_OK, 0, "success")                                                                                     \
    X(EWC_ERROR_ARGUMENT, 1, "an argument or option is invalid")                                                \
    X(EWC_ERROR_STATE, 2, "the object is not in a state in which this call makes sense")                        \
    X(EWC_ERROR_MEMORY, 3, "memory could not be had")                                                           \
    X(EWC_ERROR_IO, 4, "the system refused a file operation")                                                   \
    X(EWC_ERROR_FORMAT, 5, "a file is not what its format requires")                                            \
    X(EWC_ERROR_UNSUPPORTED, 6, "the file or option asks for something this library does not implement")        \
    X(EWC_ERROR_MISMATCH, 7, "two things that must belong together do not (model, Fisher, anchor, checkpoint)") \
    X(EWC_ERROR_NOT_FINITE, 8, "a NaN or infinity appeared in the computation")                                 \
    X(EWC_ERROR_CANCELLED, 9, "the cancellation callback asked to stop")                                        \
    X(EWC_ERROR_EXISTS, 10, "the output exists and overwriting was not asked for")                              \
    X(EWC_ERROR_DEVICE, 11, "the device or its library failed")

typedef enum ewc_status {
#define EWC_STATUS_ENUM(name, value, meaning) name = value,
    EWC_STATUS_LIST(EWC_STATUS_ENUM)
#undef EWC_STATUS_ENUM
} ewc_status;

/* "EWC_ERROR_IO" for EWC_ERROR_IO, and its meaning in words; "unknown status" for anything else. Static strings. */
EWC_API const char *ewc_status_name(ewc_status status);
EWC_API const char *ewc_status_meaning(ewc_status status);

/* "major.minor.patch" of the library that is loaded. */
EWC_API const char *ewc_version(void);

/* ---- Context ------------------------------------------------------------------------------------------------------- */

typedef struct ewc_context ewc_context;

typedef enum ewc_log_level { EWC_LOG_DEBUG = 0, EWC_LOG_INFO = 1, EWC_LOG_WARNING = 2 } ewc_log_level;

/* Vector code of the CPU backend. AUTO takes the best that the processor has; the others are for tests and bug reports and
 * are refused where the processor lacks them. */
typedef enum ewc_instruction_set {
    EWC_ISA_AUTO = 0,
    EWC_ISA_PORTABLE = 1,
    EWC_ISA_AVX2 = 2,
    EWC_ISA_AVX512 = 3
} ewc_instruction_set;

/* Matrix products of the model: what their operands are rounded to. Sums are in f32, and so is all the rest (weights, attention,
 * norms, softmax, loss, update). BF16 rounds the operands to nearest even, treats numbers below 2^-126 as zero, and pays where the
 * processor has AMX. It runs through oneDNN, if the library was built with it (make ONEDNN=1); which asks the system for the use of
 * AMX, for this process. */
typedef enum ewc_products { EWC_PRODUCTS_F32 = 0, EWC_PRODUCTS_BF16 = 1 } ewc_products;

typedef struct ewc_context_options {
    size_t struct_size;
    const char *device;                  /* "cpu" (default) */
    int threads;                         /* 0 (default): the processors this process may run on */
    ewc_instruction_set instruction_set; /* default AUTO */
    void *user;                          /* handed to every callback */
    /* All may be NULL. They are called from the thread that called the library. `message` lives during the call. */
    void (*log)(void *user, ewc_log_level level, const char *message);
    /* Return non-zero to stop: asked between micro-batches and between long pieces of work; the call in progress returns
     * EWC_ERROR_CANCELLED and leaves its objects as they were before it (a step is whole or not taken). */
    int (*cancel)(void *user);
    /* Both or neither. `bytes` > 0; result aligned to 64 bytes, or NULL when there is no memory. */
    void *(*allocate)(void *user, size_t bytes);
    void (*release)(void *user, void *pointer);
    ewc_products products; /* default F32; BF16 where it cannot be had: EWC_ERROR_UNSUPPORTED */
} ewc_context_options;

typedef struct ewc_context_info {
    size_t struct_size;       /* set by the caller to sizeof(ewc_context_info) */
    char device[32];          /* "cpu" */
    char processor[96];       /* the processor's own name */
    char instruction_set[16]; /* "portable", "avx2", "avx512" */
    char blas[96]; /* library and version of the BLAS, which multiplies large matrices where AVX2 is not there */
    char blas_kernels[32];     /* the kernels it chose, e.g. "SkylakeX" */
    int blas_kernels_expected; /* 0: not the ones this processor should run (a warning is logged where they multiply) */
    int threads;
    int64_t memory_bytes;           /* physical memory */
    int64_t memory_available_bytes; /* of it, available now */
    ewc_products products;          /* what matrix products round their operands to */
    char products_through[64];      /* "libewc avx512", "OpenBLAS Nehalem", "oneDNN 2.6.3 brg:avx512_core_amx_bf16" */
    int64_t products_bytes;         /* held by the context for converted operands; 0 with F32 */
} ewc_context_info;

EWC_API void ewc_context_options_default(ewc_context_options *options);

/* options may be NULL (defaults). If it fails, ewc_last_error(NULL) has the text. */
EWC_API ewc_status ewc_context_create(const ewc_context_options *options, ewc_context **context);
EWC_API void ewc_context_destroy(ewc_context *context);
EWC_API ewc_status ewc_context_describe(ewc_context *context, ewc_context_info *info);

/* The text of the last failure of a call on this context or on an object made from it; "" if there was none. Valid until the
 * next failing call. With NULL: of the last call of this thread that failed without a context. Never NULL. */
EWC_API const char *ewc_last_error(const ewc_context *context);

/* ---- Element types --------------------------------------------------------------------------------------------------- */

typedef enum ewc_dtype { EWC_F32 = 0, EWC_BF16 = 1, EWC_F16 = 2 } ewc_dtype;

/* A contiguous buffer of the caller (stride one) and its element type. data NULL means absent where that is allowed. */
typedef struct ewc_buffer {
    void *data;
    ewc_dtype dtype;
} ewc_buffer;

/* ---- The update on your own buffers ("bring your own model") ---------------------------------------------------------- */

/* How the penalty lambda/2 * sum_i F_i (w_i - anchor_i)^2 enters the step. With g the clipped task gradient, mhat and vhat the
 * bias-corrected moments, d = sqrt(vhat) + eps, eta the learning rate and wd the decoupled weight decay
 * (AdamW: Loshchilov and Hutter, 2019, algorithm 2):
 *   NONE      w <- w (1 - eta wd) - eta mhat / d
 *   GRADIENT  g <- g + lambda F (w - anchor), then as NONE: the published form; the penalty passes through the moments.
 *   PROXIMAL  what = w (1 - eta wd) - eta mhat / d;  r = eta lambda F / d;  w <- (what + r anchor) / (1 + r).
 *             Implicit in the penalty and preconditioned like Adam: the fixed points are those of the penalised objective,
 *             and no lambda diverges. r = 0 is NONE bit for bit, r = inf gives the anchor. */
typedef enum ewc_penalty_form {
    EWC_PENALTY_NONE = 0,
    EWC_PENALTY_GRADIENT = 1,
    EWC_PENALTY_PROXIMAL = 2
} ewc_penalty_form;

typedef struct ewc_update_buffers {
    ewc_buffer weight;   /* f32 or bf16 (bf16: rounded, see stochastic_rounding) */
    ewc_buffer m, v;     /* Adam's moments: f32 or bf16 (rounded likewise); zero before the first step */
    ewc_buffer gradient; /* f32 or bf16: of the task loss alone */
    ewc_buffer fisher;   /* f32 or bf16; absent: no penalty on these weights */
    ewc_buffer anchor;   /* f32, bf16 or f16; absent only if fisher is */
} ewc_update_buffers;

typedef struct ewc_update_options {
    size_t struct_size;
    ewc_penalty_form form; /* default PROXIMAL; without a fisher it is NONE */
    int64_t step;          /* 1 for the first step: bias correction is 1 - beta^step */
    double learning_rate;  /* of this step */
    double beta1, beta2;   /* defaults 0.9, 0.999 */
    double epsilon;        /* default 1e-8; at least 1e-15 (f32 moments do not see less) */
    double weight_decay;   /* default 0 */
    double gradient_scale; /* multiplies the gradient first: clip factor, 1/accumulation; default 1 */
    double lambda;         /* multiplies the fisher; default 0 */
    /* bf16 results (m, v, weight) are rounded to nearest even (0, default), where changes below half a unit in the last place vanish:
     * v no longer falls, nor rises by small squares. 1: rounded up or down at random, so that their mean is the exact result. The
     * random bits are a function of seed, step and the element's number alone, which is first_element + its index in the buffers. */
    int stochastic_rounding;
    uint64_t seed;         /* default 0 */
    int64_t first_element; /* default 0; when one flat order is updated in several calls: where this one begins in it */
} ewc_update_options;

/* At the weights as they were before the update; sums in double. */
typedef struct ewc_update_statistics {
    double penalty;                 /* lambda/2 sum F (w - anchor)^2 */
    double distance_squared;        /* sum (w - anchor)^2; 0 without an anchor */
    double fisher_distance_squared; /* sum F (w - anchor)^2 */
    int64_t nonfinite; /* weights that are NaN or infinite after the update; of ewc_penalty_evaluate: now */
} ewc_update_statistics;

EWC_API void ewc_update_options_default(ewc_update_options *options);

/* One fused pass over n elements. Buffers must not overlap; data need only be aligned to its element. statistics may be NULL. */
EWC_API ewc_status ewc_update(ewc_context *context, int64_t n, const ewc_update_buffers *buffers,
                              const ewc_update_options *options, ewc_update_statistics *statistics);

/* fisher[i] = decay * fisher[i] + weight * gradient[i]^2. decay is 1 to accumulate. */
EWC_API ewc_status ewc_fisher_accumulate_buffer(ewc_context *context, int64_t n, float *fisher, ewc_buffer gradient,
                                                double weight, double decay);

/* Statistics of the penalty at the present weights (buffers.m, v and gradient are not read). */
EWC_API ewc_status ewc_penalty_evaluate(ewc_context *context, int64_t n, const ewc_update_buffers *buffers,
                                        double lambda, ewc_update_statistics *statistics);

/* Sum of squares of a gradient (in double, fixed order) and the number of non-finite elements in it: for clipping. */
EWC_API ewc_status ewc_sum_squares(ewc_context *context, int64_t n, ewc_buffer gradient, double *sum,
                                   int64_t *nonfinite);

/* ---- Learning-rate schedules ------------------------------------------------------------------------------------------ */

typedef enum ewc_schedule_kind {
    EWC_SCHEDULE_CONSTANT = 0,
    EWC_SCHEDULE_LINEAR = 1, /* from peak to final over the steps after warm-up */
    EWC_SCHEDULE_COSINE = 2,
    EWC_SCHEDULE_WSD = 3 /* warm-up, stable, decay: the last `decay` steps have the tail below */
} ewc_schedule_kind;

typedef enum ewc_tail { EWC_TAIL_LINEAR = 0, EWC_TAIL_COSINE = 1, EWC_TAIL_SQRT = 2, EWC_TAIL_INVERSE = 3 } ewc_tail;

/* Rate of step s = 1..steps. Warm-up: peak * s / warmup for s <= warmup. After it, with u = (s - warmup) / (steps - warmup) in
 * (0, 1], or for WSD u = (s - (steps - decay)) / decay within the tail, and f = final_ratio:
 *   linear  peak (1 - (1 - f) u)          cosine  peak (f + (1 - f) (1 + cos(pi u)) / 2)
 *   sqrt    peak (f + (1 - f)(1 - sqrt u)) inverse  1/rate linear in u from 1/peak to 1/(f peak); needs f > 0. */
typedef struct ewc_schedule {
    size_t struct_size;
    ewc_schedule_kind kind; /* default CONSTANT */
    ewc_tail tail;          /* WSD only; default LINEAR */
    double peak;            /* default 1e-4 */
    double final_ratio;     /* default 0; at most 1 */
    int64_t steps;          /* whole length; needed by all but CONSTANT */
    int64_t warmup;         /* default 0 */
    int64_t decay;          /* WSD: length of the tail */
} ewc_schedule;

EWC_API void ewc_schedule_default(ewc_schedule *schedule);
/* Rate of `step` (1-based; beyond `steps` the last rate). NULL context is fine (the text goes to ewc_last_error(NULL)). */
EWC_API ewc_status ewc_schedule_rate(ewc_context *context, const ewc_schedule *schedule, int64_t step, double *rate);
/* Areas up to and including `step`: s1 = sum of rates; s2 = sum of m_i with m_i = 0.999 m_(i-1) + (rate_(i-1) - rate_i), m_1 = 0,
 * on which laws of continual pre-training are fitted. O(step). */
EWC_API ewc_status ewc_schedule_areas(ewc_context *context, const ewc_schedule *schedule, int64_t step, double *s1,
                                      double *s2);

/* ---- Models ------------------------------------------------------------------------------------------------------------ */

typedef struct ewc_model ewc_model;

#define EWC_MAX_LAYERS 256

typedef enum ewc_family { EWC_GEMMA2 = 2, EWC_GEMMA3 = 3 } ewc_family; /* GEMMA3: its text model */

typedef struct ewc_model_config {
    size_t struct_size;
    ewc_family family;
    int64_t vocab_size, hidden_size, intermediate_size, layers;
    int64_t heads, kv_heads, head_dim;
    int64_t max_position;                    /* longest document the model was made for; longer ones are refused */
    double query_scale;                      /* query_pre_attn_scalar: scores are q·k * query_scale^-0.5 */
    double attention_softcap, final_softcap; /* 0: none */
    double rms_norm_eps;
    double rope_theta; /* base of the rotary embedding; with rope_local_theta, of the full layers alone */
    int64_t sliding_window;
    uint8_t sliding
        [EWC_MAX_LAYERS]; /* 1: this layer is windowed. Default: layers 0, 2, 4, ...; GEMMA3: all but each sixth */
    int64_t bos_token, eos_token, pad_token; /* -1: none */
    double initializer_range;                /* standard deviation of random weights */
    double rope_local_theta;                 /* base of the windowed layers; 0 (default): rope_theta */
    double rope_scale; /* positions are divided by it in the full layers ("linear" scaling); 0 (default): 1 */
} ewc_model_config;

/* Gemma 2 with the values that its sizes share (softcaps 50 and 30, theta 10000, eps 1e-6, window 4096, ids 2, 1, 0). The caller
 * sets vocab_size to head_dim; query_scale 0 means head_dim. */
EWC_API void ewc_model_config_default(ewc_model_config *config);
/* The same for Gemma 3 text (no softcaps, theta 1e6 and 1e4, window 512, each sixth layer full, longest document 32768). Its queries and
 * keys pass through a norm over head_dim before they are rotated. */
EWC_API void ewc_model_config_gemma3(ewc_model_config *config);

/* Reads and checks a Hugging Face config.json (or a directory that holds one) without loading weights. */
EWC_API ewc_status ewc_model_config_read(ewc_context *context, const char *path, ewc_model_config *config);

/* A model with random weights: normal with initializer_range; norm weights zero. */
EWC_API ewc_status ewc_model_create(ewc_context *context, const ewc_model_config *config, uint64_t seed,
                                    ewc_model **model);

/* Loads a Hugging Face directory: config.json and safetensors, one file or sharded with an index, f32, f16 or bf16 (widened to f32).
 * Fields of config.json that the library does not know are kept and written back by save. Of a `gemma3` directory, text and vision, the
 * text model is taken, and save writes a `gemma3_text` one. */
EWC_API ewc_status ewc_model_load(ewc_context *context, const char *directory, ewc_model **model);
/* The same with only the tokens listed: of embedding, head and loss there are the rows of `ids` alone ([count], distinct, in any order;
 * those of BOS and of others that batches have must be among them), and no other token has a probability. What that does to the loss:
 * docs/ewc.md. Ids of batches, choices and files stay those of the checkpoint; one that is not listed is refused with its place. Rows lie in
 * the order of their ids: the tensor model.embed_tokens.weight is [count, hidden], and so are gradient, Fisher and anchor. A list of all ids
 * is ewc_model_load. ewc_model_save writes whole models: it takes the other rows from the directory, whose files are held open; they may
 * be replaced or removed, but must not be written into before the model is destroyed (a change that is noticed: EWC_ERROR_MISMATCH). */
EWC_API ewc_status ewc_model_load_vocabulary(ewc_context *context, const char *directory, int64_t count,
                                             const int32_t *ids, ewc_model **model);
EWC_API void ewc_model_destroy(ewc_model *model);

/* Writes a Hugging Face directory that transformers opens: config.json, safetensors (sharded above about 5 GB), and, if the model was
 * loaded from a directory, its tokenizer files. Written aside and renamed: whole or not at all. If the directory exists:
 * EWC_ERROR_EXISTS unless overwrite; then its model files are replaced, other files in it stay. */
EWC_API ewc_status ewc_model_save(ewc_model *model, const char *directory, ewc_dtype dtype, int overwrite);

/* vocab_size is that of the checkpoint, below which token ids are, also where the model has listed tokens alone. */
EWC_API ewc_status ewc_model_get_config(const ewc_model *model, ewc_model_config *config);
/* The tokens that the model has: their number, and their ids in ascending order into ids ([*count]) unless it is NULL. */
EWC_API ewc_status ewc_model_vocabulary(const ewc_model *model, int64_t *count, int32_t *ids);

/* 64-bit fingerprint of names, shapes and f32 values of all tensors: the same for a model and its exact copy. */
EWC_API ewc_status ewc_model_fingerprint(ewc_model *model, uint64_t *fingerprint);

/* All parameters lie in one flat order; weights, gradients, moments, Fisher and anchor share it. */
typedef struct ewc_tensor_info {
    size_t struct_size;
    const char *name;      /* Hugging Face name; lives as long as the model */
    int64_t rows, columns; /* columns is 1 for vectors */
    int64_t offset;        /* first element in the flat order */
    int is_vector;         /* norm weights */
} ewc_tensor_info;

EWC_API int64_t ewc_model_parameter_count(const ewc_model *model);
EWC_API int64_t ewc_model_tensor_count(const ewc_model *model);
EWC_API ewc_status ewc_model_tensor(const ewc_model *model, int64_t index, ewc_tensor_info *info);
/* Copies a tensor out of or into the model (f32, rows*columns elements; `count` is checked). */
EWC_API ewc_status ewc_model_get_tensor(ewc_model *model, const char *name, float *values, int64_t count);
EWC_API ewc_status ewc_model_set_tensor(ewc_model *model, const char *name, const float *values, int64_t count);

/* ---- Batches ------------------------------------------------------------------------------------------------------------ */

/* B sequences of L tokens. All arrays are the caller's and only read. Token ids that the model does not have
 * are refused with their place. */
typedef struct ewc_batch {
    size_t struct_size;
    int64_t sequences, length; /* B, L */
    const int32_t *tokens;     /* [B, L] inputs */
    const int32_t *targets;    /* [B, L] the token to predict at each position; < 0: not scored */
    const int32_t
        *document_start;  /* [B, L] or NULL: position in its sequence (0..L-1) of the first token of the token's
                                      document; attention and positions do not cross documents. NULL: one document a sequence */
    const float *weights; /* [B] or NULL: weight of each sequence in the loss, any sign; NULL: 1 */
} ewc_batch;

EWC_API void ewc_batch_default(ewc_batch *batch);

typedef struct ewc_evaluation {
    size_t struct_size; /* set by the caller */
    double nll;         /* sum over scored tokens of w_b * (-log p), nats */
    int64_t tokens;     /* scored tokens */
} ewc_evaluation;

/* Loss without gradients. log_probabilities: [B, L] or NULL; log p(target) at each position, 0 where not scored (weights do not
 * enter). Memory for activations is kept in the model and reused. */
EWC_API ewc_status ewc_model_evaluate(ewc_model *model, const ewc_batch *batch, ewc_evaluation *evaluation,
                                      float *log_probabilities);

/* A multiple-choice item: a prefix and several ways to go on. Arrays are the caller's and only read. */
typedef struct ewc_choice_item {
    size_t struct_size; /* set by the caller */
    int64_t prefix_length;
    const int32_t *prefix; /* [prefix_length] at least one token: BOS, and the question */
    int64_t choices;
    const int64_t *lengths;       /* [choices] tokens of each, at least 1 */
    const int32_t *const *tokens; /* [choices] arrays of so many tokens */
} ewc_choice_item;

/* Scores choices: log_likelihoods[c] = sum of log p of the choice's tokens, each given the prefix and the choice's tokens before it, item
 * after item, choice after choice. The prefix goes through the model once, and short items go through together; the results are those
 * of ewc_model_evaluate on prefix and choice alone, up to rounding. log_probabilities: log p of every token of every choice in the same
 * order, or NULL. Nothing is written on failure; the text names item, choice and token, all counted from 0. A residual hook sees the
 * rows as they are packed: each prefix without its last token, then for each choice that token and the choice without its last. */
EWC_API ewc_status ewc_model_score_choices(ewc_model *model, int64_t count, const ewc_choice_item *items,
                                           double *log_likelihoods, float *log_probabilities);

/* Loss and gradient of  (1/normalizer) * sum_b w_b sum_t -log p  for hosts that do their own optimisation and for tests.
 * normalizer <= 0: the number of scored tokens. gradient: [parameter_count], flat order, overwritten.
 * evaluation may be NULL. */
EWC_API ewc_status ewc_model_gradient(ewc_model *model, const ewc_batch *batch, double normalizer,
                                      ewc_evaluation *evaluation, float *gradient);

/* A hook on the residual stream after a layer (0-based). forward reads h [B*L, hidden] (f32); backward adds to
 * its gradient d_h, which holds only a part of it at that moment: add, do not read or overwrite.
 * `rows` = B*L. Returning non-zero cancels. Both are called on the calling thread. hook NULL removes it. Off, it costs nothing. */
typedef struct ewc_residual_hook {
    size_t struct_size;
    int64_t layer;
    void *user;
    int (*forward)(void *user, const float *h, int64_t rows, int64_t hidden); /* or NULL */
    int (*backward)(void *user, float *d_h, int64_t rows, int64_t hidden);    /* or NULL */
} ewc_residual_hook;

EWC_API ewc_status ewc_model_set_hook(ewc_model *model, const ewc_residual_hook *hook);

/* ---- Fisher diagonal ------------------------------------------------------------------------------------------------------ */

typedef struct ewc_fisher ewc_fisher;

/* With l(x) the log-likelihood of a sequence's scored tokens. Definitions and cost: docs/ewc.md. */
typedef enum ewc_estimator {
    EWC_FISHER_EMPIRICAL = 0,       /* mean over sequences of (dl/dw)^2, labels from the data */
    EWC_FISHER_EMPIRICAL_SIGNS = 1, /* the same in expectation: per batch (sum_b s_b dl_b/dw)^2 with random signs */
    EWC_FISHER_SAMPLED = 2,         /* labels drawn from the model: the true Fisher, by Monte Carlo */
    EWC_FISHER_BATCH_MEAN = 3, /* mean over batches of (batch-mean gradient)^2: biased; reproduces published code */
    EWC_FISHER_ADAM_V = 4,     /* from a trainer's second moment: ewc_fisher_from_trainer */
    EWC_FISHER_FOLDED = 5      /* sum of lambda_k F_k of several tasks: ewc_anchor_fold */
} ewc_estimator;

/* What l is per sequence: the mean or the sum over its scored tokens. */
typedef enum ewc_fisher_unit { EWC_UNIT_SEQUENCE_MEAN = 0, EWC_UNIT_SEQUENCE_SUM = 1 } ewc_fisher_unit;

typedef struct ewc_fisher_options {
    size_t struct_size;
    ewc_estimator estimator; /* default EMPIRICAL */
    ewc_fisher_unit unit;    /* default SEQUENCE_MEAN */
    uint64_t seed;           /* signs and sampled labels */
} ewc_fisher_options;

typedef struct ewc_fisher_info {
    size_t struct_size;
    ewc_estimator estimator;
    ewc_fisher_unit unit;
    int64_t sequences, tokens, batches; /* what it was estimated from; tokens are scored ones */
    uint64_t model_fingerprint;         /* ewc_model_fingerprint of the model it belongs to */
    uint64_t data_fingerprint;          /* of the tokens and targets, in order */
    int finished;
} ewc_fisher_info;

typedef struct ewc_fisher_statistics {
    size_t struct_size;
    int64_t count, zeros, nonfinite;
    double sum, mean, maximum;
    double quantiles[5]; /* 10 %, 50 %, 90 %, 99 %, 99.9 % (exact; of all elements, zeros included) */
} ewc_fisher_statistics;

EWC_API void ewc_fisher_options_default(ewc_fisher_options *options);
EWC_API const char *ewc_estimator_name(ewc_estimator estimator); /* "empirical_signs"; "unknown" */
EWC_API const char *ewc_fisher_unit_name(ewc_fisher_unit unit);  /* "sequence_mean" */

/* Starts an estimate at the model's present weights, which must not change until finish. */
EWC_API ewc_status ewc_fisher_create(ewc_model *model, const ewc_fisher_options *options, ewc_fisher **fisher);
EWC_API void ewc_fisher_destroy(ewc_fisher *fisher);
/* Adds a batch. batch.weights are refused; sequences without scored tokens are skipped and not counted. When it fails under way
 * (cancelled, say) an EMPIRICAL estimate is spoiled, because squares go straight into its sums, and every later use but
 * destroy says so with EWC_ERROR_STATE; the others are as before the call. */
EWC_API ewc_status ewc_fisher_accumulate(ewc_fisher *fisher, const ewc_batch *batch);
/* Adds an unfinished estimate of the same model, estimator and unit made elsewhere (other data). */
EWC_API ewc_status ewc_fisher_merge(ewc_fisher *fisher, const ewc_fisher *other);
/* Divides by the number of sequences (batches for BATCH_MEAN). An all-zero or non-finite result is an error. */
EWC_API ewc_status ewc_fisher_finish(ewc_fisher *fisher);
/* Online EWC (Schwarz et al., 2018): fisher = gamma * previous + fisher; both finished, in the same unit, of
 * models with the same tensors. A `fisher` mapped from a file cannot change: make the loaded one `previous`. */
EWC_API ewc_status ewc_fisher_online(ewc_fisher *fisher, const ewc_fisher *previous, double gamma);
/* Of a finished Fisher: a safetensors file with the model's tensor names; metadata as in ewc_fisher_info. */
EWC_API ewc_status ewc_fisher_save(ewc_fisher *fisher, const char *path, ewc_dtype dtype, int overwrite);
/* Refused by name: a tensor missing, of another shape or unknown to the model; not finite; all zero. Values stay in the file's dtype.
 * Whose weights it belongs to is checked when it meets its anchor (ewc_trainer_add_anchor). */
EWC_API ewc_status ewc_fisher_load(ewc_model *model, const char *path, ewc_fisher **fisher);
/* Holds a finished Fisher in memory of its own as BF16, rounded to nearest even, or F32: in bf16 half the memory and, in every
 * update, half the traffic. What it was held in before is given back at the end; a file is no longer mapped. Refused by name: a tensor that
 * is not zero but would become so everywhere, or a value beyond bf16's largest; then nothing has changed. The mean, which relative
 * lambdas refer to, is that of the rounded values. Only before ewc_trainer_add_anchor. */
EWC_API ewc_status ewc_fisher_convert(ewc_fisher *fisher, ewc_dtype dtype);
EWC_API ewc_status ewc_fisher_describe(const ewc_fisher *fisher, ewc_fisher_info *info);
/* tensor: index in the model's order, or -1 for all. */
EWC_API ewc_status ewc_fisher_stats(ewc_fisher *fisher, int64_t tensor, ewc_fisher_statistics *statistics);
EWC_API ewc_status ewc_fisher_get_tensor(ewc_fisher *fisher, const char *name, float *values, int64_t count);
/* A Fisher for the model from values of the caller, [parameter_count] in flat order, finished. */
EWC_API ewc_status ewc_fisher_from_values(ewc_model *model, const ewc_fisher_options *options, const float *values,
                                          ewc_fisher **fisher);

/* ---- Anchor ---------------------------------------------------------------------------------------------------------------- */

typedef struct ewc_anchor ewc_anchor;

/* A copy of the model's present weights. */
EWC_API ewc_status ewc_anchor_from_model(ewc_model *model, ewc_anchor **anchor);
/* The weights of a Hugging Face directory with the model's tensors, mapped from its files in their own dtype, not copied: costs
 * page cache instead of memory. The files must not change while it is open. */
EWC_API ewc_status ewc_anchor_open(ewc_model *model, const char *directory, ewc_anchor **anchor);
EWC_API ewc_status ewc_anchor_save(ewc_anchor *anchor, const char *path, int overwrite); /* one safetensors file, f32 */
EWC_API ewc_status ewc_anchor_load(ewc_model *model, const char *path, ewc_anchor **anchor);
/* Holds the anchor in memory of its own as BF16, rounded to nearest even, or F32; otherwise as ewc_fisher_convert. The penalty then pulls to
 * the rounded weights: unless they were bf16 numbers before (as those of a bf16 checkpoint are), a model that sits on the anchor begins at
 * a distance from it, about a six-hundredth of its weights' norm, which the log says. The fingerprint stays that of the weights before rounding. */
EWC_API ewc_status ewc_anchor_convert(ewc_anchor *anchor, ewc_dtype dtype);
EWC_API ewc_status ewc_anchor_fingerprint(const ewc_anchor *anchor, uint64_t *fingerprint);
EWC_API void ewc_anchor_destroy(ewc_anchor *anchor);

/* Several old tasks as one exact quadratic: A = sum_k lambda_k F_k and c = sum_k lambda_k F_k anchor_k / A, so that
 * sum_k lambda_k/2 F_k (w - anchor_k)^2 = A/2 (w - c)^2 + constant. Where A = 0, c is the first anchor. The results are
 * used with lambda = 1 and may be saved. */
EWC_API ewc_status ewc_anchor_fold(ewc_model *model, int64_t tasks, ewc_anchor *const *anchors,
                                   ewc_fisher *const *fishers, const double *lambdas, ewc_anchor **folded_anchor,
                                   ewc_fisher **folded_fisher);

/* ---- Trainer ---------------------------------------------------------------------------------------------------------------- */

typedef struct ewc_trainer ewc_trainer;

typedef enum ewc_clip_mode {
    EWC_CLIP_TASK = 0, /* norm of the task gradient (default) */
    EWC_CLIP_TOTAL = 1 /* norm of task gradient + penalty gradient, as in the published code; form GRADIENT only */
} ewc_clip_mode;

/* What a layer keeps for its backward pass; the rest is computed again, bit for bit. */
typedef enum ewc_recompute {
    EWC_RECOMPUTE_NONE = 0,        /* keep everything */
    EWC_RECOMPUTE_ELEMENTWISE = 1, /* drop norm outputs and activations: costs no matrix product (default) */
    EWC_RECOMPUTE_MLP = 2,         /* drop the gate and up projections too */
    EWC_RECOMPUTE_LAYER = 3        /* keep only the layer's input */
} ewc_recompute;

typedef struct ewc_trainer_options {
    size_t struct_size;
    ewc_schedule schedule;
    double beta1, beta2, epsilon, weight_decay; /* 0.9, 0.999, 1e-8, 0; norm weights are never decayed */
    double clip;                                /* largest gradient norm; 0 (default): off */
    ewc_clip_mode clip_mode;
    ewc_penalty_form form; /* default PROXIMAL */
    int64_t max_sequences; /* largest micro-batch that will be given: memory is taken at creation */
    int64_t max_length;
    ewc_recompute recompute;        /* for every layer, unless layer_recompute is given */
    const uint8_t *layer_recompute; /* [layers] of ewc_recompute, or NULL; copied */
    /* Of Adam's moments: F32 (default), or BF16 with stochastic rounding (docs/ewc.md): half their memory and traffic, moments that
     * are exact in the mean. A run is then a function of `seed` too; equal seeds give equal bits. */
    ewc_dtype moments_dtype;
    uint64_t seed; /* of the rounding; default 0; unused with F32 */
} ewc_trainer_options;

typedef enum ewc_phase {
    EWC_PHASE_EMBED,
    EWC_PHASE_NORM,
    EWC_PHASE_ROPE,
    EWC_PHASE_ATTENTION,
    EWC_PHASE_MLP_ACTIVATION,
    EWC_PHASE_LOSS,
    EWC_PHASE_GEMM_QKV,
    EWC_PHASE_GEMM_ATTENTION_OUT,
    EWC_PHASE_GEMM_MLP,
    EWC_PHASE_GEMM_HEAD,
    EWC_PHASE_CLIP,
    EWC_PHASE_UPDATE,
    EWC_PHASE_OTHER,
    EWC_PHASE_COUNT
} ewc_phase;
EWC_API const char *ewc_phase_name(ewc_phase phase);

typedef struct ewc_step_statistics {
    size_t struct_size; /* set by the caller */
    int64_t step;       /* 1 after the first step */
    double loss;        /* mean task loss per scored token, nats (weighted sum / tokens) */
    double penalty; /* sum_k lambda_k/2 sum F (w - anchor)^2 before the update; for several anchors up to a constant */
    double gradient_norm, clip_factor, learning_rate;
    double schedule_area1, schedule_area2; /* S1 and S2, this step included */
    double distance, fisher_distance;      /* sqrt of the sums in ewc_update_statistics; before the update */
    int64_t tokens;                        /* scored in this step */
    double seconds, phase_seconds[EWC_PHASE_COUNT];
    double lambda; /* of this step, as ewc_trainer_lambda gives it */
} ewc_step_statistics;

EWC_API void ewc_trainer_options_default(ewc_trainer_options *options);

/* The model's weights are trained in place; the model must outlive the trainer. If memory would not suffice:
 * EWC_ERROR_MEMORY with the needed and the available number. */
EWC_API ewc_status ewc_trainer_create(ewc_model *model, const ewc_trainer_options *options, ewc_trainer **trainer);
EWC_API void ewc_trainer_destroy(ewc_trainer *trainer);

/* How lambda is meant: as it is, or relative to the Fisher's scale: lambda / mean(F) (mean over all elements). */
typedef enum ewc_lambda_scale { EWC_LAMBDA_ABSOLUTE = 0, EWC_LAMBDA_RELATIVE = 1 } ewc_lambda_scale;

/* Adds lambda/2 sum F (w - anchor)^2. anchor and fisher are referenced and must outlive the trainer. Several are folded into
 * one quadratic (see ewc_anchor_fold). The Fisher's model fingerprint must be the anchor's, or allow_other_model be non-zero.
 * fisher NULL: F = 1, plain L2 to the anchor. Only before the first step. */
EWC_API ewc_status ewc_trainer_add_anchor(ewc_trainer *trainer, ewc_anchor *anchor, ewc_fisher *fisher, double lambda,
                                          ewc_lambda_scale scale, int allow_other_model);

/* Changes the strength of the penalty from the next step on: of a single anchor the absolute lambda, of several a factor on all of them
 * together (1: as they were added; adding another goes back to that). Before the first step, between steps, and after ewc_trainer_resume, which
 * puts the saved run's in force. Needs an anchor; a single one that was added with lambda 0 will do, of several one must have more. */
EWC_API ewc_status ewc_trainer_set_lambda(ewc_trainer *trainer, double lambda);
/* What is in force: for a single anchor its absolute lambda, for several the factor, 0 without an anchor. */
EWC_API double ewc_trainer_lambda(const ewc_trainer *trainer);

/* Freezes every tensor whose name matches a shell pattern (*, ?, [...]). *matched (may be NULL) = how many; none is an error. */
EWC_API ewc_status ewc_trainer_freeze(ewc_trainer *trainer, const char *pattern, int64_t *matched);

/* One optimizer step over `count` micro-batches: the loss is the mean over all scored tokens of all of them. On any failure
 * (EWC_ERROR_NOT_FINITE names the first tensor) the weights, moments and step count are as before. One exception: a weight that
 * the update itself makes non-finite, which takes extreme options, is seen only afterwards; the step then counts as taken. */
EWC_API ewc_status ewc_trainer_step(ewc_trainer *trainer, int64_t count, const ewc_batch *micro_batches,
                                    ewc_step_statistics *statistics);

/* From the next step on each step writes the mean loss (nats per scored token, weights left out; 0 where none is scored) of every sequence,
 * micro-batch after micro-batch, to losses, e.g. to tell old text from new. A step of more than `capacity` sequences is refused. The array
 * is the caller's and must stay until it is taken back with NULL; after a failed step what is in it means nothing. Costs nothing else. */
EWC_API ewc_status ewc_trainer_set_losses(ewc_trainer *trainer, double *losses, int64_t capacity);

/* Steps taken so far; penalty and distances at the present weights. */
EWC_API int64_t ewc_trainer_steps(const ewc_trainer *trainer);
EWC_API ewc_status ewc_trainer_penalty(ewc_trainer *trainer, ewc_update_statistics *statistics);

/* Saves weights (f32), moments and step to a directory, whole or not at all, replacing an earlier state there; restores them into a
 * trainer made with the same model, options and anchors: the continued run is the uninterrupted one, bit for bit. What does
 * not match is refused by name. user_data: up to 64 KiB of the host's own (data position), stored and returned; may be NULL. */
EWC_API ewc_status ewc_trainer_save(ewc_trainer *trainer, const char *directory, const char *user_data);
/* *user_data (may be NULL) is a copy to be freed with ewc_string_free, or NULL if none was saved. */
EWC_API ewc_status ewc_trainer_resume(ewc_trainer *trainer, const char *directory, char **user_data);
EWC_API void ewc_string_free(ewc_context *context, char *text);

/* The optimizer's bias-corrected second moment as a rough Fisher (estimator ADAM_V). */
EWC_API ewc_status ewc_fisher_from_trainer(ewc_trainer *trainer, ewc_fisher **fisher);

/* ---- A budget for forgetting ------------------------------------------------------------------------------------------------ */

/* Chooses lambda while a run goes on, so that the rise of the old text's loss, on a fixed probe of it and relative to its value before the
 * first step, is within the budget at the end, with as small a penalty as that takes. Arithmetic only: it is told losses and says a lambda.
 * A host with a loop of its own, or a model of its own (ewc_update_options.lambda), uses it like this (algorithm: docs/ewc.md):
 *
 *   for (step = ewc_trainer_steps(trainer);; step++) {
 *       if (ewc_budget_due(budget, step)) {                evaluate the probe; ewc_trainer_penalty
 *           ewc_budget_observe(budget, &observation, &lambda);
 *           ewc_trainer_set_lambda(trainer, lambda);
 *       }
 *       if (step == steps) break;
 *       ewc_trainer_step(...);
 *   }
 *   ewc_budget_describe(budget, &info);                    info.met */
typedef struct ewc_budget ewc_budget;

typedef struct ewc_budget_options {
    size_t struct_size;
    double budget;         /* allowed rise as a share of the first loss: 0.02 is 2 %; above 0; no default */
    ewc_schedule schedule; /* of the run: what rate is left decides how a rise is met */
    int64_t steps;         /* of the whole run */
    int64_t every; /* steps between probes; 0 (default): a twentieth of the run. At both ends there are a few more */
    double lambda; /* in force until the first probe after a step; absolute; default 0 */
} ewc_budget_options;

typedef struct ewc_budget_observation {
    size_t struct_size;
    int64_t step;    /* steps taken */
    double old_loss; /* of the probe at the present weights: mean nats a token, always of the same tokens; above 0 */
    double new_loss; /* of the step just taken; not read at step 0 */
    double fisher_distance_squared; /* at the present weights: ewc_trainer_penalty, before ewc_trainer_set_lambda */
} ewc_budget_observation;

typedef enum ewc_budget_phase {
    EWC_BUDGET_START = 0,  /* lambda from the quadratic model, calibrated by the probe */
    EWC_BUDGET_COURSE = 1, /* feedback */
    EWC_BUDGET_END = 2,    /* too little rate is left for that: lambda stays */
    EWC_BUDGET_PULL = 3    /* last resort: the budget is overdrawn near the end, the anchor is held harder and harder */
} ewc_budget_phase;
EWC_API const char *ewc_budget_phase_name(ewc_budget_phase phase); /* "course"; "unknown" */

/* As of the last observation. */
typedef struct ewc_budget_info {
    size_t struct_size;            /* set by the caller */
    int64_t step, next_step;       /* observed at (-1: not yet), due at */
    double first_loss, loss, rise; /* of the probe; rise = loss / first_loss - 1 */
    double predicted_rise;         /* what lambda was chosen by */
    double lambda;
    ewc_budget_phase phase;
    int met; /* rise <= budget */
} ewc_budget_info;

EWC_API void ewc_budget_options_default(ewc_budget_options *options);
EWC_API ewc_status ewc_budget_create(ewc_context *context, const ewc_budget_options *options, ewc_budget **budget);
EWC_API void ewc_budget_destroy(ewc_budget *budget);
/* 1: the probe is to be evaluated before any further step, and observed. At step 0 and after the last step always. */
EWC_API int ewc_budget_due(const ewc_budget *budget, int64_t step);
/* Steps must rise, beginning with 0. *lambda: for the steps that follow, absolute. */
EWC_API ewc_status ewc_budget_observe(ewc_budget *budget, const ewc_budget_observation *observation, double *lambda);
EWC_API ewc_status ewc_budget_describe(const ewc_budget *budget, ewc_budget_info *info);
/* The state as one line of text, to be kept with the training state, and back into a budget made with the same options: what follows has the
 * bits of the uninterrupted run. text: room for EWC_BUDGET_TEXT bytes. Another budget, steps or every: EWC_ERROR_MISMATCH; a damaged text:
 * EWC_ERROR_FORMAT; the budget is as before then. */
#define EWC_BUDGET_TEXT 512
EWC_API ewc_status ewc_budget_write(const ewc_budget *budget, char *text, size_t bytes);
EWC_API ewc_status ewc_budget_read(ewc_budget *budget, const char *text);

/* ---- Memory, before it is taken -------------------------------------------------------------------------------------------- */

typedef struct ewc_plan_options {
    size_t struct_size;
    int64_t sequences, length; /* micro-batch */
    ewc_recompute recompute;
    const uint8_t *layer_recompute; /* [layers] or NULL */
    int training;                   /* 1 (default): gradients and moments; 0: evaluation only */
    int fisher;                     /* 0 none, 1 in memory, 2 mapped from its file */
    ewc_dtype fisher_dtype;         /* default F32 */
    int anchor;                     /* 0 none, 1 snapshot (f32), 2 mapped, 3 in memory in anchor_dtype */
    ewc_dtype anchor_dtype;         /* of the mapped files, or in memory; default BF16 */
    ewc_dtype moments_dtype;        /* as in ewc_trainer_options; default F32 */
    int64_t vocabulary;             /* tokens of a model of listed ones (ewc_model_load_vocabulary); 0 (default): all */
} ewc_plan_options;

typedef struct ewc_plan {
    size_t struct_size; /* set by the caller */
    int64_t parameters;
    int64_t weights_bytes, gradients_bytes, moments_bytes, fisher_bytes, anchor_bytes;
    int64_t activations_bytes; /* kept from forward to backward */
    int64_t scratch_bytes;     /* shared by the layers */
    int64_t logits_bytes;      /* one chunk of the head */
    int64_t library_bytes;     /* code, BLAS buffers, thread stacks, products_bytes of the context: an estimate */
    int64_t total_bytes;
    int64_t mapped_bytes; /* of the total: file-backed pages that the system can drop (Fisher and anchor when mapped) */
    int64_t available_bytes; /* memory this machine has available now */
} ewc_plan;

EWC_API void ewc_plan_options_default(ewc_plan_options *options);
EWC_API ewc_status ewc_plan_memory(ewc_context *context, const ewc_model_config *config,
                                   const ewc_plan_options *options, ewc_plan *plan);

/* ---- Data ------------------------------------------------------------------------------------------------------------------- */

/* A stream of token ids from .npy files (one-dimensional uint16, uint32 or int32, little-endian), mapped, laid end to end in the
 * order given. Sequence k is tokens[kL .. kL+L]: L inputs and L targets one further on; n tokens give (n - 1) / L sequences. Opening fails where
 * n < L. With n = L there is no sequence, and taking a batch fails, until ewc_data_begin makes one of them. */
typedef struct ewc_data ewc_data;

typedef enum ewc_order { EWC_ORDER_SEQUENTIAL = 0, EWC_ORDER_SHUFFLE = 1 } ewc_order;

EWC_API ewc_status ewc_data_open(ewc_context *context, int64_t files, const char *const *paths, int64_t length,
                                 ewc_data **data);
EWC_API void ewc_data_destroy(ewc_data *data);
EWC_API int64_t ewc_data_tokens(const ewc_data *data);
EWC_API int64_t ewc_data_sequences(const ewc_data *data);
/* From now on every sequence begins with `token` (BOS), as pre-trained Gemma models need it: without it the loss is far off. Of the L inputs it is
 * the first and L - 1 tokens x_0 .. of the stream follow, from k (L - 1); targets are -1, x_1, .. x_(L-1), and -1 wherever x_i is `token`, since
 * where a document begins is nothing to predict. There are then (n - 1) / (L - 1) sequences; L is at least 2. */
EWC_API ewc_status ewc_data_begin(ewc_data *data, int32_t token);
/* Fails with the file and position of the first id outside [0, vocab). */
EWC_API ewc_status ewc_data_check(ewc_data *data, int64_t vocab);
/* Fails with the file and position of the first id that the model, of the same context, does not have (ewc_model_load_vocabulary). */
EWC_API ewc_status ewc_data_check_model(ewc_data *data, const ewc_model *model);
/* Sets listed[id] to 1 for every id of the stream; the others of [vocab] stay as they are. Fails as ewc_data_check, with nothing set. */
EWC_API ewc_status ewc_data_vocabulary(ewc_data *data, int64_t vocab, uint8_t *listed);
/* Sequences number first .. first+count-1 of the endless order: in SEQUENTIAL sequence first mod n; in SHUFFLE a fresh permutation per
 * pass over the data, a pure function of seed and number. tokens, targets: [count, L]. */
EWC_API ewc_status ewc_data_batch(ewc_data *data, ewc_order order, uint64_t seed, int64_t first, int64_t count,
                                  int32_t *tokens, int32_t *targets);
/* A 64-bit fingerprint of all token ids in order, however they are typed and cut into files. One pass over the data. */
EWC_API ewc_status ewc_data_fingerprint(ewc_data *data, uint64_t *fingerprint);
/* Old text among new. Of the first k sequences of the endless mixture O(k) = floor(share k + 1/2) are old: at every k within one half of
 * share k, and in any n on end within one of share n, so that every step has as equal a part as can be. 0 for a share outside [0, 1]
 * or k < 0. share is rounded to a multiple of 2^-32, everything else is exact. */
EWC_API int64_t ewc_replay_count(double share, int64_t k);
/* Sequences number first .. first+count-1 of that mixture: number k is old if O(k + 1) > O(k), and then number O(k) of `replay`, else number
 * k - O(k) of `data`, each in its own endless order as in ewc_data_batch. So k alone says what a sequence is. Both data sets are of one context
 * and one L; share 0 to 1. replayed: [count], 1 where a sequence is old, else 0; may be NULL. */
EWC_API ewc_status ewc_data_replay_batch(ewc_data *data, ewc_data *replay, double share, ewc_order order, uint64_t seed,
                                         int64_t first, int64_t count, int32_t *tokens, int32_t *targets,
                                         uint8_t *replayed);
/* document_start [count, L] for sequences cut from a stream in which `first_token` (BOS) starts each document. */
EWC_API ewc_status ewc_data_documents(int64_t count, int64_t length, const int32_t *tokens, int32_t first_token,
                                      int32_t *document_start);

/* Writes a one-dimensional .npy file, whole or not at all: ids as uint16 when all are below 65536, else uint32; or float32. */
EWC_API ewc_status ewc_npy_write_tokens(ewc_context *context, const char *path, const int32_t *tokens, int64_t count,
                                        int overwrite);
EWC_API ewc_status ewc_npy_write_f32(ewc_context *context, const char *path, const float *values, int64_t count,
                                     int overwrite);

/* Documents of a text file: .txt (the whole file is one document), .jsonl (one object a line, its string field "text"), each also
 * gzipped (.gz). Invalid UTF-8 is refused with its place. */
typedef struct ewc_text ewc_text;
EWC_API ewc_status ewc_text_open(ewc_context *context, const char *path, ewc_text **text);
/* *document: `bytes` bytes of UTF-8, NUL-terminated, valid until the next call; NULL at the end. */
EWC_API ewc_status ewc_text_next(ewc_text *text, const char **document, size_t *bytes);

/* A line of a .jsonl file of multiple-choice items: {"prefix": P, "choices": [C, ...], "answer": 0}. P and C are strings, or arrays of token
 * ids all of them; other fields are ignored. Everything it points to is valid until the next call. */
typedef struct ewc_choice_line {
    size_t struct_size;         /* set by the caller */
    int64_t line;               /* its number in the file, from 1 */
    int64_t choices, answer;    /* number of choices; which one is right, from 0 */
    const char *prefix;         /* UTF-8, NUL-terminated; NULL where the line has ids */
    const char *const *texts;   /* [choices] likewise */
    const ewc_choice_item *ids; /* NULL where the line has text */
} ewc_choice_line;
/* At the end of the file choices is 0. */
EWC_API ewc_status ewc_text_next_choices(ewc_text *text, ewc_choice_line *line);
EWC_API void ewc_text_close(ewc_text *text);

#ifdef __cplusplus
}
#endif

#endif /* LIBEWC_H */
