/* The inner parts of the matrix product: panels of both operands in the order in which the innermost loop reads them, and that loop.
 *
 *   C[ROWS, COLUMNS] (+)= sum_l a[l, :]^T b[l, :],   rows l of a and b packed without gaps, or so far apart
 *
 * The tile of C stays in registers: ROWS x COLUMNS / vector accumulators, two vectors of b, one element of a in all lanes. Each element
 * is one chain of fused multiply-adds in the order of l, whatever tile it is in. (Goto and van de Geijn, 2008; the names are those
 * of BLIS: Van Zee and van de Geijn, 2015.) Without fused multiply-add (the portable set) it is a product and a sum. */
#include <string.h>

#include "cpu/kernels/kernels.h"

/* ROWS x 2 sums, two vectors of b and one of a are within the registers: 32 of 16 lanes, 16 of 8, 16 of 4. */
#if defined(__AVX512F__)
enum { WIDTH = 16, ROWS = 12, COLUMNS = 2 * WIDTH };
#elif defined(__FMA__)
enum { WIDTH = 8, ROWS = 6, COLUMNS = 2 * WIDTH };
#else
enum { WIDTH = 4, ROWS = 4, COLUMNS = 2 * WIDTH };
#endif

typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
#if !defined(__clang__)
typedef int32_t places __attribute__((vector_size(4 * WIDTH)));
#endif

/* Rows of b that are asked for ahead of time. */
enum { AHEAD = 8 };

#define UNROLLED _Pragma("GCC unroll 16")

/* Rows i and i + s of a transposition: blocks of s lanes change places. */
static inline __attribute__((always_inline)) void exchange(vector *upper, vector *lower, int s)
{
    vector x = {0}, y = {0};
#if defined(__clang__)
    for (int l = 0; l < WIDTH; l++) {
        x[l] = (l & s) != 0 ? (*lower)[l - s] : (*upper)[l];
        y[l] = (l & s) != 0 ? (*lower)[l] : (*upper)[l + s];
    }
#else
    places to_upper = {0}, to_lower = {0};
    for (int l = 0; l < WIDTH; l++) {
        to_upper[l] = (l & s) != 0 ? WIDTH + l - s : l;
        to_lower[l] = (l & s) != 0 ? WIDTH + l : l + s;
    }
    x = __builtin_shuffle(*upper, *lower, to_upper);
    y = __builtin_shuffle(*upper, *lower, to_lower);
#endif
    *upper = x;
    *lower = y;
}

static inline __attribute__((always_inline)) void transpose(vector rows[WIDTH])
{
    UNROLLED for (int s = WIDTH / 2; s > 0; s /= 2)
    {
        UNROLLED for (int i = 0; i < WIDTH; i++) if ((i & s) == 0) exchange(&rows[i], &rows[i + s], s);
    }
}

/* to[l, i] = x[i, l] for i < WIDTH, zero from `rows` on; a row of `to` is `stride` long. Its last lanes are written over by the next
 * rows where stride < WIDTH. */
static inline __attribute__((always_inline)) void pack_lanes(float *to, int64_t stride, const float *x, int64_t ld,
                                                             int64_t rows, int64_t k)
{
    int64_t l = 0;
    for (; l + WIDTH <= k; l += WIDTH) {
        vector r[WIDTH];
        if (rows == WIDTH) {
            UNROLLED for (int i = 0; i < WIDTH; i++) r[i] = *(const vector *)(x + i * ld + l);
        } else {
            UNROLLED for (int i = 0; i < WIDTH; i++) r[i] = i < rows ? *(const vector *)(x + i * ld + l) : (vector){0};
        }
        transpose(r);
        UNROLLED for (int i = 0; i < WIDTH; i++) * (vector *)(to + (l + i) * stride) = r[i];
    }
    for (; l < k; l++)
        for (int i = 0; i < WIDTH; i++) to[l * stride + i] = i < rows ? x[i * ld + l] : 0;
}

/* to[l, i] = x[l, i], zero from `used` on. */
static inline __attribute__((always_inline)) void pack_rows(float *to, int64_t width, const float *x, int64_t ld,
                                                            int64_t used, int64_t k)
{
    if (used == width) {
        for (int64_t l = 0; l < k; l++) memcpy(to + l * width, x + l * ld, (size_t)width * sizeof *to);
        return;
    }
    for (int64_t l = 0; l < k; l++)
        for (int64_t i = 0; i < width; i++) to[l * width + i] = i < used ? x[l * ld + i] : 0;
}

/* Whole panels side by side, a row of them all at a time: neighbours share cache lines, which a panel alone would fetch for itself. */
static void pack_group(float *to, const float *x, int64_t ld, int64_t k)
{
    for (int64_t l = 0; l < k; l++)
        for (int64_t i = 0; i < EWCI_GEMM_GROUP; i++)
            memcpy(to + (i * k + l) * ROWS, x + l * ld + i * ROWS, ROWS * sizeof *to);
}

static void pack_a(float *to, const float *a, int64_t lda, bool transposed, int64_t rows, int64_t k)
{
    if (!transposed)
        pack_lanes(to, ROWS, a, lda, rows, k);
    else if (rows == EWCI_GEMM_GROUP * ROWS)
        pack_group(to, a, lda, k);
    else
        for (int64_t i = 0; i < rows; i += ROWS)
            pack_rows(to + i * k, ROWS, a + i, lda, rows - i < ROWS ? rows - i : ROWS, k);
}

static void pack_b(float *to, const float *b, int64_t ldb, bool transposed, int64_t columns, int64_t k)
{
    if (!transposed) {
        pack_rows(to, COLUMNS, b, ldb, columns, k);
        return;
    }
    pack_lanes(to, COLUMNS, b, ldb, columns < WIDTH ? columns : WIDTH, k);
    pack_lanes(to + WIDTH, COLUMNS, b + WIDTH * ldb, ldb, columns > WIDTH ? columns - WIDTH : 0, k);
}

/* sum += a (b0, b1), a in all lanes. Written out because compilers keep the accumulators in memory otherwise. */
static inline __attribute__((always_inline)) void multiply_add(vector sum[2], const float *a, vector b0, vector b1)
{
#if defined(__FMA__)
    vector all;
    __asm__("vbroadcastss %[a], %[all]\n\t"
            "vfmadd231ps %[b0], %[all], %[s0]\n\t"
            "vfmadd231ps %[b1], %[all], %[s1]"
            : [s0] "+v"(sum[0]), [s1] "+v"(sum[1]), [all] "=&v"(all)
            : [a] "m"(*a), [b0] "v"(b0), [b1] "v"(b1));
#else
    sum[0] += *a * b0;
    sum[1] += *a * b1;
#endif
}

static inline __attribute__((always_inline)) void rank_one(vector sum[ROWS][2], const float *a, const float *b,
                                                           int64_t ldb)
{
    vector b0 = *(const vector *)b, b1 = *(const vector *)(b + WIDTH);
    __builtin_prefetch(b + AHEAD * ldb);
    __builtin_prefetch(b + AHEAD * ldb + COLUMNS - 1);
    UNROLLED for (int i = 0; i < ROWS; i++) multiply_add(sum[i], a + i, b0, b1);
}

static inline __attribute__((always_inline)) void any_tile(int64_t k, const float *a, int64_t lda, const float *b,
                                                           int64_t ldb, float *c, int64_t ldc, bool accumulate)
{
    vector sum[ROWS][2];
    UNROLLED for (int i = 0; i < ROWS; i++)
    {
        sum[i][0] = sum[i][1] = (vector){0};
        __builtin_prefetch(c + i * ldc, 1);
        __builtin_prefetch(c + i * ldc + COLUMNS - 1, 1);
    }
    for (; k >= 4; k -= 4, a += 4 * lda, b += 4 * ldb)
        UNROLLED for (int l = 0; l < 4; l++) rank_one(sum, a + l * lda, b + l * ldb, ldb);
    for (; k > 0; k--, a += lda, b += ldb) rank_one(sum, a, b, ldb);
    UNROLLED for (int i = 0; i < ROWS; i++)
    {
        vector *row = (vector *)(c + i * ldc);
        if (accumulate) {
            row[0] += sum[i][0];
            row[1] += sum[i][1];
        } else {
            row[0] = sum[i][0];
            row[1] = sum[i][1];
        }
    }
}

static void tile(int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc,
                 bool accumulate)
{
    if (lda == ROWS && ldb == COLUMNS) /* packed: the compiler knows the distances */
        any_tile(k, a, ROWS, b, COLUMNS, c, ldc, accumulate);
    else
        any_tile(k, a, lda, b, ldb, c, ldc, accumulate);
}

const ewci_gemm_kernels EWCI_KERNEL(gemm_kernels) = {ROWS, COLUMNS, WIDTH > 4, pack_a, pack_b, tile};
