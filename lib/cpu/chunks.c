/* See chunks.h. */
#include "cpu/chunks.h"

typedef struct work {
    ewci_chunk_body body;
    void *job;
    int64_t total, size;
    int count;
} work;

/* The smallest whole number of blocks that gives at most EWCI_MOST_CHUNKS chunks. */
static int64_t chunk_size(int64_t total)
{
    int64_t blocks = total / EWCI_BLOCK + (total % EWCI_BLOCK != 0);
    int64_t size = (blocks / EWCI_MOST_CHUNKS + (blocks % EWCI_MOST_CHUNKS != 0)) * EWCI_BLOCK;
    return size > EWCI_SMALLEST_CHUNK ? size : EWCI_SMALLEST_CHUNK;
}

int ewci_chunk_count(int64_t total)
{
    int64_t size = chunk_size(total);
    return (int)(total / size + (total % size != 0));
}

static void run_slice(void *argument, int index, int threads)
{
    const work *w = argument;
    int64_t begin, end;
    ewci_slice(w->count, 1, index, threads, &begin, &end);
    for (int64_t chunk = begin; chunk < end; chunk++) {
        int64_t first = chunk * w->size, left = w->total - first;
        w->body(w->job, (int)chunk, first, left < w->size ? left : w->size);
    }
}

void ewci_each_chunk(const ewci_device *device, int64_t total, ewci_chunk_body body, void *job)
{
    work w = {body, job, total, chunk_size(total), ewci_chunk_count(total)};
    ewci_parallel(device->pool, w.count < device->threads ? w.count : device->threads, run_slice, &w);
}
