/* act = gelu(g) u with gelu(g) = g/2 (1 + tanh(s)) = g p, p = 1 / (1 + e^(-2 s)), s = k (g + c g^3), k = sqrt(2/pi), c = 0.044715.
 * The second form costs one exp and loses no digits to cancellation where the tanh nears -1.
 *
 * Backward: du = da gelu(g),  dg = da u (p + g p (1 - p) 2 k (1 + 3 c g^2)). */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/math.h"

static const float K2 = 1.5957691216057308F, C = 0.044715F; /* 2 k, c */

static inline float gate_share(float g)
{
    return 1.0F / (1.0F + ewci_exp(-K2 * (g + C * g * g * g)));
}

void EWCI_KERNEL(geglu_row)(float *restrict act, const float *restrict gate, const float *restrict up, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) act[i] = gate[i] * gate_share(gate[i]) * up[i];
}

void EWCI_KERNEL(geglu_bwd_row)(float *restrict d_gate, float *restrict d_up, const float *restrict dact,
                                const float *restrict gate, const float *restrict up, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float g = gate[i], d = dact[i], p = gate_share(g);
        float slope = p + g * p * (1.0F - p) * K2 * (1.0F + 3.0F * C * g * g);
        d_up[i] = d * g * p;
        d_gate[i] = d * up[i] * slope;
    }
}
