/* gather_rows and scatter_square: rows of a table by their numbers, which are distinct. */
#include <string.h>

#include "cpu/device.h"
#include "cpu/operations.h"

typedef struct job {
    ewci_device *device;
    float *rows, *table;
    const int32_t *index;
    int64_t count, hidden;
    bool clear;
    float weight;
} job;

static void gather_slice(void *argument, int index, int count)
{
    const job *j = argument;
    size_t bytes = (size_t)j->hidden * sizeof(float);
    int64_t begin, end;
    ewci_slice(j->count, 1, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        float *source = j->table + j->index[i] * j->hidden;
        memcpy(j->rows + i * j->hidden, source, bytes);
        if (j->clear) memset(source, 0, bytes);
    }
}

static void square_slice(void *argument, int index, int count)
{
    const job *j = argument;
    int64_t begin, end;
    ewci_slice(j->count, 1, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        j->device->kernels->add_square(j->table + j->index[i] * j->hidden, j->rows + i * j->hidden, j->weight,
                                       j->hidden);
}

ewc_status ewci_cpu_gather_rows(ewci_device *device, float *rows, float *table, const int32_t *index, int64_t count,
                                int64_t hidden, bool clear)
{
    job j = {.device = device,
             .rows = rows,
             .table = table,
             .index = index,
             .count = count,
             .hidden = hidden,
             .clear = clear};
    ewci_parallel(device->pool, ewci_team(device, count * hidden), gather_slice, &j);
    return EWC_OK;
}

ewc_status ewci_cpu_scatter_square(ewci_device *device, float *fisher, const float *rows, const int32_t *index,
                                   int64_t count, int64_t hidden, float weight)
{
    job j = {.device = device,
             .rows = (float *)(uintptr_t)rows,
             .table = fisher,
             .index = index,
             .count = count,
             .hidden = hidden,
             .weight = weight};
    ewci_parallel(device->pool, ewci_team(device, count * hidden), square_slice, &j);
    return EWC_OK;
}
