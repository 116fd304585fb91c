/* Products in bf16 with f32 sums, where the context asks for them: what gemm and gemm_square become. */
#ifndef EWCI_CPU_GEMM_BF16_H
#define EWCI_CPU_GEMM_BF16_H

#include "cpu/device.h"
#include "cpu/onednn.h"

typedef struct ewci_bf16 {
    ewci_onednn *onednn;
    uint16_t *a, *b;  /* [EWCI_BF16_CAPACITY] each: a converted block of each operand */
    int64_t capacity; /* elements of them that are used; tests set less, so that small products are divided too */
} ewci_bf16;

enum {
    EWCI_BF16_CAPACITY = 8 << 20,
    EWCI_BF16_DEPTH = 4096 /* most of k at a time: operands of a tile stay in cache */
};

/* Fails where the library was built without them or oneDNN has none for the processor; a wrong product is refused too. */
ewc_status ewci_bf16_open(ewc_context *ctx, ewci_bf16 **out);
void ewci_bf16_close(ewc_context *ctx, ewci_bf16 *bf16); /* NULL is fine */

/* What they run through, and the bytes that the context holds for them. */
const char *ewci_bf16_name(const ewci_bf16 *bf16);
int64_t ewci_bf16_bytes(const ewci_device *device);

/* As the entries gemm and gemm_square of ops.h, for a device whose `bf16` is not NULL. */
ewc_status ewci_bf16_gemm(ewci_device *device, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                          const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc,
                          bool accumulate);
ewc_status ewci_bf16_gemm_square(ewci_device *device, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                                 const float *b, int64_t ldb, float weight, float *fisher);

#endif
