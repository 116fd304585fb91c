/* Multiple-choice items with their prefix computed once, against each prefix and choice as a sequence of its own: --shape S, M (default) or G.
 *
 * Random weights and tokens. An item's sequences are evaluated in one batch, and one by one. Each repetition runs all three ways;
 * medians. */
#include <stdio.h>
#include <string.h>

#include "core/context.h"
#include "core/memory.h"
#include "support/measure.h"
#include "support/shapes.h"

enum { CHOICES = 4, MOST_TOKENS = 1024 };

typedef struct sizes {
    int64_t prefix, choice; /* tokens */
} sizes;

static const sizes SIZES[] = {{256, 16}, {64, 16}, {512, 4}, {256, 64}};
enum { SIZE_COUNT = sizeof SIZES / sizeof *SIZES };

typedef struct item {
    sizes size;
    int64_t length; /* rows of prefix and choice: each but the last predicts the next */
    int32_t tokens[CHOICES * MOST_TOKENS], targets[CHOICES * MOST_TOKENS], ids[CHOICES][MOST_TOKENS];
} item;

static void fill(item *x, sizes size, int64_t vocab)
{
    uint32_t state = 1;
    x->size = size;
    x->length = size.prefix + size.choice - 1;
    for (int64_t k = 0; k < CHOICES; k++) {
        for (int64_t i = 0; i <= x->length; i++) {
            state = state * 1664525U + 1013904223U;
            x->ids[k][i] = k > 0 && i < size.prefix ? x->ids[0][i] : (int32_t)((state >> 8) % (uint32_t)vocab);
        }
        for (int64_t i = 0; i < x->length; i++) {
            x->tokens[k * x->length + i] = x->ids[k][i];
            x->targets[k * x->length + i] = i < size.prefix - 1 ? -1 : x->ids[k][i + 1];
        }
    }
}

static double together(ewc_context *ctx, ewc_model *model, const item *x)
{
    int64_t lengths[CHOICES];
    const int32_t *tokens[CHOICES];
    double scores[CHOICES], start = bench_now();
    for (int k = 0; k < CHOICES; k++) {
        lengths[k] = x->size.choice;
        tokens[k] = x->ids[k] + x->size.prefix;
    }
    ewc_choice_item one = {sizeof one, x->size.prefix, x->ids[0], CHOICES, lengths, tokens};
    bench_check(ctx, ewc_model_score_choices(model, 1, &one, scores, NULL));
    return bench_now() - start;
}

/* `sequences` in a batch. */
static double separately(ewc_context *ctx, ewc_model *model, const item *x, int64_t sequences)
{
    double start = bench_now();
    for (int64_t k = 0; k < CHOICES; k += sequences) {
        ewc_batch batch;
        ewc_evaluation e = {.struct_size = sizeof e};
        ewc_batch_default(&batch);
        batch.sequences = sequences;
        batch.length = x->length;
        batch.tokens = x->tokens + k * x->length;
        batch.targets = x->targets + k * x->length;
        bench_check(ctx, ewc_model_evaluate(model, &batch, &e, NULL));
    }
    return bench_now() - start;
}

static void run_size(ewc_context *ctx, ewc_model *model, item *x, sizes size, int64_t repetitions)
{
    double shared[MOST_REPETITIONS], batch[MOST_REPETITIONS], single[MOST_REPETITIONS], ratio[MOST_REPETITIONS];
    ewc_model_config config;
    bench_check(ctx, ewc_model_get_config(model, &config));
    fill(x, size, config.vocab_size);
    for (int64_t r = -1; r < repetitions; r++) {
        double a = together(ctx, model, x), b = separately(ctx, model, x, CHOICES), c = separately(ctx, model, x, 1);
        if (r < 0) continue;
        shared[r] = a;
        batch[r] = b;
        single[r] = c;
        ratio[r] = b / a;
    }
    int64_t rows = size.prefix - 1 + CHOICES * size.choice, alone = CHOICES * x->length;
    printf("%8lld %8lld %8lld %8lld %7.2f %11.1f %11.1f %11.1f %7.2f\n", (long long)size.prefix, (long long)size.choice,
           (long long)rows, (long long)alone, (double)alone / (double)rows, 1e3 * bench_median(shared, repetitions),
           1e3 * bench_median(batch, repetitions), 1e3 * bench_median(single, repetitions),
           bench_median(ratio, repetitions));
}

int main(int argc, char **argv)
{
    bench_options options = {0};
    ewc_model *model = NULL;
    void *memory;
    bench_parse(argc, argv, &options);
    ewc_model_config config = bench_shape_config(bench_shape_named(options.shape));
    config.max_position = MOST_TOKENS;
    ewc_context *ctx = bench_context(&options);
    bench_check(ctx, ewc_model_create(ctx, &config, 1, &model));
    bench_check(ctx, ewci_alloc(ctx, sizeof(item), "an item", &memory));
    printf("\nItems of %d choices; rows are the tokens that go through the model\n%26s %8s %7s %11s %11s %11s %7s\n"
           "%8s %8s %8s %8s %7s %11s %11s %11s %7s\n",
           CHOICES, "rows", "rows", "", "shared", "a batch", "one by one", "", "prefix", "choice", "shared", "alone",
           "ratio", "ms", "ms", "ms", "ratio");
    for (int i = 0; i < SIZE_COUNT; i++)
        run_size(ctx, model, memory, SIZES[i], options.repetitions > 0 ? options.repetitions : 7);
    ewci_free(ctx, memory);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
    return 0;
}
