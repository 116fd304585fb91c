/* gemm and gemm_square with operands rounded to bf16 (to nearest even) and sums in f32: C = op(A) op(B) (+ C), and
 * F += weight (A^T B)^2.
 *
 * oneDNN's fast kernels multiply dense matrices only, A by rows. So blocks of the operands are converted into the context's scratch
 * on all threads: A as rows of k, turned about where it came transposed; B as rows of k where it came transposed, else as panels
 * of a tile's columns. k is filled up with zeros to a multiple of what the processor takes at once. Then the threads multiply tiles,
 * which are stored, added or squared into C from the cache. The block of the operand that is smaller stays while those of
 * the other pass, so that mostly each operand is converted once: O(mk + nk) beside O(mnk).
 *
 * Sums have one order whatever the number of threads, as far as oneDNN takes the same path for tiles of other heights. */
#include "cpu/gemm_bf16.h"

#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "cpu/onednn.h"
#include "cpu/operations.h"

enum {
    FILL = 32,      /* k is filled up to a multiple: 64 bytes of bf16 */
    ALIGN = 64,     /* of the threads' shares of an operand's rows */
    LEAST_ROWS = 32 /* tiles are made lower, down to this, until all threads have some */
};

typedef enum finish { STORE, ADD, SQUARE } finish;

typedef struct operand {
    const float *x;
    int64_t ld;
    bool transposed;
} operand;

typedef struct product {
    ewci_device *device;
    operand a, b;
    float *c;
    int64_t ldc;
    float weight;
    finish finish;
    int64_t k, depth_filled; /* of the present block: first and number of k, filled up */
    int64_t first_k;
    int64_t row, rows, column, columns; /* the present block of C */
    bool convert_a, convert_b;
    int64_t tile_rows; /* height of a tile */
} product;

static int64_t ceiling(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

static int64_t filled(int64_t k)
{
    return ceiling(k, FILL) * FILL;
}

/* ---- Conversion of a block ------------------------------------------------------------------------------------------------ */

/* y[rows, depth_filled] from `rows` rows of k, of which the first is number `row`: x[row + i, first_k + l]. */
static void convert_rows(const product *p, uint16_t *y, const operand *o, int64_t row, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        uint16_t *line = y + i * p->depth_filled;
        p->device->kernels->bf16_of_f32(line, o->x + (row + i) * o->ld + p->first_k, p->k);
        memset(line + p->k, 0, (size_t)(p->depth_filled - p->k) * sizeof *line);
    }
}

/* The same where k runs down the columns of the source: x[first_k + l, row + i]. */
static void turn_rows(const product *p, uint16_t *y, const operand *o, int64_t row, int64_t rows)
{
    for (int64_t l = 0; l < p->k; l += EWCI_TURN_ROWS)
        for (int64_t i = 0; i < rows; i += EWCI_TURN_COLUMNS)
            p->device->kernels->bf16_turn_block(y + i * p->depth_filled + l, p->depth_filled,
                                                o->x + (p->first_k + l) * o->ld + row + i, o->ld,
                                                ewci_smaller(EWCI_TURN_ROWS, p->k - l),
                                                ewci_smaller(EWCI_TURN_COLUMNS, rows - i));
    for (int64_t i = 0; i < rows; i++) /* bf16_turn_block fills up to a group alone */
        memset(y + i * p->depth_filled + p->k, 0, (size_t)(p->depth_filled - p->k) * sizeof *y);
}

/* Panels of EWCI_TILE_COLUMNS columns, each [depth_filled, its columns]; rows [begin, end) of all of them. */
static void convert_panels(const product *p, uint16_t *y, const operand *o, int64_t begin, int64_t end)
{
    for (int64_t column = 0; column < p->columns; column += EWCI_TILE_COLUMNS) {
        const int64_t width = ewci_smaller(EWCI_TILE_COLUMNS, p->columns - column);
        uint16_t *panel = y + column * p->depth_filled;
        for (int64_t l = begin; l < end; l++) {
            if (l < p->k)
                p->device->kernels->bf16_of_f32(panel + l * width, o->x + (p->first_k + l) * o->ld + p->column + column,
                                                width);
            else
                memset(panel + l * width, 0, (size_t)width * sizeof *panel);
        }
    }
}

static void convert_slice(void *argument, int index, int count)
{
    const product *p = argument;
    const ewci_bf16 *bf16 = p->device->bf16;
    int64_t begin, end;
    if (p->convert_a) {
        ewci_slice(p->rows, ALIGN, index, count, &begin, &end);
        uint16_t *y = bf16->a + begin * p->depth_filled;
        (p->a.transposed ? turn_rows : convert_rows)(p, y, &p->a, p->row + begin, end - begin);
    }
    if (p->convert_b && p->b.transposed) {
        ewci_slice(p->columns, ALIGN, index, count, &begin, &end);
        convert_rows(p, bf16->b + begin * p->depth_filled, &p->b, p->column + begin, end - begin);
    } else if (p->convert_b) {
        ewci_slice(p->depth_filled, 1, index, count, &begin, &end);
        convert_panels(p, bf16->b, &p->b, begin, end);
    }
}

/* ---- Tiles ---------------------------------------------------------------------------------------------------------------- */

static void finish_tile(const product *p, const float *tile, int64_t row, int64_t rows, int64_t column, int64_t columns)
{
    const ewci_kernels *kernels = p->device->kernels;
    for (int64_t i = 0; i < rows; i++) {
        float *line = p->c + (row + i) * p->ldc + column;
        const float *source = tile + i * columns;
        switch (p->finish) {
        case STORE: memcpy(line, source, (size_t)columns * sizeof *line); break;
        case ADD: kernels->add_scaled(line, source, 1.0F, columns); break;
        case SQUARE: kernels->add_square(line, source, p->weight, columns); break;
        }
    }
}

/* Tiles are numbered down the columns, so that a thread meets a panel of B with all its rows of A. */
static void multiply_slice(void *argument, int index, int count)
{
    const product *p = argument;
    const ewci_bf16 *bf16 = p->device->bf16;
    const int64_t high = ceiling(p->rows, p->tile_rows), wide = ceiling(p->columns, EWCI_TILE_COLUMNS);
    float *tile = p->device->tiles + (int64_t)index * EWCI_TILE;
    int64_t begin, end;
    ewci_slice(high * wide, 1, index, count, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const int64_t row = t % high * p->tile_rows, column = t / high * EWCI_TILE_COLUMNS;
        const int64_t rows = ewci_smaller(p->tile_rows, p->rows - row);
        const int64_t columns = ewci_smaller(EWCI_TILE_COLUMNS, p->columns - column);
        ewci_onednn_multiply(bf16->onednn, index, p->b.transposed, rows, columns, p->depth_filled,
                             bf16->a + row * p->depth_filled, bf16->b + column * p->depth_filled, tile);
        finish_tile(p, tile, p->row + row, rows, p->column + column, columns);
    }
}

static void choose_tile(product *p)
{
    const int64_t wide = ceiling(p->columns, EWCI_TILE_COLUMNS);
    p->tile_rows = EWCI_TILE_ROWS;
    while (p->tile_rows > LEAST_ROWS && ceiling(p->rows, p->tile_rows) * wide < 4 * (int64_t)p->device->threads)
        p->tile_rows /= 2;
}

static ewc_status run_block(product *p)
{
    const double work = (double)p->rows * (double)p->columns * (double)p->k;
    const int team = ewci_team(p->device, (int64_t)ewci_smaller((int64_t)(work / 64), INT32_MAX));
    choose_tile(p);
    ewci_parallel(p->device->pool, team, convert_slice, p);
    ewci_parallel(p->device->pool, team, multiply_slice, p);
    return ewci_onednn_check(p->device->bf16->onednn);
}

/* ---- Blocks of a product ---------------------------------------------------------------------------------------------------- */

/* All of C from k in [first_k, first_k + k): blocks of the smaller operand outside, of the larger inside. */
static ewc_status run_depth(product *p, int64_t m, int64_t n)
{
    const int64_t most = p->device->bf16->capacity / p->depth_filled,
                  step = most / EWCI_TILE_COLUMNS * EWCI_TILE_COLUMNS;
    const int64_t size = step > 0 ? step : most; /* of a block; whole panels where there is room for one */
    const bool a_outside = m <= n;
    const int64_t outer = a_outside ? m : n, inner = a_outside ? n : m;
    for (int64_t i = 0; i < outer; i += size) {
        for (int64_t j = 0; j < inner; j += size) {
            p->row = a_outside ? i : j;
            p->column = a_outside ? j : i;
            p->rows = ewci_smaller(size, m - p->row);
            p->columns = ewci_smaller(size, n - p->column);
            p->convert_a = !a_outside || j == 0;
            p->convert_b = a_outside || j == 0;
            EWCI_TRY(run_block(p));
        }
    }
    return EWC_OK;
}

ewc_status ewci_bf16_gemm(ewci_device *device, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                          const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc,
                          bool accumulate)
{
    product p = {.device = device,
                 .a = {a, lda, transpose_a},
                 .b = {b, ldb, transpose_b},
                 .c = c,
                 .ldc = ldc,
                 .finish = accumulate ? ADD : STORE};
    const int64_t pieces = ceiling(k, EWCI_BF16_DEPTH), piece = filled(ceiling(k, pieces));
    for (p.first_k = 0; p.first_k < k; p.first_k += piece) {
        p.k = ewci_smaller(piece, k - p.first_k);
        p.depth_filled = filled(p.k);
        EWCI_TRY(run_depth(&p, m, n));
        p.finish = ADD;
    }
    return EWC_OK;
}

ewc_status ewci_bf16_gemm_square(ewci_device *device, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                                 const float *b, int64_t ldb, float weight, float *fisher)
{
    product p = {.device = device,
                 .a = {a, lda, true},
                 .b = {b, ldb, false},
                 .c = fisher,
                 .ldc = n,
                 .weight = weight,
                 .finish = SQUARE,
                 .k = k,
                 .depth_filled = filled(k)}; /* whole: the sum must be complete before it is squared */
    if (k > EWCI_BF16_CAPACITY / FILL)
        return ewci_fail(device->ctx, EWC_ERROR_UNSUPPORTED,
                         "products: expected sequences of at most %d tokens for squares of bf16 products, found %lld",
                         EWCI_BF16_CAPACITY / FILL, (long long)k);
    return run_depth(&p, m, n);
}

/* ---- Opening and closing ---------------------------------------------------------------------------------------------------- */

static ewc_status allocate(ewc_context *ctx, ewci_bf16 *bf16)
{
    void *memory;
    EWCI_TRY(ewci_alloc(ctx, EWCI_BF16_CAPACITY * sizeof(uint16_t), "bf16 operands", &memory));
    bf16->a = memory;
    EWCI_TRY(ewci_alloc(ctx, EWCI_BF16_CAPACITY * sizeof(uint16_t), "bf16 operands", &memory));
    bf16->b = memory;
    bf16->capacity = EWCI_BF16_CAPACITY;
    return EWC_OK;
}

ewc_status ewci_bf16_open(ewc_context *ctx, ewci_bf16 **out)
{
    void *memory;
    bool processor_has_bf16 = true;
    EWCI_TRY(ewci_alloc_array(ctx, 1, sizeof(ewci_bf16), "bf16 products", &memory));
    ewci_bf16 *bf16 = memory;
    ewc_status status = ewci_onednn_open(ctx, ctx->threads, &bf16->onednn, &processor_has_bf16);
    if (status == EWC_OK) status = allocate(ctx, bf16);
    if (status != EWC_OK) {
        ewci_bf16_close(ctx, bf16);
        return status;
    }
    if (!processor_has_bf16)
        ewci_log(ctx, EWC_LOG_WARNING,
                 "products: this processor has no bf16 instructions, oneDNN emulates them: products in f32 "
                 "(EWC_PRODUCTS_F32) are faster");
    *out = bf16;
    return EWC_OK;
}

void ewci_bf16_close(ewc_context *ctx, ewci_bf16 *bf16)
{
    if (bf16 == NULL) return;
    ewci_onednn_close(bf16->onednn);
    ewci_free(ctx, bf16->a);
    ewci_free(ctx, bf16->b);
    ewci_free(ctx, bf16);
}

const char *ewci_bf16_name(const ewci_bf16 *bf16)
{
    return ewci_onednn_name(bf16->onednn);
}

int64_t ewci_bf16_bytes(const ewci_device *device)
{
    return 2 * EWCI_BF16_CAPACITY * (int64_t)sizeof(uint16_t) + device->threads * (int64_t)ewci_onednn_thread_bytes();
}
