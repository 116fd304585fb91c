/* Files: mapping, reading whole, and writing so that a file or directory appears whole or not at all. */
#ifndef EWCI_IO_FILE_H
#define EWCI_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libewc.h"

/* "the call could not ...": an EWC_ERROR_IO text with path, what was tried and the system's reason. */
ewc_status ewci_io_fail(ewc_context *ctx, const char *what, const char *path);

/* A file mapped read-only. An empty file has size 0 and data NULL. */
typedef struct ewci_map {
    const unsigned char *data;
    size_t size;
} ewci_map;
ewc_status ewci_map_open(ewc_context *ctx, const char *path, ewci_map *map);
void ewci_map_close(ewci_map *map);

/* A whole file of at most `limit` bytes, NUL-terminated; free with ewci_free. */
ewc_status ewci_file_read(ewc_context *ctx, const char *path, size_t limit, char **text, size_t *bytes);

bool ewci_path_exists(const char *path);
bool ewci_path_is_directory(const char *path);

/* "directory/name"; free with ewci_free. */
ewc_status ewci_path_join(ewc_context *ctx, const char *directory, const char *name, char **out);

/* A name that stays in its directory: not empty, no '/', not "." or "..". */
bool ewci_name_is_plain(const char *name);

/* A file being written beside its place: `commit` syncs and renames it there, `abandon` removes it. Short writes and EINTR are handled.
 * If the place is taken and overwrite is false, begin fails with EWC_ERROR_EXISTS. */
typedef struct ewci_writer {
    ewc_context *ctx;
    char *path, *temporary;
    int descriptor;
    uint32_t crc; /* CRC-32 of what was written */
    uint64_t bytes;
} ewci_writer;
ewc_status ewci_writer_begin(ewc_context *ctx, const char *path, bool overwrite, ewci_writer *writer);
ewc_status ewci_writer_write(ewci_writer *writer, const void *data, size_t bytes);
ewc_status ewci_writer_commit(ewci_writer *writer); /* abandons on failure */
void ewci_writer_abandon(ewci_writer *writer);

/* The whole of a small file in one call. */
ewc_status ewci_file_write(ewc_context *ctx, const char *path, const void *data, size_t bytes, bool overwrite);

/* A fresh directory beside `target` (an abandoned one of the same name is emptied first); free *stage with ewci_free. */
ewc_status ewci_stage_begin(ewc_context *ctx, const char *target, char **stage);
/* Puts the stage in the target's place. If target exists as a directory its own files stay, those with the stage's names are replaced, and
 * those for which `stale` says so are removed. The stage is gone afterwards, also on failure. */
ewc_status ewci_stage_commit(ewc_context *ctx, const char *stage, const char *target, bool (*stale)(const char *name));
void ewci_stage_abandon(ewc_context *ctx, const char *stage);

/* Copies a file if it is there; *copied may be NULL. */
ewc_status ewci_file_copy(ewc_context *ctx, const char *from, const char *to, bool *copied);

#endif
