/* See system.h. Files of /proc and /sys that are missing or unreadable leave their limit out. */
#include "core/system.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, LINE_BYTES = 4352 };

/* The first number of `path`, or of its line that begins with `key`. False when there is none ("max" is none). */
static bool read_number(const char *path, const char *key, int64_t *number)
{
    char line[LINE_BYTES];
    bool found = false;
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    while (!found && fgets(line, sizeof line, file) != NULL)
        found = strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%" SCNd64, number) == 1;
    fclose(file);
    return found;
}

static bool read_group_number(const char *group, const char *name, const char *key, int64_t *number)
{
    char path[PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", group, name);
    return read_number(path, key, number);
}

/* File names of the two versions of control groups. */
typedef struct group_files {
    const char *limit, *usage, *reclaimable;
} group_files;

static const group_files UNIFIED = {"memory.max", "memory.current", "inactive_file "};
static const group_files LEGACY = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "};

/* What one group leaves: limit - usage, where usage is without file pages that are given up first. */
static int64_t group_available(const char *group, const group_files *files, int64_t least)
{
    int64_t limit, usage, reclaimable = 0;
    if (!read_group_number(group, files->limit, "", &limit) || !read_group_number(group, files->usage, "", &usage))
        return least;
    (void)read_group_number(group, "memory.stat", files->reclaimable, &reclaimable);
    int64_t left = limit - usage + (reclaimable < usage ? reclaimable : usage);
    if (left < 0) left = 0;
    return left < least ? left : least;
}

/* The group itself and all that contain it; a container sees its own group as the uppermost. */
static int64_t groups_available(const char *mount, const char *name, const group_files *files, int64_t least)
{
    char group[PATH_BYTES];
    size_t shortest = strlen(mount);
    int length = snprintf(group, sizeof group, "%s%s", mount, name);
    if (length < 0 || (size_t)length >= sizeof group) return least;
    for (;;) {
        least = group_available(group, files, least);
        char *slash = strrchr(group, '/');
        if (slash == NULL || (size_t)(slash - group) < shortest) return least;
        *slash = '\0';
    }
}

int64_t ewci_memory_available_under(const char *root)
{
    char path[PATH_BYTES], line[LINE_BYTES], mount[PATH_BYTES];
    int64_t least = 0;
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    if (!read_number(path, "MemAvailable:", &least)) return 0;
    least *= 1024;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (file == NULL) return least;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *name = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (name == NULL) continue;
        *name++ = '\0';
        bool unified = controllers[1] == '\0', legacy = strstr(controllers, "memory") != NULL;
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s", root, unified ? "" : "/memory");
        if (unified || legacy) least = groups_available(mount, name, unified ? &UNIFIED : &LEGACY, least);
    }
    fclose(file);
    return least;
}

int64_t ewci_memory_available(void)
{
    return ewci_memory_available_under("");
}

int64_t ewci_memory_total(void)
{
    int64_t pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && bytes > 0 ? pages * bytes : 0;
}
