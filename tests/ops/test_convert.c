/* convert: any element type to any other, as lib/core/convert.h has it (tests/core/test_convert.c), for whole buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/convert.h"
#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

enum { MOST = 70001 };

static const ewc_dtype TYPES[] = {EWC_F32, EWC_BF16, EWC_F16};

static void check_pair(ewci_device *device, ewc_dtype from, ewc_dtype to, int64_t n)
{
    float *values = array_random(n, 1, 3), *widened = array_filled(n, 0);
    size_t bytes = (size_t)n * ewci_dtype_bytes(to);
    void *source = array_bytes((size_t)n * ewci_dtype_bytes(from)), *found = array_bytes(bytes),
         *expected = array_bytes(bytes);
    if (n > 40) {
        values[3] = INFINITY;
        values[17] = -INFINITY;
        values[33] = NAN;
        values[40] = 1e-42F;
        for (int64_t i = 41; i < n; i++) values[i] = ldexpf(values[i], (int)(i % 60) - 40);
    }
    ewci_from_f32(source, from, values, n);
    ewci_to_f32(widened, source, from, n);
    ewci_from_f32(expected, to, widened, n);
    assert_int_equal(ewci_cpu_convert(device, found, to, source, from, n), EWC_OK);
    assert_memory_equal(found, expected, bytes);
}

static void check_all_pairs(ewci_device *device, const void *user)
{
    static const int64_t sizes[] = {0, 1, 19, 4099, MOST};
    (void)user;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int from = 0; from < 3; from++)
            for (int to = 0; to < 3; to++) check_pair(device, TYPES[from], TYPES[to], sizes[i]);
        arrays_free();
    }
}

static void every_type_converts_to_every_other(void **state)
{
    (void)state;
    each_device(check_all_pairs, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_type_converts_to_every_other)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
