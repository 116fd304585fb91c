/* Saved training states of a run: DIRECTORY/step-00000100, ...; the newest two are kept. */
#ifndef CPT_TRAIN_STATE_H
#define CPT_TRAIN_STATE_H

#include "program.h"

/* Saves the trainer's present state, then removes the oldest. Prints what fails; returns an exit code. */
int train_state_save(const char *directory, ewc_context *context, ewc_trainer *trainer, const char *user_data);

/* Resumes from the newest state that is whole, and says on stderr why a newer one was passed over. *user_data is to be
 * freed with ewc_string_free. Without any state *user_data is NULL and the trainer stands where it did. */
int train_state_resume(const char *directory, ewc_context *context, ewc_trainer *trainer, char **user_data);

/* Removes all states, and what a killed run left half written. */
int train_state_clear(const char *directory);

#endif
