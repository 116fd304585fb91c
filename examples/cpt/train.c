/* ewc-cpt train: further pre-training of a checkpoint, with or without a penalty. */
#include "train.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "train_budget.h"
#include "train_data.h"
#include "train_state.h"
#include "vocabulary.h"

static const char NAME[] = "train";

typedef struct evaluation {
    char *name;
    ewc_data *data;
    data_loss first, last;
} evaluation;

typedef struct training {
    const train_options *o;
    ewc_context *context;
    ewc_model *model;
    train_data data;
    ewc_fisher *fisher;
    ewc_anchor *anchor;
    ewc_trainer *trainer;
    train_budget budget;
    evaluation *evaluations;
    int64_t evaluation_count;
    int64_t first_token; /* BOS with --documents, else -1 */
    char *states;        /* OUT/training-state */
    train_log log;
    progress shown;
} training;

static int fail(training *t, ewc_status status)
{
    progress_clear(&t->shown);
    return program_fail(NAME, t->context, status);
}

/* --out must be new, or the run that is resumed, or --force given; what the run reads is never what it writes. */
static int check_out(const training *t)
{
    const train_options *o = t->o;
    if (path_same(o->out, o->model) || (o->anchor != NULL && path_same(o->out, o->anchor)))
        return program_error(NAME, CPT_USAGE, "%s is the model to start from or the anchor: give another --out",
                             o->out);
    if (o->resume || o->force || !path_exists(o->out) || path_is_empty_directory(o->out)) return CPT_OK;
    return program_error(NAME, CPT_INPUT,
                         "%s exists: give --force to overwrite it, --resume to go on, or another --out", o->out);
}

static int open_evaluations(training *t)
{
    const option_list *list = &t->o->evaluations;
    t->evaluations = calloc((size_t)list->count + 1, sizeof *t->evaluations);
    if (t->evaluations == NULL) return program_error(NAME, CPT_OTHER, "out of memory");
    for (int64_t i = 0; i < list->count; i++) {
        const char *path;
        if (!split_name(list->items[i], &t->evaluations[i].name, &path))
            return program_error(NAME, CPT_OTHER, "out of memory");
        t->evaluation_count++;
        option_list file = {&path, 1};
        int code = open_data(NAME, t->context, t->model, &file, t->o->length, t->o->bos, &t->evaluations[i].data);
        if (code != CPT_OK) return code;
    }
    return CPT_OK;
}

static ewc_status add_penalty(training *t)
{
    const train_options *o = t->o;
    ewc_status status = EWC_OK;
    if (o->fisher == NULL && !o->l2) return EWC_OK;
    if (o->fisher != NULL) status = ewc_fisher_load(t->model, o->fisher, &t->fisher);
    if (status == EWC_OK) status = ewc_anchor_open(t->model, o->anchor != NULL ? o->anchor : o->model, &t->anchor);
    if (status == EWC_OK && o->fisher_dtype != HELD_MAPPED)
        status = ewc_fisher_convert(t->fisher, o->fisher_dtype == HELD_BF16 ? EWC_BF16 : EWC_F32);
    if (status == EWC_OK && o->anchor_dtype != HELD_MAPPED)
        status = ewc_anchor_convert(t->anchor, o->anchor_dtype == HELD_BF16 ? EWC_BF16 : EWC_F32);
    if (status == EWC_OK)
        status = ewc_trainer_add_anchor(t->trainer, t->anchor, t->fisher, o->lambda < 0 ? 0 : o->lambda,
                                        o->relative ? EWC_LAMBDA_RELATIVE : EWC_LAMBDA_ABSOLUTE, 0);
    return status;
}

static ewc_status make_trainer(training *t)
{
    ewc_trainer_options options = train_trainer_options(t->o);
    ewc_status status = ewc_trainer_create(t->model, &options, &t->trainer);
    for (int64_t i = 0; i < t->o->freeze.count && status == EWC_OK; i++)
        status = ewc_trainer_freeze(t->trainer, t->o->freeze.items[i], NULL);
    if (status == EWC_OK && t->data.replay != NULL)
        status = ewc_trainer_set_losses(t->trainer, t->data.losses, t->o->batch * t->o->accumulate);
    return status == EWC_OK ? add_penalty(t) : status;
}

/* The run's description in the first line, then that of the budget with its state, if there is one, then the evaluations before training, one
 * a line: "NLL TOKENS NAME". */
static char *make_user_data(const training *t)
{
    char budget[TRAIN_BUDGET_TEXT];
    if (train_budget_write(&t->budget, budget) != CPT_OK) return NULL;
    size_t bytes = sizeof t->data.description + sizeof budget + 2;
    for (int64_t i = 0; i < t->evaluation_count; i++) bytes += strlen(t->evaluations[i].name) + 80;
    char *text = malloc(bytes);
    if (text == NULL) return NULL;
    size_t used = (size_t)snprintf(text, bytes, "%s\n%s", t->data.description, budget);
    for (int64_t i = 0; i < t->evaluation_count; i++) {
        const evaluation *e = &t->evaluations[i];
        used += (size_t)snprintf(text + used, bytes - used, "%a %lld %s\n", e->first.nll, (long long)e->first.tokens,
                                 e->name);
    }
    return text;
}

/* Takes the evaluations before training from lines as make_user_data writes them. */
static void read_first_losses(training *t, const char *line)
{
    for (; *line != '\0'; line += *line == '\n') {
        char *rest;
        double nll = strtod(line, &rest);
        long long tokens = strtoll(rest, &rest, 10);
        const char *name = *rest == ' ' ? rest + 1 : rest;
        line = name + strcspn(name, "\n");
        for (int64_t i = 0; i < t->evaluation_count; i++) {
            evaluation *e = &t->evaluations[i];
            if (strlen(e->name) == (size_t)(line - name) && strncmp(e->name, name, (size_t)(line - name)) == 0)
                e->first = (data_loss){nll, tokens};
        }
    }
}

/* What make_user_data wrote behind the first line. */
static int read_user_data(training *t, const char *line)
{
    int code = train_budget_resume(&t->budget, t->states, &line);
    if (code == CPT_OK) read_first_losses(t, line);
    return code;
}

static int resume(training *t)
{
    char *saved = NULL;
    int code = train_state_resume(t->states, t->context, t->trainer, &saved);
    if (code != CPT_OK) return code;
    int64_t done = ewc_trainer_steps(t->trainer);
    if (done == 0) {
        fprintf(stderr, "train: %s has no training state yet: starting at the first step\n", t->o->out);
        return CPT_OK;
    }
    size_t length = saved == NULL ? 0 : strcspn(saved, "\n");
    if (saved == NULL || strlen(t->data.description) != length || strncmp(t->data.description, saved, length) != 0)
        code = program_error(NAME, CPT_INPUT,
                             "%s: the saved run read its data otherwise (%.*s), this one has %s: resume with the "
                             "options that the run was started with",
                             t->states, (int)length, saved == NULL ? "" : saved, t->data.description);
    else if (done > t->o->steps)
        code = program_error(NAME, CPT_USAGE, "%s has %lld steps behind it already, more than --steps %lld", t->o->out,
                             (long long)done, (long long)t->o->steps);
    else
        code = read_user_data(t, saved + length + (saved[length] == '\n'));
    ewc_string_free(t->context, saved);
    return code;
}

static int open_all(training *t)
{
    const vocabulary_source source = {&t->o->vocabulary, t->o->model, NULL};
    int code = load_model(NAME, t->context, &source, t->o->quiet, &t->model);
    if (code == CPT_OK)
        code = find_first_token(NAME, t->context, t->model, t->o->bos, t->o->documents, &t->first_token);
    if (code == CPT_OK) code = train_data_open(&t->data, t->o, t->context, t->model, t->first_token);
    if (code == CPT_OK) code = open_evaluations(t);
    if (code != CPT_OK) return code;
    ewc_status status = make_trainer(t);
    if (status != EWC_OK) return fail(t, status);
    code = train_budget_open(&t->budget, t->o, t->context, t->model, t->trainer, t->fisher, t->first_token);
    if (code != CPT_OK) return code;
    return t->o->resume ? resume(t) : CPT_OK;
}

static int save_state(training *t)
{
    char *user_data = make_user_data(t);
    progress_clear(&t->shown);
    int code = user_data != NULL ? train_state_save(t->states, t->context, t->trainer, user_data)
                                 : program_error(NAME, CPT_OTHER, "out of memory");
    free(user_data);
    return code;
}

/* An interrupted step was not taken: the state that is saved is that of the last whole one. */
static int interrupted(training *t)
{
    progress_clear(&t->shown);
    if (ewc_trainer_steps(t->trainer) == 0)
        return program_error(NAME, CPT_INTERRUPTED, "interrupted before the first step");
    int code = save_state(t);
    if (code != CPT_OK) return code;
    return program_error(NAME, CPT_INTERRUPTED, "interrupted after step %lld; the same command with --resume goes on",
                         (long long)ewc_trainer_steps(t->trainer));
}

static int evaluate_all(training *t)
{
    int64_t step = ewc_trainer_steps(t->trainer);
    for (int64_t i = 0; i < t->evaluation_count; i++) {
        evaluation *e = &t->evaluations[i];
        ewc_status status = evaluate_data(t->model, e->data, t->o->length, t->o->batch, t->first_token, NULL, &e->last);
        if (status == EWC_ERROR_CANCELLED) return interrupted(t);
        if (status != EWC_OK) return fail(t, status);
        if (e->first.tokens == 0) e->first = e->last;
        train_log_evaluation(&t->log, step, e->name, &e->last);
        progress_clear(&t->shown);
        if (!t->o->quiet)
            fprintf(stderr, "train: step %lld  %s perplexity %.4f\n", (long long)step, e->name, exp(e->last.nll));
    }
    return CPT_OK;
}

/* Evaluates the probe of --forget-budget, if that is due. */
static int probe(training *t)
{
    ewc_status status = train_budget_probe(&t->budget, &t->log);
    if (status == EWC_ERROR_CANCELLED) return interrupted(t);
    return status == EWC_OK ? CPT_OK : fail(t, status);
}

static ewc_status take_step(training *t, ewc_step_statistics *s)
{
    ewc_status status = train_data_fill(&t->data, ewc_trainer_steps(t->trainer));
    return status == EWC_OK ? ewc_trainer_step(t->trainer, t->o->accumulate, t->data.batches, s) : status;
}

static void log_step(training *t, const ewc_step_statistics *s)
{
    replay_statistics split = train_data_split(&t->data);
    train_log_step(&t->log, s, t->data.replay != NULL ? &split : NULL);
}

/* A step that failed was not taken: the weights are the last good ones, and are kept. */
static int failed_step(training *t, ewc_status status)
{
    int code = fail(t, status);
    if (status == EWC_ERROR_NOT_FINITE && ewc_trainer_steps(t->trainer) > 0 && save_state(t) == CPT_OK)
        fprintf(stderr, "The state after step %lld, the last good one, is kept in %s.\n",
                (long long)ewc_trainer_steps(t->trainer), t->states);
    return code;
}

static int run_steps(training *t)
{
    const train_options *o = t->o;
    int64_t done = ewc_trainer_steps(t->trainer);
    t->shown = progress_start(NAME, "step", done, o->steps, o->quiet);
    int code = t->log.evaluate_first && done < o->steps ? evaluate_all(t) : CPT_OK;
    while (code == CPT_OK && done < o->steps) {
        ewc_step_statistics s = {.struct_size = sizeof s};
        if (program_interrupted()) return interrupted(t);
        code = probe(t);
        if (code != CPT_OK) return code;
        ewc_status status = take_step(t, &s);
        if (status == EWC_ERROR_CANCELLED) return interrupted(t);
        if (status != EWC_OK) return failed_step(t, status);
        done = s.step;
        t->budget.new_loss = s.loss;
        log_step(t, &s);
        progress_update(&t->shown, done, s.tokens, s.loss);
        if (train_evaluation_due(o, done) && done < o->steps) code = evaluate_all(t);
        if (code == CPT_OK && o->save_every > 0 && done % o->save_every == 0 && done < o->steps) code = save_state(t);
    }
    if (code == CPT_OK) code = evaluate_all(t);
    return code == CPT_OK ? probe(t) : code;
}

static int finish(training *t)
{
    ewc_update_statistics sums;
    int code = save_state(t);
    if (code != CPT_OK) return code;
    ewc_status status = ewc_trainer_penalty(t->trainer, &sums);
    if (status == EWC_OK) train_budget_log(&t->budget, &t->log);
    if (status == EWC_OK) train_log_end(&t->log, ewc_trainer_steps(t->trainer), &sums);
    if (status == EWC_OK) status = ewc_model_save(t->model, t->o->out, t->o->save_dtype == 0 ? EWC_BF16 : EWC_F32, 1);
    if (status != EWC_OK) return fail(t, status);
    printf("%s: %lld steps", t->o->out, (long long)ewc_trainer_steps(t->trainer));
    if (t->anchor != NULL)
        printf(", distance from the anchor %.6g, by the Fisher %.6g, penalty %.6g", sqrt(sums.distance_squared),
               sqrt(sums.fisher_distance_squared), sums.penalty);
    putchar('\n');
    for (int64_t i = 0; i < t->evaluation_count; i++) {
        const evaluation *e = &t->evaluations[i];
        printf("  %-20s perplexity %.4f -> %.4f\n", e->name, exp(e->first.nll), exp(e->last.nll));
    }
    train_budget_report(&t->budget);
    return CPT_OK;
}

/* Makes --out, which the log may lie in; a new run in a directory of an old one does away with that one's states. */
static int prepare_out(training *t)
{
    if (!path_make_directories(t->o->out))
        return program_error(NAME, CPT_INPUT, "%s: cannot be made: %s", t->o->out, strerror(errno));
    return t->o->resume ? CPT_OK : train_state_clear(t->states);
}

static int run(training *t)
{
    int code = check_out(t);
    if (code == CPT_OK) code = open_all(t);
    if (code == CPT_OK) code = prepare_out(t);
    if (code == CPT_OK) code = train_log_open(&t->log, t->o, ewc_trainer_steps(t->trainer));
    if (code == CPT_OK) code = run_steps(t);
    if (code == CPT_OK) code = finish(t);
    int closed = train_log_close(&t->log);
    return code == CPT_OK ? closed : code;
}

static void close_all(training *t)
{
    ewc_trainer_destroy(t->trainer);
    ewc_anchor_destroy(t->anchor);
    ewc_fisher_destroy(t->fisher);
    for (int64_t i = 0; i < t->evaluation_count; i++) {
        ewc_data_destroy(t->evaluations[i].data);
        free(t->evaluations[i].name);
    }
    free(t->evaluations);
    train_data_close(&t->data);
    train_budget_close(&t->budget);
    ewc_model_destroy(t->model);
    ewc_context_destroy(t->context);
    free(t->states);
}

int command_train(int argc, char **argv)
{
    enum { EXTRA = 2 };
    train_options o;
    option table[TRAIN_OPTION_COUNT + EXTRA];
    train_options_table(&o, table);
    table[TRAIN_OPTION_COUNT] =
        (option){"force", OPTION_FLAG, &o.force, NULL, "overwrite the model in --out and the log",
                 NULL,    0,           false,    false};
    table[TRAIN_OPTION_COUNT + 1] =
        (option){"quiet", OPTION_FLAG, &o.quiet, NULL, "no progress", NULL, 0, false, false};
    command_line line =
        {NAME,
         "--model DIR --data T.npy... --length T --batch B --steps N --lr X [options] --out DIR",
         "Trains every parameter of the model further on the data. With --fisher and --lambda the weights are held\n"
         "where the old text needs them. DIR becomes a Hugging Face directory; the state to resume from lies in\n"
         "DIR/training-state. In order, step s takes sequences s*B*K and following; at the end of the data it wraps.\n"
         "With --replay the sequences of old text stand among the new ones; the run has as many in all as without.",
         table,
         TRAIN_OPTION_COUNT + EXTRA,
         NULL,
         {0}};
    training t = {.o = &o, .first_token = -1};
    parse_result parsed = options_parse(&line, argc, argv);
    int code = parsed == PARSE_OK ? train_options_check(NAME, &o) : program_parse_exit(parsed);
    if (parsed == PARSE_OK && code == CPT_OK) code = program_open(NAME, o.threads, o.products, &t.context);
    if (t.context != NULL) {
        t.states = path_join(o.out, "training-state");
        code = t.states != NULL ? run(&t) : program_error(NAME, CPT_OTHER, "out of memory");
        close_all(&t);
    }
    train_options_free(&o);
    return code;
}
