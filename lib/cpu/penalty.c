/* penalty: lambda/2 sum F (w - anchor)^2 and the distances at the present weights. */
#include "cpu/penalty.h"

#include "cpu/blocks.h"
#include "cpu/chunks.h"
#include "cpu/operations.h"

enum { BLOCK = EWCI_BLOCK };

typedef struct job {
    const ewci_device *device;
    const ewc_update_buffers *buffers;
    ewci_penalty_sums sums[EWCI_MOST_CHUNKS];
} job;

ewci_penalty_sums ewci_penalty_sum_lanes(const ewci_penalty_lanes *lanes)
{
    ewci_penalty_sums sums = {0, 0, 0};
    for (int l = 0; l < EWCI_LANES; l++) {
        sums.distance_squared += lanes->distance[l];
        sums.fisher_distance_squared += lanes->fisher_distance[l];
        sums.nonfinite += lanes->nonfinite[l];
    }
    return sums;
}

ewc_update_statistics ewci_penalty_report(const ewci_penalty_sums *sums, int count, double lambda)
{
    ewc_update_statistics s = {0, 0, 0, 0};
    for (int i = 0; i < count; i++) {
        s.distance_squared += sums[i].distance_squared;
        s.fisher_distance_squared += sums[i].fisher_distance_squared;
        s.nonfinite += sums[i].nonfinite;
    }
    s.penalty = 0.5 * lambda * s.fisher_distance_squared;
    return s;
}

static void penalty_chunk(void *argument, int chunk, int64_t first, int64_t count)
{
    job *j = argument;
    const ewc_update_buffers *b = j->buffers;
    float weights[BLOCK], fisher[BLOCK], anchor[BLOCK];
    ewci_penalty_lanes lanes = {{0}, {0}, {0}};
    for (int64_t i = first; i < first + count; i += BLOCK) {
        int64_t n = first + count - i < BLOCK ? first + count - i : BLOCK;
        j->device->kernels->penalty_block(n, ewci_block_read(j->device, b->weight, i, n, weights),
                                          ewci_block_read(j->device, b->fisher, i, n, fisher),
                                          ewci_block_read(j->device, b->anchor, i, n, anchor), &lanes);
    }
    j->sums[chunk] = ewci_penalty_sum_lanes(&lanes);
}

ewc_status ewci_cpu_penalty(ewci_device *device, int64_t n, const ewc_update_buffers *buffers, float lambda,
                            ewc_update_statistics *stats)
{
    job j = {.device = device, .buffers = buffers};
    ewci_each_chunk(device, n, penalty_chunk, &j);
    *stats = ewci_penalty_report(j.sums, ewci_chunk_count(n), (double)lambda);
    return EWC_OK;
}
