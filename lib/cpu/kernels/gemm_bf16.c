/* Packing for bf16 products: a block of f32 turned about while it is rounded.
 *
 * Four rows at a time become one row of 64-bit groups of four, which the compiler vectorises; the groups, a quarter as many as the
 * elements, are turned about one by one. */
#include <string.h>

#include "cpu/kernels/kernels.h"

enum { GROUP = 4, GROUPS = EWCI_TURN_ROWS / GROUP };
enum { FIRST = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 16, SECOND = 16 - FIRST };

/* pairs[j] = the bf16 of a[j], then in memory that of b[j]. */
static void pair_rows(uint32_t *restrict pairs, const float *restrict a, const float *restrict b, int64_t n)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        pairs[j] = (uint32_t)ewci_bf16_of_f32(a[j]) << FIRST | (uint32_t)ewci_bf16_of_f32(b[j]) << SECOND;
}

/* groups[j] = the bf16 of x[0][j] to x[3][j], in this order in memory. */
static void group_rows(uint64_t *restrict groups, const float *const *x, int64_t n)
{
    uint32_t first[EWCI_TURN_COLUMNS], second[EWCI_TURN_COLUMNS];
    pair_rows(first, x[0], x[1], n);
    pair_rows(second, x[2], x[3], n);
#pragma omp simd
    for (int64_t j = 0; j < n; j++) groups[j] = (uint64_t)first[j] << 2 * FIRST | (uint64_t)second[j] << 2 * SECOND;
}

void EWCI_KERNEL(bf16_turn_block)(uint16_t *restrict y, int64_t ldy, const float *restrict x, int64_t ldx, int64_t rows,
                                  int64_t columns)
{
    static const float zeros[EWCI_TURN_COLUMNS];
    uint64_t groups[GROUPS][EWCI_TURN_COLUMNS];
    const int64_t count = (rows + GROUP - 1) / GROUP;
    for (int64_t i = 0; i < count; i++) {
        const float *lines[GROUP];
        for (int64_t l = 0; l < GROUP; l++) lines[l] = GROUP * i + l < rows ? x + (GROUP * i + l) * ldx : zeros;
        group_rows(groups[i], lines, columns);
    }
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < count; i++) memcpy(y + j * ldy + GROUP * i, &groups[i][j], sizeof(uint64_t));
}
