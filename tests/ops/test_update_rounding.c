/* Stochastic rounding of update's bf16 results: to one of the two neighbours, with the right mean, by numbers that depend on seed, step
 * and place alone. beta1 = 0 makes m the gradient itself, so that any f32 can be rounded at will. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/operations.h"
#include "support/devices.h"
#include "support/update_reference.h"

enum { N = 16384 + 77 };

static float number_of(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &wide, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* m, v and the weight as bf16, the rest f32. */
typedef struct halves {
    uint16_t *w, *m, *v;
} halves;

static halves make_halves(int64_t n)
{
    size_t bytes = (size_t)n * sizeof(uint16_t);
    return (halves){array_bytes(bytes), array_bytes(bytes), array_bytes(bytes)};
}

static ewc_update_options options_at(int64_t step, uint64_t seed)
{
    ewc_update_options o = update_options_of(EWC_PENALTY_NONE, 0);
    o.stochastic_rounding = 1;
    o.seed = seed;
    o.step = step;
    o.beta1 = 0;
    o.beta2 = 0;
    o.gradient_scale = 1;
    return o;
}

/* m = g and v = g^2, rounded; the weights are of no interest. */
static void round_gradient(ewci_device *device, int64_t n, float *g, const halves *h, const ewc_update_options *o)
{
    float *w = array_filled(n, 1.0F);
    ewc_update_buffers b = {{w, EWC_F32}, {h->m, EWC_BF16}, {h->v, EWC_BF16}, {g, EWC_F32}, {NULL, 0}, {NULL, 0}};
    memset(h->m, 0, (size_t)n * sizeof *h->m);
    memset(h->v, 0, (size_t)n * sizeof *h->v);
    assert_int_equal(ewci_cpu_update(device, n, &b, o, NULL), EWC_OK);
}

/* ---- Neighbours ------------------------------------------------------------------------------------------------------------- */

static void check_neighbour(float exact, uint16_t found)
{
    uint16_t below = (uint16_t)(bits_of(exact) >> 16), above = (uint16_t)(below + 1);
    bool whole = (bits_of(exact) & 0xffffU) == 0;
    if (found == below || (found == above && !whole)) return;
    print_error("%.9g was rounded to %.9g\n", (double)exact, (double)number_of(found));
    fail();
}

/* Against the update of the same numbers in f32, which test_update.c proves. */
static void check_types(ewci_device *device, const void *user)
{
    const ewc_penalty_form form = *(const ewc_penalty_form *)user;
    update_arrays x = update_arrays_make(N);
    halves h = make_halves(N);
    int64_t up = 0;
    for (int64_t i = 0; i < N; i++) {
        h.w[i] = (uint16_t)(bits_of(x.w[i]) >> 16), x.w[i] = number_of(h.w[i]);
        h.m[i] = (uint16_t)(bits_of(x.m[i]) >> 16), x.m[i] = number_of(h.m[i]);
        h.v[i] = (uint16_t)(bits_of(x.v[i]) >> 16), x.v[i] = number_of(h.v[i]);
    }
    ewc_update_buffers exact = update_arrays_buffers(&x), rounded = exact;
    ewc_update_options o = update_options_of(form, 10);
    ewc_update_statistics expected, found;
    o.stochastic_rounding = 1;
    rounded.weight = (ewc_buffer){h.w, EWC_BF16};
    rounded.m = (ewc_buffer){h.m, EWC_BF16};
    rounded.v = (ewc_buffer){h.v, EWC_BF16};
    assert_int_equal(ewci_cpu_update(device, N, &rounded, &o, &found), EWC_OK);
    assert_int_equal(ewci_cpu_update(device, N, &exact, &o, &expected), EWC_OK);
    for (int64_t i = 0; i < N; i++) {
        check_neighbour(x.w[i], h.w[i]);
        check_neighbour(x.m[i], h.m[i]);
        check_neighbour(x.v[i], h.v[i]);
        up += h.m[i] != bits_of(x.m[i]) >> 16;
    }
    assert_true(up > N / 3 && up < N - N / 3);
    assert_memory_equal(&found, &expected, sizeof found);
    arrays_free();
}

static void results_are_neighbours_of_the_exact_ones_in_every_form(void **state)
{
    static const ewc_penalty_form forms[] = {EWC_PENALTY_NONE, EWC_PENALTY_GRADIENT, EWC_PENALTY_PROXIMAL};
    (void)state;
    for (int k = 0; k < 3; k++) each_device(check_types, &forms[k]);
}

/* Every kind of number that needs care, at every step the same result. */
static void check_special(ewci_device *device, const void *user)
{
    (void)user;
    const struct {
        float x;
        uint16_t expected;
    } cases[] = {{0.0F, 0},
                 {1.5F, 0x3fc0},
                 {-0.0078125F, 0xbc00},
                 {INFINITY, 0x7f80},
                 {-INFINITY, 0xff80},
                 {float_of(0x7f7f0000U), 0x7f7f}, /* the largest bf16 */
                 {float_of(0x7f7f7fffU), 0x7f7f}, /* nearer to it than to what lies above */
                 {FLT_MAX, 0x7f80},               /* as to nearest */
                 {-FLT_MAX, 0xff80},
                 {FLT_MIN, 0x0080}, /* the smallest normal one */
                 {FLT_MIN / 4, 0},  /* the update has no subnormal moments */
                 {NAN, 0x7fc0}};
    enum { CASES = sizeof cases / sizeof *cases, REPEATS = 40 };
    float *g = array_filled(CASES * REPEATS, 0);
    halves h = make_halves(CASES * REPEATS);
    for (int i = 0; i < CASES * REPEATS; i++) g[i] = cases[i % CASES].x;
    for (int step = 1; step <= 20; step++) {
        ewc_update_options o = options_at(step, 3);
        round_gradient(device, CASES * REPEATS, g, &h, &o);
        for (int i = 0; i < CASES * REPEATS; i++) assert_int_equal(h.m[i], cases[i % CASES].expected);
    }
    arrays_free();
}

static void exact_numbers_infinities_and_nan_stay(void **state)
{
    (void)state;
    each_device(check_special, NULL);
}

/* ---- A function of seed, step and place ---------------------------------------------------------------------------------------- */

/* Rounds a ladder of gradients in pieces that begin at the given places of the flat order. */
static halves in_pieces(ewci_device *device, float *g, int64_t first_element, int64_t pieces, uint64_t seed)
{
    halves h = make_halves(N);
    ewc_update_options o = options_at(7, seed);
    float *w = array_filled(N, 1.0F);
    for (int64_t k = 0; k < N; k += (N + pieces - 1) / pieces) {
        int64_t n = (N + pieces - 1) / pieces < N - k ? (N + pieces - 1) / pieces : N - k;
        o.first_element = first_element + k;
        ewc_update_buffers b = {{w + k, EWC_F32}, {h.m + k, EWC_BF16}, {h.v + k, EWC_BF16},
                                {g + k, EWC_F32}, {NULL, 0},           {NULL, 0}};
        assert_int_equal(ewci_cpu_update(device, n, &b, &o, NULL), EWC_OK);
    }
    return h;
}

typedef struct expectation {
    uint16_t m[N], v[N];
} expectation;

static const int64_t PLACES[] = {0, 5, (INT64_C(1) << 32) - 1000, (INT64_C(1) << 40) + 5};
enum { PLACE_COUNT = sizeof PLACES / sizeof *PLACES };

static void check_bits(ewci_device *device, const void *user)
{
    const expectation *expected = user;
    for (int p = 0; p < PLACE_COUNT; p++) {
        float *g = array_random(N, 9, 1);
        halves whole = in_pieces(device, g, PLACES[p], 1, 3), cut = in_pieces(device, g, PLACES[p], 5, 3);
        assert_memory_equal(whole.m, expected[p].m, sizeof expected->m);
        assert_memory_equal(whole.v, expected[p].v, sizeof expected->v);
        assert_memory_equal(cut.m, expected[p].m, sizeof expected->m);
        assert_memory_equal(cut.v, expected[p].v, sizeof expected->v);
        arrays_free();
    }
}

static void bits_do_not_depend_on_threads_instruction_set_or_pieces(void **state)
{
    static expectation expected[PLACE_COUNT];
    (void)state;
    opened_device *opened = device_open(EWC_ISA_PORTABLE, 1);
    for (int p = 0; p < PLACE_COUNT; p++) {
        float *g = array_random(N, 9, 1);
        halves h = in_pieces(opened->device, g, PLACES[p], 1, 3);
        memcpy(expected[p].m, h.m, sizeof expected[p].m);
        memcpy(expected[p].v, h.v, sizeof expected[p].v);
        arrays_free();
    }
    device_close(opened);
    assert_memory_not_equal(expected[0].m, expected[1].m, sizeof expected[0].m);
    assert_memory_not_equal(expected[1].m, expected[2].m, sizeof expected[0].m);
    assert_memory_not_equal(expected[1].m, expected[3].m, sizeof expected[0].m); /* the upper half counts */
    each_device(check_bits, expected);
}

/* ---- Statistics ------------------------------------------------------------------------------------------------------------------ */

/* Was each of n draws of the number 1 + fraction ulp rounded up? In m, and in v of the same element. */
static void draw(ewci_device *device, int64_t n, double fraction, int64_t step, uint64_t seed, uint8_t *m_up,
                 uint8_t *v_up)
{
    /* With x between 1 and 1 + 2^-7, x^2 lies between 1 and 1 + 2^-6: the lower half of that range for these fractions. */
    float *g = array_filled(n, (float)(1 + fraction / 128));
    halves h = make_halves(n);
    ewc_update_options o = options_at(step, seed);
    round_gradient(device, n, g, &h, &o);
    for (int64_t i = 0; i < n; i++) {
        m_up[i] = h.m[i] != 0x3f80;
        v_up[i] = h.v[i] != 0x3f80;
    }
    arrays_free();
}

static double sum_of(const uint8_t *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

/* Five standard deviations of a binomial count: one false alarm in two million. */
static void check_count(double count, double n, double p, const char *what, double parameter)
{
    double sigma = sqrt(n * p * (1 - p));
    if (fabs(count - n * p) <= 5 * sigma) return;
    print_error("%s (%g): %g of %g, expected %g +- %g\n", what, parameter, count, n, n * p, sigma);
    fail();
}

enum { DRAWS = 1 << 18 };

static void the_mean_is_the_exact_value(void **state)
{
    static const double fractions[] = {1.0 / 65536, 1.0 / 1024, 0.125, 0.25, 0.375, 0.4921875};
    uint8_t *m = malloc(DRAWS), *v = malloc(DRAWS);
    (void)state;
    assert_true(m != NULL && v != NULL);
    opened_device *opened = device_open(EWC_ISA_AUTO, 2);
    for (size_t k = 0; k < sizeof fractions / sizeof *fractions; k++) {
        for (int64_t step = 1; step <= 3; step++) {
            double f = fractions[k], exact = 1 + f / 128;
            float square = (float)exact * (float)exact;
            draw(opened->device, DRAWS, f, step, 11, m, v);
            check_count(sum_of(m, DRAWS), DRAWS, f, "m rounded up", f);
            check_count(sum_of(v, DRAWS), DRAWS, ((double)square - 1) * 128, "v rounded up", f);
        }
    }
    device_close(opened);
    free(m);
    free(v);
}

/* Agreement of two series of fair draws is a fair draw again. */
static void check_independent(const uint8_t *a, const uint8_t *b, int64_t n, const char *what, double parameter)
{
    double same = 0;
    for (int64_t i = 0; i < n; i++) same += a[i] == b[i];
    check_count(same, (double)n, 0.5, what, parameter);
}

/* One element over many steps, in which the key alone changes. */
static void check_over_steps(ewci_device *device)
{
    enum { STEPS = 4096, FEW = 96 };
    static uint8_t m[STEPS][FEW], v[FEW], column[STEPS], next[STEPS];
    for (int64_t step = 0; step < STEPS; step++) draw(device, FEW, 0.5, step + 1, 5, m[step], v);
    for (int e = 0; e + 1 < FEW; e++) {
        for (int step = 0; step < STEPS; step++) column[step] = m[step][e], next[step] = m[step][e + 1];
        check_count(sum_of(column, STEPS), STEPS, 0.5, "over steps, element", e);
        check_independent(column, column + 1, STEPS - 1, "successive steps, element", e);
        check_independent(column, next, STEPS, "over steps, neighbours of element", e);
    }
}

static void draws_of_elements_steps_seeds_and_moments_are_uncorrelated(void **state)
{
    uint8_t *memory = malloc(6 * DRAWS);
    (void)state;
    assert_non_null(memory);
    uint8_t *m = memory, *v = m + DRAWS, *step_m = v + DRAWS, *step_v = step_m + DRAWS, *seed_m = step_v + DRAWS,
            *seed_v = seed_m + DRAWS;
    opened_device *opened = device_open(EWC_ISA_AUTO, 2);
    draw(opened->device, DRAWS, 0.5, 1, 11, m, v); /* m: exactly one half */
    draw(opened->device, DRAWS, 0.5, 2, 11, step_m, step_v);
    draw(opened->device, DRAWS, 0.5, 1, 12, seed_m, seed_v);
    check_independent(m, step_m, DRAWS, "the next step", 0);
    check_independent(m, seed_m, DRAWS, "the next seed", 0);
    for (int64_t lag = 1; lag <= 4096; lag = lag < 40 ? lag + 1 : lag * 2 + 1)
        check_independent(m, m + lag, DRAWS - lag, "lag", (double)lag);
    /* At a quarter of m's last place, v is a little above a half of its own: both are drawn. */
    draw(opened->device, DRAWS, 0.25, 1, 11, seed_m, v);
    double both = 0, m_count = sum_of(seed_m, DRAWS), v_count = sum_of(v, DRAWS);
    for (int64_t i = 0; i < DRAWS; i++) both += seed_m[i] && v[i];
    check_count(both, DRAWS, m_count / DRAWS * v_count / DRAWS, "m and v of one element", 0.25);
    check_over_steps(opened->device);
    device_close(opened);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_neighbours_of_the_exact_ones_in_every_form),
        cmocka_unit_test(exact_numbers_infinities_and_nan_stay),
        cmocka_unit_test(bits_do_not_depend_on_threads_instruction_set_or_pieces),
        cmocka_unit_test(the_mean_is_the_exact_value),
        cmocka_unit_test(draws_of_elements_steps_seeds_and_moments_are_uncorrelated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
