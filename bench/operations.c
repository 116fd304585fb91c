/* Operations that move memory, as GB/s, ns per parameter and as a share of the rate of a plain loop with the same streams; and the
 * rate of matrix products. Each repetition runs an operation and its plain loop one after the other, in turn for all operations;
 * medians over the repetitions, the share being the median of the pairs' ratios. The arrays begin at multiples of huge pages, as the
 * library's own large buffers do; with --stagger N array k begins k N elements later. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/context.h"
#include "core/convert.h"
#include "core/memory.h"
#include "cpu/device.h"
#include "ops.h"
#include "support/measure.h"
#include "support/plain.h"

enum { ARRAYS = 8, WEIGHT = 0, M, V, GRADIENT, FISHER, ANCHOR };

typedef struct bench {
    ewc_context *ctx;
    int64_t n, repetitions, stagger;
    void *memory[ARRAYS];
    float *x[ARRAYS];
    uint16_t *half[ARRAYS]; /* bf16 forms of those between M and ANCHOR */
} bench;

/* ---- Data ------------------------------------------------------------------------------------------------------------- */

typedef struct filling {
    float *x;
    uint16_t *half;
    int64_t n;
    int seed;
} filling;

/* Numbers in [0.25, 0.75), first touched by the thread that will use them; the plain loops keep them there. */
static void fill_slice(void *argument, int index, int count)
{
    const filling *f = argument;
    int64_t begin, end;
    ewci_slice(f->n, 64, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        float value = 0.25F + 0.5F * (float)((uint32_t)(i * 2654435761 + f->seed * 40503) >> 8) * 0x1p-24F;
        f->x[i] = value;
        if (f->half != NULL) f->half[i] = ewci_bf16_of_f32(value);
    }
}

static void *make_array(bench *b, size_t size)
{
    void *memory = NULL;
    bench_check(b->ctx, ewci_alloc(b->ctx, (size_t)(b->n + ARRAYS * b->stagger) * size, "an array", &memory));
    return memory;
}

static void make_arrays(bench *b)
{
    for (int k = 0; k < ARRAYS; k++) {
        b->memory[k] = make_array(b, sizeof(float));
        b->x[k] = (float *)b->memory[k] + k * b->stagger;
        b->half[k] = k >= M && k <= ANCHOR ? make_array(b, sizeof(uint16_t)) : NULL;
        filling f = {b->x[k], b->half[k], b->n, k};
        ewci_parallel(b->ctx->device->pool, b->ctx->threads, fill_slice, &f);
    }
}

static ewc_buffer array(const bench *b, int k, ewc_dtype dtype)
{
    void *data = dtype == EWC_F32 ? (void *)b->x[k] : (void *)b->half[k];
    return (ewc_buffer){data, dtype};
}

/* ---- Operations ------------------------------------------------------------------------------------------------------- */

typedef struct operation {
    const char *name;
    void (*run)(bench *b, const struct operation *o);
    plain_streams streams;
    double bytes; /* moved per parameter: read and written */
    ewc_penalty_form form;
    int penalty;              /* with Fisher and anchor */
    ewc_dtype moments, extra; /* types of m and v; of the Fisher and the anchor */
} operation;

static ewc_update_buffers buffers_of(bench *b, const operation *o)
{
    ewc_update_buffers buffers = {.weight = array(b, WEIGHT, EWC_F32),
                                  .m = array(b, M, o->moments),
                                  .v = array(b, V, o->moments),
                                  .gradient = array(b, GRADIENT, EWC_F32)};
    if (o->penalty) {
        buffers.fisher = array(b, FISHER, o->extra);
        buffers.anchor = array(b, ANCHOR, o->extra);
    }
    return buffers;
}

static void update(bench *b, const operation *o, int stochastic_rounding)
{
    ewc_update_buffers buffers = buffers_of(b, o);
    ewc_update_options options;
    ewc_update_statistics statistics;
    ewc_update_options_default(&options);
    options.form = o->form;
    options.learning_rate = 1e-3;
    options.weight_decay = 0.1;
    options.lambda = 10;
    options.step = 100;
    options.stochastic_rounding = stochastic_rounding;
    bench_check(b->ctx, b->ctx->ops->update(b->ctx->device, b->n, &buffers, &options, &statistics));
}

static void run_update(bench *b, const operation *o)
{
    update(b, o, 0);
}

static void run_update_stochastic(bench *b, const operation *o)
{
    update(b, o, 1);
}

static void run_penalty(bench *b, const operation *o)
{
    ewc_update_buffers buffers = buffers_of(b, o);
    ewc_update_statistics statistics;
    bench_check(b->ctx, b->ctx->ops->penalty(b->ctx->device, b->n, &buffers, 10.0F, &statistics));
}

static void run_sum_squares(bench *b, const operation *o)
{
    double sum;
    int64_t nonfinite;
    ewc_buffer x = array(b, GRADIENT, o->extra);
    bench_check(b->ctx, b->ctx->ops->sum_squares(b->ctx->device, x, b->n, &sum, &nonfinite));
}

static void run_sum_squares_total(bench *b, const operation *o)
{
    ewc_update_buffers buffers = buffers_of(b, o);
    double sum;
    bench_check(b->ctx, b->ctx->ops->sum_squares_total(b->ctx->device, b->n, &buffers, 1.0F, 10.0F, &sum));
}

static void run_fisher_accumulate(bench *b, const operation *o)
{
    ewc_buffer gradient = array(b, GRADIENT, o->extra);
    bench_check(b->ctx, b->ctx->ops->fisher_accumulate(b->ctx->device, b->x[FISHER], gradient, b->n, 0.5F, 0.5F));
}

static void run_add(bench *b, const operation *o)
{
    (void)o;
    bench_check(b->ctx, b->ctx->ops->add(b->ctx->device, b->x[FISHER], b->x[ANCHOR], 1e-3F, b->n));
}

static const operation OPERATIONS[] = {
    {"update, no penalty", run_update, {4, 3}, 28, EWC_PENALTY_NONE, 0, EWC_F32, EWC_F32},
    {"update, proximal", run_update, {6, 3}, 36, EWC_PENALTY_PROXIMAL, 1, EWC_F32, EWC_F32},
    {"update, gradient form", run_update, {6, 3}, 36, EWC_PENALTY_GRADIENT, 1, EWC_F32, EWC_F32},
    {"update, proximal, bf16 Fisher and anchor", run_update, {6, 3}, 32, EWC_PENALTY_PROXIMAL, 1, EWC_F32, EWC_BF16},
    {"update, proximal, bf16 moments, Fisher and anchor",
     run_update,
     {6, 3},
     24,
     EWC_PENALTY_PROXIMAL,
     1,
     EWC_BF16,
     EWC_BF16},
    {"update, proximal, all of these, stochastic rounding",
     run_update_stochastic,
     {6, 3},
     24,
     EWC_PENALTY_PROXIMAL,
     1,
     EWC_BF16,
     EWC_BF16},
    {"update, proximal, bf16 moments, stochastic rounding",
     run_update_stochastic,
     {6, 3},
     28,
     EWC_PENALTY_PROXIMAL,
     1,
     EWC_BF16,
     EWC_F32},
    {"update, no penalty, bf16 moments, stochastic rounding",
     run_update_stochastic,
     {4, 3},
     20,
     EWC_PENALTY_NONE,
     0,
     EWC_BF16,
     EWC_F32},
    {"penalty", run_penalty, {3, 0}, 12, EWC_PENALTY_NONE, 1, EWC_F32, EWC_F32},
    {"sum_squares", run_sum_squares, {1, 0}, 4, EWC_PENALTY_NONE, 0, EWC_F32, EWC_F32},
    {"sum_squares, bf16", run_sum_squares, {1, 0}, 2, EWC_PENALTY_NONE, 0, EWC_F32, EWC_BF16},
    {"sum_squares_total", run_sum_squares_total, {4, 0}, 16, EWC_PENALTY_NONE, 1, EWC_F32, EWC_F32},
    {"fisher_accumulate", run_fisher_accumulate, {2, 1}, 12, EWC_PENALTY_NONE, 0, EWC_F32, EWC_F32},
    {"fisher_accumulate, bf16 gradient", run_fisher_accumulate, {2, 1}, 10, EWC_PENALTY_NONE, 0, EWC_F32, EWC_BF16},
    {"add", run_add, {2, 1}, 12, EWC_PENALTY_NONE, 0, EWC_F32, EWC_F32},
};
enum { OPERATION_COUNT = sizeof OPERATIONS / sizeof *OPERATIONS };

static double plain_bytes(plain_streams s)
{
    return 4.0 * (s.read + s.written);
}

static void bench_operations(bench *b)
{
    static double seconds[OPERATION_COUNT][MOST_REPETITIONS], plain[OPERATION_COUNT][MOST_REPETITIONS];
    static double share[OPERATION_COUNT][MOST_REPETITIONS];
    for (int64_t r = -1; r < b->repetitions; r++) { /* the first is not counted */
        for (int k = 0; k < OPERATION_COUNT; k++) {
            const operation *o = &OPERATIONS[k];
            double start = bench_now();
            o->run(b, o);
            double middle = bench_now();
            plain_in_place(o->streams, b->x, b->n, b->ctx);
            double end = bench_now();
            if (r < 0) continue;
            seconds[k][r] = middle - start;
            plain[k][r] = end - middle;
            share[k][r] = (o->bytes / (middle - start)) / (plain_bytes(o->streams) / (end - middle));
        }
    }
    double n = (double)b->n;
    printf("\nOperations over %.1f million parameters, %lld repetitions; the plain loop has as many streams\n",
           1e-6 * n, (long long)b->repetitions);
    printf("%-52s %8s %8s %8s %12s %7s\n", "operation", "bytes/p", "ns/p", "GB/s", "plain GB/s", "share");
    for (int k = 0; k < OPERATION_COUNT; k++) {
        const operation *o = &OPERATIONS[k];
        double t = bench_median(seconds[k], b->repetitions), p = bench_median(plain[k], b->repetitions);
        printf("%-52s %8.0f %8.3f %8.1f %6.1f (%d,%d) %6.0f%%\n", o->name, o->bytes, 1e9 * t / n,
               1e-9 * o->bytes * n / t, 1e-9 * plain_bytes(o->streams) * n / p, o->streams.read, o->streams.written,
               100 * bench_median(share[k], b->repetitions));
    }
}

static void bench_triads(bench *b)
{
    static double seconds[ARRAYS + 1][MOST_REPETITIONS];
    for (int64_t r = -1; r < b->repetitions; r++) {
        for (int k = 2; k <= ARRAYS; k++) {
            double start = bench_now();
            plain_triad(k, b->x, b->n, b->ctx);
            if (r >= 0) seconds[k][r] = bench_now() - start;
        }
    }
    printf("\nPlain triads, one array written, the others read:");
    for (int k = 2; k <= ARRAYS; k++)
        printf("%s %d arrays %.1f GB/s", k > 2 ? "," : "", k,
               4e-9 * k * (double)b->n / bench_median(seconds[k], b->repetitions));
    printf("\n");
}

/* ---- Matrix products -------------------------------------------------------------------------------------------------- */

typedef struct product {
    const char *name;
    int transpose_a, transpose_b;
    int64_t m, n, k;
} product;

/* Shapes of a model of hidden 768, intermediate 3072, vocabulary 32000 at 2048 tokens. */
static const product PRODUCTS[] = {
    {"q, k and v forward", 0, 1, 2048, 2048, 768},
    {"gate and up forward", 0, 1, 2048, 6144, 768},
    {"gate and up, input's gradient", 0, 0, 2048, 768, 6144},
    {"gate and up, weights' gradient", 1, 0, 6144, 768, 2048},
    {"down forward", 0, 1, 2048, 768, 3072},
    {"head forward, 256 rows", 0, 1, 256, 32000, 768},
};
enum { PRODUCT_COUNT = sizeof PRODUCTS / sizeof *PRODUCTS };

static void bench_products(bench *b)
{
    static double seconds[PRODUCT_COUNT][MOST_REPETITIONS];
    for (int64_t r = -1; r < b->repetitions; r++) {
        for (int i = 0; i < PRODUCT_COUNT; i++) {
            const product *p = &PRODUCTS[i];
            double start = bench_now();
            bench_check(b->ctx, b->ctx->ops->gemm(b->ctx->device, p->transpose_a, p->transpose_b, p->m, p->n, p->k,
                                                  b->x[0], p->transpose_a ? p->m : p->k, b->x[1],
                                                  p->transpose_b ? p->k : p->n, b->x[2], p->n, false));
            if (r >= 0) seconds[i][r] = bench_now() - start;
        }
    }
    printf("\nMatrix products in f32\n%-52s %6s %6s %6s %8s\n", "product", "m", "n", "k", "GF/s");
    for (int i = 0; i < PRODUCT_COUNT; i++) {
        const product *p = &PRODUCTS[i];
        printf("%-52s %6lld %6lld %6lld %8.0f\n", p->name, (long long)p->m, (long long)p->n, (long long)p->k,
               2e-9 * (double)p->m * (double)p->n * (double)p->k / bench_median(seconds[i], b->repetitions));
    }
}

int main(int argc, char **argv)
{
    bench_options options = {0};
    bench_parse(argc, argv, &options);
    bench b = {.n = options.elements > 0 ? options.elements : 48 << 20,
               .repetitions = options.repetitions > 0 ? options.repetitions : 11,
               .stagger = options.stagger};
    if (b.n < 16 << 20) {
        fprintf(stderr, "--elements: expected at least %d, found %lld\n", 16 << 20, (long long)b.n);
        return 2;
    }
    b.ctx = bench_context(&options);
    make_arrays(&b);
    bench_triads(&b);
    bench_operations(&b);
    bench_products(&b);
    for (int k = 0; k < ARRAYS; k++) {
        ewci_free(b.ctx, b.memory[k]);
        ewci_free(b.ctx, b.half[k]);
    }
    ewc_context_destroy(b.ctx);
    return 0;
}
