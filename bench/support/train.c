/* See train.h. */
#include "support/train.h"

#include <stddef.h>

#include "core/context.h"
#include "core/threads.h"
#include "cpu/device.h"
#include "model/model.h"
#include "ops.h"
#include "support/measure.h"
#include "train/fisher.h"

static ewc_context *make_context(int threads)
{
    ewc_context_options options;
    ewc_context *context = NULL;
    ewc_context_options_default(&options);
    options.threads = threads;
    bench_check(NULL, ewc_context_create(&options, &context));
    return context;
}

double training_bytes(const bench_training *t)
{
    ewc_context *context = make_context(t->threads);
    ewc_plan plan = {.struct_size = sizeof plan};
    ewc_plan_options options;
    ewc_plan_options_default(&options);
    options.sequences = 1;
    options.length = t->tokens;
    options.recompute = EWC_RECOMPUTE_ELEMENTWISE;
    options.fisher = 1;
    options.anchor = 1;
    bench_check(context, ewc_plan_memory(context, &t->config, &options, &plan));
    ewc_context_destroy(context);
    return (double)plan.total_bytes;
}

/* Uniform around zero; the normal numbers of ewc_model_create would take longer than the measurement. */
static void fill_slice(void *argument, int index, int count)
{
    const ewc_model *model = argument;
    int64_t begin, end;
    float width = (float)(3.5 * model->config.initializer_range);
    ewci_slice(model->layout.parameters, 1, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        uint64_t x = (uint64_t)i * 0x9E3779B97F4A7C15U;
        model->weights[i] = width * ((float)((x ^ x >> 29) >> 40 & 0xFFFFFF) * 0x1p-24F - 0.5F);
    }
}

void training_open(bench_training *t)
{
    ewc_trainer_options options;
    t->context = make_context(t->threads);
    bench_check(t->context, ewci_model_new(t->context, &t->config, &t->model));
    ewci_parallel(t->context->device->pool, t->context->threads, fill_slice, t->model);
    bench_check(t->context, ewci_fisher_unit_values(t->model, &t->fisher));
    bench_check(t->context, ewc_anchor_from_model(t->model, &t->anchor));
    ewc_trainer_options_default(&options);
    options.max_sequences = 1;
    options.max_length = t->tokens;
    options.clip = 1;
    options.weight_decay = 0.1;
    bench_check(t->context, ewc_trainer_create(t->model, &options, &t->trainer));
    bench_check(t->context, ewc_trainer_add_anchor(t->trainer, t->anchor, t->fisher, 1.0, EWC_LAMBDA_ABSOLUTE, 1));
}

void training_close(bench_training *t)
{
    ewc_trainer_destroy(t->trainer);
    ewc_anchor_destroy(t->anchor);
    ewc_fisher_destroy(t->fisher);
    ewc_model_destroy(t->model);
    ewc_context_destroy(t->context);
    t->context = NULL;
}

ewc_batch training_batch(const bench_training *t, int64_t sequences, int64_t documents, int32_t *ids)
{
    int32_t *targets = ids + t->tokens, *start = targets + t->tokens;
    int64_t length = t->tokens / sequences, document = length / documents;
    uint32_t x = 1;
    ewc_batch batch;
    for (int64_t i = 0; i < t->tokens; i++) {
        x = x * 1664525U + 1013904223U;
        ids[i] = (int32_t)((x >> 8) % (uint32_t)t->config.vocab_size);
        start[i] = (int32_t)(i % length / document * document);
    }
    for (int64_t i = 0; i < t->tokens; i++) targets[i] = ids[(i + 1) % t->tokens];
    ewc_batch_default(&batch);
    batch.sequences = sequences;
    batch.length = length;
    batch.tokens = ids;
    batch.targets = targets;
    batch.document_start = documents > 1 ? start : NULL;
    return batch;
}

double training_reference(const bench_training *t, float *operands)
{
    const int64_t m = REFERENCE_ROWS, n = REFERENCE_COLUMNS, k = REFERENCE_DEPTH;
    float *a = operands, *b = a + m * k, *c = b + n * k;
    double start = bench_now();
    bench_check(t->context, t->context->ops->gemm(t->context->device, false, true, m, n, k, a, k, b, k, c, n, false));
    return 2.0 * (double)m * (double)n * (double)k / (bench_now() - start);
}
