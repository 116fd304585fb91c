/* The options of `train`, shared with `plan`, and the parts of a training run. */
#ifndef CPT_TRAIN_H
#define CPT_TRAIN_H

#include <stdio.h>

#include "data.h"
#include "program.h"

typedef struct train_options {
    const char *model, *fisher, *anchor, *log, *out;
    option_list data, replay, vocabulary, evaluations, freeze, forget_probe;
    int64_t forget_every, forget_sequences; /* 0: not given */
    double forget_budget;                   /* < 0: not given */
    int64_t length, batch, accumulate, steps, warmup, decay, evaluate_every, save_every, seed, threads;
    double rate, final_ratio, beta1, beta2, epsilon, weight_decay, clip, lambda,
        replay_share; /* lambda, replay_share < 0: not given */
    int schedule, tail, penalty, clip_mode, order, save_dtype, recompute, products;
    int moments, fisher_dtype, anchor_dtype; /* moments: an ewc_dtype; the others: HELD_* */
    bool relative, l2, resume, force, documents, bos, quiet;
} train_options;

/* How Fisher and anchor are held: mapped in the type of their files, or in memory. */
enum { HELD_MAPPED, HELD_BF16, HELD_F32 };

enum { TRAIN_OPTION_COUNT = 49 };

/* Fills defaults and the table (TRAIN_OPTION_COUNT entries). */
void train_options_table(train_options *o, option *table);
void train_options_free(train_options *o);
/* Options that make no sense together; prints which. */
int train_options_check(const char *command, const train_options *o);
ewc_trainer_options train_trainer_options(const train_options *o);
/* Sequences of the whole run, new and replayed. */
int64_t train_sequences(const train_options *o);
/* Whether the data sets are evaluated after that many steps: before the first, by --eval-every and after the last. */
bool train_evaluation_due(const train_options *o, int64_t steps_done);

/* The type of the line of a probe of --forget-budget. */
#define TRAIN_LOG_PROBE "forget_probe"

/* JSON lines: a step, an evaluation, a probe and what came of the budget, the end. */
typedef struct train_log {
    FILE *file;          /* NULL: none */
    bool evaluate_first; /* the steps that the run begins with are evaluated, and the log does not have that whole */
} train_log;
/* A resumed run goes on in the log, from which first everything is cut that it will write again. */
int train_log_open(train_log *log, const train_options *o, int64_t steps_done);
/* Of a step with replay: how many of its sequences were old, and the mean loss of those and of the others, as far as something in them is scored (NaN: there is none). */
typedef struct replay_statistics {
    int64_t sequences;
    double old_loss, new_loss;
} replay_statistics;
/* replay: NULL without. */
void train_log_step(train_log *log, const ewc_step_statistics *s, const replay_statistics *replay);
void train_log_evaluation(train_log *log, int64_t step, const char *name, const data_loss *loss);
/* Penalty and distances at the weights that are saved. */
void train_log_end(train_log *log, int64_t step, const ewc_update_statistics *sums);
int train_log_close(train_log *log);

#endif
