/* Reading: see file.h. Writing is in writer.c and stage.c. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/status.h"

ewc_status ewci_io_fail(ewc_context *ctx, const char *what, const char *path)
{
    char reason[128];
    int number = errno;
    if (strerror_r(number, reason, sizeof reason) != 0) snprintf(reason, sizeof reason, "error %d", number);
    return ewci_fail(ctx, EWC_ERROR_IO, "%s: cannot %s: %s", path, what, reason);
}

/* Opens a regular file and tells its size. */
static ewc_status open_regular(ewc_context *ctx, const char *path, int *descriptor, size_t *size)
{
    struct stat info;
    int fd;
    do fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return ewci_io_fail(ctx, "open", path);
    if (fstat(fd, &info) != 0) {
        close(fd);
        return ewci_io_fail(ctx, "examine", path);
    }
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return ewci_fail(ctx, EWC_ERROR_IO, "%s: expected a file, found %s", path,
                         S_ISDIR(info.st_mode) ? "a directory" : "something else");
    }
    *descriptor = fd;
    *size = (size_t)info.st_size;
    return EWC_OK;
}

ewc_status ewci_map_open(ewc_context *ctx, const char *path, ewci_map *map)
{
    int fd;
    size_t size;
    void *data = NULL;
    EWCI_TRY(open_regular(ctx, path, &fd, &size));
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

ewc_status ewci_file_read(ewc_context *ctx, const char *path, size_t limit, char **text, size_t *bytes)
{
    int fd;
    size_t size, done = 0;
    void *memory;
    EWCI_TRY(open_regular(ctx, path, &fd, &size));
    if (size > limit) {
        close(fd);
        return ewci_fail(ctx, EWC_ERROR_FORMAT, "%s: expected at most %zu bytes, found %zu", path, limit, size);
    }
    ewc_status status = ewci_alloc(ctx, size + 1, path, &memory);
    char *buffer = status == EWC_OK ? memory : NULL;
    while (status == EWC_OK && done < size) {
        ssize_t got = read(fd, buffer + done, size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = ewci_io_fail(ctx, "read", path);
        if (got == 0) status = ewci_fail(ctx, EWC_ERROR_IO, "%s: became shorter while it was read", path);
        if (got > 0) done += (size_t)got;
    }
    close(fd);
    if (status != EWC_OK) {
        ewci_free(ctx, buffer);
        return status;
    }
    buffer[size] = '\0';
    *text = buffer;
    *bytes = size;
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
