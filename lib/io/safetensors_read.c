/* Reading safetensors: see safetensors.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/convert.h"
#include "core/memory.h"
#include "core/status.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/utf8.h"

#define HEADER_LIMIT ((uint64_t)100 << 20)

struct ewci_safetensors {
    ewc_context *ctx;
    char *path;
    ewci_map map;
    cJSON *header;
    const cJSON *metadata;
    ewci_tensor_entry *entries; /* sorted by place */
    ewci_tensor_entry **by_name;
    int64_t count;
};

typedef struct dtype_size {
    const char *name;
    size_t bytes;
} dtype_size;

static const dtype_size dtypes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                                    {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                                    {"U32", 4},  {"F32", 4}, {"I64", 8}, {"U64", 8},     {"F64", 8}};

static ewc_status bad(const ewci_safetensors *f, const char *tensor, const char *what)
{
    return ewci_fail(f->ctx, EWC_ERROR_FORMAT, "%s: tensor %.200s: %s", f->path, tensor, what);
}

static ewc_status read_dtype(const ewci_safetensors *f, const cJSON *object, ewci_tensor_entry *e, size_t *size)
{
    const cJSON *dtype = ewci_json_member(object, "dtype");
    for (size_t i = 0; cJSON_IsString(dtype) && i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(dtype->valuestring, dtypes[i].name) != 0) continue;
        *size = dtypes[i].bytes;
        snprintf(e->dtype_name, sizeof e->dtype_name, "%s", dtypes[i].name);
        e->usable = true;
        if (strcmp(e->dtype_name, "F32") == 0) e->dtype = EWC_F32;
        else if (strcmp(e->dtype_name, "BF16") == 0) e->dtype = EWC_BF16;
        else if (strcmp(e->dtype_name, "F16") == 0) e->dtype = EWC_F16;
        else e->usable = false;
        return EWC_OK;
    }
    return bad(f, e->name, "dtype: expected one of the format's types, such as F32 or BF16");
}

static ewc_status read_shape(const ewci_safetensors *f, const cJSON *object, size_t size, ewci_tensor_entry *e)
{
    const cJSON *shape = ewci_json_member(object, "shape"), *item;
    size_t count = 1;
    if (!cJSON_IsArray(shape)) return bad(f, e->name, "shape: expected a list of whole numbers");
    cJSON_ArrayForEach(item, shape)
    {
        int64_t extent;
        if (e->rank == EWCI_SAFETENSORS_RANK) return bad(f, e->name, "shape: more than 8 dimensions");
        if (!ewci_json_is_whole(item, &extent) || extent < 0)
            return bad(f, e->name, "shape: expected whole numbers of 0 or more");
        e->shape[e->rank++] = extent;
        if (!ewci_mul_size(count, (size_t)extent, &count)) return bad(f, e->name, "shape: the product overflows");
    }
    if (!ewci_mul_size(count, size, &e->bytes) || count > INT64_MAX)
        return bad(f, e->name, "shape: the size in bytes overflows");
    e->count = (int64_t)count;
    return EWC_OK;
}

static ewc_status read_offsets(const ewci_safetensors *f, const cJSON *object, const unsigned char *data,
                               size_t data_bytes, ewci_tensor_entry *e)
{
    const cJSON *offsets = ewci_json_member(object, "data_offsets");
    int64_t begin, end;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !ewci_json_is_whole(cJSON_GetArrayItem(offsets, 0), &begin) ||
        !ewci_json_is_whole(cJSON_GetArrayItem(offsets, 1), &end))
        return bad(f, e->name, "data_offsets: expected two whole numbers");
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
        return bad(f, e->name, "data_offsets: they lie outside the file (is it truncated?)");
    if ((size_t)(end - begin) != e->bytes)
        return bad(f, e->name, "data_offsets: the length is not that of shape and dtype");
    e->data = data + begin;
    return EWC_OK;
}

static int by_place(const void *a, const void *b)
{
    const ewci_tensor_entry *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty ones first */
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(ewci_tensor_entry *const *)a)->name, (*(ewci_tensor_entry *const *)b)->name);
}

/* The tensors must fill the data part: no hole, no overlap, nothing behind the last. */
static ewc_status check_places(ewci_safetensors *f, const unsigned char *data, size_t data_bytes)
{
    const unsigned char *next = data;
    qsort(f->entries, (size_t)f->count, sizeof *f->entries, by_place);
    for (int64_t i = 0; i < f->count; i++) {
        if (f->entries[i].data != next)
            return bad(f, f->entries[i].name,
                       f->entries[i].data < next ? "data_offsets: overlaps the tensor before it"
                                                 : "data_offsets: leaves a hole before it");
        next += f->entries[i].bytes;
    }
    if ((size_t)(next - data) != data_bytes)
        return ewci_fail(f->ctx, EWC_ERROR_FORMAT, "%s: expected the file to end after the last tensor, found %zu more bytes",
                         f->path, data_bytes - (size_t)(next - data));
    for (int64_t i = 0; i < f->count; i++) f->by_name[i] = &f->entries[i];
    qsort(f->by_name, (size_t)f->count, sizeof *f->by_name, by_name);
    for (int64_t i = 1; i < f->count; i++)
        if (strcmp(f->by_name[i]->name, f->by_name[i - 1]->name) == 0)
            return bad(f, f->by_name[i]->name, "the name occurs twice");
    return EWC_OK;
}

static ewc_status read_metadata(ewci_safetensors *f, const cJSON *object)
{
    const cJSON *item;
    if (f->metadata != NULL || !cJSON_IsObject(object))
        return ewci_fail(f->ctx, EWC_ERROR_FORMAT, "%s: __metadata__: expected one object of strings", f->path);
    cJSON_ArrayForEach(item, object)
    {
        if (!cJSON_IsString(item))
            return ewci_json_fail(f->ctx, f->path, "__metadata__", "strings only", item);
    }
    f->metadata = object;
    return EWC_OK;
}

static ewc_status read_entries(ewci_safetensors *f, const unsigned char *data, size_t data_bytes)
{
    const cJSON *item;
    void *memory;
    int64_t most = cJSON_GetArraySize(f->header);
    EWCI_TRY(ewci_alloc_array(f->ctx, most, sizeof *f->entries, "the tensor list", &memory));
    f->entries = memory;
    EWCI_TRY(ewci_alloc_array(f->ctx, most, sizeof *f->by_name, "the tensor list", &memory));
    f->by_name = memory;
    cJSON_ArrayForEach(item, f->header)
    {
        if (strcmp(item->string, "__metadata__") == 0) {
            EWCI_TRY(read_metadata(f, item));
            continue;
        }
        ewci_tensor_entry *e = &f->entries[f->count];
        size_t size = 0;
        e->name = item->string;
        if (!cJSON_IsObject(item)) return bad(f, e->name, "expected an object with dtype, shape and data_offsets");
        EWCI_TRY(read_dtype(f, item, e, &size));
        EWCI_TRY(read_shape(f, item, size, e));
        EWCI_TRY(read_offsets(f, item, data, data_bytes, e));
        f->count++;
    }
    return check_places(f, data, data_bytes);
}

static ewc_status read_header(ewci_safetensors *f)
{
    uint64_t length = 0;
    if (f->map.size < 8)
        return ewci_fail(f->ctx, EWC_ERROR_FORMAT, "%s: expected a safetensors file, found only %zu bytes", f->path,
                         f->map.size);
    for (int i = 7; i >= 0; i--) length = length << 8 | f->map.data[i];
    if (length > HEADER_LIMIT || length > f->map.size - 8)
        return ewci_fail(f->ctx, EWC_ERROR_FORMAT,
                         "%s: header length: expected at most 100 MiB and the file's %zu bytes, found %llu (truncated, or "
                         "not safetensors?)",
                         f->path, f->map.size, (unsigned long long)length);
    const char *text = (const char *)f->map.data + 8;
    size_t where;
    if (length == 0 || text[0] != '{')
        return ewci_fail(f->ctx, EWC_ERROR_FORMAT, "%s: header: expected a JSON object", f->path);
    if (!ewci_utf8_valid(text, (size_t)length, &where))
        return ewci_fail(f->ctx, EWC_ERROR_FORMAT, "%s: header: invalid UTF-8 at byte %zu", f->path, where);
    EWCI_TRY(ewci_json_parse(f->ctx, f->path, text, (size_t)length, &f->header));
    return read_entries(f, f->map.data + 8 + length, f->map.size - 8 - (size_t)length);
}

ewc_status ewci_safetensors_open(ewc_context *ctx, const char *path, ewci_safetensors **out)
{
    void *memory;
    ewc_status status;
    EWCI_TRY(ewci_alloc_array(ctx, 1, sizeof(ewci_safetensors), "a file", &memory));
    ewci_safetensors *f = memory;
    f->ctx = ctx;
    EWCI_TRY_GOTO(status, fail, ewci_strdup(ctx, path, &f->path));
    EWCI_TRY_GOTO(status, fail, ewci_map_open(ctx, path, &f->map));
    EWCI_TRY_GOTO(status, fail, read_header(f));
    *out = f;
    return EWC_OK;
fail:
    ewci_safetensors_close(f);
    return status;
}

void ewci_safetensors_close(ewci_safetensors *f)
{
    if (f == NULL) return;
    cJSON_Delete(f->header);
    ewci_map_close(&f->map);
    ewci_free(f->ctx, f->entries);
    ewci_free(f->ctx, f->by_name);
    ewci_free(f->ctx, f->path);
    ewci_free(f->ctx, f);
}

const char *ewci_safetensors_path(const ewci_safetensors *file)
{
    return file->path;
}

int64_t ewci_safetensors_count(const ewci_safetensors *file)
{
    return file->count;
}

const ewci_tensor_entry *ewci_safetensors_entry(const ewci_safetensors *file, int64_t index)
{
    return &file->entries[index];
}

const ewci_tensor_entry *ewci_safetensors_find(const ewci_safetensors *file, const char *name)
{
    ewci_tensor_entry key = {.name = name}, *pointer = &key;
    if (file->count == 0) return NULL;
    ewci_tensor_entry **found = bsearch(&pointer, file->by_name, (size_t)file->count, sizeof *file->by_name, by_name);
    return found == NULL ? NULL : *found;
}

const char *ewci_safetensors_metadata(const ewci_safetensors *file, const char *key)
{
    const cJSON *value = file->metadata == NULL ? NULL : cJSON_GetObjectItemCaseSensitive(file->metadata, key);
    return cJSON_IsString(value) ? value->valuestring : NULL;
}
