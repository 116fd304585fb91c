/* A budget for forgetting: the controller's state. */
#ifndef EWCI_TRAIN_BUDGET_H
#define EWCI_TRAIN_BUDGET_H

#include "libewc.h"

/* All that a later decision depends on. */
typedef struct ewci_budget_state {
    int64_t last_step, next_step; /* of the last observation, -1: none yet; of the one that is due next */
    int64_t calibrated;           /* 1: a rise was large enough to model the strength by */
    double first_loss,
        new_loss; /* of the old text before the first step; of the new text, at the first probe after it */
    double last_loss, last_rise, last_area;
    double predicted;
    double lambda, pull; /* ewci_budget_strength; pull is 1 but in the last resort */
    ewc_budget_phase phase;
} ewci_budget_state;

struct ewc_budget {
    ewc_context *ctx;
    ewc_budget_options options; /* every > 0 */
    double whole_area;
    ewci_budget_state state;
};

/* What is in force: lambda * pull, bounded. */
double ewci_budget_strength(const ewci_budget_state *state);

#endif
