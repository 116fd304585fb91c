/* See schedule.h; the public functions check and evaluate. */
#include "train/schedule.h"

#include <math.h>
#include <string.h>

#include "core/sized.h"
#include "core/status.h"

#define AREA_DECAY 0.999
#define PI 3.14159265358979323846

void ewc_schedule_default(ewc_schedule *schedule)
{
    memset(schedule, 0, sizeof *schedule);
    schedule->struct_size = sizeof *schedule;
    schedule->peak = 1e-4;
}

static ewc_status check_lengths(ewc_context *ctx, const ewc_schedule *s)
{
    if (s->warmup < 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "schedule.warmup: expected 0 or more, found %lld",
                         (long long)s->warmup);
    if (s->kind == EWC_SCHEDULE_CONSTANT) return EWC_OK;
    if (s->steps < 1)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "schedule.steps: all but the constant schedule need the number of steps, "
                         "found %lld",
                         (long long)s->steps);
    if (s->warmup > s->steps)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "schedule.warmup: expected at most steps (%lld), found %lld",
                         (long long)s->steps, (long long)s->warmup);
    if (s->kind == EWC_SCHEDULE_WSD && (s->decay < 0 || s->decay > s->steps - s->warmup))
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "schedule.decay: expected 0 to steps - warmup (%lld), found %lld",
                         (long long)(s->steps - s->warmup), (long long)s->decay);
    return EWC_OK;
}

static ewc_status check_values(ewc_context *ctx, const ewc_schedule *s)
{
    if ((unsigned)s->kind > EWC_SCHEDULE_WSD)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "schedule.kind: expected an ewc_schedule_kind, found %d",
                         (int)s->kind);
    if ((unsigned)s->tail > EWC_TAIL_INVERSE)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "schedule.tail: expected an ewc_tail, found %d", (int)s->tail);
    if (!isfinite(s->peak) || s->peak < 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "schedule.peak: expected a finite number, 0 or more, found %g",
                         s->peak);
    if (!(s->final_ratio >= 0 && s->final_ratio <= 1))
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "schedule.final_ratio: expected 0 to 1, found %g", s->final_ratio);
    if (s->kind == EWC_SCHEDULE_WSD && s->tail == EWC_TAIL_INVERSE && s->final_ratio == 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "schedule.final_ratio: the inverse tail needs a number above 0, found 0");
    return EWC_OK;
}

/* Takes the caller's schedule into *s, checked. */
static ewc_status check(ewc_context *ctx, const ewc_schedule *given, int64_t step, ewc_schedule *s)
{
    ewc_schedule_default(s);
    EWCI_TRY(ewci_sized_take(ctx, "schedule", given, s, sizeof *s));
    EWCI_TRY(check_values(ctx, s));
    EWCI_TRY(check_lengths(ctx, s));
    if (step < 1) return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "step: expected 1 or more, found %lld", (long long)step);
    return EWC_OK;
}

static double tail_rate(ewc_tail tail, double peak, double f, double u)
{
    switch (tail) {
    case EWC_TAIL_LINEAR: return peak * (1.0 - (1.0 - f) * u);
    case EWC_TAIL_COSINE: return peak * (f + (1.0 - f) * (1.0 + cos(PI * u)) / 2.0);
    case EWC_TAIL_SQRT: return peak * (f + (1.0 - f) * (1.0 - sqrt(u)));
    case EWC_TAIL_INVERSE: return peak / (1.0 + u * (1.0 / f - 1.0));
    }
    return peak;
}

static double rate_at(const ewc_schedule *s, int64_t step)
{
    if (s->kind != EWC_SCHEDULE_CONSTANT && step > s->steps) step = s->steps;
    if (step <= s->warmup) return s->peak * (double)step / (double)s->warmup;
    if (s->kind == EWC_SCHEDULE_CONSTANT) return s->peak;
    if (s->kind == EWC_SCHEDULE_WSD) {
        int64_t stable_end = s->steps - s->decay;
        if (step <= stable_end) return s->peak;
        return tail_rate(s->tail, s->peak, s->final_ratio, (double)(step - stable_end) / (double)s->decay);
    }
    double u = (double)(step - s->warmup) / (double)(s->steps - s->warmup);
    return tail_rate(s->kind == EWC_SCHEDULE_LINEAR ? EWC_TAIL_LINEAR : EWC_TAIL_COSINE, s->peak, s->final_ratio, u);
}

ewc_status ewc_schedule_rate(ewc_context *context, const ewc_schedule *schedule, int64_t step, double *rate)
{
    ewc_schedule s;
    EWCI_TRY(check(context, schedule, step, &s));
    if (rate == NULL) return ewci_fail(context, EWC_ERROR_ARGUMENT, "ewc_schedule_rate: rate is NULL");
    *rate = rate_at(&s, step);
    return EWC_OK;
}

void ewci_schedule_areas_next(ewci_schedule_areas *areas, double rate)
{
    if (areas->steps > 0) areas->momentum = AREA_DECAY * areas->momentum + (areas->previous_rate - rate);
    areas->s1 += rate;
    areas->s2 += areas->momentum;
    areas->previous_rate = rate;
    areas->steps++;
}

ewc_status ewc_schedule_areas(ewc_context *context, const ewc_schedule *schedule, int64_t step, double *s1, double *s2)
{
    ewci_schedule_areas areas = {0};
    ewc_schedule s;
    EWCI_TRY(check(context, schedule, step, &s));
    if (s1 == NULL || s2 == NULL)
        return ewci_fail(context, EWC_ERROR_ARGUMENT, "ewc_schedule_areas: %s is NULL", s1 == NULL ? "s1" : "s2");
    for (int64_t i = 1; i <= step; i++) ewci_schedule_areas_next(&areas, rate_at(&s, i));
    *s1 = areas.s1;
    *s2 = areas.s2;
    return EWC_OK;
}
