/* The update in double precision, straight from the formulas in libewc.h, and arrays to try it on. */
#ifndef TESTS_SUPPORT_UPDATE_REFERENCE_H
#define TESTS_SUPPORT_UPDATE_REFERENCE_H

#include <math.h>

#include "libewc.h"
#include "support/arrays.h"

typedef struct update_state {
    double w, m, v;
    double g, d; /* of the step that led here: size of the gradient's terms, sqrt(vhat) + eps */
} update_state;

/* One weight's step with the task gradient `gradient`, fisher F and anchor `anchor`. */
static inline update_state reference_update(update_state s, double gradient, double fisher, double anchor,
                                            const ewc_update_options *o)
{
    double g = o->gradient_scale * gradient;
    s.g = fabs(g);
    if (o->form == EWC_PENALTY_GRADIENT) {
        double pull = o->lambda * fisher * (s.w - anchor);
        g += pull;
        s.g += fabs(pull);
    }
    s.m = o->beta1 * s.m + (1 - o->beta1) * g;
    s.v = o->beta2 * s.v + (1 - o->beta2) * g * g;
    double mhat = s.m / (1 - pow(o->beta1, (double)o->step));
    double vhat = s.v / (1 - pow(o->beta2, (double)o->step));
    double d = s.d = sqrt(vhat) + o->epsilon;
    s.w = s.w * (1 - o->learning_rate * o->weight_decay) - o->learning_rate * mhat / d;
    if (o->form == EWC_PENALTY_PROXIMAL) {
        double r = o->learning_rate * o->lambda * fisher / d;
        s.w = (s.w + r * anchor) / (1 + r);
    }
    return s;
}

/* f32 arrays of one problem: weights near their anchor, Fisher from 1e-12 to 1, moments as after some steps. */
typedef struct update_arrays {
    int64_t n;
    float *w, *m, *v, *g, *f, *a;
} update_arrays;

static inline update_arrays update_arrays_make(int64_t n)
{
    update_arrays x = {n,
                       array_random(n, 1, 0.1),
                       array_random(n, 2, 1e-3),
                       array_random(n, 3, 1e-3),
                       array_random(n, 4, 1e-2),
                       array_random(n, 5, 1),
                       array_random(n, 6, 1)};
    for (int64_t i = 0; i < n; i++) {
        x.w[i] += x.w[i] < 0 ? -0.05F : 0.05F;
        x.a[i] = x.w[i] * (1 + 0.2F * x.a[i]);
        x.v[i] *= x.v[i];
        x.f[i] = i % 7 == 3 ? 0.0F : (float)pow(10, 6 * (double)x.f[i] - 6);
    }
    return x;
}

static inline update_arrays update_arrays_copy(const update_arrays *x)
{
    return (update_arrays){x->n,
                           array_copy(x->w, x->n),
                           array_copy(x->m, x->n),
                           array_copy(x->v, x->n),
                           array_copy(x->g, x->n),
                           array_copy(x->f, x->n),
                           array_copy(x->a, x->n)};
}

static inline ewc_update_buffers update_arrays_buffers(const update_arrays *x)
{
    return (ewc_update_buffers){{x->w, EWC_F32}, {x->m, EWC_F32}, {x->v, EWC_F32},
                                {x->g, EWC_F32}, {x->f, EWC_F32}, {x->a, EWC_F32}};
}

static inline ewc_update_options update_options_of(ewc_penalty_form form, double lambda)
{
    return (ewc_update_options){.struct_size = sizeof(ewc_update_options),
                                .form = form,
                                .step = 3,
                                .learning_rate = 2e-3,
                                .beta1 = 0.9,
                                .beta2 = 0.99,
                                .epsilon = 1e-6,
                                .weight_decay = 0.3,
                                .gradient_scale = 0.7,
                                .lambda = lambda};
}

#endif
