/* The fused AdamW + EWC update of one block (AdamW: Loshchilov and Hutter 2019, algorithm 2; forms: libewc.h).
 *
 *   g = scale g;  gradient form: g += lambda F (w - a)
 *   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  1/d = 1 / (sqrt(v / (1 - b2^t)) + eps)
 *   what = w (1 - eta wd) - eta (m / (1 - b1^t)) / d
 *   proximal form: r = eta lambda F / d;  w = a + (what - a) / (1 + r), and what itself where r = 0
 *
 * The last line is written so that r = 0 changes no bit, r = inf gives the anchor and a weight on its anchor stays. Compiled without
 * contraction, with sums in 16 fixed lanes: the same bits for every instruction set. */
#include <float.h>
#include <math.h>

#include "cpu/kernels/kernels.h"

enum { LANES = 16 };

typedef struct lanes {
    float distance[LANES], fisher_distance[LANES], nonfinite[LANES];
} lanes;

static inline __attribute__((always_inline)) float element(float *w, float *m, float *v, float g,
                                                           const ewci_update_parameters *p, ewc_penalty_form form,
                                                           float f, float a)
{
    g = p->gradient_scale * g;
    if (form == EWC_PENALTY_GRADIENT) g = g + p->lambda * f * (*w - a);
    float m1 = p->beta1 * *m + p->one_minus_beta1 * g;
    float v1 = p->beta2 * *v + p->one_minus_beta2 * (g * g);
    float inverse = 1.0F / (sqrtf(v1 * p->correction2) + p->epsilon);
    float w1 = *w * p->keep - p->rate * (m1 * p->correction1) * inverse;
    if (form == EWC_PENALTY_PROXIMAL) {
        float r = p->rate_lambda * f * inverse;
        float pulled = a + (w1 - a) / (1.0F + r);
        w1 = r == 0.0F ? w1 : pulled;
    }
    *m = m1;
    *v = v1;
    *w = w1;
    return w1;
}

static inline __attribute__((always_inline)) void block(int64_t n, float *restrict w, float *restrict m,
                                                        float *restrict v, const float *restrict g,
                                                        const float *restrict f, const float *restrict a,
                                                        const ewci_update_parameters *p, ewc_penalty_form form, lanes *s)
{
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
#pragma omp simd
        for (int l = 0; l < LANES; l++) {
            float fisher = form == EWC_PENALTY_NONE ? 0.0F : f[i + l];
            float anchor = form == EWC_PENALTY_NONE ? 0.0F : a[i + l];
            if (form != EWC_PENALTY_NONE) {
                float distance = w[i + l] - anchor;
                s->distance[l] += distance * distance;
                s->fisher_distance[l] += fisher * (distance * distance);
            }
            float w1 = element(&w[i + l], &m[i + l], &v[i + l], g[i + l], p, form, fisher, anchor);
            s->nonfinite[l] += fabsf(w1) <= FLT_MAX ? 0.0F : 1.0F;
        }
    }
    for (int64_t i = whole; i < n; i++) {
        float fisher = form == EWC_PENALTY_NONE ? 0.0F : f[i], anchor = form == EWC_PENALTY_NONE ? 0.0F : a[i];
        if (form != EWC_PENALTY_NONE) {
            float distance = w[i] - anchor;
            s->distance[i - whole] += distance * distance;
            s->fisher_distance[i - whole] += fisher * (distance * distance);
        }
        float w1 = element(&w[i], &m[i], &v[i], g[i], p, form, fisher, anchor);
        s->nonfinite[i - whole] += fabsf(w1) <= FLT_MAX ? 0.0F : 1.0F;
    }
}

static void add_lanes(const lanes *s, ewci_update_sums *sums)
{
    for (int l = 0; l < LANES; l++) {
        sums->distance_squared += (double)s->distance[l];
        sums->fisher_distance_squared += (double)s->fisher_distance[l];
        sums->nonfinite += (int64_t)s->nonfinite[l];
    }
}

void EWCI_KERNEL(update_block)(int64_t n, float *restrict w, float *restrict m, float *restrict v,
                               const float *restrict g, const float *restrict f, const float *restrict a,
                               const ewci_update_parameters *parameters, ewci_update_sums *sums)
{
    const ewci_update_parameters p = *parameters;
    lanes s = {{0}, {0}, {0}};
    if (p.form == EWC_PENALTY_PROXIMAL)
        block(n, w, m, v, g, f, a, &p, EWC_PENALTY_PROXIMAL, &s);
    else if (p.form == EWC_PENALTY_GRADIENT)
        block(n, w, m, v, g, f, a, &p, EWC_PENALTY_GRADIENT, &s);
    else
        block(n, w, m, v, g, NULL, NULL, &p, EWC_PENALTY_NONE, &s);
    add_lanes(&s, sums);
}

void EWCI_KERNEL(penalty_block)(int64_t n, const float *restrict w, const float *restrict f, const float *restrict a,
                                ewci_update_sums *sums)
{
    lanes s = {{0}, {0}, {0}};
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
#pragma omp simd
        for (int l = 0; l < LANES; l++) {
            float distance = w[i + l] - a[i + l];
            s.distance[l] += distance * distance;
            s.fisher_distance[l] += f[i + l] * (distance * distance);
        }
    }
    for (int64_t i = whole; i < n; i++) {
        float distance = w[i] - a[i];
        s.distance[i - whole] += distance * distance;
        s.fisher_distance[i - whole] += f[i] * (distance * distance);
    }
    add_lanes(&s, sums);
}
