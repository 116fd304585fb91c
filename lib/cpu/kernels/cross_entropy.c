/* Pieces of one row of softcapped cross entropy: c = cap tanh(z / cap), sums of exp(c), and the gradient through the cap. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/math.h"

enum {
    BLOCK = 1024, /* sums are f32 within a block and double between blocks */
    LINES = 64,   /* floats asked for at a time */
    AHEAD = 2048, /* bytes */
};

/* The loops here do so much per element that the processor, left alone, waits for memory in between. The address may lie beyond the
 * row, which a prefetch does not mind. */
static inline void fetch_ahead(const float *x)
{
    for (uintptr_t line = 0; line < LINES * sizeof *x; line += 64)
        __builtin_prefetch((const void *)((uintptr_t)x + AHEAD + line), 1, 3);
}

static inline int64_t block_end(int64_t first, int64_t n, int64_t length)
{
    return n - first < length ? n : first + length;
}

float EWCI_KERNEL(softcap_max)(float *z, int64_t n, float softcap)
{
    float largest = -INFINITY, inverse = 1.0F / softcap;
    for (int64_t first = 0; first < n; first += LINES) {
        int64_t end = block_end(first, n, LINES);
        fetch_ahead(z + first);
        if (softcap > 0) {
#pragma omp simd
            for (int64_t i = first; i < end; i++) z[i] = softcap * ewci_tanh(z[i] * inverse);
        }
#pragma omp simd reduction(max : largest)
        for (int64_t i = first; i < end; i++) largest = z[i] > largest ? z[i] : largest;
    }
    return largest;
}

static inline float block_sum(const float *c, int64_t first, int64_t end, float shift)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = first; i < end; i++) sum += ewci_exp(c[i] - shift);
    return sum;
}

double EWCI_KERNEL(exp_sum)(const float *c, int64_t n, float shift)
{
    double sum = 0;
    for (int64_t first = 0; first < n; first += BLOCK)
        sum += (double)block_sum(c, first, block_end(first, n, BLOCK), shift);
    return sum;
}

/* Capped and summed in one pass, for caps that keep exp(c) within f32: the largest need not be known. */
double EWCI_KERNEL(softcap_exp_sum)(float *z, int64_t n, float softcap)
{
    float inverse = 1.0F / softcap;
    double sum = 0;
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t end = block_end(first, n, BLOCK);
        for (int64_t line = first; line < end; line += LINES) {
            int64_t stop = block_end(line, end, LINES);
            fetch_ahead(z + line);
#pragma omp simd
            for (int64_t i = line; i < stop; i++) z[i] = softcap * ewci_tanh(z[i] * inverse);
        }
        sum += (double)block_sum(z, first, end, 0);
    }
    return sum;
}

/* Only the block in which the goal lies is visited element by element. An element of probability zero is never chosen, also when
 * the roundings of the block's sum leave the goal unreached. */
int64_t EWCI_KERNEL(exp_sum_reach)(const float *c, int64_t n, float shift, double goal)
{
    double sum = 0;
    int64_t last = 0;
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t end = block_end(first, n, BLOCK);
        double part = (double)block_sum(c, first, end, shift);
        if (sum + part < goal) {
            sum += part;
            continue;
        }
        for (int64_t i = first; i < end; i++) {
            float e = ewci_exp(c[i] - shift);
            if (!(e > 0)) continue;
            last = i;
            sum += (double)e;
            if (sum >= goal) break;
        }
        break;
    }
    return last;
}

void EWCI_KERNEL(cross_entropy_gradient)(float *c, int64_t n, float largest, float factor, float softcap)
{
    float inverse = softcap > 0 ? 1.0F / softcap : 0.0F;
    for (int64_t first = 0; first < n; first += LINES) {
        int64_t end = block_end(first, n, LINES);
        fetch_ahead(c + first);
#pragma omp simd
        for (int64_t i = first; i < end; i++) {
            float t = c[i] * inverse;
            c[i] = factor * ewci_exp(c[i] - largest) * (1.0F - t * t);
        }
    }
}
