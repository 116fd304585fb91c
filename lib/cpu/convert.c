/* convert: any of f32, bf16, f16 to any other, rounded to nearest even. */
#include "core/convert.h"

#include "cpu/blocks.h"
#include "cpu/chunks.h"
#include "cpu/operations.h"

enum { BLOCK = EWCI_BLOCK };

typedef struct job {
    const ewci_device *device;
    ewc_buffer source, target;
} job;

static void convert_chunk(void *argument, int chunk, int64_t first, int64_t count)
{
    const job *j = argument;
    float block[BLOCK];
    (void)chunk;
    for (int64_t i = first; i < first + count; i += BLOCK) {
        int64_t n = first + count - i < BLOCK ? first + count - i : BLOCK;
        const float *x = ewci_block_read(j->device, j->source, i, n, block);
        if (j->target.dtype == EWC_F32)
            ewci_from_f32((float *)j->target.data + i, EWC_F32, x, n);
        else
            ewci_block_write(j->device, j->target, i, n, x);
    }
}

ewc_status ewci_cpu_convert(ewci_device *device, void *destination, ewc_dtype to, const void *source, ewc_dtype from,
                            int64_t n)
{
    job j = {device, {(void *)(uintptr_t)source, from}, {destination, to}};
    ewci_each_chunk(device, n, convert_chunk, &j);
    return EWC_OK;
}
