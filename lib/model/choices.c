/* Log-likelihoods of several continuations of one prefix, the prefix computed once.
 *
 * An item becomes rows of a batch of one sequence: first the prefix p_1 .. p_n without its last token, then for each choice c_1 .. c_m a
 * document of m rows that continues it,
 *
 *   inputs   p_n  c_1 .. c_(m-1)
 *   targets  c_1  c_2 .. c_m
 *
 * so that every row predicts one token: n - 1 + sum m rows instead of sum (n - 1 + m). Items share a pass up to PASS_ROWS rows; a longer
 * one has a pass of its own. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "model/vocabulary.h"

/* Rows of one pass: enough for full speed, little memory. */
enum { PASS_ROWS = 2048 };

/* ---- Checks ------------------------------------------------------------------------------------------------------------ */

/* The first id outside of the vocabulary, or -1. */
static int64_t find_wrong_id(const ewc_model *model, const int32_t *ids, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!ewci_has_token(model, ids[i])) return i;
    return -1;
}

static ewc_status check_item(ewc_model *model, int64_t item, const ewc_choice_item *x)
{
    ewc_context *ctx = model->ctx;
    if (x->struct_size != sizeof *x)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "item %lld: struct_size is not that of this library's ewc_choice_item; set it to sizeof",
                         (long long)item);
    if (x->prefix_length < 1 || x->prefix == NULL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "item %lld: prefix: expected at least one token (BOS, where there is nothing else), found %s",
                         (long long)item, x->prefix == NULL ? "NULL" : "none");
    if (x->choices < 1 || x->lengths == NULL || x->tokens == NULL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "item %lld: choices: expected at least one with its tokens, found %s",
                         (long long)item, x->choices < 1 ? "none" : "NULL");
    return EWC_OK;
}

static ewc_status check_prefix_ids(ewc_model *model, int64_t item, const ewc_choice_item *x)
{
    char place[96];
    int64_t at = find_wrong_id(model, x->prefix, x->prefix_length);
    if (at < 0) return EWC_OK;
    snprintf(place, sizeof place, "item %lld: prefix, token %lld", (long long)item, (long long)at);
    return ewci_refuse_token(model, place, 0, x->prefix[at]);
}

static ewc_status check_choice(ewc_model *model, int64_t item, const ewc_choice_item *x, int64_t choice)
{
    ewc_context *ctx = model->ctx;
    char place[96];
    int64_t length = x->lengths[choice], longest = model->config.max_position;
    const int32_t *tokens = x->tokens[choice];
    if (length < 1 || tokens == NULL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "item %lld, choice %lld: expected at least one token, found %s",
                         (long long)item, (long long)choice, tokens == NULL ? "NULL" : "none");
    if (x->prefix_length > longest || length - 1 > longest - x->prefix_length)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "item %lld, choice %lld: a prefix of %lld tokens and a choice of %lld are longer than the "
                         "model's max_position_embeddings, %lld; shorten the prefix",
                         (long long)item, (long long)choice, (long long)x->prefix_length, (long long)length,
                         (long long)longest);
    int64_t at = find_wrong_id(model, tokens, length);
    if (at < 0) return EWC_OK;
    snprintf(place, sizeof place, "item %lld, choice %lld, token %lld", (long long)item, (long long)choice,
             (long long)at);
    return ewci_refuse_token(model, place, 0, tokens[at]);
}

static int64_t item_rows(const ewc_choice_item *x)
{
    int64_t rows = x->prefix_length - 1;
    for (int64_t k = 0; k < x->choices; k++) rows += x->lengths[k];
    return rows;
}

ewc_status ewci_choices_check(ewc_model *model, int64_t count, const ewc_choice_item *items, int64_t *tokens)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t rows = 0;
        EWCI_TRY(check_item(model, i, &items[i]));
        for (int64_t k = 0; k < items[i].choices; k++) {
            EWCI_TRY(check_choice(model, i, &items[i], k));
            rows += items[i].lengths[k];
            if (rows > INT32_MAX - items[i].prefix_length)
                return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT,
                                 "item %lld: expected at most %d tokens in prefix and choices, found more",
                                 (long long)i, INT32_MAX);
        }
        EWCI_TRY(check_prefix_ids(model, i, &items[i]));
        sum += rows;
    }
    *tokens = sum;
    return EWC_OK;
}

/* ---- Passes ------------------------------------------------------------------------------------------------------------ */

/* Rows of a batch, filled one after the other. */
typedef struct packing {
    int64_t rows;
    int32_t *tokens, *targets, *document_start, *prefix_start, *prefix_end;
    float *nll;
} packing;
enum { PACKING_ARRAYS = 6 };

static void add_rows(packing *p, int64_t count, const int32_t *tokens, const int32_t *targets, int64_t prefix_start,
                     int64_t prefix_end)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t row = p->rows + i;
        p->tokens[row] = tokens[i];
        p->targets[row] = targets == NULL ? -1 : targets[i];
        p->document_start[row] = (int32_t)p->rows;
        p->prefix_start[row] = (int32_t)prefix_start;
        p->prefix_end[row] = (int32_t)prefix_end;
    }
    p->rows += count;
}

static void add_item(packing *p, const ewc_choice_item *x)
{
    int64_t start = p->rows, shared = x->prefix_length - 1;
    add_rows(p, shared, x->prefix, NULL, 0, 0);
    for (int64_t k = 0; k < x->choices; k++) {
        int64_t first = p->rows;
        add_rows(p, x->lengths[k], x->tokens[k], x->tokens[k], start, start + shared);
        memmove(p->tokens + first + 1, p->tokens + first, (size_t)(x->lengths[k] - 1) * sizeof *p->tokens);
        p->tokens[first] = x->prefix[shared];
    }
}

/* The end of the items from `first` on that share a pass, and its rows. */
static int64_t pass_end(int64_t count, const ewc_choice_item *items, int64_t first, int64_t *rows)
{
    int64_t end = first;
    *rows = 0;
    while (end < count && (end == first || *rows + item_rows(&items[end]) <= PASS_ROWS))
        *rows += item_rows(&items[end++]);
    return end;
}

static ewc_status run_pass(ewc_model *model, const packing *p)
{
    ewc_batch batch = {.struct_size = sizeof batch,
                       .sequences = 1,
                       .length = p->rows,
                       .tokens = p->tokens,
                       .targets = p->targets,
                       .document_start = p->document_start};
    ewci_pass pass = {.batch = &batch,
                      .mode = EWCI_CE_LOSS,
                      .nll = p->nll,
                      .prefix_start = p->prefix_start,
                      .prefix_end = p->prefix_end};
    return ewci_model_run(model, &pass);
}

static packing place(void *memory, int64_t rows)
{
    int32_t *ids = memory;
    return (packing){.tokens = ids,
                     .targets = ids + rows,
                     .document_start = ids + 2 * rows,
                     .prefix_start = ids + 3 * rows,
                     .prefix_end = ids + 4 * rows,
                     .nll = (float *)(void *)(ids + 5 * rows)};
}

ewc_status ewci_choices_score(ewc_model *model, int64_t count, const ewc_choice_item *items, float *log_probabilities)
{
    int64_t most = 0, rows;
    void *memory;
    for (int64_t first = 0; first < count; first = pass_end(count, items, first, &rows)) {
        pass_end(count, items, first, &rows);
        if (rows > most) most = rows;
    }
    EWCI_TRY(ewci_alloc_array(model->ctx, most, PACKING_ARRAYS * sizeof(int32_t), "packed choices", &memory));
    packing p = place(memory, most);
    ewc_status status = EWC_OK;
    for (int64_t first = 0, end; first < count && status == EWC_OK; first = end) {
        end = pass_end(count, items, first, &rows);
        p.rows = 0;
        for (int64_t i = first; i < end; i++) add_item(&p, &items[i]);
        status = run_pass(model, &p);
        for (int64_t row = 0; row < p.rows && status == EWC_OK; row++)
            if (p.targets[row] >= 0) *log_probabilities++ = -p.nll[row];
    }
    ewci_free(model->ctx, memory);
    return status;
}
