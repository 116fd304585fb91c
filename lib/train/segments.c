/* Cuts the flat parameter order into segments that one call of the update treats alike.
 *
 * Neighbouring tensors are joined when they share decay and their Fisher and anchor continue each other in memory, so that a
 * run without a mapped anchor makes few, long calls. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "train/trainer.h"

static size_t element_bytes(ewc_dtype dtype)
{
    return dtype == EWC_F32 ? 4 : 2;
}

static bool continues(ewc_buffer a, int64_t count, ewc_buffer b)
{
    if (a.data == NULL || b.data == NULL) return a.data == b.data;
    return a.dtype == b.dtype && (char *)a.data + (size_t)count * element_bytes(a.dtype) == (char *)b.data;
}

static void append(ewc_trainer *trainer, ewci_segment next)
{
    if (trainer->segment_count > 0) {
        ewci_segment *last = &trainer->segments[trainer->segment_count - 1];
        if (last->offset + last->count == next.offset && last->decay == next.decay &&
            continues(last->fisher, last->count, next.fisher) && continues(last->anchor, last->count, next.anchor)) {
            last->count += next.count;
            return;
        }
    }
    trainer->segments[trainer->segment_count++] = next;
}

/* bf16 ones for the longest tensor: plain L2 reads the same few megabytes for every tensor. */
static ewc_status make_ones(ewc_trainer *trainer)
{
    const ewci_layout *layout = &trainer->model->layout;
    ewc_context *ctx = trainer->model->ctx;
    int64_t longest = 0;
    void *memory;
    for (int64_t t = 0; t < layout->tensor_count; t++) {
        int64_t count = layout->tensors[t].rows * layout->tensors[t].columns;
        if (count > longest) longest = count;
    }
    EWCI_TRY(ewci_alloc_array(ctx, longest, sizeof(uint16_t), "the unit Fisher", &memory));
    trainer->ones = memory;
    for (int64_t i = 0; i < longest; i++) trainer->ones[i] = 0x3f80;
    return EWC_OK;
}

/* Several tasks become one quadratic; plain L2 among them gets a Fisher of ones. */
static ewc_status fold(ewc_trainer *trainer)
{
    ewc_context *ctx = trainer->model->ctx;
    int64_t n = trainer->task_count;
    ewc_fisher *unit = NULL;
    void *memory;
    EWCI_TRY(ewci_alloc_array(ctx, n, sizeof(void *) * 2 + sizeof(double), "the tasks' lists", &memory));
    ewc_anchor **anchors = memory;
    ewc_fisher **fishers = (ewc_fisher **)(anchors + n);
    double *lambdas = (double *)(fishers + n);
    ewc_status status = EWC_OK;
    for (int64_t k = 0; k < n && status == EWC_OK; k++) {
        if (trainer->tasks[k].fisher == NULL && unit == NULL) status = ewci_fisher_unit_values(trainer->model, &unit);
        anchors[k] = trainer->tasks[k].anchor;
        fishers[k] = trainer->tasks[k].fisher != NULL ? trainer->tasks[k].fisher : unit;
        lambdas[k] = trainer->tasks[k].lambda;
    }
    if (status == EWC_OK)
        status = ewc_anchor_fold(trainer->model, n, anchors, fishers, lambdas, &trainer->folded_anchor,
                                 &trainer->folded_fisher);
    ewc_fisher_destroy(unit);
    ewci_free(ctx, memory);
    return status;
}

static ewc_status prepare_penalty(ewc_trainer *trainer)
{
    int64_t pulling = 0;
    if (trainer->task_count == 0) return EWC_OK;
    trainer->only = &trainer->tasks[0];
    for (int64_t k = 0; k < trainer->task_count; k++) {
        if (trainer->tasks[k].lambda == 0) continue;
        trainer->only = &trainer->tasks[k];
        pulling++;
    }
    if (pulling > 1) {
        trainer->only = NULL;
        return fold(trainer);
    }
    return trainer->only->fisher == NULL ? make_ones(trainer) : EWC_OK;
}

/* Of several tasks only the sum of the folded ones, or the one that pulls, is multiplied. */
void ewci_trainer_apply_strength(ewc_trainer *trainer)
{
    double strength = ewc_trainer_lambda(trainer);
    if (trainer->task_count > 1 && trainer->only != NULL) strength *= trainer->only->lambda;
    trainer->lambda = strength;
}

static void penalty_views(const ewc_trainer *trainer, int64_t tensor, ewc_buffer *fisher, ewc_buffer *anchor)
{
    memset(fisher, 0, sizeof *fisher);
    memset(anchor, 0, sizeof *anchor);
    if (trainer->task_count == 0) return;
    const ewc_fisher *f = trainer->only != NULL ? trainer->only->fisher : trainer->folded_fisher;
    *anchor = ewci_anchor_view(trainer->only != NULL ? trainer->only->anchor : trainer->folded_anchor, tensor);
    *fisher = f != NULL ? ewci_fisher_view(f, tensor) : (ewc_buffer){trainer->ones, EWC_BF16};
}

ewc_status ewci_trainer_seal(ewc_trainer *trainer)
{
    if (trainer->sealed) return EWC_OK;
    const ewci_layout *layout = &trainer->model->layout;
    void *memory;
    ewc_status status;
    EWCI_TRY_GOTO(status, fail, prepare_penalty(trainer));
    EWCI_TRY_GOTO(status, fail,
                  ewci_alloc_array(trainer->model->ctx, layout->tensor_count, sizeof(ewci_segment),
                                   "the update's segments", &memory));
    trainer->segments = memory;
    trainer->segment_count = 0;
    for (int64_t t = 0; t < layout->tensor_count; t++) {
        const ewc_tensor_info *tensor = &layout->tensors[t];
        if (trainer->frozen[t]) continue;
        ewci_segment segment = {.offset = tensor->offset,
                                .count = tensor->rows * tensor->columns,
                                .decay = !tensor->is_vector};
        penalty_views(trainer, t, &segment.fisher, &segment.anchor);
        append(trainer, segment);
    }
    ewci_trainer_apply_strength(trainer);
    trainer->sealed = true;
    return EWC_OK;
fail:
    ewci_trainer_unseal(trainer);
    return status;
}

void ewci_trainer_unseal(ewc_trainer *trainer)
{
    ewc_context *ctx = trainer->model->ctx;
    ewc_anchor_destroy(trainer->folded_anchor);
    ewc_fisher_destroy(trainer->folded_fisher);
    ewci_free(ctx, trainer->ones);
    ewci_free(ctx, trainer->segments);
    trainer->folded_anchor = NULL;
    trainer->folded_fisher = NULL;
    trainer->ones = NULL;
    trainer->segments = NULL;
    trainer->segment_count = 0;
    trainer->only = NULL;
    trainer->lambda = 0;
    trainer->sealed = false;
}

static ewc_buffer moment(ewc_buffer flat, int64_t offset)
{
    return (ewc_buffer){(char *)flat.data + (size_t)offset * element_bytes(flat.dtype), flat.dtype};
}

ewc_update_buffers ewci_segment_buffers(const ewc_trainer *trainer, const ewci_segment *segment)
{
    return (ewc_update_buffers){.weight = {trainer->model->weights + segment->offset, EWC_F32},
                                .m = moment(trainer->m, segment->offset),
                                .v = moment(trainer->v, segment->offset),
                                .gradient = {trainer->gradient + segment->offset, EWC_F32},
                                .fisher = segment->fisher,
                                .anchor = segment->anchor};
}
