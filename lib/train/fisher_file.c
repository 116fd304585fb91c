/* Fisher files: safetensors with the model's tensor names and, in the metadata, what the estimate is of (docs/files.md). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "train/fisher.h"
#include "train/vocabulary_file.h"

#define FORMAT "libewc-fisher"
#define FORMAT_VERSION "1"

static const char *const estimators[] = {"empirical", "empirical_signs", "sampled", "batch_mean", "adam_v", "folded"};
static const char *const units[] = {"sequence_mean", "sequence_sum"};

enum { ESTIMATORS = sizeof estimators / sizeof *estimators, UNITS = sizeof units / sizeof *units, PAIRS = 11 };

const char *ewc_estimator_name(ewc_estimator estimator)
{
    return (unsigned)estimator < ESTIMATORS ? estimators[estimator] : "unknown";
}

const char *ewc_fisher_unit_name(ewc_fisher_unit unit)
{
    return (unsigned)unit < UNITS ? units[unit] : "unknown";
}

ewc_status ewc_fisher_save(ewc_fisher *fisher, const char *path, ewc_dtype dtype, int overwrite)
{
    char numbers[5][32];
    ewci_vocabulary_text vocabulary;
    ewci_tensor_output *outputs;
    if (fisher == NULL || path == NULL)
        return ewci_fail(fisher == NULL ? NULL : fisher->model->ctx, EWC_ERROR_ARGUMENT, "ewc_fisher_save: %s is NULL",
                         fisher == NULL ? "fisher" : "path");
    ewc_context *ctx = fisher->model->ctx;
    EWCI_TRY(ewci_fisher_check_ready(fisher));
    if (dtype != EWC_F32 && dtype != EWC_BF16)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "dtype: expected EWC_F32 or EWC_BF16 (f16 cannot hold a Fisher's range), found %d",
                         (int)dtype);
    snprintf(numbers[0], sizeof numbers[0], "%lld", (long long)fisher->info.sequences);
    snprintf(numbers[1], sizeof numbers[1], "%lld", (long long)fisher->info.tokens);
    snprintf(numbers[2], sizeof numbers[2], "%lld", (long long)fisher->info.batches);
    snprintf(numbers[3], sizeof numbers[3], "%016" PRIx64, fisher->info.model_fingerprint);
    snprintf(numbers[4], sizeof numbers[4], "%016" PRIx64, fisher->info.data_fingerprint);
    ewci_pair pairs[PAIRS] = {{"format", FORMAT},
                              {"format_version", FORMAT_VERSION},
                              {"estimator", ewc_estimator_name(fisher->info.estimator)},
                              {"unit", ewc_fisher_unit_name(fisher->info.unit)},
                              {"sequences", numbers[0]},
                              {"tokens", numbers[1]},
                              {"batches", numbers[2]},
                              {"model_fingerprint", numbers[3]},
                              {"data_fingerprint", numbers[4]},
                              {"library_version", ewc_version()}};
    int64_t count = ewci_vocabulary_pair(fisher->model, &vocabulary, PAIRS - 1, pairs);
    EWCI_TRY(ewci_model_outputs(fisher->model, dtype, ewci_views_read, &fisher->views, &outputs));
    ewc_status status =
        ewci_safetensors_write(ctx, path, fisher->model->layout.tensor_count, outputs, count, pairs, overwrite != 0);
    ewci_free(ctx, outputs);
    return status;
}

static ewc_status wrong(const ewc_fisher *fisher, const char *key, const char *expected, const char *found)
{
    return ewci_fail(fisher->model->ctx, EWC_ERROR_FORMAT, "%s: __metadata__: %s: expected %s, found %.100s",
                     ewci_safetensors_path(fisher->file), key, expected, found == NULL ? "nothing" : found);
}

static ewc_status read_word(const ewc_fisher *fisher, const char *key, const char *const *words, int count, int *index)
{
    const char *found = ewci_safetensors_metadata(fisher->file, key);
    for (int i = 0; found != NULL && i < count; i++) {
        if (strcmp(found, words[i]) != 0) continue;
        *index = i;
        return EWC_OK;
    }
    return wrong(fisher, key, "a known name", found);
}

static ewc_status read_count(const ewc_fisher *fisher, const char *key, int64_t *value)
{
    const char *found = ewci_safetensors_metadata(fisher->file, key);
    size_t digits = found == NULL ? 0 : strspn(found, "0123456789");
    if (digits == 0 || digits > 18 || found[digits] != '\0') return wrong(fisher, key, "a whole number", found);
    *value = strtoll(found, NULL, 10);
    return EWC_OK;
}

static ewc_status read_hex(const ewc_fisher *fisher, const char *key, uint64_t *value)
{
    const char *found = ewci_safetensors_metadata(fisher->file, key);
    if (found == NULL || strlen(found) != 16 || strspn(found, "0123456789abcdef") != 16)
        return wrong(fisher, key, "16 hexadecimal digits", found);
    *value = strtoull(found, NULL, 16);
    return EWC_OK;
}

static ewc_status read_metadata(ewc_fisher *fisher)
{
    const char *format = ewci_safetensors_metadata(fisher->file, "format");
    const char *version = ewci_safetensors_metadata(fisher->file, "format_version");
    int estimator, unit;
    if (format == NULL || strcmp(format, FORMAT) != 0) return wrong(fisher, "format", FORMAT, format);
    if (version == NULL || strcmp(version, FORMAT_VERSION) != 0)
        return wrong(fisher, "format_version", FORMAT_VERSION, version);
    EWCI_TRY(read_word(fisher, "estimator", estimators, ESTIMATORS, &estimator));
    EWCI_TRY(read_word(fisher, "unit", units, UNITS, &unit));
    fisher->info.estimator = (ewc_estimator)estimator;
    fisher->info.unit = (ewc_fisher_unit)unit;
    EWCI_TRY(read_count(fisher, "sequences", &fisher->info.sequences));
    EWCI_TRY(read_count(fisher, "tokens", &fisher->info.tokens));
    EWCI_TRY(read_count(fisher, "batches", &fisher->info.batches));
    EWCI_TRY(read_hex(fisher, "model_fingerprint", &fisher->info.model_fingerprint));
    return read_hex(fisher, "data_fingerprint", &fisher->info.data_fingerprint);
}

static ewc_status find_entries(const ewc_fisher *fisher, const ewci_tensor_entry **entries)
{
    const ewci_layout *layout = &fisher->model->layout;
    for (int64_t i = 0; i < ewci_safetensors_count(fisher->file); i++) {
        const char *name = ewci_safetensors_entry(fisher->file, i)->name;
        if (ewci_layout_find(layout, name) < 0)
            return ewci_fail(fisher->model->ctx, EWC_ERROR_MISMATCH,
                             "%s: the tensor %.200s is not one of the model's: the Fisher belongs to another model",
                             ewci_safetensors_path(fisher->file), name);
    }
    for (int64_t t = 0; t < layout->tensor_count; t++) {
        const ewc_tensor_info *info = &layout->tensors[t];
        EWCI_TRY(ewci_safetensors_tensor(fisher->file, info->name, info->rows, info->columns, &entries[t]));
        if (entries[t]->dtype == EWC_F16)
            return ewci_fail(fisher->model->ctx, EWC_ERROR_UNSUPPORTED,
                             "%s: %s: dtype: expected F32 or BF16, found F16", ewci_safetensors_path(fisher->file),
                             info->name);
    }
    return EWC_OK;
}

static ewc_status load(ewc_fisher *fisher, const char *path)
{
    void *memory;
    ewc_context *ctx = fisher->model->ctx;
    EWCI_TRY(ewci_safetensors_open(ctx, path, &fisher->file));
    EWCI_TRY(read_metadata(fisher));
    EWCI_TRY(ewci_vocabulary_check_file(fisher->model, fisher->file));
    EWCI_TRY(ewci_alloc_array(ctx, fisher->model->layout.tensor_count, sizeof(void *), "a list of tensors", &memory));
    ewc_status status = find_entries(fisher, memory);
    if (status == EWC_OK)
        status = ewci_views_map(fisher->model, (const ewci_tensor_entry *const *)memory, "the Fisher", &fisher->views);
    ewci_free(ctx, memory);
    if (status == EWC_OK) {
        status = ewci_fisher_seal(fisher);
        if (status != EWC_OK) ewci_record_in(ctx, path);
    }
    return status;
}

ewc_status ewc_fisher_load(ewc_model *model, const char *path, ewc_fisher **out)
{
    void *memory;
    if (model == NULL || path == NULL || out == NULL)
        return ewci_fail(model == NULL ? NULL : model->ctx, EWC_ERROR_ARGUMENT, "ewc_fisher_load: an argument is NULL");
    EWCI_TRY(ewci_alloc_array(model->ctx, 1, sizeof(ewc_fisher), "a Fisher", &memory));
    ewc_fisher *fisher = memory;
    fisher->model = model;
    fisher->info.struct_size = sizeof fisher->info;
    ewc_status status = load(fisher, path);
    if (status == EWC_OK)
        *out = fisher;
    else
        ewc_fisher_destroy(fisher);
    return status;
}
