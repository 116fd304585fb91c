/* Plain loops over several arrays, in the manner of STREAM's triad (McCalpin 1995): what the memory gives to anybody.
 *
 * They run on the library's own threads, each on one contiguous slice. */
#ifndef BENCH_SUPPORT_PLAIN_H
#define BENCH_SUPPORT_PLAIN_H

#include <stdint.h>

#include "libewc.h"

/* x0 = x1 + s x2 + s x3 + ...: `arrays` of them, one written, the others read; 2 to 8. */
void plain_triad(int arrays, float *const *x, int64_t n, ewc_context *context);

/* `read` arrays are read and the first `written` of them are also written, where they lie: the traffic of an update. */
typedef struct plain_streams {
    int read, written;
} plain_streams;

/* {1,0} {3,0} {4,0} sums; {1,1} {2,1} {4,3} {6,3} updates. */
void plain_in_place(plain_streams streams, float *const *x, int64_t n, ewc_context *context);

#endif
