/* See files.h. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* nftw */
#endif
#include "support/files.h"

#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

const char *files_directory(void)
{
    static char directory[4096];
    const char *parent = getenv("TMPDIR");
    if (directory[0] != '\0') return directory;
    snprintf(directory, sizeof directory, "%s/files-XXXXXX", parent == NULL ? "/tmp" : parent);
    assert_non_null(mkdtemp(directory));
    return directory;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    return walk->level == 0 ? 0 : remove(path);
}

void files_clear(void)
{
    nftw(files_directory(), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

int files_teardown(void **state)
{
    (void)state;
    files_clear();
    return 0;
}

const char *files_path(const char *name)
{
    static char paths[16][4200];
    static int next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", files_directory(), name);
    return path;
}

const char *files_write(const char *name, const void *bytes, size_t count)
{
    const char *path = files_path(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
    return path;
}

const char *files_text(const char *name, const char *text)
{
    return files_write(name, text, strlen(text));
}

void files_set(char *buffer, size_t bytes, const char *text)
{
    assert_in_range(snprintf(buffer, bytes, "%s", text), 0, bytes - 1);
}

void files_append(char *buffer, size_t bytes, const char *text)
{
    size_t used = strlen(buffer);
    files_set(buffer + used, bytes - used, text);
}

char *files_read(const char *path, size_t *count)
{
    struct stat info;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &info), 0);
    char *bytes = malloc((size_t)info.st_size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)info.st_size, f), info.st_size);
    fclose(f);
    bytes[info.st_size] = '\0';
    if (count != NULL) *count = (size_t)info.st_size;
    return bytes;
}

const char *files_make_directory(const char *name)
{
    const char *path = files_path(name);
    assert_int_equal(mkdir(path, 0777), 0);
    return path;
}

int files_count(const char *directory)
{
    int count = 0;
    DIR *d = opendir(directory);
    assert_non_null(d);
    for (struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(d);
    return count;
}

void files_refused(const ewc_context *ctx, ewc_status status, ewc_status expected, const char *file, int line, ...)
{
    const char *text = ewc_last_error(ctx);
    va_list words;
    bool good = status == expected;
    if (!good) print_error("expected %s, found %s: %s\n", ewc_status_name(expected), ewc_status_name(status), text);
    va_start(words, line);
    for (const char *word = va_arg(words, const char *); word != NULL && good; word = va_arg(words, const char *)) {
        good = strstr(text, word) != NULL;
        if (!good) print_error("expected \"%s\" in the text: %s\n", word, text);
    }
    va_end(words);
    if (!good) _fail(file, line);
}
