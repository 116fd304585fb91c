/* Files of a test: a directory of its own, bytes written and read back, and refusals that must name what is wrong. */
#ifndef TESTS_SUPPORT_FILES_H
#define TESTS_SUPPORT_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "libewc.h"

/* An empty directory below TMPDIR, the same one for every call of a program; emptied by files_clear. */
const char *files_directory(void);
void files_clear(void);

/* A test after which the directory is emptied. */
int files_teardown(void **state);
#define FILES_TEST(name) cmocka_unit_test_teardown(name, files_teardown)

/* "DIRECTORY/name"; one of 16 buffers used in turn. */
const char *files_path(const char *name);

/* Writes bytes to files_path(name), which is returned. Directories in name must exist. */
const char *files_write(const char *name, const void *bytes, size_t count);
const char *files_text(const char *name, const char *text);

/* Puts text into a buffer, or behind what is there; fails the test if it does not fit. */
void files_set(char *buffer, size_t bytes, const char *text);
void files_append(char *buffer, size_t bytes, const char *text);

/* All bytes of a file, NUL-terminated; free() them. count may be NULL. */
char *files_read(const char *path, size_t *count);

/* A directory below files_directory(); its path. */
const char *files_make_directory(const char *name);

/* Number of entries of a directory. */
int files_count(const char *directory);

/* Fails the test unless status is `expected` and the last error has every one of the words (NULL ends them). */
void files_refused(const ewc_context *ctx, ewc_status status, ewc_status expected, const char *file, int line, ...);
#define REFUSED(ctx, call, expected, ...) \
    files_refused((ctx), (call), (expected), __FILE__, __LINE__, __VA_ARGS__, (const char *)NULL)

#endif
