/* The CPU device: threads and the kernels chosen for the processor. */
#ifndef EWCI_CPU_DEVICE_H
#define EWCI_CPU_DEVICE_H

#include "core/context.h"
#include "core/threads.h"
#include "cpu/kernels/kernels.h"
#include "ops.h"

/* Elements of a tile: half a megabyte, a multiple of what products compute at a time. */
enum { EWCI_TILE_ROWS = 240, EWCI_TILE_COLUMNS = 512, EWCI_TILE = EWCI_TILE_ROWS * EWCI_TILE_COLUMNS };

/* Threads worth starting for work on so many elements: a parallel region costs what a few thousand elements do, and far more when
 * other programs want the processors too. */
int ewci_team(const ewci_device *device, int64_t elements);

struct ewci_device {
    ewc_context *ctx;
    int threads;
    ewci_pool *pool; /* of so many */
    int64_t share;   /* elements that are worth a thread of their own; tests set 1, so that small work is divided too */
    const ewci_kernels *kernels;
    int blas_kernels_expected;
    struct ewci_bf16 *bf16; /* products in bf16, NULL: in f32 */
    float *tiles;           /* [threads, EWCI_TILE]: one thread's tile of a product that is used up while in cache */
    float *panels;          /* [threads, EWCI_GEMM_PANELS]: packed operands of gemm_slice.h */
};

/* Single-threaded product on slices that the caller divides: C[m,n] = op(A) op(B) (+ C); row-major, any sizes. Safe to call from
 * several threads at once, inside ewci_parallel. */
void ewci_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

#endif
