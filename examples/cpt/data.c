/* See data.h. */
#include "data.h"

#include <stdlib.h>
#include <string.h>

/* Tokens of one evaluation pass: enough for full speed, little memory. */
enum { EVALUATION_TOKENS = 4096 };

bool batch_room_make(batch_room *room, int64_t sequences, int64_t length)
{
    size_t bytes = (size_t)sequences * (size_t)length * sizeof(int32_t);
    memset(room, 0, sizeof *room);
    ewc_batch_default(&room->batch);
    room->tokens = malloc(bytes);
    room->targets = malloc(bytes);
    room->documents = malloc(bytes);
    room->batch.length = length;
    room->batch.tokens = room->tokens;
    room->batch.targets = room->targets;
    return room->tokens != NULL && room->targets != NULL && room->documents != NULL;
}

void batch_room_free(batch_room *room)
{
    free(room->tokens);
    free(room->targets);
    free(room->documents);
    memset(room, 0, sizeof *room);
}

ewc_status batch_room_fill(batch_room *room, ewc_data *data, ewc_order order, uint64_t seed, int64_t first,
                           int64_t count, int64_t first_token)
{
    ewc_status status = ewc_data_batch(data, order, seed, first, count, room->tokens, room->targets);
    return status == EWC_OK ? batch_room_filled(room, count, first_token) : status;
}

ewc_status batch_room_filled(batch_room *room, int64_t count, int64_t first_token)
{
    room->batch.sequences = count;
    if (first_token < 0) return EWC_OK;
    room->batch.document_start = room->documents;
    return ewc_data_documents(count, room->batch.length, room->tokens, (int32_t)first_token, room->documents);
}

bool any_scored(const int32_t *targets, int64_t length)
{
    for (int64_t i = 0; i < length; i++)
        if (targets[i] >= 0) return true;
    return false;
}

bool split_name(const char *argument, char **name, const char **path)
{
    const char *equals = strchr(argument, '=');
    size_t length = equals != NULL ? (size_t)(equals - argument) : strlen(argument);
    *path = equals != NULL ? equals + 1 : argument;
    *name = malloc(length + 1);
    if (*name == NULL) return false;
    memcpy(*name, argument, length);
    (*name)[length] = '\0';
    return true;
}

int find_first_token(const char *command, ewc_context *context, const ewc_model *model, bool bos, bool documents,
                     int64_t *first_token)
{
    ewc_model_config config;
    ewc_status status = ewc_model_get_config(model, &config);
    if (status != EWC_OK) return program_fail(command, context, status);
    if ((bos || documents) && config.bos_token < 0)
        return program_error(command, CPT_INPUT,
                             "--%s needs BOS, which the model has not: bos_token_id of its config.json is null; write "
                             "there the id that documents begin with, or leave out --%s",
                             bos ? "bos" : "documents", bos ? "bos" : "documents");
    *first_token = documents ? config.bos_token : -1;
    return CPT_OK;
}

static ewc_status begin_with_bos(ewc_data *data, const ewc_model *model)
{
    ewc_model_config config;
    ewc_status status = ewc_model_get_config(model, &config);
    return status == EWC_OK ? ewc_data_begin(data, (int32_t)config.bos_token) : status;
}

/* Whether any target of the data counts: where sequences begin with BOS, BOS is none. Looks no further than the first one. */
static ewc_status find_scored(ewc_data *data, int64_t length, bool *scored)
{
    batch_room room;
    *scored = false;
    ewc_status status = batch_room_make(&room, 1, length) ? EWC_OK : EWC_ERROR_MEMORY;
    for (int64_t k = 0; status == EWC_OK && !*scored && (k == 0 || k < ewc_data_sequences(data)); k++) {
        status = batch_room_fill(&room, data, EWC_ORDER_SEQUENTIAL, 0, k, 1, -1);
        *scored = status == EWC_OK && any_scored(room.targets, length);
    }
    batch_room_free(&room);
    return status;
}

int open_data(const char *command, ewc_context *context, ewc_model *model, const option_list *files, int64_t length,
              bool bos, ewc_data **data)
{
    ewc_data *opened = NULL;
    bool scored = false;
    ewc_status status = ewc_data_open(context, files->count, files->items, length, &opened);
    if (status == EWC_OK && bos) status = begin_with_bos(opened, model);
    if (status == EWC_OK) status = ewc_data_check_model(opened, model);
    if (status == EWC_OK) status = find_scored(opened, length, &scored);
    if (status == EWC_OK && scored) {
        *data = opened;
        return CPT_OK;
    }
    ewc_data_destroy(opened);
    if (status != EWC_OK) return program_fail(command, context, status);
    return program_error(command, CPT_INPUT,
                         "%s%s: nothing is scored: every target of its sequences of %lld tokens is BOS, which is not "
                         "predicted; expected text behind BOS",
                         files->items[0], files->count > 1 ? " and the files behind it" : "", (long long)length);
}

ewc_status evaluate_data(ewc_model *model, ewc_data *data, int64_t length, int64_t most, int64_t first_token,
                         float *per_token, data_loss *loss)
{
    int64_t sequences = ewc_data_sequences(data),
            step = EVALUATION_TOKENS / length > 0 ? EVALUATION_TOKENS / length : 1;
    batch_room room;
    double sum = 0;
    int64_t tokens = 0;
    if (most > 0 && most < step) step = most;
    ewc_status status = batch_room_make(&room, step, length) ? EWC_OK : EWC_ERROR_MEMORY;
    for (int64_t first = 0; first < sequences && status == EWC_OK; first += step) {
        int64_t count = sequences - first < step ? sequences - first : step;
        ewc_evaluation e = {.struct_size = sizeof e};
        status = batch_room_fill(&room, data, EWC_ORDER_SEQUENTIAL, 0, first, count, first_token);
        if (status == EWC_OK)
            status = ewc_model_evaluate(model, &room.batch, &e, per_token == NULL ? NULL : per_token + first * length);
        sum += e.nll;
        tokens += e.tokens;
    }
    batch_room_free(&room);
    if (status == EWC_OK) *loss = (data_loss){sum / (double)tokens, tokens};
    return status;
}
