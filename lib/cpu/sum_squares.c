/* sum_squares: the sum in double of the squares of all finite elements, and how many are not finite. */
#include "cpu/blocks.h"
#include "cpu/chunks.h"
#include "cpu/operations.h"

enum { BLOCK = EWCI_BLOCK };

typedef struct job {
    const ewci_device *device;
    ewc_buffer x;
    double sum[EWCI_MOST_CHUNKS];
    int64_t nonfinite[EWCI_MOST_CHUNKS];
} job;

static void squares_chunk(void *argument, int chunk, int64_t first, int64_t count)
{
    job *j = argument;
    float block[BLOCK];
    double lanes[EWCI_LANES] = {0}, sum = 0;
    int64_t nonfinite = 0;
    for (int64_t i = first; i < first + count; i += BLOCK) {
        int64_t n = first + count - i < BLOCK ? first + count - i : BLOCK;
        j->device->kernels->sum_squares_block(ewci_block_read(j->device, j->x, i, n, block), n, lanes, &nonfinite);
    }
    for (int l = 0; l < EWCI_LANES; l++) sum += lanes[l];
    j->sum[chunk] = sum;
    j->nonfinite[chunk] = nonfinite;
}

ewc_status ewci_cpu_sum_squares(ewci_device *device, ewc_buffer x, int64_t n, double *sum, int64_t *nonfinite)
{
    job j;
    double total = 0;
    int64_t bad = 0;
    j.device = device;
    j.x = x;
    ewci_each_chunk(device, n, squares_chunk, &j);
    for (int chunk = 0; chunk < ewci_chunk_count(n); chunk++) {
        total += j.sum[chunk];
        bad += j.nonfinite[chunk];
    }
    *sum = total;
    *nonfinite = bad;
    return EWC_OK;
}
