/* ewc-cpt train: further pre-training of a checkpoint, with or without a penalty. */
#include "train.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"

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
    ewc_data *data;
    ewc_fisher *fisher;
    ewc_anchor *anchor;
    ewc_trainer *trainer;
    evaluation *evaluations;
    int64_t evaluation_count;
    batch_room *rooms; /* [accumulate] */
    ewc_batch *batches;
    int64_t first_token; /* BOS with --documents, else -1 */
    char *state;         /* OUT/training-state */
    char run_text[256];  /* what the data position depends on */
    train_log log;
    progress shown;
} training;

static int fail(training *t, ewc_status status)
{
    progress_clear(&t->shown);
    return program_fail(NAME, t->context, status);
}

/* --out must be new, or the run that is resumed, or --force given. */
static int check_out(const training *t)
{
    const train_options *o = t->o;
    if (o->resume && !path_exists(t->state))
        return program_error(NAME, CPT_INPUT, "%s: there is no training state to resume: was the run started with --save-every?",
                             t->state);
    if (o->resume || o->force || !path_exists(o->out) || path_is_empty_directory(o->out)) return CPT_OK;
    return program_error(NAME, CPT_INPUT, "%s exists: give --force to overwrite it, --resume to go on, or another --out", o->out);
}

static int open_evaluations(training *t)
{
    const option_list *list = &t->o->evaluations;
    t->evaluations = calloc((size_t)list->count + 1, sizeof *t->evaluations);
    if (t->evaluations == NULL) return program_error(NAME, CPT_OTHER, "out of memory");
    for (int64_t i = 0; i < list->count; i++) {
        const char *path;
        if (!split_name(list->items[i], &t->evaluations[i].name, &path)) return program_error(NAME, CPT_OTHER, "out of memory");
        t->evaluation_count++;
        option_list file = {&path, 1};
        int code = open_data(NAME, t->context, t->model, &file, t->o->length, &t->evaluations[i].data);
        if (code != CPT_OK) return code;
    }
    return CPT_OK;
}

static ewc_status add_penalty(training *t)
{
    const train_options *o = t->o;
    ewc_status status = EWC_OK;
    if (o->lambda == 0 && !o->fisher) return EWC_OK;
    if (o->fisher != NULL) status = ewc_fisher_load(t->model, o->fisher, &t->fisher);
    if (status == EWC_OK) status = ewc_anchor_open(t->model, o->anchor != NULL ? o->anchor : o->model, &t->anchor);
    if (status == EWC_OK)
        status = ewc_trainer_add_anchor(t->trainer, t->anchor, t->fisher, o->lambda,
                                        o->relative ? EWC_LAMBDA_RELATIVE : EWC_LAMBDA_ABSOLUTE, 0);
    return status;
}

static ewc_status make_trainer(training *t)
{
    ewc_trainer_options options = train_trainer_options(t->o);
    ewc_status status = ewc_trainer_create(t->model, &options, &t->trainer);
    for (int64_t i = 0; i < t->o->freeze.count && status == EWC_OK; i++)
        status = ewc_trainer_freeze(t->trainer, t->o->freeze.items[i], NULL);
    return status == EWC_OK ? add_penalty(t) : status;
}

static int make_rooms(training *t)
{
    t->rooms = calloc((size_t)t->o->accumulate, sizeof *t->rooms);
    t->batches = calloc((size_t)t->o->accumulate, sizeof *t->batches);
    if (t->rooms == NULL || t->batches == NULL) return program_error(NAME, CPT_OTHER, "out of memory");
    for (int64_t i = 0; i < t->o->accumulate; i++)
        if (!batch_room_make(&t->rooms[i], t->o->batch, t->o->length)) return program_error(NAME, CPT_OTHER, "out of memory");
    return CPT_OK;
}

/* The data position follows from the step, as long as these are the same. */
static void describe_run(training *t)
{
    const train_options *o = t->o;
    snprintf(t->run_text, sizeof t->run_text, "tokens %lld, length %lld, batch %lld, accumulate %lld, order %d, seed %lld, "
                                              "documents %d",
             (long long)ewc_data_tokens(t->data), (long long)o->length, (long long)o->batch, (long long)o->accumulate, o->order,
             (long long)o->seed, (int)o->documents);
}

static int resume(training *t)
{
    char *saved = NULL;
    ewc_status status = ewc_trainer_resume(t->trainer, t->state, &saved);
    if (status != EWC_OK) return fail(t, status);
    bool same = saved != NULL && strcmp(saved, t->run_text) == 0;
    int code = same ? CPT_OK
                    : program_error(NAME, CPT_INPUT, "%s: the saved run had other data (%s; here %s)", t->state,
                                    saved == NULL ? "unknown" : saved, t->run_text);
    ewc_string_free(t->context, saved);
    return code;
}

static int open_all(training *t)
{
    ewc_model_config config;
    ewc_status status = ewc_model_load(t->context, t->o->model, &t->model);
    if (status == EWC_OK) status = ewc_model_get_config(t->model, &config);
    if (status != EWC_OK) return fail(t, status);
    t->first_token = t->o->documents ? config.bos_token : -1;
    int code = open_data(NAME, t->context, t->model, &t->o->data, t->o->length, &t->data);
    if (code == CPT_OK) code = open_evaluations(t);
    if (code == CPT_OK) code = make_rooms(t);
    if (code != CPT_OK) return code;
    status = make_trainer(t);
    if (status != EWC_OK) return fail(t, status);
    describe_run(t);
    return t->o->resume ? resume(t) : CPT_OK;
}

static int evaluate_all(training *t)
{
    int64_t step = ewc_trainer_steps(t->trainer);
    for (int64_t i = 0; i < t->evaluation_count; i++) {
        evaluation *e = &t->evaluations[i];
        ewc_status status = evaluate_data(t->model, e->data, t->o->length, t->first_token, NULL, &e->last);
        if (status != EWC_OK) return fail(t, status);
        if (e->first.tokens == 0) e->first = e->last;
        train_log_evaluation(&t->log, step, e->name, &e->last);
        progress_clear(&t->shown);
        if (!t->o->quiet)
            fprintf(stderr, "train: step %lld  %s perplexity %.4f\n", (long long)step, e->name, exp(e->last.nll));
    }
    return CPT_OK;
}

static int save_state(training *t)
{
    if (!path_make_directories(t->o->out))
        return program_error(NAME, CPT_INPUT, "%s: cannot be made: %s", t->o->out, strerror(errno));
    ewc_status status = ewc_trainer_save(t->trainer, t->state, t->run_text);
    return status == EWC_OK ? CPT_OK : fail(t, status);
}

static ewc_status take_step(training *t, ewc_step_statistics *s)
{
    const train_options *o = t->o;
    int64_t first = ewc_trainer_steps(t->trainer) * o->batch * o->accumulate;
    for (int64_t i = 0; i < o->accumulate; i++) {
        ewc_status status = batch_room_fill(&t->rooms[i], t->data, o->order ? EWC_ORDER_SHUFFLE : EWC_ORDER_SEQUENTIAL,
                                            (uint64_t)o->seed, first + i * o->batch, o->batch, t->first_token);
        if (status != EWC_OK) return status;
        t->batches[i] = t->rooms[i].batch;
    }
    return ewc_trainer_step(t->trainer, o->accumulate, t->batches, s);
}

/* An interrupted step was not taken: the state that is saved is that of the last whole one. */
static int interrupted(training *t)
{
    progress_clear(&t->shown);
    if (ewc_trainer_steps(t->trainer) == 0) return program_error(NAME, CPT_INTERRUPTED, "interrupted before the first step");
    int code = save_state(t);
    if (code != CPT_OK) return code;
    return program_error(NAME, CPT_INTERRUPTED, "interrupted after step %lld; the same command with --resume goes on",
                         (long long)ewc_trainer_steps(t->trainer));
}

static int run_steps(training *t)
{
    const train_options *o = t->o;
    int64_t done = ewc_trainer_steps(t->trainer);
    t->shown = progress_start(NAME, "step", done, o->steps, o->quiet);
    int code = done == 0 || !o->resume ? evaluate_all(t) : CPT_OK;
    while (code == CPT_OK && done < o->steps) {
        ewc_step_statistics s = {.struct_size = sizeof s};
        if (program_interrupted()) return interrupted(t);
        ewc_status status = take_step(t, &s);
        if (status == EWC_ERROR_CANCELLED) return interrupted(t);
        if (status != EWC_OK) return fail(t, status);
        done = s.step;
        train_log_step(&t->log, &s);
        progress_update(&t->shown, done, s.tokens, s.loss);
        if (o->evaluate_every > 0 && done % o->evaluate_every == 0 && done < o->steps) code = evaluate_all(t);
        if (code == CPT_OK && o->save_every > 0 && done % o->save_every == 0 && done < o->steps) code = save_state(t);
    }
    return code == CPT_OK ? evaluate_all(t) : code;
}

static int finish(training *t)
{
    ewc_update_statistics sums;
    int code = save_state(t);
    if (code != CPT_OK) return code;
    ewc_status status = ewc_model_save(t->model, t->o->out, t->o->save_dtype == 0 ? EWC_BF16 : EWC_F32, 1);
    if (status == EWC_OK) status = ewc_trainer_penalty(t->trainer, &sums);
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
    return CPT_OK;
}

static int run(training *t)
{
    int code = check_out(t);
    if (code == CPT_OK) code = open_all(t);
    if (code == CPT_OK) code = train_log_open(&t->log, t->o, ewc_trainer_steps(t->trainer));
    if (code == CPT_OK) code = run_steps(t);
    int closed = train_log_close(&t->log);
    if (code == CPT_OK) code = closed;
    return code == CPT_OK ? finish(t) : code;
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
    for (int64_t i = 0; t->rooms != NULL && i < t->o->accumulate; i++) batch_room_free(&t->rooms[i]);
    free(t->rooms);
    free(t->batches);
    ewc_data_destroy(t->data);
    ewc_model_destroy(t->model);
    ewc_context_destroy(t->context);
    free(t->state);
}

int command_train(int argc, char **argv)
{
    enum { EXTRA = 2 };
    train_options o;
    option table[TRAIN_OPTION_COUNT + EXTRA];
    train_options_table(&o, table);
    table[TRAIN_OPTION_COUNT] = (option){"force", OPTION_FLAG, &o.force, NULL, "overwrite the model in --out and the log", NULL, 0,
                                         false, false};
    table[TRAIN_OPTION_COUNT + 1] = (option){"quiet", OPTION_FLAG, &o.quiet, NULL, "no progress", NULL, 0, false, false};
    command_line line = {NAME,
                         "--model DIR --data T.npy... --length T --batch B --steps N --lr X [options] --out DIR",
                         "Trains every parameter of the model further on the data. With --fisher and --lambda the weights are held\n"
                         "where the old text needs them. DIR becomes a Hugging Face directory; the state to resume from lies in\n"
                         "DIR/training-state. In order, step s takes sequences s*B*K and following; at the end of the data it wraps.",
                         table, TRAIN_OPTION_COUNT + EXTRA, NULL, {0}};
    training t = {.o = &o, .first_token = -1};
    parse_result parsed = options_parse(&line, argc, argv);
    int code = parsed == PARSE_OK ? train_options_check(NAME, &o) : program_parse_exit(parsed);
    if (parsed == PARSE_OK && code == CPT_OK) code = program_open(NAME, o.threads, &t.context);
    if (t.context != NULL) {
        t.state = path_join(o.out, "training-state");
        code = t.state != NULL ? run(&t) : program_error(NAME, CPT_OTHER, "out of memory");
        close_all(&t);
    }
    option_list_free(&o.data);
    option_list_free(&o.evaluations);
    option_list_free(&o.freeze);
    return code;
}
