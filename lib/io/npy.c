/* See npy.h. The header is a Python dictionary in text: {'descr': '<u2', 'fortran_order': False, 'shape': (3,), }. */
#include "io/npy.h"

#include <stdio.h>
#include <string.h>

#include "core/status.h"

static const char magic[] = "\x93NUMPY";
enum { MAGIC_BYTES = sizeof magic - 1, HEADER_LIMIT = 65536 };

static const struct {
    const char *descr;
    size_t bytes;
} types[] = {{"<u2", 2}, {"<u4", 4}, {"<i4", 4}, {"<f4", 4}};

const char *ewci_npy_descr(ewci_npy_type type)
{
    return types[type].descr;
}

size_t ewci_npy_bytes(ewci_npy_type type)
{
    return types[type].bytes;
}

/* The header's text and what was read of it. */
typedef struct reader {
    ewc_context *ctx;
    const char *path;
    const char *at, *end;
    bool seen[3]; /* descr, fortran_order, shape */
    ewci_npy_type type;
    int64_t count;
} reader;

static ewc_status refuse(const reader *r, const char *field, const char *expected)
{
    int left = r->end - r->at < 40 ? (int)(r->end - r->at) : 40;
    return ewci_fail(r->ctx, EWC_ERROR_FORMAT, "%s: npy header: %s: expected %s, found \"%.*s\"", r->path, field,
                     expected, left, r->at);
}

static void skip_space(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
}

/* Takes `word` if it comes next, after white space. */
static bool take(reader *r, const char *word)
{
    size_t length = strlen(word);
    skip_space(r);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0) return false;
    r->at += length;
    return true;
}

/* A string in either kind of quotes, without escapes. */
static bool take_string(reader *r, char *text, size_t bytes)
{
    skip_space(r);
    if (r->at == r->end || (*r->at != '\'' && *r->at != '"')) return false;
    const char *begin = r->at + 1, *close = memchr(begin, *r->at, (size_t)(r->end - begin));
    if (close == NULL || (size_t)(close - begin) >= bytes) return false;
    memcpy(text, begin, (size_t)(close - begin));
    text[close - begin] = '\0';
    r->at = close + 1;
    return true;
}

static ewc_status read_descr(reader *r)
{
    char descr[64];
    const reader before = *r;
    if (!take_string(r, descr, sizeof descr)) return refuse(r, "descr", "a type in quotes");
    for (int i = 0; i < EWCI_NPY_F32; i++) {
        if (strcmp(descr, types[i].descr) != 0) continue;
        r->type = (ewci_npy_type)i;
        return EWC_OK;
    }
    refuse(&before, "descr", "token ids '<u2', '<u4' or '<i4' (save them with array.astype('<u4'))");
    return EWC_ERROR_UNSUPPORTED;
}

/* (n,): a one-dimensional array. */
static ewc_status read_shape(reader *r)
{
    const reader before = *r;
    bool good = take(r, "(");
    int64_t count = 0;
    skip_space(r);
    good = good && r->at < r->end && *r->at >= '0' && *r->at <= '9';
    while (good && r->at < r->end && *r->at >= '0' && *r->at <= '9') {
        good = !__builtin_mul_overflow(count, (int64_t)10, &count) &&
               !__builtin_add_overflow(count, (int64_t)(*r->at - '0'), &count);
        r->at++;
    }
    if (!good || !take(r, ",") || !take(r, ")")) return refuse(&before, "shape", "one dimension, such as (1000,)");
    r->count = count;
    return EWC_OK;
}

static ewc_status read_value(reader *r, int field)
{
    if (field == 0) return read_descr(r);
    if (field == 2) return read_shape(r);
    return take(r, "True") || take(r, "False") ? EWC_OK : refuse(r, "fortran_order", "True or False");
}

static ewc_status read_dictionary(reader *r)
{
    static const char *const fields[] = {"descr", "fortran_order", "shape"};
    if (!take(r, "{")) return refuse(r, "beginning", "'{'");
    while (!take(r, "}")) {
        char name[32];
        int field = 0;
        const reader before = *r;
        if (!take_string(r, name, sizeof name)) return refuse(r, "field", "a name in quotes or '}'");
        while (field < 3 && strcmp(name, fields[field]) != 0) field++;
        if (field == 3 || r->seen[field]) return refuse(&before, "field", "descr, fortran_order and shape, each once");
        r->seen[field] = true;
        if (!take(r, ":")) return refuse(r, name, "':'");
        EWCI_TRY(read_value(r, field));
        if (take(r, ",")) continue;
        if (!take(r, "}")) return refuse(r, name, "',' or '}' behind it");
        break;
    }
    skip_space(r);
    if (r->at != r->end) return refuse(r, "end", "nothing but white space");
    for (int i = 0; i < 3; i++)
        if (!r->seen[i])
            return ewci_fail(r->ctx, EWC_ERROR_FORMAT, "%s: npy header: %s: expected it to be there, found nothing",
                             r->path, fields[i]);
    return EWC_OK;
}

/* Magic, version and header length; the reader then spans the header's text. */
static ewc_status find_header(reader *r, const ewci_map *map)
{
    const unsigned char *bytes = map->data;
    if (map->size < MAGIC_BYTES + 4 || memcmp(bytes, magic, MAGIC_BYTES) != 0)
        return ewci_fail(r->ctx, EWC_ERROR_FORMAT,
                         "%s: expected an npy file (it begins with \\x93NUMPY), found %zu other bytes", r->path,
                         map->size);
    int major = bytes[6], minor = bytes[7];
    if (major < 1 || major > 3 || minor != 0)
        return ewci_fail(r->ctx, EWC_ERROR_UNSUPPORTED, "%s: npy version: expected 1.0, 2.0 or 3.0, found %d.%d",
                         r->path, major, minor);
    size_t start = major == 1 ? MAGIC_BYTES + 4 : MAGIC_BYTES + 6, length = 0;
    if (map->size >= start) {
        for (size_t i = start; i-- > MAGIC_BYTES + 2;) length = length << 8 | bytes[i];
    }
    if (map->size < start || length > map->size - start || length > HEADER_LIMIT)
        return ewci_fail(
            r->ctx, EWC_ERROR_FORMAT,
            "%s: npy header length: expected at most the file's %zu bytes and 65536, found %zu: cut short?", r->path,
            map->size, length);
    r->at = (const char *)bytes + start;
    r->end = r->at + length;
    return EWC_OK;
}

static ewc_status read_header(ewc_context *ctx, const char *path, ewci_npy *npy)
{
    reader r = {.ctx = ctx, .path = path};
    EWCI_TRY(find_header(&r, &npy->map));
    EWCI_TRY(read_dictionary(&r));
    size_t left = npy->map.size - (size_t)((const unsigned char *)r.end - npy->map.data);
    size_t element = types[r.type].bytes;
    if (left % element != 0 || (uint64_t)r.count != left / element)
        return ewci_fail(ctx, EWC_ERROR_FORMAT,
                         "%s: expected %lld elements of %zu bytes, as the shape says, found %zu bytes: %s", path,
                         (long long)r.count, element, left,
                         (uint64_t)r.count > left / element ? "cut short" : "too long");
    npy->type = r.type;
    npy->count = r.count;
    npy->data = (const unsigned char *)r.end;
    return EWC_OK;
}

ewc_status ewci_npy_open(ewc_context *ctx, const char *path, ewci_npy *out)
{
    ewci_npy npy = {.count = 0};
    EWCI_TRY(ewci_map_open(ctx, path, &npy.map));
    ewc_status status = read_header(ctx, path, &npy);
    if (status == EWC_OK)
        *out = npy;
    else
        ewci_npy_close(&npy);
    return status;
}

void ewci_npy_close(ewci_npy *npy)
{
    ewci_map_close(&npy->map);
    npy->count = 0;
    npy->data = NULL;
}

int64_t ewci_npy_id(const ewci_npy *npy, int64_t index)
{
    const unsigned char *b = npy->data + (size_t)index * types[npy->type].bytes;
    if (npy->type == EWCI_NPY_U16) return b[0] | b[1] << 8;
    uint32_t x = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return npy->type == EWCI_NPY_U32 ? (int64_t)x : (int64_t)(int32_t)x;
}

int64_t ewci_npy_find_outside(const ewci_npy *npy, int64_t first, int64_t count, int64_t limit)
{
    if (npy->type == EWCI_NPY_U16 && limit > UINT16_MAX) return -1;
    for (int64_t i = first; i < first + count; i++) {
        int64_t id = ewci_npy_id(npy, i);
        if (id < 0 || id >= limit) return i;
    }
    return -1;
}

void ewci_npy_copy(const ewci_npy *npy, int64_t first, int64_t count, int32_t *ids)
{
    for (int64_t i = 0; i < count; i++) ids[i] = (int32_t)ewci_npy_id(npy, first + i);
}

/* Version 1.0; padded so that the data begins at a multiple of 64 bytes, as NumPy does. */
static ewc_status write_header(ewci_writer *writer, const char *descr, int64_t count)
{
    char text[192];
    unsigned char start[MAGIC_BYTES + 4];
    int used = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (%lld,), }", descr,
                        (long long)count);
    size_t length = ((size_t)used + 1 + sizeof start + 63) / 64 * 64 - sizeof start;
    memset(text + used, ' ', length - (size_t)used - 1);
    text[length - 1] = '\n';
    memcpy(start, magic, MAGIC_BYTES);
    start[6] = 1;
    start[7] = 0;
    start[8] = (unsigned char)(length & 0xff);
    start[9] = (unsigned char)(length >> 8);
    EWCI_TRY(ewci_writer_write(writer, start, sizeof start));
    return ewci_writer_write(writer, text, length);
}

ewc_status ewci_npy_write_f32(ewc_context *ctx, const char *path, const float *values, int64_t count, bool overwrite)
{
    ewci_writer writer;
    EWCI_TRY(ewci_writer_begin(ctx, path, overwrite, &writer));
    ewc_status status = write_header(&writer, types[EWCI_NPY_F32].descr, count);
    if (status == EWC_OK) status = ewci_writer_write(&writer, values, (size_t)count * sizeof *values);
    if (status == EWC_OK) return ewci_writer_commit(&writer);
    ewci_writer_abandon(&writer);
    return status;
}

static ewc_status write_narrow(ewci_writer *writer, const int32_t *ids, int64_t count)
{
    enum { BLOCK = 4096 };
    uint16_t block[BLOCK];
    for (int64_t first = 0; first < count; first += BLOCK) {
        int64_t part = count - first < BLOCK ? count - first : BLOCK;
        for (int64_t i = 0; i < part; i++) block[i] = (uint16_t)ids[first + i];
        EWCI_TRY(ewci_writer_write(writer, block, (size_t)part * sizeof *block));
    }
    return EWC_OK;
}

ewc_status ewci_npy_write_ids(ewc_context *ctx, const char *path, const int32_t *ids, int64_t count, bool overwrite)
{
    ewci_writer writer;
    bool narrow = true;
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < 0)
            return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: token %lld: expected an id of at least 0, found %d", path,
                             (long long)i, (int)ids[i]);
        narrow = narrow && ids[i] <= UINT16_MAX;
    }
    EWCI_TRY(ewci_writer_begin(ctx, path, overwrite, &writer));
    ewc_status status = write_header(&writer, types[narrow ? EWCI_NPY_U16 : EWCI_NPY_U32].descr, count);
    if (status == EWC_OK)
        status =
            narrow ? write_narrow(&writer, ids, count) : ewci_writer_write(&writer, ids, (size_t)count * sizeof *ids);
    if (status == EWC_OK) return ewci_writer_commit(&writer);
    ewci_writer_abandon(&writer);
    return status;
}
