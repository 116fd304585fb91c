/* The loops around the kernels of kernels/gemm.c: a block of B is packed, then each panel of A is packed and multiplied with all of the
 * block's panels, so that a panel of A is read from the first-level cache and the block of B from the second. Where the instruction
 * set has no such kernels, OpenBLAS's single-threaded sgemm. */
#include "cpu/gemm_slice.h"

#include <cblas.h>

enum { BLAS_TILE = 16 };

void ewci_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (m <= 0 || n <= 0) return;
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (int)m,
                (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

/* The block of B at hand and its place. */
typedef struct block {
    int64_t l, k;            /* first row of op(B), and how many */
    int64_t column, columns; /* of C */
    float *a, *b;            /* packed */
    bool accumulate;
} block;

static int64_t smaller(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

static void pack_block(const ewci_gemm_kernels *kernels, const ewci_gemm_slice *s, const block *k)
{
    for (int64_t j = 0; j < k->columns; j += kernels->columns) {
        int64_t column = k->column + j;
        const float *b = s->transpose_b ? s->b + column * s->ldb + k->l : s->b + k->l * s->ldb + column;
        kernels->pack_b(k->b + j * k->k, b, s->ldb, s->transpose_b, smaller(k->columns - j, kernels->columns), k->k);
    }
}

/* A tile that reaches beyond C is computed aside; the part that is there is the same sum. */
static void edge_tile(const ewci_gemm_kernels *kernels, const block *k, const float *b, float *c, int64_t ldc,
                      int64_t rows, int64_t columns)
{
    float tile[EWCI_GEMM_MOST_ROWS * EWCI_GEMM_MOST_COLUMNS];
    kernels->tile(k->k, k->a, b, tile, kernels->columns, false);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            float sum = tile[i * kernels->columns + j];
            c[i * ldc + j] = k->accumulate ? c[i * ldc + j] + sum : sum;
        }
    }
}

static void multiply_block(const ewci_gemm_kernels *kernels, const ewci_gemm_slice *s, const block *k)
{
    for (int64_t i = 0; i < s->m; i += kernels->rows) {
        int64_t rows = smaller(s->m - i, kernels->rows);
        const float *a = s->transpose_a ? s->a + k->l * s->lda + i : s->a + i * s->lda + k->l;
        kernels->pack_a(k->a, a, s->lda, s->transpose_a, rows, k->k);
        for (int64_t j = 0; j < k->columns; j += kernels->columns) {
            float *c = s->c + i * s->ldc + k->column + j;
            int64_t columns = smaller(k->columns - j, kernels->columns);
            if (rows == kernels->rows && columns == kernels->columns)
                kernels->tile(k->k, k->a, k->b + j * k->k, c, s->ldc, k->accumulate);
            else
                edge_tile(kernels, k, k->b + j * k->k, c, s->ldc, rows, columns);
        }
    }
}

static void multiply(const ewci_gemm_kernels *kernels, const ewci_gemm_slice *s, float *panels)
{
    block k = {.a = panels, .b = panels + EWCI_GEMM_DEPTH * EWCI_GEMM_MOST_ROWS + EWCI_GEMM_SLACK};
    for (k.column = 0; k.column < s->n; k.column += EWCI_GEMM_BLOCK) {
        k.columns = smaller(s->n - k.column, EWCI_GEMM_BLOCK);
        k.accumulate = s->accumulate;
        k.l = 0;
        do { /* once where k is 0: an empty sum is zero */
            k.k = smaller(s->k - k.l, EWCI_GEMM_DEPTH);
            pack_block(kernels, s, &k);
            multiply_block(kernels, s, &k);
            k.accumulate = true;
            k.l += EWCI_GEMM_DEPTH;
        } while (k.l < s->k);
    }
}

void ewci_gemm_slice_run(const ewci_device *device, int index, const ewci_gemm_slice *s)
{
    if (device->kernels->gemm != NULL)
        multiply(device->kernels->gemm, s, device->panels + (int64_t)index * EWCI_GEMM_PANELS);
    else
        ewci_sgemm(s->transpose_a, s->transpose_b, s->m, s->n, s->k, 1.0F, s->a, s->lda, s->b, s->ldb,
                   s->accumulate ? 1.0F : 0.0F, s->c, s->ldc);
}

int64_t ewci_gemm_tile_rows(const ewci_device *device)
{
    return device->kernels->gemm != NULL ? device->kernels->gemm->rows : BLAS_TILE;
}

int64_t ewci_gemm_tile_columns(const ewci_device *device)
{
    return device->kernels->gemm != NULL ? device->kernels->gemm->columns : BLAS_TILE;
}
