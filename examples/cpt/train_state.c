/* Saved training states of a run: see train_state.h. */
#include "train_state.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char NAME[] = "train";
static const char PREFIX[] = "step-";

enum { KEPT = 2, NAME_BYTES = 40 };

typedef struct state_list {
    int64_t *steps; /* newest first */
    int64_t count;
} state_list;

/* The step in a state's name; -1 for other names, half-written states ("step-8.tmp-...") among them. */
static int64_t step_of_name(const char *name)
{
    size_t prefix = sizeof PREFIX - 1;
    if (strncmp(name, PREFIX, prefix) != 0 || !isdigit((unsigned char)name[prefix])) return -1;
    char *end;
    errno = 0;
    long long step = strtoll(name + prefix, &end, 10);
    return *end == '\0' && errno == 0 ? step : -1;
}

static char *state_path(const char *directory, int64_t step)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%08lld", PREFIX, (long long)step);
    return path_join(directory, name);
}

static int newest_first(const void *a, const void *b)
{
    int64_t first = *(const int64_t *)a, second = *(const int64_t *)b;
    return (first < second) - (first > second);
}

static int list_states(const char *directory, state_list *list)
{
    *list = (state_list){NULL, 0};
    DIR *d = opendir(directory);
    if (d == NULL && errno == ENOENT) return CPT_OK;
    if (d == NULL) return program_error(NAME, CPT_INPUT, "%s: cannot be read: %s", directory, strerror(errno));
    int code = CPT_OK;
    for (const struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d)) {
        int64_t step = step_of_name(entry->d_name);
        if (step < 0) continue;
        int64_t *steps = realloc(list->steps, (size_t)(list->count + 1) * sizeof *steps);
        if (steps == NULL) {
            code = program_error(NAME, CPT_OTHER, "out of memory");
            break;
        }
        list->steps = steps;
        steps[list->count++] = step;
    }
    closedir(d);
    if (list->count > 1) qsort(list->steps, (size_t)list->count, sizeof *list->steps, newest_first);
    return code;
}

/* Removes a directory of plain files. */
static void remove_directory(const char *path)
{
    DIR *d = opendir(path);
    if (d == NULL) return;
    for (const struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) unlinkat(dirfd(d), entry->d_name, 0);
    closedir(d);
    rmdir(path);
}

int train_state_save(const char *directory, ewc_context *context, ewc_trainer *trainer, const char *user_data)
{
    if (!path_make_directories(directory))
        return program_error(NAME, CPT_INPUT, "%s: cannot be made: %s", directory, strerror(errno));
    char *path = state_path(directory, ewc_trainer_steps(trainer));
    if (path == NULL) return program_error(NAME, CPT_OTHER, "out of memory");
    ewc_status status = ewc_trainer_save(trainer, path, user_data);
    free(path);
    if (status != EWC_OK) return program_fail(NAME, context, status);
    state_list list;
    int code = list_states(directory, &list);
    for (int64_t i = KEPT; i < list.count && code == CPT_OK; i++) {
        path = state_path(directory, list.steps[i]);
        if (path != NULL) remove_directory(path);
        free(path);
    }
    free(list.steps);
    return code;
}

/* A state of another run is an error; one that is damaged is passed over. */
static bool is_damage(ewc_status status)
{
    return status == EWC_ERROR_IO || status == EWC_ERROR_FORMAT;
}

int train_state_resume(const char *directory, ewc_context *context, ewc_trainer *trainer, char **user_data)
{
    state_list list;
    *user_data = NULL;
    int code = list_states(directory, &list);
    ewc_status status = EWC_ERROR_FORMAT;
    for (int64_t i = 0; i < list.count && code == CPT_OK && is_damage(status); i++) {
        char *path = state_path(directory, list.steps[i]);
        if (path == NULL) {
            code = program_error(NAME, CPT_OTHER, "out of memory");
            break;
        }
        status = ewc_trainer_resume(trainer, path, user_data);
        if (status != EWC_OK && !is_damage(status))
            code = program_fail(NAME, context, status);
        else if (status != EWC_OK)
            fprintf(stderr, "train: %s is passed over: %s\n", path, ewc_last_error(context));
        else
            fprintf(stderr, "train: resumed from %s\n", path);
        free(path);
    }
    if (code == CPT_OK && list.count > 0 && status != EWC_OK)
        code = program_error(NAME, CPT_INPUT, "%s: no training state is whole: start again with --force", directory);
    free(list.steps);
    return code;
}

int train_state_clear(const char *directory)
{
    DIR *d = opendir(directory);
    if (d == NULL && errno == ENOENT) return CPT_OK;
    if (d == NULL) return program_error(NAME, CPT_INPUT, "%s: cannot be read: %s", directory, strerror(errno));
    for (const struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d)) {
        char *path =
            strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) == 0 ? path_join(directory, entry->d_name) : NULL;
        if (path != NULL) remove_directory(path);
        free(path);
    }
    closedir(d);
    return CPT_OK;
}
