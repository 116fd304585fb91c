/* ewc-cpt eval: loss and perplexity of a model on token files, and its accuracy on multiple-choice items. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "choices.h"
#include "data.h"
#include "json.h"
#include "program.h"
#include "vocabulary.h"

static const char NAME[] = "eval";

typedef struct eval_options {
    const char *model, *per_token, *tokenizer;
    option_list data, choices, vocabulary;
    int64_t length, threads;
    int products;
    bool json, force, documents, bos;
} eval_options;

static void print_loss(const char *name, const data_loss *loss, bool json)
{
    if (!json) {
        printf("%-20s %10lld tokens   nll %.6f   perplexity %.4f\n", name, (long long)loss->tokens, loss->nll,
               exp(loss->nll));
        return;
    }
    json_writer writer = json_begin(stdout);
    json_text(&writer, "name", name);
    json_integer(&writer, "tokens", loss->tokens);
    json_number(&writer, "nll", loss->nll);
    json_number(&writer, "perplexity", exp(loss->nll));
    json_end(&writer);
}

/* Per-token values of all data sets, one after the other. */
typedef struct value_list {
    float *values;
    int64_t count;
} value_list;

static float *grow(value_list *list, int64_t count)
{
    size_t bytes = (size_t)(list->count + count) * sizeof *list->values;
    float *values = realloc(list->values, bytes > 0 ? bytes : 1);
    if (values == NULL) return NULL;
    list->values = values;
    list->count += count;
    return values + list->count - count;
}

static int run_one(ewc_context *context, ewc_model *model, const eval_options *o, const char *argument,
                   int64_t first_token, value_list *list)
{
    char *name = NULL;
    const char *path;
    ewc_data *data = NULL;
    data_loss loss;
    float *values = NULL;
    if (!split_name(argument, &name, &path)) return program_error(NAME, CPT_OTHER, "out of memory");
    option_list file = {&path, 1};
    int code = open_data(NAME, context, model, &file, o->length, o->bos, &data);
    if (code == CPT_OK && o->per_token != NULL) {
        values = grow(list, ewc_data_sequences(data) * o->length);
        if (values == NULL) code = program_error(NAME, CPT_OTHER, "out of memory");
    }
    if (code == CPT_OK) {
        ewc_status status = evaluate_data(model, data, o->length, 0, first_token, values, &loss);
        if (status != EWC_OK)
            code = program_fail(NAME, context, status);
        else if (!isfinite(loss.nll))
            code = program_error(NAME, CPT_NUMERIC, "%s: the loss is not finite: the model's weights may be damaged",
                                 name);
        else
            print_loss(name, &loss, o->json);
    }
    ewc_data_destroy(data);
    free(name);
    return code;
}

static int run(ewc_context *context, const eval_options *o)
{
    ewc_model *model = NULL;
    int64_t first_token = -1;
    value_list list = {0};
    if (o->per_token != NULL && !o->force && path_exists(o->per_token))
        return program_error(NAME, CPT_INPUT, "%s exists: give --force to overwrite it", o->per_token);
    const vocabulary_source source = {&o->vocabulary, o->model, o->tokenizer};
    int code = load_model(NAME, context, &source, false, &model);
    if (code != CPT_OK) return code;
    code = find_first_token(NAME, context, model, o->bos, o->documents, &first_token);
    for (int64_t i = 0; i < o->data.count && code == CPT_OK; i++)
        code = run_one(context, model, o, o->data.items[i], first_token, &list);
    const choices_options of_choices = {NAME, o->model, o->tokenizer, o->json};
    for (int64_t i = 0; i < o->choices.count && code == CPT_OK; i++)
        code = evaluate_choices(&of_choices, context, model, o->choices.items[i]);
    if (code == CPT_OK && o->per_token != NULL) {
        ewc_status status = ewc_npy_write_f32(context, o->per_token, list.values, list.count, o->force);
        if (status != EWC_OK) code = program_fail(NAME, context, status);
    }
    free(list.values);
    ewc_model_destroy(model);
    return code;
}

/* What the options need of each other. */
static int check(const eval_options *o)
{
    if (o->data.count == 0 && o->choices.count == 0)
        return program_error(NAME, CPT_USAGE, "--data or --choices is missing: give files to evaluate on");
    if (o->data.count > 0 && o->length == 0)
        return program_error(NAME, CPT_USAGE, "--length T is missing: --data needs the length of a sequence");
    if (o->data.count == 0 && o->per_token != NULL)
        return program_error(NAME, CPT_USAGE, "--per-token is of --data, which is missing");
    return CPT_OK;
}

int command_eval(int argc, char **argv)
{
    eval_options o = {0};
    option options[] = {
        {"model", OPTION_TEXT, &o.model, "DIR", "Hugging Face directory", NULL, 0, true, false},
        {"data", OPTION_LIST, &o.data, "NAME=T.npy...", "token files with the names to print", NULL, 0, false, false},
        VOCABULARY_OPTION(&o.vocabulary),
        {"length", OPTION_INTEGER, &o.length, "T", "tokens of a sequence of --data", NULL, 1, false, false},
        {"choices", OPTION_LIST, &o.choices, "NAME=C.jsonl...",
         "multiple-choice items: prefix, choices, answer (from 0)", NULL, 0, false, false},
        {"tokenizer", OPTION_TEXT, &o.tokenizer, "TOKENIZER.model",
         "for items of text; default: tokenizer.model of the model's directory", NULL, 0, false, false},
        {"per-token", OPTION_TEXT, &o.per_token, "LP.npy",
         "write log-likelihoods of all targets, float32, in data order: T a sequence; 0 where --bos scores nothing",
         NULL, 0, false, false},
        {"json", OPTION_FLAG, &o.json, NULL, "one JSON object per data set and item", NULL, 0, false, false},
        DATA_BOS(&o.bos),
        {"documents", OPTION_FLAG, &o.documents, NULL, "attention does not cross BOS", NULL, 0, false, false},
        {"threads", OPTION_INTEGER, &o.threads, "N", "default: all processors", NULL, 0, false, false},
        PROGRAM_PRODUCTS(&o.products),
        {"force", OPTION_FLAG, &o.force, NULL, "overwrite LP.npy", NULL, 0, false, false},
    };
    command_line line = {NAME,
                         "--model DIR [--data NAME=T.npy... --length T] [--choices NAME=C.jsonl...]",
                         "--data: mean loss and perplexity over all whole sequences of the token files.\n"
                         "--choices: how often the right choice is the likeliest behind its prefix, by log p of its "
                         "tokens, and by log p\nper byte of its text (per token, where the file has token ids).",
                         options,
                         sizeof options / sizeof *options,
                         NULL,
                         {0}};
    parse_result parsed = options_parse(&line, argc, argv);
    ewc_context *context = NULL;
    int code = parsed == PARSE_OK ? check(&o) : program_parse_exit(parsed);
    if (parsed == PARSE_OK && code == CPT_OK) code = program_open(NAME, o.threads, o.products, &context);
    if (context != NULL) code = run(context, &o);
    ewc_context_destroy(context);
    option_list_free(&o.data);
    option_list_free(&o.choices);
    option_list_free(&o.vocabulary);
    return code;
}
