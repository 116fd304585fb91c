/* A Hugging Face model directory: config.json, model.safetensors or shards with an index, tokenizer files. */
#ifndef EWCI_IO_HF_H
#define EWCI_IO_HF_H

#include <stdbool.h>
#include <stdint.h>

#include "io/safetensors.h"
#include "libewc.h"

typedef struct ewci_hf ewci_hf;

/* Maps and checks all of it. model.safetensors is taken where there is one, else model.safetensors.index.json. The
 * index may name only files of the directory; each of its tensors must be in the shard it says, each tensor of a
 * shard in the index. */
ewc_status ewci_hf_open(ewc_context *ctx, const char *directory, ewci_hf **hf);
void ewci_hf_close(ewci_hf *hf); /* NULL is fine */

const char *ewci_hf_directory(const ewci_hf *hf);
const char *ewci_hf_config(const ewci_hf *hf);      /* the text of config.json */
const char *ewci_hf_config_path(const ewci_hf *hf); /* for messages */

int64_t ewci_hf_count(const ewci_hf *hf);
const ewci_tensor_entry *ewci_hf_entry(const ewci_hf *hf, int64_t index); /* by name, ascending */
/* Or NULL. The text model of a gemma3 directory, which also has one for vision, is found under its plain names: what is "model.norm.weight" here
 * is stored as "language_model.model.norm.weight" or, since transformers 4.52, as "model.language_model.norm.weight". */
#define EWCI_HF_TEXT_OLDER "language_model."
#define EWCI_HF_TEXT_NEWER "model.language_model."
const ewci_tensor_entry *ewci_hf_find(const ewci_hf *hf, const char *name);
/* As ewci_safetensors_tensor. */
ewc_status ewci_hf_tensor(const ewci_hf *hf, const char *name, int64_t rows, int64_t columns,
                          const ewci_tensor_entry **entry);

/* Rows of a matrix instead of the whole: from now on the tensor of that name, [rows, columns], is a copy in memory of the rows `ids`
 * ([count], each in [0, rows)), in its own dtype. For one tensor of a directory. */
ewc_status ewci_hf_keep_rows(ewci_hf *hf, const char *name, int64_t rows, int64_t columns, int64_t count,
                             const int32_t *ids);

/* What ewci_hf_write puts into a directory. */
typedef struct ewci_hf_output {
    const char *config;           /* the text of config.json */
    const char *tokenizer_source; /* directory whose tokenizer files are carried over, or NULL; may be the target */
    int64_t count;
    const ewci_tensor_output *tensors; /* each with its own dtype */
    int64_t shard_bytes;               /* largest shard (one tensor at least); 0: 5e9, as transformers does */
    bool overwrite;
} ewci_hf_output;

/* Whole or not at all. A directory that exists: EWC_ERROR_EXISTS unless overwrite; then its model files (stale shards
 * and index included) are replaced, others stay, and a crash at any moment leaves the old weights or the new ones,
 * never a mixture. An empty directory counts as not there. */
ewc_status ewci_hf_write(ewc_context *ctx, const char *directory, const ewci_hf_output *output);

#endif
