/* A directory that appears whole: its files are made in a directory beside it, which then takes its place or joins
 * it. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* renameat2 */
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/status.h"
#include "io/file.h"

ewc_status ewci_for_each_entry(ewc_context *ctx, const char *directory, ewci_entry_action action, void *user)
{
    DIR *d = opendir(directory);
    if (d == NULL) return ewci_io_fail(ctx, "open the directory", directory);
    ewc_status status = EWC_OK;
    for (struct dirent *entry = readdir(d); entry != NULL && status == EWC_OK; entry = readdir(d))
        if (ewci_name_is_plain(entry->d_name)) status = action(ctx, entry->d_name, user);
    closedir(d);
    return status;
}

/* Removal works on the open directory, so that it needs no memory: it must succeed where memory has run out. */
static void remove_directory(const char *directory)
{
    DIR *d = opendir(directory);
    if (d == NULL) return;
    for (struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d))
        if (ewci_name_is_plain(entry->d_name)) unlinkat(dirfd(d), entry->d_name, 0);
    closedir(d);
    rmdir(directory);
}

void ewci_stage_abandon(ewc_context *ctx, const char *stage)
{
    (void)ctx;
    if (stage != NULL) remove_directory(stage);
}

/* Is the path's last part a link, or "." or ".."? */
static bool is_indirect(const char *path)
{
    struct stat info;
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || (lstat(path, &info) == 0 && S_ISLNK(info.st_mode));
}

/* The path without slashes at its end; what it stands for, where it is a link. */
static ewc_status find_place(ewc_context *ctx, const char *target, char **place)
{
    char *plain;
    EWCI_TRY(ewci_strdup(ctx, target, &plain));
    for (size_t length = strlen(plain); length > 1 && plain[length - 1] == '/'; length--) plain[length - 1] = '\0';
    char *real = is_indirect(plain) ? realpath(plain, NULL) : NULL;
    if (real == NULL) {
        *place = plain;
        return EWC_OK;
    }
    ewci_free(ctx, plain);
    ewc_status status = ewci_strdup(ctx, real, place);
    free(real);
    return status;
}

ewc_status ewci_stage_begin(ewc_context *ctx, const char *target, char **stage)
{
    char *place;
    void *memory;
    EWCI_TRY(find_place(ctx, target, &place));
    size_t bytes = strlen(place) + 48;
    ewc_status status = ewci_alloc(ctx, bytes, "a path", &memory);
    if (status != EWC_OK) {
        ewci_free(ctx, place);
        return status;
    }
    char *path = memory;
    int result = -1;
    for (int attempt = 0; attempt < 10000; attempt++) {
        snprintf(path, bytes, "%s.tmp-%ld-%d", place, (long)getpid(), attempt);
        result = mkdir(path, 0777);
        if (result == 0 || errno != EEXIST) break;
    }
    if (result != 0) status = ewci_io_fail(ctx, "create a directory beside it", target);
    ewci_free(ctx, place);
    if (status == EWC_OK)
        *stage = path;
    else
        ewci_free(ctx, path);
    return status;
}

static ewc_status sync_parent(ewc_context *ctx, const char *path)
{
    char *copy;
    EWCI_TRY(ewci_strdup(ctx, path, &copy));
    ewc_status status = ewci_sync_directory(ctx, dirname(copy));
    ewci_free(ctx, copy);
    return status;
}

static bool exchange(const char *a, const char *b)
{
#ifdef RENAME_EXCHANGE
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0;
#else
    (void)a;
    (void)b;
    return false;
#endif
}

/* Where two names cannot be exchanged: the old directory steps aside first, and comes back if the new one cannot
 * follow. */
static ewc_status step_aside(ewc_context *ctx, const char *stage, const char *place)
{
    char *aside;
    void *memory;
    size_t bytes = strlen(place) + 8;
    EWCI_TRY(ewci_alloc(ctx, bytes, "a path", &memory));
    aside = memory;
    snprintf(aside, bytes, "%s.old", place);
    ewc_status status = EWC_OK;
    if (rename(place, aside) != 0) {
        status = ewci_io_fail(ctx, "move aside", place);
    } else if (rename(stage, place) != 0) {
        status = ewci_io_fail(ctx, "put into place", place);
        rename(aside, place);
    } else {
        remove_directory(aside);
    }
    ewci_free(ctx, aside);
    return status;
}

static ewc_status replace(ewc_context *ctx, const char *stage, const char *place)
{
    EWCI_TRY(ewci_sync_directory(ctx, stage));
    if (!ewci_path_exists(place)) {
        if (rename(stage, place) != 0) return ewci_io_fail(ctx, "put into place", place);
    } else if (!ewci_path_is_directory(place)) {
        return ewci_fail(ctx, EWC_ERROR_IO, "%s: expected a directory, found a file", place);
    } else if (!exchange(stage, place)) {
        EWCI_TRY(step_aside(ctx, stage, place));
    }
    return sync_parent(ctx, place);
}

ewc_status ewci_stage_replace(ewc_context *ctx, const char *stage, const char *target)
{
    char *place = NULL;
    ewc_status status = find_place(ctx, target, &place);
    if (status == EWC_OK) status = replace(ctx, stage, place);
    remove_directory(stage); /* after an exchange: what was there before */
    ewci_free(ctx, place);
    return status;
}

/* What joining two directories needs. Everything that takes memory happens before the first rename. */
typedef struct merge {
    const char *target, *last;
    bool (*stale)(const char *name);
    int from, to; /* the two directories, open */
    char **old;   /* stale files of the target */
    int64_t old_count, old_room;
} merge;

static ewc_status fail_entry(ewc_context *ctx, const merge *m, const char *what, const char *name)
{
    char path[4400];
    int number = errno;
    snprintf(path, sizeof path, "%s/%s", m->target, name);
    errno = number;
    return ewci_io_fail(ctx, what, path);
}

static ewc_status move_file(ewc_context *ctx, const merge *m, const char *name)
{
    return renameat(m->from, name, m->to, name) == 0 ? EWC_OK : fail_entry(ctx, m, "put into place", name);
}

static ewc_status move_entry(ewc_context *ctx, const char *name, void *user)
{
    const merge *m = user;
    return m->last != NULL && strcmp(name, m->last) == 0 ? EWC_OK : move_file(ctx, m, name);
}

/* Notes what is stale and will not be replaced, while the stage still has its files. */
static ewc_status note_stale(ewc_context *ctx, const char *name, void *user)
{
    merge *m = user;
    struct stat info;
    if (!m->stale(name) || fstatat(m->from, name, &info, AT_SYMLINK_NOFOLLOW) == 0) return EWC_OK;
    if (m->old_count == m->old_room) {
        void *memory;
        int64_t room = 2 * m->old_room + 8;
        EWCI_TRY(ewci_alloc_array(ctx, room, sizeof *m->old, "names of old files", &memory));
        if (m->old_count > 0) memcpy(memory, m->old, (size_t)m->old_count * sizeof *m->old);
        ewci_free(ctx, m->old);
        m->old = memory;
        m->old_room = room;
    }
    EWCI_TRY(ewci_strdup(ctx, name, &m->old[m->old_count]));
    m->old_count++;
    return EWC_OK;
}

static ewc_status remove_old(ewc_context *ctx, const merge *m)
{
    for (int64_t i = 0; i < m->old_count; i++)
        if (unlinkat(m->to, m->old[i], 0) != 0 && errno != ENOENT) return fail_entry(ctx, m, "remove", m->old[i]);
    return ewci_sync_directory(ctx, m->target);
}

static ewc_status join(ewc_context *ctx, const char *stage, merge *m)
{
    if (m->stale != NULL) EWCI_TRY(ewci_for_each_entry(ctx, m->target, note_stale, m));
    EWCI_TRY(ewci_for_each_entry(ctx, stage, move_entry, m));
    EWCI_TRY(ewci_sync_directory(ctx, m->target));
    if (m->last != NULL) EWCI_TRY(move_file(ctx, m, m->last));
    EWCI_TRY(ewci_sync_directory(ctx, m->target));
    return remove_old(ctx, m);
}

static ewc_status open_and_join(ewc_context *ctx, const char *stage, merge *m)
{
    ewc_status status = EWC_OK;
    m->from = open(stage, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    m->to = open(m->target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->from < 0 || m->to < 0)
        status = ewci_io_fail(ctx, "open the directory", m->from < 0 ? stage : m->target);
    else
        status = join(ctx, stage, m);
    if (m->from >= 0) close(m->from);
    if (m->to >= 0) close(m->to);
    for (int64_t i = 0; i < m->old_count; i++) ewci_free(ctx, m->old[i]);
    ewci_free(ctx, m->old);
    return status;
}

ewc_status ewci_stage_merge(ewc_context *ctx, const char *stage, const char *target, const char *last,
                            bool (*stale)(const char *name))
{
    merge m = {.target = target, .last = last, .stale = stale};
    ewc_status status = EWC_OK;
    if (!ewci_path_exists(target))
        status = ewci_stage_replace(ctx, stage, target);
    else if (!ewci_path_is_directory(target))
        status = ewci_fail(ctx, EWC_ERROR_IO, "%s: expected a directory, found a file", target);
    else
        status = open_and_join(ctx, stage, &m);
    remove_directory(stage);
    return status;
}
