/* Reading safetensors files: see safetensors.h. Writing is in safetensors_write.c. */
#include "io/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "io/file.h"
#include "io/json.h"

#define HEADER_LIMIT ((uint64_t)100000000) /* the format's own */
#define EXACT_LIMIT (((int64_t)1 << 53) - 1)

struct ewci_safetensors {
    ewc_context *ctx;
    char *path;
    ewci_map map;
    cJSON *header; /* owns names and metadata */
    const cJSON *metadata;
    const unsigned char *data;
    size_t data_bytes;
    int64_t count;
    ewci_tensor_entry *entries;        /* in the order of their data */
    const ewci_tensor_entry **by_name; /* sorted */
};

/* The format's element types; those with an ewc_dtype come first, in its order. */
enum { USABLE = EWC_F16 + 1 };
static const struct {
    const char *name;
    unsigned bits;
} types[] = {
    {"F32", 32},    {"BF16", 16},   {"F16", 16},    {"F64", 64},    {"I64", 64},    {"I32", 32}, {"I16", 16},
    {"I8", 8},      {"U64", 64},    {"U32", 32},    {"U16", 16},    {"U8", 8},      {"BOOL", 8}, {"C64", 64},
    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},
};

/* "FILE: tensor NAME: FIELD: expected ..., found ...". */
static ewc_status refuse(const ewci_safetensors *file, const char *name, const char *field, const char *expected,
                         const char *found)
{
    return ewci_fail(file->ctx, EWC_ERROR_FORMAT, "%s: tensor %.200s: %s: expected %s, found %s", file->path, name,
                     field, expected, found);
}

static ewc_status refuse_value(const ewci_safetensors *file, const char *name, const char *field, const char *expected,
                               const cJSON *value)
{
    char place[256];
    snprintf(place, sizeof place, "tensor %.180s: %s", name, field);
    return ewci_json_wrong(file->ctx, file->path, place, expected, value);
}

static ewc_status read_type(const ewci_safetensors *file, const cJSON *tensor, ewci_tensor_entry *entry, unsigned *bits)
{
    const cJSON *value = ewci_json_find(tensor, "dtype");
    for (size_t i = 0; cJSON_IsString(value) && i < sizeof types / sizeof *types; i++) {
        if (strcmp(value->valuestring, types[i].name) != 0) continue;
        entry->type = types[i].name;
        entry->usable = i < USABLE;
        entry->dtype = entry->usable ? (ewc_dtype)i : EWC_F32;
        *bits = types[i].bits;
        return EWC_OK;
    }
    return refuse_value(file, entry->name, "dtype", "an element type of the format (F32, BF16, F16, ...)", value);
}

/* Shape, number of elements and bytes, whose products must not overflow. */
static ewc_status read_shape(const ewci_safetensors *file, const cJSON *tensor, ewci_tensor_entry *entry, unsigned bits)
{
    const cJSON *value = ewci_json_find(tensor, "shape");
    int64_t count = 1, all_bits;
    if (!cJSON_IsArray(value)) return refuse_value(file, entry->name, "shape", "an array", value);
    for (const cJSON *item = value->child; item != NULL; item = item->next) {
        int64_t extent;
        if (entry->rank == EWCI_SAFETENSORS_RANK)
            return refuse(file, entry->name, "shape", "at most 8 dimensions", "more");
        if (!ewci_json_exact(item, 0, EXACT_LIMIT, &extent))
            return refuse_value(file, entry->name, "shape", "integers from 0 to 2^53 - 1", item);
        entry->shape[entry->rank++] = extent;
        if (__builtin_mul_overflow(count, extent, &count))
            return refuse(file, entry->name, "shape", "a number of elements below 2^63", "a larger product");
    }
    if (__builtin_mul_overflow(count, (int64_t)bits, &all_bits))
        return refuse(file, entry->name, "shape", "a size below 2^60 bytes", "a larger product");
    if (all_bits % 8 != 0) return refuse(file, entry->name, "shape", "a whole number of bytes", "a part of one");
    entry->count = count;
    entry->bytes = (size_t)(all_bits / 8);
    return EWC_OK;
}

static ewc_status read_offsets(const ewci_safetensors *file, const cJSON *tensor, ewci_tensor_entry *entry)
{
    const cJSON *value = ewci_json_find(tensor, "data_offsets");
    const cJSON *first = cJSON_IsArray(value) ? value->child : NULL, *second = first == NULL ? NULL : first->next;
    int64_t begin, end;
    char text[160];
    if (second == NULL || second->next != NULL)
        return refuse_value(file, entry->name, "data_offsets", "an array of two integers", value);
    if (!ewci_json_exact(first, 0, EXACT_LIMIT, &begin))
        return refuse_value(file, entry->name, "data_offsets", "an integer from 0 to 2^53 - 1", first);
    if (!ewci_json_exact(second, 0, EXACT_LIMIT, &end))
        return refuse_value(file, entry->name, "data_offsets", "an integer from 0 to 2^53 - 1", second);
    if (begin > end || (uint64_t)end > file->data_bytes) {
        snprintf(text, sizeof text, "%lld to %lld in %zu bytes of data", (long long)begin, (long long)end,
                 file->data_bytes);
        return refuse(file, entry->name, "data_offsets", "a range within the file's data", text);
    }
    if ((uint64_t)(end - begin) != entry->bytes) {
        char expected[64];
        snprintf(expected, sizeof expected, "%zu bytes, as type and shape say", entry->bytes);
        snprintf(text, sizeof text, "%lld", (long long)(end - begin));
        return refuse(file, entry->name, "data_offsets", expected, text);
    }
    entry->data = file->data + begin;
    return EWC_OK;
}

static ewc_status read_entry(const ewci_safetensors *file, const cJSON *tensor, ewci_tensor_entry *entry)
{
    unsigned bits = 0;
    entry->name = tensor->string;
    if (!cJSON_IsObject(tensor))
        return refuse_value(file, entry->name, "description", "an object with dtype, shape and data_offsets", tensor);
    EWCI_TRY(read_type(file, tensor, entry, &bits));
    EWCI_TRY(read_shape(file, tensor, entry, bits));
    EWCI_TRY(read_offsets(file, tensor, entry));
    entry->aligned = bits < 16 || (uintptr_t)entry->data % (bits / 8) == 0;
    return EWC_OK;
}

static ewc_status read_metadata(ewci_safetensors *file, const cJSON *metadata)
{
    if (!cJSON_IsObject(metadata)) return ewci_json_wrong(file->ctx, file->path, "__metadata__", "an object", metadata);
    for (const cJSON *item = metadata->child; item != NULL; item = item->next) {
        char place[256];
        if (cJSON_IsString(item)) continue;
        snprintf(place, sizeof place, "__metadata__: %.200s", item->string);
        return ewci_json_wrong(file->ctx, file->path, place, "a string", item);
    }
    file->metadata = metadata;
    return EWC_OK;
}

static int compare_data(const void *a, const void *b)
{
    const ewci_tensor_entry *x = a, *y = b;
    if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const ewci_tensor_entry *const *)a)->name, (*(const ewci_tensor_entry *const *)b)->name);
}

/* The tensors must cover the data exactly: nothing shared, nothing left out. Entries are sorted by their data. */
static ewc_status check_cover(const ewci_safetensors *file)
{
    const unsigned char *reached = file->data, *end = file->data + file->data_bytes;
    char found[64];
    for (int64_t i = 0; i < file->count; i++) {
        const ewci_tensor_entry *entry = &file->entries[i];
        const unsigned char *begin = entry->data;
        if (begin < reached)
            return refuse(file, entry->name, "data_offsets", "data of its own", "an overlap with another tensor's");
        if (begin > reached) {
            snprintf(found, sizeof found, "a gap of %zu bytes", (size_t)(begin - reached));
            return refuse(file, entry->name, "data_offsets", "data right behind the tensor before it", found);
        }
        reached += entry->bytes;
    }
    if (reached == end) return EWC_OK;
    return ewci_fail(file->ctx, EWC_ERROR_FORMAT,
                     "%s: expected the end of the file after the last tensor, found %zu more bytes", file->path,
                     (size_t)(end - reached));
}

static ewc_status read_entries(ewci_safetensors *file)
{
    void *memory;
    int64_t filled = 0;
    for (const cJSON *item = file->header->child; item != NULL; item = item->next)
        file->count += strcmp(item->string, "__metadata__") != 0;
    EWCI_TRY(ewci_alloc_array(file->ctx, file->count, sizeof *file->entries, "a list of tensors", &memory));
    file->entries = memory;
    EWCI_TRY(ewci_alloc_array(file->ctx, file->count, sizeof *file->by_name, "a list of tensors", &memory));
    file->by_name = memory;
    for (const cJSON *item = file->header->child; item != NULL; item = item->next) {
        if (strcmp(item->string, "__metadata__") == 0)
            EWCI_TRY(read_metadata(file, item));
        else
            EWCI_TRY(read_entry(file, item, &file->entries[filled++]));
    }
    qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_data);
    EWCI_TRY(check_cover(file));
    for (int64_t i = 0; i < file->count; i++) file->by_name[i] = &file->entries[i];
    qsort(file->by_name, (size_t)file->count, sizeof *file->by_name, compare_names);
    return EWC_OK;
}

static ewc_status read_header(ewci_safetensors *file)
{
    const unsigned char *bytes = file->map.data;
    uint64_t length = 0;
    if (file->map.size < 8)
        return ewci_fail(file->ctx, EWC_ERROR_FORMAT,
                         "%s: expected a safetensors file with 8 bytes of header length, found %zu bytes", file->path,
                         file->map.size);
    for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
    if (length > HEADER_LIMIT || length > file->map.size - 8)
        return ewci_fail(file->ctx, EWC_ERROR_FORMAT,
                         "%s: header length: expected at most %llu bytes (the format's limit is 100 MB), found %llu: "
                         "not a safetensors file, or cut short",
                         file->path, (unsigned long long)(file->map.size - 8), (unsigned long long)length);
    if (length == 0 || bytes[8] != '{')
        return ewci_fail(file->ctx, EWC_ERROR_FORMAT, "%s: header: expected a JSON object that begins with '{'",
                         file->path);
    file->data = bytes + 8 + length;
    file->data_bytes = file->map.size - 8 - (size_t)length;
    EWCI_TRY(ewci_json_parse(file->ctx, file->path, (const char *)bytes + 8, (size_t)length, &file->header));
    return read_entries(file);
}

ewc_status ewci_safetensors_open(ewc_context *ctx, const char *path, ewci_safetensors **out)
{
    void *memory;
    EWCI_TRY(ewci_alloc_zero(ctx, sizeof(ewci_safetensors), "a safetensors file", &memory));
    ewci_safetensors *file = memory;
    file->ctx = ctx;
    ewc_status status = ewci_strdup(ctx, path, &file->path);
    if (status == EWC_OK) status = ewci_map_open(ctx, path, &file->map);
    if (status == EWC_OK) status = read_header(file);
    if (status == EWC_OK)
        *out = file;
    else
        ewci_safetensors_close(file);
    return status;
}

void ewci_safetensors_close(ewci_safetensors *file)
{
    if (file == NULL) return;
    ewci_map_close(&file->map);
    cJSON_Delete(file->header);
    ewci_free(file->ctx, file->entries);
    ewci_free(file->ctx, file->by_name);
    ewci_free(file->ctx, file->path);
    ewci_free(file->ctx, file);
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
    ewci_tensor_entry wanted = {.name = name};
    const ewci_tensor_entry *key = &wanted;
    if (file->count == 0) return NULL;
    const ewci_tensor_entry **found =
        bsearch(&key, file->by_name, (size_t)file->count, sizeof *file->by_name, compare_names);
    return found == NULL ? NULL : *found;
}

const char *ewci_safetensors_metadata(const ewci_safetensors *file, const char *key)
{
    const cJSON *value = file->metadata == NULL ? NULL : ewci_json_find(file->metadata, key);
    return value == NULL ? NULL : value->valuestring;
}

static void describe_shape(const ewci_tensor_entry *entry, char *text, size_t bytes)
{
    size_t used = 1;
    snprintf(text, bytes, "[");
    for (int i = 0; i < entry->rank && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%lld", i > 0 ? ", " : "", (long long)entry->shape[i]);
    if (used < bytes) snprintf(text + used, bytes - used, "]");
}

ewc_status ewci_tensor_check(ewc_context *ctx, const char *place, const char *name, const ewci_tensor_entry *entry,
                             int64_t rows, int64_t columns)
{
    char found[256];
    if (entry == NULL)
        return ewci_fail(ctx, EWC_ERROR_MISMATCH, "%s: tensor %s: expected it to be there, found nothing", place, name);
    bool vector = columns == 1 && entry->rank == 1 && entry->shape[0] == rows;
    bool matrix = entry->rank == 2 && entry->shape[0] == rows && entry->shape[1] == columns;
    if (!vector && !matrix) {
        describe_shape(entry, found, sizeof found);
        if (columns == 1)
            return ewci_fail(ctx, EWC_ERROR_MISMATCH, "%s: tensor %s: expected shape [%lld], found %s", place, name,
                             (long long)rows, found);
        return ewci_fail(ctx, EWC_ERROR_MISMATCH, "%s: tensor %s: expected shape [%lld, %lld], found %s", place, name,
                         (long long)rows, (long long)columns, found);
    }
    if (entry->usable) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_UNSUPPORTED, "%s: tensor %s: expected dtype F32, BF16 or F16, found %s", place,
                     name, entry->type);
}

ewc_status ewci_safetensors_tensor(const ewci_safetensors *file, const char *name, int64_t rows, int64_t columns,
                                   const ewci_tensor_entry **entry)
{
    const ewci_tensor_entry *found = ewci_safetensors_find(file, name);
    EWCI_TRY(ewci_tensor_check(file->ctx, file->path, name, found, rows, columns));
    *entry = found;
    return EWC_OK;
}
