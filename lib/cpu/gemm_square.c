/* gemm_square: F[m,n] += weight (A^T B)^2, A[k,m], B[k,n]; the per-sequence squares of the empirical Fisher.
 *
 * Threads own rows of F. Each computes the product tile by tile and squares a tile into F while it is in cache. */
#include "cpu/device.h"
#include "cpu/gemm_bf16.h"
#include "cpu/gemm_slice.h"
#include "cpu/operations.h"

typedef struct product {
    ewci_device *device;
    int64_t m, n, k, lda, ldb;
    const float *a, *b;
    float weight, *fisher;
} product;

static void square_tile(const product *p, int index, int64_t row, int64_t rows, int64_t column, int64_t columns)
{
    float *tile = p->device->tiles + (int64_t)index * EWCI_TILE;
    const ewci_gemm_slice slice = {true,   false,  false,   rows,       columns,       p->k,
                                   p->lda, p->ldb, columns, p->a + row, p->b + column, tile};
    ewci_gemm_slice_run(p->device, index, &slice);
    for (int64_t i = 0; i < rows; i++)
        p->device->kernels->add_square(p->fisher + (row + i) * p->n + column, tile + i * columns, p->weight, columns);
}

static void run_slice(void *argument, int index, int count)
{
    const product *p = argument;
    int64_t begin, end;
    ewci_slice(p->m, ewci_gemm_tile_rows(p->device), index, count, &begin, &end);
    for (int64_t column = 0; column < p->n; column += EWCI_TILE_COLUMNS) {
        int64_t columns = p->n - column < EWCI_TILE_COLUMNS ? p->n - column : EWCI_TILE_COLUMNS;
        for (int64_t row = begin; row < end; row += EWCI_TILE_ROWS)
            square_tile(p, index, row, end - row < EWCI_TILE_ROWS ? end - row : EWCI_TILE_ROWS, column, columns);
    }
}

ewc_status ewci_cpu_gemm_square(ewci_device *device, int64_t m, int64_t n, int64_t k, const void *a, int64_t lda,
                                const void *b, int64_t ldb, float weight, float *fisher)
{
    if (device->bf16 != NULL && k > 0) return ewci_bf16_gemm_square(device, m, n, k, a, lda, b, ldb, weight, fisher);
    product p = {device, m, n, k, lda, ldb, a, b, weight, fisher};
    if (m > 0 && n > 0) ewci_parallel(device->pool, ewci_team(device, m * n * (k / 16 + 1)), run_slice, &p);
    return EWC_OK;
}
