/* sum_squares and sum_squares_total: double sums, each thread's slice in order, the threads in theirs. */
#include "core/status.h"
#include "cpu/blocks.h"
#include "cpu/operations.h"

enum { BLOCK = EWCI_UPDATE_BLOCK, MOST_THREADS = 1024 };

typedef struct job {
    ewci_device *device;
    ewc_buffer x;
    const ewc_update_buffers *buffers;
    int64_t n;
    float scale, lambda;
    double sum[MOST_THREADS];
    int64_t nonfinite[MOST_THREADS];
} job;

static void squares_slice(void *argument, int index, int count)
{
    job *j = argument;
    float block[BLOCK];
    int64_t begin, end, nonfinite = 0;
    double sum = 0;
    ewci_slice(j->n, BLOCK, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i += BLOCK) {
        int64_t n = end - i < BLOCK ? end - i : BLOCK;
        sum += j->device->kernels->sum_squares_block(ewci_block_read(j->device, j->x, i, n, block), n, &nonfinite);
    }
    j->sum[index] = sum;
    j->nonfinite[index] = nonfinite;
}

static void total_slice(void *argument, int index, int count)
{
    job *j = argument;
    const ewc_update_buffers *b = j->buffers;
    float gradient[BLOCK], weights[BLOCK], fisher[BLOCK], anchor[BLOCK];
    int64_t begin, end;
    double sum = 0;
    ewci_slice(j->n, BLOCK, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i += BLOCK) {
        int64_t n = end - i < BLOCK ? end - i : BLOCK;
        sum += j->device->kernels->sum_squares_total_block(n, ewci_block_read(j->device, b->gradient, i, n, gradient),
                                                           ewci_block_read(j->device, b->weight, i, n, weights),
                                                           ewci_block_read(j->device, b->fisher, i, n, fisher),
                                                           ewci_block_read(j->device, b->anchor, i, n, anchor),
                                                           j->scale, j->lambda);
    }
    j->sum[index] = sum;
}

ewc_status ewci_cpu_sum_squares(ewci_device *device, ewc_buffer x, int64_t n, double *sum, int64_t *nonfinite)
{
    job j = {.device = device, .x = x, .n = n};
    double s = 0;
    int64_t bad = 0;
    ewci_parallel(device->threads, squares_slice, &j);
    for (int i = 0; i < device->threads; i++) {
        s += j.sum[i];
        bad += j.nonfinite[i];
    }
    *sum = s;
    *nonfinite = bad;
    return EWC_OK;
}

ewc_status ewci_cpu_sum_squares_total(ewci_device *device, int64_t n, const ewc_update_buffers *buffers,
                                      float gradient_scale, float lambda, double *sum)
{
    job j = {.device = device, .buffers = buffers, .n = n, .scale = gradient_scale, .lambda = lambda};
    double s = 0;
    int64_t bad;
    if (buffers->fisher.data == NULL) {
        EWCI_TRY(ewci_cpu_sum_squares(device, buffers->gradient, n, &s, &bad));
        *sum = s * (double)gradient_scale * (double)gradient_scale;
        return EWC_OK;
    }
    ewci_parallel(device->threads, total_slice, &j);
    for (int i = 0; i < device->threads; i++) s += j.sum[i];
    *sum = s;
    return EWC_OK;
}
