/* ewc-cpt fisher: estimates the Fisher diagonal of a model on old text. */
#include <stdio.h>

#include "data.h"
#include "program.h"
#include "progress.h"
#include "vocabulary.h"

static const char NAME[] = "fisher";
static const char *const estimators[] = {"empirical", "empirical_signs", "sampled", "batch_mean", NULL};
static const char *const units[] = {"sequence_mean", "sequence_sum", NULL};
static const char *const orders[] = {"sequential", "shuffle", NULL};
static const char *const dtypes[] = {"f32", "bf16", NULL};

typedef struct fisher_options {
    const char *model, *out;
    option_list data, vocabulary;
    int64_t length, sequences, batch, seed, threads;
    int estimator, unit, order, dtype, products;
    bool force, documents, bos, quiet;
} fisher_options;

static void print_statistics(ewc_fisher *fisher)
{
    ewc_fisher_statistics s = {.struct_size = sizeof s};
    ewc_fisher_info info = {.struct_size = sizeof info};
    if (ewc_fisher_stats(fisher, -1, &s) != EWC_OK || ewc_fisher_describe(fisher, &info) != EWC_OK) return;
    printf("Fisher: %s, %s, %lld sequences, %lld tokens\n", ewc_estimator_name(info.estimator),
           ewc_fisher_unit_name(info.unit), (long long)info.sequences, (long long)info.tokens);
    printf("  sum %.6g  mean %.6g  max %.6g  zero %.2f %%\n", s.sum, s.mean, s.maximum,
           100.0 * (double)s.zeros / (double)s.count);
    printf("  quantiles 10 %% %.3g  50 %% %.3g  90 %% %.3g  99 %% %.3g  99.9 %% %.3g\n", s.quantiles[0], s.quantiles[1],
           s.quantiles[2], s.quantiles[3], s.quantiles[4]);
}

static ewc_status estimate(const fisher_options *o, ewc_data *data, ewc_fisher *fisher, int64_t first_token,
                           batch_room *room)
{
    progress shown = progress_start(NAME, "sequence", 0, o->sequences, o->quiet);
    for (int64_t first = 0; first < o->sequences; first += o->batch) {
        int64_t count = o->sequences - first < o->batch ? o->sequences - first : o->batch;
        ewc_status status = batch_room_fill(room, data, o->order ? EWC_ORDER_SHUFFLE : EWC_ORDER_SEQUENTIAL,
                                            (uint64_t)o->seed, first, count, first_token);
        if (status == EWC_OK) status = ewc_fisher_accumulate(fisher, &room->batch);
        if (status != EWC_OK) {
            progress_clear(&shown);
            return status;
        }
        progress_update(&shown, first + count, count * o->length, 0.0 / 0.0);
    }
    return ewc_fisher_finish(fisher);
}

static int run(ewc_context *context, const fisher_options *o)
{
    ewc_model *model = NULL;
    ewc_data *data = NULL;
    ewc_fisher *fisher = NULL;
    int64_t first_token;
    ewc_status status;
    ewc_fisher_options options;
    batch_room room = {0};
    if (!o->force && path_exists(o->out))
        return program_error(NAME, CPT_INPUT, "%s exists: give --force to overwrite it, or another --out", o->out);
    const vocabulary_source source = {&o->vocabulary, o->model, NULL};
    int code = load_model(NAME, context, &source, o->quiet, &model);
    if (code != CPT_OK) return code;
    code = find_first_token(NAME, context, model, o->bos, o->documents, &first_token);
    if (code == CPT_OK) code = open_data(NAME, context, model, &o->data, o->length, o->bos, &data);
    if (code != CPT_OK) goto done;
    if (o->sequences > ewc_data_sequences(data))
        fprintf(stderr, "ewc-cpt fisher: the data has %lld sequences; %lld are asked for: it is used more than once\n",
                (long long)ewc_data_sequences(data), (long long)o->sequences);
    ewc_fisher_options_default(&options);
    options.estimator = (ewc_estimator)o->estimator;
    options.unit = (ewc_fisher_unit)o->unit;
    options.seed = (uint64_t)o->seed;
    status =
        batch_room_make(&room, o->batch, o->length) ? ewc_fisher_create(model, &options, &fisher) : EWC_ERROR_MEMORY;
    if (status == EWC_OK) status = estimate(o, data, fisher, first_token, &room);
    if (status == EWC_OK) status = ewc_fisher_save(fisher, o->out, o->dtype ? EWC_BF16 : EWC_F32, o->force);
    if (status == EWC_OK)
        print_statistics(fisher);
    else
        code = program_fail(NAME, context, status);
done:
    batch_room_free(&room);
    ewc_fisher_destroy(fisher);
    ewc_data_destroy(data);
    ewc_model_destroy(model);
    return code;
}

int command_fisher(int argc, char **argv)
{
    fisher_options o = {0};
    option options[] = {
        {"model", OPTION_TEXT, &o.model, "DIR", "Hugging Face directory", NULL, 0, true, false},
        {"data", OPTION_LIST, &o.data, "T.npy...", "token files of the old text", NULL, 0, true, false},
        VOCABULARY_OPTION(&o.vocabulary),
        {"length", OPTION_INTEGER, &o.length, "T", "tokens of a sequence", NULL, 1, true, false},
        {"sequences", OPTION_INTEGER, &o.sequences, "N", "how many sequences", NULL, 1, true, false},
        {"batch", OPTION_INTEGER, &o.batch, "B", "sequences of a pass", NULL, 1, true, false},
        {"estimator", OPTION_CHOICE, &o.estimator, NULL, "docs/ewc.md says which to take", estimators, 0, false, false},
        {"unit", OPTION_CHOICE, &o.unit, NULL, "what a sequence's log-likelihood is: mean or sum over its tokens",
         units, 0, false, false},
        {"order", OPTION_CHOICE, &o.order, NULL, "order of the sequences", orders, 0, false, false},
        {"seed", OPTION_INTEGER, &o.seed, "S", "of shuffling, signs and sampled labels (default 0)", NULL, 0, false,
         false},
        {"out", OPTION_TEXT, &o.out, "FISHER.safetensors", "file to write", NULL, 0, true, false},
        {"dtype", OPTION_CHOICE, &o.dtype, NULL, "of the file", dtypes, 0, false, false},
        DATA_BOS(&o.bos),
        {"documents", OPTION_FLAG, &o.documents, NULL, "attention does not cross BOS", NULL, 0, false, false},
        {"threads", OPTION_INTEGER, &o.threads, "N", "default: all processors", NULL, 0, false, false},
        PROGRAM_PRODUCTS(&o.products),
        {"quiet", OPTION_FLAG, &o.quiet, NULL, "no progress", NULL, 0, false, false},
        {"force", OPTION_FLAG, &o.force, NULL, "overwrite the file", NULL, 0, false, false},
    };
    command_line line =
        {NAME,
         "--model DIR --data T.npy... --length T --sequences N --batch B [options] --out FISHER.safetensors",
         "Estimates the Fisher diagonal of the model on old text and prints what it is like.",
         options,
         sizeof options / sizeof *options,
         NULL,
         {0}};
    parse_result parsed = options_parse(&line, argc, argv);
    ewc_context *context = NULL;
    int code = parsed == PARSE_OK ? program_open(NAME, o.threads, o.products, &context) : program_parse_exit(parsed);
    if (context != NULL) code = run(context, &o);
    ewc_context_destroy(context);
    option_list_free(&o.data);
    option_list_free(&o.vocabulary);
    return code;
}
