/* See bytes.h. */
#include "io/bytes.h"

#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "core/memory.h"
#include "core/status.h"
#include "io/file.h"

enum { BLOCK = 1 << 16, GZIP_ONLY = 16 + MAX_WBITS };

struct ewci_bytes {
    ewc_context *ctx;
    char *path;
    int descriptor;
    bool gzip, inflating; /* inflating: zlib's state exists */
    bool inside;          /* in a member: its end has not been seen */
    bool any;             /* a member has been complete */
    z_stream stream;
    unsigned char input[BLOCK], output[BLOCK];
};

/* zlib's memory comes from the context too. */
static voidpf allocate(voidpf ctx, uInt items, uInt size)
{
    void *memory;
    size_t bytes;
    if (!ewci_mul_size(items, size, &bytes) || ewci_alloc(ctx, bytes, "decompression", &memory) != EWC_OK)
        return Z_NULL;
    return memory;
}

static void release(voidpf ctx, voidpf memory)
{
    ewci_free(ctx, memory);
}

static ewc_status begin_inflate(ewci_bytes *source)
{
    if (!source->gzip) return EWC_OK;
    source->stream.zalloc = allocate;
    source->stream.zfree = release;
    source->stream.opaque = source->ctx;
    if (inflateInit2(&source->stream, GZIP_ONLY) != Z_OK)
        return ewci_fail(source->ctx, EWC_ERROR_MEMORY, "%s: no memory for decompression", source->path);
    source->inflating = true;
    return EWC_OK;
}

ewc_status ewci_bytes_open(ewc_context *ctx, const char *path, bool gzip, ewci_bytes **out)
{
    void *memory;
    size_t size;
    EWCI_TRY(ewci_alloc_zero(ctx, sizeof(ewci_bytes), "the buffers of a file", &memory));
    ewci_bytes *source = memory;
    source->ctx = ctx;
    source->descriptor = -1;
    source->gzip = gzip;
    ewc_status status = ewci_strdup(ctx, path, &source->path);
    if (status == EWC_OK) status = ewci_file_open(ctx, path, &source->descriptor, &size);
    if (status == EWC_OK) status = begin_inflate(source);
    if (status == EWC_OK)
        *out = source;
    else
        ewci_bytes_close(source);
    return status;
}

static ewc_status refuse(const ewci_bytes *source, const char *found)
{
    return ewci_fail(source->ctx, EWC_ERROR_FORMAT, "%s: expected gzip data, found %s (compressed byte %lld)",
                     source->path, found,
                     (long long)lseek(source->descriptor, 0, SEEK_CUR) - (long long)source->stream.avail_in);
}

/* One call of inflate; at a member's end the next one is made ready. */
static ewc_status inflate_some(ewci_bytes *source)
{
    source->inside = true;
    int result = inflate(&source->stream, Z_NO_FLUSH);
    if (result == Z_MEM_ERROR)
        return ewci_fail(source->ctx, EWC_ERROR_MEMORY, "%s: no memory for decompression", source->path);
    if (result == Z_STREAM_END) {
        source->inside = false;
        source->any = true;
        inflateReset(&source->stream);
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
        return refuse(source, source->stream.msg == NULL ? "corrupt data" : source->stream.msg);
    }
    return EWC_OK;
}

/* More compressed input; false in *more at the end of the file, which must not be inside a member. */
static ewc_status refill(ewci_bytes *source, bool *more)
{
    size_t got;
    EWCI_TRY(ewci_read_all(source->ctx, source->path, source->descriptor, source->input, BLOCK, &got));
    source->stream.next_in = source->input;
    source->stream.avail_in = (uInt)got;
    *more = got > 0;
    if (got == 0 && (source->inside || !source->any)) return refuse(source, "the end of the file: it is cut short");
    return EWC_OK;
}

static ewc_status next_inflated(ewci_bytes *source, size_t *bytes)
{
    bool more = true;
    source->stream.next_out = source->output;
    source->stream.avail_out = BLOCK;
    while (more && source->stream.avail_out == BLOCK) {
        /* Output may be pending inside zlib even without input. */
        if (source->stream.avail_in > 0 || source->inside) EWCI_TRY(inflate_some(source));
        if (source->stream.avail_out < BLOCK) break;
        if (source->stream.avail_in == 0) EWCI_TRY(refill(source, &more));
    }
    *bytes = BLOCK - source->stream.avail_out;
    return EWC_OK;
}

ewc_status ewci_bytes_next(ewci_bytes *source, const char **data, size_t *bytes)
{
    size_t got;
    if (source->gzip)
        EWCI_TRY(next_inflated(source, &got));
    else
        EWCI_TRY(ewci_read_all(source->ctx, source->path, source->descriptor, source->output, BLOCK, &got));
    *data = (const char *)source->output;
    *bytes = got;
    return EWC_OK;
}

void ewci_bytes_close(ewci_bytes *source)
{
    if (source == NULL) return;
    if (source->inflating) inflateEnd(&source->stream);
    if (source->descriptor >= 0) close(source->descriptor);
    ewci_free(source->ctx, source->path);
    ewci_free(source->ctx, source);
}
