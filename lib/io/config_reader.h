/* What the files that read config.json share: the object in work and the refusal of what the library cannot do. */
#ifndef EWCI_IO_CONFIG_READER_H
#define EWCI_IO_CONFIG_READER_H

#include <stdbool.h>

#include "io/json.h"
#include "libewc.h"

typedef struct ewci_config_reader {
    ewc_context *ctx;
    const char *file; /* in messages; with the part of the file that root is */
    const cJSON *root;
    ewc_model_config *config;
} ewci_config_reader;

static inline const cJSON *ewci_config_find(const ewci_config_reader *r, const char *field)
{
    return ewci_json_find(r->root, field);
}

/* Missing or null. */
static inline bool ewci_config_absent(const cJSON *value)
{
    return value == NULL || cJSON_IsNull(value);
}

/* The same words as for a wrong value, but EWC_ERROR_UNSUPPORTED: the file is right, the library cannot do it. */
ewc_status ewci_config_unsupported(const ewci_config_reader *r, const char *field, const char *expected,
                                   const cJSON *found);

/* rope_theta, rope_local_theta and rope_scale (config_rope.c). */
ewc_status ewci_config_read_rope(const ewci_config_reader *r);

/* sliding and sliding_window (config_layers.c). */
ewc_status ewci_config_read_window(const ewci_config_reader *r);

#endif
