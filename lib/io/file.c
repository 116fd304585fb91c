/* Reading: see file.h. Writing is in writer.c, directories in stage.c. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "core/memory.h"
#include "core/status.h"

static const char *remedy(int number)
{
    switch (number) {
    case ENOENT: return " (is the name right, and does its directory exist?)";
    case EACCES:
    case EPERM:
    case EROFS: return " (check the permissions of the file and its directory)";
    case ENOSPC:
    case EDQUOT: return " (free some space or choose another place)";
    case EFBIG: return " (the limit on file sizes, see ulimit -f)";
    case EMFILE:
    case ENFILE: return " (too many open files, see ulimit -n)";
    default: return "";
    }
}

void ewci_io_record(ewc_context *ctx, const char *what, const char *path)
{
    char reason[128];
    int number = errno;
    if (strerror_r(number, reason, sizeof reason) != 0) snprintf(reason, sizeof reason, "error %d", number);
    ewci_record(ctx, "%s: cannot %s: %s%s", path, what, reason, remedy(number));
}

static ewc_status check_regular(ewc_context *ctx, const char *path, int fd, size_t *size)
{
    struct stat info;
    if (fstat(fd, &info) != 0) return ewci_io_fail(ctx, "examine", path);
    if (!S_ISREG(info.st_mode))
        return ewci_fail(ctx, EWC_ERROR_IO, "%s: expected a file, found %s", path,
                         S_ISDIR(info.st_mode) ? "a directory" : "a pipe or device");
    *size = (size_t)info.st_size;
    return EWC_OK;
}

ewc_status ewci_file_open(ewc_context *ctx, const char *path, int *descriptor, size_t *size)
{
    int fd;
    do fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return ewci_io_fail(ctx, "open", path);
    ewc_status status = check_regular(ctx, path, fd, size);
    if (status == EWC_OK)
        *descriptor = fd;
    else
        close(fd);
    return status;
}

ewc_status ewci_map_open(ewc_context *ctx, const char *path, ewci_map *map)
{
    int fd;
    size_t size;
    void *data = NULL;
    EWCI_TRY(ewci_file_open(ctx, path, &fd, &size));
    if (size > 0) data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    int number = errno;
    close(fd);
    errno = number;
    if (data == MAP_FAILED) return ewci_io_fail(ctx, "map", path);
    map->data = data;
    map->size = size;
    return EWC_OK;
}

void ewci_map_close(ewci_map *map)
{
    if (map->data != NULL) munmap((void *)(uintptr_t)map->data, map->size);
    map->data = NULL;
    map->size = 0;
}

ewc_status ewci_read_all(ewc_context *ctx, const char *path, int descriptor, void *data, size_t bytes, size_t *got)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t part = read(descriptor, (char *)data + done, bytes - done);
        if (part < 0 && errno == EINTR) continue;
        if (part < 0) return ewci_io_fail(ctx, "read", path);
        if (part == 0) break;
        done += (size_t)part;
    }
    *got = done;
    return EWC_OK;
}

/* The file behind fd, of `size` bytes when it was opened. */
static ewc_status read_whole(ewc_context *ctx, const char *path, int fd, size_t size, char **text)
{
    void *memory;
    size_t got = 0;
    EWCI_TRY(ewci_alloc(ctx, size + 1, path, &memory));
    char *buffer = memory;
    ewc_status status = ewci_read_all(ctx, path, fd, buffer, size, &got);
    if (status == EWC_OK && got < size)
        status = ewci_fail(ctx, EWC_ERROR_IO, "%s: became shorter while it was read", path);
    if (status != EWC_OK) {
        ewci_free(ctx, buffer);
        return status;
    }
    buffer[size] = '\0';
    *text = buffer;
    return EWC_OK;
}

ewc_status ewci_file_read(ewc_context *ctx, const char *path, size_t limit, char **text, size_t *bytes)
{
    int fd;
    size_t size;
    ewc_status status;
    EWCI_TRY(ewci_file_open(ctx, path, &fd, &size));
    if (size > limit)
        status = ewci_fail(ctx, EWC_ERROR_FORMAT, "%s: expected at most %zu bytes, found %zu", path, limit, size);
    else
        status = read_whole(ctx, path, fd, size, text);
    close(fd);
    if (status == EWC_OK) *bytes = size;
    return status;
}

ewc_status ewci_file_crc(ewc_context *ctx, const char *path, uint32_t *crc, uint64_t *bytes)
{
    enum { BLOCK = 1 << 16 };
    int fd;
    size_t size, got = BLOCK;
    void *block = NULL;
    uint64_t total = 0;
    uLong sum = crc32(0, NULL, 0);
    EWCI_TRY(ewci_file_open(ctx, path, &fd, &size));
    ewc_status status = ewci_alloc(ctx, BLOCK, "a block of a file", &block);
    while (status == EWC_OK && got == BLOCK) {
        status = ewci_read_all(ctx, path, fd, block, BLOCK, &got);
        if (status != EWC_OK) break;
        sum = crc32(sum, block, (uInt)got);
        total += got;
    }
    ewci_free(ctx, block);
    close(fd);
    if (status != EWC_OK) return status;
    *crc = (uint32_t)sum;
    *bytes = total;
    return EWC_OK;
}

bool ewci_path_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

bool ewci_path_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

ewc_status ewci_path_join(ewc_context *ctx, const char *directory, const char *name, char **out)
{
    size_t bytes = strlen(directory) + strlen(name) + 2;
    void *memory;
    EWCI_TRY(ewci_alloc(ctx, bytes, "a path", &memory));
    const char *separator = directory[0] == '\0' || directory[strlen(directory) - 1] == '/' ? "" : "/";
    snprintf(memory, bytes, "%s%s%s", directory, separator, name);
    *out = memory;
    return EWC_OK;
}

bool ewci_name_is_plain(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}
