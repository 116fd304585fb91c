/* A file that appears whole or not at all: written beside its place, synced, renamed. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
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

static ewc_status refuse_taken(ewc_context *ctx, const char *path)
{
    return ewci_fail(ctx, EWC_ERROR_EXISTS, "%s exists: choose another name or ask for overwriting", path);
}

static ewc_status follow_link(ewc_context *ctx, const char *path, char **place)
{
    char *real = realpath(path, NULL);
    if (real == NULL) return ewci_io_fail(ctx, "follow the link", path);
    ewc_status status = ewci_strdup(ctx, real, place);
    free(real);
    return status;
}

/* The place that will be written: what a symbolic link points to, so that the link stays one. A pipe or device there
 * must not be replaced by a file. */
static ewc_status find_place(ewc_context *ctx, const char *path, bool overwrite, char **place)
{
    struct stat link, info;
    if (lstat(path, &link) != 0) return ewci_strdup(ctx, path, place);
    bool there = stat(path, &info) == 0; /* not so for a link to nowhere */
    if (there && !S_ISREG(info.st_mode))
        return ewci_fail(ctx, EWC_ERROR_IO, "%s: expected a place for a file, found %s", path,
                         S_ISDIR(info.st_mode) ? "a directory" : "a pipe or device");
    if (!overwrite) return refuse_taken(ctx, path);
    return there && S_ISLNK(link.st_mode) ? follow_link(ctx, path, place) : ewci_strdup(ctx, path, place);
}

/* A name that nobody has: another process, another thread or an interrupted run may be writing the same file. */
static ewc_status open_temporary(ewci_writer *writer)
{
    size_t bytes = strlen(writer->path) + 48;
    void *memory;
    EWCI_TRY(ewci_alloc(writer->ctx, bytes, "a path", &memory));
    writer->temporary = memory;
    for (int attempt = 0; attempt < 10000; attempt++) {
        snprintf(writer->temporary, bytes, "%s.tmp-%ld-%d", writer->path, (long)getpid(), attempt);
        do writer->descriptor = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        while (writer->descriptor < 0 && errno == EINTR);
        if (writer->descriptor >= 0) return EWC_OK;
        if (errno != EEXIST) break;
    }
    return ewci_io_fail(writer->ctx, "create the file", writer->path);
}

ewc_status ewci_writer_begin(ewc_context *ctx, const char *path, bool overwrite, ewci_writer *out)
{
    ewci_writer writer = {.ctx = ctx, .descriptor = -1, .overwrite = overwrite};
    ewc_status status = find_place(ctx, path, overwrite, &writer.path);
    if (status == EWC_OK) status = open_temporary(&writer);
    if (status == EWC_OK)
        *out = writer;
    else
        release(&writer);
    return status;
}

ewc_status ewci_writer_write(ewci_writer *writer, const void *data, size_t bytes)
{
    const unsigned char *next = data;
    while (bytes > 0) {
        size_t part = bytes < ((size_t)1 << 30) ? bytes : (size_t)1 << 30;
        ssize_t done = write(writer->descriptor, next, part);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return ewci_io_fail(writer->ctx, "write", writer->path);
        writer->crc = (uint32_t)crc32(writer->crc, next, (uInt)done);
        writer->bytes += (uint64_t)done;
        next += done;
        bytes -= (size_t)done;
    }
    return EWC_OK;
}

ewc_status ewci_sync_directory(ewc_context *ctx, const char *directory)
{
    int result, fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return EWC_OK; /* it may be written but not read */
    do result = fsync(fd);
    while (result != 0 && errno == EINTR);
    int number = errno;
    close(fd);
    if (result == 0 || (number != EIO && number != ENOSPC && number != EDQUOT)) return EWC_OK;
    errno = number;
    return ewci_io_fail(ctx, "sync", directory);
}

static ewc_status sync_parent(ewc_context *ctx, const char *path)
{
    char *copy;
    EWCI_TRY(ewci_strdup(ctx, path, &copy));
    ewc_status status = ewci_sync_directory(ctx, dirname(copy));
    ewci_free(ctx, copy);
    return status;
}

/* Without overwrite the name is taken by a link, which fails, as rename would not, when somebody else has taken it
 * since. */
static ewc_status put_into_place(ewci_writer *writer)
{
    if (!writer->overwrite && link(writer->temporary, writer->path) == 0) {
        unlink(writer->temporary);
        return EWC_OK;
    }
    bool taken = !writer->overwrite && (errno == EEXIST || ewci_path_exists(writer->path));
    if (taken) return refuse_taken(writer->ctx, writer->path);
    if (rename(writer->temporary, writer->path) == 0) return EWC_OK;
    return ewci_io_fail(writer->ctx, "put into place", writer->path);
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
    if (status == EWC_OK) status = put_into_place(writer);
    if (status != EWC_OK) {
        ewci_writer_abandon(writer);
        return status;
    }
    status = sync_parent(writer->ctx, writer->path);
    release(writer);
    return status;
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

static ewc_status copy_from(ewc_context *ctx, const char *from, int fd, const char *to)
{
    enum { BLOCK = 1 << 16 };
    ewci_writer writer;
    void *block = NULL;
    size_t got = BLOCK;
    EWCI_TRY(ewci_writer_begin(ctx, to, true, &writer));
    ewc_status status = ewci_alloc(ctx, BLOCK, "a block of a file", &block);
    while (status == EWC_OK && got == BLOCK) {
        status = ewci_read_all(ctx, from, fd, block, BLOCK, &got);
        if (status == EWC_OK) status = ewci_writer_write(&writer, block, got);
    }
    ewci_free(ctx, block);
    if (status == EWC_OK) return ewci_writer_commit(&writer);
    ewci_writer_abandon(&writer);
    return status;
}

ewc_status ewci_file_copy(ewc_context *ctx, const char *from, const char *to, bool *copied)
{
    int fd;
    size_t size;
    if (copied != NULL) *copied = false;
    if (!ewci_path_exists(from)) return EWC_OK;
    EWCI_TRY(ewci_file_open(ctx, from, &fd, &size));
    ewc_status status = copy_from(ctx, from, fd, to);
    close(fd);
    if (status == EWC_OK && copied != NULL) *copied = true;
    return status;
}
