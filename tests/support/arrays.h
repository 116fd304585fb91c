/* Deterministic arrays for tests of operations, and their comparison with double-precision references.
 *
 * Arrays have exactly the size asked for, so that AddressSanitizer sees the first element too far; arrays_free frees them all. */
#ifndef TESTS_SUPPORT_ARRAYS_H
#define TESTS_SUPPORT_ARRAYS_H

#include <stddef.h>
#include <stdint.h>

/* A deterministic number in (-1, 1). */
double tiny_number(uint64_t seed, uint64_t index);

/* n numbers in (-scale, scale). */
float *array_random(int64_t n, uint64_t seed, double scale);
float *array_filled(int64_t n, float value);
float *array_copy(const float *x, int64_t n);
double *array_doubles(int64_t n); /* zero */
double *array_widened(const float *x, int64_t n);
int32_t *array_integers(int64_t n); /* zero */
void *array_bytes(size_t bytes);    /* zero */

/* Frees every array of this program so far. */
void arrays_free(void);

/* Fails the test unless |found - expected| <= tolerance * max |expected| everywhere; names the worst element. */
void array_check(const float *found, const double *expected, int64_t n, double tolerance, const char *what,
                 const char *file, int line);
#define CLOSE(found, expected, n, tolerance) \
    array_check((found), (expected), (n), (tolerance), #found, __FILE__, __LINE__)

/* Fails the test unless the two have the same bits. */
void array_check_same(const float *a, const float *b, int64_t n, const char *what, const char *file, int line);
#define SAME(a, b, n) array_check_same((a), (b), (n), #a, __FILE__, __LINE__)

/* gradient[i] = d objective / d x[i] by central differences in double; x is changed on the way and restored. */
void central_differences(double *gradient, double *x, int64_t n, double step, double (*objective)(const void *user),
                         const void *user);

#endif
