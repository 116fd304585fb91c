/* ewc-cpt plan: the memory table of a training run; nothing is allocated. */
#include <stdio.h>

#include "json.h"
#include "train.h"
#include "vocabulary.h"

static const char NAME[] = "plan";

static void row(const char *name, int64_t bytes, const char *remark)
{
    if (bytes > 0) printf("  %-34s %12.1f MiB  %s\n", name, (double)bytes / 1048576.0, remark);
}

static const char *held(int how)
{
    return how == HELD_MAPPED ? "mapped from its file" : how == HELD_BF16 ? "bf16, in memory" : "f32, in memory";
}

static void print_plan(const ewc_plan *plan, const ewc_context_info *info, const train_options *o)
{
    printf("%lld parameters, micro-batches of %lld x %lld tokens; products in %s through %s, %d threads\n",
           (long long)plan->parameters, (long long)o->batch, (long long)o->length, program_products[info->products],
           info->products_through, info->threads);
    row("weights", plan->weights_bytes, "f32");
    row("gradients", plan->gradients_bytes, "f32");
    row("Adam's moments", plan->moments_bytes, o->moments == 0 ? "f32, two" : "bf16, two");
    row("Fisher", plan->fisher_bytes, held(o->fisher_dtype));
    row("anchor", plan->anchor_bytes, held(o->anchor_dtype));
    row("activations", plan->activations_bytes, "kept for the backward pass");
    row("scratch", plan->scratch_bytes, "shared by the layers");
    row("logits", plan->logits_bytes, "one chunk of rows");
    row("library", plan->library_bytes, "code, BLAS buffers, stacks (estimate)");
    row("total", plan->total_bytes, "");
    row("available now", plan->available_bytes, plan->total_bytes > plan->available_bytes ? "NOT ENOUGH" : "");
}

static void print_json(const ewc_plan *plan)
{
    json_writer json = json_begin(stdout);
    json_integer(&json, "parameters", plan->parameters);
    json_integer(&json, "weights_bytes", plan->weights_bytes);
    json_integer(&json, "gradients_bytes", plan->gradients_bytes);
    json_integer(&json, "moments_bytes", plan->moments_bytes);
    json_integer(&json, "fisher_bytes", plan->fisher_bytes);
    json_integer(&json, "anchor_bytes", plan->anchor_bytes);
    json_integer(&json, "activations_bytes", plan->activations_bytes);
    json_integer(&json, "scratch_bytes", plan->scratch_bytes);
    json_integer(&json, "logits_bytes", plan->logits_bytes);
    json_integer(&json, "library_bytes", plan->library_bytes);
    json_integer(&json, "total_bytes", plan->total_bytes);
    json_integer(&json, "mapped_bytes", plan->mapped_bytes);
    json_integer(&json, "available_bytes", plan->available_bytes);
    json_end(&json);
}

static int run(ewc_context *context, const train_options *o, bool as_json)
{
    ewc_model_config config;
    ewc_plan_options options;
    ewc_plan plan = {.struct_size = sizeof plan};
    ewc_context_info info = {.struct_size = sizeof info};
    ewc_plan_options_default(&options);
    options.sequences = o->batch;
    options.length = o->length;
    options.recompute = (ewc_recompute)o->recompute;
    options.moments_dtype = o->moments == 0 ? EWC_F32 : EWC_BF16;
    options.fisher = o->fisher == NULL ? 0 : o->fisher_dtype == HELD_MAPPED ? 2 : 1;
    if (o->fisher_dtype == HELD_BF16) options.fisher_dtype = EWC_BF16;
    options.anchor = o->fisher == NULL && !o->l2 ? 0 : o->anchor_dtype == HELD_MAPPED ? 2 : 3;
    if (o->anchor_dtype == HELD_F32) options.anchor_dtype = EWC_F32;
    ewc_status status = ewc_model_config_read(context, o->model, &config);
    if (status == EWC_OK && o->vocabulary.count > 0) {
        const vocabulary_source source = {&o->vocabulary, o->model, NULL};
        vocabulary v = {0};
        int code = vocabulary_make(NAME, context, &config, &source, &v);
        if (code != CPT_OK) return code;
        options.vocabulary = v.count;
        vocabulary_free(&v);
    }
    if (status == EWC_OK) status = ewc_plan_memory(context, &config, &options, &plan);
    if (status == EWC_OK) status = ewc_context_describe(context, &info);
    if (status != EWC_OK) return program_fail(NAME, context, status);
    if (as_json)
        print_json(&plan);
    else
        print_plan(&plan, &info, o);
    return CPT_OK;
}

int command_plan(int argc, char **argv)
{
    train_options o;
    bool as_json = false;
    option table[TRAIN_OPTION_COUNT + 1];
    train_options_table(&o, table);
    table[TRAIN_OPTION_COUNT] =
        (option){"json", OPTION_FLAG, &as_json, NULL, "one JSON object, sizes in bytes", NULL, 0, false, false};
    command_line line =
        {NAME,
         "--model DIR --batch B --length T [train options]",
         "Prints what a training run with these options holds in memory. Takes all options of `train`; only those\n"
         "that change memory matter. --model may be a config.json.",
         table,
         TRAIN_OPTION_COUNT + 1,
         NULL,
         {0}};
    for (size_t i = 0; i < line.count; i++) {
        const void *target = table[i].target;
        table[i].required = target == &o.model || target == &o.batch || target == &o.length;
    }
    parse_result parsed = options_parse(&line, argc, argv);
    ewc_context *context = NULL;
    int code = parsed == PARSE_OK ? program_open(NAME, o.threads, o.products, &context) : program_parse_exit(parsed);
    if (context != NULL) code = run(context, &o, as_json);
    ewc_context_destroy(context);
    train_options_free(&o);
    return code;
}
