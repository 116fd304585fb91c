/* What makes a run the run it is: everything that changes its mathematics, as names and exact values in text. */
#ifndef EWCI_TRAIN_IDENTITY_H
#define EWCI_TRAIN_IDENTITY_H

#include "train/trainer.h"

/* The moments' type; a run without it has f32 ones. */
#define EWCI_IDENTITY_MOMENTS "moments"
/* The listed tokens; a run without it has all. */
#define EWCI_IDENTITY_VOCABULARY "vocabulary"

/* Calls visit(user, name, value) for each; numbers are hexadecimal floats, so that text is exact. */
typedef ewc_status (*ewci_identity_visit)(void *user, const char *name, const char *value);
ewc_status ewci_trainer_identity(const ewc_trainer *trainer, ewci_identity_visit visit, void *user);

#endif
