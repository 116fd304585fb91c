/* A model from and to a Hugging Face directory. */
#include <stdio.h>
#include <string.h>

#include "core/convert.h"
#include "core/memory.h"
#include "core/status.h"
#include "io/config.h"
#include "io/hf.h"
#include "model/vocabulary.h"

enum { BLOCK = 65536 };

/* Widens a mapped tensor into the weights, block by block. */
static ewc_status read_tensor(ewc_model *model, const ewci_tensor_entry *entry, int64_t offset, float *block)
{
    const ewci_ops *ops = model->ctx->ops;
    size_t element = ewci_dtype_bytes(entry->dtype);
    for (int64_t first = 0; first < entry->count; first += BLOCK) {
        int64_t n = entry->count - first < BLOCK ? entry->count - first : BLOCK;
        ewci_to_f32(block, (const char *)entry->data + (size_t)first * element, entry->dtype, n);
        EWCI_TRY(ops->copy_in(model->ctx->device, model->weights + offset + first, block, (size_t)n * sizeof *block));
    }
    return EWC_OK;
}

/* The rows of the listed tokens. */
static ewc_status read_listed(ewc_model *model, const ewci_tensor_entry *table, int64_t offset, float *block)
{
    const ewci_vocabulary *v = model->vocabulary;
    ewci_tensor_entry row = *table;
    row.count = model->config.hidden_size;
    row.bytes = table->bytes / (size_t)v->whole;
    for (int64_t i = 0; i < v->count; i++) {
        row.data = (const char *)table->data + (size_t)v->ids[i] * row.bytes;
        EWCI_TRY(read_tensor(model, &row, offset + i * row.count, block));
    }
    return EWC_OK;
}

static bool begins_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* What a gemma3 directory has beside the text model. */
static bool is_vision(const char *name)
{
    if (begins_with(name, "model.")) name += strlen("model.");
    return begins_with(name, "vision_tower.") || begins_with(name, "multi_modal_projector.");
}

/* Part of the model, under any of the names that ewci_hf_find knows? */
static bool is_known(const ewc_model *model, const char *name)
{
    char plain[256];
    if (model->config.family == EWC_GEMMA3 && begins_with(name, EWCI_HF_TEXT_OLDER))
        name += strlen(EWCI_HF_TEXT_OLDER);
    else if (model->config.family == EWC_GEMMA3 && begins_with(name, EWCI_HF_TEXT_NEWER)) {
        snprintf(plain, sizeof plain, "model.%s", name + strlen(EWCI_HF_TEXT_NEWER));
        name = plain;
    }
    /* The head is tied to the embedding; some files store it all the same. */
    return strcmp(name, "lm_head.weight") == 0 || ewci_layout_find(&model->layout, name) >= 0;
}

static ewc_status check_names(const ewc_model *model, const ewci_hf *hf)
{
    int64_t vision = 0;
    for (int64_t i = 0; i < ewci_hf_count(hf); i++) {
        const char *name = ewci_hf_entry(hf, i)->name;
        if (is_known(model, name)) continue;
        if (model->config.family != EWC_GEMMA3 || !is_vision(name))
            return ewci_fail(model->ctx, EWC_ERROR_UNSUPPORTED, "%s: the tensor %.200s is not part of a Gemma %d model",
                             ewci_hf_directory(hf), name, (int)model->config.family);
        vision++;
    }
    if (vision > 0)
        ewci_log(model->ctx, EWC_LOG_WARNING,
                 "%s: %lld tensors of the vision part are left out, and will be of what is saved",
                 ewci_hf_directory(hf), (long long)vision);
    return EWC_OK;
}

static ewc_status read_tensors(ewc_model *model, const ewci_hf *hf)
{
    void *memory;
    EWCI_TRY(check_names(model, hf));
    EWCI_TRY(ewci_alloc(model->ctx, BLOCK * sizeof(float), "a block to read", &memory));
    ewc_status status = EWC_OK;
    for (int64_t t = 0; t < model->layout.tensor_count && status == EWC_OK; t++) {
        const ewc_tensor_info *info = &model->layout.tensors[t];
        const ewci_tensor_entry *entry;
        bool listed = model->vocabulary != NULL && info->offset == model->layout.embedding;
        int64_t rows = listed ? model->vocabulary->whole : info->rows;
        status = ewci_hf_tensor(hf, info->name, rows, info->columns, &entry);
        if (status == EWC_OK) status = (listed ? read_listed : read_tensor)(model, entry, info->offset, memory);
        if (status == EWC_OK && listed) model->vocabulary->others = ewci_vocabulary_others(model->vocabulary, entry);
    }
    ewci_free(model->ctx, memory);
    return status;
}

/* With ids NULL: all tokens. */
static ewc_status load(ewc_context *ctx, const char *directory, int64_t count, const int32_t *ids, ewc_model **out)
{
    ewci_hf *hf;
    ewc_model_config config;
    ewci_vocabulary *vocabulary = NULL;
    ewc_model *model = NULL;
    ewc_status status;
    EWCI_TRY(ewci_hf_open(ctx, directory, &hf));
    EWCI_TRY_GOTO(status, done, ewci_config_parse(ctx, ewci_hf_config_path(hf), ewci_hf_config(hf), &config));
    if (ids != NULL) EWCI_TRY_GOTO(status, done, ewci_vocabulary_make(ctx, config.vocab_size, count, ids, &vocabulary));
    if (vocabulary != NULL) config.vocab_size = vocabulary->count;
    EWCI_TRY_GOTO(status, done, ewci_model_new(ctx, &config, &model));
    model->vocabulary = vocabulary;
    vocabulary = NULL;
    EWCI_TRY_GOTO(status, done, read_tensors(model, hf));
    EWCI_TRY_GOTO(status, done, ewci_strdup(ctx, ewci_hf_config(hf), &model->config_json));
    EWCI_TRY_GOTO(status, done, ewci_strdup(ctx, directory, &model->source_directory));
    if (model->vocabulary != NULL) {
        model->vocabulary->source = hf; /* save takes the other rows from it */
        hf = NULL;
    }
    *out = model;
done:
    ewci_hf_close(hf);
    ewci_vocabulary_free(ctx, vocabulary);
    if (status != EWC_OK) ewci_model_free(model);
    return status;
}

ewc_status ewci_model_load(ewc_context *ctx, const char *directory, ewc_model **out)
{
    return load(ctx, directory, 0, NULL, out);
}

ewc_status ewci_model_load_listed(ewc_context *ctx, const char *directory, int64_t count, const int32_t *ids,
                                  ewc_model **out)
{
    return load(ctx, directory, count, ids, out);
}

static ewc_status weight_values(void *user, int64_t tensor, int64_t first, int64_t count, float *out)
{
    ewc_model *model = user;
    const float *source = model->weights + model->layout.tensors[tensor].offset + first;
    return model->ctx->ops->copy_out(model->ctx->device, out, source, (size_t)count * sizeof *out);
}

ewc_status ewci_model_outputs(ewc_model *model, ewc_dtype dtype, ewci_values_callback read, void *user,
                              ewci_tensor_output **out)
{
    void *memory;
    const ewci_layout *layout = &model->layout;
    EWCI_TRY(
        ewci_alloc_array(model->ctx, layout->tensor_count, sizeof(ewci_tensor_output), "a list of tensors", &memory));
    ewci_tensor_output *outputs = memory;
    for (int64_t t = 0; t < layout->tensor_count; t++) {
        const ewc_tensor_info *info = &layout->tensors[t];
        outputs[t] = (ewci_tensor_output){.name = info->name,
                                          .dtype = dtype,
                                          .rank = info->is_vector ? 1 : 2,
                                          .shape = {info->rows, info->columns},
                                          .read = read,
                                          .user = user,
                                          .tensor = t};
    }
    *out = outputs;
    return EWC_OK;
}

/* The table of a model of listed tokens made whole: their rows from the weights, the others from the checkpoint. */
typedef struct whole_table {
    ewc_model *model;
    const ewci_tensor_entry *source;
} whole_table;

static ewc_status whole_values(void *user, int64_t tensor, int64_t first, int64_t count, float *out)
{
    const whole_table *t = user;
    int64_t columns = t->model->config.hidden_size, part;
    size_t element = ewci_dtype_bytes(t->source->dtype);
    for (; count > 0; first += part, count -= part, out += part) {
        int64_t column = first % columns, row = t->model->vocabulary->rows[first / columns];
        part = columns - column < count ? columns - column : count;
        if (row >= 0)
            EWCI_TRY(weight_values(t->model, tensor, row * columns + column, part, out));
        else
            ewci_to_f32(out, (const char *)t->source->data + (size_t)first * element, t->source->dtype, part);
    }
    return EWC_OK;
}

/* Sees to it that the table among the outputs is written whole. */
static ewc_status make_whole(ewc_model *model, ewci_tensor_output *outputs, whole_table *table)
{
    const ewci_vocabulary *v = model->vocabulary;
    int64_t t = ewci_layout_find(&model->layout, EWCI_EMBEDDING_NAME);
    *table = (whole_table){.model = model};
    EWCI_TRY(ewci_hf_tensor(v->source, outputs[t].name, v->whole, model->config.hidden_size, &table->source));
    if (ewci_vocabulary_others(v, table->source) != v->others)
        return ewci_fail(model->ctx, EWC_ERROR_MISMATCH,
                         "%s: %s: the rows of tokens that are not listed are no longer what they were when the model "
                         "was loaded, and cannot be written: put the file back as it was and save again",
                         ewci_hf_directory(v->source), outputs[t].name);
    outputs[t].shape[0] = v->whole;
    outputs[t].read = whole_values;
    outputs[t].user = table;
    return EWC_OK;
}

ewc_status ewci_model_save(ewc_model *model, const char *directory, ewc_dtype dtype, bool overwrite)
{
    char *config = NULL;
    ewci_tensor_output *outputs = NULL;
    whole_table table;
    ewc_model_config whole = model->config;
    ewc_status status;
    whole.vocab_size = ewci_vocabulary_whole(model);
    EWCI_TRY_GOTO(status, done, ewci_config_format(model->ctx, &whole, model->config_json, dtype, &config));
    EWCI_TRY_GOTO(status, done, ewci_model_outputs(model, dtype, weight_values, model, &outputs));
    if (model->vocabulary != NULL) EWCI_TRY_GOTO(status, done, make_whole(model, outputs, &table));
    ewci_hf_output output = {.config = config,
                             .tokenizer_source = model->source_directory,
                             .count = model->layout.tensor_count,
                             .tensors = outputs,
                             .overwrite = overwrite};
    EWCI_TRY_GOTO(status, done, ewci_hf_write(model->ctx, directory, &output));
done:
    ewci_free(model->ctx, outputs);
    ewci_free(model->ctx, config);
    return status;
}
