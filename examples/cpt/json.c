/* Writing JSON objects: see json.h. */
#include "json.h"

#include <math.h>
#include <stdlib.h>

static void quoted(FILE *file, const char *text)
{
    fputc('"', file);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c < 0x20)
            fprintf(file, "\\u%04x", c);
        else
            fputc(c, file);
    }
    fputc('"', file);
}

static void key(json_writer *json, const char *name)
{
    if (json->need_comma) fputs(", ", json->file);
    json->need_comma = true;
    quoted(json->file, name);
    fputs(": ", json->file);
}

json_writer json_begin(FILE *file)
{
    fputc('{', file);
    return (json_writer){.file = file};
}

void json_text(json_writer *json, const char *name, const char *value)
{
    key(json, name);
    quoted(json->file, value);
}

void json_integer(json_writer *json, const char *name, int64_t value)
{
    key(json, name);
    fprintf(json->file, "%lld", (long long)value);
}

static void number(json_writer *json, double value)
{
    if (!isfinite(value)) {
        fputs("null", json->file);
        return;
    }
    char digits[40];
    for (int precision = 6; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    fputs(digits, json->file);
}

void json_number(json_writer *json, const char *name, double value)
{
    key(json, name);
    number(json, value);
}

void json_numbers(json_writer *json, const char *name, const double *values, int64_t count)
{
    key(json, name);
    fputc('[', json->file);
    for (int64_t i = 0; i < count; i++) {
        if (i > 0) fputs(", ", json->file);
        number(json, values[i]);
    }
    fputc(']', json->file);
}

void json_boolean(json_writer *json, const char *name, bool value)
{
    key(json, name);
    fputs(value ? "true" : "false", json->file);
}

void json_open(json_writer *json, const char *name)
{
    key(json, name);
    fputc('{', json->file);
    json->need_comma = false;
}

void json_close(json_writer *json)
{
    fputc('}', json->file);
    json->need_comma = true;
}

void json_end(json_writer *json)
{
    fputs("}\n", json->file);
    fflush(json->file);
}
