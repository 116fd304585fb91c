/* sum_squares_total: the sum in double of the squares of the total gradient scale * g + lambda * F (w - anchor). */
#include <math.h>

#include "core/status.h"
#include "cpu/blocks.h"
#include "cpu/chunks.h"
#include "cpu/operations.h"

enum { BLOCK = EWCI_BLOCK };

typedef struct job {
    const ewci_device *device;
    const ewc_update_buffers *buffers;
    float scale, lambda;
    double sum[EWCI_MOST_CHUNKS];
} job;

static void total_chunk(void *argument, int chunk, int64_t first, int64_t count)
{
    job *j = argument;
    const ewc_update_buffers *b = j->buffers;
    float gradient[BLOCK], weights[BLOCK], fisher[BLOCK], anchor[BLOCK];
    double lanes[EWCI_LANES] = {0}, sum = 0;
    for (int64_t i = first; i < first + count; i += BLOCK) {
        int64_t n = first + count - i < BLOCK ? first + count - i : BLOCK;
        j->device->kernels->sum_squares_total_block(n, ewci_block_read(j->device, b->gradient, i, n, gradient),
                                                    ewci_block_read(j->device, b->weight, i, n, weights),
                                                    ewci_block_read(j->device, b->fisher, i, n, fisher),
                                                    ewci_block_read(j->device, b->anchor, i, n, anchor), j->scale,
                                                    j->lambda, lanes);
    }
    for (int l = 0; l < EWCI_LANES; l++) sum += lanes[l];
    j->sum[chunk] = sum;
}

/* Without a Fisher it is the task gradient's alone. */
static ewc_status unpenalised(ewci_device *device, int64_t n, ewc_buffer gradient, double scale, double *sum)
{
    int64_t nonfinite;
    double squares;
    EWCI_TRY(ewci_cpu_sum_squares(device, gradient, n, &squares, &nonfinite));
    *sum = nonfinite > 0 ? (double)NAN : scale * scale * squares;
    return EWC_OK;
}

ewc_status ewci_cpu_sum_squares_total(ewci_device *device, int64_t n, const ewc_update_buffers *buffers,
                                      float gradient_scale, float lambda, double *sum)
{
    job j;
    double total = 0;
    if (buffers->fisher.data == NULL) return unpenalised(device, n, buffers->gradient, (double)gradient_scale, sum);
    j.device = device;
    j.buffers = buffers;
    j.scale = gradient_scale;
    j.lambda = lambda;
    ewci_each_chunk(device, n, total_chunk, &j);
    for (int chunk = 0; chunk < ewci_chunk_count(n); chunk++) total += j.sum[chunk];
    *sum = total;
    return EWC_OK;
}
