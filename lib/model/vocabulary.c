/* See vocabulary.h. */
#include "model/vocabulary.h"

#include <inttypes.h>
#include <stdio.h>
#include <zlib.h>

#include "core/hash.h"
#include "core/memory.h"
#include "core/status.h"
#include "model/workspace.h"

/* rows[id] = 0 for the listed ids, -1 for others; what is wrong with the list is named. */
static ewc_status mark(ewc_context *ctx, const ewci_vocabulary *v, int64_t count, const int32_t *ids)
{
    for (int64_t id = 0; id < v->whole; id++) v->rows[id] = -1;
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= v->whole)
            return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "ids[%lld]: expected a token id from 0 to %lld, found %d",
                             (long long)i, (long long)(v->whole - 1), (int)ids[i]);
        if (v->rows[ids[i]] == 0)
            return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "ids[%lld]: expected each id once, found %d a second time",
                             (long long)i, (int)ids[i]);
        v->rows[ids[i]] = 0;
    }
    return EWC_OK;
}

/* Numbers the listed ids. */
static void number(ewci_vocabulary *v)
{
    uint64_t hash = EWCI_HASH_START ^ (uint64_t)v->whole;
    for (int64_t id = 0; id < v->whole; id++) {
        if (v->rows[id] < 0) continue;
        v->ids[v->count] = (int32_t)id;
        v->rows[id] = (int32_t)v->count++;
        hash = ewci_hash_mix(hash, (uint64_t)id);
    }
    v->list = hash;
}

static ewc_status fill(ewc_context *ctx, ewci_vocabulary *v, int64_t count, const int32_t *ids)
{
    void *memory;
    EWCI_TRY(ewci_alloc_array(ctx, v->whole, sizeof *v->rows, "the map of token ids", &memory));
    v->rows = memory;
    EWCI_TRY(mark(ctx, v, count, ids));
    EWCI_TRY(ewci_alloc_array(ctx, count, sizeof *v->ids, "the list of token ids", &memory));
    v->ids = memory;
    number(v);
    return EWC_OK;
}

ewc_status ewci_vocabulary_make(ewc_context *ctx, int64_t whole, int64_t count, const int32_t *ids,
                                ewci_vocabulary **out)
{
    void *memory;
    if (count < 1)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "count: expected at least one token id, found %lld",
                         (long long)count);
    EWCI_TRY(ewci_alloc_array(ctx, 1, sizeof(ewci_vocabulary), "a vocabulary", &memory));
    ewci_vocabulary *v = memory;
    v->whole = whole;
    ewc_status status = fill(ctx, v, count, ids);
    bool cut = status == EWC_OK && v->count < whole;
    if (!cut) ewci_vocabulary_free(ctx, v);
    if (status == EWC_OK) *out = cut ? v : NULL;
    return status;
}

void ewci_vocabulary_free(ewc_context *ctx, ewci_vocabulary *vocabulary)
{
    if (vocabulary == NULL) return;
    ewci_hf_close(vocabulary->source);
    ewci_free(ctx, vocabulary->ids);
    ewci_free(ctx, vocabulary->rows);
    ewci_free(ctx, vocabulary);
}

uint32_t ewci_vocabulary_others(const ewci_vocabulary *vocabulary, const ewci_tensor_entry *table)
{
    size_t row = table->bytes / (size_t)vocabulary->whole;
    uLong crc = crc32_z(0, NULL, 0);
    int64_t next = 0;
    for (int64_t i = 0; i <= vocabulary->count; i++) { /* up to each listed row, and to the end */
        int64_t end = i < vocabulary->count ? vocabulary->ids[i] : vocabulary->whole;
        crc = crc32_z(crc, (const unsigned char *)table->data + (size_t)next * row, (size_t)(end - next) * row);
        next = end + 1;
    }
    return (uint32_t)crc;
}

ewc_status ewci_refuse_token(const ewc_model *model, const char *place, int64_t lowest, int64_t id)
{
    int64_t whole = ewci_vocabulary_whole(model);
    if (id < 0 || id >= whole)
        return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT, "%s: expected an id from %lld to %lld, found %lld", place,
                         (long long)lowest, (long long)(whole - 1), (long long)id);
    return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT,
                     "%s: token %lld is not among the %lld of %lld that the model was cut to: list it when the model "
                     "is loaded (ewc-cpt: give the file that it comes from to --vocab-from)",
                     place, (long long)id, (long long)model->vocabulary->count, (long long)whole);
}

void ewci_vocabulary_stage(ewc_model *model, ewc_batch *batch)
{
    const int32_t *rows = model->vocabulary->rows;
    int32_t *tokens = model->workspace->host_tokens, *targets = model->workspace->host_targets;
    for (int64_t i = 0; i < batch->sequences * batch->length; i++) {
        tokens[i] = rows[batch->tokens[i]];
        targets[i] = batch->targets[i] < 0 ? -1 : rows[batch->targets[i]];
    }
    batch->tokens = tokens;
    batch->targets = targets;
}

ewci_vocabulary_text ewci_vocabulary_describe(const ewc_model *model)
{
    ewci_vocabulary_text d;
    const ewci_vocabulary *v = model->vocabulary;
    if (v == NULL)
        snprintf(d.text, sizeof d.text, "all %lld tokens", (long long)model->config.vocab_size);
    else
        snprintf(d.text, sizeof d.text, "%lld of %lld tokens, list %016" PRIx64, (long long)v->count,
                 (long long)v->whole, v->list);
    return d;
}

ewc_status ewci_model_same(const ewc_model *model, const ewc_model *other, const char *what)
{
    const ewci_vocabulary *mine = model->vocabulary, *its = other->vocabulary;
    if ((mine == NULL) != (its == NULL) || (mine != NULL && mine->list != its->list)) {
        ewci_vocabulary_text expected = ewci_vocabulary_describe(model), found = ewci_vocabulary_describe(other);
        return ewci_fail(model->ctx, EWC_ERROR_MISMATCH,
                         "%s: vocabulary: expected %s, found %s: load both models with the same list", what,
                         expected.text, found.text);
    }
    return ewci_layout_same(model->ctx, &model->layout, &other->layout, what);
}
