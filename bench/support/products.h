/* The matrix products of a training step as plain calls, one of each shape, by the library's `gemm` and by OpenBLAS's sgemm on slices: what
 * the step's products could reach. */
#ifndef BENCH_SUPPORT_PRODUCTS_H
#define BENCH_SUPPORT_PRODUCTS_H

#include <stdint.h>

#include "libewc.h"
#include "support/measure.h"

/* Five matrices, each with its product forward, for the gradient of its input and for its own gradient. */
enum { PRODUCT_MATRICES = 5, PRODUCT_KINDS = 3, PRODUCTS = PRODUCT_MATRICES * PRODUCT_KINDS };

enum { BY_LIBRARY, BY_OPENBLAS, PRODUCT_WAYS };

typedef struct bench_product {
    ewc_phase phase;
    int64_t rows, out, in; /* y[rows,out] = x[rows,in] W[out,in]^T and its two backward products */
    int64_t stride;        /* of a row of y */
    int64_t times[PRODUCT_KINDS];
    double seconds[PRODUCT_WAYS][PRODUCT_KINDS][MOST_REPETITIONS];
} bench_product;

typedef struct bench_products {
    ewc_model *model;
    float *gradient;            /* [parameters] like the model's weights; lost */
    float *input, *other, *out; /* f32, `products_elements` each; out is lost */
    bench_product all[PRODUCT_MATRICES];
} bench_products;

/* Lists the products of a step over `tokens` tokens with that recomputation, the head in chunks as the model's, whose workspace must be
 * there. */
void products_list(bench_products *p, int64_t tokens, ewc_recompute recompute);

/* Elements that the largest operand of the list needs, weights aside. */
int64_t products_elements(const bench_products *p);

/* Runs each of them once in each way and keeps the times. Each repetition takes another layer's weights, so that they are not in the cache. */
void products_run(bench_products *p, ewc_context *context, int64_t repetition);

/* Operations of all products of a phase in a step (EWC_PHASE_COUNT: of all phases); and their rate as plain calls in one repetition, that
 * is all operations over all seconds. */
double products_operations(const bench_products *p, int phase);
double products_rate(const bench_products *p, int way, int phase, int64_t repetition);

#endif
