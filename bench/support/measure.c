/* See measure.h. */
#include "support/measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void usage(const char *program, const char *found)
{
    fprintf(
        stderr,
        "%s: expected --elements N, --repetitions N, --threads N, --instruction-set 1|2|3 (portable, AVX2, AVX-512), "
        "--stagger N, --recompute 0..3, --seconds N, --memory GIB, --shape S|M|G, --state f32|bf16, --products "
        "f32|bf16, --curve NAME or --json FILE, found %s\n",
        program, found);
    exit(2);
}

void bench_parse(int argc, char **argv, bench_options *options)
{
    const struct {
        const char *name;
        int64_t *value;
        const char **text;
    } known[] = {{"--elements", &options->elements, NULL}, {"--repetitions", &options->repetitions, NULL},
                 {"--threads", &options->threads, NULL},   {"--instruction-set", &options->instruction_set, NULL},
                 {"--stagger", &options->stagger, NULL},   {"--recompute", &options->recompute, NULL},
                 {"--seconds", &options->seconds, NULL},   {"--memory", &options->memory, NULL},
                 {"--shape", NULL, &options->shape},       {"--state", NULL, &options->state},
                 {"--curve", NULL, &options->curve},       {"--json", NULL, &options->json},
                 {"--products", NULL, &options->products}};
    const size_t count = sizeof known / sizeof *known;
    for (int i = 1; i < argc; i += 2) {
        size_t k = 0;
        while (k < count && strcmp(argv[i], known[k].name) != 0) k++;
        if (k == count || i + 1 == argc) usage(argv[0], argv[i]);
        if (known[k].text != NULL) {
            *known[k].text = argv[i + 1];
            continue;
        }
        char *end = NULL;
        *known[k].value = strtoll(argv[i + 1], &end, 10);
        if (end == argv[i + 1] || *end != 0 || *known[k].value < 0) usage(argv[0], argv[i + 1]);
    }
    if (options->products != NULL && strcmp(options->products, "f32") != 0 && strcmp(options->products, "bf16") != 0)
        usage(argv[0], options->products);
    if (options->repetitions > MOST_REPETITIONS) options->repetitions = MOST_REPETITIONS;
}

void bench_check(ewc_context *context, ewc_status status)
{
    if (status == EWC_OK) return;
    fprintf(stderr, "%s: %s\n", ewc_status_name(status), ewc_last_error(context));
    exit(1);
}

ewc_context *bench_context(const bench_options *options)
{
    ewc_context_options wanted;
    ewc_context_info info = {.struct_size = sizeof info};
    ewc_context *context = NULL;
    ewc_context_options_default(&wanted);
    wanted.threads = (int)options->threads;
    wanted.instruction_set = (ewc_instruction_set)options->instruction_set;
    if (options->products != NULL && strcmp(options->products, "bf16") == 0) wanted.products = EWC_PRODUCTS_BF16;
    bench_check(NULL, ewc_context_create(&wanted, &context));
    bench_check(context, ewc_context_describe(context, &info));
    printf("libewc %s, %s, %d threads, %s; products: %s, OpenBLAS kernels %s%s; memory %.1f GiB, available %.1f GiB\n",
           ewc_version(), info.processor, info.threads, info.instruction_set, info.products_through, info.blas_kernels,
           info.blas_kernels_expected ? "" : " (NOT the ones for this processor)",
           (double)info.memory_bytes / 1073741824.0, (double)info.memory_available_bytes / 1073741824.0);
    return context;
}

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

double bench_median(const double *values, int64_t count)
{
    double sorted[MOST_REPETITIONS];
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    return count % 2 ? sorted[count / 2] : 0.5 * (sorted[count / 2 - 1] + sorted[count / 2]);
}
