/* A directory that appears whole: its files are written to a directory beside it, which then takes its place.
 *
 * A target that does not exist appears by one rename. One that exists keeps its other files: the new files are renamed over the old ones
 * one after the other, config.json last, so that a crash in between leaves complete files of either version, never torn ones. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/status.h"
#include "io/file.h"

typedef ewc_status (*entry_action)(ewc_context *ctx, const char *name, void *user);

/* Calls action for every entry of the directory but "." and "..". */
static ewc_status for_each(ewc_context *ctx, const char *directory, entry_action action, void *user)
{
    DIR *d = opendir(directory);
    if (d == NULL) return ewci_io_fail(ctx, "open", directory);
    ewc_status status = EWC_OK;
    for (struct dirent *entry = readdir(d); entry != NULL && status == EWC_OK; entry = readdir(d))
        if (ewci_name_is_plain(entry->d_name)) status = action(ctx, entry->d_name, user);
    closedir(d);
    return status;
}

static ewc_status remove_entry(ewc_context *ctx, const char *name, void *user)
{
    char *path;
    EWCI_TRY(ewci_path_join(ctx, user, name, &path));
    unlink(path);
    ewci_free(ctx, path);
    return EWC_OK;
}

void ewci_stage_abandon(ewc_context *ctx, const char *stage)
{
    if (stage == NULL) return;
    for_each(ctx, stage, remove_entry, (void *)(uintptr_t)stage);
    rmdir(stage);
}

ewc_status ewci_stage_begin(ewc_context *ctx, const char *target, char **stage)
{
    size_t length = strlen(target);
    void *memory;
    EWCI_TRY(ewci_alloc(ctx, length + 32, "a path", &memory));
    char *path = memory;
    while (length > 1 && target[length - 1] == '/') length--;
    snprintf(path, length + 32, "%.*s.tmp-%ld", (int)length, target, (long)getpid());
    if (ewci_path_is_directory(path)) ewci_stage_abandon(ctx, path);
    if (mkdir(path, 0777) != 0) {
        ewc_status status = ewci_io_fail(ctx, "create directory", path);
        ewci_free(ctx, path);
        return status;
    }
    *stage = path;
    return EWC_OK;
}

typedef struct move {
    const char *stage, *target;
    bool (*stale)(const char *name);
    bool config; /* move config.json, or everything else */
} move;

static ewc_status move_entry(ewc_context *ctx, const char *name, void *user)
{
    const move *m = user;
    char *from, *to = NULL;
    if ((strcmp(name, "config.json") == 0) != m->config) return EWC_OK;
    EWCI_TRY(ewci_path_join(ctx, m->stage, name, &from));
    ewc_status status = ewci_path_join(ctx, m->target, name, &to);
    if (status == EWC_OK && rename(from, to) != 0) status = ewci_io_fail(ctx, "put into place", to);
    ewci_free(ctx, from);
    ewci_free(ctx, to);
    return status;
}

/* Names of the target's stale files, each NUL-terminated, one after the other. */
typedef struct stale_names {
    const move *m;
    char *names;
    size_t bytes;
} stale_names;

/* What an earlier save left in the target and this one does not replace. */
static ewc_status note_stale(ewc_context *ctx, const char *name, void *user)
{
    stale_names *list = user;
    char *kept;
    void *memory;
    if (list->m->stale == NULL || !list->m->stale(name)) return EWC_OK;
    EWCI_TRY(ewci_path_join(ctx, list->m->stage, name, &kept));
    bool replaced = ewci_path_exists(kept);
    ewci_free(ctx, kept);
    if (replaced) return EWC_OK;
    size_t length = strlen(name) + 1;
    EWCI_TRY(ewci_alloc(ctx, list->bytes + length, "a list of names", &memory));
    if (list->bytes > 0) memcpy(memory, list->names, list->bytes);
    memcpy((char *)memory + list->bytes, name, length);
    ewci_free(ctx, list->names);
    list->names = memory;
    list->bytes += length;
    return EWC_OK;
}

static ewc_status replace_files(ewc_context *ctx, move *m)
{
    stale_names list = {.m = m};
    ewc_status status = for_each(ctx, m->target, note_stale, &list);
    if (status == EWC_OK) status = for_each(ctx, m->stage, move_entry, m);
    for (size_t i = 0; i < list.bytes && status == EWC_OK; i += strlen(list.names + i) + 1)
        status = remove_entry(ctx, list.names + i, (void *)(uintptr_t)m->target);
    m->config = true;
    if (status == EWC_OK) status = for_each(ctx, m->stage, move_entry, m);
    ewci_free(ctx, list.names);
    return status;
}

ewc_status ewci_stage_commit(ewc_context *ctx, const char *stage, const char *target, bool (*stale)(const char *name))
{
    move m = {stage, target, stale, false};
    ewc_status status = EWC_OK;
    if (!ewci_path_exists(target)) {
        if (rename(stage, target) != 0) status = ewci_io_fail(ctx, "put into place", target);
    } else if (!ewci_path_is_directory(target)) {
        status = ewci_fail(ctx, EWC_ERROR_IO, "%s: expected a directory, found a file", target);
    } else {
        status = replace_files(ctx, &m);
    }
    if (ewci_path_is_directory(stage)) ewci_stage_abandon(ctx, stage);
    return status;
}
