/* The flat order in chunks whose boundaries depend on the number of elements alone.
 *
 * Each chunk is worked on by one thread and leaves its partial sums in a place of its own; they are added in the chunks' order
 * afterwards. So sums have the same bits for every number of threads, and their number is bounded: no allocation. */
#ifndef EWCI_CPU_CHUNKS_H
#define EWCI_CPU_CHUNKS_H

#include "cpu/device.h"

enum {
    EWCI_BLOCK = EWCI_UPDATE_BLOCK, /* elements of a block: chunks are whole blocks, the last one excepted */
    EWCI_SMALLEST_CHUNK = 32 * EWCI_BLOCK,
    EWCI_MOST_CHUNKS = 1024
};

/* Elements [first, first + n) are the work of chunk number `chunk`, which is below EWCI_MOST_CHUNKS. */
typedef void (*ewci_chunk_body)(void *job, int chunk, int64_t first, int64_t n);

/* Runs `body` once for each chunk of `total` elements, on the device's threads. */
void ewci_each_chunk(const ewci_device *device, int64_t total, ewci_chunk_body body, void *job);

/* How many chunks `total` elements have. */
int ewci_chunk_count(int64_t total);

#endif
