/* What the library's private OpenBLAS sees when it asks the environment for OPENBLAS_CORETYPE.
 *
 * OpenBLAS chooses its kernels once, when it is loaded. Versions that do not know a processor take the oldest ones they have, six
 * times slower on current servers; others were seen to choose differently from process to process. The link replaces getenv by
 * __wrap_getenv inside this library only (-Wl,--wrap=getenv): unless the user set the variable, the answer comes from CPUID. The
 * environment of the process is neither changed nor copied. */
#include <string.h>

#include "cpu/processor.h"

char *__real_getenv(const char *name); // NOLINT(bugprone-reserved-identifier): the linker's names
char *__wrap_getenv(const char *name); // NOLINT(bugprone-reserved-identifier)

char *__wrap_getenv(const char *name) // NOLINT(bugprone-reserved-identifier)
{
    char *value = __real_getenv(name);
    if (value != NULL || strcmp(name, "OPENBLAS_CORETYPE") != 0) return value;
    return (char *)ewci_processor_openblas_core();
}
