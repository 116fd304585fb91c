/* --vocab-from: the tokens that a command's model has. */
#ifndef CPT_VOCABULARY_H
#define CPT_VOCABULARY_H

#include "program.h"

/* Its line in a command's table. */
#define VOCABULARY_OPTION(target)                                                                                    \
    {                                                                                                                \
        "vocab-from", OPTION_LIST, target, "FILE...",                                                                \
            "only tokens that occur in these T.npy and C.jsonl: less memory\nand time; what it does to the loss is " \
            "in docs/ewc.md",                                                                                        \
            NULL, 0, false, false                                                                                    \
    }

/* Where tokens are taken from. */
typedef struct vocabulary_source {
    const option_list *files; /* token files, and .jsonl of multiple-choice items */
    const char *model;        /* directory, whose tokenizer.model is for items of text */
    const char *tokenizer;    /* another one, or NULL */
} vocabulary_source;

/* Token ids of a model. */
typedef struct vocabulary {
    int32_t *ids; /* [count] ascending */
    int64_t count, whole;
} vocabulary;

/* The ids that occur in the files, and the configuration's BOS, EOS and padding. Prints what fails; returns an exit code. */
int vocabulary_make(const char *command, ewc_context *context, const ewc_model_config *config,
                    const vocabulary_source *source, vocabulary *out);
void vocabulary_free(vocabulary *v);

/* Loads the source's model, with the tokens of its files alone if there are any; says how many unless quiet. Prints what fails. */
int load_model(const char *command, ewc_context *context, const vocabulary_source *source, bool quiet,
               ewc_model **model);

#endif
