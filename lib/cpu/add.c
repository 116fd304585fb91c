/* add: destination += alpha * source. */
#include "cpu/chunks.h"
#include "cpu/operations.h"

typedef struct job {
    const ewci_device *device;
    float *destination;
    const float *source;
    float alpha;
} job;

static void add_chunk(void *argument, int chunk, int64_t first, int64_t n)
{
    const job *j = argument;
    (void)chunk;
    j->device->kernels->add_scaled(j->destination + first, j->source + first, j->alpha, n);
}

ewc_status ewci_cpu_add(ewci_device *device, float *destination, const float *source, float alpha, int64_t n)
{
    job j = {device, destination, source, alpha};
    ewci_each_chunk(device, n, add_chunk, &j);
    return EWC_OK;
}
