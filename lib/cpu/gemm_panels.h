/* The loops around the kernels of kernels/gemm.c, for a B that lies in panels: as wide as a tile, packed or where it is. */
#ifndef EWCI_CPU_GEMM_PANELS_H
#define EWCI_CPU_GEMM_PANELS_H

#include "cpu/kernels/gemm.h"

typedef enum ewci_a_form {
    EWCI_A_ROWS,       /* a[m, k], packed panel by panel */
    EWCI_A_TRANSPOSED, /* a[k, m], packed */
    EWCI_A_IN_PLACE    /* a[k, m], read where it is: beyond its last row up to a tile's rows must be readable */
} ewci_a_form;

/* C[m,n] (+)= op(A) B. Panel j of B, k rows of a tile's columns, begins at b + j next_b and its rows are ldb apart; what it has beyond
 * column n must be readable. */
typedef struct ewci_gemm_panels {
    int64_t m, n, k;
    const float *a;
    int64_t lda;
    ewci_a_form form;
    const float *b;
    int64_t ldb, next_b;
    float *c;
    int64_t ldc;
    bool accumulate;
} ewci_gemm_panels;

/* Rows of k at a time. A panel of A stays in the first-level cache while those of B pass by it. */
enum {
    EWCI_GEMM_DEPTH = 384,
    EWCI_GEMM_PACKED_A = EWCI_GEMM_GROUP * EWCI_GEMM_DEPTH * EWCI_GEMM_MOST_ROWS + EWCI_GEMM_SLACK
};

/* packed_a: [EWCI_GEMM_PACKED_A], scratch. */
void ewci_gemm_panels_run(const ewci_gemm_kernels *kernels, const ewci_gemm_panels *product, float *packed_a);

/* Packs op(B)[k, n] into `to` panel after panel, each k * kernels->columns, the last one filled up with zeros. */
void ewci_gemm_pack_b(const ewci_gemm_kernels *kernels, float *to, const float *b, int64_t ldb, bool transposed,
                      int64_t n, int64_t k);

#endif
