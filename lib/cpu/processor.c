/* CPUID: see processor.h. Used before main() by openblas_env.c, so nothing here may depend on initialised state. */
#include "cpu/processor.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

enum { AVX_STATE = 0x6, AVX512_STATE = 0xe6 };

/* The register state that the system saves (XCR0), 0 when it saves none. */
static uint32_t saved_state(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a;
}

bool ewci_processor_has_avx2(void)
{
    uint32_t a, b, c, d;
    if ((saved_state() & AVX_STATE) != AVX_STATE || !__get_cpuid(1, &a, &b, &c, &d)) return false;
    if (!(c & bit_AVX) || !(c & bit_FMA) || !(c & bit_F16C)) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}

bool ewci_processor_has_avx512(void)
{
    const uint32_t needed = bit_AVX512F | bit_AVX512CD | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    uint32_t a, b, c, d;
    if (!ewci_processor_has_avx2() || (saved_state() & AVX512_STATE) != AVX512_STATE) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & needed) == needed;
}

static bool made_by(const char vendor[12])
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d)) return false;
    const uint32_t found[3] = {b, d, c};
    return memcmp(found, vendor, sizeof found) == 0;
}

const char *ewci_processor_openblas_core(void)
{
    if (ewci_processor_has_avx512()) return "SkylakeX";
    if (!ewci_processor_has_avx2()) return NULL;
    return made_by("AuthenticAMD") || made_by("HygonGenuine") ? "Zen" : "Haswell";
}

void ewci_processor_name(char *name, size_t bytes)
{
    uint32_t words[13] = {0};
    bool known = true;
    for (uint32_t i = 0; i < 3 && known; i++)
        known =
            __get_cpuid(0x80000002U + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]) != 0;
    const char *text = known ? (const char *)words : "x86-64";
    while (*text == ' ') text++;
    snprintf(name, bytes, "%s", text);
}

#else

bool ewci_processor_has_avx2(void)
{
    return false;
}

bool ewci_processor_has_avx512(void)
{
    return false;
}

const char *ewci_processor_openblas_core(void)
{
    return NULL;
}

void ewci_processor_name(char *name, size_t bytes)
{
    snprintf(name, bytes, "unknown");
}

#endif
