/* fold_add: one task's share of a folded quadratic, a += lambda F and b += lambda F c, in double. */
#include "cpu/blocks.h"
#include "cpu/chunks.h"
#include "cpu/operations.h"

enum { BLOCK = EWCI_BLOCK };

typedef struct job {
    const ewci_device *device;
    double *a, *b, lambda;
    ewc_buffer fisher, anchor;
} job;

static void fold_chunk(void *argument, int chunk, int64_t first, int64_t count)
{
    const job *j = argument;
    float fisher[BLOCK], anchor[BLOCK];
    (void)chunk;
    for (int64_t i = first; i < first + count; i += BLOCK) {
        int64_t n = first + count - i < BLOCK ? first + count - i : BLOCK;
        const float *f = ewci_block_read(j->device, j->fisher, i, n, fisher);
        const float *c = ewci_block_read(j->device, j->anchor, i, n, anchor);
        for (int64_t k = 0; k < n; k++) {
            double part = j->lambda * (double)f[k];
            j->a[i + k] += part;
            j->b[i + k] += part * (double)c[k];
        }
    }
}

ewc_status ewci_cpu_fold_add(ewci_device *device, double *a, double *b, ewci_buffer fisher, ewci_buffer anchor,
                             int64_t n, double lambda)
{
    job j = {device, a, b, lambda, fisher, anchor};
    ewci_each_chunk(device, n, fold_chunk, &j);
    return EWC_OK;
}
