/* gather_rows and scatter_square: rows of a table by distinct numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/devices.h"

enum { TABLE = 23, COUNT = 9, HIDDEN = 41 };

static const float WEIGHT = 0.3F;

static int32_t *make_index(void)
{
    int32_t *index = array_integers(COUNT);
    for (int i = 0; i < COUNT; i++) index[i] = (i * 5 + 2) % TABLE; /* distinct, not in order */
    return index;
}

static int is_named(const int32_t *index, int row)
{
    for (int i = 0; i < COUNT; i++)
        if (index[i] == row) return 1;
    return 0;
}

static void check_gather(ewci_device *device, const void *user)
{
    const bool clear = *(const bool *)user;
    int32_t *index = make_index();
    float *before = array_random(TABLE * HIDDEN, 1, 1), *table = array_copy(before, TABLE * HIDDEN);
    float *rows = array_filled(COUNT * HIDDEN, NAN), *zero = array_filled(HIDDEN, 0);
    assert_int_equal(ewci_cpu_gather_rows(device, rows, table, index, COUNT, HIDDEN, clear), EWC_OK);
    for (int i = 0; i < COUNT; i++) SAME(rows + i * HIDDEN, before + index[i] * HIDDEN, HIDDEN);
    for (int row = 0; row < TABLE; row++)
        SAME(table + row * HIDDEN, clear && is_named(index, row) ? zero : before + row * HIDDEN, HIDDEN);
    arrays_free();
}

static void gathered_rows_are_copies_and_the_table_is_kept(void **state)
{
    (void)state;
    const bool clear = false;
    each_device(check_gather, &clear);
}

static void gathered_rows_are_cleared_on_request_and_no_others(void **state)
{
    (void)state;
    const bool clear = true;
    each_device(check_gather, &clear);
}

static void check_scatter(ewci_device *device, const void *user)
{
    (void)user;
    int32_t *index = make_index();
    float *before = array_random(TABLE * HIDDEN, 2, 1), *fisher = array_copy(before, TABLE * HIDDEN);
    float *rows = array_random(COUNT * HIDDEN, 3, 2);
    double *expected = array_widened(before, TABLE * HIDDEN);
    for (int i = 0; i < COUNT; i++)
        for (int c = 0; c < HIDDEN; c++)
            expected[index[i] * HIDDEN + c] +=
                (double)WEIGHT * (double)rows[i * HIDDEN + c] * (double)rows[i * HIDDEN + c];
    assert_int_equal(ewci_cpu_scatter_square(device, fisher, rows, index, COUNT, HIDDEN, WEIGHT), EWC_OK);
    CLOSE(fisher, expected, TABLE * HIDDEN, 2e-7);
    for (int row = 0; row < TABLE; row++)
        if (!is_named(index, row)) SAME(fisher + row * HIDDEN, before + row * HIDDEN, HIDDEN);
    arrays_free();
}

static void squares_are_added_to_the_named_rows_and_no_others(void **state)
{
    (void)state;
    each_device(check_scatter, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gathered_rows_are_copies_and_the_table_is_kept),
        cmocka_unit_test(gathered_rows_are_cleared_on_request_and_no_others),
        cmocka_unit_test(squares_are_added_to_the_named_rows_and_no_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
