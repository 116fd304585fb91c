/* A set of values in the model's tensors' shapes: in one flat f32 buffer, or each in the dtype of the file that it came from, mapped
 * where it lies, or copied where operations cannot read it there. */
#ifndef EWCI_TRAIN_VIEWS_H
#define EWCI_TRAIN_VIEWS_H

#include "model/model.h"

typedef struct ewci_views {
    ewc_context *ctx;
    const ewci_layout *layout; /* the model's, which outlives this */
    ewc_buffer *tensors;       /* [tensor_count] */
    float *flat;               /* device, [parameters], owned; NULL when they are a file's */
    char *copies; /* device, owned: the file's tensors that could not be mapped, or all in bf16, end to end */
    size_t copies_bytes;
} ewci_views;

/* One flat buffer, contents undefined. */
ewc_status ewci_views_flat(ewc_model *model, const char *what, ewci_views *views);

/* Points at the entries ([tensor_count], in the layout's order) where they lie. One that is not aligned to its element is copied, in its own
 * dtype; all are where the device does not read host memory. The file must stay open. */
ewc_status ewci_views_map(ewc_model *model, const ewci_tensor_entry *const *entries, const char *what,
                          ewci_views *views);

/* The same values in memory of their own: f32 in one flat buffer, or rounded to nearest bf16, end to end in the layout's order. */
ewc_status ewci_views_convert(const ewci_views *views, ewc_dtype dtype, const char *what, ewci_views *out);

void ewci_views_destroy(ewci_views *views);

/* Elements of a buffer on the device as f32. */
ewc_status ewci_device_read(ewc_context *ctx, ewc_buffer buffer, int64_t first, int64_t count, float *out);

/* Values as f32: an ewci_values_callback, `user` being the ewci_views. */
ewc_status ewci_views_read(void *user, int64_t tensor, int64_t first, int64_t count, float *out);

#endif
