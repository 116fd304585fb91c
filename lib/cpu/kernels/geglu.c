/* act = gelu(g) u with gelu(g) = g/2 (1 + t), t = tanh(s), s = k (g + c g^3), k = sqrt(2/pi), c = 0.044715.
 *
 * Backward: du = da gelu(g),  dg = da u ((1 + t)/2 + g/2 (1 - t^2) k (1 + 3 c g^2)). */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/math.h"

static const float K = 0.7978845608028654F, C = 0.044715F;

void EWCI_KERNEL(geglu_row)(float *restrict act, const float *restrict gate, const float *restrict up, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float g = gate[i];
        float t = ewci_tanh(K * (g + C * g * g * g));
        act[i] = 0.5F * g * (1.0F + t) * up[i];
    }
}

void EWCI_KERNEL(geglu_bwd_row)(float *restrict d_gate, float *restrict d_up, const float *restrict dact,
                                const float *restrict gate, const float *restrict up, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float g = gate[i], d = dact[i];
        float t = ewci_tanh(K * (g + C * g * g * g));
        float slope = 0.5F * (1.0F + t) + 0.5F * g * (1.0F - t * t) * K * (1.0F + 3.0F * C * g * g);
        d_up[i] = d * 0.5F * g * (1.0F + t);
        d_gate[i] = d * up[i] * slope;
    }
}
