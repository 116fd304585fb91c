/* --forget-budget: see train_budget.h. The arithmetic is the library's, ewc_budget_observe. */
#include "train_budget.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

static const char NAME[] = "train";
static const char LINE[] = "forget_budget ";

/* Tokens of one pass over the probe, and sequences of it unless --forget-sequences says otherwise. */
enum { PROBE_TOKENS = 4096, PROBE_SEQUENCES = 16 };

int train_budget_check(const char *command, const train_options *o)
{
    bool given = o->forget_budget >= 0;
    if (!given && (o->forget_probe.count > 0 || o->forget_every > 0 || o->forget_sequences > 0))
        return program_error(command, CPT_USAGE, "--forget-%s needs --forget-budget SHARE, such as 2%%",
                             o->forget_probe.count > 0 ? "probe"
                             : o->forget_every > 0     ? "every"
                                                       : "sequences");
    if (!given) return CPT_OK;
    if (o->forget_budget == 0 || o->forget_budget > 1)
        return program_error(command, CPT_USAGE,
                             "--forget-budget: expected a share above 0 and at most 100%%, found %g; two per cent are "
                             "2%% or 0.02",
                             o->forget_budget);
    if (o->fisher == NULL && !o->l2)
        return program_error(command, CPT_USAGE, "--forget-budget needs --fisher F.safetensors (or --l2)");
    if (o->forget_probe.count == 0)
        return program_error(command, CPT_USAGE,
                             "--forget-budget needs --forget-probe OLD.npy, a token file of the "
                             "old text to measure on");
    return CPT_OK;
}

/* The strength at which a token of old text counts as one of new text, if the Fisher were all of the old loss's curvature. */
static ewc_status yardstick(const ewc_fisher *fisher, double *lambda)
{
    ewc_fisher_info info = {.struct_size = sizeof info};
    *lambda = 0;
    if (fisher == NULL) return EWC_OK;
    ewc_status status = ewc_fisher_describe(fisher, &info);
    if (status != EWC_OK || info.sequences < 1 || info.tokens < 1) return status;
    double length = (double)info.tokens / (double)info.sequences;
    *lambda = info.unit == EWC_UNIT_SEQUENCE_MEAN ? length : 1 / length;
    return EWC_OK;
}

static ewc_status make_budget(train_budget *b, const ewc_fisher *fisher)
{
    const train_options *o = b->o;
    ewc_budget_options options;
    uint64_t fingerprint = 0;
    ewc_budget_options_default(&options);
    options.budget = o->forget_budget;
    options.schedule = train_trainer_options(o).schedule;
    options.steps = o->steps;
    options.every = o->forget_every;
    options.lambda = ewc_trainer_lambda(b->trainer);
    ewc_status status = o->lambda < 0 ? yardstick(fisher, &options.lambda) : EWC_OK;
    if (status == EWC_OK) status = ewc_trainer_set_lambda(b->trainer, options.lambda);
    if (status == EWC_OK) status = ewc_budget_create(b->context, &options, &b->budget);
    if (status == EWC_OK) status = ewc_data_fingerprint(b->probe, &fingerprint);
    snprintf(b->description, sizeof b->description, "%.15g every %lld, probe of %lld sequences of %016" PRIx64,
             o->forget_budget, (long long)o->forget_every, (long long)b->sequences, fingerprint);
    return status;
}

/* Sequences first .. first+count-1 of the probe into the room: number i of K is number i n/K of the file's n. */
static ewc_status fill(train_budget *b, int64_t first, int64_t count)
{
    int64_t there = ewc_data_sequences(b->probe), length = b->o->length;
    ewc_status status = EWC_OK;
    for (int64_t i = 0; i < count && status == EWC_OK; i++)
        status = ewc_data_batch(b->probe, EWC_ORDER_SEQUENTIAL, 0, (first + i) * there / b->sequences, 1,
                                b->room.tokens + i * length, b->room.targets + i * length);
    return status == EWC_OK ? batch_room_filled(&b->room, count, b->first_token) : status;
}

/* Whether a loss can be measured: the sequences that the probe takes may be BOS alone, where others of the file are not. */
static int check_scored(train_budget *b)
{
    for (int64_t i = 0; i < b->sequences; i++) {
        ewc_status status = fill(b, i, 1);
        if (status != EWC_OK) return program_fail(NAME, b->context, status);
        if (any_scored(b->room.targets, b->o->length)) return CPT_OK;
    }
    return program_error(NAME, CPT_INPUT,
                         "--forget-probe %s: expected old text to measure a loss on, found no token that is scored in "
                         "the probe's sequences (%lld); a BOS is never a target: give other text, or more "
                         "--forget-sequences",
                         b->o->forget_probe.items[0], (long long)b->sequences);
}

int train_budget_open(train_budget *b, const train_options *o, ewc_context *context, ewc_model *model,
                      ewc_trainer *trainer, const ewc_fisher *fisher, int64_t first_token)
{
    *b = (train_budget){.o = o,
                        .context = context,
                        .model = model,
                        .trainer = trainer,
                        .first_token = first_token,
                        .logged = -1};
    if (o->forget_budget < 0) return CPT_OK;
    int code = open_data(NAME, context, model, &o->forget_probe, o->length, o->bos, &b->probe);
    if (code != CPT_OK) return code;
    int64_t there = ewc_data_sequences(b->probe),
            wanted = o->forget_sequences > 0 ? o->forget_sequences : PROBE_SEQUENCES;
    b->sequences = wanted < there ? wanted : there;
    b->room_sequences = PROBE_TOKENS / o->length > 0 ? PROBE_TOKENS / o->length : 1;
    if (b->room_sequences > o->batch) b->room_sequences = o->batch; /* more would enlarge the trainer's workspace */
    if (b->room_sequences > b->sequences) b->room_sequences = b->sequences;
    if (!batch_room_make(&b->room, b->room_sequences, o->length))
        return program_error(NAME, CPT_OTHER, "out of memory");
    code = check_scored(b);
    if (code != CPT_OK) return code;
    ewc_status status = make_budget(b, fisher);
    return status == EWC_OK ? CPT_OK : program_fail(NAME, context, status);
}

void train_budget_close(train_budget *b)
{
    ewc_budget_destroy(b->budget);
    ewc_data_destroy(b->probe);
    batch_room_free(&b->room);
}

static ewc_status old_loss(train_budget *b, double *loss)
{
    double sum = 0;
    int64_t tokens = 0;
    for (int64_t first = 0; first < b->sequences; first += b->room_sequences) {
        int64_t count = b->sequences - first < b->room_sequences ? b->sequences - first : b->room_sequences;
        ewc_evaluation e = {.struct_size = sizeof e};
        ewc_status status = fill(b, first, count);
        if (status == EWC_OK) status = ewc_model_evaluate(b->model, &b->room.batch, &e, NULL);
        if (status != EWC_OK) return status;
        sum += e.nll;
        tokens += e.tokens;
    }
    *loss = sum / (double)tokens;
    return EWC_OK;
}

static ewc_status observe(train_budget *b, int64_t step)
{
    ewc_update_statistics sums;
    ewc_budget_observation seen = {.struct_size = sizeof seen, .step = step, .new_loss = b->new_loss};
    double lambda;
    ewc_status status = old_loss(b, &seen.old_loss);
    if (status == EWC_OK) status = ewc_trainer_penalty(b->trainer, &sums);
    if (status != EWC_OK) return status;
    seen.fisher_distance_squared = sums.fisher_distance_squared;
    status = ewc_budget_observe(b->budget, &seen, &lambda);
    return status == EWC_OK ? ewc_trainer_set_lambda(b->trainer, lambda) : status;
}

static ewc_budget_info last(const train_budget *b)
{
    ewc_budget_info info = {.struct_size = sizeof info};
    (void)ewc_budget_describe(b->budget, &info);
    return info;
}

static void log_probe(const ewc_budget_info *info, FILE *file)
{
    if (file == NULL) return;
    json_writer json = json_begin(file);
    json_text(&json, "type", TRAIN_LOG_PROBE);
    json_integer(&json, "step", info->step);
    json_text(&json, "phase", ewc_budget_phase_name(info->phase));
    json_number(&json, "nll", info->loss);
    json_number(&json, "rise", info->rise);
    json_number(&json, "predicted_rise", info->predicted_rise);
    json_number(&json, "lambda", info->lambda);
    json_end(&json);
}

ewc_status train_budget_probe(train_budget *b, train_log *log)
{
    if (b->budget == NULL) return EWC_OK;
    int64_t step = ewc_trainer_steps(b->trainer);
    ewc_status status = ewc_budget_due(b->budget, step) ? observe(b, step) : EWC_OK;
    if (status != EWC_OK) return status;
    ewc_budget_info info = last(b);
    if (info.step == step && b->logged != step) {
        log_probe(&info, log->file);
        b->logged = step;
    }
    return EWC_OK;
}

void train_budget_log(const train_budget *b, train_log *log)
{
    if (b->budget == NULL || log->file == NULL) return;
    ewc_budget_info info = last(b);
    json_writer json = json_begin(log->file);
    json_text(&json, "type", "forget_budget");
    json_integer(&json, "step", info.step);
    json_number(&json, "budget", b->o->forget_budget);
    json_boolean(&json, "met", info.met);
    json_number(&json, "first_nll", info.first_loss);
    json_number(&json, "nll", info.loss);
    json_number(&json, "rise", info.rise);
    json_number(&json, "lambda", info.lambda);
    json_end(&json);
}

void train_budget_report(const train_budget *b)
{
    if (b->budget == NULL) return;
    ewc_budget_info info = last(b);
    double budget = b->o->forget_budget;
    printf("  forget budget %g%%: the probe's loss %.4f -> %.4f, %+.2f%%, %s; lambda at the end %.6g\n", 100 * budget,
           info.first_loss, info.loss, 100 * info.rise, info.met ? "met" : "NOT met", info.lambda);
    if (!info.met)
        (void)program_error(NAME, CPT_OK,
                            "the forget budget was not met: the old text's loss rose by %.2f%% of its first value, "
                            "allowed were %g%%; a lower --lr, more probes (--forget-every) or more steps of decay help",
                            100 * info.rise, 100 * budget);
}

int train_budget_write(const train_budget *b, char *text)
{
    char state[EWC_BUDGET_TEXT];
    text[0] = '\0';
    if (b->budget == NULL) return CPT_OK;
    ewc_status status = ewc_budget_write(b->budget, state, sizeof state);
    if (status != EWC_OK) return program_fail(NAME, b->context, status);
    snprintf(text, TRAIN_BUDGET_TEXT, "%s%s: %a %s\n", LINE, b->description, b->new_loss, state);
    return CPT_OK;
}

/* From "NEW_LOSS STATE". */
static int take_state(train_budget *b, const char *states, const char *text, size_t length)
{
    char copy[TRAIN_BUDGET_TEXT], *rest;
    snprintf(copy, sizeof copy, "%.*s", (int)length, text);
    b->new_loss = strtod(copy, &rest);
    ewc_status status = ewc_budget_read(b->budget, *rest == ' ' ? rest + 1 : rest);
    if (status == EWC_OK) return CPT_OK;
    return program_error(NAME, CPT_INPUT, "%s: %s", states, ewc_last_error(b->context));
}

int train_budget_resume(train_budget *b, const char *states, const char **line)
{
    bool saved = strncmp(*line, LINE, sizeof LINE - 1) == 0;
    if (!saved && b->budget == NULL) return CPT_OK;
    const char *text = saved ? *line + sizeof LINE - 1 : "";
    size_t whole = strcspn(text, "\n"), said = strcspn(text, ":");
    bool same =
        saved && b->budget != NULL && strlen(b->description) == said && strncmp(b->description, text, said) == 0;
    if (!same)
        return program_error(
            NAME, CPT_INPUT,
            "%s: the saved run had %s%.*s, this one has %s%s: resume with the options that the run was "
            "started with",
            states, saved ? "--forget-budget " : "no --forget-budget", (int)(said < whole ? said : whole), text,
            b->budget != NULL ? "--forget-budget " : "no --forget-budget", b->description);
    *line = text + whole + (text[whole] == '\n');
    return take_state(b, states, text + said + 2, whole - said - 2);
}
