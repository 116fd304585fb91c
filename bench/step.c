/* A whole training step with EWC by phase, each beside what the machine gives in the same run, and its resident memory beside what the
 * plan says: --shape S, M (default) or G, --recompute 0 to 3 (default 1), --state f32 (default) or bf16, --json FILE for
 * the numbers.
 *
 * Random weights and tokens, all scored; the Fisher is empirical, of the first batch, the anchor a snapshot. Fisher, anchor and Adam's moments
 * are held in memory in the type that --state names; weights and gradients are f32. Each
 * repetition takes a step and then, at once, the step's products as plain calls and plain loops over memory; medians
 * over the repetitions after one step that is not counted. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "core/context.h"
#include "core/memory.h"
#include "support/measure.h"
#include "support/products.h"
#include "support/resident.h"
#include "support/shapes.h"
#include "support/traffic.h"
#include "train/trainer.h"

/* Elements of an array of the plain loops: beyond what caches keep for one of several tenants. */
#define PLAIN_ELEMENTS ((int64_t)16 << 20)
#define GIB 1073741824.0

enum { STEP = EWC_PHASE_COUNT, FORWARD_BACKWARD, UPDATE, TIMES };

/* Types of what the update reads beside weights and gradients, and the bytes that it moves for a parameter: weight, m and v are read and
 * written, the gradient, the Fisher and the anchor read. */
typedef struct state {
    const char *name;
    ewc_dtype dtype;
    double update_bytes;
} state;
static const state STATES[] = {{"f32", EWC_F32, 3 * 8 + 3 * 4}, {"bf16", EWC_BF16, 8 + 2 * 4 + 4 + 2 * 2}};

typedef struct bench {
    const state *state;
    const bench_shape *shape;
    ewc_recompute recompute;
    int64_t repetitions, tokens, parameters;
    ewc_context *context;
    ewc_model_config config;
    ewc_model *model;
    ewc_fisher *fisher;
    ewc_anchor *anchor;
    ewc_trainer *trainer;
    ewc_plan plan;
    double peak; /* bytes */
    double seconds[TIMES][MOST_REPETITIONS];
    float *arrays[TRAFFIC_ARRAYS];
    bench_products products;
    traffic_rates rates;
} bench;

static double median_seconds(const bench *b, int time)
{
    return bench_median(b->seconds[time], b->repetitions);
}

/* ---- The step ------------------------------------------------------------------------------------------------------------ */

static void estimate(bench *b, const ewc_batch *batch)
{
    ewc_fisher_options options;
    ewc_fisher_options_default(&options);
    bench_check(b->context, ewc_fisher_create(b->model, &options, &b->fisher));
    double start = bench_now();
    bench_check(b->context, ewc_fisher_accumulate(b->fisher, batch));
    printf("Fisher, empirical: %.2f s for %lld sequences of %lld tokens\n", bench_now() - start,
           (long long)batch->sequences, (long long)batch->length);
    bench_check(b->context, ewc_fisher_finish(b->fisher));
}

static void make_trainer(bench *b)
{
    ewc_trainer_options options;
    ewc_trainer_options_default(&options);
    options.max_sequences = b->shape->sequences;
    options.max_length = b->shape->length;
    options.clip = 1;
    options.weight_decay = 0.1;
    options.recompute = b->recompute;
    options.moments_dtype = b->state->dtype;
    bench_check(b->context, ewc_trainer_create(b->model, &options, &b->trainer));
}

/* Fisher and anchor. The trainer has laid out the activations already; the estimate uses the same. */
static void add_penalty(bench *b, const ewc_batch *batch)
{
    estimate(b, batch);
    bench_check(b->context, ewc_anchor_from_model(b->model, &b->anchor));
    if (b->state->dtype != EWC_F32) {
        bench_check(b->context, ewc_fisher_convert(b->fisher, b->state->dtype));
        bench_check(b->context, ewc_anchor_convert(b->anchor, b->state->dtype));
    }
    bench_check(b->context, ewc_trainer_add_anchor(b->trainer, b->anchor, b->fisher, 1.0, EWC_LAMBDA_RELATIVE, 0));
}

static void make_plan(bench *b)
{
    ewc_plan_options options;
    ewc_plan_options_default(&options);
    options.sequences = b->shape->sequences;
    options.length = b->shape->length;
    options.recompute = b->recompute;
    options.fisher = 1;
    options.fisher_dtype = b->state->dtype;
    options.anchor = 3; /* in memory, in its type */
    options.anchor_dtype = b->state->dtype;
    options.moments_dtype = b->state->dtype;
    b->plan.struct_size = sizeof b->plan;
    bench_check(b->context, ewc_plan_memory(b->context, &b->config, &options, &b->plan));
}

/* What the step is compared with works on the step's own weights and gradient, and on arrays that no step has. */
static void make_comparisons(bench *b)
{
    b->products.model = b->model;
    b->products.gradient = b->trainer->gradient;
    products_list(&b->products, b->tokens, b->recompute);
    int64_t n = products_elements(&b->products) > PLAIN_ELEMENTS ? products_elements(&b->products) : PLAIN_ELEMENTS;
    for (int k = 0; k < TRAFFIC_ARRAYS; k++) {
        void *memory;
        bench_check(b->context, ewci_alloc(b->context, (size_t)n * sizeof(float), "an array", &memory));
        b->arrays[k] = memory;
        for (int64_t i = 0; i < n; i++)
            b->arrays[k][i] = 0.25F + 0.5F * (float)((uint32_t)(i * 2654435761 + k * 40503) >> 8) * 0x1p-24F;
    }
    /* The plain loops write the first three; the products' operands must not grow from one repetition to the next. */
    b->products.out = b->arrays[3];
    b->products.input = b->arrays[4];
    b->products.other = b->arrays[5];
}

static void measure(bench *b, const ewc_batch *batch)
{
    for (int64_t r = -1; r < b->repetitions; r++) {
        ewc_step_statistics s = {.struct_size = sizeof s};
        bench_check(b->context, ewc_trainer_step(b->trainer, 1, batch, &s));
        if (r < 0) { /* a step has touched all its memory */
            b->peak = resident_peak();
            make_comparisons(b);
            continue;
        }
        for (int phase = 0; phase < EWC_PHASE_COUNT; phase++) b->seconds[phase][r] = s.phase_seconds[phase];
        b->seconds[STEP][r] = s.seconds;
        b->seconds[UPDATE][r] = s.phase_seconds[EWC_PHASE_CLIP] + s.phase_seconds[EWC_PHASE_UPDATE];
        b->seconds[FORWARD_BACKWARD][r] = s.seconds - b->seconds[UPDATE][r];
        products_run(&b->products, b->context, r);
        traffic_run(&b->rates, b->arrays, PLAIN_ELEMENTS, b->context, r);
    }
}

/* ---- What it reached ------------------------------------------------------------------------------------------------------ */

/* Work of a phase in a step and its rates, medians over the repetitions; `share` is that of each repetition's own ratio. */
typedef struct reached {
    double work; /* operations or bytes; 0: not compared */
    const char *unit;
    double rate, possible, share;
} reached;

/* Rate of plain calls over the products of a phase in one repetition, the library's or OpenBLAS's, whichever is higher;
 * EWC_PHASE_COUNT: of the step. */
static double best_rate(const bench *b, int phase, int64_t repetition)
{
    return fmax(products_rate(&b->products, BY_LIBRARY, phase, repetition),
                products_rate(&b->products, BY_OPENBLAS, phase, repetition));
}

/* Of the step, one way alone; the median over the repetitions. */
static double rate_by(const bench *b, int way)
{
    double rates[MOST_REPETITIONS];
    for (int64_t r = 0; r < b->repetitions; r++) rates[r] = products_rate(&b->products, way, EWC_PHASE_COUNT, r);
    return bench_median(rates, b->repetitions);
}

/* What the machine gave after a step to what is most like the phase. */
static double possible_rate(const bench *b, int phase, const traffic *moved, int64_t repetition)
{
    if (moved->bytes > 0) return b->rates.rate[moved->loop][repetition];
    return best_rate(b, products_operations(&b->products, phase) > 0 ? phase : EWC_PHASE_COUNT, repetition);
}

static double operations_per_step(const bench *b)
{
    return bench_operations_per_token(&b->config, b->shape->length) * (double)b->tokens;
}

/* Attention: two products forward and five backward for each unmasked score; forward again where it was dropped. */
static double phase_operations(const bench *b, int phase)
{
    if (phase != EWC_PHASE_ATTENTION) return products_operations(&b->products, phase);
    double pairs = bench_attention_pairs(&b->config, b->shape->length) * (double)b->shape->sequences;
    return 2 * pairs * (double)b->config.head_dim * (b->recompute >= EWC_RECOMPUTE_LAYER ? 9 : 7);
}

/* Of a phase, or of FORWARD_BACKWARD with the operations that are counted for a step. */
static reached reached_in(const bench *b, int time)
{
    double rates[MOST_REPETITIONS], possible[MOST_REPETITIONS], shares[MOST_REPETITIONS];
    traffic all[TIMES] = {{0, 0}};
    traffic_count(&b->config, b->tokens, b->parameters, b->state->update_bytes, b->recompute, all);
    double operations = time == FORWARD_BACKWARD ? operations_per_step(b) : phase_operations(b, time);
    reached found = {all[time].bytes > 0 ? all[time].bytes : operations, all[time].bytes > 0 ? "GB/s" : "GF/s", 0, 0,
                     0};
    for (int64_t r = 0; r < b->repetitions && found.work > 0; r++) {
        rates[r] = found.work / b->seconds[time][r];
        possible[r] = possible_rate(b, time, &all[time], r);
        shares[r] = rates[r] / possible[r];
    }
    if (found.work <= 0) return found;
    found.rate = bench_median(rates, b->repetitions);
    found.possible = bench_median(possible, b->repetitions);
    found.share = bench_median(shares, b->repetitions);
    return found;
}

static void print_phases(const bench *b)
{
    double whole = median_seconds(b, STEP);
    printf("\n%-24s %9s %7s %11s %11s %7s\n", "phase", "ms", "share", "reached", "possible", "of it");
    for (int phase = 0; phase < EWC_PHASE_COUNT; phase++) {
        double t = median_seconds(b, phase);
        reached r = reached_in(b, phase);
        printf("%-24s %9.1f %6.1f%%", ewc_phase_name((ewc_phase)phase), 1e3 * t, 100 * t / whole);
        if (r.work > 0)
            printf(" %6.1f %s %6.1f %s %6.1f%%", 1e-9 * r.rate, r.unit, 1e-9 * r.possible, r.unit, 100 * r.share);
        printf("\n");
    }
    printf("%-24s %9.1f         %.0f tokens/s\n", "step", 1e3 * whole, (double)b->tokens / whole);
    printf(
        "Possible: for products the same as plain calls, the library's or OpenBLAS's, whichever are faster; for "
        "attention the mean of these; for the\nothers plain loops in place over %lld MiB arrays; all after each step, "
        "on the same threads.\n",
        (long long)(PLAIN_ELEMENTS * 4 >> 20));
}

static void print_summary(const bench *b)
{
    reached both = reached_in(b, FORWARD_BACKWARD);
    double openblas = rate_by(b, BY_OPENBLAS);
    printf("\nforward and backward: %.0f GF/s = %.1f %% of the sgemm rate of this run (OpenBLAS, the step's products: "
           "%.0f GF/s),\n%.1f %% of that of the faster of it and the library's own products (%.0f GF/s)\n",
           1e-9 * both.rate, 100 * both.rate / openblas, 1e-9 * openblas, 100 * both.share, 1e-9 * both.possible);
    printf("counted: %.4g million operations per token, 6 for each weight and 12 head_dim for each unmasked score\n",
           1e-6 * operations_per_step(b) / (double)b->tokens);
    printf("clip and update: %.3f ns/parameter; update alone: %.3f ns/parameter\n",
           1e9 * median_seconds(b, UPDATE) / (double)b->parameters,
           1e9 * median_seconds(b, EWC_PHASE_UPDATE) / (double)b->parameters);
    printf("\nMemory, GiB: weights %.2f, gradients %.2f, moments %.2f, Fisher %.2f, anchor %.2f, activations %.2f, "
           "scratch %.2f, logits %.2f, library %.2f\n",
           (double)b->plan.weights_bytes / GIB, (double)b->plan.gradients_bytes / GIB,
           (double)b->plan.moments_bytes / GIB, (double)b->plan.fisher_bytes / GIB, (double)b->plan.anchor_bytes / GIB,
           (double)b->plan.activations_bytes / GIB, (double)b->plan.scratch_bytes / GIB,
           (double)b->plan.logits_bytes / GIB, (double)b->plan.library_bytes / GIB);
    printf("planned %.3f GiB, largest resident size %.3f GiB: %+.1f %%\n", (double)b->plan.total_bytes / GIB,
           b->peak / GIB, 100 * (b->peak / (double)b->plan.total_bytes - 1));
}

/* ---- The same as JSON ------------------------------------------------------------------------------------------------------- */

static cJSON *json_phases(const bench *b)
{
    cJSON *phases = cJSON_CreateObject();
    for (int phase = 0; phase < EWC_PHASE_COUNT; phase++) {
        reached r = reached_in(b, phase);
        cJSON *o = cJSON_AddObjectToObject(phases, ewc_phase_name((ewc_phase)phase));
        cJSON_AddNumberToObject(o, "seconds", median_seconds(b, phase));
        if (r.work <= 0) continue;
        cJSON_AddStringToObject(o, "unit", r.unit);
        cJSON_AddNumberToObject(o, "reached", 1e-9 * r.rate);
        cJSON_AddNumberToObject(o, "possible", 1e-9 * r.possible);
        cJSON_AddNumberToObject(o, "share", r.share);
    }
    return phases;
}

static cJSON *json_of(const bench *b)
{
    ewc_context_info info = {.struct_size = sizeof info};
    bench_check(b->context, ewc_context_describe(b->context, &info));
    reached both = reached_in(b, FORWARD_BACKWARD);
    double openblas = rate_by(b, BY_OPENBLAS);
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"sequences", (double)b->shape->sequences},
                   {"length", (double)b->shape->length},
                   {"tokens", (double)b->tokens},
                   {"parameters", (double)b->parameters},
                   {"threads", info.threads},
                   {"recompute", b->recompute},
                   {"repetitions", (double)b->repetitions},
                   {"step_seconds", median_seconds(b, STEP)},
                   {"forward_backward_seconds", median_seconds(b, FORWARD_BACKWARD)},
                   {"update_seconds", median_seconds(b, UPDATE)},
                   {"tokens_per_second", (double)b->tokens / median_seconds(b, STEP)},
                   {"flops_per_token", operations_per_step(b) / (double)b->tokens},
                   {"gflops", 1e-9 * both.rate},
                   {"sgemm_gflops", 1e-9 * openblas},
                   {"sgemm_share", both.rate / openblas},
                   {"products_gflops", 1e-9 * both.possible},
                   {"products_share", both.share},
                   {"peak_bytes", b->peak},
                   {"planned_bytes", (double)b->plan.total_bytes}};
    const struct {
        const char *name, *value;
    } texts[] = {{"shape", b->shape->name},  {"state", b->state->name},     {"products", info.products_through},
                 {"version", ewc_version()}, {"processor", info.processor}, {"instruction_set", info.instruction_set},
                 {"blas", info.blas},        {"kernels", info.blas_kernels}};
    cJSON *json = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cJSON_AddStringToObject(json, texts[i].name, texts[i].value);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        cJSON_AddNumberToObject(json, numbers[i].name, numbers[i].value);
    cJSON_AddItemToObject(json, "phases", json_phases(b));
    return json;
}

/* Opened before anything is measured. */
static FILE *open_json(const char *path)
{
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (path == NULL || file != NULL) return file;
    fprintf(stderr, "%s cannot be written\n", path);
    exit(1);
}

static int write_json(const bench *b, FILE *file)
{
    cJSON *json = json_of(b);
    char *text = cJSON_Print(json);
    int failed = text == NULL || fprintf(file, "%s\n", text) < 0;
    if (fclose(file) != 0) failed = 1;
    free(text);
    cJSON_Delete(json);
    if (failed) fprintf(stderr, "the JSON file could not be written\n");
    return failed;
}

static const state *state_named(const char *name)
{
    for (size_t i = 0; i < sizeof STATES / sizeof *STATES; i++)
        if (name == NULL || strcmp(name, STATES[i].name) == 0) return &STATES[i];
    fprintf(stderr, "--state: expected f32 or bf16, found %s\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    static bench b;
    bench_options options = {.recompute = EWC_RECOMPUTE_ELEMENTWISE};
    bench_parse(argc, argv, &options);
    b.shape = bench_shape_named(options.shape);
    b.state = state_named(options.state);
    FILE *json = open_json(options.json);
    b.recompute = (ewc_recompute)options.recompute;
    b.tokens = b.shape->sequences * b.shape->length;
    b.repetitions = options.repetitions > 0 ? options.repetitions : 7;
    b.context = bench_context(&options);
    b.config = bench_shape_config(b.shape);
    int32_t *ids = malloc(2 * (size_t)b.tokens * sizeof *ids);
    if (ids == NULL) return 1;
    ewc_batch batch = bench_shape_batch(b.shape, ids);
    bench_check(b.context, ewc_model_create(b.context, &b.config, 1, &b.model));
    b.parameters = ewc_model_parameter_count(b.model);
    printf("\nA step on %s: %lld x %lld tokens, %.1f million parameters, recompute %d, state %s, %lld repetitions\n",
           b.shape->name, (long long)b.shape->sequences, (long long)b.shape->length, 1e-6 * (double)b.parameters,
           (int)b.recompute, b.state->name, (long long)b.repetitions);
    make_plan(&b);
    make_trainer(&b);
    add_penalty(&b, &batch);
    resident_forget_peak();
    measure(&b, &batch);
    print_phases(&b);
    print_summary(&b);
    int failed = json != NULL && write_json(&b, json);
    for (int k = 0; k < TRAFFIC_ARRAYS; k++) ewci_free(b.context, b.arrays[k]);
    ewc_trainer_destroy(b.trainer);
    ewc_anchor_destroy(b.anchor);
    ewc_fisher_destroy(b.fisher);
    ewc_model_destroy(b.model);
    ewc_context_destroy(b.context);
    free(ids);
    return failed;
}
