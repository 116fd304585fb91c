/* Products of bf16 matrices with f32 sums through oneDNN, one thread each: what gemm_bf16.c stands on.
 *
 * oneDNN is linked only where the library is built with ONEDNN=1; elsewhere opening fails and says so. The operands are dense tiles,
 * since oneDNN's fast kernels take no other; dividing, converting and adding up is the caller's work. */
#ifndef EWCI_CPU_ONEDNN_H
#define EWCI_CPU_ONEDNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libewc.h"

typedef struct ewci_onednn ewci_onednn;

/* For `threads` threads, numbered from 0. Fails with EWC_ERROR_UNSUPPORTED where oneDNN was not built in or has no bf16 products for
 * the processor. `processor_has_bf16`: false when they are emulated, which is slow. */
ewc_status ewci_onednn_open(ewc_context *ctx, int threads, ewci_onednn **out, bool *processor_has_bf16);
void ewci_onednn_close(ewci_onednn *onednn); /* NULL is fine */

/* "oneDNN 2.6.3 brg:avx512_core_amx_bf16": version and the implementation that large products use. */
const char *ewci_onednn_name(const ewci_onednn *onednn);

/* Bytes that one thread adds to what is held. */
size_t ewci_onednn_thread_bytes(void);

/* c[m,n] = a[m,k] b, with b[k,n], or b[n,k] if transpose_b; all dense and row-major. `thread` is the calling thread's number:
 * calls with different numbers may run at the same time. A failure is kept for ewci_onednn_check. */
void ewci_onednn_multiply(ewci_onednn *onednn, int thread, bool transpose_b, int64_t m, int64_t n, int64_t k,
                          const uint16_t *a, const uint16_t *b, float *c);

/* The first failure of ewci_onednn_multiply since the last check, with its text; EWC_OK if there was none. */
ewc_status ewci_onednn_check(ewci_onednn *onednn);

#endif
