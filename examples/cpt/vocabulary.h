/* --vocab-from: the tokens that a command's model has. */
#ifndef CPT_VOCABULARY_H
#define CPT_VOCABULARY_H

#include "program.h"

/* Its line in a command's table. */
#define VOCABULARY_OPTION(target)                                         \
    {                                                                     \
        "vocab-from", OPTION_LIST, target, "T.npy...",                    \
            "only tokens that occur in these files: less memory and time" \
            "\n(docs/ewc.md says what that does to the loss)",            \
            NULL, 0, false, false                                         \
    }

/* Token ids of a model. */
typedef struct vocabulary {
    int32_t *ids; /* [count] ascending */
    int64_t count, whole;
} vocabulary;

/* The ids that occur in the token files, and the configuration's BOS, EOS and padding. Prints what fails; returns an exit code. */
int vocabulary_make(const char *command, ewc_context *context, const ewc_model_config *config, const option_list *files,
                    vocabulary *out);
void vocabulary_free(vocabulary *v);

/* Loads a Hugging Face directory, with the tokens of `files` alone if there are any; says how many unless quiet. Prints what fails. */
int load_model(const char *command, ewc_context *context, const char *directory, const option_list *files, bool quiet,
               ewc_model **model);

#endif
