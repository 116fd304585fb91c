/* One thread's part of a matrix product in f32. */
#ifndef EWCI_CPU_GEMM_SLICE_H
#define EWCI_CPU_GEMM_SLICE_H

#include "cpu/device.h"
#include "cpu/gemm_panels.h"

/* C[m,n] = op(A) op(B) (+ C); op(A) is m x k, op(B) is k x n; row-major, ld* are row strides. */
typedef struct ewci_gemm_slice {
    bool transpose_a, transpose_b, accumulate;
    int64_t m, n, k, lda, ldb, ldc;
    const float *a, *b;
    float *c;
} ewci_gemm_slice;

/* Floats of a packed block of B, which lies in the second-level cache. */
enum {
    EWCI_GEMM_BLOCK = EWCI_GEMM_DEPTH * 768,
    EWCI_GEMM_PANELS =
        EWCI_GEMM_PACKED_A + EWCI_GEMM_BLOCK + EWCI_GEMM_DEPTH * EWCI_GEMM_MOST_COLUMNS + EWCI_GEMM_SLACK /* floats */
};

/* With the kernels of kernels/gemm.c (AVX2, AVX-512) each element of C is the sum, in order, of one chain of multiply-adds for each piece of at most
 * EWCI_GEMM_DEPTH elements of k: its bits do not depend on m, n or where the slice lies. (OpenBLAS may use other kernels at the edges of a slice.)
 * index: of the thread, in [0, device->threads). */
void ewci_gemm_slice_run(const ewci_device *device, int index, const ewci_gemm_slice *slice);

/* What the sizes of slices are best multiples of. */
int64_t ewci_gemm_tile_rows(const ewci_device *device);
int64_t ewci_gemm_tile_columns(const ewci_device *device);

#endif
