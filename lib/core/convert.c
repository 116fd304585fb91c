/* See convert.h. */
#include "core/convert.h"

uint16_t ewci_f16_of_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = (bits >> 16) & 0x8000U, magnitude = bits & 0x7fffffffU;
    if (magnitude > 0x7f800000U) return (uint16_t)(sign | 0x7e00U | ((magnitude >> 13) & 0x3ffU));
    if (magnitude >= 0x47800000U) return (uint16_t)(sign | 0x7c00U); /* 65536 and more */
    if (magnitude < 0x38800000U) { /* below 2^-14: adding 0.5 rounds to multiples of 2^-24 */
        float y;
        memcpy(&y, &magnitude, sizeof y);
        y += 0.5F;
        memcpy(&magnitude, &y, sizeof magnitude);
        return (uint16_t)(sign | (magnitude - 0x3f000000U));
    }
    uint32_t rebased = magnitude - 0x38000000U;
    return (uint16_t)(sign | ((rebased + 0xfffU + ((rebased >> 13) & 1U)) >> 13));
}

void ewci_to_f32(float *destination, const void *source, ewc_dtype from, int64_t count)
{
    const char *bytes = source;
    if (from == EWC_F32) {
        if (count > 0) memcpy(destination, source, (size_t)count * sizeof *destination);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        uint16_t x;
        memcpy(&x, bytes + 2 * i, sizeof x);
        destination[i] = from == EWC_BF16 ? ewci_f32_of_bf16(x) : ewci_f32_of_f16(x);
    }
}

void ewci_from_f32(void *destination, ewc_dtype to, const float *source, int64_t count)
{
    char *bytes = destination;
    if (to == EWC_F32) {
        if (count > 0) memcpy(destination, source, (size_t)count * sizeof *source);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        uint16_t x = to == EWC_BF16 ? ewci_bf16_of_f32(source[i]) : ewci_f16_of_f32(source[i]);
        memcpy(bytes + 2 * i, &x, sizeof x);
    }
}
