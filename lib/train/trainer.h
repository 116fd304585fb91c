/* The trainer: what belongs to one run of continual pre-training. */
#ifndef EWCI_TRAIN_TRAINER_H
#define EWCI_TRAIN_TRAINER_H

#include <stdbool.h>

#include "model/model.h"
#include "train/anchor.h"
#include "train/fisher.h"
#include "train/schedule.h"

/* One old task as it was added. */
typedef struct ewci_task {
    ewc_anchor *anchor;
    ewc_fisher *fisher; /* NULL: F = 1 */
    double lambda;      /* absolute */
} ewci_task;

/* A run of consecutive parameters that the update treats alike, in flat order. */
typedef struct ewci_segment {
    int64_t offset, count;
    bool decay;        /* matrices are decayed, norm weights are not */
    ewc_buffer fisher; /* data NULL: no penalty here */
    ewc_buffer anchor;
} ewci_segment;

struct ewc_trainer {
    ewc_model *model;
    ewc_trainer_options options;
    uint8_t recompute[EWC_MAX_LAYERS];
    int64_t step; /* steps taken */
    ewci_schedule_areas areas;
    float *gradient;         /* device, flat */
    ewc_buffer m, v;         /* device, flat, of options.moments_dtype */
    float *nll, *row_weight; /* host, [max_sequences * max_length] */
    bool *frozen;            /* [tensor_count] */
    double *losses;          /* the host's: mean loss of each sequence of a step; NULL: not wanted */
    int64_t losses_capacity;

    ewci_task *tasks;
    int64_t task_count;
    bool strength_set; /* by ewc_trainer_set_lambda, or by the state that was resumed: */
    double strength;
    /* Built from the tasks and the frozen set before the first step: */
    bool sealed;
    const ewci_task *only;     /* the one task that pulls, or the first; NULL: none, or several, folded */
    double lambda;             /* multiplies the segments' fisher */
    ewc_anchor *folded_anchor; /* of several tasks; owned */
    ewc_fisher *folded_fisher;
    uint16_t *ones; /* bf16 ones, as long as the largest tensor: the Fisher of plain L2; owned */
    ewci_segment *segments;
    int64_t segment_count;
};

/* Builds segments and the folded quadratic, once. */
ewc_status ewci_trainer_seal(ewc_trainer *trainer);

/* Puts into force what ewc_trainer_lambda says. */
void ewci_trainer_apply_strength(ewc_trainer *trainer);

/* Frees what seal made, so that tasks or the frozen set can change. */
void ewci_trainer_unseal(ewc_trainer *trainer);

/* The buffers of a segment for the update. */
ewc_update_buffers ewci_segment_buffers(const ewc_trainer *trainer, const ewci_segment *segment);

/* Adam's second moment (device, flat) and its bias correction 1 - beta2^t. */
ewc_buffer ewci_trainer_second_moment(const ewc_trainer *trainer, double *bias_correction);

/* Says which tensor of weights or of the gradient has the first non-finite value; always fails. */
ewc_status ewci_report_nonfinite(ewc_trainer *trainer, int64_t step, const char *found);

#endif
