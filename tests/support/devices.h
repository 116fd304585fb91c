/* CPU devices of every kind that this machine can run: each instruction set, with 1, 2 and 3 threads, which all take part in the smallest
 * work. */
#ifndef TESTS_SUPPORT_DEVICES_H
#define TESTS_SUPPORT_DEVICES_H

#include "core/context.h"
#include "ops.h"

/* Runs `body` on each device in turn. What is being run is told when it fails. */
void each_device(void (*body)(ewci_device *device, const void *user), const void *user);

/* One device; the caller closes it. Fails the test when it cannot be had. */
typedef struct opened_device {
    ewc_context ctx;
    ewci_device *device;
} opened_device;
opened_device *device_open(ewc_instruction_set set, int threads);
/* The same with products in bf16; skips the test where they cannot be had: not built in, or no processor for them. */
opened_device *device_open_bf16(ewc_instruction_set set, int threads);
void device_close(opened_device *opened);

/* Does the processor have the instruction set? */
int device_has(ewc_instruction_set set);

#endif
