/* Matrix products of a training step, f32 beside bf16: the rate of each and their ratio within one run, medians of interleaved
 * repetitions. Without bf16 products (make ONEDNN=1 builds them, the processor must have AVX-512) the f32 rates alone. The time of a
 * bf16 product includes the rounding of its f32 operands. */
#include <stdio.h>
#include <stdlib.h>

#include "core/context.h"
#include "core/memory.h"
#include "ops.h"
#include "support/measure.h"

typedef struct shape {
    const char *name;
    int transpose_a, transpose_b;
    int64_t m, n, k;
    int square; /* per-sequence squares: gemm_square */
} shape;

/* A model of hidden 768, intermediate 3072, vocabulary 32000 at 2048 tokens; and a small one of hidden 256, intermediate 1024. */
static const shape SHAPES[] = {
    {"q, k and v forward", 0, 1, 2048, 2048, 768, 0},
    {"gate and up forward", 0, 1, 2048, 6144, 768, 0},
    {"gate and up, input's gradient", 0, 0, 2048, 768, 6144, 0},
    {"gate and up, weights' gradient", 1, 0, 6144, 768, 2048, 0},
    {"down forward", 0, 1, 2048, 768, 3072, 0},
    {"head forward, 256 rows", 0, 1, 256, 32000, 768, 0},
    {"head, rows' gradient", 0, 0, 256, 768, 32000, 0},
    {"head, embedding's gradient", 1, 0, 32000, 768, 256, 0},
    {"gate and up, squares of 512 tokens", 1, 0, 6144, 768, 512, 1},
    {"small gate and up forward", 0, 1, 2048, 2048, 256, 0},
    {"small gate and up, weights' gradient", 1, 0, 2048, 256, 2048, 0},
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof *SHAPES };

typedef struct bench {
    ewc_context *contexts[2]; /* f32 and bf16, the second NULL where it cannot be had */
    float *a, *b, *c;
    double seconds[2][SHAPE_COUNT][MOST_REPETITIONS], ratio[SHAPE_COUNT][MOST_REPETITIONS];
} bench;

static ewc_context *bf16_context(const bench_options *options)
{
    ewc_context_options wanted;
    ewc_context *context = NULL;
    ewc_context_options_default(&wanted);
    wanted.threads = (int)options->threads;
    wanted.instruction_set = (ewc_instruction_set)options->instruction_set;
    wanted.products = EWC_PRODUCTS_BF16;
    if (ewc_context_create(&wanted, &context) == EWC_OK) return context;
    printf("no bf16 products: %s\n", ewc_last_error(NULL));
    return NULL;
}

static float *make_array(ewc_context *context, int64_t n)
{
    void *memory = NULL;
    bench_check(context, ewci_alloc(context, (size_t)n * sizeof(float), "an array", &memory));
    float *x = memory;
    for (int64_t i = 0; i < n; i++) x[i] = (float)((uint32_t)(i * 2654435761) >> 8) * 0x1p-24F - 0.5F;
    return x;
}

static void make_arrays(bench *b)
{
    int64_t a = 0, other = 0, c = 0;
    for (int i = 0; i < SHAPE_COUNT; i++) {
        const shape *s = &SHAPES[i];
        if (s->m * s->k > a) a = s->m * s->k;
        if (s->n * s->k > other) other = s->n * s->k;
        if (s->m * s->n > c) c = s->m * s->n;
    }
    b->a = make_array(b->contexts[0], a);
    b->b = make_array(b->contexts[0], other);
    b->c = make_array(b->contexts[0], c);
}

static double run(const bench *b, ewc_context *context, const shape *s)
{
    const int64_t lda = s->transpose_a ? s->m : s->k, ldb = s->transpose_b ? s->k : s->n;
    const double start = bench_now();
    if (s->square)
        bench_check(context,
                    context->ops->gemm_square(context->device, s->m, s->n, s->k, b->a, lda, b->b, ldb, 1e-9F, b->c));
    else
        bench_check(context, context->ops->gemm(context->device, s->transpose_a, s->transpose_b, s->m, s->n, s->k, b->a,
                                                lda, b->b, ldb, b->c, s->n, false));
    return bench_now() - start;
}

static void measure(bench *b, int64_t repetitions)
{
    for (int64_t r = -1; r < repetitions; r++) { /* the first is not counted */
        for (int i = 0; i < SHAPE_COUNT; i++) {
            double seconds[2] = {1, 1};
            for (int k = 0; k < 2; k++) {
                if (b->contexts[k] == NULL) continue;
                seconds[k] = run(b, b->contexts[k], &SHAPES[i]);
                if (r >= 0) b->seconds[k][i][r] = seconds[k];
            }
            if (r >= 0) b->ratio[i][r] = seconds[0] / seconds[1];
        }
    }
}

static void print_table(const bench *b, int64_t repetitions)
{
    printf("\nMatrix products, %lld repetitions; GF/s, bf16 with the rounding of its operands\n%-40s %6s %6s %6s %8s",
           (long long)repetitions, "product", "m", "n", "k", "f32");
    printf(b->contexts[1] != NULL ? " %8s %8s\n" : "\n", "bf16", "ratio");
    for (int i = 0; i < SHAPE_COUNT; i++) {
        const shape *s = &SHAPES[i];
        const double operations = 2e-9 * (double)s->m * (double)s->n * (double)s->k;
        printf("%-40s %6lld %6lld %6lld %8.0f", s->name, (long long)s->m, (long long)s->n, (long long)s->k,
               operations / bench_median(b->seconds[0][i], repetitions));
        if (b->contexts[1] != NULL)
            printf(" %8.0f %8.2f", operations / bench_median(b->seconds[1][i], repetitions),
                   bench_median(b->ratio[i], repetitions));
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    static bench b;
    bench_options options = {0};
    bench_parse(argc, argv, &options);
    const int64_t repetitions = options.repetitions > 0 ? options.repetitions : 7;
    b.contexts[0] = bench_context(&options);
    b.contexts[1] = bf16_context(&options);
    if (b.contexts[1] != NULL) {
        ewc_context_info info = {.struct_size = sizeof info};
        bench_check(b.contexts[1], ewc_context_describe(b.contexts[1], &info));
        printf("bf16 products through %s, %.1f MiB for operands\n", info.products_through,
               (double)info.products_bytes / 1048576);
    }
    make_arrays(&b);
    measure(&b, repetitions);
    print_table(&b, repetitions);
    ewci_free(b.contexts[0], b.a);
    ewci_free(b.contexts[0], b.b);
    ewci_free(b.contexts[0], b.c);
    ewc_context_destroy(b.contexts[1]);
    ewc_context_destroy(b.contexts[0]);
    return 0;
}
