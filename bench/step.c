/* A whole training step with EWC by phase, and its resident memory beside what the plan says.
 *
 * The model: vocabulary 32000, hidden 768, 12 layers, 8 query and 4 kv heads of 128, intermediate 3072, window 512; random weights; 4 sequences
 * of 512 random tokens, all scored. Fisher (empirical, of the first batch) and anchor (a snapshot) are f32 in memory. Medians over the
 * repetitions after one that is not counted. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/measure.h"

enum { VOCAB = 32000, SEQUENCES = 4, LENGTH = 512, TOKENS = SEQUENCES * LENGTH };

static ewc_model_config configure(void)
{
    ewc_model_config c;
    ewc_model_config_default(&c);
    c.vocab_size = VOCAB;
    c.hidden_size = 768;
    c.layers = 12;
    c.heads = 8;
    c.kv_heads = 4;
    c.head_dim = 128;
    c.intermediate_size = 3072;
    c.sliding_window = 512;
    c.max_position = LENGTH;
    return c;
}

typedef struct tokens {
    int32_t inputs[TOKENS], targets[TOKENS];
} tokens;

static ewc_batch make_batch(tokens *t)
{
    uint32_t x = 1;
    ewc_batch batch;
    for (int i = 0; i < TOKENS; i++) {
        x = x * 1664525U + 1013904223U;
        t->inputs[i] = (int32_t)(x >> 8) % VOCAB;
    }
    for (int i = 0; i < TOKENS; i++) t->targets[i] = t->inputs[(i + 1) % TOKENS];
    ewc_batch_default(&batch);
    batch.sequences = SEQUENCES;
    batch.length = LENGTH;
    batch.tokens = t->inputs;
    batch.targets = t->targets;
    return batch;
}

/* ---- Memory ------------------------------------------------------------------------------------------------------------- */

/* A line of /proc/self/status in bytes, such as the largest resident size so far ("VmHWM:"); 0 where the system does not tell. */
static double status_bytes(const char *name)
{
    char line[256];
    double kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0) kib = strtod(line + strlen(name), NULL);
    fclose(file);
    return 1024 * kib;
}

/* Starts the count of the largest resident size anew. */
static void forget_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file == NULL) return;
    fputs("5", file);
    fclose(file);
}

static void print_memory(ewc_context *context, const ewc_model_config *config)
{
    ewc_plan_options options;
    ewc_plan plan = {.struct_size = sizeof plan};
    ewc_plan_options_default(&options);
    options.sequences = SEQUENCES;
    options.length = LENGTH;
    options.recompute = EWC_RECOMPUTE_ELEMENTWISE;
    options.fisher = 1;
    options.anchor = 1;
    bench_check(context, ewc_plan_memory(context, config, &options, &plan));
    double peak = status_bytes("VmHWM:"), gib = 1073741824.0;
    printf("\nMemory, GiB: weights %.2f, gradients %.2f, moments %.2f, Fisher %.2f, anchor %.2f, activations %.2f, "
           "scratch %.2f, logits "
           "%.2f, library %.2f\n",
           (double)plan.weights_bytes / gib, (double)plan.gradients_bytes / gib, (double)plan.moments_bytes / gib,
           (double)plan.fisher_bytes / gib, (double)plan.anchor_bytes / gib, (double)plan.activations_bytes / gib,
           (double)plan.scratch_bytes / gib, (double)plan.logits_bytes / gib, (double)plan.library_bytes / gib);
    printf("planned %.3f GiB, largest resident size %.3f GiB: %+.1f %%\n", (double)plan.total_bytes / gib, peak / gib,
           100 * (peak / (double)plan.total_bytes - 1));
}

/* ---- Time ----------------------------------------------------------------------------------------------------------------- */

static int is_product(int phase)
{
    return phase == EWC_PHASE_GEMM_QKV || phase == EWC_PHASE_GEMM_ATTENTION_OUT || phase == EWC_PHASE_GEMM_MLP ||
           phase == EWC_PHASE_GEMM_HEAD;
}

/* Operations of all products with weights, forward and backward: 6 per token and weight (the tied embedding is one, the head's). */
static double product_operations(const ewc_model *model)
{
    double weights = 0;
    for (int64_t i = 0; i < ewc_model_tensor_count(model); i++) {
        ewc_tensor_info info = {.struct_size = sizeof info};
        if (ewc_model_tensor(model, i, &info) == EWC_OK && !info.is_vector)
            weights += (double)(info.rows * info.columns);
    }
    return 6.0 * weights * TOKENS;
}

static void print_times(const ewc_model *model, double (*seconds)[MOST_REPETITIONS], int64_t repetitions)
{
    double whole = bench_median(seconds[EWC_PHASE_COUNT], repetitions), products = 0;
    double parameters = (double)ewc_model_parameter_count(model);
    printf("\n%-28s %9s %7s\n", "phase", "ms", "share");
    for (int phase = 0; phase < EWC_PHASE_COUNT; phase++) {
        double t = bench_median(seconds[phase], repetitions);
        if (is_product(phase)) products += t;
        printf("%-28s %9.1f %6.1f%%\n", ewc_phase_name((ewc_phase)phase), 1e3 * t, 100 * t / whole);
    }
    printf("%-28s %9.1f         %.0f tokens/s\n", "step", 1e3 * whole, TOKENS / whole);
    printf("matrix products: %.1f%% of the step, %.0f GF/s within them, %.0f GF/s over the step\n",
           100 * products / whole, 1e-9 * product_operations(model) / products,
           1e-9 * product_operations(model) / whole);
    printf("update: %.3f ns/parameter\n", 1e9 * bench_median(seconds[EWC_PHASE_UPDATE], repetitions) / parameters);
}

static ewc_fisher *estimate(ewc_context *context, ewc_model *model, const ewc_batch *batch)
{
    ewc_fisher_options options;
    ewc_fisher *fisher = NULL;
    ewc_fisher_options_default(&options);
    bench_check(context, ewc_fisher_create(model, &options, &fisher));
    double start = bench_now();
    bench_check(context, ewc_fisher_accumulate(fisher, batch));
    printf("Fisher, empirical: %.2f s for %d sequences of %d tokens\n", bench_now() - start, SEQUENCES, LENGTH);
    bench_check(context, ewc_fisher_finish(fisher));
    return fisher;
}

int main(int argc, char **argv)
{
    static double seconds[EWC_PHASE_COUNT + 1][MOST_REPETITIONS];
    static tokens t;
    bench_options bench = {0};
    ewc_model *model = NULL;
    ewc_anchor *anchor = NULL;
    ewc_trainer *trainer = NULL;
    ewc_trainer_options options;
    bench_parse(argc, argv, &bench);
    int64_t repetitions = bench.repetitions > 0 ? bench.repetitions : 7;
    ewc_context *context = bench_context(&bench);
    ewc_model_config config = configure();
    ewc_batch batch = make_batch(&t);
    bench_check(context, ewc_model_create(context, &config, 1, &model));
    printf("\nA step of %d x %d tokens, %.1f million parameters, %lld repetitions\n", SEQUENCES, LENGTH,
           1e-6 * (double)ewc_model_parameter_count(model), (long long)repetitions);
    ewc_fisher *fisher = estimate(context, model, &batch);
    bench_check(context, ewc_anchor_from_model(model, &anchor));
    ewc_trainer_options_default(&options);
    options.max_sequences = SEQUENCES;
    options.max_length = LENGTH;
    options.clip = 1;
    options.weight_decay = 0.1;
    forget_peak();
    bench_check(context, ewc_trainer_create(model, &options, &trainer));
    bench_check(context, ewc_trainer_add_anchor(trainer, anchor, fisher, 1.0, EWC_LAMBDA_RELATIVE, 0));
    for (int64_t r = -1; r < repetitions; r++) {
        ewc_step_statistics statistics = {.struct_size = sizeof statistics};
        bench_check(context, ewc_trainer_step(trainer, 1, &batch, &statistics));
        if (r < 0) continue;
        for (int phase = 0; phase < EWC_PHASE_COUNT; phase++) seconds[phase][r] = statistics.phase_seconds[phase];
        seconds[EWC_PHASE_COUNT][r] = statistics.seconds;
    }
    print_times(model, seconds, repetitions);
    print_memory(context, &config);
    ewc_trainer_destroy(trainer);
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
    ewc_model_destroy(model);
    ewc_context_destroy(context);
    return 0;
}
