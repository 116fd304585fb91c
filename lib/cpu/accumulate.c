/* add, fisher_accumulate, fold_add and convert: element-wise, divided among the threads. */
#include "core/convert.h"
#include "cpu/blocks.h"
#include "cpu/operations.h"

enum { BLOCK = EWCI_UPDATE_BLOCK };

typedef struct job {
    ewci_device *device;
    int64_t n;
    float *destination;
    ewc_buffer source, other, target;
    float weight, decay;
    double *a, *b, lambda;
} job;

static void add_slice(void *argument, int index, int count)
{
    const job *j = argument;
    int64_t begin, end;
    ewci_slice(j->n, BLOCK, index, count, &begin, &end);
    const float *source = j->source.data;
    j->device->kernels->add_scaled(j->destination + begin, source + begin, j->weight, end - begin);
}

static void fisher_slice(void *argument, int index, int count)
{
    const job *j = argument;
    float block[BLOCK];
    int64_t begin, end;
    ewci_slice(j->n, BLOCK, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i += BLOCK) {
        int64_t n = end - i < BLOCK ? end - i : BLOCK;
        j->device->kernels->fisher_block(j->destination + i, ewci_block_read(j->device, j->source, i, n, block), n,
                                         j->weight, j->decay);
    }
}

static void fold_slice(void *argument, int index, int count)
{
    const job *j = argument;
    float fisher[BLOCK], anchor[BLOCK];
    int64_t begin, end;
    ewci_slice(j->n, BLOCK, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i += BLOCK) {
        int64_t n = end - i < BLOCK ? end - i : BLOCK;
        const float *f = ewci_block_read(j->device, j->source, i, n, fisher);
        const float *c = ewci_block_read(j->device, j->other, i, n, anchor);
        for (int64_t k = 0; k < n; k++) {
            double part = j->lambda * (double)f[k];
            j->a[i + k] += part;
            j->b[i + k] += part * (double)c[k];
        }
    }
}

static void convert_slice(void *argument, int index, int count)
{
    const job *j = argument;
    float block[BLOCK];
    int64_t begin, end;
    ewci_slice(j->n, BLOCK, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i += BLOCK) {
        int64_t n = end - i < BLOCK ? end - i : BLOCK;
        const float *x = ewci_block_read(j->device, j->source, i, n, block);
        if (j->target.dtype == EWC_F32)
            ewci_from_f32((float *)j->target.data + i, EWC_F32, x, n);
        else
            ewci_block_write(j->device, j->target, i, n, x);
    }
}

ewc_status ewci_cpu_add(ewci_device *device, float *destination, const float *source, float alpha, int64_t n)
{
    job j = {.device = device, .n = n, .destination = destination, .weight = alpha};
    j.source.data = (float *)(uintptr_t)source;
    ewci_parallel(device->threads, add_slice, &j);
    return EWC_OK;
}

ewc_status ewci_cpu_fisher_accumulate(ewci_device *device, float *fisher, ewci_buffer gradient, int64_t n, float weight,
                                      float decay)
{
    job j = {.device = device, .n = n, .destination = fisher, .source = gradient, .weight = weight, .decay = decay};
    ewci_parallel(n < 16384 ? 1 : device->threads, fisher_slice, &j);
    return EWC_OK;
}

ewc_status ewci_cpu_fold_add(ewci_device *device, double *a, double *b, ewci_buffer fisher, ewci_buffer anchor,
                             int64_t n, double lambda)
{
    job j = {.device = device, .n = n, .source = fisher, .other = anchor, .a = a, .b = b, .lambda = lambda};
    ewci_parallel(device->threads, fold_slice, &j);
    return EWC_OK;
}

ewc_status ewci_cpu_convert(ewci_device *device, void *destination, ewc_dtype to, const void *source, ewc_dtype from,
                            int64_t n)
{
    job j = {.device = device, .n = n, .source = {(void *)(uintptr_t)source, from}, .target = {destination, to}};
    ewci_parallel(device->threads, convert_slice, &j);
    return EWC_OK;
}
