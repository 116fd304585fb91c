/* Multiple-choice items of .jsonl files, as text or as token ids: ewc_text_next_choices. */
#include <stdio.h>
#include <string.h>

#include "core/status.h"
#include "io/json.h"
#include "io/text.h"

static int64_t array_size(const cJSON *array)
{
    int64_t count = 0;
    for (const cJSON *value = array->child; value != NULL; value = value->next) count++;
    return count;
}

static ewc_status read_ids(ewc_text *text, const char *field, const cJSON *array, int32_t *ids)
{
    int64_t id;
    if (array->child == NULL)
        return ewci_json_wrong(ewci_text_context(text), ewci_text_place(text), field, "at least one token id", array);
    for (const cJSON *value = array->child; value != NULL; value = value->next) {
        if (!ewci_json_exact(value, 0, INT32_MAX, &id))
            return ewci_json_wrong(ewci_text_context(text), ewci_text_place(text), field, "token ids", value);
        *ids++ = (int32_t)id;
    }
    return EWC_OK;
}

/* One block: the item, the choices' lengths, their arrays, the ids of prefix and choices. */
static ewc_status read_item(ewc_text *text, const cJSON *prefix, const cJSON *choices, ewc_choice_line *line)
{
    int64_t ids = array_size(prefix), k = 0;
    char field[48];
    void *memory;
    for (const cJSON *choice = choices->child; choice != NULL; choice = choice->next) ids += array_size(choice);
    size_t bytes = sizeof(ewc_choice_item) + (size_t)line->choices * (sizeof(int64_t) + sizeof(int32_t *));
    EWCI_TRY(ewci_text_keep(text, (int64_t)bytes + ids * (int64_t)sizeof(int32_t), 1, &memory));
    ewc_choice_item *item = memory;
    const int32_t **tokens = (const int32_t **)(void *)(item + 1);
    int64_t *lengths = (int64_t *)(void *)(tokens + line->choices);
    int32_t *next = (int32_t *)(void *)(lengths + line->choices);
    *item = (ewc_choice_item){sizeof *item, array_size(prefix), next, line->choices, lengths, tokens};
    EWCI_TRY(read_ids(text, "prefix", prefix, next));
    next += item->prefix_length;
    for (const cJSON *choice = choices->child; choice != NULL; choice = choice->next, k++) {
        snprintf(field, sizeof field, "choices[%lld]", (long long)k);
        lengths[k] = array_size(choice);
        tokens[k] = next;
        EWCI_TRY(read_ids(text, field, choice, next));
        next += lengths[k];
    }
    line->ids = item;
    return EWC_OK;
}

static ewc_status read_texts(ewc_text *text, const cJSON *prefix, const cJSON *choices, ewc_choice_line *line)
{
    void *memory;
    EWCI_TRY(ewci_text_keep(text, line->choices, sizeof(char *), &memory));
    const char **texts = memory;
    line->prefix = prefix->valuestring;
    line->texts = texts;
    for (const cJSON *choice = choices->child; choice != NULL; choice = choice->next) *texts++ = choice->valuestring;
    return EWC_OK;
}

/* All choices of the prefix's kind, and none of them empty. */
static ewc_status check_choices(ewc_text *text, const cJSON *prefix, const cJSON *choices)
{
    const char *expected = cJSON_IsString(prefix) ? "a string that is not empty, as the prefix is one"
                                                  : "an array of token ids, as the prefix is one";
    char field[48];
    int64_t k = 0;
    for (const cJSON *choice = choices->child; choice != NULL; choice = choice->next, k++) {
        if (cJSON_IsString(prefix) ? cJSON_IsString(choice) && *choice->valuestring != '\0' : cJSON_IsArray(choice))
            continue;
        snprintf(field, sizeof field, "choices[%lld]", (long long)k);
        return ewci_json_wrong(ewci_text_context(text), ewci_text_place(text), field, expected, choice);
    }
    return EWC_OK;
}

ewc_status ewci_text_next_choices(ewc_text *text, ewc_choice_line *line)
{
    ewc_context *ctx = ewci_text_context(text);
    const cJSON *object;
    line->choices = 0;
    EWCI_TRY(ewci_text_next_object(text, &object));
    if (object == NULL) return EWC_OK;
    const char *place = ewci_text_place(text);
    const cJSON *prefix = ewci_json_find(object, "prefix"), *choices = ewci_json_find(object, "choices");
    if (!cJSON_IsString(prefix) && !cJSON_IsArray(prefix))
        return ewci_json_wrong(ctx, place, "prefix", "a string or an array of token ids", prefix);
    if (!cJSON_IsArray(choices) || choices->child == NULL)
        return ewci_json_wrong(ctx, place, "choices", "an array of at least one choice", choices);
    int64_t count = array_size(choices);
    EWCI_TRY(ewci_json_integer(ctx, place, object, "answer", 0, count - 1, &line->answer));
    EWCI_TRY(check_choices(text, prefix, choices));
    line->line = ewci_text_line(text);
    line->choices = count;
    return cJSON_IsString(prefix) ? read_texts(text, prefix, choices, line) : read_item(text, prefix, choices, line);
}
