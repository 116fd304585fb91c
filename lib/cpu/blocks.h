/* Typed buffers in f32 blocks: f32 itself is used where it lies, other types pass through a block on the stack. */
#ifndef EWCI_CPU_BLOCKS_H
#define EWCI_CPU_BLOCKS_H

#include "cpu/device.h"

/* Elements first..first+n of the buffer as f32: a pointer into it, or `block` filled. NULL for an absent buffer. */
float *ewci_block_read(const ewci_device *device, ewc_buffer buffer, int64_t first, int64_t n, float *block);

/* Puts a block back if it is not the buffer itself. */
void ewci_block_write(const ewci_device *device, ewc_buffer buffer, int64_t first, int64_t n, const float *block);

#endif
