/* Anchors: see anchor.h and libewc.h. */
#include "train/anchor.h"

#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "train/vocabulary_file.h"

#define FORMAT "libewc-anchor"

ewc_buffer ewci_anchor_view(const ewc_anchor *anchor, int64_t tensor)
{
    return anchor->views.tensors[tensor];
}

static ewc_status new_anchor(ewc_model *model, ewc_anchor **out)
{
    void *memory;
    EWCI_TRY(ewci_alloc_array(model->ctx, 1, sizeof(ewc_anchor), "an anchor", &memory));
    *out = memory;
    (*out)->model = model;
    return EWC_OK;
}

ewc_status ewci_anchor_seal(ewc_anchor *anchor)
{
    return ewci_fingerprint(anchor->model->ctx, &anchor->model->layout, ewci_views_read, &anchor->views,
                            &anchor->fingerprint);
}

ewc_status ewci_anchor_flat(ewc_model *model, ewc_anchor **out)
{
    ewc_anchor *anchor;
    EWCI_TRY(new_anchor(model, &anchor));
    ewc_status status = ewci_views_flat(model, "the anchor", &anchor->views);
    if (status == EWC_OK)
        *out = anchor;
    else
        ewc_anchor_destroy(anchor);
    return status;
}

ewc_status ewc_anchor_from_model(ewc_model *model, ewc_anchor **out)
{
    ewc_anchor *anchor;
    if (model == NULL || out == NULL)
        return ewci_fail(model == NULL ? NULL : model->ctx, EWC_ERROR_ARGUMENT, "ewc_anchor_from_model: %s is NULL",
                         model == NULL ? "model" : "anchor");
    EWCI_TRY(ewci_anchor_flat(model, &anchor));
    ewc_status status = model->ctx->ops->copy(model->ctx->device, anchor->views.flat, model->weights,
                                              (size_t)model->layout.parameters * sizeof(float));
    if (status == EWC_OK) status = ewci_anchor_seal(anchor);
    if (status == EWC_OK)
        *out = anchor;
    else
        ewc_anchor_destroy(anchor);
    return status;
}

/* The layout's tensors in a directory or a file, shapes checked. */
static ewc_status find_entries(const ewc_anchor *anchor, const ewci_tensor_entry **entries)
{
    const ewci_layout *layout = &anchor->model->layout;
    for (int64_t t = 0; t < layout->tensor_count; t++) {
        const ewc_tensor_info *info = &layout->tensors[t];
        if (anchor->hf != NULL)
            EWCI_TRY(ewci_hf_tensor(anchor->hf, info->name, info->rows, info->columns, &entries[t]));
        else
            EWCI_TRY(ewci_safetensors_tensor(anchor->file, info->name, info->rows, info->columns, &entries[t]));
    }
    return EWC_OK;
}

static ewc_status map_anchor(ewc_anchor *anchor)
{
    void *memory;
    ewc_context *ctx = anchor->model->ctx;
    EWCI_TRY(ewci_alloc_array(ctx, anchor->model->layout.tensor_count, sizeof(void *), "a list of tensors", &memory));
    const ewci_tensor_entry **entries = memory;
    ewc_status status = find_entries(anchor, entries);
    if (status == EWC_OK) status = ewci_views_map(anchor->model, entries, "the anchor", &anchor->views);
    ewci_free(ctx, memory);
    if (status == EWC_OK) status = ewci_anchor_seal(anchor);
    return status;
}

/* Of a model of listed tokens: their rows of the directory's table. */
static ewc_status keep_listed(ewc_anchor *anchor)
{
    const ewc_model *model = anchor->model;
    const ewci_vocabulary *v = model->vocabulary;
    if (v == NULL) return EWC_OK;
    return ewci_hf_keep_rows(anchor->hf, EWCI_EMBEDDING_NAME, v->whole, model->config.hidden_size, v->count, v->ids);
}

ewc_status ewc_anchor_open(ewc_model *model, const char *directory, ewc_anchor **out)
{
    ewc_anchor *anchor;
    if (model == NULL || directory == NULL || out == NULL)
        return ewci_fail(model == NULL ? NULL : model->ctx, EWC_ERROR_ARGUMENT, "ewc_anchor_open: an argument is NULL");
    EWCI_TRY(new_anchor(model, &anchor));
    ewc_status status = ewci_hf_open(model->ctx, directory, &anchor->hf);
    if (status == EWC_OK) status = keep_listed(anchor);
    if (status == EWC_OK) status = map_anchor(anchor);
    if (status == EWC_OK)
        *out = anchor;
    else
        ewc_anchor_destroy(anchor);
    return status;
}

/* A Fisher's file has the same tensors: only its word tells them apart. */
static ewc_status check_format(const ewc_anchor *anchor)
{
    const char *found = ewci_safetensors_metadata(anchor->file, "format");
    if (found != NULL && strcmp(found, FORMAT) == 0) return EWC_OK;
    return ewci_fail(anchor->model->ctx, EWC_ERROR_FORMAT,
                     "%s: __metadata__: format: expected " FORMAT ", found %.100s; a model's directory is opened with "
                     "ewc_anchor_open",
                     ewci_safetensors_path(anchor->file), found == NULL ? "nothing" : found);
}

ewc_status ewc_anchor_load(ewc_model *model, const char *path, ewc_anchor **out)
{
    ewc_anchor *anchor;
    if (model == NULL || path == NULL || out == NULL)
        return ewci_fail(model == NULL ? NULL : model->ctx, EWC_ERROR_ARGUMENT, "ewc_anchor_load: an argument is NULL");
    EWCI_TRY(new_anchor(model, &anchor));
    ewc_status status = ewci_safetensors_open(model->ctx, path, &anchor->file);
    if (status == EWC_OK) status = check_format(anchor);
    if (status == EWC_OK) status = ewci_vocabulary_check_file(model, anchor->file);
    if (status == EWC_OK) status = map_anchor(anchor);
    if (status == EWC_OK)
        *out = anchor;
    else
        ewc_anchor_destroy(anchor);
    return status;
}

ewc_status ewc_anchor_save(ewc_anchor *anchor, const char *path, int overwrite)
{
    ewci_pair pairs[2] = {{"format", FORMAT}};
    ewci_vocabulary_text vocabulary;
    ewci_tensor_output *outputs;
    if (anchor == NULL || path == NULL)
        return ewci_fail(anchor == NULL ? NULL : anchor->model->ctx, EWC_ERROR_ARGUMENT, "ewc_anchor_save: %s is NULL",
                         anchor == NULL ? "anchor" : "path");
    EWCI_TRY(ewci_model_outputs(anchor->model, EWC_F32, ewci_views_read, &anchor->views, &outputs));
    int64_t count = ewci_vocabulary_pair(anchor->model, &vocabulary, 1, pairs);
    ewc_status status = ewci_safetensors_write(anchor->model->ctx, path, anchor->model->layout.tensor_count, outputs,
                                               count, pairs, overwrite != 0);
    ewci_free(anchor->model->ctx, outputs);
    return status;
}

ewc_status ewc_anchor_fingerprint(const ewc_anchor *anchor, uint64_t *fingerprint)
{
    if (anchor == NULL || fingerprint == NULL)
        return ewci_fail(anchor == NULL ? NULL : anchor->model->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_anchor_fingerprint: an argument is NULL");
    *fingerprint = anchor->fingerprint;
    return EWC_OK;
}

void ewc_anchor_destroy(ewc_anchor *anchor)
{
    if (anchor == NULL) return;
    ewci_views_destroy(&anchor->views);
    ewci_hf_close(anchor->hf);
    ewci_safetensors_close(anchor->file);
    ewci_free(anchor->model->ctx, anchor);
}
