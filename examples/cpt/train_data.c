/* See train_data.h. */
#include "train_data.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char NAME[] = "train";

static int make_rooms(train_data *d)
{
    const train_options *o = d->o;
    d->rooms = calloc((size_t)o->accumulate, sizeof *d->rooms);
    d->batches = calloc((size_t)o->accumulate, sizeof *d->batches);
    d->replayed = calloc((size_t)o->accumulate, (size_t)o->batch);
    d->losses = calloc((size_t)o->accumulate, (size_t)o->batch * sizeof *d->losses);
    if (d->rooms == NULL || d->batches == NULL || d->replayed == NULL || d->losses == NULL)
        return program_error(NAME, CPT_OTHER, "out of memory");
    for (int64_t i = 0; i < o->accumulate; i++)
        if (!batch_room_make(&d->rooms[i], o->batch, o->length)) return program_error(NAME, CPT_OTHER, "out of memory");
    return CPT_OK;
}

/* The data position follows from the step, as long as these are the same; and the steps are those of one run. */
static int describe(train_data *d, ewc_context *context)
{
    const train_options *o = d->o;
    uint64_t fingerprint;
    size_t size = sizeof d->description;
    ewc_status status = ewc_data_fingerprint(d->text, &fingerprint);
    if (status != EWC_OK) return program_fail(NAME, context, status);
    int used = snprintf(d->description, size,
                        "tokens %lld with fingerprint %016" PRIx64
                        ", length %lld, batch %lld, accumulate %lld, order %d, seed %lld, documents %d%s%s",
                        (long long)ewc_data_tokens(d->text), fingerprint, (long long)o->length, (long long)o->batch,
                        (long long)o->accumulate, o->order, (long long)o->seed, (int)o->documents,
                        o->products == EWC_PRODUCTS_BF16 ? ", products bf16" : "", o->bos ? ", bos" : "");
    if (d->replay == NULL) return CPT_OK;
    status = ewc_data_fingerprint(d->replay, &fingerprint);
    if (status != EWC_OK) return program_fail(NAME, context, status);
    snprintf(d->description + used, size - (size_t)used,
             ", replay-share %.15g, replay tokens %lld with fingerprint %016" PRIx64, o->replay_share,
             (long long)ewc_data_tokens(d->replay), fingerprint);
    return CPT_OK;
}

/* How often the run goes over the old text, and that in order it may see the beginning alone: what one should know before it runs. */
static void say_replay(const train_data *d)
{
    int64_t run = train_sequences(d->o), old = ewc_replay_count(d->o->replay_share, run),
            there = ewc_data_sequences(d->replay);
    if (d->o->quiet) return;
    fprintf(stderr,
            "train: %lld of the run's %lld sequences are replayed, out of %lld: %.3g passes over the old text%s\n",
            (long long)old, (long long)run, (long long)there, (double)old / (double)there,
            old < there && !d->o->order ? ", its beginning alone (--order shuffle takes from all of it)" : "");
}

/* The perplexity of text that is trained on does not show what the model keeps. */
static void warn_of_evaluations(const train_options *o)
{
    for (int64_t e = 0; e < o->evaluations.count; e++)
        for (int64_t r = 0; r < o->replay.count; r++) {
            const char *equals = strchr(o->evaluations.items[e], '='), *replayed = o->replay.items[r];
            if (path_same(equals != NULL ? equals + 1 : o->evaluations.items[e], replayed))
                fprintf(stderr,
                        "train: %s is replayed and evaluated: its perplexity shows what was trained on, not what was "
                        "kept; evaluate on other text of the same kind\n",
                        replayed);
        }
}

int train_data_open(train_data *d, const train_options *o, ewc_context *context, ewc_model *model, int64_t first_token)
{
    d->o = o;
    d->first_token = first_token;
    int code = open_data(NAME, context, model, &o->data, o->length, o->bos, &d->text);
    if (code == CPT_OK && o->replay.count > 0)
        code = open_data(NAME, context, model, &o->replay, o->length, o->bos, &d->replay);
    if (code == CPT_OK) code = make_rooms(d);
    if (code == CPT_OK) code = describe(d, context);
    if (code != CPT_OK || d->replay == NULL) return code;
    say_replay(d);
    warn_of_evaluations(o);
    return CPT_OK;
}

static ewc_status fill_room(train_data *d, int64_t i, int64_t first)
{
    const train_options *o = d->o;
    batch_room *room = &d->rooms[i];
    ewc_order order = o->order ? EWC_ORDER_SHUFFLE : EWC_ORDER_SEQUENTIAL;
    if (d->replay == NULL)
        return batch_room_fill(room, d->text, order, (uint64_t)o->seed, first, o->batch, d->first_token);
    ewc_status status = ewc_data_replay_batch(d->text, d->replay, o->replay_share, order, (uint64_t)o->seed, first,
                                              o->batch, room->tokens, room->targets, d->replayed + i * o->batch);
    return status == EWC_OK ? batch_room_filled(room, o->batch, d->first_token) : status;
}

ewc_status train_data_fill(train_data *d, int64_t steps_done)
{
    int64_t first = steps_done * d->o->batch * d->o->accumulate;
    for (int64_t i = 0; i < d->o->accumulate; i++) {
        ewc_status status = fill_room(d, i, first + i * d->o->batch);
        if (status != EWC_OK) return status;
        d->batches[i] = d->rooms[i].batch;
    }
    return EWC_OK;
}

static bool is_scored(const train_data *d, int64_t sequence)
{
    const int32_t *targets = d->rooms[sequence / d->o->batch].targets + sequence % d->o->batch * d->o->length;
    return any_scored(targets, d->o->length);
}

replay_statistics train_data_split(const train_data *d)
{
    int64_t count = d->o->accumulate * d->o->batch, replayed = 0, sequences[2] = {0, 0};
    double sums[2] = {0, 0}, none = (double)NAN;
    for (int64_t i = 0; i < count; i++) {
        replayed += d->replayed[i];
        if (!is_scored(d, i)) continue;
        sequences[d->replayed[i]]++;
        sums[d->replayed[i]] += d->losses[i];
    }
    return (replay_statistics){replayed, sequences[1] > 0 ? sums[1] / (double)sequences[1] : none,
                               sequences[0] > 0 ? sums[0] / (double)sequences[0] : none};
}

void train_data_close(train_data *d)
{
    for (int64_t i = 0; d->rooms != NULL && i < d->o->accumulate; i++) batch_room_free(&d->rooms[i]);
    free(d->rooms);
    free(d->batches);
    free(d->replayed);
    free(d->losses);
    ewc_data_destroy(d->text);
    ewc_data_destroy(d->replay);
    memset(d, 0, sizeof *d);
}
