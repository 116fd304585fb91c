/* One row of a tile of attention scores.
 *
 * Forward is the online softmax (Milakov and Gimelshein, 2018): with the running maximum m and sum l of a row, a new tile of
 * scores s gives m' = max(m, max s), p = exp(s - m'), l' = l exp(m - m') + sum p; what was accumulated is scaled by exp(m - m').
 * Backward: with p = exp(c - lse), ds = p (dp - delta) (1 - (c / cap)^2) scale. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/math.h"

static void clear_outside(float *s, int64_t begin, int64_t end, int64_t width)
{
    for (int64_t i = 0; i < begin; i++) s[i] = 0;
    for (int64_t i = end; i < width; i++) s[i] = 0;
}

float EWCI_KERNEL(attention_row)(float *s, int64_t begin, int64_t end, int64_t width, float softcap, float *maximum,
                                 float *sum)
{
    if (begin >= end) {
        clear_outside(s, 0, 0, width);
        return 1.0F;
    }
    float largest = *maximum, total = 0;
    if (softcap > 0) {
        float inverse = 1.0F / softcap;
#pragma omp simd reduction(max : largest)
        for (int64_t i = begin; i < end; i++) {
            s[i] = softcap * ewci_tanh(s[i] * inverse);
            largest = s[i] > largest ? s[i] : largest;
        }
    } else {
#pragma omp simd reduction(max : largest)
        for (int64_t i = begin; i < end; i++) largest = s[i] > largest ? s[i] : largest;
    }
#pragma omp simd reduction(+ : total)
    for (int64_t i = begin; i < end; i++) {
        s[i] = ewci_exp(s[i] - largest);
        total += s[i];
    }
    float factor = ewci_exp(*maximum - largest);
    clear_outside(s, begin, end, width);
    *sum = *sum * factor + total;
    *maximum = largest;
    return factor;
}

void EWCI_KERNEL(attention_bwd_row)(float *restrict s, float *restrict dp, int64_t begin, int64_t end, int64_t width,
                                    float softcap, float scale, float lse, float delta)
{
    if (begin >= end) begin = end = 0;
    if (softcap > 0) {
        float inverse = 1.0F / softcap;
#pragma omp simd
        for (int64_t i = begin; i < end; i++) {
            float t = ewci_tanh(s[i] * inverse);
            float p = ewci_exp(softcap * t - lse);
            dp[i] = p * (dp[i] - delta) * (1.0F - t * t) * scale;
            s[i] = p;
        }
    } else {
#pragma omp simd
        for (int64_t i = begin; i < end; i++) {
            float p = ewci_exp(s[i] - lse);
            dp[i] = p * (dp[i] - delta) * scale;
            s[i] = p;
        }
    }
    clear_outside(s, begin, end, width);
    clear_outside(dp, begin, end, width);
}

float EWCI_KERNEL(dot)(const float *restrict a, const float *restrict b, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

void EWCI_KERNEL(scale_in_place)(float *x, float factor, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) x[i] *= factor;
}
