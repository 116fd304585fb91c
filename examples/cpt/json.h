/* Writing JSON objects, one a line. */
#ifndef CPT_JSON_H
#define CPT_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct json_writer {
    FILE *file;
    bool need_comma;
} json_writer;

/* Starts the line's object. */
json_writer json_begin(FILE *file);
void json_text(json_writer *json, const char *name, const char *value);
void json_integer(json_writer *json, const char *name, int64_t value);
/* The shortest digits that read back as the same number; null if it is not finite, since JSON has no other word. */
void json_number(json_writer *json, const char *name, double value);
void json_numbers(json_writer *json, const char *name, const double *values, int64_t count);
void json_boolean(json_writer *json, const char *name, bool value);
/* An object inside the object. */
void json_open(json_writer *json, const char *name);
void json_close(json_writer *json);
/* Ends the object and the line, and hands the line to the system. */
void json_end(json_writer *json);

#endif
