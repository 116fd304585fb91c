/* A slice's product: a block of B is packed, then all of A passes by it (gemm_panels.c). Where the instruction set's kernels
 * are not the better ones, OpenBLAS's single-threaded sgemm. */
#include "cpu/gemm_slice.h"

#include <cblas.h>

#include "cpu/gemm_panels.h"

enum { BLAS_TILE = 16 };

void ewci_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (int)m,
                (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

/* Pieces of n that are nearly the same, whole multiples of `unit` but the last, and none above `most`. */
static int64_t piece(int64_t n, int64_t most, int64_t unit)
{
    int64_t pieces = (n + most - 1) / most;
    return pieces <= 1 ? n : ((n + pieces - 1) / pieces + unit - 1) / unit * unit;
}

static void multiply(const ewci_gemm_kernels *kernels, const ewci_gemm_slice *s, float *panels)
{
    float *packed_a = panels, *packed_b = panels + EWCI_GEMM_PACKED_A;
    const int64_t depth = piece(s->k, EWCI_GEMM_DEPTH, 4), unit = kernels->columns;
    const int64_t block = piece(s->n, depth > 0 ? EWCI_GEMM_BLOCK / depth / unit * unit : s->n, unit);
    for (int64_t column = 0; column < s->n; column += block) {
        int64_t l = 0, columns = ewci_smaller(s->n - column, block);
        do { /* once where k is 0: an empty sum is zero */
            int64_t k = ewci_smaller(s->k - l, depth);
            const float *b = s->transpose_b ? s->b + column * s->ldb + l : s->b + l * s->ldb + column;
            ewci_gemm_pack_b(kernels, packed_b, b, s->ldb, s->transpose_b, columns, k);
            const ewci_gemm_panels p = {.m = s->m,
                                        .n = columns,
                                        .k = k,
                                        .a = s->transpose_a ? s->a + l * s->lda : s->a + l,
                                        .lda = s->lda,
                                        .form = s->transpose_a ? EWCI_A_TRANSPOSED : EWCI_A_ROWS,
                                        .b = packed_b,
                                        .ldb = kernels->columns,
                                        .next_b = k * kernels->columns,
                                        .c = s->c + column,
                                        .ldc = s->ldc,
                                        .accumulate = s->accumulate || l > 0};
            ewci_gemm_panels_run(kernels, &p, packed_a);
            l += depth;
        } while (l < s->k);
    }
}

void ewci_gemm_slice_run(const ewci_device *device, int index, const ewci_gemm_slice *s)
{
    if (s->m <= 0 || s->n <= 0) return;
    if (device->kernels->gemm->preferred)
        multiply(device->kernels->gemm, s, device->panels + (int64_t)index * EWCI_GEMM_PANELS);
    else
        ewci_sgemm(s->transpose_a, s->transpose_b, s->m, s->n, s->k, 1.0F, s->a, s->lda, s->b, s->ldb,
                   s->accumulate ? 1.0F : 0.0F, s->c, s->ldc);
}

int64_t ewci_gemm_tile_rows(const ewci_device *device)
{
    return device->kernels->gemm->preferred ? device->kernels->gemm->rows : BLAS_TILE;
}

int64_t ewci_gemm_tile_columns(const ewci_device *device)
{
    return device->kernels->gemm->preferred ? device->kernels->gemm->columns : BLAS_TILE;
}
