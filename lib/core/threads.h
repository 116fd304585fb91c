/* The one place that knows how threads are made (OpenMP; pthreads in the ThreadSanitizer build).
 *
 * A parallel region runs body(argument, index, count) once for each index in [0, count). Work is divided by index in
 * fixed slices, never by who comes first, so that results do not depend on scheduling. */
#ifndef EWCI_CORE_THREADS_H
#define EWCI_CORE_THREADS_H

#include <stdint.h>

typedef void (*ewci_parallel_body)(void *argument, int index, int count);

/* Runs `body` on up to `threads` threads (the caller's is one of them) and returns when all are done. If fewer threads
 * can be had than asked for, each runs several indices: count is always `threads`
 * (1 when that is less). */
void ewci_parallel(int threads, ewci_parallel_body body, void *argument);

/* Calls body(argument) so that a library which uses OpenMP by itself takes the calling thread alone, inside ewci_parallel or outside;
 * the caller's own settings stay as they are. (The build over POSIX threads does not include such libraries.) */
void ewci_alone(void (*body)(void *argument), void *argument);

/* How many of `threads` threads the system lets this process run at the same time, the caller's included: tried out. The runtime
 * behind ewci_parallel ends the process when it cannot start one, so this is asked before. */
int ewci_threads_startable(int threads);

/* The slice [*begin, *end) of n items that belongs to index; boundaries are multiples of `align` (n itself excepted). */
void ewci_slice(int64_t n, int64_t align, int index, int count, int64_t *begin, int64_t *end);

/* Processors this process may run on (affinity respected), at least 1. */
int ewci_processor_count(void);

#endif
