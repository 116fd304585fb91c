/* See identity.h. */
#include "train/identity.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/status.h"
#include "model/vocabulary.h"

enum { TEXT = 160 };

typedef struct visitor {
    ewci_identity_visit visit;
    void *user;
} visitor;

static ewc_status real(const visitor *v, const char *name, double value)
{
    char text[TEXT];
    snprintf(text, sizeof text, "%a", value);
    return v->visit(v->user, name, text);
}

static ewc_status whole(const visitor *v, const char *name, int64_t value)
{
    char text[TEXT];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return v->visit(v->user, name, text);
}

/* Recompute levels and the largest batch change no bit, the number of threads only the last ones: they may differ. */
static ewc_status options(const visitor *v, const ewc_trainer_options *o)
{
    EWCI_TRY(whole(v, "schedule.kind", (int64_t)o->schedule.kind));
    EWCI_TRY(whole(v, "schedule.tail", (int64_t)o->schedule.tail));
    EWCI_TRY(real(v, "schedule.peak", o->schedule.peak));
    EWCI_TRY(real(v, "schedule.final_ratio", o->schedule.final_ratio));
    EWCI_TRY(whole(v, "schedule.steps", o->schedule.steps));
    EWCI_TRY(whole(v, "schedule.warmup", o->schedule.warmup));
    EWCI_TRY(whole(v, "schedule.decay", o->schedule.decay));
    EWCI_TRY(real(v, "beta1", o->beta1));
    EWCI_TRY(real(v, "beta2", o->beta2));
    EWCI_TRY(real(v, "epsilon", o->epsilon));
    EWCI_TRY(real(v, "weight_decay", o->weight_decay));
    EWCI_TRY(real(v, "clip", o->clip));
    EWCI_TRY(whole(v, "clip_mode", (int64_t)o->clip_mode));
    EWCI_TRY(whole(v, "form", (int64_t)o->form));
    if (o->moments_dtype == EWC_F32) return EWC_OK; /* the seed is not used */
    EWCI_TRY(v->visit(v->user, EWCI_IDENTITY_MOMENTS, "bf16"));
    return whole(v, "seed of the moments' rounding", (int64_t)o->seed);
}

static ewc_status task(const visitor *v, int64_t number, const ewci_task *t)
{
    char name[TEXT], value[TEXT];
    uint64_t anchor;
    EWCI_TRY(ewc_anchor_fingerprint(t->anchor, &anchor));
    snprintf(name, sizeof name, "task %lld: anchor", (long long)number);
    snprintf(value, sizeof value, "%016" PRIx64 "%s", anchor, t->anchor->rounded ? " rounded to bf16" : "");
    EWCI_TRY(v->visit(v->user, name, value));
    snprintf(name, sizeof name, "task %lld: lambda", (long long)number);
    EWCI_TRY(real(v, name, t->lambda));
    snprintf(name, sizeof name, "task %lld: fisher", (long long)number);
    if (t->fisher == NULL) return v->visit(v->user, name, "none (plain L2)");
    const ewc_fisher_info *info = &t->fisher->info;
    snprintf(value, sizeof value, "%s %s of %016" PRIx64 ", data %016" PRIx64 ", mean %a",
             ewc_estimator_name(info->estimator), ewc_fisher_unit_name(info->unit), info->model_fingerprint,
             info->data_fingerprint, t->fisher->mean);
    return v->visit(v->user, name, value);
}

/* The listed tokens, and the rows of the others, which what is saved at the end takes from the checkpoint. */
static ewc_status vocabulary(const visitor *v, const ewc_model *model)
{
    char text[TEXT];
    if (model->vocabulary == NULL) return EWC_OK;
    snprintf(text, sizeof text, "%s, others %08" PRIx32, ewci_vocabulary_describe(model).text,
             model->vocabulary->others);
    return v->visit(v->user, EWCI_IDENTITY_VOCABULARY, text);
}

ewc_status ewci_trainer_identity(const ewc_trainer *trainer, ewci_identity_visit visit, void *user)
{
    visitor v = {visit, user};
    const ewci_layout *layout = &trainer->model->layout;
    EWCI_TRY(vocabulary(&v, trainer->model));
    EWCI_TRY(whole(&v, "parameters", layout->parameters));
    EWCI_TRY(options(&v, &trainer->options));
    EWCI_TRY(whole(&v, "tasks", trainer->task_count));
    for (int64_t k = 0; k < trainer->task_count; k++) EWCI_TRY(task(&v, k, &trainer->tasks[k]));
    for (int64_t t = 0; t < layout->tensor_count; t++)
        if (trainer->frozen[t]) EWCI_TRY(visit(user, layout->tensors[t].name, "frozen"));
    return EWC_OK;
}
