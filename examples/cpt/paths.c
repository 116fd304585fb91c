/* Files and directories: see program.h. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "program.h"

bool path_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

bool path_is_empty_directory(const char *path)
{
    DIR *directory = opendir(path);
    if (!directory) return false;
    bool empty = true;
    for (const struct dirent *entry; empty && (entry = readdir(directory));) {
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    }
    closedir(directory);
    return empty;
}

char *path_join(const char *directory, const char *name)
{
    size_t size = strlen(directory) + strlen(name) + 2;
    char *path = malloc(size);
    if (path) snprintf(path, size, "%s/%s", directory, name);
    return path;
}

bool path_same(const char *a, const char *b)
{
    struct stat first, second;
    if (stat(a, &first) != 0 || stat(b, &second) != 0) return false;
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

bool path_make_directories(const char *path)
{
    size_t length = strlen(path);
    char *part = malloc(length + 1);
    if (!part) return false;
    memcpy(part, path, length + 1);
    bool made = true;
    for (size_t i = 1; made && i <= length; i++) {
        if (part[i] != '/' && part[i] != '\0') continue;
        char separator = part[i];
        part[i] = '\0';
        made = mkdir(part, 0777) == 0 || errno == EEXIST;
        part[i] = separator;
    }
    struct stat info;
    if (made && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))) {
        errno = ENOTDIR;
        made = false;
    }
    free(part);
    return made;
}

static bool copy_stream(FILE *source, FILE *destination)
{
    char block[65536];
    size_t bytes;
    while ((bytes = fread(block, 1, sizeof block, source)) > 0) {
        if (fwrite(block, 1, bytes, destination) != bytes) return false;
    }
    return !ferror(source);
}

bool path_copy_into(const char *file, const char *directory)
{
    const char *slash = strrchr(file, '/');
    char *target = path_join(directory, slash ? slash + 1 : file);
    FILE *source = fopen(file, "rb"), *destination = NULL;
    bool copied = false;
    if (!target || !source) goto done;
    destination = fopen(target, "wb");
    if (!destination) goto done;
    copied = copy_stream(source, destination);
done:
    if (destination && fclose(destination) != 0) copied = false;
    if (source) fclose(source);
    free(target);
    return copied;
}
