/* A small fixed piece of work through every hot loop of the library, for callgrind: instructions.py runs it and counts.
 *
 *   hot_loops portable | avx2
 *
 * It estimates a Fisher, trains a step with each form of the penalty and passes over 16-bit buffers, all on one thread; tiny, because
 * valgrind takes long over fused products. Exit status 77: this processor lacks the instruction set. What it prints names the compiler and the BLAS,
 * on both of which the counts depend. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libewc.h"

enum { VOCAB = 512, SEQUENCES = 2, LENGTH = 96, TOKENS = SEQUENCES * LENGTH, ELEMENTS = 40000, SKIPPED = 77 };

static void check(ewc_context *context, ewc_status status)
{
    if (status == EWC_OK) return;
    fprintf(stderr, "hot_loops: %s: %s\n", ewc_status_name(status), ewc_last_error(context));
    exit(status == EWC_ERROR_UNSUPPORTED ? SKIPPED : 1);
}

static ewc_context *make_context(const char *name)
{
    ewc_context_options options;
    ewc_context_info info = {.struct_size = sizeof info};
    ewc_context *context = NULL;
    ewc_context_options_default(&options);
    options.threads = 1;
    options.instruction_set = strcmp(name, "avx2") == 0 ? EWC_ISA_AVX2 : EWC_ISA_PORTABLE;
    check(NULL, ewc_context_create(&options, &context));
    check(context, ewc_context_describe(context, &info));
    printf("compiler: %s\n", __VERSION__);
    printf("blas: %.*s\n", (int)strcspn(strstr(info.blas, "OpenBLAS ") + 9, " ") + 9, info.blas);
    printf("kernels: %s, %s\n", info.instruction_set, info.blas_kernels);
    return context;
}

static ewc_model *make_model(ewc_context *context)
{
    ewc_model_config c;
    ewc_model *model = NULL;
    ewc_model_config_default(&c);
    c.vocab_size = VOCAB;
    c.hidden_size = 64;
    c.intermediate_size = 192;
    c.layers = 2;
    c.heads = 4;
    c.kv_heads = 2;
    c.head_dim = 32;
    c.sliding_window = 32;
    c.max_position = LENGTH;
    check(context, ewc_model_create(context, &c, 1, &model));
    return model;
}

/* The second sequence holds two documents. */
static ewc_batch make_batch(void)
{
    static int32_t inputs[TOKENS], targets[TOKENS], document_start[TOKENS];
    ewc_batch batch;
    uint32_t x = 1;
    for (int i = 0; i < TOKENS; i++) {
        x = x * 1664525U + 1013904223U;
        inputs[i] = (int32_t)(x >> 8) % VOCAB;
        document_start[i] = i >= LENGTH + 40 ? 40 : 0;
    }
    for (int i = 0; i < TOKENS; i++) targets[i] = inputs[(i + 1) % TOKENS];
    ewc_batch_default(&batch);
    batch.sequences = SEQUENCES;
    batch.length = LENGTH;
    batch.tokens = inputs;
    batch.targets = targets;
    batch.document_start = document_start;
    return batch;
}

static void train(ewc_context *context, ewc_model *model, ewc_fisher *fisher, ewc_anchor *anchor, ewc_penalty_form form)
{
    ewc_trainer *trainer = NULL;
    ewc_trainer_options options;
    ewc_batch batch = make_batch();
    ewc_trainer_options_default(&options);
    options.max_sequences = SEQUENCES;
    options.max_length = LENGTH;
    options.clip = 1;
    options.form = form;
    options.clip_mode = form == EWC_PENALTY_GRADIENT ? EWC_CLIP_TOTAL : EWC_CLIP_TASK;
    check(context, ewc_trainer_create(model, &options, &trainer));
    check(context, ewc_trainer_add_anchor(trainer, anchor, fisher, 1.0, EWC_LAMBDA_RELATIVE, 0));
    ewc_step_statistics statistics = {.struct_size = sizeof statistics};
    check(context, ewc_trainer_step(trainer, 1, &batch, &statistics));
    ewc_trainer_destroy(trainer);
}

/* Buffers of the caller in 16 bits: zeros, since no count depends on values. */
static void update_buffers(ewc_context *context)
{
    static uint16_t weight[ELEMENTS], fisher[ELEMENTS], anchor[ELEMENTS], gradient[ELEMENTS];
    static float m[ELEMENTS], v[ELEMENTS], sum[ELEMENTS];
    ewc_update_buffers buffers = {.weight = {weight, EWC_BF16},
                                  .m = {m, EWC_F32},
                                  .v = {v, EWC_F32},
                                  .gradient = {gradient, EWC_BF16},
                                  .fisher = {fisher, EWC_BF16},
                                  .anchor = {anchor, EWC_F16}};
    ewc_update_options options;
    ewc_update_statistics statistics;
    ewc_update_options_default(&options);
    options.step = 1;
    options.learning_rate = 1e-3;
    options.lambda = 1;
    check(context, ewc_update(context, ELEMENTS, &buffers, &options, &statistics));
    check(context, ewc_penalty_evaluate(context, ELEMENTS, &buffers, 1.0, &statistics));
    check(context, ewc_fisher_accumulate_buffer(context, ELEMENTS, sum, buffers.gradient, 1.0, 0.5));
}

int main(int argc, char **argv)
{
    if (argc != 2 || (strcmp(argv[1], "portable") != 0 && strcmp(argv[1], "avx2") != 0)) {
        fprintf(stderr, "usage: %s portable | avx2\n", argv[0]);
        return 2;
    }
    ewc_context *context = make_context(argv[1]);
    ewc_model *model = make_model(context);
    ewc_batch batch = make_batch();
    ewc_fisher_options options;
    ewc_fisher *fisher = NULL;
    ewc_anchor *anchor = NULL;
    ewc_fisher_options_default(&options);
    check(context, ewc_fisher_create(model, &options, &fisher));
    check(context, ewc_fisher_accumulate(fisher, &batch));
    check(context, ewc_fisher_finish(fisher));
    check(context, ewc_anchor_from_model(model, &anchor));
    train(context, model, fisher, anchor, EWC_PENALTY_PROXIMAL);
    update_buffers(context);
    train(context, model, fisher, anchor, EWC_PENALTY_GRADIENT);
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
    ewc_model_destroy(model);
    ewc_context_destroy(context);
    return 0;
}
