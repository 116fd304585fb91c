/* A file that appears whole or not at all: written beside its place, synced, renamed. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "core/memory.h"
#include "core/status.h"
#include "io/file.h"

static void release(ewci_writer *writer)
{
    if (writer->descriptor >= 0) close(writer->descriptor);
    ewci_free(writer->ctx, writer->path);
    ewci_free(writer->ctx, writer->temporary);
    writer->descriptor = -1;
    writer->path = writer->temporary = NULL;
}

ewc_status ewci_writer_begin(ewc_context *ctx, const char *path, bool overwrite, ewci_writer *out)
{
    ewci_writer writer = {.ctx = ctx, .descriptor = -1};
    size_t bytes = strlen(path) + 32;
    void *memory;
    ewc_status status;
    if (ewci_path_is_directory(path))
        return ewci_fail(ctx, EWC_ERROR_IO, "%s: expected a place for a file, found a directory", path);
    if (!overwrite && ewci_path_exists(path))
        return ewci_fail(ctx, EWC_ERROR_EXISTS, "%s exists: choose another name or ask for overwriting", path);
    EWCI_TRY_GOTO(status, fail, ewci_strdup(ctx, path, &writer.path));
    EWCI_TRY_GOTO(status, fail, ewci_alloc(ctx, bytes, "a path", &memory));
    writer.temporary = memory;
    snprintf(writer.temporary, bytes, "%s.tmp-%ld", path, (long)getpid());
    do writer.descriptor = open(writer.temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    while (writer.descriptor < 0 && errno == EINTR);
    if (writer.descriptor < 0) {
        status = ewci_io_fail(ctx, "create", writer.temporary);
        goto fail;
    }
    *out = writer;
    return EWC_OK;
fail:
    release(&writer);
    return status;
}

ewc_status ewci_writer_write(ewci_writer *writer, const void *data, size_t bytes)
{
    const unsigned char *next = data;
    writer->bytes += bytes;
    while (bytes > 0) {
        size_t part = bytes < ((size_t)1 << 30) ? bytes : (size_t)1 << 30;
        ssize_t done = write(writer->descriptor, next, part);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return ewci_io_fail(writer->ctx, "write", writer->path);
        writer->crc = (uint32_t)crc32(writer->crc, next, (uInt)done);
        next += done;
        bytes -= (size_t)done;
    }
    return EWC_OK;
}

/* Makes a rename last. A file system that cannot sync directories is left alone. */
static void sync_parent(const char *path)
{
    char copy[4096];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy) return;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

ewc_status ewci_writer_commit(ewci_writer *writer)
{
    ewc_status status = EWC_OK;
    int result;
    do result = fsync(writer->descriptor);
    while (result != 0 && errno == EINTR);
    if (result != 0) status = ewci_io_fail(writer->ctx, "sync", writer->path);
    result = close(writer->descriptor);
    writer->descriptor = -1;
    if (status == EWC_OK && result != 0) status = ewci_io_fail(writer->ctx, "close", writer->path);
    if (status == EWC_OK && rename(writer->temporary, writer->path) != 0)
        status = ewci_io_fail(writer->ctx, "put into place", writer->path);
    if (status != EWC_OK) {
        ewci_writer_abandon(writer);
        return status;
    }
    sync_parent(writer->path);
    release(writer);
    return EWC_OK;
}

void ewci_writer_abandon(ewci_writer *writer)
{
    if (writer->temporary != NULL) unlink(writer->temporary);
    release(writer);
}

ewc_status ewci_file_write(ewc_context *ctx, const char *path, const void *data, size_t bytes, bool overwrite)
{
    ewci_writer writer;
    EWCI_TRY(ewci_writer_begin(ctx, path, overwrite, &writer));
    ewc_status status = ewci_writer_write(&writer, data, bytes);
    if (status == EWC_OK) return ewci_writer_commit(&writer);
    ewci_writer_abandon(&writer);
    return status;
}

ewc_status ewci_file_copy(ewc_context *ctx, const char *from, const char *to, bool *copied)
{
    ewci_map map;
    if (copied != NULL) *copied = false;
    if (!ewci_path_exists(from)) return EWC_OK;
    EWCI_TRY(ewci_map_open(ctx, from, &map));
    ewc_status status = ewci_file_write(ctx, to, map.data, map.size, true);
    ewci_map_close(&map);
    if (status == EWC_OK && copied != NULL) *copied = true;
    return status;
}
