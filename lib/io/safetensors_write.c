/* Writing safetensors files: header, then each tensor converted block by block. */
#include <string.h>

#include "core/convert.h"
#include "core/memory.h"
#include "core/status.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"

enum { BLOCK = 1 << 16 }; /* elements converted at a time */

/* Offsets above are not written exactly by cJSON; a thousand terabytes. */
#define DATA_LIMIT ((int64_t)1000000000000000)

static const char *type_name(ewc_dtype dtype)
{
    return dtype == EWC_F32 ? "F32" : dtype == EWC_BF16 ? "BF16" : "F16";
}

static ewc_status count_elements(ewc_context *ctx, const char *path, const ewci_tensor_output *tensor, int64_t *count)
{
    int64_t product = 1, bytes;
    bool good = tensor->rank >= 1 && tensor->rank <= 2 && ewci_dtype_bytes(tensor->dtype) > 0;
    for (int i = 0; good && i < tensor->rank; i++)
        good = tensor->shape[i] >= 0 && !__builtin_mul_overflow(product, tensor->shape[i], &product);
    good = good && !__builtin_mul_overflow(product, (int64_t)ewci_dtype_bytes(tensor->dtype), &bytes) &&
           bytes <= DATA_LIMIT;
    if (!good)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: tensor %s: expected one or two extents and F32, BF16 or F16",
                         path, tensor->name);
    *count = product;
    return EWC_OK;
}

/* Adds "name": {"dtype", "shape", "data_offsets"}; false when there is no memory. */
static bool describe(cJSON *header, const ewci_tensor_output *tensor, int64_t begin, int64_t end)
{
    double extents[2] = {(double)tensor->shape[0], (double)tensor->shape[1]};
    double offsets[2] = {(double)begin, (double)end};
    cJSON *item = cJSON_AddObjectToObject(header, tensor->name);
    if (item == NULL || cJSON_AddStringToObject(item, "dtype", type_name(tensor->dtype)) == NULL) return false;
    cJSON *shape = cJSON_CreateDoubleArray(extents, tensor->rank), *range = cJSON_CreateDoubleArray(offsets, 2);
    bool added = shape != NULL && cJSON_AddItemToObject(item, "shape", shape);
    if (!added) cJSON_Delete(shape);
    bool added_range = range != NULL && cJSON_AddItemToObject(item, "data_offsets", range);
    if (!added_range) cJSON_Delete(range);
    return added && added_range;
}

static bool describe_metadata(cJSON *header, int64_t count, const ewci_pair *pairs)
{
    if (count == 0) return true;
    cJSON *metadata = cJSON_AddObjectToObject(header, "__metadata__");
    for (int64_t i = 0; i < count; i++)
        if (metadata == NULL || cJSON_AddStringToObject(metadata, pairs[i].key, pairs[i].value) == NULL) return false;
    return true;
}

static ewc_status make_header(ewc_context *ctx, const char *path, int64_t count, const ewci_tensor_output *tensors,
                              int64_t pair_count, const ewci_pair *pairs, cJSON *header)
{
    int64_t end = 0;
    bool made = describe_metadata(header, pair_count, pairs);
    for (int64_t i = 0; i < count && made; i++) {
        int64_t elements, begin = end;
        EWCI_TRY(count_elements(ctx, path, &tensors[i], &elements));
        end += elements * (int64_t)ewci_dtype_bytes(tensors[i].dtype);
        if (end > DATA_LIMIT) return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: more than 10^15 bytes of data", path);
        made = describe(header, &tensors[i], begin, end);
    }
    return made ? EWC_OK : ewci_fail(ctx, EWC_ERROR_MEMORY, "%s: no memory for its header", path);
}

/* Length and text, padded with spaces so that the data begins at a multiple of 8. */
static ewc_status write_header(ewci_writer *writer, const char *text)
{
    static const char spaces[8] = "       ";
    size_t bytes = strlen(text), padding = (8 - bytes % 8) % 8;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)(bytes + padding) >> (8 * i));
    EWCI_TRY(ewci_writer_write(writer, length, sizeof length));
    EWCI_TRY(ewci_writer_write(writer, text, bytes));
    return ewci_writer_write(writer, spaces, padding);
}

static ewc_status write_tensor(ewci_writer *writer, const ewci_tensor_output *tensor, float *values, void *converted)
{
    int64_t count, part;
    EWCI_TRY(count_elements(writer->ctx, writer->path, tensor, &count));
    for (int64_t first = 0; first < count; first += part) {
        const float *source = tensor->values == NULL ? values : tensor->values + first;
        part = count - first < BLOCK ? count - first : BLOCK;
        if (tensor->values == NULL) EWCI_TRY(tensor->read(tensor->user, tensor->tensor, first, part, values));
        const void *bytes = source;
        if (tensor->dtype != EWC_F32) {
            ewci_from_f32(converted, tensor->dtype, source, part);
            bytes = converted;
        }
        EWCI_TRY(ewci_writer_write(writer, bytes, (size_t)part * ewci_dtype_bytes(tensor->dtype)));
    }
    return EWC_OK;
}

static ewc_status write_all(ewci_writer *writer, const char *header, int64_t count, const ewci_tensor_output *tensors)
{
    void *values = NULL, *converted = NULL;
    ewc_status status;
    EWCI_TRY_GOTO(status, done, ewci_alloc(writer->ctx, BLOCK * sizeof(float), "a block of values", &values));
    EWCI_TRY_GOTO(status, done, ewci_alloc(writer->ctx, BLOCK * sizeof(uint16_t), "a block of values", &converted));
    EWCI_TRY_GOTO(status, done, write_header(writer, header));
    for (int64_t i = 0; i < count; i++)
        EWCI_TRY_GOTO(status, done, write_tensor(writer, &tensors[i], values, converted));
done:
    ewci_free(writer->ctx, values);
    ewci_free(writer->ctx, converted);
    return status;
}

ewc_status ewci_safetensors_write(ewc_context *ctx, const char *path, int64_t count, const ewci_tensor_output *tensors,
                                  int64_t pair_count, const ewci_pair *pairs, bool overwrite)
{
    ewci_writer writer;
    ewc_status status;
    char *text = NULL;
    cJSON *header = cJSON_CreateObject();
    if (header == NULL) return ewci_fail(ctx, EWC_ERROR_MEMORY, "%s: no memory for its header", path);
    EWCI_TRY_GOTO(status, done, make_header(ctx, path, count, tensors, pair_count, pairs, header));
    text = cJSON_PrintUnformatted(header);
    if (text == NULL) {
        status = ewci_fail(ctx, EWC_ERROR_MEMORY, "%s: no memory for its header", path);
        goto done;
    }
    EWCI_TRY_GOTO(status, done, ewci_writer_begin(ctx, path, overwrite, &writer));
    status = write_all(&writer, text, count, tensors);
    if (status == EWC_OK)
        status = ewci_writer_commit(&writer);
    else
        ewci_writer_abandon(&writer);
done:
    cJSON_free(text);
    cJSON_Delete(header);
    return status;
}
