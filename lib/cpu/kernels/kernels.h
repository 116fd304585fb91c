/* The vector kernels: one list, from which come the table's fields, the prototypes and the table of each instruction set.
 *
 * Each .c file in this folder is compiled once per instruction set with EWCI_ISA defined to portable, avx2 or avx512 and defines its
 * functions as EWCI_KERNEL(name). A kernel works on one thread's share; dividing the work is for the operations in lib/cpu. To add
 * one: a line in the list, a definition. */
#ifndef EWCI_CPU_KERNELS_KERNELS_H
#define EWCI_CPU_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/convert.h"
#include "cpu/kernels/attention_strip.h"
#include "cpu/kernels/gemm.h"
#include "cpu/kernels/update_parameters.h"
#include "libewc.h"

enum { EWCI_TURN_ROWS = 32, EWCI_TURN_COLUMNS = 256 }; /* largest block of bf16_turn_block */

/* X(result, name, arguments) */
#define EWCI_KERNEL_LIST(X)                                                                                                                                   \
    /* rows.c: y = scale x; y += scale x; f += weight x^2 */                                                                                                  \
    X(void, scale_row, (float *restrict y, const float *restrict x, float scale, int64_t n))                                                                  \
    X(void, add_scaled, (float *restrict y, const float *restrict x, float scale, int64_t n))                                                                 \
    X(void, add_square, (float *restrict f, const float *restrict x, float weight, int64_t n))                                                                \
    /* rmsnorm.c: one row; out may be x; dx may be dy when not accumulating */                                                                                \
    X(float, rms_reciprocal, (const float *restrict x, int64_t n, float eps))                                                                                 \
    X(void, rmsnorm_row, (float *restrict y, const float *restrict x, const float *restrict w, float rstd, int64_t n))                                        \
    X(void, rmsnorm_add_row,                                                                                                                                  \
      (float *out, const float *x, const float *restrict o, const float *restrict w, float rstd, int64_t n))                                                  \
    X(void, rmsnorm_bwd_row,                                                                                                                                  \
      (float *dx, const float *dy, const float *restrict x, const float *restrict w, float rstd, int64_t n,                                                   \
       bool accumulate))                                                                                                                                      \
    X(void, rmsnorm_bwd_weight,                                                                                                                               \
      (float *restrict dw, const float *restrict dy, const float *restrict x, float rstd, int64_t n))                                                         \
    /* rope.c: one head of 2 half values */                                                                                                                   \
    X(void, rope_head, (float *restrict x, const float *restrict cosine, const float *restrict sine, int64_t half))                                           \
    X(void, rope_head_back,                                                                                                                                   \
      (float *restrict x, const float *restrict cosine, const float *restrict sine, int64_t half))                                                            \
    /* geglu.c: one row */                                                                                                                                    \
    X(void, geglu_row, (float *restrict act, const float *restrict gate, const float *restrict up, int64_t n))                                                \
    X(void, geglu_bwd_row,                                                                                                                                    \
      (float *restrict d_gate, float *restrict d_up, const float *restrict dact, const float *restrict gate,                                                  \
       const float *restrict up, int64_t n))                                                                                                                  \
    /* cross_entropy.c: pieces of a row; softcap 0 is none. Largest of the capped values; z <- c and the sum of exp(c); sum of exp(c - shift); the first    \
       index at which that sum reaches `goal`; c <- factor * exp(c - largest) * (1 - (c/cap)^2) */ \
    X(float, softcap_max, (float *z, int64_t n, float softcap))                                                                                               \
    X(double, softcap_exp_sum, (float *z, int64_t n, float softcap))                                                                                          \
    X(double, exp_sum, (const float *c, int64_t n, float shift))                                                                                              \
    X(int64_t, exp_sum_reach, (const float *c, int64_t n, float shift, double goal))                                                                          \
    X(void, cross_entropy_gradient, (float *c, int64_t n, float largest, float factor, float softcap))                                                        \
    /* attention.c: see attention_strip.h */                                                                                                                  \
    X(void, attention_strip, (const ewci_attention_strip *strip))                                                                                             \
    X(void, attention_strip_bwd, (const ewci_attention_strip *strip))                                                                                         \
    X(float, dot, (const float *restrict a, const float *restrict b, int64_t n))                                                                              \
    X(void, scale_in_place, (float *x, float factor, int64_t n))                                                                                              \
    /* update.c, penalty.c: f and a may be absent when the form is NONE; penalty: f, or f and a, may be NULL */                                               \
    X(void, update_block, /* all buffers are f32 */                                                                                                           \
      (int64_t n, const ewc_update_buffers *buffers, const ewci_update_parameters *parameters,                                                                \
       ewci_penalty_lanes *lanes))                                                                                                                            \
    X(void, update_typed_block,                                                                                                                               \
      (int64_t n, const ewc_update_buffers *buffers, const ewci_update_parameters *parameters,                                                                \
       const ewci_rounding *rounding, ewci_penalty_lanes *lanes))                                                                                             \
    X(void, penalty_block,                                                                                                                                    \
      (int64_t n, const float *restrict w, const float *restrict f, const float *restrict a,                                                                  \
       ewci_penalty_lanes *lanes))                                                                                                                            \
    /* sums.c: lanes[EWCI_LANES] and *nonfinite are added to */                                                                                               \
    X(void, sum_squares_block, (const float *restrict x, int64_t n, double *lanes, int64_t *nonfinite))                                                       \
    X(void, sum_squares_total_block,                                                                                                                          \
      (int64_t n, const float *restrict g, const float *restrict w, const float *restrict f, const float *restrict a,                                         \
       float scale, float lambda, double *lanes))                                                                                                             \
    /* fisher_accumulate.c */                                                                                                                                 \
    X(void, fisher_block, (float *restrict f, const float *restrict g, int64_t n, float weight, float decay))                                                 \
    /* convert.c */                                                                                                                                           \
    X(void, f32_of_bf16, (float *restrict y, const uint16_t *restrict x, int64_t n))                                                                          \
    X(void, f32_of_f16, (float *restrict y, const uint16_t *restrict x, int64_t n))                                                                           \
    X(void, bf16_of_f32, (uint16_t *restrict y, const float *restrict x, int64_t n))                                                                          \
    /* gemm_bf16.c: y[j,i] = x[i,j] rounded; rows are filled up with zeros to a multiple of four */                                                           \
    X(void, bf16_turn_block,                                                                                                                                  \
      (uint16_t *restrict y, int64_t ldy, const float *restrict x, int64_t ldx, int64_t rows, int64_t columns))

typedef struct ewci_kernels {
    const char *name; /* of the instruction set */
    const ewci_gemm_kernels *gemm;
#define EWCI_KERNEL_FIELD(result, name, arguments) result(*name) arguments;
    EWCI_KERNEL_LIST(EWCI_KERNEL_FIELD)
#undef EWCI_KERNEL_FIELD
} ewci_kernels;

extern const ewci_kernels ewci_kernels_portable;
#if defined(__x86_64__)
extern const ewci_kernels ewci_kernels_avx2;
extern const ewci_kernels ewci_kernels_avx512;
#endif

/* Inside this folder: the name of a kernel for the instruction set that the file is compiled for. */
#ifdef EWCI_ISA
#define EWCI_PASTE_(a, b) ewci_##a##_##b
#define EWCI_PASTE(a, b) EWCI_PASTE_(a, b)
#define EWCI_KERNEL(name) EWCI_PASTE(name, EWCI_ISA)
#define EWCI_KERNEL_PROTOTYPE(result, name, arguments) result EWCI_KERNEL(name) arguments;
EWCI_KERNEL_LIST(EWCI_KERNEL_PROTOTYPE)
#undef EWCI_KERNEL_PROTOTYPE
#endif

#endif
