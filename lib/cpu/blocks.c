/* See blocks.h. */
#include "cpu/blocks.h"

#include "core/convert.h"

static char *at(ewc_buffer buffer, int64_t first)
{
    return (char *)buffer.data + (size_t)first * ewci_dtype_bytes(buffer.dtype);
}

float *ewci_block_read(const ewci_device *device, ewc_buffer buffer, int64_t first, int64_t n, float *block)
{
    if (buffer.data == NULL) return NULL;
    if (buffer.dtype == EWC_F32) return (float *)(void *)at(buffer, first);
    if (buffer.dtype == EWC_BF16)
        device->kernels->f32_of_bf16(block, (const uint16_t *)(const void *)at(buffer, first), n);
    else
        device->kernels->f32_of_f16(block, (const uint16_t *)(const void *)at(buffer, first), n);
    return block;
}

void ewci_block_write(const ewci_device *device, ewc_buffer buffer, int64_t first, int64_t n, const float *block)
{
    if (buffer.dtype == EWC_BF16)
        device->kernels->bf16_of_f32((uint16_t *)(void *)at(buffer, first), block, n);
    else if (buffer.dtype == EWC_F16)
        ewci_from_f32(at(buffer, first), buffer.dtype, block, n);
}
