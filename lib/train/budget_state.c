/* A budget's state: for the eye, and as text from which a resumed run takes it exactly. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sized.h"
#include "core/status.h"
#include "train/budget.h"

#define FORMAT "libewc-budget-1"

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
                                   .lambda = s->lambda * s->pull,
                                   .phase = s->phase,
                                   .met = s->last_step >= 0 && s->last_rise <= budget->options.budget};
    return ewci_sized_give(budget->ctx, "info", info, &found, sizeof found);
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
    fields(&s, whole, real);
    int used = snprintf(text, bytes, FORMAT " %d", (int)s.phase);
    for (int i = 0; i < WHOLE; i++) used += snprintf(text + used, bytes - (size_t)used, " %" PRId64, *whole[i]);
    for (int i = 0; i < REAL; i++) used += snprintf(text + used, bytes - (size_t)used, " %a", *real[i]);
    return EWC_OK;
}

/* Whether all of the text was what a state needs. */
static int parse(const char *text, ewci_budget_state *s)
{
    int64_t *whole[WHOLE];
    double *real[REAL];
    char *end;
    if (strncmp(text, FORMAT " ", sizeof FORMAT) != 0) return 0;
    text += sizeof FORMAT;
    fields(s, whole, real);
    long phase = strtol(text, &end, 10);
    if (end == text || phase < EWC_BUDGET_START || phase > EWC_BUDGET_PULL) return 0;
    s->phase = (ewc_budget_phase)phase;
    for (int i = 0; i < WHOLE; i++) {
        text = end;
        *whole[i] = strtoll(text, &end, 10);
        if (end == text) return 0;
    }
    for (int i = 0; i < REAL; i++) {
        text = end;
        *real[i] = strtod(text, &end);
        if (end == text) return 0;
    }
    return *end == '\0' && s->last_step >= -1;
}

ewc_status ewc_budget_read(ewc_budget *budget, const char *text)
{
    ewci_budget_state s = {0};
    if (budget == NULL || text == NULL)
        return ewci_fail(budget == NULL ? NULL : budget->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_budget_read: an argument is NULL");
    if (!parse(text, &s))
        return ewci_fail(budget->ctx, EWC_ERROR_FORMAT,
                         "a budget's state: expected \"" FORMAT "\" and its numbers, as ewc_budget_write gives them, "
                         "found \"%.60s\"",
                         text);
    budget->state = s;
    return EWC_OK;
}
