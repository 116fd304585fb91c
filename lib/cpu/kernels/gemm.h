/* The inner parts of the matrix product for one instruction set: see gemm.c. */
#ifndef EWCI_CPU_KERNELS_GEMM_H
#define EWCI_CPU_KERNELS_GEMM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct ewci_gemm_kernels {
    int rows, columns; /* of the tile of C that stays in registers */
    bool preferred;    /* to OpenBLAS's, for large products */
    /* to[k, rows] = `used` rows of op(A) and k of its columns, zeros in the place of the rows that are not there; `to` has room for
     * EWCI_GEMM_SLACK more. op(A) is A[used, k], or the transposed of A[k, used] when `transposed`: then `used` may be that of up to
     * EWCI_GEMM_GROUP panels, packed one behind the other. */
    void (*pack_a)(float *to, const float *a, int64_t lda, bool transposed, int64_t used, int64_t k);
    /* The same of columns: to[k, columns] from B[k, used], or from B[used, k] when `transposed`. */
    void (*pack_b)(float *to, const float *b, int64_t ldb, bool transposed, int64_t used, int64_t k);
    /* C[rows, columns] (+)= a^T b over k rows of a and b, which are lda and ldb apart: `rows` and `columns` where they are packed. All rows and
     * columns of the tile are read and written. */
    void (*tile)(int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc,
                 bool accumulate);
} ewci_gemm_kernels;

/* Largest tile of any instruction set, and the floats that packing may write beyond its end. */
enum { EWCI_GEMM_MOST_ROWS = 12, EWCI_GEMM_MOST_COLUMNS = 32, EWCI_GEMM_SLACK = 16 };
enum { EWCI_GEMM_GROUP = 4 };

#endif
