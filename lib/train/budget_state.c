/* A budget's state: for the eye, and as text from which a resumed run takes it exactly. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sized.h"
#include "core/status.h"
#include "train/budget.h"

#define FORMAT "libewc-budget-2"

enum { WHOLE = 3, REAL = 8 };

const char *ewc_budget_phase_name(ewc_budget_phase phase)
{
    static const char *const names[] = {"start", "course", "end", "pull"};
    return (unsigned)phase < sizeof names / sizeof *names ? names[phase] : "unknown";
}

ewc_status ewc_budget_describe(const ewc_budget *budget, ewc_budget_info *info)
{
    if (budget == NULL || info == NULL)
        return ewci_fail(budget == NULL ? NULL : budget->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_budget_describe: an argument is NULL");
    const ewci_budget_state *s = &budget->state;
    const ewc_budget_info found = {.struct_size = sizeof found,
                                   .step = s->last_step,
                                   .next_step = s->next_step,
                                   .first_loss = s->first_loss,
                                   .loss = s->last_loss,
                                   .rise = s->last_rise,
                                   .predicted_rise = s->predicted,
                                   .lambda = ewci_budget_strength(s),
                                   .phase = s->phase,
                                   .met = s->last_step >= 0 && s->last_rise <= budget->options.budget};
    return ewci_sized_give(budget->ctx, "info", info, &found, sizeof found);
}

/* What a state is of: another budget's would be followed without a complaint, and wrongly. */
typedef struct owner {
    double budget;
    int64_t steps, every;
} owner;

static owner owner_of(const ewc_budget *budget)
{
    return (owner){budget->options.budget, budget->options.steps, budget->options.every};
}

/* The numbers of a state in the order of the text. */
static void fields(ewci_budget_state *s, int64_t *whole[WHOLE], double *real[REAL])
{
    int64_t *const integers[WHOLE] = {&s->last_step, &s->next_step, &s->calibrated};
    double *const numbers[REAL] = {&s->first_loss, &s->new_loss,  &s->last_loss, &s->last_rise,
                                   &s->last_area,  &s->predicted, &s->lambda,    &s->pull};
    memcpy(whole, integers, sizeof integers);
    memcpy(real, numbers, sizeof numbers);
}

ewc_status ewc_budget_write(const ewc_budget *budget, char *text, size_t bytes)
{
    int64_t *whole[WHOLE];
    double *real[REAL];
    if (budget == NULL || text == NULL || bytes < EWC_BUDGET_TEXT)
        return ewci_fail(budget == NULL ? NULL : budget->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_budget_write: expected a budget and room for EWC_BUDGET_TEXT (%d) bytes, found %zu",
                         EWC_BUDGET_TEXT, text == NULL ? 0 : bytes);
    ewci_budget_state s = budget->state;
    const owner o = owner_of(budget);
    fields(&s, whole, real);
    int used = snprintf(text, bytes, FORMAT " %a %" PRId64 " %" PRId64 " %d", o.budget, o.steps, o.every, (int)s.phase);
    for (int i = 0; i < WHOLE; i++) used += snprintf(text + used, bytes - (size_t)used, " %" PRId64, *whole[i]);
    for (int i = 0; i < REAL; i++) used += snprintf(text + used, bytes - (size_t)used, " %a", *real[i]);
    return EWC_OK;
}

static int take_whole(const char **text, int64_t *value)
{
    char *end;
    *value = strtoll(*text, &end, 10);
    int taken = end != *text;
    *text = end;
    return taken;
}

static int take_real(const char **text, double *value)
{
    char *end;
    *value = strtod(*text, &end);
    int taken = end != *text;
    *text = end;
    return taken && isfinite(*value);
}

/* Whether all of the text was what a state needs. */
static int parse(const char *text, owner *o, ewci_budget_state *s)
{
    int64_t *whole[WHOLE], phase;
    double *real[REAL];
    if (strncmp(text, FORMAT " ", sizeof FORMAT) != 0) return 0;
    text += sizeof FORMAT;
    if (!take_real(&text, &o->budget) || !take_whole(&text, &o->steps) || !take_whole(&text, &o->every)) return 0;
    if (!take_whole(&text, &phase) || phase < EWC_BUDGET_START || phase > EWC_BUDGET_PULL) return 0;
    s->phase = (ewc_budget_phase)phase;
    fields(s, whole, real);
    for (int i = 0; i < WHOLE; i++)
        if (!take_whole(&text, whole[i])) return 0;
    for (int i = 0; i < REAL; i++)
        if (!take_real(&text, real[i])) return 0;
    return *text == '\0';
}

static ewc_status check_owner(ewc_context *ctx, const owner *found, const owner *expected)
{
    if (found->budget != expected->budget)
        return ewci_fail(ctx, EWC_ERROR_MISMATCH,
                         "a budget's state: it is of a budget of %.15g, this one is of %.15g: go on with the options "
                         "that the run was started with",
                         found->budget, expected->budget);
    if (found->steps == expected->steps && found->every == expected->every) return EWC_OK;
    int steps = found->steps != expected->steps;
    return ewci_fail(ctx, EWC_ERROR_MISMATCH,
                     "a budget's state: %s: it is of a run with %lld, this one has %lld: go on with the options that "
                     "the run was started with",
                     steps ? "steps" : "every", (long long)(steps ? found->steps : found->every),
                     (long long)(steps ? expected->steps : expected->every));
}

/* The name of the first value that no budget of so many steps comes to; NULL: none. */
static const char *impossible(const ewci_budget_state *s, int64_t steps)
{
    if (s->last_step < -1 || s->last_step > steps) return "last_step";
    if (s->next_step <= s->last_step || (s->next_step > steps && s->last_step < steps)) return "next_step";
    if (s->calibrated != 0 && s->calibrated != 1) return "calibrated";
    if (s->last_step >= 0 && s->first_loss <= 0) return "first_loss";
    if (s->new_loss < 0) return "new_loss";
    if (s->last_area < 0) return "last_area";
    if (s->lambda < 0) return "lambda";
    return s->pull < 1 ? "pull" : NULL;
}

ewc_status ewc_budget_read(ewc_budget *budget, const char *text)
{
    ewci_budget_state s = {0};
    owner found;
    if (budget == NULL || text == NULL)
        return ewci_fail(budget == NULL ? NULL : budget->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_budget_read: an argument is NULL");
    if (!parse(text, &found, &s))
        return ewci_fail(budget->ctx, EWC_ERROR_FORMAT,
                         "a budget's state: expected \"" FORMAT "\" and its finite numbers, as ewc_budget_write gives "
                         "them, "
                         "found \"%.60s\"",
                         text);
    const owner expected = owner_of(budget);
    EWCI_TRY(check_owner(budget->ctx, &found, &expected));
    const char *name = impossible(&s, expected.steps);
    if (name != NULL)
        return ewci_fail(budget->ctx, EWC_ERROR_FORMAT,
                         "a budget's state: %s is no value that a run of %lld steps comes to: the text is damaged",
                         name, (long long)expected.steps);
    budget->state = s;
    return EWC_OK;
}
