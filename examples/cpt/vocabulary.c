/* See vocabulary.h. */
#include "vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choices.h"

static bool is_choices(const char *path)
{
    static const char *const ends[] = {".jsonl", ".jsonl.gz"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (length > end && strcmp(path + length - end, ends[i]) == 0) return true;
    }
    return false;
}

static int mark_tokens(const char *command, ewc_context *context, const char *path, int64_t whole, uint8_t *listed)
{
    ewc_data *data = NULL;
    ewc_status status = ewc_data_open(context, 1, &path, 1, &data);
    if (status == EWC_OK) status = ewc_data_vocabulary(data, whole, listed);
    ewc_data_destroy(data);
    return status == EWC_OK ? CPT_OK : program_fail(command, context, status);
}

static int mark_files(const char *command, ewc_context *context, const vocabulary_source *source, int64_t whole,
                      uint8_t *listed)
{
    const choices_options of_choices = {command, source->model, source->tokenizer, false};
    int code = CPT_OK;
    for (int64_t i = 0; i < source->files->count && code == CPT_OK; i++) {
        const char *path = source->files->items[i];
        code = is_choices(path) ? mark_choices(&of_choices, context, path, whole, listed)
                                : mark_tokens(command, context, path, whole, listed);
    }
    return code;
}

static bool collect(const uint8_t *listed, vocabulary *v)
{
    v->ids = malloc((size_t)v->whole * sizeof *v->ids);
    for (int64_t id = 0; id < v->whole && v->ids != NULL; id++)
        if (listed[id]) v->ids[v->count++] = (int32_t)id;
    return v->ids != NULL;
}

int vocabulary_make(const char *command, ewc_context *context, const ewc_model_config *config,
                    const vocabulary_source *source, vocabulary *out)
{
    vocabulary v = {.whole = config->vocab_size};
    const int64_t special[] = {config->bos_token, config->eos_token, config->pad_token};
    uint8_t *listed = calloc((size_t)v.whole, 1);
    if (listed == NULL) return program_error(command, CPT_OTHER, "out of memory");
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (special[i] >= 0 && special[i] < v.whole) listed[special[i]] = 1;
    int code = mark_files(command, context, source, v.whole, listed);
    if (code == CPT_OK && !collect(listed, &v)) code = program_error(command, CPT_OTHER, "out of memory");
    free(listed);
    if (code == CPT_OK) *out = v;
    return code;
}

void vocabulary_free(vocabulary *v)
{
    free(v->ids);
    memset(v, 0, sizeof *v);
}

static int load_listed(const char *command, ewc_context *context, const vocabulary_source *source, bool quiet,
                       ewc_model **model)
{
    ewc_model_config config;
    vocabulary v = {0};
    ewc_status status = ewc_model_config_read(context, source->model, &config);
    if (status != EWC_OK) return program_fail(command, context, status);
    int code = vocabulary_make(command, context, &config, source, &v);
    if (code != CPT_OK) return code;
    status = ewc_model_load_vocabulary(context, source->model, v.count, v.ids, model);
    if (status != EWC_OK)
        code = program_fail(command, context, status);
    else if (!quiet)
        fprintf(stderr, "%s: vocabulary: %lld of %lld tokens\n", command, (long long)v.count, (long long)v.whole);
    vocabulary_free(&v);
    return code;
}

int load_model(const char *command, ewc_context *context, const vocabulary_source *source, bool quiet,
               ewc_model **model)
{
    if (source->files->count > 0) return load_listed(command, context, source, quiet, model);
    ewc_status status = ewc_model_load(context, source->model, model);
    return status == EWC_OK ? CPT_OK : program_fail(command, context, status);
}
