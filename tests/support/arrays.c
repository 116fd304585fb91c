/* See arrays.h. */
#include "support/arrays.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

enum { MOST_ARRAYS = 4096 };

static void *arrays[MOST_ARRAYS];
static int array_count;

/* SplitMix64 (Steele, Lea, Flood 2014): independent of the library's own generator. */
double tiny_number(uint64_t seed, uint64_t index)
{
    uint64_t z = seed * 0x9e3779b97f4a7c15ULL + index * 0xd1342543de82ef95ULL + 0x632be59bd9b4e019ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    z ^= z >> 31;
    return ((double)(z >> 11) + 0.5) * 0x1p-52 - 1.0;
}

void *array_bytes(size_t bytes)
{
    void *memory = calloc(bytes > 0 ? bytes : 1, 1);
    assert_non_null(memory);
    assert_true(array_count < MOST_ARRAYS);
    arrays[array_count++] = memory;
    return memory;
}

float *array_random(int64_t n, uint64_t seed, double scale)
{
    float *x = array_bytes((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(scale * tiny_number(seed, (uint64_t)i));
    return x;
}

float *array_filled(int64_t n, float value)
{
    float *x = array_bytes((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = value;
    return x;
}

float *array_copy(const float *x, int64_t n)
{
    float *y = array_bytes((size_t)n * sizeof *y);
    memcpy(y, x, (size_t)n * sizeof *y);
    return y;
}

double *array_doubles(int64_t n)
{
    return array_bytes((size_t)n * sizeof(double));
}

double *array_widened(const float *x, int64_t n)
{
    double *y = array_doubles(n);
    for (int64_t i = 0; i < n; i++) y[i] = (double)x[i];
    return y;
}

int32_t *array_integers(int64_t n)
{
    return array_bytes((size_t)n * sizeof(int32_t));
}

void arrays_free(void)
{
    while (array_count > 0) free(arrays[--array_count]);
}

void array_check(const float *found, const double *expected, int64_t n, double tolerance, const char *what,
                 const char *file, int line)
{
    double scale = 0, worst = -1;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs(expected[i]));
    for (int64_t i = 0; i < n; i++) {
        double error = fabs((double)found[i] - expected[i]);
        if (error <= worst) continue;
        worst = isnan(error) ? HUGE_VAL : error;
        at = i;
    }
    if (worst <= tolerance * scale) return;
    print_error("%s[%lld]: found %.9g, expected %.9g: off by %.3g of the largest entry, allowed %.3g\n", what,
                (long long)at, (double)found[at], expected[at], worst / scale, tolerance);
    _fail(file, line);
}

void array_check_same(const float *a, const float *b, int64_t n, const char *what, const char *file, int line)
{
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) == 0) continue;
        print_error("%s[%lld]: %.9g and %.9g differ\n", what, (long long)i, (double)a[i], (double)b[i]);
        _fail(file, line);
    }
}

void central_differences(double *gradient, double *x, int64_t n, double step, double (*objective)(const void *user),
                         const void *user)
{
    for (int64_t i = 0; i < n; i++) {
        double present = x[i];
        x[i] = present + step;
        double above = objective(user);
        x[i] = present - step;
        double below = objective(user);
        x[i] = present;
        gradient[i] = (above - below) / (2 * step);
    }
}
