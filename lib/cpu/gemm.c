/* gemm: C = op(A) op(B) (+ C) by OpenBLAS's single-threaded sgemm on slices of C, one slice a thread.
 *
 * C is cut into a grid of rows x columns, never along k: the sum that makes an element has one order whatever the number of threads
 * (but OpenBLAS may use other edge kernels in a slice of another size, so bits are promised per thread count only). */
#include <cblas.h>
#include <stdint.h>

#include "core/status.h"
#include "cpu/device.h"
#include "cpu/gemm_bf16.h"
#include "cpu/operations.h"

/* OpenBLAS has buffers for 50 concurrent calls before it complains. */
enum { MOST_SLICES = 48 };

/* Below this many multiplications a parallel region costs more than it saves. */
#define SMALL_PRODUCT ((double)(1 << 17))

void ewci_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (m <= 0 || n <= 0) return;
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (int)m,
                (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

typedef struct product {
    bool transpose_a, transpose_b, accumulate;
    int64_t m, n, k, lda, ldb, ldc;
    const float *a, *b;
    float *c;
    int row_slices, column_slices;
} product;

static void run_slice(void *argument, int index, int count)
{
    const product *p = argument;
    int64_t row, row_end, column, column_end;
    (void)count;
    ewci_slice(p->m, 16, index / p->column_slices, p->row_slices, &row, &row_end);
    ewci_slice(p->n, 16, index % p->column_slices, p->column_slices, &column, &column_end);
    const float *a = p->a + (p->transpose_a ? row : row * p->lda);
    const float *b = p->b + (p->transpose_b ? column * p->ldb : column);
    ewci_sgemm(p->transpose_a, p->transpose_b, row_end - row, column_end - column, p->k, 1.0F, a, p->lda, b, p->ldb,
               p->accumulate ? 1.0F : 0.0F, p->c + row * p->ldc + column, p->ldc);
}

/* The grid whose slices are nearest to square, since each slice packs its rows of A and its columns of B. */
static void choose_grid(product *p, int threads)
{
    double best = 0;
    p->row_slices = p->column_slices = 1;
    for (int rows = 1; rows <= threads; rows++) {
        if (threads % rows != 0) continue;
        int columns = threads / rows;
        if (p->m < 16 * (int64_t)rows && rows > 1) continue;
        if (p->n < 16 * (int64_t)columns && columns > 1) continue;
        double packed = (double)p->m / rows + (double)p->n / columns;
        if (best > 0 && packed >= best) continue;
        best = packed;
        p->row_slices = rows;
        p->column_slices = columns;
    }
}

ewc_status ewci_cpu_gemm(ewci_device *device, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                         const void *a, int64_t lda, const void *b, int64_t ldb, void *c, int64_t ldc, bool accumulate)
{
    product p = {.transpose_a = transpose_a,
                 .transpose_b = transpose_b,
                 .accumulate = accumulate,
                 .m = m,
                 .n = n,
                 .k = k,
                 .lda = lda,
                 .ldb = ldb,
                 .ldc = ldc,
                 .a = a,
                 .b = b,
                 .c = c};
    if (m > INT32_MAX || n > INT32_MAX || k > INT32_MAX || lda > INT32_MAX || ldb > INT32_MAX || ldc > INT32_MAX)
        return ewci_fail(device->ctx, EWC_ERROR_UNSUPPORTED,
                         "a product of %lld x %lld x %lld is beyond 32-bit BLAS: use smaller micro-batches",
                         (long long)m, (long long)n, (long long)k);
    if (device->bf16 != NULL && k > 0)
        return ewci_bf16_gemm(device, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, c, ldc, accumulate);
    int threads = device->threads < MOST_SLICES ? device->threads : MOST_SLICES;
    if ((double)m * (double)n * (double)k < SMALL_PRODUCT) threads = 1;
    choose_grid(&p, threads);
    ewci_parallel(p.row_slices * p.column_slices, run_slice, &p);
    return EWC_OK;
}
