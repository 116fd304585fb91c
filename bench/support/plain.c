/* See plain.h. Each loop is compiled for the widest vectors too, so that it is not held back by its instructions. */
#include "support/plain.h"

#include <stdio.h>
#include <stdlib.h>

#include "cpu/device.h"

#if defined(__x86_64__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

#define S 0.4F
#define T 0.6F
enum { LANES = 64 };

typedef void (*loop)(float *const *x, int64_t begin, int64_t end, float *sink);

#define LOOP(name, body)                                                                            \
    WIDE static void name(float *const *x, int64_t begin, int64_t end, float *sink)                 \
    {                                                                                               \
        float *restrict a = x[0];                                                                   \
        const float *restrict b = x[1], *restrict c = x[2], *restrict d = x[3], *restrict e = x[4], \
                              *restrict f = x[5];                                                   \
        const float *restrict g = x[6], *restrict h = x[7];                                         \
        (void)sink, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;                  \
        for (int64_t i = begin; i < end; i++) a[i] = body;                                          \
    }
LOOP(triad2, S *b[i])
LOOP(triad3, b[i] + S * c[i])
LOOP(triad4, b[i] + S * (c[i] - d[i]))
LOOP(triad5, b[i] + S * (c[i] - d[i] + e[i] - b[i]))
LOOP(triad6, b[i] + S * (c[i] - d[i] + e[i] - f[i]))
LOOP(triad7, b[i] + S * (c[i] - d[i] + e[i] - f[i] + g[i] - b[i]))
LOOP(triad8, b[i] + S * (c[i] - d[i] + e[i] - f[i] + g[i] - h[i]))
LOOP(update1, S *a[i] + 0.3F)
LOOP(update2, S *a[i] + T * b[i])

WIDE static void update4(float *const *x, int64_t begin, int64_t end, float *sink)
{
    float *restrict a = x[0], *restrict b = x[1], *restrict c = x[2];
    const float *restrict d = x[3];
    (void)sink;
    for (int64_t i = begin; i < end; i++) {
        a[i] = S * a[i] + T * d[i];
        b[i] = S * b[i] + T * d[i];
        c[i] = S * c[i] + T * d[i];
    }
}

WIDE static void update6(float *const *x, int64_t begin, int64_t end, float *sink)
{
    float *restrict a = x[0], *restrict b = x[1], *restrict c = x[2];
    const float *restrict d = x[3], *restrict e = x[4], *restrict f = x[5];
    (void)sink;
    for (int64_t i = begin; i < end; i++) {
        a[i] = S * a[i] + T * d[i];
        b[i] = S * b[i] + T * e[i];
        c[i] = S * c[i] + T * f[i];
    }
}

#define SUM(name, body)                                                                             \
    WIDE static void name(float *const *x, int64_t begin, int64_t end, float *sink)                 \
    {                                                                                               \
        const float *restrict a = x[0], *restrict b = x[1], *restrict c = x[2], *restrict d = x[3]; \
        float lane[LANES] = {0};                                                                    \
        (void)b, (void)c, (void)d;                                                                  \
        for (int64_t i = begin; i + LANES <= end; i += LANES)                                       \
            for (int l = 0; l < LANES; l++) lane[l] += body;                                        \
        for (int l = 0; l < LANES; l++) *sink += lane[l];                                           \
    }
SUM(sum1, a[i + l])
SUM(sum3, a[i + l] + b[i + l] - c[i + l])
SUM(sum4, a[i + l] + b[i + l] - c[i + l] - d[i + l])

typedef struct work {
    loop body;
    float *const *x;
    int64_t n;
} work;

static void run_slice(void *argument, int index, int count)
{
    const work *w = argument;
    int64_t begin, end;
    float sink = 0;
    ewci_slice(w->n, LANES, index, count, &begin, &end);
    w->body(w->x, begin, end, &sink);
    if (sink == 1.2345F) puts(""); /* the sums are used */
}

void plain_triad(int arrays, float *const *x, int64_t n, ewc_context *context)
{
    static const loop loops[] = {triad2, triad3, triad4, triad5, triad6, triad7, triad8};
    work w = {loops[arrays - 2], x, n};
    ewci_parallel(context->device->pool, context->threads, run_slice, &w);
}

void plain_in_place(plain_streams streams, float *const *x, int64_t n, ewc_context *context)
{
    static const struct {
        plain_streams streams;
        loop body;
    } loops[] = {{{1, 0}, sum1},    {{3, 0}, sum3},    {{4, 0}, sum4},   {{1, 1}, update1},
                 {{2, 1}, update2}, {{4, 3}, update4}, {{6, 3}, update6}};
    for (size_t k = 0; k < sizeof loops / sizeof *loops; k++) {
        if (loops[k].streams.read != streams.read || loops[k].streams.written != streams.written) continue;
        work w = {loops[k].body, x, n};
        ewci_parallel(context->device->pool, context->threads, run_slice, &w);
        return;
    }
    fprintf(stderr, "no plain loop over %d arrays of which %d are written\n", streams.read, streams.written);
    exit(1);
}
