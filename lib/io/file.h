/* Files: mapping, reading whole, and writing so that a file or directory appears whole or not at all. */
#ifndef EWCI_IO_FILE_H
#define EWCI_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libewc.h"

/* Records "PATH: cannot WHAT: the system's reason (remedy)", from errno; ewci_io_fail is then EWC_ERROR_IO. */
void ewci_io_record(ewc_context *ctx, const char *what, const char *path);
#define ewci_io_fail(ctx, what, path) (ewci_io_record((ctx), (what), (path)), EWC_ERROR_IO)

/* A file mapped read-only; it must not be made shorter meanwhile. An empty file has size 0 and data NULL. */
typedef struct ewci_map {
    const unsigned char *data;
    size_t size;
} ewci_map;
ewc_status ewci_map_open(ewc_context *ctx, const char *path, ewci_map *map);
void ewci_map_close(ewci_map *map);

/* Opens a regular file for reading, nothing else (a pipe or device would hang or never end), and tells its size. */
ewc_status ewci_file_open(ewc_context *ctx, const char *path, int *descriptor, size_t *size);

/* Reads up to `bytes` bytes; *got < bytes only at the file's end. */
ewc_status ewci_read_all(ewc_context *ctx, const char *path, int descriptor, void *data, size_t bytes, size_t *got);

/* A whole file of at most `limit` bytes, NUL-terminated; free with ewci_free. */
ewc_status ewci_file_read(ewc_context *ctx, const char *path, size_t limit, char **text, size_t *bytes);

bool ewci_path_exists(const char *path); /* anything of that name, a link to nowhere included */
bool ewci_path_is_directory(const char *path);

/* "directory/name"; free with ewci_free. */
ewc_status ewci_path_join(ewc_context *ctx, const char *directory, const char *name, char **out);

/* A name that stays in its directory: not empty, no '/', not "." or "..". */
bool ewci_name_is_plain(const char *name);

/* Calls action for every entry of a directory but "." and ".."; `what` it is for is named when it cannot be opened. */
typedef ewc_status (*ewci_entry_action)(ewc_context *ctx, const char *name, void *user);
ewc_status ewci_for_each_entry(ewc_context *ctx, const char *directory, ewci_entry_action action, void *user);

/* A file being written beside its place under a name of its own: commit syncs it and renames it there, abandon
 * removes it. Without overwrite a place that is taken is refused with EWC_ERROR_EXISTS, at begin and, should it be
 * taken meanwhile, at commit. A symbolic link is followed: its target is replaced. Short writes and EINTR are
 * handled. */
typedef struct ewci_writer {
    ewc_context *ctx;
    char *path, *temporary;
    int descriptor;
    bool overwrite;
    uint32_t crc; /* CRC-32 of what was written */
    uint64_t bytes;
} ewci_writer;
ewc_status ewci_writer_begin(ewc_context *ctx, const char *path, bool overwrite, ewci_writer *writer);
ewc_status ewci_writer_write(ewci_writer *writer, const void *data, size_t bytes);
ewc_status ewci_writer_commit(ewci_writer *writer); /* abandons on failure */
void ewci_writer_abandon(ewci_writer *writer);      /* twice is fine */

/* The whole of a small file in one call. */
ewc_status ewci_file_write(ewc_context *ctx, const char *path, const void *data, size_t bytes, bool overwrite);

/* Copies a file if it is there; *copied may be NULL. */
ewc_status ewci_file_copy(ewc_context *ctx, const char *from, const char *to, bool *copied);

/* CRC-32 (that of zlib and PNG) of a file of any size. */
ewc_status ewci_file_crc(ewc_context *ctx, const char *path, uint32_t *crc, uint64_t *bytes);

/* A fresh directory beside `target` in which a directory's files are made; free *stage with ewci_free. Use one of the
 * two ways to put it into place, or abandon it; the stage is gone afterwards, also on failure. */
ewc_status ewci_stage_begin(ewc_context *ctx, const char *target, char **stage);
void ewci_stage_abandon(ewc_context *ctx, const char *stage);

/* The stage becomes the target, whole; what was there is removed. Either the old or the new one is in place at every
 * moment (where the file system cannot exchange two names: the old one lies beside it as TARGET.old for a moment). */
ewc_status ewci_stage_replace(ewc_context *ctx, const char *stage, const char *target);

/* The stage's files join those of the target: files of the same name are replaced, then files for which `stale` (may
 * be NULL) says so, and that are not the stage's, are removed. `last` (may be NULL) is renamed after all others have
 * reached the disk: the file that makes them count. A target that does not exist appears by one rename. */
ewc_status ewci_stage_merge(ewc_context *ctx, const char *stage, const char *target, const char *last,
                            bool (*stale)(const char *name));

/* Makes renames in a directory last, where the file system can. */
ewc_status ewci_sync_directory(ewc_context *ctx, const char *directory);

#endif
