/* Documents of text files: see text.h. */
#include "io/text.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "io/bytes.h"
#include "io/json.h"
#include "io/utf8.h"

enum { FIRST_BUFFER = 1 << 16 };

struct ewc_text {
    ewc_context *ctx;
    ewci_bytes *source;
    char *path;
    size_t limit;
    bool lines;      /* .jsonl */
    bool finished;   /* .txt: its one document has been given */
    uint64_t line;   /* number of the present line, from 1 */
    uint64_t offset; /* of the buffer's first byte in the (decompressed) file */
    char *buffer;    /* a document or line, NUL-terminated */
    size_t used, room;
    const char *chunk; /* bytes of the source that are not yet used */
    size_t chunk_bytes;
    cJSON *object; /* owns the present document of .jsonl */
    void *kept;    /* what a reader made of it */
    char place[4200];
};

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* Room for `more` bytes and the final NUL; doubling, up to the limit. */
static ewc_status reserve(ewc_text *text, size_t more)
{
    void *memory;
    size_t needed = text->used + more + 1, room = text->room;
    if (text->used + more > text->limit)
        return ewci_fail(text->ctx, EWC_ERROR_FORMAT, "%s: %s %llu: expected at most %zu bytes, found more; split it",
                         text->path, text->lines ? "line" : "document", (unsigned long long)text->line, text->limit);
    if (needed <= room) return EWC_OK;
    if (room < FIRST_BUFFER) room = FIRST_BUFFER;
    while (room < needed) room *= 2;
    if (room > text->limit + 1) room = text->limit + 1;
    EWCI_TRY(ewci_alloc(text->ctx, room, "a document", &memory));
    if (text->used > 0) memcpy(memory, text->buffer, text->used);
    ewci_free(text->ctx, text->buffer);
    text->buffer = memory;
    text->room = room;
    return EWC_OK;
}

static ewc_status append(ewc_text *text, size_t bytes)
{
    EWCI_TRY(reserve(text, bytes));
    memcpy(text->buffer + text->used, text->chunk, bytes);
    text->used += bytes;
    text->chunk += bytes;
    text->chunk_bytes -= bytes;
    return EWC_OK;
}

/* Reads up to and including the next line feed, or (whole) to the end of the file. *end when nothing was left. */
static ewc_status fill(ewc_text *text, bool whole, bool *end)
{
    const char *feed = NULL;
    text->offset += text->used;
    text->used = 0;
    text->line++;
    while (feed == NULL) {
        if (text->chunk_bytes == 0) EWCI_TRY(ewci_bytes_next(text->source, &text->chunk, &text->chunk_bytes));
        if (text->chunk_bytes == 0) break;
        feed = whole ? NULL : memchr(text->chunk, '\n', text->chunk_bytes);
        EWCI_TRY(append(text, feed == NULL ? text->chunk_bytes : (size_t)(feed - text->chunk) + 1));
    }
    *end = text->used == 0;
    EWCI_TRY(reserve(text, 0));
    text->buffer[text->used] = '\0';
    return EWC_OK;
}

/* "FILE: line N" or the file alone. */
static const char *name_place(ewc_text *text)
{
    if (text->lines)
        snprintf(text->place, sizeof text->place, "%s: line %llu", text->path, (unsigned long long)text->line);
    else
        snprintf(text->place, sizeof text->place, "%s", text->path);
    return text->place;
}

/* UTF-8 without NUL; the byte is counted from the file's beginning (of what it decompresses to), from 1. */
static ewc_status check_text(ewc_text *text)
{
    size_t valid = ewci_utf8_valid(text->buffer, text->used), nul = strlen(text->buffer);
    const char *place = name_place(text);
    if (valid < text->used && valid < nul)
        return ewci_fail(text->ctx, EWC_ERROR_FORMAT,
                         "%s: byte %llu: expected UTF-8, found byte 0x%02x (convert the file with iconv)", place,
                         (unsigned long long)(text->offset + valid + 1), (unsigned char)text->buffer[valid]);
    if (nul < text->used)
        return ewci_fail(text->ctx, EWC_ERROR_FORMAT, "%s: byte %llu: expected text, found a NUL", place,
                         (unsigned long long)(text->offset + nul + 1));
    return EWC_OK;
}

/* The byte order mark is not text. */
static size_t mark_bytes(const ewc_text *text)
{
    return text->offset == 0 && text->used >= 3 && memcmp(text->buffer, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

static ewc_status next_whole(ewc_text *text, const char **document, size_t *bytes)
{
    bool end = true;
    if (!text->finished) EWCI_TRY(fill(text, true, &end));
    text->finished = true;
    size_t mark = end ? 0 : mark_bytes(text);
    if (!end) EWCI_TRY(check_text(text));
    end = end || text->used == mark;
    *document = end ? NULL : text->buffer + mark;
    *bytes = end ? 0 : text->used - mark;
    return EWC_OK;
}

static bool is_blank(const char *line)
{
    return line[strspn(line, " \t\r\n")] == '\0';
}

/* The object of the next line that is not blank. */
static ewc_status next_line(ewc_text *text, const cJSON **object)
{
    for (;;) {
        bool end;
        EWCI_TRY(fill(text, false, &end));
        if (end) break;
        EWCI_TRY(check_text(text));
        size_t mark = mark_bytes(text), length = text->used;
        while (length > mark && (text->buffer[length - 1] == '\n' || text->buffer[length - 1] == '\r')) length--;
        if (is_blank(text->buffer + mark)) continue;
        EWCI_TRY(ewci_json_parse(text->ctx, name_place(text), text->buffer + mark, length - mark, &text->object));
        break;
    }
    *object = text->object;
    return EWC_OK;
}

static void forget(ewc_text *text)
{
    cJSON_Delete(text->object);
    ewci_free(text->ctx, text->kept);
    text->object = NULL;
    text->kept = NULL;
}

ewc_status ewci_text_next_object(ewc_text *text, const cJSON **object)
{
    forget(text);
    if (text->lines) return next_line(text, object);
    return ewci_fail(text->ctx, EWC_ERROR_UNSUPPORTED, "%s: expected a name that ends in .jsonl or .jsonl.gz",
                     text->path);
}

ewc_status ewci_text_next(ewc_text *text, const char **document, size_t *bytes)
{
    const cJSON *object;
    const char *value = NULL;
    forget(text);
    if (!text->lines) return next_whole(text, document, bytes);
    EWCI_TRY(next_line(text, &object));
    if (object != NULL) EWCI_TRY(ewci_json_string(text->ctx, text->place, object, "text", &value));
    *document = value;
    *bytes = value == NULL ? 0 : strlen(value);
    return EWC_OK;
}

ewc_status ewci_text_keep(ewc_text *text, int64_t count, size_t size, void **memory)
{
    ewci_free(text->ctx, text->kept);
    text->kept = NULL;
    EWCI_TRY(ewci_alloc_array(text->ctx, count, size, "a line's values", memory));
    text->kept = *memory;
    return EWC_OK;
}

int64_t ewci_text_line(const ewc_text *text)
{
    return (int64_t)text->line;
}

const char *ewci_text_place(const ewc_text *text)
{
    return text->place;
}

ewc_status ewci_text_open(ewc_context *ctx, const char *path, size_t limit, ewc_text **out)
{
    bool gzip = ends_with(path, ".gz"), lines = ends_with(path, ".jsonl") || ends_with(path, ".jsonl.gz");
    void *memory;
    if (!lines && !ends_with(path, ".txt") && !ends_with(path, ".txt.gz"))
        return ewci_fail(ctx, EWC_ERROR_UNSUPPORTED,
                         "%s: expected a name that ends in .txt, .jsonl, .txt.gz or .jsonl.gz, found another one",
                         path);
    EWCI_TRY(ewci_alloc_zero(ctx, sizeof(ewc_text), "a text file", &memory));
    ewc_text *text = memory;
    text->ctx = ctx;
    text->limit = limit;
    text->lines = lines;
    ewc_status status = ewci_strdup(ctx, path, &text->path);
    if (status == EWC_OK) status = ewci_bytes_open(ctx, path, gzip, &text->source);
    if (status == EWC_OK)
        *out = text;
    else
        ewci_text_close(text);
    return status;
}

void ewci_text_close(ewc_text *text)
{
    if (text == NULL) return;
    forget(text);
    ewci_bytes_close(text->source);
    ewci_free(text->ctx, text->buffer);
    ewci_free(text->ctx, text->path);
    ewci_free(text->ctx, text);
}

ewc_context *ewci_text_context(const ewc_text *text)
{
    return text->ctx;
}
