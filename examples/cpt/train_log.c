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

/* Whether a resumed run that has taken `done` steps would not write the line again: neither steps after those, nor what
 * only the end of a run writes. */
static bool is_kept(const char *line, const train_options *o, int64_t done)
{
    long long step = step_of(line);
    if (step < 0 || step > done || strstr(line, "\"type\": \"end\"") != NULL) return false;
    return done < o->steps || step < done || strstr(line, "\"type\": \"eval\"") == NULL;
}

/* Keeps the lines up to the training state: what came after it is run again, and logged again. */
static int cut_log(const char *path, const train_options *o, int64_t done)
{
    FILE *old = fopen(path, "re");
    char *line = NULL;
    size_t capacity = 0;
    long keep = 0;
    if (old == NULL) return errno == ENOENT ? CPT_OK : program_error(NAME, CPT_INPUT, "%s: %s", path, strerror(errno));
    for (ssize_t length; (length = getline(&line, &capacity, old)) > 0;) {
        if (line[length - 1] != '\n' || !is_kept(line, o, done)) break;
        keep += (long)length;
    }
    free(line);
    fclose(old);
    FILE *file = fopen(path, "r+e");
    if (file == NULL) return program_error(NAME, CPT_INPUT, "%s: %s", path, strerror(errno));
    int failed = ftruncate(fileno(file), keep);
    fclose(file);
    return failed ? program_error(NAME, CPT_INPUT, "%s: cannot be shortened: %s", path, strerror(errno)) : CPT_OK;
}

int train_log_open(train_log *log, const train_options *o, int64_t steps_done)
{
    log->file = NULL;
    if (o->log == NULL) return CPT_OK;
    if (!o->resume && !o->force && path_exists(o->log))
        return program_error(NAME, CPT_INPUT, "%s exists: give --force to overwrite it, or another --log", o->log);
    if (o->resume) {
        int code = cut_log(o->log, o, steps_done);
        if (code != CPT_OK) return code;
    }
    log->file = fopen(o->log, o->resume ? "ae" : "we");
    if (log->file == NULL) return program_error(NAME, CPT_INPUT, "%s: cannot be written: %s", o->log, strerror(errno));
    return CPT_OK;
}

void train_log_step(train_log *log, const ewc_step_statistics *s)
{
    if (log->file == NULL) return;
    json_writer json = json_begin(log->file);
    json_text(&json, "type", "step");
    json_integer(&json, "step", s->step);
    json_number(&json, "loss", s->loss);
    json_number(&json, "penalty", s->penalty);
    json_number(&json, "gradient_norm", s->gradient_norm);
    json_number(&json, "clip_factor", s->clip_factor);
    json_number(&json, "learning_rate", s->learning_rate);
    json_number(&json, "schedule_area1", s->schedule_area1);
    json_number(&json, "schedule_area2", s->schedule_area2);
    json_number(&json, "distance", s->distance);
    json_number(&json, "fisher_distance", s->fisher_distance);
    json_integer(&json, "tokens", s->tokens);
    json_number(&json, "seconds", s->seconds);
    json_open(&json, "phase_seconds");
    for (int i = 0; i < EWC_PHASE_COUNT; i++) json_number(&json, ewc_phase_name((ewc_phase)i), s->phase_seconds[i]);
    json_close(&json);
    json_end(&json);
}

void train_log_evaluation(train_log *log, int64_t step, const char *name, const data_loss *loss)
{
    if (log->file == NULL) return;
    json_writer json = json_begin(log->file);
    json_text(&json, "type", "eval");
    json_integer(&json, "step", step);
    json_text(&json, "name", name);
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
