/* JSON read as hostile input, and checked getters whose messages name file and field.
 *
 * Text is checked by a strict scanner first (scan.c): RFC 8259 to the letter, UTF-8, no NUL (escaped or not), no
 * duplicate names, nesting and number of values limited. cJSON then builds the tree; it alone would accept more, and
 * recurse deeper. Numbers are doubles: integers are accepted when they are exact, below 2^53. */
#ifndef EWCI_IO_JSON_H
#define EWCI_IO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "libewc.h"

enum { EWCI_JSON_DEPTH = 64, EWCI_JSON_VALUES = 8 << 20 };

/* The text's only value, which must be an object. `file` is its name in messages. Free with cJSON_Delete. */
ewc_status ewci_json_parse(ewc_context *ctx, const char *file, const char *text, size_t bytes, cJSON **object);

/* Checks without building the tree; names duplicates are not looked for. */
ewc_status ewci_json_scan(ewc_context *ctx, const char *file, const char *text, size_t bytes);

/* The member of that name (exact case), or NULL. */
const cJSON *ewci_json_find(const cJSON *object, const char *field);

/* Records "FILE: FIELD: expected EXPECTED, found ..." with the value in words (NULL: nothing); ewci_json_wrong is then
 * EWC_ERROR_FORMAT. */
void ewci_json_record(ewc_context *ctx, const char *file, const char *field, const char *expected, const cJSON *value);
#define ewci_json_wrong(ctx, file, field, expected, value) \
    (ewci_json_record((ctx), (file), (field), (expected), (value)), EWC_ERROR_FORMAT)

/* Members that must be there, of the right type and range. */
ewc_status ewci_json_integer(ewc_context *ctx, const char *file, const cJSON *object, const char *field, int64_t low,
                             int64_t high, int64_t *value);
ewc_status ewci_json_real(ewc_context *ctx, const char *file, const cJSON *object, const char *field, double low,
                          double high, double *value);
/* The string lives as long as the tree. */
ewc_status ewci_json_string(ewc_context *ctx, const char *file, const cJSON *object, const char *field,
                            const char **value);
/* Unsigned 64-bit number written as 16 hexadecimal digits: what a double cannot carry. */
ewc_status ewci_json_hex64(ewc_context *ctx, const char *file, const cJSON *object, const char *field, uint64_t *value);

/* An exact integer in [low, high]? */
bool ewci_json_exact(const cJSON *value, int64_t low, int64_t high, int64_t *integer);

/* Makes numbers of a parsed text print as they were written: 50.0 stays 50.0, and integers beyond 2^53 keep their
 * digits. They are then raw text to cJSON, and the getters above no longer take them for numbers. */
ewc_status ewci_json_keep_numbers(ewc_context *ctx, cJSON *object, const char *text);

/* A number that prints with a decimal point or an exponent, as Python writes its floats; NULL when there is no
 * memory. */
cJSON *ewci_json_float(double value);

/* The tree as indented text with a final newline; free with ewci_free. */
ewc_status ewci_json_print(ewc_context *ctx, const cJSON *object, char **text);

#endif
