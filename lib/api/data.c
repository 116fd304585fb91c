/* ewc_data_*: token ids from mapped .npy files, end to end, as sequences in order or shuffled, of one text or of two mixed. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "api/require.h"
#include "core/context.h"
#include "core/hash.h"
#include "core/memory.h"
#include "core/random.h"
#include "io/npy.h"
#include "model/vocabulary.h"

struct ewc_data {
    ewc_context *ctx;
    int64_t files;
    ewci_npy *npy;
    char **paths;
    int64_t *starts;           /* [files + 1]: number of each file's first token in the whole stream */
    int64_t length, sequences; /* sequences 0: as many tokens as one has, which ewc_data_begin makes one of */
    int32_t begin;             /* every sequence's first input; -1: none */
};

static ewc_status refuse_few(const ewc_data *data)
{
    return ewci_fail(data->ctx, EWC_ERROR_ARGUMENT,
                     "%s: expected more than %lld tokens for one sequence of that length, found %lld%s", data->paths[0],
                     (long long)data->length, (long long)ewc_data_tokens(data), data->files > 1 ? " in all files" : "");
}

static ewc_status open_file(ewc_data *data, int64_t file, const char *path)
{
    if (path == NULL)
        return ewci_fail(data->ctx, EWC_ERROR_ARGUMENT, "ewc_data_open: paths[%lld] is NULL", (long long)file);
    EWCI_TRY(ewci_strdup(data->ctx, path, &data->paths[file]));
    EWCI_TRY(ewci_npy_open(data->ctx, path, &data->npy[file]));
    if (__builtin_add_overflow(data->starts[file], data->npy[file].count, &data->starts[file + 1]))
        return ewci_fail(data->ctx, EWC_ERROR_FORMAT, "%s: more than 2^63 tokens in all", path);
    return EWC_OK;
}

static ewc_status open_files(ewc_data *data, const char *const *paths)
{
    void *memory;
    int64_t files = data->files;
    data->files = 0; /* as many as are to be closed */
    EWCI_TRY(ewci_alloc_array(data->ctx, files, sizeof *data->npy, "a list of files", &memory));
    data->npy = memory;
    EWCI_TRY(ewci_alloc_array(data->ctx, files, sizeof *data->paths, "a list of files", &memory));
    data->paths = memory;
    EWCI_TRY(ewci_alloc_array(data->ctx, files + 1, sizeof *data->starts, "a list of files", &memory));
    data->starts = memory;
    for (int64_t i = 0; i < files; i++) {
        data->files++;
        EWCI_TRY(open_file(data, i, paths[i]));
    }
    int64_t tokens = data->starts[files];
    data->sequences = tokens > 0 ? (tokens - 1) / data->length : 0;
    return tokens < data->length ? refuse_few(data) : EWC_OK;
}

ewc_status ewc_data_open(ewc_context *context, int64_t files, const char *const *paths, int64_t length, ewc_data **data)
{
    void *memory;
    EWCI_REQUIRE(NULL, context);
    EWCI_REQUIRE(context, paths);
    EWCI_REQUIRE(context, data);
    if (files < 1 || files >= INT64_MAX)
        return ewci_fail(context, EWC_ERROR_ARGUMENT, "files: expected at least 1, found %lld", (long long)files);
    if (length < 1)
        return ewci_fail(context, EWC_ERROR_ARGUMENT, "length: expected at least 1, found %lld", (long long)length);
    EWCI_TRY(ewci_alloc_zero(context, sizeof(ewc_data), "a data set", &memory));
    ewc_data *opened = memory;
    opened->ctx = context;
    opened->files = files;
    opened->length = length;
    opened->begin = -1;
    ewc_status status = open_files(opened, paths);
    if (status == EWC_OK)
        *data = opened;
    else
        ewc_data_destroy(opened);
    return status;
}

void ewc_data_destroy(ewc_data *data)
{
    if (data == NULL) return;
    for (int64_t i = 0; i < data->files; i++) {
        ewci_npy_close(&data->npy[i]);
        ewci_free(data->ctx, data->paths[i]);
    }
    ewci_free(data->ctx, data->npy);
    ewci_free(data->ctx, data->paths);
    ewci_free(data->ctx, data->starts);
    ewci_free(data->ctx, data);
}

int64_t ewc_data_tokens(const ewc_data *data)
{
    return data == NULL ? 0 : data->starts[data->files];
}

int64_t ewc_data_sequences(const ewc_data *data)
{
    return data == NULL ? 0 : data->sequences;
}

/* Tokens from the beginning of a sequence to that of the next. */
static int64_t stride_of(const ewc_data *data)
{
    return data->begin < 0 ? data->length : data->length - 1;
}

ewc_status ewc_data_begin(ewc_data *data, int32_t token)
{
    EWCI_REQUIRE(NULL, data);
    if (token < 0)
        return ewci_fail(data->ctx, EWC_ERROR_ARGUMENT, "token: expected an id of at least 0, found %d", (int)token);
    if (data->length < 2)
        return ewci_fail(data->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_data_begin: expected sequences of at least 2 tokens, since one is the first, found 1");
    data->begin = token;
    data->sequences = (ewc_data_tokens(data) - 1) / stride_of(data);
    return EWC_OK;
}

static ewc_status refuse_id(const ewc_data *data, int64_t file, int64_t index, int64_t limit)
{
    return ewci_fail(data->ctx, EWC_ERROR_FORMAT, "%s: token %lld: expected an id from 0 to %lld, found %lld",
                     data->paths[file], (long long)index, (long long)(limit - 1),
                     (long long)ewci_npy_id(&data->npy[file], index));
}

ewc_status ewc_data_check(ewc_data *data, int64_t vocab)
{
    enum { BLOCK = 1 << 22 };
    EWCI_REQUIRE(NULL, data);
    if (vocab < 1 || vocab > INT32_MAX)
        return ewci_fail(data->ctx, EWC_ERROR_ARGUMENT, "vocab: expected 1 to %d, found %lld", INT32_MAX,
                         (long long)vocab);
    for (int64_t file = 0; file < data->files; file++) {
        const ewci_npy *npy = &data->npy[file];
        for (int64_t first = 0; first < npy->count; first += BLOCK) {
            int64_t count = npy->count - first < BLOCK ? npy->count - first : BLOCK;
            int64_t bad = ewci_npy_find_outside(npy, first, count, vocab);
            if (bad >= 0) return refuse_id(data, file, bad, vocab);
            EWCI_TRY(ewci_check_cancelled(data->ctx));
        }
    }
    return EWC_OK;
}

ewc_status ewc_data_fingerprint(ewc_data *data, uint64_t *fingerprint)
{
    enum { BLOCK = 1 << 22 };
    EWCI_REQUIRE(NULL, data);
    EWCI_REQUIRE(data->ctx, fingerprint);
    uint64_t hash = EWCI_HASH_START;
    for (int64_t file = 0; file < data->files; file++) {
        const ewci_npy *npy = &data->npy[file];
        for (int64_t i = 0; i < npy->count; i++) {
            if (i % BLOCK == 0) EWCI_TRY(ewci_check_cancelled(data->ctx));
            hash = ewci_hash_mix(hash, (uint64_t)ewci_npy_id(npy, i));
        }
    }
    *fingerprint = hash;
    return EWC_OK;
}

ewc_status ewc_data_vocabulary(ewc_data *data, int64_t vocab, uint8_t *listed)
{
    EWCI_REQUIRE(NULL, data);
    EWCI_REQUIRE(data->ctx, listed);
    EWCI_TRY(ewc_data_check(data, vocab));
    for (int64_t file = 0; file < data->files; file++)
        for (int64_t i = 0; i < data->npy[file].count; i++) listed[ewci_npy_id(&data->npy[file], i)] = 1;
    return EWC_OK;
}

ewc_status ewc_data_check_model(ewc_data *data, const ewc_model *model)
{
    char place[512];
    EWCI_REQUIRE(NULL, data);
    EWCI_REQUIRE(data->ctx, model);
    if (model->ctx != data->ctx)
        return ewci_fail(data->ctx, EWC_ERROR_MISMATCH, "model: expected a model of the same context as data");
    EWCI_TRY(ewc_data_check(data, ewci_vocabulary_whole(model)));
    for (int64_t file = 0; file < data->files && model->vocabulary != NULL; file++) {
        const ewci_npy *npy = &data->npy[file];
        for (int64_t i = 0; i < npy->count; i++) {
            if (ewci_has_token(model, ewci_npy_id(npy, i))) continue;
            snprintf(place, sizeof place, "%.400s: position %lld", data->paths[file], (long long)i);
            ewci_refuse_token(model, place, 0, ewci_npy_id(npy, i));
            return EWC_ERROR_MISMATCH;
        }
    }
    return EWC_OK;
}

/* The file that holds a token of the stream: the last one that starts at or before it (files may be empty). */
static int64_t file_of(const ewc_data *data, int64_t token)
{
    int64_t low = 0, high = data->files;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (data->starts[middle] <= token)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Tokens [first, first + count) of the stream into ids; with ids NULL they are only checked. */
static ewc_status read_tokens(const ewc_data *data, int64_t first, int64_t count, int32_t *ids)
{
    for (int64_t file = file_of(data, first); count > 0; file++) {
        const ewci_npy *npy = &data->npy[file];
        int64_t begin = first - data->starts[file], part = npy->count - begin < count ? npy->count - begin : count;
        if (ids == NULL) {
            int64_t bad = ewci_npy_find_outside(npy, begin, part, (int64_t)INT32_MAX + 1);
            if (bad >= 0) return refuse_id(data, file, bad, (int64_t)INT32_MAX + 1);
        } else {
            ewci_npy_copy(npy, begin, part, ids);
            ids += part;
        }
        first += part;
        count -= part;
    }
    return EWC_OK;
}

/* First token of sequence `number` of the endless order. */
static int64_t place_of(const ewc_data *data, ewc_order order, uint64_t seed, int64_t number)
{
    int64_t epoch = number / data->sequences, index = number % data->sequences;
    if (order == EWC_ORDER_SHUFFLE)
        index = (int64_t)ewci_permute(seed, (uint64_t)epoch, (uint64_t)data->sequences, (uint64_t)index);
    return index * stride_of(data);
}

static ewc_status check_request(const ewc_data *data, ewc_order order, int64_t first, int64_t count)
{
    int64_t last;
    if (order != EWC_ORDER_SEQUENTIAL && order != EWC_ORDER_SHUFFLE)
        return ewci_fail(data->ctx, EWC_ERROR_ARGUMENT, "order: expected sequential (0) or shuffle (1), found %d",
                         (int)order);
    if (first < 0 || count < 0 || __builtin_add_overflow(first, count, &last))
        return ewci_fail(data->ctx, EWC_ERROR_ARGUMENT,
                         "first, count: expected at least 0 and a sum below 2^63, found %lld, %lld", (long long)first,
                         (long long)count);
    return EWC_OK;
}

/* Of a data set, or of new text with old text in it: where sequences are looked up. */
typedef struct source {
    const ewc_data *data, *replay; /* replay NULL: none */
    double share;                  /* of the replay */
    ewc_order order;
    uint64_t seed;
} source;

int64_t ewc_replay_count(double share, int64_t sequences)
{
    if (!(share >= 0 && share <= 1) || sequences < 0) return 0;
    /* share * 2^32 sequences + 1/2 in two parts: no sum or product leaves 64 bits, and nothing is rounded but the share. */
    uint64_t unit = (uint64_t)llround(share * 4294967296.0), k = (uint64_t)sequences;
    return (int64_t)(unit * (k >> 32) + ((unit * (k & 0xffffffffU) + 0x80000000U) >> 32));
}

typedef struct found {
    const ewc_data *data;
    int64_t place; /* its first token in data */
    bool replayed;
} found;

static found find_sequence(const source *s, int64_t number)
{
    int64_t old = s->replay == NULL ? 0 : ewc_replay_count(s->share, number);
    bool replayed = s->replay != NULL && ewc_replay_count(s->share, number + 1) > old;
    const ewc_data *data = replayed ? s->replay : s->data;
    return (found){data, place_of(data, s->order, s->seed, replayed ? old : number - old), replayed};
}

/* The token that all begin with, then the stream; where that token is a target it is not scored. */
static ewc_status read_begun(const ewc_data *data, int64_t place, int32_t *tokens, int32_t *targets)
{
    int64_t length = data->length;
    tokens[0] = data->begin;
    EWCI_TRY(read_tokens(data, place, length - 1, tokens + 1));
    EWCI_TRY(read_tokens(data, place, length, targets));
    targets[0] = -1;
    for (int64_t i = 1; i < length; i++)
        if (targets[i] == data->begin) targets[i] = -1;
    return EWC_OK;
}

static ewc_status read_sequence(const ewc_data *data, int64_t place, int32_t *tokens, int32_t *targets)
{
    if (data->begin >= 0) return read_begun(data, place, tokens, targets);
    EWCI_TRY(read_tokens(data, place, data->length, tokens));
    return read_tokens(data, place + 1, data->length, targets);
}

static ewc_status fill_batch(const source *s, int64_t first, int64_t count, int32_t *tokens, int32_t *targets,
                             uint8_t *replayed)
{
    int64_t length = s->data->length;
    EWCI_TRY(check_request(s->data, s->order, first, count));
    if (s->data->sequences == 0) return refuse_few(s->data);
    if (s->replay != NULL && s->replay->sequences == 0) return refuse_few(s->replay);
    for (int64_t i = 0; i < count; i++) { /* nothing is written unless all can be */
        found f = find_sequence(s, first + i);
        EWCI_TRY(read_tokens(f.data, f.place, stride_of(f.data) + 1, NULL));
    }
    for (int64_t i = 0; i < count; i++) {
        found f = find_sequence(s, first + i);
        EWCI_TRY(read_sequence(f.data, f.place, tokens + i * length, targets + i * length));
        if (replayed != NULL) replayed[i] = f.replayed;
    }
    return EWC_OK;
}

ewc_status ewc_data_batch(ewc_data *data, ewc_order order, uint64_t seed, int64_t first, int64_t count, int32_t *tokens,
                          int32_t *targets)
{
    EWCI_REQUIRE(NULL, data);
    EWCI_REQUIRE(data->ctx, tokens);
    EWCI_REQUIRE(data->ctx, targets);
    const source only = {data, NULL, 0, order, seed};
    return fill_batch(&only, first, count, tokens, targets, NULL);
}

ewc_status ewc_data_replay_batch(ewc_data *data, ewc_data *replay, double share, ewc_order order, uint64_t seed,
                                 int64_t first, int64_t count, int32_t *tokens, int32_t *targets, uint8_t *replayed)
{
    EWCI_REQUIRE(NULL, data);
    EWCI_REQUIRE(data->ctx, replay);
    EWCI_REQUIRE(data->ctx, tokens);
    EWCI_REQUIRE(data->ctx, targets);
    if (replay->ctx != data->ctx)
        return ewci_fail(data->ctx, EWC_ERROR_MISMATCH, "replay: expected data opened in the same context as data");
    if (replay->length != data->length)
        return ewci_fail(data->ctx, EWC_ERROR_MISMATCH,
                         "replay: expected sequences of %lld tokens as in data, found %lld", (long long)data->length,
                         (long long)replay->length);
    if (replay->begin != data->begin)
        return ewci_fail(data->ctx, EWC_ERROR_MISMATCH,
                         "replay: expected sequences that begin with %d as in data, found %d (-1: with any token)",
                         (int)data->begin, (int)replay->begin);
    if (!(share >= 0 && share <= 1))
        return ewci_fail(data->ctx, EWC_ERROR_ARGUMENT, "share: expected 0 to 1, found %g", share);
    const source mixed = {data, replay, share, order, seed};
    return fill_batch(&mixed, first, count, tokens, targets, replayed);
}

ewc_status ewc_data_documents(int64_t count, int64_t length, const int32_t *tokens, int32_t first_token,
                              int32_t *document_start)
{
    EWCI_REQUIRE(NULL, tokens);
    EWCI_REQUIRE(NULL, document_start);
    if (count < 0 || length < 1 || length > INT32_MAX)
        return ewci_fail(NULL, EWC_ERROR_ARGUMENT, "count, length: expected at least 0 and 1 to %d, found %lld, %lld",
                         INT32_MAX, (long long)count, (long long)length);
    for (int64_t row = 0; row < count; row++) {
        int32_t start = 0;
        for (int64_t t = 0; t < length; t++) {
            if (tokens[row * length + t] == first_token) start = (int32_t)t;
            document_start[row * length + t] = start;
        }
    }
    return EWC_OK;
}

static ewc_status check_count(ewc_context *ctx, int64_t count)
{
    if (count >= 0 && count <= INT64_MAX / 8) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "count: expected at least 0, found %lld", (long long)count);
}

ewc_status ewc_npy_write_tokens(ewc_context *context, const char *path, const int32_t *tokens, int64_t count,
                                int overwrite)
{
    EWCI_REQUIRE(NULL, context);
    EWCI_REQUIRE(context, path);
    EWCI_REQUIRE(context, tokens);
    EWCI_TRY(check_count(context, count));
    return ewci_npy_write_ids(context, path, tokens, count, overwrite != 0);
}

ewc_status ewc_npy_write_f32(ewc_context *context, const char *path, const float *values, int64_t count, int overwrite)
{
    EWCI_REQUIRE(NULL, context);
    EWCI_REQUIRE(context, path);
    EWCI_REQUIRE(context, values);
    EWCI_TRY(check_count(context, count));
    return ewci_npy_write_f32(context, path, values, count, overwrite != 0);
}
