/* See views.h. */
#include "train/views.h"

#include <string.h>

#include "core/convert.h"
#include "core/memory.h"
#include "core/status.h"

enum { BLOCK = 4096 };

static ewc_status begin(ewc_context *ctx, const ewci_layout *layout, ewci_views *views)
{
    void *memory;
    views->ctx = ctx;
    views->layout = layout;
    EWCI_TRY(ewci_alloc_array(ctx, layout->tensor_count, sizeof(ewc_buffer), "a list of tensors", &memory));
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
    ewc_status status = begin(model->ctx, &model->layout, &views);
    if (status == EWC_OK) status = make_flat(&views, what);
    if (status == EWC_OK)
        *out = views;
    else
        ewci_views_destroy(&views);
    return status;
}

static bool is_mapped(const ewci_views *views, const ewci_tensor_entry *entry)
{
    return entry->aligned && views->ctx->ops->device_reads_host;
}

/* Where a tensor's copy begins when `bytes` lie before it: at the next multiple of its element. */
static size_t copy_start(size_t bytes, ewc_dtype dtype)
{
    size_t element = dtype == EWC_F32 ? sizeof(float) : sizeof(uint16_t);
    return (bytes + element - 1) / element * element;
}

/* Copies lie end to end, in the layout's order, so that neighbours of one dtype continue each other as they do in a file. */
static ewc_status copy_unmapped(ewci_views *views, const ewci_tensor_entry *const *entries, const char *what)
{
    const ewci_ops *ops = views->ctx->ops;
    ewci_device *device = views->ctx->device;
    size_t end = 0;
    void *memory;
    for (int64_t t = 0; t < views->layout->tensor_count; t++)
        if (!is_mapped(views, entries[t])) end = copy_start(end, entries[t]->dtype) + entries[t]->bytes;
    if (end == 0) return EWC_OK;
    EWCI_TRY(ops->alloc(device, end, what, &memory));
    views->copies = memory;
    views->copies_bytes = end;
    end = 0;
    for (int64_t t = 0; t < views->layout->tensor_count; t++) {
        if (is_mapped(views, entries[t])) continue;
        end = copy_start(end, entries[t]->dtype);
        views->tensors[t].data = views->copies + end;
        EWCI_TRY(ops->copy_in(device, views->copies + end, entries[t]->data, entries[t]->bytes));
        end += entries[t]->bytes;
    }
    return EWC_OK;
}

ewc_status ewci_views_map(ewc_model *model, const ewci_tensor_entry *const *entries, const char *what, ewci_views *out)
{
    ewci_views views = {0};
    ewc_status status = begin(model->ctx, &model->layout, &views);
    for (int64_t t = 0; t < model->layout.tensor_count && status == EWC_OK; t++)
        views.tensors[t] = (ewc_buffer){(void *)(uintptr_t)entries[t]->data, entries[t]->dtype};
    if (status == EWC_OK) status = copy_unmapped(&views, entries, what);
    if (status == EWC_OK)
        *out = views;
    else
        ewci_views_destroy(&views);
    return status;
}

static ewc_status make_bf16(ewci_views *views, const char *what)
{
    void *memory;
    const ewci_layout *layout = views->layout;
    size_t bytes = (size_t)layout->parameters * sizeof(uint16_t);
    EWCI_TRY(views->ctx->ops->alloc(views->ctx->device, bytes, what, &memory));
    views->copies = memory;
    views->copies_bytes = bytes;
    for (int64_t t = 0; t < layout->tensor_count; t++)
        views->tensors[t] =
            (ewc_buffer){views->copies + (size_t)layout->tensors[t].offset * sizeof(uint16_t), EWC_BF16};
    return EWC_OK;
}

ewc_status ewci_views_convert(const ewci_views *from, ewc_dtype dtype, const char *what, ewci_views *out)
{
    ewci_views views = {0};
    const ewci_layout *layout = from->layout;
    ewc_status status = begin(from->ctx, layout, &views);
    if (status == EWC_OK) status = dtype == EWC_F32 ? make_flat(&views, what) : make_bf16(&views, what);
    for (int64_t t = 0; t < layout->tensor_count && status == EWC_OK; t++)
        status = from->ctx->ops->convert(from->ctx->device, views.tensors[t].data, dtype, from->tensors[t].data,
                                         from->tensors[t].dtype, layout->tensors[t].rows * layout->tensors[t].columns);
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
    views->ctx->ops->free(views->ctx->device, views->copies);
    ewci_free(views->ctx, views->tensors);
    memset(views, 0, sizeof *views);
}

static bool on_device(const ewci_views *views, const char *at)
{
    uintptr_t address = (uintptr_t)at, first = (uintptr_t)views->copies;
    return views->flat != NULL || (address >= first && address - first < views->copies_bytes);
}

/* Through a block of the buffer's own dtype. */
ewc_status ewci_device_read(ewc_context *ctx, ewc_buffer buffer, int64_t start, int64_t count, float *out)
{
    size_t bytes = ewci_dtype_bytes(buffer.dtype);
    const char *at = (const char *)buffer.data + (size_t)start * bytes;
    uint16_t block[BLOCK];
    if (buffer.dtype == EWC_F32) return ctx->ops->copy_out(ctx->device, out, at, (size_t)count * bytes);
    for (int64_t first = 0; first < count; first += BLOCK) {
        int64_t n = count - first < BLOCK ? count - first : BLOCK;
        EWCI_TRY(ctx->ops->copy_out(ctx->device, block, at + (size_t)first * bytes, (size_t)n * bytes));
        ewci_to_f32(out + first, block, buffer.dtype, n);
    }
    return EWC_OK;
}

ewc_status ewci_views_read(void *user, int64_t tensor, int64_t first, int64_t count, float *out)
{
    const ewci_views *views = user;
    ewc_buffer source = views->tensors[tensor];
    const char *at = (const char *)source.data + (size_t)first * ewci_dtype_bytes(source.dtype);
    if (on_device(views, at)) return ewci_device_read(views->ctx, source, first, count, out);
    ewci_to_f32(out, at, source.dtype, count);
    return EWC_OK;
}
