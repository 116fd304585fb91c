/* The controller of a budget for forgetting: from the old text's loss on a probe, now and then, to the penalty's strength lambda.
 *
 * Pure arithmetic on what it is told: no model, no data, no files. The algorithm and its reasons: docs/ewc.md, "A budget for forgetting".
 * With R the rise of the old loss in shares of its first value, B the budget, S the learning-rate area (sum of the rates so far),
 * Q = sum F (w - anchor)^2:
 *
 *   start    S below a twentieth of the run's: lambda = 2 gain R / (B Q), the strength at which the quadratic c Q, calibrated by c = R / Q,
 *            has used the budget up when the penalty is `gain`
 *            (a little later, if no rise was large enough to measure by then)
 *   course   log lambda += gain * log(R^ / aim), R^ = R and what its slope over S adds if it goes on
 *   end      little rate is left to act: lambda stays, and while R is above the budget it is multiplied, more and more. */
#include "train/budget.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/memory.h"
#include "core/sized.h"
#include "core/status.h"

/* Shares of the budget: what is aimed at, and from where on downwards nothing is given away. */
#define AIM 0.92
#define ENOUGH 0.82
#define OVERDRAWN 0.97 /* in the end phase: each step may add something still */
/* Of the whole area: where feedback begins, and where it ends. */
#define START_SHARE 0.05
#define LATE_START_SHARE 0.15 /* where no rise was large enough before */
#define END_SHARE 0.02
#define NO_LOWERING_SHARE 0.10
/* Nats of penalty, in nats of new loss at the first step: what a penalty comes to when it decides. */
#define PENALTY_SHARE 0.015
/* Of the budget: a rise too small to calibrate by. */
#define MEASURABLE 0.05
/* Of the modelled strength: from where on a strength that was lowered and lowered goes up again. */
#define FOOT 1e-3
/* Of the modelled strength, at which feedback stops: the penalty is 15 times the new loss there, and a rise that does not follow that follows
 * nothing. Lambda would wind up for as long as it lasts, and take as long to come back. */
#define CEILING 1e3
/* Of lambda, and of lambda * pull, which a penalty of F32 numbers can still be computed with. */
#define LARGEST_LAMBDA 1e20
#define LARGEST_STRENGTH 1e30
#define LARGEST_RAISE 8.0
#define LARGEST_LOWERING 10.0
#define RAISING_GAIN 0.8
#define LOWERING_GAIN 0.7
/* Of the budget: what the slope may take from the rise, and add to it. */
#define LEAST_CHANGE (-0.1)
#define LARGEST_CHANGE 0.3
#define LARGEST_RISE 1e100 /* more is the same, and stays finite */
/* How much harder the anchor is held at each probe that finds the budget overdrawn at the end, and in all. */
#define LEAST_PULL 3.0
#define LARGEST_RISE_OF_PULL 100.0
#define LARGEST_PULL 1e12

void ewc_budget_options_default(ewc_budget_options *options)
{
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
    ewc_schedule_default(&options->schedule);
}

static ewc_status check_options(ewc_context *ctx, const ewc_budget_options *o)
{
    if (!(o->budget > 0) || !isfinite(o->budget))
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "budget: expected a finite number above 0 (0.02 is 2 %%), found %g",
                         o->budget);
    if (o->steps < 1)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "steps: expected the length of the run, 1 or more, found %lld",
                         (long long)o->steps);
    if (o->every < 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "every: expected 0 (default) or more steps, found %lld",
                         (long long)o->every);
    if (!isfinite(o->lambda) || o->lambda < 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "lambda: expected a finite number >= 0, found %g", o->lambda);
    return EWC_OK;
}

static ewc_status area_of(const ewc_budget *b, int64_t step, double *area)
{
    double s2;
    *area = 0;
    return step == 0 ? EWC_OK : ewc_schedule_areas(b->ctx, &b->options.schedule, step, area, &s2);
}

static int64_t twentieth(const ewc_budget_options *o)
{
    return o->steps / 20 > 0 ? o->steps / 20 : 1;
}

/* The steps of the end phase: as many as `every`, but probes that are far apart make the end no longer, or it would begin with the run. */
static int64_t end_steps(const ewc_budget *b)
{
    int64_t most = twentieth(&b->options);
    return b->options.every < most ? b->options.every : most;
}

ewc_status ewc_budget_create(ewc_context *ctx, const ewc_budget_options *options, ewc_budget **out)
{
    ewc_budget_options taken;
    void *memory;
    if (ctx == NULL || options == NULL || out == NULL)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "ewc_budget_create: an argument is NULL");
    ewc_budget_options_default(&taken);
    EWCI_TRY(ewci_sized_take(ctx, "options", options, &taken, sizeof taken));
    EWCI_TRY(check_options(ctx, &taken));
    if (taken.every == 0) taken.every = twentieth(&taken);
    EWCI_TRY(ewci_alloc_array(ctx, 1, sizeof(ewc_budget), "a budget", &memory));
    ewc_budget *b = memory;
    b->ctx = ctx;
    b->options = taken;
    b->state.last_step = -1;
    b->state.lambda = taken.lambda;
    b->state.pull = 1;
    ewc_status status = area_of(b, taken.steps, &b->whole_area);
    if (status == EWC_OK)
        *out = b;
    else
        ewc_budget_destroy(b);
    return status;
}

void ewc_budget_destroy(ewc_budget *budget)
{
    if (budget != NULL) ewci_free(budget->ctx, budget);
}

/* What the controller sees at a probe. */
typedef struct view {
    double rise, fisher_distance_squared;
    double area, share, left; /* spent so far; of the whole: spent, and left */
    int64_t steps_left;
} view;

/* The penalty, in nats, at which it decides what is learned. */
static double deciding_penalty(const ewci_budget_state *s)
{
    return PENALTY_SHARE * s->new_loss;
}

static bool measurable(const ewc_budget *b, const view *v)
{
    return v->rise > MEASURABLE * b->options.budget && v->fisher_distance_squared > 0;
}

/* The strength at which a rise of c Q, c as measured now, has used the budget up when the penalty decides. */
static double modelled(const ewc_budget *b, const view *v)
{
    const ewci_budget_state *s = &b->state;
    if (!measurable(b, v)) return s->lambda;
    return 2 * deciding_penalty(s) * v->rise / (b->options.budget * v->fisher_distance_squared);
}

/* The largest lambda of feedback. A rise that cannot be measured says nothing about it. */
static double ceiling(const ewc_budget *b, const view *v)
{
    double most = measurable(b, v) ? CEILING * modelled(b, v) : 0;
    return most > 0 ? fmin(most, LARGEST_LAMBDA) : LARGEST_LAMBDA;
}

static void start(ewc_budget *b, const view *v)
{
    ewci_budget_state *s = &b->state;
    double aim = AIM * b->options.budget, next = modelled(b, v);
    s->phase = EWC_BUDGET_START;
    s->calibrated |= measurable(b, v);
    s->predicted = v->rise;
    if (v->rise > aim) next = fmax(next, s->lambda * v->rise / aim);
    s->lambda = fmin(next, ceiling(b, v));
}

/* The rise after half as much area again as was spent so far, or as is left, if it goes on as since the last probe. */
static double predicted(const ewc_budget *b, const view *v)
{
    const ewci_budget_state *s = &b->state;
    double budget = b->options.budget, since = v->area - s->last_area;
    if (!(since > 0)) return v->rise;
    double ahead = 0.5 * fmin(v->area, v->left * b->whole_area);
    double change = (v->rise - s->last_rise) / since * ahead;
    return v->rise + fmin(fmax(change, LEAST_CHANGE * budget), LARGEST_CHANGE * budget);
}

static void course(ewc_budget *b, const view *v)
{
    ewci_budget_state *s = &b->state;
    double budget = b->options.budget, aim = AIM * budget;
    s->phase = EWC_BUDGET_COURSE;
    if (!s->calibrated && v->share < LATE_START_SHARE && measurable(b, v)) {
        s->lambda = fmax(s->lambda, modelled(b, v));
        s->calibrated = 1;
    }
    s->predicted = predicted(b, v);
    if (s->predicted > aim) {
        s->lambda = fmax(s->lambda, FOOT * modelled(b, v)) * fmin(pow(s->predicted / aim, RAISING_GAIN), LARGEST_RAISE);
    } else if (s->predicted < ENOUGH * budget && v->left > NO_LOWERING_SHARE) {
        double factor = s->predicted > 0 ? pow(s->predicted / aim, LOWERING_GAIN) : 0;
        s->lambda = s->lambda * fmax(factor, 1 / LARGEST_LOWERING);
    }
    s->lambda = fmin(s->lambda, ceiling(b, v));
}

/* The rate falls, and with it what the penalty can do in a step: it is multiplied again and again while the budget is overdrawn. */
static void hold(ewc_budget *b, const view *v)
{
    ewci_budget_state *s = &b->state;
    double budget = b->options.budget;
    s->predicted = v->rise;
    if (v->rise > OVERDRAWN * budget) {
        s->lambda = fmin(fmax(s->lambda, FOOT * modelled(b, v)), LARGEST_LAMBDA);
        s->pull = fmin(s->pull * fmin(fmax(pow(v->rise / budget, 4), LEAST_PULL), LARGEST_RISE_OF_PULL), LARGEST_PULL);
    } else if (v->rise <= AIM * budget) {
        s->pull = 1;
    }
    s->phase = s->pull > 1 ? EWC_BUDGET_PULL : EWC_BUDGET_END;
}

/* 1, 2, 4, 8 ... until these are further apart than `every`; then every so many; of the last `every` steps halves of what is left. While the
 * anchor is held harder an eighth of the end phase's length, and within that length every step. */
static int64_t next_probe(const ewc_budget *b, int64_t step)
{
    const ewci_budget_state *s = &b->state;
    int64_t every = b->options.every, end = end_steps(b), left = b->options.steps - step, ahead = every;
    if (left <= 0) return INT64_MAX;
    if (step < every) ahead = step > 0 ? step : 1;
    if (s->phase == EWC_BUDGET_PULL) ahead = end / 8 > 0 && left > end ? end / 8 : 1;
    if (left <= every && ahead > (left + 1) / 2) ahead = (left + 1) / 2;
    return step + (ahead < left ? ahead : left);
}

double ewci_budget_strength(const ewci_budget_state *s)
{
    return fmin(s->lambda * s->pull, LARGEST_STRENGTH);
}

int ewc_budget_due(const ewc_budget *budget, int64_t step)
{
    return budget != NULL && step <= budget->options.steps && step >= budget->state.next_step;
}

static ewc_status check_observation(const ewc_budget *b, const ewc_budget_observation *o)
{
    ewc_context *ctx = b->ctx;
    if (b->state.last_step < 0 && o->step != 0)
        return ewci_fail(ctx, EWC_ERROR_STATE,
                         "step: the first observation is that before the first step, 0; found %lld",
                         (long long)o->step);
    if (o->step <= b->state.last_step || o->step > b->options.steps)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "step: expected more than %lld and at most %lld, found %lld",
                         (long long)b->state.last_step, (long long)b->options.steps, (long long)o->step);
    if (!isfinite(o->old_loss) || !isfinite(o->new_loss) || !isfinite(o->fisher_distance_squared))
        return ewci_fail(ctx, EWC_ERROR_NOT_FINITE,
                         "step %lld: expected finite numbers, found old_loss %g, new_loss %g, "
                         "fisher_distance_squared %g",
                         (long long)o->step, o->old_loss, o->new_loss, o->fisher_distance_squared);
    if (o->old_loss <= 0 || (o->step > 0 && o->new_loss < 0) || o->fisher_distance_squared < 0)
        return ewci_fail(
            ctx, EWC_ERROR_ARGUMENT,
            "step %lld: expected old_loss > 0, new_loss and fisher_distance_squared >= 0, found %g, %g, %g",
            (long long)o->step, o->old_loss, o->new_loss, o->fisher_distance_squared);
    return EWC_OK;
}

static void act(ewc_budget *b, const view *v)
{
    if (v->left <= END_SHARE || v->steps_left <= end_steps(b))
        hold(b, v);
    else if (v->share < START_SHARE)
        start(b, v);
    else
        course(b, v);
}

ewc_status ewc_budget_observe(ewc_budget *budget, const ewc_budget_observation *observation, double *lambda)
{
    ewc_budget_observation o = {0};
    view v = {0};
    if (budget == NULL || observation == NULL || lambda == NULL)
        return ewci_fail(budget == NULL ? NULL : budget->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_budget_observe: an argument is NULL");
    EWCI_TRY(ewci_sized_take(budget->ctx, "observation", observation, &o, sizeof o));
    EWCI_TRY(check_observation(budget, &o));
    EWCI_TRY(area_of(budget, o.step, &v.area));
    ewci_budget_state *s = &budget->state;
    if (o.step == 0) s->first_loss = o.old_loss;
    if (s->new_loss == 0) s->new_loss = o.step > 0 ? o.new_loss : 0;
    v.rise = fmin(o.old_loss / s->first_loss - 1, LARGEST_RISE);
    v.fisher_distance_squared = o.fisher_distance_squared;
    v.share = budget->whole_area > 0 ? v.area / budget->whole_area : 0;
    v.left = 1 - v.share;
    v.steps_left = budget->options.steps - o.step;
    if (o.step > 0) act(budget, &v);
    s->last_step = o.step;
    s->last_loss = o.old_loss;
    s->last_rise = v.rise;
    s->last_area = v.area;
    s->next_step = next_probe(budget, o.step);
    *lambda = ewci_budget_strength(s);
    return EWC_OK;
}
