/* The table of this instruction set's kernels. */
#include "cpu/kernels/kernels.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define ENTRY(result, name, arguments) .name = EWCI_KERNEL(name),

#if defined(__FMA__)
extern const ewci_gemm_kernels EWCI_KERNEL(gemm_kernels);
#define GEMM &EWCI_KERNEL(gemm_kernels)
#else
#define GEMM NULL
#endif

const ewci_kernels EWCI_KERNEL(kernels) = {.name = TEXT(EWCI_ISA), .gemm = GEMM, EWCI_KERNEL_LIST(ENTRY)};
