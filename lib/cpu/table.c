/* The CPU backend's operation table. */
#include "cpu/operations.h"

#define ENTRY(operation) .operation = ewci_cpu_##operation,

const ewci_ops ewci_cpu_ops = {.version = EWCI_OPS_VERSION,
                               .struct_size = sizeof(ewci_ops),
                               .name = "cpu",
                               .compute = EWC_F32,
                               .device_reads_host = true,
                               EWCI_CPU_OPERATIONS(ENTRY)};
