/* Token files in a command: sequences batch by batch, and evaluation over all of a file. */
#ifndef CPT_DATA_H
#define CPT_DATA_H

#include "program.h"

/* Room for micro-batches of B sequences. */
typedef struct batch_room {
    ewc_batch batch;
    int32_t *tokens, *targets, *documents;
} batch_room;

/* False when there is no memory. */
bool batch_room_make(batch_room *room, int64_t sequences, int64_t length);
void batch_room_free(batch_room *room);

/* Fills the room with sequences first .. first+count-1 of the data's order. first_token >= 0: documents start there and are kept apart. */
ewc_status batch_room_fill(batch_room *room, ewc_data *data, ewc_order order, uint64_t seed, int64_t first,
                           int64_t count, int64_t first_token);

/* The same for a room whose tokens and targets are there already: `count` sequences of them. */
ewc_status batch_room_filled(batch_room *room, int64_t count, int64_t first_token);

/* Whether any of a sequence's targets counts. */
bool any_scored(const int32_t *targets, int64_t length);

/* "NAME=PATH": name is a new string (free), path points into the argument. Without '=' the name is the path. */
bool split_name(const char *argument, char **name, const char **path);

/* The line of --bos in a command's table. */
#define DATA_BOS(target)                                                                                            \
    {                                                                                                               \
        "bos", OPTION_FLAG, target, NULL,                                                                           \
            "every sequence begins with BOS, which is no target: pre-trained models need it", NULL, 0, false, false \
    }

/* Of --bos and --documents: refuses them, printing why, where the model has no BOS. first_token: what documents start with, -1 without --documents. */
int find_first_token(const char *command, ewc_context *context, const ewc_model *model, bool bos, bool documents,
                     int64_t *first_token);

/* Opens token files for sequences of `length`, beginning with the model's BOS if so, and checks ids against the model, that there is a sequence and
 * that something is scored. Prints why not. */
int open_data(const char *command, ewc_context *context, ewc_model *model, const option_list *files, int64_t length,
              bool bos, ewc_data **data);

typedef struct data_loss {
    double nll; /* mean, nats per token */
    int64_t tokens;
} data_loss;

/* Mean loss over all sequences of the data, in order, at most `most` of them a pass (0: as many as are fast): a pass larger than a step would
 * enlarge the workspace of a model in training. per_token: [sequences * length] or NULL. */
ewc_status evaluate_data(ewc_model *model, ewc_data *data, int64_t length, int64_t most, int64_t first_token,
                         float *per_token, data_loss *loss);

#endif
