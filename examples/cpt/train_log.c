/* The log of a training run: JSON lines, handed to the system line by line. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "json.h"
#include "train.h"

static const char NAME[] = "train";

/* The step of a line that this program wrote, or -1. */
static long long step_of(const char *line)
{
    const char *found = strstr(line, "\"step\":");
    return found == NULL ? -1 : strtoll(found + 7, NULL, 10);
}

static bool is_evaluation(const char *line)
{
    return strstr(line, "\"type\": \"eval\"") != NULL;
}

/* The line of an evaluation up to its values. */
static json_writer begin_evaluation(FILE *file, int64_t step, const char *name)
{
    json_writer json = json_begin(file);
    json_text(&json, "type", "eval");
    json_integer(&json, "step", step);
    json_text(&json, "name", name);
    return json;
}

/* Whether the line is that of the data set NAME=T.npy after `step` steps. Without memory: no, which costs an evaluation. */
static bool is_evaluation_of(const char *line, int64_t step, const char *data_set)
{
    char *name = NULL, *expected = NULL;
    const char *path;
    size_t length = 0;
    bool same = false;
    FILE *memory = split_name(data_set, &name, &path) ? open_memstream(&expected, &length) : NULL;
    if (memory != NULL) {
        begin_evaluation(memory, step, name);
        same = fclose(memory) == 0 && strncmp(line, expected, length) == 0;
    }
    free(expected);
    free(name);
    return same;
}

/* Whether a resumed run that has taken `done` steps has the line behind it: it is of one of those steps, and not what
 * only the end of a run writes. A probe after just those steps comes last of them, and is written again. */
static bool is_kept(const char *line, int64_t done)
{
    long long step = step_of(line);
    if (strstr(line, "\"type\": \"" TRAIN_LOG_PROBE "\"") != NULL) return step >= 0 && step < done;
    return step >= 0 && step <= done && strstr(line, "\"type\": \"end\"") == NULL &&
           strstr(line, "\"type\": \"forget_budget\"") == NULL;
}

/* Bytes of the log that a run resumed after `done` steps keeps. An evaluation after just those steps is kept where all of
 * it is there; that before the first step and that after the last are made again, since the summary needs their values. */
static long kept_bytes(FILE *old, const train_options *o, int64_t done, bool *evaluate)
{
    char *line = NULL;
    size_t capacity = 0;
    long kept = 0, before_evaluation = -1;
    int64_t evaluated = 0;
    for (ssize_t length; (length = getline(&line, &capacity, old)) > 0; kept += (long)length) {
        if (line[length - 1] != '\n' || !is_kept(line, done)) break;
        if (step_of(line) < done || !is_evaluation(line)) continue;
        if (before_evaluation < 0) before_evaluation = kept;
        if (evaluated < o->evaluations.count && is_evaluation_of(line, done, o->evaluations.items[evaluated]))
            evaluated++;
    }
    free(line);
    bool whole = evaluated == o->evaluations.count && done > 0 && done < o->steps;
    *evaluate = train_evaluation_due(o, done) && !whole;
    return *evaluate && before_evaluation >= 0 ? before_evaluation : kept;
}

/* Keeps the lines up to the training state: what came after it is run again, and logged again. */
static int cut_log(train_log *log, const train_options *o, int64_t done)
{
    const char *path = o->log;
    FILE *old = fopen(path, "re");
    if (old == NULL) return errno == ENOENT ? CPT_OK : program_error(NAME, CPT_INPUT, "%s: %s", path, strerror(errno));
    long keep = kept_bytes(old, o, done, &log->evaluate_first);
    fclose(old);
    FILE *file = fopen(path, "r+e");
    if (file == NULL) return program_error(NAME, CPT_INPUT, "%s: %s", path, strerror(errno));
    int failed = ftruncate(fileno(file), keep);
    fclose(file);
    return failed ? program_error(NAME, CPT_INPUT, "%s: cannot be shortened: %s", path, strerror(errno)) : CPT_OK;
}

int train_log_open(train_log *log, const train_options *o, int64_t steps_done)
{
    *log = (train_log){NULL, train_evaluation_due(o, steps_done)};
    if (o->log == NULL) return CPT_OK;
    if (!o->resume && !o->force && path_exists(o->log))
        return program_error(NAME, CPT_INPUT, "%s exists: give --force to overwrite it, or another --log", o->log);
    if (o->resume) {
        int code = cut_log(log, o, steps_done);
        if (code != CPT_OK) return code;
    }
    log->file = fopen(o->log, o->resume ? "ae" : "we");
    if (log->file == NULL) return program_error(NAME, CPT_INPUT, "%s: cannot be written: %s", o->log, strerror(errno));
    return CPT_OK;
}

void train_log_step(train_log *log, const ewc_step_statistics *s, const replay_statistics *replay)
{
    if (log->file == NULL) return;
    json_writer json = json_begin(log->file);
    json_text(&json, "type", "step");
    json_integer(&json, "step", s->step);
    json_number(&json, "loss", s->loss);
    json_number(&json, "lambda", s->lambda);
    json_number(&json, "penalty", s->penalty);
    json_number(&json, "gradient_norm", s->gradient_norm);
    json_number(&json, "clip_factor", s->clip_factor);
    json_number(&json, "learning_rate", s->learning_rate);
    json_number(&json, "schedule_area1", s->schedule_area1);
    json_number(&json, "schedule_area2", s->schedule_area2);
    json_number(&json, "distance", s->distance);
    json_number(&json, "fisher_distance", s->fisher_distance);
    json_integer(&json, "tokens", s->tokens);
    if (replay != NULL) {
        json_integer(&json, "replay_sequences", replay->sequences);
        json_number(&json, "replay_loss", replay->old_loss);
        json_number(&json, "new_loss", replay->new_loss);
    }
    json_number(&json, "seconds", s->seconds);
    json_open(&json, "phase_seconds");
    for (int i = 0; i < EWC_PHASE_COUNT; i++) json_number(&json, ewc_phase_name((ewc_phase)i), s->phase_seconds[i]);
    json_close(&json);
    json_end(&json);
}

void train_log_evaluation(train_log *log, int64_t step, const char *name, const data_loss *loss)
{
    if (log->file == NULL) return;
    json_writer json = begin_evaluation(log->file, step, name);
    json_number(&json, "nll", loss->nll);
    json_number(&json, "perplexity", exp(loss->nll));
    json_integer(&json, "tokens", loss->tokens);
    json_end(&json);
}

void train_log_end(train_log *log, int64_t step, const ewc_update_statistics *sums)
{
    if (log->file == NULL) return;
    json_writer json = json_begin(log->file);
    json_text(&json, "type", "end");
    json_integer(&json, "step", step);
    json_number(&json, "penalty", sums->penalty);
    json_number(&json, "distance", sqrt(sums->distance_squared));
    json_number(&json, "fisher_distance", sqrt(sums->fisher_distance_squared));
    json_end(&json);
}

int train_log_close(train_log *log)
{
    bool failed = log->file != NULL && (ferror(log->file) || fclose(log->file) != 0);
    log->file = NULL;
    return failed ? program_error(NAME, CPT_INPUT, "the log could not be written whole") : CPT_OK;
}
