/* gemm: C = op(A) op(B) (+ C) on slices of C, one slice a thread (gemm_slice.c).
 *
 * C is cut into a grid of rows x columns of whole tiles, never along k: the sum that makes an element has one order whatever the number of
 * threads. */
#include <stdint.h>

#include "core/status.h"
#include "cpu/device.h"
#include "cpu/gemm_bf16.h"
#include "cpu/gemm_slice.h"
#include "cpu/operations.h"

/* OpenBLAS has buffers for 50 concurrent calls; further ones wait (openblas_lock.c). */
enum { MOST_BLAS_CALLS = 48 };

/* Below this many multiplications a parallel region costs more than it saves. */
#define SMALL_PRODUCT ((double)(1 << 17))

typedef struct product {
    const ewci_device *device;
    ewci_gemm_slice whole;
    int row_slices, column_slices;
} product;

static void run_slice(void *argument, int index, int count)
{
    const product *p = argument;
    ewci_gemm_slice s = p->whole;
    int64_t row, row_end, column, column_end;
    (void)count;
    ewci_slice(s.m, ewci_gemm_tile_rows(p->device), index / p->column_slices, p->row_slices, &row, &row_end);
    ewci_slice(s.n, ewci_gemm_tile_columns(p->device), index % p->column_slices, p->column_slices, &column,
               &column_end);
    s.m = row_end - row;
    s.n = column_end - column;
    s.a += s.transpose_a ? row : row * s.lda;
    s.b += s.transpose_b ? column * s.ldb : column;
    s.c += row * s.ldc + column;
    ewci_gemm_slice_run(p->device, index, &s);
}

/* The grid whose slices are nearest to square, since each slice packs its rows of A and its columns of B. */
static void choose_grid(product *p, int threads)
{
    double best = 0;
    p->row_slices = p->column_slices = 1;
    for (int rows = 1; rows <= threads; rows++) {
        if (threads % rows != 0) continue;
        int columns = threads / rows;
        if (p->whole.m < ewci_gemm_tile_rows(p->device) * rows && rows > 1) continue;
        if (p->whole.n < ewci_gemm_tile_columns(p->device) * columns && columns > 1) continue;
        double packed = (double)p->whole.m / rows + (double)p->whole.n / columns;
        if (best > 0 && packed >= best) continue;
        best = packed;
        p->row_slices = rows;
        p->column_slices = columns;
    }
}

ewc_status ewci_cpu_gemm(ewci_device *device, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                         const void *a, int64_t lda, const void *b, int64_t ldb, void *c, int64_t ldc, bool accumulate)
{
    product p = {.device = device, .whole = {transpose_a, transpose_b, accumulate, m, n, k, lda, ldb, ldc, a, b, c}};
    if (m > INT32_MAX || n > INT32_MAX || k > INT32_MAX || lda > INT32_MAX || ldb > INT32_MAX || ldc > INT32_MAX)
        return ewci_fail(device->ctx, EWC_ERROR_UNSUPPORTED,
                         "a product of %lld x %lld x %lld is beyond 32-bit BLAS: use smaller micro-batches",
                         (long long)m, (long long)n, (long long)k);
    if (device->bf16 != NULL && k > 0)
        return ewci_bf16_gemm(device, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, c, ldc, accumulate);
    int threads = device->threads;
    if (!device->kernels->gemm->preferred && threads > MOST_BLAS_CALLS) threads = MOST_BLAS_CALLS;
    if ((double)m * (double)n * (double)k < SMALL_PRODUCT) threads = 1;
    choose_grid(&p, threads);
    ewci_parallel(device->pool, p.row_slices * p.column_slices, run_slice, &p);
    return EWC_OK;
}
