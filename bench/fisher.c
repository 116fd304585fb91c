/* What the Fisher's estimators cost, against an ordinary backward pass over the same batch.
 *
 * `batch_mean` is that ordinary pass: one gradient, squared once. Each repetition runs all of them, one after the other, on batches of 8 and,
 * for `empirical`, on the same sequences one at a time; medians. Processor time is of all threads together: with --threads 1 it hardly depends on
 * what else the machine does. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "libewc.h"
#include "support/measure.h"
#include "support/shapes.h"

enum { SEQUENCES = 8, CANDIDATES = 5 };

static const struct {
    const char *shape;
    int64_t length;
} SIZES[] = {{"S", 64}, {"S", 256}, {"M", 512}};
enum { SIZE_COUNT = sizeof SIZES / sizeof *SIZES };

typedef struct candidate {
    const char *name;
    ewc_estimator estimator;
    int64_t at_once; /* sequences in a batch */
} candidate;

/* The first one is what the others are divided by. */
static const candidate ALL[CANDIDATES] = {
    {"batch_mean: an ordinary pass", EWC_FISHER_BATCH_MEAN, SEQUENCES},
    {"empirical", EWC_FISHER_EMPIRICAL, SEQUENCES},
    {"empirical, one sequence at a time", EWC_FISHER_EMPIRICAL, 1},
    {"empirical_signs", EWC_FISHER_EMPIRICAL_SIGNS, SEQUENCES},
    {"sampled", EWC_FISHER_SAMPLED, SEQUENCES},
};

static ewc_fisher *make_fisher(ewc_context *ctx, ewc_model *model, ewc_estimator estimator)
{
    ewc_fisher *fisher;
    ewc_fisher_options options;
    ewc_fisher_options_default(&options);
    options.estimator = estimator;
    bench_check(ctx, ewc_fisher_create(model, &options, &fisher));
    return fisher;
}

typedef struct times {
    double wall, processor;
} times;

static times now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (times){bench_now(), (double)t.tv_sec + 1e-9 * (double)t.tv_nsec};
}

static times time_of(ewc_context *ctx, ewc_fisher *fisher, const int32_t *ids, int64_t length, int64_t at_once)
{
    ewc_batch batch;
    ewc_batch_default(&batch);
    batch.sequences = at_once;
    batch.length = length;
    times start = now();
    for (int64_t b = 0; b < SEQUENCES; b += at_once) {
        batch.tokens = ids + b * length;
        batch.targets = batch.tokens + 1;
        bench_check(ctx, ewc_fisher_accumulate(fisher, &batch));
    }
    times end = now();
    return (times){end.wall - start.wall, end.processor - start.processor};
}

static int bench_size(ewc_context *ctx, const bench_shape *shape, int64_t length, int64_t repetitions)
{
    double wall[CANDIDATES][MOST_REPETITIONS], processor[CANDIDATES][MOST_REPETITIONS];
    ewc_fisher *fishers[CANDIDATES];
    int64_t count = SEQUENCES * length + 1;
    int32_t *ids = malloc((size_t)count * sizeof *ids);
    if (ids == NULL) return 1;
    for (int64_t i = 0; i < count; i++) ids[i] = (int32_t)((uint64_t)i * 2654435761U % (uint64_t)shape->vocab);
    ewc_model_config config = bench_shape_config(shape);
    ewc_model *model = NULL;
    bench_check(ctx, ewc_model_create(ctx, &config, 1, &model));
    for (int c = 0; c < CANDIDATES; c++) fishers[c] = make_fisher(ctx, model, ALL[c].estimator);
    for (int64_t r = -1; r < repetitions; r++)
        for (int c = 0; c < CANDIDATES; c++) {
            times t = time_of(ctx, fishers[c], ids, length, ALL[c].at_once);
            if (r < 0) continue;
            wall[c][r] = t.wall;
            processor[c][r] = t.processor;
        }
    printf("%.1f million parameters, %d x %lld tokens\n", 1e-6 * (double)ewc_model_parameter_count(model), SEQUENCES,
           (long long)length);
    double ordinary[2] = {bench_median(wall[0], repetitions), bench_median(processor[0], repetitions)};
    for (int c = 0; c < CANDIDATES; c++) {
        double seconds[2] = {bench_median(wall[c], repetitions), bench_median(processor[c], repetitions)};
        printf("  %-36s %9.1f ms %5.2f %9.1f ms %5.2f\n", ALL[c].name, 1e3 * seconds[0], seconds[0] / ordinary[0],
               1e3 * seconds[1], seconds[1] / ordinary[1]);
    }
    for (int c = 0; c < CANDIDATES; c++) ewc_fisher_destroy(fishers[c]);
    ewc_model_destroy(model);
    free(ids);
    return 0;
}

int main(int argc, char **argv)
{
    bench_options options = {0};
    bench_parse(argc, argv, &options);
    ewc_context *ctx = bench_context(&options);
    int64_t repetitions = options.repetitions > 0 ? options.repetitions : 3;
    int failed = 0;
    printf("\n%-38s %18s %18s\n%-38s %18s %18s\n", "8 sequences, and as multiples", "", "", "of an ordinary pass",
           "time", "processor time");
    for (int i = 0; i < SIZE_COUNT && !failed; i++)
        failed = bench_size(ctx, bench_shape_named(SIZES[i].shape), SIZES[i].length, repetitions);
    ewc_context_destroy(ctx);
    return failed;
}
