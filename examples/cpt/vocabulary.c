/* See vocabulary.h. */
#include "vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ewc_status mark_files(ewc_context *context, const option_list *files, int64_t whole, uint8_t *listed)
{
    ewc_data *data = NULL;
    ewc_status status = ewc_data_open(context, files->count, files->items, 1, &data);
    if (status == EWC_OK) status = ewc_data_vocabulary(data, whole, listed);
    ewc_data_destroy(data);
    return status;
}

static bool collect(const uint8_t *listed, vocabulary *v)
{
    v->ids = malloc((size_t)v->whole * sizeof *v->ids);
    for (int64_t id = 0; id < v->whole && v->ids != NULL; id++)
        if (listed[id]) v->ids[v->count++] = (int32_t)id;
    return v->ids != NULL;
}

int vocabulary_make(const char *command, ewc_context *context, const ewc_model_config *config, const option_list *files,
                    vocabulary *out)
{
    vocabulary v = {.whole = config->vocab_size};
    const int64_t special[] = {config->bos_token, config->eos_token, config->pad_token};
    uint8_t *listed = calloc((size_t)v.whole, 1);
    if (listed == NULL) return program_error(command, CPT_OTHER, "out of memory");
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (special[i] >= 0 && special[i] < v.whole) listed[special[i]] = 1;
    ewc_status status = mark_files(context, files, v.whole, listed);
    int code = status == EWC_OK ? CPT_OK : program_fail(command, context, status);
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

static int load_listed(const char *command, ewc_context *context, const char *directory, const option_list *files,
                       bool quiet, ewc_model **model)
{
    ewc_model_config config;
    vocabulary v = {0};
    ewc_status status = ewc_model_config_read(context, directory, &config);
    if (status != EWC_OK) return program_fail(command, context, status);
    int code = vocabulary_make(command, context, &config, files, &v);
    if (code != CPT_OK) return code;
    status = ewc_model_load_vocabulary(context, directory, v.count, v.ids, model);
    if (status != EWC_OK)
        code = program_fail(command, context, status);
    else if (!quiet)
        fprintf(stderr, "%s: vocabulary: %lld of %lld tokens\n", command, (long long)v.count, (long long)v.whole);
    vocabulary_free(&v);
    return code;
}

int load_model(const char *command, ewc_context *context, const char *directory, const option_list *files, bool quiet,
               ewc_model **model)
{
    if (files->count > 0) return load_listed(command, context, directory, files, quiet, model);
    ewc_status status = ewc_model_load(context, directory, model);
    return status == EWC_OK ? CPT_OK : program_fail(command, context, status);
}
