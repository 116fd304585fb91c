/* Writing safetensors: see safetensors.h. The header is padded so that data starts at a multiple of 64 bytes of the file. */
#include <stdio.h>
#include <string.h>

#include "core/convert.h"
#include "core/memory.h"
#include "core/status.h"
#include "io/json.h"
#include "io/safetensors.h"

enum { BLOCK = 65536, ALIGNMENT = 64 };

static const char *dtype_name(ewc_dtype dtype)
{
    return dtype == EWC_F32 ? "F32" : dtype == EWC_BF16 ? "BF16" : "F16";
}

/* cJSON writes doubles: exact for the whole numbers below 2^53 that sizes are. */
static bool add_tensor(cJSON *header, const ewci_tensor_source *s, double begin, double end)
{
    cJSON *object = cJSON_AddObjectToObject(header, s->name);
    if (object == NULL || cJSON_AddStringToObject(object, "dtype", dtype_name(s->dtype)) == NULL) return false;
    cJSON *shape = cJSON_AddArrayToObject(object, "shape"), *offsets = cJSON_AddArrayToObject(object, "data_offsets");
    if (shape == NULL || offsets == NULL) return false;
    if (!cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)s->rows))) return false;
    if (!s->is_vector && !cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)s->columns))) return false;
    return cJSON_AddItemToArray(offsets, cJSON_CreateNumber(begin)) &&
           cJSON_AddItemToArray(offsets, cJSON_CreateNumber(end));
}

static char *format_header(const ewci_tensor_source *sources, int64_t count, const ewci_metadata *metadata,
                           int64_t metadata_count)
{
    cJSON *header = cJSON_CreateObject();
    cJSON *object = cJSON_AddObjectToObject(header, "__metadata__");
    bool good = object != NULL;
    double offset = 0;
    for (int64_t i = 0; i < metadata_count && good; i++)
        good = cJSON_AddStringToObject(object, metadata[i].key, metadata[i].value) != NULL;
    for (int64_t i = 0; i < count && good; i++) {
        double bytes = (double)(sources[i].rows * sources[i].columns) * (double)ewci_dtype_bytes(sources[i].dtype);
        good = add_tensor(header, &sources[i], offset, offset + bytes);
        offset += bytes;
    }
    char *text = good ? cJSON_PrintUnformatted(header) : NULL;
    cJSON_Delete(header);
    return text;
}

static ewc_status write_header(ewci_writer *writer, const char *text)
{
    char spaces[ALIGNMENT];
    unsigned char length[8];
    size_t bytes = strlen(text), padding = (ALIGNMENT - (bytes + 8) % ALIGNMENT) % ALIGNMENT;
    memset(spaces, ' ', sizeof spaces);
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)(bytes + padding) >> 8 * i);
    EWCI_TRY(ewci_writer_write(writer, length, sizeof length));
    EWCI_TRY(ewci_writer_write(writer, text, bytes));
    return ewci_writer_write(writer, spaces, padding);
}

static ewc_status write_tensor(ewci_writer *writer, const ewci_tensor_source *s, ewci_tensor_values values, void *user,
                               float *block, void *rounded)
{
    int64_t total = s->rows * s->columns;
    for (int64_t first = 0; first < total; first += BLOCK) {
        int64_t n = total - first < BLOCK ? total - first : BLOCK;
        EWCI_TRY(values(user, s->tensor, first, n, block));
        ewci_from_f32(rounded, s->dtype, block, n);
        EWCI_TRY(ewci_writer_write(writer, rounded, (size_t)n * ewci_dtype_bytes(s->dtype)));
    }
    return EWC_OK;
}

ewc_status ewci_safetensors_write(ewc_context *ctx, const char *path, const ewci_tensor_source *sources, int64_t count,
                                  ewci_tensor_values values, void *user, const ewci_metadata *metadata,
                                  int64_t metadata_count, bool overwrite, uint32_t *crc, uint64_t *bytes)
{
    ewci_writer writer;
    void *memory;
    ewc_status status;
    EWCI_TRY(ewci_alloc(ctx, 2 * BLOCK * sizeof(float), "a block to write", &memory));
    float *block = memory;
    char *header = format_header(sources, count, metadata, metadata_count);
    if (header == NULL) {
        status = ewci_fail(ctx, EWC_ERROR_MEMORY, "no memory for the header of %s", path);
        goto done;
    }
    EWCI_TRY_GOTO(status, done, ewci_writer_begin(ctx, path, overwrite, &writer));
    status = write_header(&writer, header);
    for (int64_t i = 0; i < count && status == EWC_OK; i++)
        status = write_tensor(&writer, &sources[i], values, user, block, block + BLOCK);
    if (crc != NULL) *crc = writer.crc;
    if (bytes != NULL) *bytes = writer.bytes;
    if (status == EWC_OK)
        status = ewci_writer_commit(&writer);
    else
        ewci_writer_abandon(&writer);
done:
    cJSON_free(header);
    ewci_free(ctx, block);
    return status;
}
