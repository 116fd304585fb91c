/* See devices.h. */
#include "support/devices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cpu/device.h"
#include "cpu/operations.h"
#include "cpu/processor.h"

int device_has(ewc_instruction_set set)
{
    if (set == EWC_ISA_AVX2) return ewci_processor_has_avx2();
    if (set == EWC_ISA_AVX512) return ewci_processor_has_avx512();
    return 1;
}

static opened_device *prepare(ewc_instruction_set set, int threads)
{
    opened_device *opened = calloc(1, sizeof *opened);
    assert_non_null(opened);
    opened->ctx.options.struct_size = sizeof opened->ctx.options;
    opened->ctx.options.instruction_set = set;
    opened->ctx.threads = threads;
    opened->ctx.ops = &ewci_cpu_ops;
    return opened;
}

static opened_device *finish(opened_device *opened, ewc_status status)
{
    if (status != EWC_OK) print_error("%s\n", opened->ctx.error);
    assert_int_equal(status, EWC_OK);
    opened->ctx.device = opened->device;
    opened->device->share = 1;
    return opened;
}

opened_device *device_open(ewc_instruction_set set, int threads)
{
    opened_device *opened = prepare(set, threads);
    return finish(opened, ewci_cpu_open(&opened->ctx, &opened->ctx.options, &opened->device));
}

opened_device *device_open_bf16(ewc_instruction_set set, int threads)
{
    opened_device *opened = prepare(set, threads);
    opened->ctx.options.products = EWC_PRODUCTS_BF16;
    ewc_status status = ewci_cpu_open(&opened->ctx, &opened->ctx.options, &opened->device);
    if (status == EWC_ERROR_UNSUPPORTED) {
        print_message("# %s\n", opened->ctx.error);
        free(opened);
        skip();
        return NULL; /* not reached */
    }
    return finish(opened, status);
}

void device_close(opened_device *opened)
{
    ewci_cpu_close(opened->device);
    free(opened);
}

void each_device(void (*body)(ewci_device *device, const void *user), const void *user)
{
    static const ewc_instruction_set sets[] = {EWC_ISA_PORTABLE, EWC_ISA_AVX2, EWC_ISA_AVX512};
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        if (!device_has(sets[s])) continue;
        for (int threads = 1; threads <= 3; threads++) {
            opened_device *opened = device_open(sets[s], threads);
            print_message("# instruction set %d, %d threads\n", (int)sets[s], threads);
            body(opened->device, user);
            device_close(opened);
        }
    }
}
