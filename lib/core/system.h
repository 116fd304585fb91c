/* What the operating system says about memory. */
#ifndef EWCI_CORE_SYSTEM_H
#define EWCI_CORE_SYSTEM_H

#include <stdint.h>

/* Physical memory in bytes; 0 when unknown. */
int64_t ewci_memory_total(void);

/* Memory that can be had now without swapping, in bytes: the smaller of what the machine has (MemAvailable) and what the limits of
 * the control groups leave, as in a container. 0 when unknown. */
int64_t ewci_memory_available(void);

/* The same, with /proc and /sys below `root` ("" for the machine's own). */
int64_t ewci_memory_available_under(const char *root);

#endif
