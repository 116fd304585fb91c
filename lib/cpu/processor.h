/* What the processor can do. */
#ifndef EWCI_CPU_PROCESSOR_H
#define EWCI_CPU_PROCESSOR_H

#include <stdbool.h>
#include <stddef.h>

/* Instruction sets usable here: the processor has them and the system saves their registers. */
bool ewci_processor_has_avx2(void);   /* with FMA and F16C */
bool ewci_processor_has_avx512(void); /* F, CD, BW, DQ, VL, with the above */

/* The name OpenBLAS gives the kernels that suit this processor ("SkylakeX", "Haswell", "Zen"), or NULL: leave it to OpenBLAS. */
const char *ewci_processor_openblas_core(void);

/* The processor's own name, NUL-terminated. */
void ewci_processor_name(char *name, size_t bytes);

#endif
