/* config.json of Hugging Face's gemma2 and gemma3_text models, in both spellings that are in circulation:
 *   older (transformers 4): rope_theta, torch_dtype, hidden_act beside hidden_activation, no layer_types
 *   newer (transformers 5): rope_parameters {rope_theta, rope_type}, dtype, layer_types
 * and the text_config of gemma3 models, which also see pictures.
 * What the library does not implement is refused by name. */
#ifndef EWCI_IO_CONFIG_H
#define EWCI_IO_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "io/json.h"
#include "libewc.h"

enum { EWCI_CONFIG_LIMIT = 16 << 20 }; /* bytes of config.json */

/* From the text of a config.json; `file` is its name in messages. */
ewc_status ewci_config_parse(ewc_context *ctx, const char *file, const char *text, ewc_model_config *config);

/* From a file, or from the config.json of a directory. */
ewc_status ewci_config_read(ewc_context *ctx, const char *path, ewc_model_config *config);

/* The text of config.json for a model of `config` stored as `dtype`. original: the text it was read from, whose
 * spelling, order and unknown fields are kept, or NULL for a new one that both generations of transformers read. Free
 * with ewci_free. */
ewc_status ewci_config_format(ewc_context *ctx, const ewc_model_config *config, const char *original, ewc_dtype dtype,
                              char **text);

/* If *root is a gemma3 model's object: replaces it by its text_config, a gemma3_text object that has the outer token ids too; *taken
 * says so. On failure *root is still to be freed. */
ewc_status ewci_config_take_text(ewc_context *ctx, const char *file, cJSON **root, bool *taken);

#endif
