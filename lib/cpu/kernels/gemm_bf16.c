/* Packing for bf16 products: a block of f32 turned about while it is rounded.
 *
 * Two rows at a time become one row of 32-bit pairs, which the compiler vectorises; the pairs, half as many as the elements, are
 * turned about one by one. */
#include <string.h>

#include "cpu/kernels/kernels.h"

enum { PAIRS = EWCI_TURN_BLOCK / 2, FIRST = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 16, SECOND = 16 - FIRST };

/* pairs[j] = the bf16 of first[j], then in memory that of second[j]; second may be NULL: zeros. */
static void pair_rows(uint32_t *restrict pairs, const float *restrict first, const float *restrict second, int64_t n)
{
    if (second == NULL) {
        for (int64_t j = 0; j < n; j++) pairs[j] = (uint32_t)ewci_bf16_of_f32(first[j]) << FIRST;
        return;
    }
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        pairs[j] = (uint32_t)ewci_bf16_of_f32(first[j]) << FIRST | (uint32_t)ewci_bf16_of_f32(second[j]) << SECOND;
}

void EWCI_KERNEL(bf16_turn_block)(uint16_t *restrict y, int64_t ldy, const float *restrict x, int64_t ldx, int64_t rows,
                                  int64_t columns)
{
    uint32_t pairs[PAIRS][EWCI_TURN_BLOCK];
    const int64_t count = (rows + 1) / 2;
    for (int64_t i = 0; i < count; i++)
        pair_rows(pairs[i], x + 2 * i * ldx, 2 * i + 1 < rows ? x + (2 * i + 1) * ldx : NULL, columns);
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < count; i++) memcpy(y + j * ldy + 2 * i, &pairs[i][j], sizeof(uint32_t));
}
