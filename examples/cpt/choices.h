/* Multiple-choice items of a .jsonl file: which choice the model finds likeliest. */
#ifndef CPT_CHOICES_H
#define CPT_CHOICES_H

#include "program.h"

typedef struct choices_options {
    const char *command;   /* for messages */
    const char *model;     /* directory; its tokenizer.model is the default */
    const char *tokenizer; /* or NULL; opened when a line has text */
    bool json;             /* one object per item, then one for the file */
} choices_options;

/* Sets listed[id] to 1 for every token of prefixes and choices, ids below `vocab`. Returns an exit code. */
int mark_choices(const choices_options *options, ewc_context *context, const char *path, int64_t vocab,
                 uint8_t *listed);

/* Scores every line of "NAME=FILE.jsonl" and prints accuracies. Returns an exit code. */
int evaluate_choices(const choices_options *options, ewc_context *context, ewc_model *model, const char *argument);

#endif
