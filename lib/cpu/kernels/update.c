/* The fused AdamW + EWC update of one block (AdamW: Loshchilov and Hutter 2019, algorithm 2; forms: libewc.h).
 *
 *   g = scale g;  gradient form: g += lambda F (w - a)
 *   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  1/d = 1 / (sqrt(v / (1 - b2^t)) + eps)
 *   what = w (1 - eta wd) - eta (m / (1 - b1^t)) / d
 *   proximal form: r = eta lambda F / d;  w = a + (what - a) / (1 + r), and what itself where r = 0
 *
 * The last line is written so that r = 0 changes no bit, r = inf gives the anchor and a weight on its anchor stays. Compiled without
 * contraction, only with operations that IEEE 754 rounds correctly, sums in fixed lanes: the same bits for every instruction set. */
#include <float.h>
#include <math.h>

#include "cpu/kernels/rounding.h"

enum { LANES = EWCI_LANES };

/* Its square is an f32, with room for the sums of Adam's second moment. */
static const float LARGEST_PULL = 1e18F;

/* Moments that nothing feeds decay into the subnormal numbers and stay there (0.9 of the four smallest rounds to itself), where the
 * processor is several times slower. Zero instead moves a weight by less than eta 1e-38 / eps. */
static inline __attribute__((always_inline)) float without_subnormal(float x)
{
    return fabsf(x) < FLT_MIN ? 0.0F : x;
}

static inline __attribute__((always_inline)) float penalty_gradient(float lambda, float f, float w, float a)
{
    float pull = lambda * (f * (w - a));
    pull = pull > LARGEST_PULL ? LARGEST_PULL : pull;
    return pull < -LARGEST_PULL ? -LARGEST_PULL : pull;
}

static inline __attribute__((always_inline)) float
element(float *w, float *m, float *v, float g, const ewci_update_parameters *p, ewc_penalty_form form, float f, float a)
{
    g = p->gradient_scale * g;
    if (form == EWC_PENALTY_GRADIENT) g = g + penalty_gradient(p->lambda, f, *w, a);
    float m1 = without_subnormal(p->beta1 * *m + p->one_minus_beta1 * g);
    float v1 = without_subnormal(p->beta2 * *v + p->one_minus_beta2 * (g * g));
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

typedef struct sums {
    double distance[LANES], fisher_distance[LANES];
    int32_t nonfinite[LANES];
} sums;

/* `width` elements, one per lane (a constant where it is LANES), and their share of the sums, which are of the weights before the
 * update. The difference from the anchor is taken in f32, where it is exact for weights within a factor of two of it. */
static inline __attribute__((always_inline)) void step(int width, float *restrict w, float *restrict m,
                                                       float *restrict v, const float *restrict g,
                                                       const float *restrict f, const float *restrict a,
                                                       const ewci_update_parameters *p, ewc_penalty_form form, sums *s)
{
#pragma omp simd
    for (int l = 0; l < width; l++) {
        float fisher = form == EWC_PENALTY_NONE ? 0.0F : f[l];
        float anchor = form == EWC_PENALTY_NONE ? 0.0F : a[l];
        if (form != EWC_PENALTY_NONE) {
            double distance = (double)(w[l] - anchor);
            s->distance[l] += distance * distance;
            s->fisher_distance[l] += (double)fisher * (distance * distance);
        }
        float w1 = element(&w[l], &m[l], &v[l], g[l], p, form, fisher, anchor);
        s->nonfinite[l] += fabsf(w1) <= FLT_MAX ? 0 : 1;
    }
}

static inline __attribute__((always_inline)) sums sums_of(const ewci_penalty_lanes *lanes)
{
    sums s;
    for (int l = 0; l < LANES; l++) {
        s.distance[l] = lanes->distance[l];
        s.fisher_distance[l] = lanes->fisher_distance[l];
        s.nonfinite[l] = 0;
    }
    return s;
}

static inline __attribute__((always_inline)) void put_sums(const sums *s, ewci_penalty_lanes *lanes)
{
    for (int l = 0; l < LANES; l++) {
        lanes->distance[l] = s->distance[l];
        lanes->fisher_distance[l] = s->fisher_distance[l];
        lanes->nonfinite[l] += s->nonfinite[l];
    }
}

/* Asks for the line `bytes` after the element at hand; beyond an array's end nothing is read. Without it, as much arithmetic as there is
 * between two loads keeps the processor from seeing far enough: the update took an eighth longer. */
static inline __attribute__((always_inline)) void prefetch(const void *at, int64_t bytes)
{
    __builtin_prefetch((const void *)((uintptr_t)at + (uintptr_t)bytes));
}

enum { LINE = 64, AHEAD = 512 /* elements */, AHEAD_BYTES = AHEAD * sizeof(float) };

static inline __attribute__((always_inline)) void block(int64_t n, float *restrict w, float *restrict m,
                                                        float *restrict v, const float *restrict g,
                                                        const float *restrict f, const float *restrict a,
                                                        const ewci_update_parameters *p, ewc_penalty_form form,
                                                        ewci_penalty_lanes *lanes)
{
    sums s = sums_of(lanes);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        prefetch(w + i, AHEAD_BYTES);
        prefetch(m + i, AHEAD_BYTES);
        prefetch(v + i, AHEAD_BYTES);
        prefetch(g + i, AHEAD_BYTES);
        if (form != EWC_PENALTY_NONE) prefetch(f + i, AHEAD_BYTES);
        if (form != EWC_PENALTY_NONE) prefetch(a + i, AHEAD_BYTES);
        step(LANES, w + i, m + i, v + i, g + i, f + i, a + i, p, form, &s);
    }
    if (i < n) step((int)(n - i), w + i, m + i, v + i, g + i, f + i, a + i, p, form, &s);
    put_sums(&s, lanes);
}

void EWCI_KERNEL(update_block)(int64_t n, const ewc_update_buffers *buffers, const ewci_update_parameters *parameters,
                               ewci_penalty_lanes *lanes)
{
    const ewci_update_parameters p = *parameters;
    float *w = buffers->weight.data, *m = buffers->m.data, *v = buffers->v.data;
    const float *g = buffers->gradient.data, *f = buffers->fisher.data, *a = buffers->anchor.data;
    if (p.form == EWC_PENALTY_PROXIMAL)
        block(n, w, m, v, g, f, a, &p, EWC_PENALTY_PROXIMAL, lanes);
    else if (p.form == EWC_PENALTY_GRADIENT)
        block(n, w, m, v, g, f, a, &p, EWC_PENALTY_GRADIENT, lanes);
    else
        block(n, w, m, v, g, g, g, &p, EWC_PENALTY_NONE, lanes); /* f and a are not read */
}

/* ---- Buffers of any type ------------------------------------------------------------------------------------------------
 *
 * A GROUP is widened into the nearest cache, updated, and rounded back. It is of whole cache lines of 16-bit numbers, which are
 * stored at once: half lines took twice the time. */
enum { GROUP = 64 };

static inline __attribute__((always_inline)) void prefetch_group(ewc_buffer b, int64_t i)
{
    int64_t size = b.dtype == EWC_F32 ? 4 : 2;
    for (int64_t k = 0; k < GROUP * size; k += LINE) prefetch(b.data, (i + AHEAD) * size + k);
}

static inline __attribute__((always_inline)) void hash_group(int width, const ewci_rounding *r, int64_t i,
                                                             uint32_t key0, uint32_t key1, uint32_t *restrict random)
{
    uint32_t element = r->first + (uint32_t)i;
#pragma omp simd
    for (int l = 0; l < width; l++) random[l] = ewci_rounding_hash(element + (uint32_t)l, key0, key1);
}

static inline __attribute__((always_inline)) void typed_step(int width, const ewc_update_buffers *b, int64_t i,
                                                             const ewci_update_parameters *p, ewc_penalty_form form,
                                                             const ewci_rounding *r, sums *s)
{
    _Alignas(64) float weight[GROUP], first[GROUP], second[GROUP], gradient[GROUP], fisher[GROUP], anchor[GROUP];
    _Alignas(64) uint32_t random[GROUP];
    prefetch_group(b->weight, i);
    prefetch_group(b->m, i);
    prefetch_group(b->v, i);
    prefetch_group(b->gradient, i);
    if (form != EWC_PENALTY_NONE) {
        prefetch_group(b->fisher, i);
        prefetch_group(b->anchor, i);
    }
    float *w = ewci_lanes_read(width, b->weight, i, weight);
    float *m = ewci_lanes_read(width, b->m, i, first);
    float *v = ewci_lanes_read(width, b->v, i, second);
    const float *g = ewci_lanes_read(width, b->gradient, i, gradient), *f = g, *a = g;
    if (form != EWC_PENALTY_NONE) {
        f = ewci_lanes_read(width, b->fisher, i, fisher);
        a = ewci_lanes_read(width, b->anchor, i, anchor);
    }
    int k = 0;
    for (; k + LANES <= width; k += LANES) step(LANES, w + k, m + k, v + k, g + k, f + k, a + k, p, form, s);
    if (k < width) step(width - k, w + k, m + k, v + k, g + k, f + k, a + k, p, form, s);
    if (r->stochastic) hash_group(width, r, i, r->key[0], r->key[1], random);
    ewci_lanes_write(width, b->m, i, m, r->stochastic ? random : NULL, 0);
    ewci_lanes_write(width, b->v, i, v, r->stochastic ? random : NULL, 16);
    if (b->weight.dtype == EWC_F32) return;
    if (r->stochastic) hash_group(width, r, i, r->key[2], r->key[3], random);
    ewci_lanes_write(width, b->weight, i, w, r->stochastic ? random : NULL, 16);
}

static inline __attribute__((always_inline)) void typed_block(int64_t n, const ewc_update_buffers *b,
                                                              const ewci_update_parameters *p, ewc_penalty_form form,
                                                              const ewci_rounding *r, ewci_penalty_lanes *lanes)
{
    sums s = sums_of(lanes);
    int64_t i = 0;
    for (; i + GROUP <= n; i += GROUP) typed_step(GROUP, b, i, p, form, r, &s);
    if (i < n) typed_step((int)(n - i), b, i, p, form, r, &s);
    put_sums(&s, lanes);
}

void EWCI_KERNEL(update_typed_block)(int64_t n, const ewc_update_buffers *buffers,
                                     const ewci_update_parameters *parameters, const ewci_rounding *rounding,
                                     ewci_penalty_lanes *lanes)
{
    const ewc_update_buffers b = *buffers;
    const ewci_update_parameters p = *parameters;
    const ewci_rounding r = *rounding;
    if (p.form == EWC_PENALTY_PROXIMAL)
        typed_block(n, &b, &p, EWC_PENALTY_PROXIMAL, &r, lanes);
    else if (p.form == EWC_PENALTY_GRADIENT)
        typed_block(n, &b, &p, EWC_PENALTY_GRADIENT, &r, lanes);
    else
        typed_block(n, &b, &p, EWC_PENALTY_NONE, &r, lanes);
}
