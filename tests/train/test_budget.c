/* The budget's controller against simulated runs: weights that drift off the anchor, each held by its Fisher, and laws by which the old loss
 * rises with that. Met where it can be, used where it is needed, said where it cannot be; a run cut anywhere goes on with the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "support/tiny.h"

enum { GROUPS = 49 };

typedef enum law { QUADRATIC, ROOT, SATURATING, BETTER_FIRST, UNHELD } law;

typedef struct plant {
    law law;
    double strength; /* of the rise */
    double noise;    /* of the probe, in shares of the budget */
    double jump;     /* from so much of the steps on the rise is half as strong again; 0: never */
    double asleep;   /* so much of the steps there is no rise at all */
    double factor, delta[GROUPS];
    uint64_t random;
} plant;

static double uniform(plant *p)
{
    p->random = p->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(p->random >> 11) / 9007199254740992.0;
}

/* Fisher values over eight decades, equally many weights in each, and weights without any. */
static double fisher(int group)
{
    if (group == 0) return 0;
    return pow(10, -9 + 8.0 * group / (GROUPS - 1));
}

/* A weight's own step is about the rate's size, whatever its gradient's, as Adam's; the penalty acts implicitly. */
static void advance(plant *p, double rate, double lambda)
{
    for (int i = 0; i < GROUPS; i++) {
        double d = 1e-3 * (1 + 0.2 * uniform(p));
        p->delta[i] = (p->delta[i] + rate * (0.3 + 1.4 * (uniform(p) - 0.4))) / (1 + rate * lambda * fisher(i) / d);
    }
}

static double distance_squared(const plant *p)
{
    double sum = 0;
    for (int i = 0; i < GROUPS; i++) sum += fisher(i) * p->delta[i] * p->delta[i];
    return sum;
}

/* How much of the new text was learned: the way that weights went, with diminishing returns. */
static double learned(const plant *p)
{
    double sum = 0;
    for (int i = 0; i < GROUPS; i++) sum += sqrt(fmax(p->delta[i], 0));
    return sum;
}

/* As a share of the first loss. */
static double rise(const plant *p)
{
    double q = p->strength * p->factor * distance_squared(p), free = p->delta[0];
    switch (p->law) {
    case QUADRATIC: return q;
    case ROOT: return 0.3 * pow(q, 0.6);
    case SATURATING: return 0.5 * (1 - exp(-2 * q));
    case BETTER_FIRST: return q - 0.05 * sqrt(q / (1 + q));
    case UNHELD: return q + 2 * free; /* of weights with next to no Fisher */
    }
    return 0;
}

typedef struct outcome {
    ewc_budget_info info;
    double learned;
    int probes;
} outcome;

typedef struct course {
    ewc_schedule_kind kind;
    int64_t steps;
    double budget, lambda;
    int64_t every; /* 0: default */
} course;

static ewc_schedule schedule_of(const course *c)
{
    ewc_schedule s;
    ewc_schedule_default(&s);
    s.kind = c->kind;
    s.peak = 0.2 / (double)c->steps; /* the same area, whatever the number of steps */
    s.steps = c->steps;
    s.warmup = c->steps / 20;
    s.decay = c->steps / 5;
    return s;
}

static ewc_budget *budget_of(ewc_context *ctx, const course *c)
{
    ewc_budget *budget = NULL;
    ewc_budget_options o;
    ewc_budget_options_default(&o);
    o.budget = c->budget;
    o.schedule = schedule_of(c);
    o.steps = c->steps;
    o.lambda = c->lambda;
    o.every = c->every;
    OK(ctx, ewc_budget_create(ctx, &o, &budget));
    return budget;
}

static double observe(ewc_context *ctx, ewc_budget *budget, plant *p, const course *c, int64_t step)
{
    double lambda = -1, noise = step == 0 ? 0 : p->noise * c->budget * (uniform(p) - 0.5);
    const ewc_budget_observation seen = {sizeof seen, step, 4 * (1 + rise(p) + noise), 3.0, distance_squared(p)};
    OK(ctx, ewc_budget_observe(budget, &seen, &lambda));
    return lambda;
}

/* A whole run; with `cut` every decision is made by a budget that was read from the text of the one before. */
static outcome simulate(ewc_context *ctx, plant p, const course *c, int cut)
{
    outcome out = {.info = {.struct_size = sizeof out.info}};
    ewc_schedule schedule = schedule_of(c);
    ewc_budget *budget = budget_of(ctx, c);
    double lambda = c->lambda, rate;
    p.factor = 1;
    for (int64_t step = 0;; step++) {
        if (p.jump > 0 && (double)step >= p.jump * (double)c->steps) p.factor = 1.5;
        if (p.asleep > 0) p.factor = (double)step < p.asleep * (double)c->steps ? 0 : 1;
        if (cut) {
            char text[EWC_BUDGET_TEXT];
            OK(ctx, ewc_budget_write(budget, text, sizeof text));
            ewc_budget_destroy(budget);
            budget = budget_of(ctx, c);
            OK(ctx, ewc_budget_read(budget, text));
        }
        if (ewc_budget_due(budget, step)) {
            lambda = observe(ctx, budget, &p, c, step);
            out.probes++;
        }
        if (step == c->steps) break;
        OK(ctx, ewc_schedule_rate(ctx, &schedule, step + 1, &rate));
        advance(&p, rate, lambda);
    }
    OK(ctx, ewc_budget_describe(budget, &out.info));
    ewc_budget_destroy(budget);
    out.learned = learned(&p);
    return out;
}

/* Under one lambda from the first step to the last; *risen: what that does to the old loss. */
static double learned_under(ewc_context *ctx, plant p, const course *c, double lambda, double *risen)
{
    ewc_schedule schedule = schedule_of(c);
    double rate;
    p.factor = 1;
    for (int64_t step = 1; step <= c->steps; step++) {
        OK(ctx, ewc_schedule_rate(ctx, &schedule, step, &rate));
        advance(&p, rate, lambda);
    }
    *risen = rise(&p);
    return learned(&p);
}

/* What the best fixed lambda learns within the budget, found by bisection. */
static double best_fixed(ewc_context *ctx, const plant *p, const course *c)
{
    double low = -6, high = 12, risen;
    for (int i = 0; i < 24; i++) {
        double middle = (low + high) / 2;
        (void)learned_under(ctx, *p, c, pow(10, middle), &risen);
        if (risen > c->budget)
            low = middle;
        else
            high = middle;
    }
    return learned_under(ctx, *p, c, pow(10, high), &risen);
}

static void check_met(ewc_context *ctx, const plant *p, const course *c, double best)
{
    outcome found = simulate(ctx, *p, c, 0);
    if (found.info.met && found.info.rise > 0.5 * c->budget && found.learned > 0.88 * best && found.probes <= 60)
        return;
    print_error("law %d, schedule %d, %lld steps, budget %g, noise %g: met %d, rise %g, learned %g of %g, %d probes\n",
                (int)p->law, (int)c->kind, (long long)c->steps, c->budget, p->noise, found.info.met, found.info.rise,
                found.learned, best, found.probes);
    fail();
}

static void budgets_are_met_and_used_under_several_laws(void **state)
{
    static const ewc_schedule_kind kinds[] = {EWC_SCHEDULE_COSINE, EWC_SCHEDULE_LINEAR, EWC_SCHEDULE_WSD,
                                              EWC_SCHEDULE_CONSTANT};
    static const double budgets[] = {0.01, 0.05, 0.2};
    static const int64_t lengths[] = {200, 60, 1000};
    const int lengths_tried = getenv("EWC_TEST_FAST") != NULL ? 1 : 3;
    for (int l = QUADRATIC; l <= BETTER_FIRST; l++)
        for (int k = 0; k < 4; k++)
            for (int b = 0; b < 3; b++)
                for (int n = 0; n < lengths_tried; n++) {
                    const course c = {kinds[k], lengths[n], budgets[b], 128, 0};
                    const plant exact = {.law = (law)l, .strength = 1e5, .random = 7};
                    double best = best_fixed(*state, &exact, &c);
                    check_met(*state, &exact, &c, best);
                    const plant noisy = {.law = (law)l, .strength = 1e5, .noise = 0.1, .random = 7};
                    check_met(*state, &noisy, &c, best);
                }
}

/* What weights do that no Fisher holds cannot be undone by a penalty. */
static void a_budget_that_cannot_be_met_is_said_to_be_so(void **state)
{
    const plant p = {.law = UNHELD, .strength = 1e5, .random = 7};
    const course c = {EWC_SCHEDULE_COSINE, 200, 0.01, 128, 0};
    outcome found = simulate(*state, p, &c, 0);
    assert_false(found.info.met);
    assert_int_equal(found.info.phase, EWC_BUDGET_PULL);
    assert_true(found.info.rise > 0.01 && found.info.lambda > 1e9 && isfinite(found.info.lambda));
}

static void a_budget_that_is_never_touched_lets_lambda_go(void **state)
{
    const plant p = {.law = QUADRATIC, .strength = 1e-3, .random = 7};
    const course c = {EWC_SCHEDULE_COSINE, 200, 0.05, 128, 0};
    double risen, most = learned_under(*state, p, &c, 0, &risen);
    outcome found = simulate(*state, p, &c, 0);
    assert_true(found.info.met && found.info.lambda < 1e-6 && found.learned > 0.95 * most);
}

/* An old loss that turns bad when little rate is left: the anchor is held harder, and let go again. */
static void a_late_rise_is_pulled_back(void **state)
{
    static const ewc_schedule_kind kinds[] = {EWC_SCHEDULE_COSINE, EWC_SCHEDULE_LINEAR, EWC_SCHEDULE_WSD,
                                              EWC_SCHEDULE_CONSTANT};
    for (int k = 0; k < 4; k++)
        for (double jump = 0.8; jump < 0.93; jump += 0.03) {
            const plant p = {.law = QUADRATIC, .strength = 1e5, .jump = jump, .random = 7};
            const course c = {kinds[k], 200, 0.05, 128, 0};
            outcome found = simulate(*state, p, &c, 0);
            assert_true(found.info.met && found.info.rise > 0.3 * 0.05);
            assert_true(found.probes < 60);
        }
}

/* Lambda has been given away, probe after probe, when the old loss begins to rise: it is back in time. */
static void forgetting_that_begins_late_is_met(void **state)
{
    for (double asleep = 0.2; asleep < 0.65; asleep += 0.1) {
        const plant p = {.law = QUADRATIC, .strength = 1e5, .asleep = asleep, .random = 7};
        const course c = {EWC_SCHEDULE_COSINE, 200, 0.05, 128, 0};
        outcome found = simulate(*state, p, &c, 0);
        assert_true(found.info.met && found.info.rise > 0.3 * 0.05);
    }
}

/* The first lambda may be anything. */
static void a_wrong_first_lambda_is_mended(void **state)
{
    static const double first[] = {0, 1e-6, 1, 1e6, 1e12};
    for (int i = 0; i < 5; i++) {
        const plant p = {.law = QUADRATIC, .strength = 1e5, .random = 7};
        const course c = {EWC_SCHEDULE_COSINE, 200, 0.05, first[i], 0};
        outcome found = simulate(*state, p, &c, 0);
        assert_true(found.info.met && found.info.rise > 0.5 * 0.05);
    }
}

/* The strength after observations of every step up to `last`: `high` until `fall`, `low` from there on, at Q. Never infinite, in F32 neither. */
static double strength_after(ewc_context *ctx, const course *c, int64_t fall, int64_t last, double low, double q)
{
    const double high = 0.1;
    ewc_budget *budget = budget_of(ctx, c);
    double lambda = -1;
    for (int64_t step = 0; step <= last; step++) {
        const ewc_budget_observation seen = {sizeof seen, step,
                                             4 * (1 + (step == 0     ? 0
                                                       : step < fall ? high
                                                                     : low)),
                                             3.0, q};
        if (!ewc_budget_due(budget, step)) continue;
        OK(ctx, ewc_budget_observe(budget, &seen, &lambda));
        assert_true(lambda >= 0 && lambda <= 1e30);
    }
    ewc_budget_destroy(budget);
    return lambda;
}

/* A rise ten times the budget that follows no penalty. 2 G R / (B Q) = 9e5 decides; more than a few thousand times that is of no use. */
static void lambda_does_not_wind_up(void **state)
{
    const course c = {EWC_SCHEDULE_CONSTANT, 5000, 0.01, 128, 1};
    const double modelled = 2 * 0.045 * 0.1 / (0.01 * 1e-6);
    double wound = strength_after(*state, &c, 5000, 4000, 0, 1e-6);
    assert_true(wound > 10 * modelled && wound < 5e3 * modelled);
    assert_true(strength_after(*state, &c, 4000, 4004, 1e-4, 1e-6) < modelled);
    assert_true(strength_after(*state, &c, 4000, 4020, 5e-3, 1e-6) < modelled);
    static const double others[] = {0, 1e-300, 1e-30, 1e30};
    for (int i = 0; i < 4; i++) (void)strength_after(*state, &c, 6000, 5000, 0, others[i]);
    const course large = {EWC_SCHEDULE_CONSTANT, 5000, 0.01, 1e300, 1};
    assert_true(strength_after(*state, &large, 6000, 5000, 0, 0) > 1e29);
}

/* The interval says how often the old text is looked at, not from when on that is the end. */
static void probes_that_are_far_apart_do_not_make_the_run_an_end(void **state)
{
    static const int64_t lengths[] = {40, 200}, parts[] = {4, 2, 1};
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < 3; i++) {
            const plant p = {.law = QUADRATIC, .strength = 1e5, .random = 7};
            const course c = {EWC_SCHEDULE_COSINE, lengths[n], 0.05, 128, lengths[n] / parts[i]};
            ewc_budget *budget = budget_of(*state, &c);
            ewc_budget_info info = {.struct_size = sizeof info};
            const ewc_budget_observation first = {sizeof first, 0, 4, 3, 0}, second = {sizeof second, 1, 4.4, 3, 1e-6};
            double lambda;
            OK(*state, ewc_budget_observe(budget, &first, &lambda));
            OK(*state, ewc_budget_observe(budget, &second, &lambda));
            OK(*state, ewc_budget_describe(budget, &info));
            assert_int_equal(info.phase, EWC_BUDGET_START);
            ewc_budget_destroy(budget);
            outcome found = simulate(*state, p, &c, 0);
            assert_true(found.info.met && found.info.rise > 0.3 * c.budget);
            assert_true(found.learned > 0.88 * best_fixed(*state, &p, &c));
        }
}

static void a_run_cut_after_every_step_makes_the_same_decisions(void **state)
{
    static const law laws[] = {BETTER_FIRST, UNHELD};
    for (int l = 0; l < 2; l++) {
        const plant p = {.law = laws[l], .strength = 1e5, .noise = 0.1, .random = 7};
        const course c = {EWC_SCHEDULE_COSINE, 200, 0.02, 128, 0};
        outcome whole = simulate(*state, p, &c, 0), cut = simulate(*state, p, &c, 1);
        assert_memory_equal(&whole, &cut, sizeof whole);
    }
}

/* The strength after a rise of half the budget at the first probe from `step` on, all before it having seen none. */
static double first_rise_at(ewc_context *ctx, int64_t step)
{
    const course c = {EWC_SCHEDULE_CONSTANT, 200, 0.02, 128, 0};
    ewc_budget *budget = budget_of(ctx, &c);
    double lambda = -1;
    for (int64_t s = 0; s <= step; s++) {
        const ewc_budget_observation seen = {sizeof seen, s, s < step ? 4 : 4 * 1.01, 3.0, 1e-6};
        if (ewc_budget_due(budget, s)) OK(ctx, ewc_budget_observe(budget, &seen, &lambda));
    }
    ewc_budget_destroy(budget);
    return lambda;
}

/* 2 G R / (B Q) with G = 0.015 * 3 nats, R = B / 2. In the course feedback follows in the same probe, by a factor below 1 here. */
static void the_first_rise_that_can_be_measured_sets_lambda_unless_it_is_late(void **state)
{
    const double modelled = 2 * 0.045 * 0.5 / 1e-6;
    assert_true(fabs(first_rise_at(*state, 8) / modelled - 1) < 1e-9);
    double later = first_rise_at(*state, 16);
    assert_true(later < modelled && later > 0.5 * modelled);
    assert_true(first_rise_at(*state, 36) < 128);
}

static void probes_are_at_both_ends_and_every_so_many_steps(void **state)
{
    const course c = {EWC_SCHEDULE_CONSTANT, 200, 0.02, 128, 0};
    static const int64_t expected[] = {0,   1,   2,   4,   8,   16,  26,  36,  46,  56,  66,  76,  86, 96,
                                       106, 116, 126, 136, 146, 156, 166, 176, 186, 196, 198, 199, 200};
    plant p = {.law = QUADRATIC, .strength = 0, .factor = 1, .random = 7};
    ewc_budget *budget = budget_of(*state, &c);
    int found = 0;
    for (int64_t step = 0; step <= c.steps; step++)
        if (ewc_budget_due(budget, step)) {
            assert_true(found < 27 && expected[found] == step);
            found++;
            observe(*state, budget, &p, &c, step);
        }
    assert_int_equal(found, 27);
    assert_false(ewc_budget_due(budget, 200) || ewc_budget_due(budget, 201) || ewc_budget_due(NULL, 0));
    ewc_budget_destroy(budget);
}

static void check_refused(ewc_context *ctx, ewc_budget_options o, const char *word)
{
    ewc_budget *budget = NULL;
    assert_int_equal(ewc_budget_create(ctx, &o, &budget), EWC_ERROR_ARGUMENT);
    assert_non_null(strstr(ewc_last_error(ctx), word));
    assert_null(budget);
}

static void wrong_options_are_refused_by_name(void **state)
{
    ewc_budget_options good, o;
    ewc_budget_options_default(&good);
    o = good;
    o.steps = 10;
    check_refused(*state, o, "budget");
    good.budget = 0.02;
    check_refused(*state, good, "steps");
    good.steps = 10;
    o = good;
    o.every = -1;
    check_refused(*state, o, "every");
    o = good;
    o.lambda = (double)NAN;
    check_refused(*state, o, "lambda");
    o = good;
    o.schedule.kind = EWC_SCHEDULE_COSINE; /* whose length is missing */
    check_refused(*state, o, "schedule.steps");
    assert_int_equal(ewc_budget_create(*state, NULL, NULL), EWC_ERROR_ARGUMENT);
}

static void wrong_observations_change_nothing(void **state)
{
    ewc_context *ctx = *state;
    const course c = {EWC_SCHEDULE_CONSTANT, 200, 0.02, 128, 0};
    ewc_budget *budget = budget_of(ctx, &c);
    double lambda = -1;
    char before[EWC_BUDGET_TEXT], after[EWC_BUDGET_TEXT];
    ewc_budget_observation o = {sizeof o, 1, 4, 3, 0};
    assert_int_equal(ewc_budget_observe(budget, &o, &lambda), EWC_ERROR_STATE);
    o.step = 0;
    OK(ctx, ewc_budget_observe(budget, &o, &lambda));
    assert_true(lambda == 128);
    OK(ctx, ewc_budget_write(budget, before, sizeof before));
    lambda = -1;
    assert_int_equal(ewc_budget_observe(budget, &o, &lambda), EWC_ERROR_ARGUMENT); /* the same step again */
    o.step = 201;
    assert_int_equal(ewc_budget_observe(budget, &o, &lambda), EWC_ERROR_ARGUMENT);
    o.step = 1;
    o.old_loss = (double)NAN;
    assert_int_equal(ewc_budget_observe(budget, &o, &lambda), EWC_ERROR_NOT_FINITE);
    o.old_loss = -1;
    assert_int_equal(ewc_budget_observe(budget, &o, &lambda), EWC_ERROR_ARGUMENT);
    OK(ctx, ewc_budget_write(budget, after, sizeof after));
    assert_string_equal(before, after);
    assert_true(lambda == -1);
    assert_int_equal(ewc_budget_write(budget, after, EWC_BUDGET_TEXT - 1), EWC_ERROR_ARGUMENT);
    ewc_budget_destroy(budget);
    ewc_budget_destroy(NULL);
}

static void check_not_read(ewc_context *ctx, ewc_budget *budget, const char *text, ewc_status status, const char *word)
{
    char before[EWC_BUDGET_TEXT], after[EWC_BUDGET_TEXT];
    OK(ctx, ewc_budget_write(budget, before, sizeof before));
    assert_int_equal(ewc_budget_read(budget, text), status);
    if (strstr(ewc_last_error(ctx), word) == NULL) {
        print_error("no \"%s\" in: %s\n", word, ewc_last_error(ctx));
        fail();
    }
    OK(ctx, ewc_budget_write(budget, after, sizeof after));
    assert_string_equal(before, after);
}

/* In the order of the text: phase, last and next step, calibrated; first and new loss, last loss, rise and area, prediction, lambda, pull. */
static void damaged_states_are_refused_by_name(void **state)
{
    static const struct {
        const char *state, *word;
    } wrong[] = {{"1 16 26 1 1 1 1 1 1 1 nan 1", "finite"},   {"1 16 26 1 1 1 1 -inf 1 1 1 1", "finite"},
                 {"4 16 26 1 1 1 1 1 1 1 1 1", "expected"},   {"1 16 26 1 1 1 1 1 1 1 1 1 z", "expected"},
                 {"1 16 26 1 1 1 1 1 1 1 1", "expected"},     {"1 16 26 1 1 1 1 1 1 1 -1 1", "lambda"},
                 {"1 16 26 1 1 1 1 1 1 1 1 0.5", "pull"},     {"1 201 202 1 1 1 1 1 1 1 1 1", "last_step"},
                 {"1 -2 26 1 1 1 1 1 1 1 1 1", "last_step"},  {"1 16 16 1 1 1 1 1 1 1 1 1", "next_step"},
                 {"1 16 201 1 1 1 1 1 1 1 1 1", "next_step"}, {"1 16 26 2 1 1 1 1 1 1 1 1", "calibrated"},
                 {"1 16 26 1 0 1 1 1 1 1 1 1", "first_loss"}, {"1 16 26 1 1 -1 1 1 1 1 1 1", "new_loss"},
                 {"1 16 26 1 1 1 1 1 -1 1 1 1", "last_area"}};
    ewc_context *ctx = *state;
    const course c = {EWC_SCHEDULE_CONSTANT, 200, 0.02, 128, 0};
    ewc_budget *budget = budget_of(ctx, &c);
    char text[EWC_BUDGET_TEXT];
    OK(ctx, ewc_budget_read(budget, "libewc-budget-2 0.02 200 10 1 16 26 1 1 1 1 1 1 1 1 1"));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(text, sizeof text, "libewc-budget-2 0.02 200 10 %s", wrong[i].state);
        check_not_read(ctx, budget, text, EWC_ERROR_FORMAT, wrong[i].word);
    }
    static const char *const others[] = {"", "libewc-budget-2", "libewc-budget-2 0.02", "libewc-budget-1 0 0 1", "x"};
    for (int i = 0; i < 5; i++) check_not_read(ctx, budget, others[i], EWC_ERROR_FORMAT, "libewc-budget-2");
    ewc_budget_destroy(budget);
}

static void a_state_of_another_budget_is_refused_by_name(void **state)
{
    static const course others[] = {{EWC_SCHEDULE_CONSTANT, 200, 0.03, 128, 0},
                                    {EWC_SCHEDULE_CONSTANT, 201, 0.02, 128, 10},
                                    {EWC_SCHEDULE_CONSTANT, 200, 0.02, 128, 9}};
    static const char *const words[] = {"0.03", "steps", "every"};
    ewc_context *ctx = *state;
    const course c = {EWC_SCHEDULE_CONSTANT, 200, 0.02, 128, 0};
    ewc_budget *budget = budget_of(ctx, &c);
    char text[EWC_BUDGET_TEXT];
    for (int i = 0; i < 3; i++) {
        ewc_budget *other = budget_of(ctx, &others[i]);
        OK(ctx, ewc_budget_write(other, text, sizeof text));
        check_not_read(ctx, budget, text, EWC_ERROR_MISMATCH, words[i]);
        ewc_budget_destroy(other);
    }
    ewc_budget_destroy(budget);
}

static int set_up(void **state)
{
    *state = tiny_context(1);
    return 0;
}

static int tear_down(void **state)
{
    ewc_context_destroy(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budgets_are_met_and_used_under_several_laws),
        cmocka_unit_test(a_budget_that_cannot_be_met_is_said_to_be_so),
        cmocka_unit_test(a_budget_that_is_never_touched_lets_lambda_go),
        cmocka_unit_test(a_late_rise_is_pulled_back),
        cmocka_unit_test(forgetting_that_begins_late_is_met),
        cmocka_unit_test(a_wrong_first_lambda_is_mended),
        cmocka_unit_test(lambda_does_not_wind_up),
        cmocka_unit_test(probes_that_are_far_apart_do_not_make_the_run_an_end),
        cmocka_unit_test(a_run_cut_after_every_step_makes_the_same_decisions),
        cmocka_unit_test(the_first_rise_that_can_be_measured_sets_lambda_unless_it_is_late),
        cmocka_unit_test(probes_are_at_both_ends_and_every_so_many_steps),
        cmocka_unit_test(wrong_options_are_refused_by_name),
        cmocka_unit_test(wrong_observations_change_nothing),
        cmocka_unit_test(damaged_states_are_refused_by_name),
        cmocka_unit_test(a_state_of_another_budget_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
