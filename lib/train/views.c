/* See views.h. */
#include "train/views.h"

#include <string.h>

#include "core/convert.h"
#include "core/memory.h"
#include "core/status.h"

enum { BLOCK = 65536 };

static ewc_status begin(ewc_model *model, ewci_views *views)
{
    void *memory;
    views->ctx = model->ctx;
    views->layout = &model->layout;
    EWCI_TRY(
        ewci_alloc_array(model->ctx, model->layout.tensor_count, sizeof(ewc_buffer), "a list of tensors", &memory));
    views->tensors = memory;
    return EWC_OK;
}

static ewc_status make_flat(ewci_views *views, const char *what)
{
    void *memory;
    const ewci_layout *layout = views->layout;
    EWCI_TRY(views->ctx->ops->alloc(views->ctx->device, (size_t)layout->parameters * sizeof(float), what, &memory));
    views->flat = memory;
    for (int64_t t = 0; t < layout->tensor_count; t++)
        views->tensors[t] = (ewc_buffer){views->flat + layout->tensors[t].offset, EWC_F32};
    return EWC_OK;
}

ewc_status ewci_views_flat(ewc_model *model, const char *what, ewci_views *out)
{
    ewci_views views = {0};
    ewc_status status = begin(model, &views);
    if (status == EWC_OK) status = make_flat(&views, what);
    if (status == EWC_OK)
        *out = views;
    else
        ewci_views_destroy(&views);
    return status;
}

static ewc_status copy_all(ewci_views *views, const ewci_tensor_entry *const *entries, const char *what)
{
    const ewci_ops *ops = views->ctx->ops;
    void *memory;
    EWCI_TRY(make_flat(views, what));
    EWCI_TRY(ewci_alloc(views->ctx, BLOCK * sizeof(float), "a block to read", &memory));
    float *block = memory;
    ewc_status status = EWC_OK;
    for (int64_t t = 0; t < views->layout->tensor_count; t++) {
        const ewci_tensor_entry *e = entries[t];
        for (int64_t first = 0; first < e->count && status == EWC_OK; first += BLOCK) {
            int64_t n = e->count - first < BLOCK ? e->count - first : BLOCK;
            ewci_to_f32(block, (const char *)e->data + (size_t)first * ewci_dtype_bytes(e->dtype), e->dtype, n);
            status = ops->copy_in(views->ctx->device, views->flat + views->layout->tensors[t].offset + first, block,
                                  (size_t)n * sizeof *block);
        }
    }
    ewci_free(views->ctx, block);
    return status;
}

ewc_status ewci_views_map(ewc_model *model, const ewci_tensor_entry *const *entries, const char *what, ewci_views *out)
{
    ewci_views views = {0};
    bool aligned = true;
    ewc_status status = begin(model, &views);
    for (int64_t t = 0; t < model->layout.tensor_count && status == EWC_OK; t++) {
        views.tensors[t] = (ewc_buffer){(void *)(uintptr_t)entries[t]->data, entries[t]->dtype};
        aligned = aligned && entries[t]->aligned;
    }
    if (status == EWC_OK && !aligned) status = copy_all(&views, entries, what);
    if (status == EWC_OK)
        *out = views;
    else
        ewci_views_destroy(&views);
    return status;
}

void ewci_views_destroy(ewci_views *views)
{
    if (views->ctx == NULL) return;
    views->ctx->ops->free(views->ctx->device, views->flat);
    ewci_free(views->ctx, views->tensors);
    memset(views, 0, sizeof *views);
}

ewc_status ewci_views_read(void *user, int64_t tensor, int64_t first, int64_t count, float *out)
{
    const ewci_views *views = user;
    ewc_buffer source = views->tensors[tensor];
    const char *at = (const char *)source.data + (size_t)first * ewci_dtype_bytes(source.dtype);
    if (views->flat != NULL) return views->ctx->ops->copy_out(views->ctx->device, out, at, (size_t)count * sizeof *out);
    ewci_to_f32(out, at, source.dtype, count);
    return EWC_OK;
}
