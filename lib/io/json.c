/* See json.h. The scanner is in scan.c. */
#include "io/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"

#define EXACT_LIMIT ((int64_t)1 << 53)

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static ewc_status refuse_twice(ewc_context *ctx, const char *file, const char *name)
{
    return ewci_fail(ctx, EWC_ERROR_FORMAT, "%s: \"%.200s\" occurs twice in one object", file, name);
}

/* Names of one object. Sorting keeps a hostile file from costing the square of its size. */
static ewc_status check_names(ewc_context *ctx, const char *file, const cJSON *object)
{
    const char *few[16], **names = few;
    int64_t count = 0, filled = 0;
    void *memory = NULL;
    ewc_status status = EWC_OK;
    for (const cJSON *child = object->child; child != NULL; child = child->next) count++;
    if (count > (int64_t)(sizeof few / sizeof *few)) {
        EWCI_TRY(ewci_alloc_array(ctx, count, sizeof *names, "names of a JSON object", &memory));
        names = memory;
    }
    for (const cJSON *child = object->child; child != NULL; child = child->next) names[filled++] = child->string;
    qsort(names, (size_t)count, sizeof *names, compare_names);
    for (int64_t i = 1; i < count && status == EWC_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0) status = refuse_twice(ctx, file, names[i]);
    ewci_free(ctx, memory);
    return status;
}

static ewc_status check_value(ewc_context *ctx, const char *file, const cJSON *value)
{
    if (cJSON_IsObject(value)) return check_names(ctx, file, value);
    if (cJSON_IsNumber(value) && !isfinite(value->valuedouble))
        return ewci_fail(ctx, EWC_ERROR_FORMAT,
                         "%s: %.200s: expected a number that a double can hold, found a larger one", file,
                         value->string == NULL ? "an element of an array" : value->string);
    return EWC_OK;
}

/* Every value of the tree; the scanner has limited its depth. */
static ewc_status check_tree(ewc_context *ctx, const char *file, const cJSON *root)
{
    const cJSON *path[EWCI_JSON_DEPTH + 1];
    int depth = 0;
    path[0] = root;
    while (depth >= 0) {
        const cJSON *value = path[depth];
        EWCI_TRY(check_value(ctx, file, value));
        if (value->child != NULL) {
            path[++depth] = value->child;
            continue;
        }
        while (depth > 0 && path[depth]->next == NULL) depth--;
        if (depth == 0) break;
        path[depth] = path[depth]->next;
    }
    return EWC_OK;
}

ewc_status ewci_json_parse(ewc_context *ctx, const char *file, const char *text, size_t bytes, cJSON **object)
{
    EWCI_TRY(ewci_json_scan(ctx, file, text, bytes));
    cJSON *root = cJSON_ParseWithLength(text, bytes);
    if (root == NULL) return ewci_fail(ctx, EWC_ERROR_MEMORY, "%s: no memory for %zu bytes of JSON", file, bytes);
    ewc_status status = EWC_OK;
    if (!cJSON_IsObject(root)) status = ewci_fail(ctx, EWC_ERROR_FORMAT, "%s: expected a JSON object", file);
    if (status == EWC_OK) status = check_tree(ctx, file, root);
    if (status != EWC_OK) {
        cJSON_Delete(root);
        return status;
    }
    *object = root;
    return EWC_OK;
}

const cJSON *ewci_json_find(const cJSON *object, const char *field)
{
    return cJSON_GetObjectItemCaseSensitive(object, field);
}

static void describe(const cJSON *value, char *text, size_t bytes)
{
    if (value == NULL)
        snprintf(text, bytes, "nothing");
    else if (cJSON_IsString(value))
        snprintf(text, bytes, "\"%.60s\"", value->valuestring);
    else if (cJSON_IsNumber(value))
        snprintf(text, bytes, "%.17g", value->valuedouble);
    else if (cJSON_IsBool(value))
        snprintf(text, bytes, "%s", cJSON_IsTrue(value) ? "true" : "false");
    else if (cJSON_IsNull(value))
        snprintf(text, bytes, "null");
    else
        snprintf(text, bytes, "%s", cJSON_IsArray(value) ? "an array" : "an object");
}

void ewci_json_record(ewc_context *ctx, const char *file, const char *field, const char *expected, const cJSON *value)
{
    char found[96];
    describe(value, found, sizeof found);
    ewci_record(ctx, "%s: %.200s: expected %s, found %s", file, field, expected, found);
}

bool ewci_json_exact(const cJSON *value, int64_t low, int64_t high, int64_t *integer)
{
    if (!cJSON_IsNumber(value)) return false;
    double x = value->valuedouble;
    if (!(x > -(double)EXACT_LIMIT && x < (double)EXACT_LIMIT) || x != floor(x)) return false;
    if ((int64_t)x < low || (int64_t)x > high) return false;
    *integer = (int64_t)x;
    return true;
}

ewc_status ewci_json_integer(ewc_context *ctx, const char *file, const cJSON *object, const char *field, int64_t low,
                             int64_t high, int64_t *value)
{
    const cJSON *found = ewci_json_find(object, field);
    char expected[80];
    if (ewci_json_exact(found, low, high, value)) return EWC_OK;
    snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)low, (long long)high);
    return ewci_json_wrong(ctx, file, field, expected, found);
}

ewc_status ewci_json_real(ewc_context *ctx, const char *file, const cJSON *object, const char *field, double low,
                          double high, double *value)
{
    const cJSON *found = ewci_json_find(object, field);
    char expected[80];
    if (cJSON_IsNumber(found) && found->valuedouble >= low && found->valuedouble <= high) {
        *value = found->valuedouble;
        return EWC_OK;
    }
    snprintf(expected, sizeof expected, "a number from %g to %g", low, high);
    return ewci_json_wrong(ctx, file, field, expected, found);
}

ewc_status ewci_json_string(ewc_context *ctx, const char *file, const cJSON *object, const char *field,
                            const char **value)
{
    const cJSON *found = ewci_json_find(object, field);
    if (!cJSON_IsString(found)) return ewci_json_wrong(ctx, file, field, "a string", found);
    *value = found->valuestring;
    return EWC_OK;
}

ewc_status ewci_json_hex64(ewc_context *ctx, const char *file, const cJSON *object, const char *field, uint64_t *value)
{
    const cJSON *found = ewci_json_find(object, field);
    const char *text = cJSON_IsString(found) ? found->valuestring : "";
    uint64_t sum = 0;
    size_t digits = strspn(text, "0123456789abcdef");
    if (digits != 16 || text[16] != '\0')
        return ewci_json_wrong(ctx, file, field, "16 hexadecimal digits in quotes", found);
    for (int i = 0; i < 16; i++) sum = sum * 16 + (uint64_t)(text[i] <= '9' ? text[i] - '0' : text[i] - 'a' + 10);
    *value = sum;
    return EWC_OK;
}

/* The number at or behind *at in valid JSON, outside strings; *at moves behind it. */
static const char *next_number(const char **at, size_t *length)
{
    const char *c = *at;
    for (bool quoted = false; quoted || strspn(c, "-0123456789") == 0; c++) {
        if (quoted && *c == '\\')
            c++;
        else if (*c == '"')
            quoted = !quoted;
    }
    *length = strspn(c, "-+.0123456789eE");
    *at = c + *length;
    return c;
}

static bool make_raw(cJSON *number, const char *text, size_t length)
{
    char *copy = cJSON_malloc(length + 1);
    if (copy == NULL) return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    number->valuestring = copy;
    number->type = (number->type & ~0xff) | cJSON_Raw;
    return true;
}

ewc_status ewci_json_keep_numbers(ewc_context *ctx, cJSON *object, const char *text)
{
    cJSON *path[EWCI_JSON_DEPTH + 1];
    int depth = 0;
    path[0] = object;
    while (depth >= 0) { /* the order of the tree is the order of the text */
        cJSON *value = path[depth];
        size_t length;
        if (cJSON_IsNumber(value)) {
            const char *number = next_number(&text, &length);
            if (!make_raw(value, number, length)) return ewci_fail(ctx, EWC_ERROR_MEMORY, "no memory for JSON text");
        }
        if (value->child != NULL) {
            path[++depth] = value->child;
            continue;
        }
        while (depth > 0 && path[depth]->next == NULL) depth--;
        if (depth == 0) break;
        path[depth] = path[depth]->next;
    }
    return EWC_OK;
}

cJSON *ewci_json_float(double value)
{
    char text[48];
    for (int digits = 15; digits <= 17; digits++) { /* the fewest that give the same number back */
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    size_t end = strlen(text), point = strspn(text, "-0123456789");
    if (point == end)
        snprintf(text + end, sizeof text - end, ".0");
    else if (text[point] != 'e')
        text[point] = '.'; /* the host's locale may have another one */
    return cJSON_CreateRaw(text);
}

/* cJSON indents with tabs; outside strings they become what Python's json.dump(indent=2) writes. */
static void spread_tabs(const char *tabbed, char *text)
{
    bool quoted = false;
    for (const char *c = tabbed; *c != '\0'; c++) {
        if (quoted && *c == '\\')
            *text++ = *c++;
        else if (*c == '"')
            quoted = !quoted;
        if (*c != '\t')
            *text++ = *c;
        else {
            if (c[-1] != ':') *text++ = ' ';
            *text++ = ' ';
        }
    }
    memcpy(text, "\n", 2);
}

ewc_status ewci_json_print(ewc_context *ctx, const cJSON *object, char **text)
{
    void *memory = NULL;
    char *printed = cJSON_Print(object);
    if (printed == NULL) return ewci_fail(ctx, EWC_ERROR_MEMORY, "no memory for JSON text");
    ewc_status status = ewci_alloc(ctx, 2 * strlen(printed) + 2, "JSON text", &memory);
    if (status == EWC_OK) {
        spread_tabs(printed, memory);
        *text = memory;
    }
    cJSON_free(printed);
    return status;
}
