/* A model of listed tokens: which rows of the embedding of a checkpoint it has.
 *
 * Outside of the model a token is its id in the checkpoint's vocabulary. Inside, its row in the table of the listed ones, which lie in the
 * order of their ids. The one place where ids become rows is ewci_vocabulary_stage; the one place where the table becomes whole again is
 * ewci_model_save. */
#ifndef EWCI_MODEL_VOCABULARY_H
#define EWCI_MODEL_VOCABULARY_H

#include "io/hf.h"
#include "model/model.h"

struct ewci_vocabulary {
    int64_t count, whole; /* tokens that are listed, and of the checkpoint */
    int32_t *ids;         /* [count] ascending */
    int32_t *rows;        /* [whole] row of an id, or -1 */
    uint64_t list;        /* fingerprint of ids and whole */
    ewci_hf *source;      /* the checkpoint: rows that are not listed */
    uint32_t others;      /* CRC-32 of those rows when it was loaded */
};

/* A list of distinct ids below `whole`, in any order; *out is NULL when all are listed: the vocabulary is whole then. */
ewc_status ewci_vocabulary_make(ewc_context *ctx, int64_t whole, int64_t count, const int32_t *ids,
                                ewci_vocabulary **out);
void ewci_vocabulary_free(ewc_context *ctx, ewci_vocabulary *vocabulary); /* NULL is fine */

/* CRC-32 of the rows of the checkpoint's table that are not listed. */
uint32_t ewci_vocabulary_others(const ewci_vocabulary *vocabulary, const ewci_tensor_entry *table);

/* Tokens of the checkpoint's vocabulary: ids are below it. */
static inline int64_t ewci_vocabulary_whole(const ewc_model *model)
{
    return model->vocabulary == NULL ? model->config.vocab_size : model->vocabulary->whole;
}

/* Does the model have a row for the id? */
static inline bool ewci_has_token(const ewc_model *model, int64_t id)
{
    const ewci_vocabulary *v = model->vocabulary;
    if (id < 0 || id >= ewci_vocabulary_whole(model)) return false;
    return v == NULL || v->rows[id] >= 0;
}

/* EWC_ERROR_ARGUMENT for an id that ewci_has_token denies: the place, and why not. Lowest: 0, or -1 where that means none. */
ewc_status ewci_refuse_token(const ewc_model *model, const char *place, int64_t lowest, int64_t id);

/* Puts rows for ids into the workspace's memory and makes the batch point there. */
void ewci_vocabulary_stage(ewc_model *model, ewc_batch *batch);

/* "all 256 tokens", or "100 of 256 tokens, list 0123456789abcdef". */
typedef struct ewci_vocabulary_text {
    char text[80];
} ewci_vocabulary_text;
ewci_vocabulary_text ewci_vocabulary_describe(const ewc_model *model);

/* The same tensors, of the same tokens? Fails naming the first difference; `what` names the other side. */
ewc_status ewci_model_same(const ewc_model *model, const ewc_model *other, const char *what);

#endif
