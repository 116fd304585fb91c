/* One row of softcapped cross entropy: c = cap tanh(z / cap), softmax of c, and its gradient through the cap. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/math.h"

enum { BLOCK = 4096 }; /* sums are f32 within a block and double between blocks */

float EWCI_KERNEL(softcap_max)(float *z, int64_t n, float softcap)
{
    float largest = -INFINITY;
    if (softcap > 0) {
        float inverse = 1.0F / softcap;
#pragma omp simd reduction(max : largest)
        for (int64_t i = 0; i < n; i++) {
            z[i] = softcap * ewci_tanh(z[i] * inverse);
            largest = z[i] > largest ? z[i] : largest;
        }
    } else {
#pragma omp simd reduction(max : largest)
        for (int64_t i = 0; i < n; i++) largest = z[i] > largest ? z[i] : largest;
    }
    return largest;
}

double EWCI_KERNEL(exp_sum)(const float *c, int64_t n, float shift)
{
    double sum = 0;
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t end = n - first < BLOCK ? n : first + BLOCK;
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = first; i < end; i++) part += ewci_exp(c[i] - shift);
        sum += (double)part;
    }
    return sum;
}

int64_t EWCI_KERNEL(exp_sum_reach)(const float *c, int64_t n, float shift, double goal)
{
    double sum = 0;
    int64_t last = 0;
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t end = n - first < BLOCK ? n : first + BLOCK;
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = first; i < end; i++) part += ewci_exp(c[i] - shift);
        if (sum + (double)part < goal) {
            sum += (double)part;
            continue;
        }
        for (int64_t i = first; i < end; i++) {
            float e = ewci_exp(c[i] - shift);
            if (e > 0) last = i; /* never an impossible label, even when rounding leaves the goal unreached */
            sum += (double)e;
            if (sum >= goal && e > 0) return i;
        }
    }
    return last;
}

void EWCI_KERNEL(cross_entropy_gradient)(float *c, int64_t n, float lse, float weight, float softcap)
{
    float inverse = softcap > 0 ? 1.0F / softcap : 0.0F;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float t = c[i] * inverse;
        c[i] = weight * ewci_exp(c[i] - lse) * (1.0F - t * t);
    }
}
