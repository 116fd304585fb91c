/* Attention as a share of the rate of matrix products, and cross entropy as a share of the memory's rate.
 *
 * Attention's operations are counted over the pairs of query and key that are not masked: 4 d per pair forward (two products), 10 d backward
 * (five). Each repetition runs a product of 1024 x 1024 x 1024, a plain loop and the operations, one after the other; medians. */
#include <stdio.h>
#include <string.h>

#include "core/context.h"
#include "core/memory.h"
#include "ops.h"
#include "support/measure.h"
#include "support/plain.h"

enum { PRODUCT = 1024, VOCAB = 32000, ROWS = 1024 };

typedef struct shape {
    const char *name;
    int64_t length, sequences, heads, kv_heads, head_dim, window;
    int64_t document; /* length of the packed documents */
} shape;

static const shape SHAPES[] = {
    {"length 256 x 8, window 128, q4 kv2 d64", 256, 8, 4, 2, 64, 128, 256},
    {"length 512 x 4, window 512, q8 kv4 d128", 512, 4, 8, 4, 128, 512, 512},
    {"length 512 x 4, documents of 64, q8 kv4 d128", 512, 4, 8, 4, 128, 0, 64},
    {"length 512 x 2, window 512, q4 kv1 d256", 512, 2, 4, 1, 256, 512, 512},
    {"length 4096 x 1, window 512, q8 kv4 d128", 4096, 1, 8, 4, 128, 512, 4096},
    {"length 4096 x 1, no window, q8 kv4 d128", 4096, 1, 8, 4, 128, 0, 4096},
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof *SHAPES };

static float *take(ewc_context *ctx, int64_t n, float scale)
{
    void *memory;
    bench_check(ctx, ewci_alloc(ctx, (size_t)n * sizeof(float), "an array", &memory));
    float *x = memory;
    for (int64_t i = 0; i < n; i++) x[i] = scale * ((float)((uint32_t)(i * 2654435761) >> 8) * 0x1p-23F - 1.0F);
    return x;
}

/* ---- Attention --------------------------------------------------------------------------------------------------------- */

static double pairs_seen(const ewci_attention *a)
{
    double pairs = 0;
    for (int64_t i = 0; i < a->tokens; i++) {
        int64_t first =
            a->window > 0 && i - a->window + 1 > a->document_start[i] ? i - a->window + 1 : a->document_start[i];
        pairs += (double)(i - first + 1);
    }
    return pairs * (double)a->heads;
}

static double product_seconds(ewc_context *ctx, const float *a, const float *b, float *c)
{
    double start = bench_now();
    bench_check(ctx, ctx->ops->gemm(ctx->device, false, false, PRODUCT, PRODUCT, PRODUCT, a, PRODUCT, b, PRODUCT, c,
                                    PRODUCT, false));
    return bench_now() - start;
}

static void bench_shape(ewc_context *ctx, const shape *s, int64_t repetitions, float *const *square)
{
    int64_t tokens = s->length * s->sequences, query = s->heads * s->head_dim,
            width = query + 2 * s->kv_heads * s->head_dim;
    double product[MOST_REPETITIONS], forward[MOST_REPETITIONS], backward[MOST_REPETITIONS];
    float *qkv = take(ctx, tokens * width, 2), *dqkv = take(ctx, tokens * width, 0), *o = take(ctx, tokens * query, 0);
    float *d_o = take(ctx, tokens * query, 1), *lse = take(ctx, tokens * s->heads, 0);
    int32_t *document_start = (int32_t *)(void *)take(ctx, tokens, 0);
    for (int64_t i = 0; i < tokens; i++) document_start[i] = (int32_t)(i / s->document * s->document);
    ewci_attention a = {tokens, s->heads, s->kv_heads, s->head_dim, s->window, 0.0625F, 50, document_start, NULL, NULL};
    size_t bytes = ctx->ops->attention_scratch(ctx->device, &a);
    float *scratch = take(ctx, (int64_t)(bytes / sizeof(float)), 0);
    for (int64_t r = -1; r < repetitions; r++) {
        double of_product = product_seconds(ctx, square[0], square[1], square[2]);
        double start = bench_now();
        bench_check(ctx, ctx->ops->attention_fwd(ctx->device, &a, o, lse, qkv, scratch));
        double middle = bench_now();
        bench_check(ctx, ctx->ops->attention_bwd(ctx->device, &a, dqkv, d_o, o, lse, qkv, scratch));
        double end = bench_now();
        if (r < 0) continue;
        product[r] = of_product;
        forward[r] = middle - start;
        backward[r] = end - middle;
    }
    double pairs = pairs_seen(&a), d = (double)s->head_dim, f = bench_median(forward, repetitions);
    double b = bench_median(backward, repetitions),
           rate = 2.0 * PRODUCT * PRODUCT * PRODUCT / bench_median(product, repetitions);
    printf("%-46s %7.2f %6.0f %4.0f%% %7.2f %6.0f %4.0f%% %8.0f %7.1f\n", s->name, 1e3 * f, 1e-9 * 4 * d * pairs / f,
           100 * 4 * d * pairs / f / rate, 1e3 * b, 1e-9 * 10 * d * pairs / b, 100 * 10 * d * pairs / b / rate,
           1e-9 * rate, (double)bytes / 1048576.0);
    float *all[] = {qkv, dqkv, o, d_o, lse, (float *)(void *)document_start, scratch};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) ewci_free(ctx, all[k]);
}

/* ---- Cross entropy ----------------------------------------------------------------------------------------------------- */

static void bench_cross_entropy(ewc_context *ctx, int64_t repetitions)
{
    static const char *const names[] = {"nll alone", "nll and gradient", "sampled labels"};
    const int64_t n = (int64_t)ROWS * VOCAB;
    float *logits = take(ctx, n, 8), *fresh = take(ctx, n, 8), *weights = take(ctx, ROWS, 1), *nll = take(ctx, ROWS, 0);
    int32_t *targets = (int32_t *)(void *)take(ctx, ROWS, 0);
    static double seconds[3][MOST_REPETITIONS], plain[MOST_REPETITIONS];
    for (int64_t i = 0; i < ROWS; i++) targets[i] = (int32_t)(i * 31 % VOCAB);
    for (int64_t r = -1; r < repetitions; r++) {
        for (int mode = EWCI_CE_LOSS; mode <= EWCI_CE_SAMPLE; mode++) {
            memcpy(logits, fresh, (size_t)n * sizeof *logits);
            ewci_cross_entropy args = {.rows = ROWS,
                                       .vocab = VOCAB,
                                       .softcap = 30,
                                       .mode = (ewci_ce_mode)mode,
                                       .targets = targets,
                                       .row_weight = weights,
                                       .nll = nll};
            double start = bench_now();
            bench_check(ctx, ctx->ops->cross_entropy(ctx->device, &args, logits));
            if (r >= 0) seconds[mode][r] = bench_now() - start;
        }
        double start = bench_now();
        plain_in_place((plain_streams){1, 1}, &logits, n, ctx);
        if (r >= 0) plain[r] = bench_now() - start;
    }
    double pass = bench_median(plain, repetitions);
    printf("\nCross entropy of %d rows of %d logits with softcap; a plain pass that reads and writes them: %.2f ms, "
           "%.1f GB/s\n",
           ROWS, VOCAB, 1e3 * pass, 8e-9 * (double)n / pass);
    for (int mode = 0; mode < 3; mode++) {
        double t = bench_median(seconds[mode], repetitions);
        printf("%-46s %7.2f ms %6.3f ns/logit, %4.2f plain passes\n", names[mode], 1e3 * t, 1e9 * t / (double)n,
               t / pass);
    }
    float *all[] = {logits, fresh, weights, nll, (float *)(void *)targets};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) ewci_free(ctx, all[k]);
}

int main(int argc, char **argv)
{
    bench_options options = {0};
    bench_parse(argc, argv, &options);
    int64_t repetitions = options.repetitions > 0 ? options.repetitions : 11;
    ewc_context *ctx = bench_context(&options);
    float *square[3];
    for (int k = 0; k < 3; k++) square[k] = take(ctx, (int64_t)PRODUCT * PRODUCT, 1);
    printf("\n%-46s %20s %20s %8s %7s\n%-46s %7s %6s %5s %7s %6s %5s %8s %7s\n", "", "forward", "backward", "product",
           "scratch", "attention", "ms", "GF/s", "", "ms", "GF/s", "", "GF/s", "MiB");
    for (int k = 0; k < SHAPE_COUNT; k++) bench_shape(ctx, &SHAPES[k], repetitions, square);
    bench_cross_entropy(ctx, repetitions);
    for (int k = 0; k < 3; k++) ewci_free(ctx, square[k]);
    ewc_context_destroy(ctx);
    return 0;
}
