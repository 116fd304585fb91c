/* How a training step with EWC scales: with threads, with the length of sequences, with the vocabulary, with the number of
 * parameters, and with the number of documents in a sequence.
 *
 *   --curve threads|length|vocabulary|parameters|documents   one of them (default: all)
 *   --seconds N    at most about so long for each curve (default 100)
 *   --memory N     GiB that models may take together (default 16, but never more than is available)
 *   --elements N   tokens of a step on the curves length and documents (default 8192)
 *   --json FILE    the same numbers for plot.py
 *
 * All points of a curve have the same number of tokens in a step. Beside the tokens per second that a point reaches is what
 * its operations explain: the rate of the curve's first point times the operations that this one takes per token times fewer, and
 * times its threads. Medians; a ratio is the median of the ratios within each repetition. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "core/system.h"
#include "core/threads.h"
#include "support/curve.h"
#include "support/measure.h"
#include "support/shapes.h"

#define GIB 1073741824.0

/* ---- The curves ----------------------------------------------------------------------------------------------------------- */

typedef struct settings {
    int threads;
    double bytes;   /* that models may take */
    int64_t tokens; /* of a step, see --elements */
} settings;

static bench_point *add_point(bench_curve *curve, double place, const bench_shape *shape, int threads)
{
    bench_point *p = &curve->points[curve->count++];
    p->place = place;
    p->training = (bench_training){.threads = threads,
                                   .config = bench_shape_config(shape),
                                   .tokens = shape->sequences * shape->length};
    p->sequences = shape->sequences;
    p->documents = 1;
    return p;
}

/* The body of the curves on which neither the body nor the vocabulary is what changes: 20 million parameters. */
static const bench_shape BODY = {"body", 8192, 512, 4, 8, 4, 64, 2048, 512, 1, 8192};

static void threads_curve(bench_curve *curve, const settings *s)
{
    curve->axis = "threads";
    for (int n = 1; curve->count < MOST_POINTS; n *= 2) {
        if (n > s->threads) n = s->threads;
        add_point(curve, n, bench_shape_named("M"), n);
        if (n == s->threads) break;
    }
}

static void length_curve(bench_curve *curve, const settings *s)
{
    curve->axis = "length of a sequence";
    bench_shape shape = BODY;
    shape.length = s->tokens;
    for (int64_t length = 256; length <= s->tokens; length *= 2) {
        bench_point *p = add_point(curve, (double)length, &shape, s->threads);
        p->sequences = s->tokens / length;
        p->like_before = length > 256;
    }
}

static void documents_curve(bench_curve *curve, const settings *s)
{
    curve->axis = "length of a document";
    bench_shape shape = BODY;
    shape.length = s->tokens;
    for (int64_t length = s->tokens; length >= 32; length /= 4) {
        bench_point *p = add_point(curve, (double)length, &shape, s->threads);
        p->documents = s->tokens / length;
        p->like_before = length < s->tokens;
    }
}

static void vocabulary_curve(bench_curve *curve, const settings *s)
{
    curve->axis = "vocabulary";
    for (int64_t vocab = 4096; vocab <= 262144; vocab *= 2) {
        bench_shape shape = BODY;
        shape.vocab = vocab;
        shape.sequences = 2;
        shape.length = 512;
        add_point(curve, (double)vocab, &shape, s->threads);
    }
}

/* Each point has twice the width and vocabulary of the one before, 3 layers and four times the parameters. */
static void parameters_curve(bench_curve *curve, const settings *s)
{
    curve->axis = "hidden size";
    for (int64_t hidden = 128; hidden <= 4096; hidden *= 2) {
        bench_shape shape = {"parameters", 16 * hidden, hidden, 3, hidden / 64, hidden / 128,
                             64,           4 * hidden,  512,    1, 512};
        bench_point *p = add_point(curve, (double)hidden, &shape, s->threads);
        double whole = training_bytes(&p->training);
        while (training_bytes(&p->training) > s->bytes && p->training.config.layers > 1) p->training.config.layers--;
        double bytes = training_bytes(&p->training);
        if (bytes > s->bytes || p->training.config.layers < shape.layers)
            printf("parameters: hidden %lld with 3 layers needs %.1f GiB, allowed are %.1f: ", (long long)hidden,
                   whole / GIB, s->bytes / GIB);
        if (bytes > s->bytes) {
            printf("left out\n");
            curve->count--;
            return;
        }
        if (p->training.config.layers < shape.layers)
            printf("the most that fit are %lld, %.1f GiB\n", (long long)p->training.config.layers, bytes / GIB);
    }
}

static const struct {
    const char *name;
    void (*describe)(bench_curve *curve, const settings *s);
} CURVES[] = {{"threads", threads_curve},
              {"length", length_curve},
              {"vocabulary", vocabulary_curve},
              {"parameters", parameters_curve},
              {"documents", documents_curve}};
enum { CURVE_COUNT = sizeof CURVES / sizeof *CURVES };

/* ---- What was reached ------------------------------------------------------------------------------------------------------ */

typedef struct reached {
    double parameters, operations; /* of a step */
    double step, update, clip;     /* seconds */
    double tokens, explained, of_explained;
    double rate, reference, of_reference; /* operations per second forward and backward; of the plain product */
} reached;

static double matrix_parameters(const ewc_model_config *c)
{
    int64_t query = c->heads * c->head_dim, qkv = query + 2 * c->kv_heads * c->head_dim;
    return (double)(c->vocab_size * c->hidden_size +
                    c->layers * c->hidden_size * (qkv + query + 3 * c->intermediate_size));
}

/* Norm weights too. */
static double parameters_of(const ewc_model_config *c)
{
    return matrix_parameters(c) + (double)(c->hidden_size * (4 * c->layers + 1));
}

static double operations_of(const bench_point *p)
{
    int64_t length = p->training.tokens / p->sequences / p->documents;
    return bench_operations_per_token(&p->training.config, length) * (double)p->training.tokens;
}

static reached reached_at(const bench_curve *curve, int index)
{
    const bench_point *p = &curve->points[index], *first = &curve->points[0];
    double rate[MOST_REPETITIONS], share[MOST_REPETITIONS], explained[MOST_REPETITIONS];
    int64_t n = curve->repetitions;
    reached found = {.parameters = parameters_of(&p->training.config),
                     .operations = operations_of(p),
                     .step = bench_median(p->step, n),
                     .update = bench_median(p->update, n),
                     .clip = bench_median(p->clip, n),
                     .reference = bench_median(p->reference, n)};
    double longer = found.operations / operations_of(first) * first->training.threads / p->training.threads;
    for (int64_t r = 0; r < n; r++) {
        rate[r] = found.operations / (p->step[r] - p->update[r] - p->clip[r]);
        share[r] = rate[r] / p->reference[r];
        explained[r] = first->step[r] * longer / p->step[r];
    }
    found.tokens = (double)p->training.tokens / found.step;
    found.rate = bench_median(rate, n);
    found.of_reference = bench_median(share, n);
    found.of_explained = bench_median(explained, n);
    found.explained = found.tokens / found.of_explained;
    return found;
}

/* Where the model is the same at all points, what its operations explain is a column too. */
static int is_explained(const bench_curve *curve)
{
    return reached_at(curve, 0).parameters == reached_at(curve, curve->count - 1).parameters;
}

static void print_curve(const bench_curve *curve)
{
    int explained = is_explained(curve);
    printf("\n%s: %lld tokens in a step, %lld repetitions", curve->name, (long long)curve->points[0].training.tokens,
           (long long)curve->repetitions);
    if (curve->alone > 0) printf("; the last %d after the others, for want of memory", curve->alone);
    printf("\n%-20s %10s %9s %9s", curve->axis, "parameters", "s/step", "tokens/s");
    if (explained) printf(" %10s %6s", "explained", "of it");
    printf(" %7s %8s %6s %9s\n", "GF/s", "product", "of it", "update");
    for (int k = 0; k < curve->count; k++) {
        reached r = reached_at(curve, k);
        printf("%-20.0f %8.1f M %9.4f %9.0f", curve->points[k].place, 1e-6 * r.parameters, r.step, r.tokens);
        if (explained) printf(" %10.0f %5.0f%%", r.explained, 100 * r.of_explained);
        printf(" %7.0f %8.0f %5.0f%% %6.3f ns\n", 1e-9 * r.rate, 1e-9 * r.reference, 100 * r.of_reference,
               1e9 * r.update / r.parameters);
    }
    for (int k = 1; k < curve->count && strcmp(curve->name, "threads") == 0; k++)
        printf("speed-up on %.0f threads: %.2f\n", curve->points[k].place,
               reached_at(curve, k).of_explained * curve->points[k].place);
}

static void print_legend(void)
{
    printf(
        "\nexplained: tokens/s of the first point, times its operations over this point's, times threads. GF/s: "
        "forward and "
        "backward,\n6 operations for each weight and token and 12 head_dim for each unmasked score. product: a plain "
        "matrix product, %d x %d x %d,\nat that moment. update: nanoseconds per parameter.\n",
        REFERENCE_ROWS, REFERENCE_COLUMNS, REFERENCE_DEPTH);
}

/* ---- The same as JSON ------------------------------------------------------------------------------------------------------ */

static cJSON *json_point(const bench_curve *curve, int k)
{
    const bench_point *p = &curve->points[k];
    reached r = reached_at(curve, k);
    cJSON *point = cJSON_CreateObject();
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"place", p->place},
                   {"threads", p->training.threads},
                   {"parameters", r.parameters},
                   {"tokens", (double)p->training.tokens},
                   {"sequences", (double)p->sequences},
                   {"documents_per_sequence", (double)p->documents},
                   {"flops", r.operations},
                   {"step_seconds", r.step},
                   {"update_seconds", r.update},
                   {"tokens_per_second", r.tokens},
                   {"explained_tokens_per_second", r.explained},
                   {"of_explained", r.of_explained},
                   {"gflops", 1e-9 * r.rate},
                   {"product_gflops", 1e-9 * r.reference},
                   {"of_product", r.of_reference},
                   {"update_ns_per_parameter", 1e9 * r.update / r.parameters}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        cJSON_AddNumberToObject(point, numbers[i].name, numbers[i].value);
    return point;
}

static void add_json(cJSON *curves, const bench_curve *curve)
{
    cJSON *object = cJSON_AddObjectToObject(curves, curve->name);
    cJSON_AddStringToObject(object, "axis", curve->axis);
    cJSON_AddNumberToObject(object, "repetitions", (double)curve->repetitions);
    cJSON *points = cJSON_AddArrayToObject(object, "points");
    for (int k = 0; k < curve->count; k++) cJSON_AddItemToArray(points, json_point(curve, k));
}

static void write_json(const cJSON *json, const char *path)
{
    char *text = cJSON_Print(json);
    FILE *file = text == NULL ? NULL : fopen(path, "w");
    int failed = file == NULL || fprintf(file, "%s\n", text) < 0;
    if (file != NULL && fclose(file) != 0) failed = 1;
    free(text);
    if (!failed) return;
    fprintf(stderr, "%s cannot be written\n", path);
    exit(1);
}

/* ---------------------------------------------------------------------------------------------------------------------------- */

/* Says what this runs on; returns what the curves need. */
static settings prepare(const bench_options *options, cJSON *json)
{
    ewc_context_info info = {.struct_size = sizeof info};
    ewc_context *context = bench_context(options);
    bench_check(context, ewc_context_describe(context, &info));
    cJSON_AddStringToObject(json, "version", ewc_version());
    cJSON_AddStringToObject(json, "processor", info.processor);
    cJSON_AddStringToObject(json, "kernels", info.blas_kernels);
    cJSON_AddNumberToObject(json, "threads", info.threads);
    double allowed = GIB * (double)(options->memory > 0 ? options->memory : 16);
    double available = 0.95 * (double)info.memory_available_bytes;
    settings s = {info.threads, available > 0 && available < allowed ? available : allowed,
                  options->elements > 0 ? options->elements : BODY.length};
    ewc_context_destroy(context);
    return s;
}

int main(int argc, char **argv)
{
    static bench_curve curve;
    bench_options options = {0};
    int found = 0;
    bench_parse(argc, argv, &options);
    cJSON *json = cJSON_CreateObject();
    settings s = prepare(&options, json);
    cJSON *curves = cJSON_AddObjectToObject(json, "curves");
    for (int i = 0; i < CURVE_COUNT; i++) {
        if (options.curve != NULL && strcmp(options.curve, CURVES[i].name) != 0) continue;
        found = 1;
        curve.name = CURVES[i].name;
        curve.count = 0;
        memset(curve.points, 0, sizeof curve.points);
        CURVES[i].describe(&curve, &s);
        curve_measure(&curve, options.repetitions > 0 ? options.repetitions : 5,
                      options.seconds > 0 ? (double)options.seconds : 100.0, s.bytes);
        print_curve(&curve);
        add_json(curves, &curve);
        fflush(stdout);
    }
    if (found) print_legend();
    if (!found) fprintf(stderr, "--curve: there is no curve %s\n", options.curve);
    if (found && options.json != NULL) write_json(json, options.json);
    cJSON_Delete(json);
    return found ? 0 : 2;
}
