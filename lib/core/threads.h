/* Dividing work among threads. */
#ifndef EWCI_CORE_THREADS_H
#define EWCI_CORE_THREADS_H

#include <stdint.h>

#include "libewc.h"

/* A context's threads, which live as long as it does and sleep when there is nothing to do. A pool is used by one thread of the host at a
 * time, as a context is. */
typedef struct ewci_pool ewci_pool;

/* threads, 1 to EWCI_MOST_THREADS: the caller's is one of them. EWC_ERROR_DEVICE when the system does not start so many. */
ewc_status ewci_pool_create(ewc_context *ctx, int threads, ewci_pool **pool);
void ewci_pool_destroy(ewc_context *ctx, ewci_pool *pool); /* NULL is fine */

enum { EWCI_MOST_THREADS = 1024 };

typedef void (*ewci_parallel_body)(void *argument, int index, int count);

/* A parallel region: body(argument, index, count) once for each index in [0, count), all done on return. count less than 1 is 1.
 *
 * Work is divided by index in fixed slices, so that results do not depend on scheduling. Which thread does an index is left open: one that
 * is not there in time finds its index done. So a body may not wait for another. The caller does all indices inside a region, in a forked
 * child, without a pool (NULL) and when count exceeds the pool's threads. */
void ewci_parallel(ewci_pool *pool, int count, ewci_parallel_body body, void *argument);

/* The slice [*begin, *end) of n items that belongs to index; boundaries are multiples of `align` (n itself excepted). */
void ewci_slice(int64_t n, int64_t align, int index, int count, int64_t *begin, int64_t *end);

static inline int64_t ewci_smaller(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

/* Processors this process may run on (affinity respected), at least 1. */
int ewci_processor_count(void);

#endif
