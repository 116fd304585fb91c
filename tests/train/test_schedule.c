/* Schedules: every kind and tail against the formulas in libewc.h, their areas, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "libewc.h"
#include "train/schedule.h"

#define PI 3.14159265358979323846

static ewc_schedule make(ewc_schedule_kind kind, int64_t steps, int64_t warmup)
{
    ewc_schedule s;
    ewc_schedule_default(&s);
    s.kind = kind;
    s.peak = 3e-4;
    s.final_ratio = 0.1;
    s.steps = steps;
    s.warmup = warmup;
    return s;
}

static double rate(const ewc_schedule *s, int64_t step)
{
    double r = -1;
    assert_int_equal(ewc_schedule_rate(NULL, s, step, &r), EWC_OK);
    return r;
}

static void near(double found, double expected)
{
    if (fabs(found - expected) <= 1e-15 * 3e-4) return;
    print_error("found %.17g, expected %.17g\n", found, expected);
    fail();
}

static void the_default_is_constant(void **state)
{
    (void)state;
    ewc_schedule s;
    ewc_schedule_default(&s);
    assert_int_equal(s.struct_size, sizeof s);
    near(rate(&s, 1), 1e-4);
    near(rate(&s, 1000000007), 1e-4);
}

static void warmup_rises_in_a_line_to_the_peak(void **state)
{
    (void)state;
    for (int kind = EWC_SCHEDULE_CONSTANT; kind <= EWC_SCHEDULE_WSD; kind++) {
        ewc_schedule s = make((ewc_schedule_kind)kind, 100, 8);
        for (int64_t step = 1; step <= 8; step++) near(rate(&s, step), 3e-4 * (double)step / 8);
    }
    ewc_schedule whole = make(EWC_SCHEDULE_COSINE, 8, 8);
    near(rate(&whole, 8), 3e-4);
    near(rate(&whole, 9), 3e-4);
}

static void constant_stays_at_the_peak(void **state)
{
    (void)state;
    ewc_schedule s = make(EWC_SCHEDULE_CONSTANT, 0, 5);
    near(rate(&s, 6), 3e-4);
    near(rate(&s, 1 << 30), 3e-4);
}

static void linear_and_cosine_fall_from_peak_to_final_after_the_warmup(void **state)
{
    (void)state;
    ewc_schedule linear = make(EWC_SCHEDULE_LINEAR, 110, 10), cosine = make(EWC_SCHEDULE_COSINE, 110, 10);
    for (int64_t step = 11; step <= 110; step++) {
        double u = ((double)step - 10) / 100;
        near(rate(&linear, step), 3e-4 * (1 - 0.9 * u));
        near(rate(&cosine, step), 3e-4 * (0.1 + 0.9 * (1 + cos(PI * u)) / 2));
    }
    near(rate(&linear, 60), 3e-4 * 0.55);
    near(rate(&cosine, 60), 3e-4 * 0.55);
    near(rate(&linear, 110), 3e-5);
    near(rate(&cosine, 110), 3e-5);
}

static void beyond_the_last_step_the_last_rate_stays(void **state)
{
    (void)state;
    ewc_schedule s = make(EWC_SCHEDULE_COSINE, 50, 3);
    assert_true(rate(&s, 51) == rate(&s, 50));
    assert_true(rate(&s, INT64_MAX) == rate(&s, 50));
}

static double tail_formula(ewc_tail tail, double u)
{
    const double f = 0.1;
    switch (tail) {
    case EWC_TAIL_LINEAR: return 1 - (1 - f) * u;
    case EWC_TAIL_COSINE: return f + (1 - f) * (1 + cos(PI * u)) / 2;
    case EWC_TAIL_SQRT: return f + (1 - f) * (1 - sqrt(u));
    case EWC_TAIL_INVERSE: return 1 / ((1 - u) / 1 + u / f); /* the reciprocal is linear in u */
    }
    return 0;
}

static void warmup_stable_decay_has_the_four_tails(void **state)
{
    (void)state;
    for (int tail = EWC_TAIL_LINEAR; tail <= EWC_TAIL_INVERSE; tail++) {
        ewc_schedule s = make(EWC_SCHEDULE_WSD, 200, 20);
        s.tail = (ewc_tail)tail;
        s.decay = 40;
        for (int64_t step = 20; step <= 160; step++) near(rate(&s, step), 3e-4);
        for (int64_t step = 161; step <= 200; step++)
            near(rate(&s, step), 3e-4 * tail_formula(s.tail, ((double)step - 160) / 40));
        near(rate(&s, 200), 3e-5);
    }
    ewc_schedule none = make(EWC_SCHEDULE_WSD, 200, 20);
    near(rate(&none, 200), 3e-4);
    ewc_schedule all = make(EWC_SCHEDULE_WSD, 200, 20);
    all.decay = 180;
    near(rate(&all, 20), 3e-4);
    near(rate(&all, 110), 3e-4 * 0.55);
}

/* ---- Areas ---------------------------------------------------------------------------------------------------------------- */

/* m_i written out as the sum of its terms: S2 = sum_i sum_(k=2..i) 0.999^(i-k) (rate_(k-1) - rate_k). */
static void areas_are_the_sums_of_their_definition(void **state)
{
    (void)state;
    ewc_schedule s = make(EWC_SCHEDULE_WSD, 120, 10);
    s.tail = EWC_TAIL_SQRT;
    s.decay = 60;
    for (int64_t last = 1; last <= 150; last += 7) {
        double s1 = 0, s2 = 0, found1 = -1, found2 = -1;
        for (int64_t i = 1; i <= last; i++) {
            s1 += rate(&s, i);
            for (int64_t k = 2; k <= i; k++) s2 += pow(0.999, (double)(i - k)) * (rate(&s, k - 1) - rate(&s, k));
        }
        assert_int_equal(ewc_schedule_areas(NULL, &s, last, &found1, &found2), EWC_OK);
        assert_true(fabs(found1 - s1) <= 1e-13 * s1);
        assert_true(fabs(found2 - s2) <= 1e-12 * (fabs(s2) + 1e-4));
    }
}

static void areas_taken_step_by_step_have_the_same_bits(void **state)
{
    (void)state;
    ewc_schedule s = make(EWC_SCHEDULE_COSINE, 300, 30);
    ewci_schedule_areas running = {0};
    for (int64_t step = 1; step <= 320; step++) {
        double s1, s2;
        ewci_schedule_areas_next(&running, rate(&s, step));
        assert_int_equal(ewc_schedule_areas(NULL, &s, step, &s1, &s2), EWC_OK);
        assert_memory_equal(&s1, &running.s1, sizeof s1);
        assert_memory_equal(&s2, &running.s2, sizeof s2);
    }
}

static void a_constant_rate_has_no_second_area(void **state)
{
    (void)state;
    ewc_schedule s = make(EWC_SCHEDULE_CONSTANT, 0, 0);
    double s1, s2;
    assert_int_equal(ewc_schedule_areas(NULL, &s, 1000, &s1, &s2), EWC_OK);
    assert_true(fabs(s1 - 0.3) < 1e-14 && s2 == 0);
}

/* ---- Refusals --------------------------------------------------------------------------------------------------------------- */

static void refused(const ewc_schedule *s, int64_t step, const char *named)
{
    double r = 7, s1 = 7, s2 = 7;
    assert_int_equal(ewc_schedule_rate(NULL, s, step, &r), EWC_ERROR_ARGUMENT);
    if (strstr(ewc_last_error(NULL), named) == NULL) print_error("%s: not named in: %s\n", named, ewc_last_error(NULL));
    assert_non_null(strstr(ewc_last_error(NULL), named));
    assert_int_equal(ewc_schedule_areas(NULL, s, step, &s1, &s2), EWC_ERROR_ARGUMENT);
    assert_true(r == 7 && s1 == 7 && s2 == 7);
}

static void what_makes_no_schedule_is_refused_by_the_name_of_its_field(void **state)
{
    (void)state;
    const ewc_schedule good = make(EWC_SCHEDULE_WSD, 100, 10);
    ewc_schedule s;
    refused(NULL, 1, "schedule");
    refused(&good, 0, "step");
    refused(&good, -5, "step");
    s = good, s.struct_size = 0, refused(&s, 1, "struct_size");
    s = good, s.kind = (ewc_schedule_kind)4, refused(&s, 1, "schedule.kind");
    s = good, s.tail = (ewc_tail)-1, refused(&s, 1, "schedule.tail");
    s = good, s.peak = -1e-9, refused(&s, 1, "schedule.peak");
    s = good, s.peak = NAN, refused(&s, 1, "schedule.peak");
    s = good, s.peak = INFINITY, refused(&s, 1, "schedule.peak");
    s = good, s.final_ratio = -0.1, refused(&s, 1, "schedule.final_ratio");
    s = good, s.final_ratio = 1.1, refused(&s, 1, "schedule.final_ratio");
    s = good, s.final_ratio = NAN, refused(&s, 1, "schedule.final_ratio");
    s = good, s.tail = EWC_TAIL_INVERSE, s.final_ratio = 0, refused(&s, 1, "schedule.final_ratio");
    s = good, s.warmup = -1, refused(&s, 1, "schedule.warmup");
    s = good, s.warmup = 101, refused(&s, 1, "schedule.warmup");
    s = good, s.decay = -1, refused(&s, 1, "schedule.decay");
    s = good, s.decay = 91, refused(&s, 1, "schedule.decay");
    for (int kind = EWC_SCHEDULE_LINEAR; kind <= EWC_SCHEDULE_WSD; kind++) {
        s = make((ewc_schedule_kind)kind, 0, 0);
        refused(&s, 1, "schedule.steps");
    }
    assert_int_equal(ewc_schedule_rate(NULL, &good, 1, NULL), EWC_ERROR_ARGUMENT);
    assert_int_equal(ewc_schedule_areas(NULL, &good, 1, NULL, NULL), EWC_ERROR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_is_constant),
        cmocka_unit_test(warmup_rises_in_a_line_to_the_peak),
        cmocka_unit_test(constant_stays_at_the_peak),
        cmocka_unit_test(linear_and_cosine_fall_from_peak_to_final_after_the_warmup),
        cmocka_unit_test(beyond_the_last_step_the_last_rate_stays),
        cmocka_unit_test(warmup_stable_decay_has_the_four_tails),
        cmocka_unit_test(areas_are_the_sums_of_their_definition),
        cmocka_unit_test(areas_taken_step_by_step_have_the_same_bits),
        cmocka_unit_test(a_constant_rate_has_no_second_area),
        cmocka_unit_test(what_makes_no_schedule_is_refused_by_the_name_of_its_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
