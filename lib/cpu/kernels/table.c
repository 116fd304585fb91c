/* The table of this instruction set's kernels. */
#include "cpu/kernels/kernels.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define ENTRY(result, name, arguments) .name = EWCI_KERNEL(name),

const ewci_kernels EWCI_KERNEL(kernels) = {.name = TEXT(EWCI_ISA), EWCI_KERNEL_LIST(ENTRY)};
