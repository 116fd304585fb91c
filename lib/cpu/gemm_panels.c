/* See gemm_panels.h. Each panel of A is packed and multiplied with all panels of B: A is read from the first-level cache, B from the
 * second. */
#include "cpu/gemm_panels.h"

#include "core/threads.h"

void ewci_gemm_pack_b(const ewci_gemm_kernels *kernels, float *to, const float *b, int64_t ldb, bool transposed,
                      int64_t n, int64_t k)
{
    for (int64_t j = 0; j < n; j += kernels->columns)
        kernels->pack_b(to + j * k, transposed ? b + j * ldb : b + j, ldb, transposed,
                        ewci_smaller(n - j, kernels->columns), k);
}

/* The panel of A at hand. */
typedef struct panel {
    const float *a;
    int64_t lda, row, rows, l, k; /* first row of C and how many, first row of B and how many */
    bool accumulate;
} panel;

/* A tile that reaches beyond C is computed aside; the part that is there is the same sum. */
static void edge_tile(const ewci_gemm_kernels *kernels, const ewci_gemm_panels *p, const panel *a, const float *b,
                      float *c, int64_t columns)
{
    float tile[EWCI_GEMM_MOST_ROWS * EWCI_GEMM_MOST_COLUMNS];
    kernels->tile(a->k, a->a, a->lda, b, p->ldb, tile, kernels->columns, false);
    for (int64_t i = 0; i < a->rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            float sum = tile[i * kernels->columns + j];
            c[i * p->ldc + j] = a->accumulate ? c[i * p->ldc + j] + sum : sum;
        }
    }
}

static void multiply_panel(const ewci_gemm_kernels *kernels, const ewci_gemm_panels *p, const panel *a)
{
    const float *b = p->b + a->l * p->ldb;
    for (int64_t j = 0; j < p->n; j += kernels->columns, b += p->next_b) {
        float *c = p->c + a->row * p->ldc + j;
        int64_t columns = ewci_smaller(p->n - j, kernels->columns);
        if (a->rows == kernels->rows && columns == kernels->columns)
            kernels->tile(a->k, a->a, a->lda, b, p->ldb, c, p->ldc, a->accumulate);
        else
            edge_tile(kernels, p, a, b, c, columns);
    }
}

/* Rows of A that are packed together. */
static int64_t packed_rows(const ewci_gemm_kernels *kernels, const ewci_gemm_panels *p, int64_t row)
{
    int64_t most = p->form == EWCI_A_TRANSPOSED ? EWCI_GEMM_GROUP * kernels->rows : kernels->rows;
    return ewci_smaller(p->m - row, most);
}

static void multiply_rows(const ewci_gemm_kernels *kernels, const ewci_gemm_panels *p, panel *a, float *packed)
{
    const float *source = p->form == EWCI_A_ROWS ? p->a + a->row * p->lda + a->l : p->a + a->l * p->lda + a->row;
    int64_t end = a->row + packed_rows(kernels, p, a->row);
    if (p->form != EWCI_A_IN_PLACE)
        kernels->pack_a(packed, source, p->lda, p->form == EWCI_A_TRANSPOSED, end - a->row, a->k);
    a->a = p->form == EWCI_A_IN_PLACE ? source : packed;
    a->lda = p->form == EWCI_A_IN_PLACE ? p->lda : kernels->rows;
    for (; a->row < end; a->row += a->rows, a->a += a->k * kernels->rows) {
        a->rows = ewci_smaller(end - a->row, kernels->rows);
        multiply_panel(kernels, p, a);
    }
}

void ewci_gemm_panels_run(const ewci_gemm_kernels *kernels, const ewci_gemm_panels *p, float *packed_a)
{
    panel a = {.accumulate = p->accumulate};
    do { /* once where k is 0: an empty sum is zero */
        a.k = ewci_smaller(p->k - a.l, EWCI_GEMM_DEPTH);
        a.row = 0;
        while (a.row < p->m) multiply_rows(kernels, p, &a, packed_a);
        a.accumulate = true;
        a.l += EWCI_GEMM_DEPTH;
    } while (a.l < p->k);
}
