/* The table of this instruction set's kernels. */
#include "cpu/kernels/kernels.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define ENTRY(result, name, arguments) .name = EWCI_KERNEL(name),

extern const ewci_gemm_kernels EWCI_KERNEL(gemm_kernels);

const ewci_kernels
    EWCI_KERNEL(kernels) = {.name = TEXT(EWCI_ISA), .gemm = &EWCI_KERNEL(gemm_kernels), EWCI_KERNEL_LIST(ENTRY)};
