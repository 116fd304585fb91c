/* --forget-budget: a probe of old text is evaluated now and then, and the penalty's strength follows it (ewc_budget). */
#ifndef CPT_TRAIN_BUDGET_H
#define CPT_TRAIN_BUDGET_H

#include "train.h"

enum { TRAIN_BUDGET_DESCRIPTION = 160, TRAIN_BUDGET_TEXT = TRAIN_BUDGET_DESCRIPTION + EWC_BUDGET_TEXT + 64 };

typedef struct train_budget {
    const train_options *o;
    ewc_context *context;
    ewc_model *model;
    ewc_trainer *trainer;
    ewc_budget *budget; /* NULL: --forget-budget was not given, and all calls do nothing */
    ewc_data *probe;
    batch_room room;   /* [room_sequences, length] */
    int64_t sequences; /* of the probe, spread over its file */
    int64_t room_sequences, first_token;
    int64_t logged;                             /* step of the last probe's line in the log; -1: none of this process */
    double new_loss;                            /* of the last step */
    char description[TRAIN_BUDGET_DESCRIPTION]; /* what the probe's values depend on besides the weights */
} train_budget;

/* The options that make no sense with or without --forget-budget; prints which. */
int train_budget_check(const char *command, const train_options *o);
/* Opens the probe and begins with --lambda, or with what one old token against one new token comes to. fisher NULL: plain L2. */
int train_budget_open(train_budget *b, const train_options *o, ewc_context *context, ewc_model *model,
                      ewc_trainer *trainer, const ewc_fisher *fisher, int64_t first_token);
void train_budget_close(train_budget *b);

/* Evaluates the probe, if that is due before any further step, and sets the trainer's lambda; writes its line, also where a resumed run finds the
 * probe of its first step done, whose line the log has lost. */
ewc_status train_budget_probe(train_budget *b, train_log *log);
/* The line that says whether the budget was met, after the last step. */
void train_budget_log(const train_budget *b, train_log *log);
/* After the last step: in words, to stdout, and if the budget was not met to stderr. */
void train_budget_report(const train_budget *b);

/* The state as a line of the training state's user data, with its end; "" without a budget. text: [TRAIN_BUDGET_TEXT]. */
int train_budget_write(const train_budget *b, char *text);
/* Takes the state from where its line is, and moves *line behind it. A run with another budget, or with one where there was none, is refused. */
int train_budget_resume(train_budget *b, const char *states, const char **line);

#endif
