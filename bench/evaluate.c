/* Loss-only evaluation beside the bare matrix products of its forward pass in the same run, with and without the per-token log
 * probabilities: --shape S, M or G (default).
 *
 * Random weights and tokens, all scored. Each repetition evaluates a micro-batch in both ways and then runs each product of the forward pass
 * once, by the library's gemm and by OpenBLAS's sgemm on slices; medians over the repetitions after one that is not counted. */
#include <stdio.h>
#include <string.h>

#include "core/context.h"
#include "core/memory.h"
#include "core/threads.h"
#include "cpu/device.h"
#include "model/model.h"
#include "model/workspace.h"
#include "support/measure.h"
#include "support/shapes.h"

enum { MATRICES = 5, LIBRARY = 0, OPENBLAS = 1, WAYS = 2 };

/* y[rows,out] = x[rows,in] W[out,in]^T */
typedef struct product {
    const char *name;
    int64_t times, rows, out, in, stride; /* stride: of a row of y */
    int64_t offset, layer_stride;         /* of its weights */
} product;

typedef struct bench {
    ewc_context *context;
    ewc_model *model;
    int64_t tokens, length, repetitions;
    product products[MATRICES];
    float *x, *y;
    double loss[MOST_REPETITIONS], with_log_probabilities[MOST_REPETITIONS];
    double bare[WAYS][MOST_REPETITIONS]; /* seconds of all products of a forward pass */
    double phases[EWC_PHASE_COUNT];      /* of the evaluations without log probabilities, summed */
} bench;

static void list_products(bench *b)
{
    const ewc_model_config *c = &b->model->config;
    const ewci_layout *layout = &b->model->layout;
    const ewci_layer_offsets *first = &layout->layers[0];
    int64_t hidden = c->hidden_size, query = c->heads * c->head_dim, qkv = query + 2 * c->kv_heads * c->head_dim;
    int64_t chunk = ewci_logits_chunk(c, b->tokens), t = b->tokens;
    int64_t stride = c->layers > 1 ? layout->layers[1].qkv - first->qkv : 0;
    const product all[MATRICES] = {
        {"qkv", c->layers, t, qkv, hidden, qkv, first->qkv, stride},
        {"attention output", c->layers, t, hidden, query, hidden, first->attention_out, stride},
        {"gate and up", c->layers, t, 2 * c->intermediate_size, hidden, 2 * c->intermediate_size, first->gate_up,
         stride},
        {"down", c->layers, t, hidden, c->intermediate_size, hidden, first->down, stride},
        {"head", (t + chunk - 1) / chunk, chunk, c->vocab_size, hidden, b->model->workspace->logits_stride,
         layout->embedding, 0},
    };
    memcpy(b->products, all, sizeof all);
}

static double operations(const bench *b)
{
    double sum = 0;
    for (int i = 0; i < MATRICES; i++) {
        const product *p = &b->products[i];
        sum += 2.0 * (double)p->times * (double)p->rows * (double)p->out * (double)p->in;
    }
    return sum;
}

/* Two products forward. */
static double attention_operations(const bench *b)
{
    const ewc_model_config *c = &b->model->config;
    int64_t sequences = b->tokens / b->length;
    return 4 * (double)c->head_dim * bench_attention_pairs(c, b->length) * (double)sequences;
}

static float *take(ewc_context *ctx, int64_t n)
{
    void *memory;
    bench_check(ctx, ewci_alloc(ctx, (size_t)n * sizeof(float), "an array", &memory));
    float *x = memory;
    for (int64_t i = 0; i < n; i++) x[i] = (float)((uint32_t)(i * 2654435761) >> 8) * 0x1p-23F - 1.0F;
    return x;
}

static void take_arrays(bench *b)
{
    int64_t in = 0, out = 0;
    for (int i = 0; i < MATRICES; i++) {
        const product *p = &b->products[i];
        if (p->rows * p->in > in) in = p->rows * p->in;
        if (p->rows * p->stride > out) out = p->rows * p->stride;
    }
    b->x = take(b->context, in);
    b->y = take(b->context, out);
}

typedef struct sgemm_call {
    const product *p;
    const float *x, *weights;
    float *y;
} sgemm_call;

static void run_columns(void *argument, int index, int count)
{
    const sgemm_call *c = argument;
    int64_t begin, end;
    ewci_slice(c->p->out, 16, index, count, &begin, &end);
    ewci_sgemm(false, true, c->p->rows, end - begin, c->p->in, 1.0F, c->x, c->p->in, c->weights + begin * c->p->in,
               c->p->in, 0.0F, c->y + begin, c->p->stride);
}

/* Seconds of one call. Each repetition takes another layer's weights, so that they are not in the cache. */
static double product_seconds(const bench *b, const product *p, int way, int64_t repetition)
{
    const float *weights = b->model->weights + p->offset + (repetition % b->model->config.layers) * p->layer_stride;
    sgemm_call call = {p, b->x, weights, b->y};
    double start = bench_now();
    if (way == OPENBLAS)
        ewci_parallel(b->context->device->pool, b->context->threads, run_columns, &call);
    else
        bench_check(b->context, b->context->ops->gemm(b->context->device, false, true, p->rows, p->out, p->in, b->x,
                                                      p->in, weights, p->in, b->y, p->stride, false));
    return bench_now() - start;
}

static double evaluate(bench *b, const ewc_batch *batch, float *log_probabilities)
{
    ewc_evaluation e = {.struct_size = sizeof e};
    double start = bench_now();
    bench_check(b->context, ewc_model_evaluate(b->model, batch, &e, log_probabilities));
    return bench_now() - start;
}

static void measure(bench *b, const ewc_batch *batch)
{
    float *log_probabilities = take(b->context, b->tokens);
    double phases[EWC_PHASE_COUNT] = {0};
    evaluate(b, batch, NULL);
    for (int64_t r = 0; r < b->repetitions; r++) {
        b->model->phase_seconds = phases;
        b->loss[r] = evaluate(b, batch, NULL);
        b->model->phase_seconds = NULL;
        b->with_log_probabilities[r] = evaluate(b, batch, log_probabilities);
        for (int way = 0; way < WAYS; way++) {
            b->bare[way][r] = 0;
            for (int i = 0; i < MATRICES; i++)
                b->bare[way][r] += (double)b->products[i].times * product_seconds(b, &b->products[i], way, r);
        }
    }
    memcpy(b->phases, phases, sizeof phases);
    ewci_free(b->context, log_probabilities);
}

static void print_line(const bench *b, const char *what, const double *seconds)
{
    double time = bench_median(seconds, b->repetitions);
    printf("%-44s %9.1f ms %7.0f GF/s %8.0f tokens/s", what, 1e3 * time, 1e-9 * operations(b) / time,
           (double)b->tokens / time);
    if (seconds == b->bare[LIBRARY] || seconds == b->bare[OPENBLAS]) {
        putchar('\n');
        return;
    }
    double shares[WAYS][MOST_REPETITIONS];
    for (int way = 0; way < WAYS; way++)
        for (int64_t r = 0; r < b->repetitions; r++) shares[way][r] = b->bare[way][r] / seconds[r];
    printf(" %5.1f %% of gemm %5.1f %% of sgemm\n", 100 * bench_median(shares[LIBRARY], b->repetitions),
           100 * bench_median(shares[OPENBLAS], b->repetitions));
}

static void print(const bench *b)
{
    printf("\n%lld tokens; operations of the matrix products alone\n", (long long)b->tokens);
    print_line(b, "loss", b->loss);
    print_line(b, "loss and log p of every token", b->with_log_probabilities);
    double all = operations(b) + attention_operations(b), time = bench_median(b->loss, b->repetitions);
    printf("%-44s %25.0f GF/s %28.1f %% of gemm %5.1f %% of sgemm\n", "loss, attention's operations counted too",
           1e-9 * all / time, 100 * all / operations(b) * bench_median(b->bare[LIBRARY], b->repetitions) / time,
           100 * all / operations(b) * bench_median(b->bare[OPENBLAS], b->repetitions) / time);
    print_line(b, "the products bare: the library's gemm", b->bare[LIBRARY]);
    print_line(b, "the products bare: OpenBLAS's sgemm", b->bare[OPENBLAS]);
    printf("\nby phase, mean of the evaluations\n");
    for (int phase = 0; phase < EWC_PHASE_COUNT; phase++)
        if (b->phases[phase] > 0)
            printf("%-44s %9.1f ms\n", ewc_phase_name((ewc_phase)phase),
                   1e3 * b->phases[phase] / (double)b->repetitions);
}

int main(int argc, char **argv)
{
    bench_options options = {.shape = "G"};
    static bench b;
    bench_parse(argc, argv, &options);
    const bench_shape *shape = bench_shape_named(options.shape);
    ewc_model_config config = bench_shape_config(shape);
    b.repetitions = options.repetitions > 0 ? options.repetitions : 7;
    b.tokens = shape->sequences * shape->length;
    b.length = shape->length;
    b.context = bench_context(&options);
    bench_check(b.context, ewc_model_create(b.context, &config, 1, &b.model));
    int32_t *ids = (int32_t *)(void *)take(b.context, 2 * b.tokens);
    ewc_batch batch = bench_shape_batch(shape, ids);
    bench_check(b.context, ewci_model_reserve(b.model, b.tokens, false, NULL));
    list_products(&b);
    take_arrays(&b);
    measure(&b, &batch);
    print(&b);
    ewci_free(b.context, ids);
    ewci_free(b.context, b.x);
    ewci_free(b.context, b.y);
    ewc_model_destroy(b.model);
    ewc_context_destroy(b.context);
    return 0;
}
