/* What a training run reads: its new text, old text replayed among it, and the micro-batches of a step. */
#ifndef CPT_TRAIN_DATA_H
#define CPT_TRAIN_DATA_H

#include "train.h"

typedef struct train_data {
    const train_options *o;
    ewc_data *text, *replay; /* replay NULL: none */
    int64_t first_token;     /* BOS with --documents, else -1 */
    batch_room *rooms;       /* [accumulate] */
    ewc_batch *batches;      /* [accumulate]: the step that was filled last */
    uint8_t *replayed;       /* [accumulate * batch]: which of its sequences are old; all 0 without replay */
    double *losses;          /* [accumulate * batch]: of its sequences, for ewc_trainer_set_losses */
    char description[512];   /* what the data position depends on besides the step; equal for runs that read alike */
} train_data;

/* Opens the texts and checks their ids against the model; makes room for a step. Prints why not. */
int train_data_open(train_data *d, const train_options *o, ewc_context *context, ewc_model *model, int64_t first_token);
/* Fills the micro-batches of the step that comes after `steps_done`. */
ewc_status train_data_fill(train_data *d, int64_t steps_done);
/* Old and new text apart, of the step that was filled last, when it has been taken with d->losses. */
replay_statistics train_data_split(const train_data *d);
void train_data_close(train_data *d);

#endif
