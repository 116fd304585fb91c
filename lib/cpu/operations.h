/* The CPU backend's operations, one file each: ewci_cpu_<name> implements the entry <name> of lib/ops.h. */
#ifndef EWCI_CPU_OPERATIONS_H
#define EWCI_CPU_OPERATIONS_H

#include "ops.h"

/* One line per group of ops.h. */
// clang-format off
#define EWCI_CPU_OPERATIONS(X) \
    X(open) X(close) X(describe) X(alloc) X(free) X(copy_in) X(copy_out) X(copy) X(zero) X(sync) \
    X(gemm) X(gemm_square) \
    X(embed_fwd) X(embed_bwd) X(gather_rows) X(scatter_square) \
    X(rmsnorm_fwd) X(rmsnorm_bwd) X(rmsnorm_residual_fwd) X(rmsnorm_residual_bwd) \
    X(qk_norm_fwd) X(qk_norm_bwd) \
    X(rope_table) X(rope) \
    X(attention_scratch) X(attention_fwd) X(attention_bwd) \
    X(geglu_fwd) X(geglu_bwd) \
    X(cross_entropy) \
    X(sum_squares) X(add) X(convert) \
    X(fisher_accumulate) X(update) X(penalty) X(sum_squares_total) X(fold_add)
// clang-format on

/* Each has the type of its entry. */
#define EWCI_CPU_DECLARE(name) __typeof__(*((ewci_ops *)0)->name) ewci_cpu_##name;
EWCI_CPU_OPERATIONS(EWCI_CPU_DECLARE)
#undef EWCI_CPU_DECLARE

#endif
