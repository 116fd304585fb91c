/* See choices.h.
 *
 * A choice is scored by log p of its tokens behind the prefix. Text is tokenized with its prefix, since a token may reach across the seam: what
 * all choices and the prefix alone have in common is the prefix that is scored from. Accuracy takes the choice of the largest sum; the
 * normalized one divides it by the choice's bytes (text) or tokens (ids). */
#include "choices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"
#include "json.h"
#include "sentencepiece_shim.h"

/* Items of one call of the library, which computes short ones together; as many as hold this many tokens, more or less. */
enum { MOST_ITEMS = 256, ENOUGH_TOKENS = 8192 };

typedef struct held_item {
    int64_t line, answer, choices;
    int64_t prefix_length;
    int32_t **whole;        /* [choices] the prefix and the choice behind it */
    const int32_t **tokens; /* [choices] the choice in it */
    int64_t *lengths;       /* [choices] tokens of the choice */
    double *units;          /* [choices] what its score is divided by: bytes or tokens */
} held_item;

typedef struct evaluation {
    const choices_options *options;
    ewc_context *context;
    ewc_model *model; /* NULL: tokens are only marked, in listed[vocab] */
    uint8_t *listed;
    int64_t vocab;
    char *name;
    const char *path;
    tokenizer *tokenizer;
    const char *unit; /* "bytes" or "tokens"; NULL before the first item */
    held_item held[MOST_ITEMS];
    int64_t count, tokens, choices; /* of what is held */
    int64_t items, right, right_normalized, answer_tokens;
    double answer_sum;
} evaluation;

static int no_memory(const evaluation *e)
{
    return program_error(e->options->command, CPT_OTHER, "out of memory");
}

static void item_free(held_item *item)
{
    for (int64_t k = 0; k < item->choices && item->whole != NULL; k++) free(item->whole[k]);
    free(item->whole);
    free(item->tokens);
    free(item->lengths);
    free(item->units);
    memset(item, 0, sizeof *item);
}

static bool item_make(held_item *item, const ewc_choice_line *line)
{
    size_t n = (size_t)line->choices;
    *item = (held_item){.line = line->line, .answer = line->answer, .choices = line->choices};
    item->whole = calloc(n, sizeof *item->whole);
    item->tokens = calloc(n, sizeof *item->tokens);
    item->lengths = calloc(n, sizeof *item->lengths);
    item->units = calloc(n, sizeof *item->units);
    return item->whole != NULL && item->tokens != NULL && item->lengths != NULL && item->units != NULL;
}

/* ---- Text and ids to items ------------------------------------------------------------------------------------------------ */

static int open_tokenizer(evaluation *e, int64_t line)
{
    const char *command = e->options->command;
    char error[512], *path = NULL;
    const char *chosen = e->options->tokenizer;
    if (chosen == NULL) chosen = path = path_join(e->options->model, "tokenizer.model");
    if (chosen == NULL) return no_memory(e);
    int code = CPT_OK;
    e->tokenizer = tokenizer_open(chosen, error, sizeof error);
    if (e->tokenizer == NULL)
        code = program_error(command, CPT_INPUT,
                             "%s: line %lld has text, but %s cannot be opened as a SentencePiece model: %s; give "
                             "--tokenizer, or token ids instead of text",
                             e->path, (long long)line, chosen, error);
    else if (tokenizer_bos(e->tokenizer) < 0)
        code = program_error(command, CPT_INPUT, "%s: has no BOS piece, which must start each prefix", chosen);
    free(path);
    return code;
}

/* BOS and the tokens of a and b, one text; NULL on failure. */
static int32_t *encode(tokenizer *t, const char *a, const char *b, int64_t *count)
{
    size_t bytes = strlen(a) + strlen(b);
    const int32_t *found;
    int32_t *ids = NULL;
    char *text = malloc(bytes + 1);
    if (text == NULL) return NULL;
    snprintf(text, bytes + 1, "%s%s", a, b);
    *count = tokenizer_encode(t, text, bytes, &found);
    if (*count >= 0) ids = malloc((size_t)(*count + 1) * sizeof *ids);
    if (ids != NULL) {
        ids[0] = tokenizer_bos(t);
        memcpy(ids + 1, found, (size_t)*count * sizeof *ids);
        *count += 1;
    }
    free(text);
    return ids;
}

static int64_t common(const int32_t *a, const int32_t *b, int64_t count)
{
    int64_t i = 0;
    while (i < count && a[i] == b[i]) i++;
    return i;
}

static int take_text(evaluation *e, held_item *item, const ewc_choice_line *line)
{
    int64_t shared = 0;
    int32_t *prefix = encode(e->tokenizer, line->prefix, "", &shared);
    bool fine = prefix != NULL;
    for (int64_t k = 0; k < line->choices && fine; k++) {
        int64_t *whole = &item->lengths[k];
        item->whole[k] = encode(e->tokenizer, line->prefix, line->texts[k], whole);
        item->units[k] = (double)strlen(line->texts[k]);
        fine = item->whole[k] != NULL;
        if (fine) shared = common(prefix, item->whole[k], shared < *whole ? shared : *whole);
    }
    free(prefix);
    if (!fine)
        return program_error(e->options->command, CPT_OTHER, "%s: line %lld: the tokenizer failed", e->path,
                             (long long)line->line);
    item->prefix_length = shared;
    for (int64_t k = 0; k < line->choices; k++) {
        item->tokens[k] = item->whole[k] + shared;
        item->lengths[k] -= shared;
        if (item->lengths[k] == 0)
            return program_error(e->options->command, CPT_INPUT,
                                 "%s: line %lld: choice %lld adds no token to the prefix", e->path,
                                 (long long)line->line, (long long)k);
    }
    return CPT_OK;
}

static int take_ids(evaluation *e, held_item *item, const ewc_choice_item *ids)
{
    int64_t prefix = item->prefix_length = ids->prefix_length;
    for (int64_t k = 0; k < ids->choices; k++) {
        int64_t length = item->lengths[k] = ids->lengths[k];
        item->whole[k] = malloc((size_t)(prefix + length) * sizeof **item->whole);
        if (item->whole[k] == NULL) return no_memory(e);
        memcpy(item->whole[k], ids->prefix, (size_t)prefix * sizeof **item->whole);
        memcpy(item->whole[k] + prefix, ids->tokens[k], (size_t)length * sizeof **item->whole);
        item->tokens[k] = item->whole[k] + prefix;
        item->units[k] = (double)length;
    }
    return CPT_OK;
}

/* Holds the line's item. */
static int take_line(evaluation *e, const ewc_choice_line *line)
{
    const char *unit = line->ids == NULL ? "bytes" : "tokens";
    held_item *item = &e->held[e->count++];
    int code = CPT_OK;
    if (!item_make(item, line)) return no_memory(e);
    if (e->unit != NULL && e->unit != unit)
        return program_error(e->options->command, CPT_INPUT,
                             "%s: line %lld: expected %s as in the lines before it: one file has one of both", e->path,
                             (long long)line->line, line->ids == NULL ? "token ids" : "text");
    e->unit = unit;
    if (line->ids == NULL && e->tokenizer == NULL) code = open_tokenizer(e, line->line);
    if (code == CPT_OK) code = line->ids == NULL ? take_text(e, item, line) : take_ids(e, item, line->ids);
    e->tokens += item->prefix_length;
    e->choices += line->choices;
    for (int64_t k = 0; k < line->choices; k++) e->tokens += item->lengths[k];
    return code;
}

/* ---- Scores --------------------------------------------------------------------------------------------------------------- */

/* The number of the largest quotient, the first of equals. */
static int64_t largest(const double *scores, const double *units, int64_t count)
{
    int64_t best = 0;
    for (int64_t k = 1; k < count; k++)
        if (scores[k] / (units == NULL ? 1 : units[k]) > scores[best] / (units == NULL ? 1 : units[best])) best = k;
    return best;
}

static int count_item(evaluation *e, const held_item *item, const double *scores)
{
    int64_t chosen = largest(scores, NULL, item->choices), normalized = largest(scores, item->units, item->choices);
    for (int64_t k = 0; k < item->choices; k++)
        if (!isfinite(scores[k]))
            return program_error(e->options->command, CPT_NUMERIC,
                                 "%s: line %lld: a score is not finite: the model's weights may be damaged", e->path,
                                 (long long)item->line);
    e->items++;
    e->right += chosen == item->answer;
    e->right_normalized += normalized == item->answer;
    e->answer_sum += scores[item->answer];
    e->answer_tokens += item->lengths[item->answer];
    if (!e->options->json) return CPT_OK;
    json_writer writer = json_begin(stdout);
    json_text(&writer, "name", e->name);
    json_integer(&writer, "line", item->line);
    json_integer(&writer, "answer", item->answer);
    json_integer(&writer, "chosen", chosen);
    json_integer(&writer, "chosen_normalized", normalized);
    json_numbers(&writer, "log_likelihoods", scores, item->choices);
    json_end(&writer);
    return CPT_OK;
}

/* One item after the other, to name the line of the one that cannot be scored. */
static int score_each(evaluation *e, const ewc_choice_item *items, double *scores)
{
    for (int64_t i = 0; i < e->count; i++) {
        ewc_status status = ewc_model_score_choices(e->model, 1, &items[i], scores, NULL);
        scores += items[i].choices;
        if (status == EWC_OK) continue;
        if (status == EWC_ERROR_CANCELLED) return program_fail(e->options->command, e->context, status);
        return program_error(e->options->command, status == EWC_ERROR_ARGUMENT ? CPT_INPUT : CPT_OTHER,
                             "%s: line %lld: %s", e->path, (long long)e->held[i].line, ewc_last_error(e->context));
    }
    return CPT_OK;
}

static int score_held(evaluation *e)
{
    ewc_choice_item items[MOST_ITEMS];
    double *scores = malloc((size_t)(e->choices + 1) * sizeof *scores), *next = scores;
    if (scores == NULL) return no_memory(e);
    for (int64_t i = 0; i < e->count; i++) {
        const held_item *h = &e->held[i];
        items[i] = (ewc_choice_item){sizeof *items, h->prefix_length, h->whole[0], h->choices, h->lengths, h->tokens};
    }
    int code = CPT_OK;
    if (e->count > 0) {
        ewc_status status = ewc_model_score_choices(e->model, e->count, items, scores, NULL);
        if (status == EWC_ERROR_CANCELLED)
            code = program_fail(e->options->command, e->context, status);
        else if (status != EWC_OK)
            code = score_each(e, items, scores);
    }
    for (int64_t i = 0; i < e->count && code == CPT_OK; i++) {
        code = count_item(e, &e->held[i], next);
        next += e->held[i].choices;
    }
    free(scores);
    return code;
}

static int mark_item(evaluation *e, const held_item *item)
{
    for (int64_t k = 0; k < item->choices; k++) {
        for (int64_t t = 0; t < item->prefix_length + item->lengths[k]; t++) {
            int32_t id = item->whole[k][t];
            if (id < 0 || id >= e->vocab)
                return program_error(e->options->command, CPT_INPUT,
                                     "%s: line %lld: expected token ids from 0 to %lld, found %d", e->path,
                                     (long long)item->line, (long long)(e->vocab - 1), (int)id);
            e->listed[id] = 1;
        }
    }
    return CPT_OK;
}

static int mark_held(evaluation *e)
{
    int code = CPT_OK;
    for (int64_t i = 0; i < e->count && code == CPT_OK; i++) code = mark_item(e, &e->held[i]);
    return code;
}

/* Scores or marks what is held, and holds nothing. */
static int flush(evaluation *e)
{
    int code = e->model != NULL ? score_held(e) : mark_held(e);
    for (int64_t i = 0; i < e->count; i++) item_free(&e->held[i]);
    e->count = e->tokens = e->choices = 0;
    return code;
}

static int read_all(evaluation *e)
{
    ewc_text *text = NULL;
    ewc_choice_line line = {.struct_size = sizeof line, .choices = 1};
    ewc_status status = ewc_text_open(e->context, e->path, &text);
    int code = CPT_OK;
    while (status == EWC_OK && code == CPT_OK && line.choices > 0) {
        status = ewc_text_next_choices(text, &line);
        if (status == EWC_OK && line.choices > 0) code = take_line(e, &line);
        if (code == CPT_OK && (e->count == MOST_ITEMS || e->tokens >= ENOUGH_TOKENS)) code = flush(e);
    }
    if (status != EWC_OK) code = program_fail(e->options->command, e->context, status);
    if (code == CPT_OK) code = flush(e);
    ewc_text_close(text);
    return code;
}

static void print_result(const evaluation *e)
{
    double accuracy = (double)e->right / (double)e->items;
    double normalized = (double)e->right_normalized / (double)e->items;
    double nll = -e->answer_sum / (double)e->answer_tokens;
    if (!e->options->json) {
        printf("%-20s %10lld items    accuracy %.4f   by %s %.4f   nll of the right choices %.6f\n", e->name,
               (long long)e->items, accuracy, e->unit, normalized, nll);
        return;
    }
    json_writer writer = json_begin(stdout);
    json_text(&writer, "name", e->name);
    json_integer(&writer, "items", e->items);
    json_number(&writer, "accuracy", accuracy);
    json_number(&writer, "accuracy_normalized", normalized);
    json_text(&writer, "normalized_by", e->unit);
    json_number(&writer, "nll", nll);
    json_end(&writer);
}

static evaluation *evaluation_make(const choices_options *options, ewc_context *context)
{
    evaluation *e = calloc(1, sizeof *e);
    if (e == NULL) return NULL;
    e->options = options;
    e->context = context;
    return e;
}

static void evaluation_free(evaluation *e)
{
    for (int64_t i = 0; i < e->count; i++) item_free(&e->held[i]);
    tokenizer_close(e->tokenizer);
    free(e->name);
    free(e);
}

int mark_choices(const choices_options *options, ewc_context *context, const char *path, int64_t vocab, uint8_t *listed)
{
    evaluation *e = evaluation_make(options, context);
    if (e == NULL) return program_error(options->command, CPT_OTHER, "out of memory");
    e->path = path;
    e->vocab = vocab;
    e->listed = listed;
    int code = read_all(e);
    evaluation_free(e);
    return code;
}

int evaluate_choices(const choices_options *options, ewc_context *context, ewc_model *model, const char *argument)
{
    evaluation *e = evaluation_make(options, context);
    if (e == NULL) return program_error(options->command, CPT_OTHER, "out of memory");
    e->model = model;
    int code = split_name(argument, &e->name, &e->path) ? read_all(e) : no_memory(e);
    if (code == CPT_OK && e->items == 0)
        code = program_error(options->command, CPT_INPUT, "%s: expected at least one line, found none", e->path);
    if (code == CPT_OK) print_result(e);
    evaluation_free(e);
    return code;
}
