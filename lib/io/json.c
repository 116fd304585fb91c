/* See json.h. */
#include "io/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/status.h"

ewc_status ewci_json_parse(ewc_context *ctx, const char *file, const char *text, size_t bytes, cJSON **out)
{
    const char *end = NULL;
    /* cJSON would end a string at an embedded NUL. */
    if (memchr(text, '\0', bytes) != NULL)
        return ewci_fail(ctx, EWC_ERROR_FORMAT, "%s: expected JSON, found a NUL byte in it", file);
    cJSON *value = cJSON_ParseWithLengthOpts(text, bytes, &end, 0);
    if (value == NULL)
        return ewci_fail(ctx, EWC_ERROR_FORMAT, "%s: expected JSON, found a syntax error at byte %lld", file,
                         (long long)(end == NULL ? 0 : end - text));
    for (size_t i = (size_t)(end - text); i < bytes; i++) {
        if (strchr(" \t\r\n", text[i]) != NULL) continue;
        cJSON_Delete(value);
        return ewci_fail(ctx, EWC_ERROR_FORMAT, "%s: expected one JSON value, found more at byte %zu", file, i);
    }
    *out = value;
    return EWC_OK;
}

const cJSON *ewci_json_member(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNull(value) ? NULL : value;
}

static const char *kind(const cJSON *value, char *buffer, size_t bytes)
{
    if (value == NULL) return "nothing";
    if (cJSON_IsString(value)) snprintf(buffer, bytes, "\"%.60s\"", value->valuestring);
    else if (cJSON_IsNumber(value)) snprintf(buffer, bytes, "%.17g", value->valuedouble);
    else if (cJSON_IsBool(value)) snprintf(buffer, bytes, "%s", cJSON_IsTrue(value) ? "true" : "false");
    else snprintf(buffer, bytes, "%s", cJSON_IsArray(value) ? "a list" : cJSON_IsObject(value) ? "an object" : "null");
    return buffer;
}

ewc_status ewci_json_fail(ewc_context *ctx, const char *file, const char *field, const char *expected,
                          const cJSON *found)
{
    char buffer[96];
    return ewci_fail(ctx, EWC_ERROR_FORMAT, "%s: %s: expected %s, found %s", file, field, expected,
                     kind(found, buffer, sizeof buffer));
}

bool ewci_json_is_whole(const cJSON *value, int64_t *out)
{
    if (!cJSON_IsNumber(value)) return false;
    double x = value->valuedouble;
    if (!(fabs(x) < 0x1p53) || x != floor(x)) return false;
    *out = (int64_t)x;
    return true;
}

ewc_status ewci_json_integer(ewc_context *ctx, const char *file, const char *field, const cJSON *value, int64_t least,
                             int64_t most, int64_t *out)
{
    char expected[96];
    int64_t x;
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)least, (long long)most);
    if (!ewci_json_is_whole(value, &x) || x < least || x > most)
        return ewci_json_fail(ctx, file, field, expected, value);
    *out = x;
    return EWC_OK;
}
