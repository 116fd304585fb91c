/* Slices and processors: see threads.h. */
#define _GNU_SOURCE
#include "core/threads.h"

#include <sched.h>
#include <unistd.h>

void ewci_slice(int64_t n, int64_t align, int index, int count, int64_t *begin, int64_t *end)
{
    int64_t blocks = n / align + (n % align != 0);
    int64_t share = blocks / count, extra = blocks % count;
    int64_t first = share * index + (index < extra ? index : extra);
    int64_t last = first + share + (index < extra);
    *begin = first * align < n ? first * align : n;
    *end = last * align < n ? last * align : n;
}

int ewci_processor_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int count = CPU_COUNT(&set);
        if (count > 0) return count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}
