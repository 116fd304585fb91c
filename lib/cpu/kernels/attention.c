/* A strip of attention scores, all lanes of a key at a time.
 *
 * Forward is the online softmax (Milakov and Gimelshein, 2018): with the running maximum m and sum l of a query, further
 * scores s give m' = max(m, max s), p = exp(s - m'), l' = l exp(m - m') + sum p; what was accumulated is multiplied by exp(m - m').
 * Backward: with p = exp(c - lse), ds = p (dp - delta) (1 - (c / cap)^2) scale. */
#include <string.h>

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/math.h"

static inline int all_see(const ewci_attention_strip *t, int64_t key)
{
    return t->first + key >= t->seen_first && t->first + key <= t->seen_last;
}

/* x = what the lanes see of it, and `hidden` elsewhere. */
static inline void mask(const ewci_attention_strip *t, int64_t key, float *restrict x, float hidden, int64_t from,
                        int64_t to)
{
    const int32_t *restrict lowest = t->lowest, *restrict highest = t->highest;
    int32_t j = (int32_t)(t->first + key);
#pragma omp simd
    for (int64_t l = from; l < to; l++) x[l] = lowest[l] <= j && j <= highest[l] ? x[l] : hidden;
}

static inline void clear_others(float *x, int64_t from, int64_t to, int64_t lanes)
{
    memset(x, 0, (size_t)from * sizeof *x);
    memset(x + to, 0, (size_t)(lanes - to) * sizeof *x);
}

static inline void cap_and_mask(const ewci_attention_strip *t, float *restrict maximum)
{
    float softcap = t->softcap, scale = t->scale, inverse = scale / softcap;
    for (int64_t key = 0; key < t->keys; key++) {
        float *restrict s = t->s + key * t->lanes;
        const int64_t from = t->from[key / EWCI_KEY_GROUP], to = t->to[key / EWCI_KEY_GROUP];
        if (softcap > 0) {
#pragma omp simd
            for (int64_t l = from; l < to; l++) s[l] = softcap * ewci_tanh(s[l] * inverse);
        } else {
#pragma omp simd
            for (int64_t l = from; l < to; l++) s[l] *= scale;
        }
        if (!all_see(t, key)) mask(t, key, s, -INFINITY, from, to);
#pragma omp simd
        for (int64_t l = from; l < to; l++) maximum[l] = s[l] > maximum[l] ? s[l] : maximum[l];
    }
}

void EWCI_KERNEL(attention_strip)(const ewci_attention_strip *t)
{
    float *restrict maximum = t->maximum, *restrict sum = t->sum, *restrict factor = t->factor;
    for (int64_t l = 0; l < t->lanes; l++) factor[l] = maximum[l];
    cap_and_mask(t, maximum);
#pragma omp simd
    for (int64_t l = 0; l < t->lanes; l++) {
        factor[l] = ewci_exp(factor[l] - maximum[l]);
        sum[l] *= factor[l];
    }
    for (int64_t key = 0; key < t->keys; key++) {
        float *restrict s = t->s + key * t->lanes;
        const int64_t from = t->from[key / EWCI_KEY_GROUP], to = t->to[key / EWCI_KEY_GROUP];
#pragma omp simd
        for (int64_t l = from; l < to; l++) {
            s[l] = ewci_exp(s[l] - maximum[l]);
            sum[l] += s[l];
        }
        clear_others(s, from, to, t->lanes);
    }
}

void EWCI_KERNEL(attention_strip_bwd)(const ewci_attention_strip *t)
{
    const float *restrict lse = t->lse, *restrict delta = t->delta;
    float softcap = t->softcap, scale = t->scale, inverse = scale / softcap;
    for (int64_t key = 0; key < t->keys; key++) {
        float *restrict s = t->s + key * t->lanes, *restrict dp = t->dp + key * t->lanes;
        const int64_t from = t->from[key / EWCI_KEY_GROUP], to = t->to[key / EWCI_KEY_GROUP];
        if (softcap > 0) {
#pragma omp simd
            for (int64_t l = from; l < to; l++) {
                float c = ewci_tanh(s[l] * inverse);
                float p = ewci_exp(softcap * c - lse[l]);
                dp[l] = p * (dp[l] - delta[l]) * (1.0F - c * c) * scale;
                s[l] = p;
            }
        } else {
#pragma omp simd
            for (int64_t l = from; l < to; l++) {
                float p = ewci_exp(scale * s[l] - lse[l]);
                dp[l] = p * (dp[l] - delta[l]) * scale;
                s[l] = p;
            }
        }
        clear_others(s, from, to, t->lanes);
        clear_others(dp, from, to, t->lanes);
        if (all_see(t, key)) continue;
        mask(t, key, s, 0.0F, from, to);
        mask(t, key, dp, 0.0F, from, to);
    }
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
