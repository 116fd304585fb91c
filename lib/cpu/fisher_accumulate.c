/* fisher_accumulate: fisher = decay * fisher + weight * g^2. With weight 0 the gradient is not read. */
#include "cpu/blocks.h"
#include "cpu/chunks.h"
#include "cpu/operations.h"

enum { BLOCK = EWCI_BLOCK };

typedef struct job {
    const ewci_device *device;
    float *fisher;
    ewc_buffer gradient;
    float weight, decay;
} job;

static void fisher_chunk(void *argument, int chunk, int64_t first, int64_t count)
{
    const job *j = argument;
    float block[BLOCK];
    (void)chunk;
    for (int64_t i = first; i < first + count; i += BLOCK) {
        int64_t n = first + count - i < BLOCK ? first + count - i : BLOCK;
        const float *g = j->weight == 0.0F ? NULL : ewci_block_read(j->device, j->gradient, i, n, block);
        j->device->kernels->fisher_block(j->fisher + i, g, n, j->weight, j->decay);
    }
}

ewc_status ewci_cpu_fisher_accumulate(ewci_device *device, float *fisher, ewci_buffer gradient, int64_t n, float weight,
                                      float decay)
{
    job j = {device, fisher, gradient, weight, decay};
    ewci_each_chunk(device, n, fisher_chunk, &j);
    return EWC_OK;
}
