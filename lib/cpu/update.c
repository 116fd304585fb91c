/* update and penalty: blocks of 1024 elements, divided among the threads in slices of the flat order. */
#include <float.h>
#include <math.h>

#include "cpu/blocks.h"
#include "cpu/operations.h"

enum { BLOCK = EWCI_UPDATE_BLOCK, MOST_THREADS = 1024 };

typedef struct job {
    ewci_device *device;
    int64_t n;
    const ewc_update_buffers *buffers;
    ewci_update_parameters parameters;
    ewci_update_sums sums[MOST_THREADS];
} job;

static float at_most_max(double x)
{
    return x > (double)FLT_MAX ? FLT_MAX : (float)x;
}

static ewci_update_parameters prepare(const ewc_update_options *o, bool penalty)
{
    double step = (double)o->step;
    return (ewci_update_parameters){.form = penalty ? o->form : EWC_PENALTY_NONE,
                                    .gradient_scale = (float)o->gradient_scale,
                                    .beta1 = (float)o->beta1,
                                    .one_minus_beta1 = (float)(1.0 - o->beta1),
                                    .beta2 = (float)o->beta2,
                                    .one_minus_beta2 = (float)(1.0 - o->beta2),
                                    .correction1 = (float)(1.0 / (1.0 - pow(o->beta1, step))),
                                    .correction2 = (float)(1.0 / (1.0 - pow(o->beta2, step))),
                                    .epsilon = (float)o->epsilon,
                                    .rate = (float)o->learning_rate,
                                    .keep = (float)(1.0 - o->learning_rate * o->weight_decay),
                                    .lambda = at_most_max(o->lambda),
                                    .rate_lambda = at_most_max(o->learning_rate * o->lambda)};
}

static void update_slice(void *argument, int index, int count)
{
    job *j = argument;
    const ewci_device *device = j->device;
    const ewc_update_buffers *b = j->buffers;
    float weights[BLOCK], first_moment[BLOCK], second_moment[BLOCK], gradient[BLOCK], fisher[BLOCK], anchor[BLOCK];
    int64_t begin, end;
    ewci_update_sums sums = {0, 0, 0};
    ewci_slice(j->n, BLOCK, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i += BLOCK) {
        int64_t n = end - i < BLOCK ? end - i : BLOCK;
        float *w = ewci_block_read(device, b->weight, i, n, weights);
        float *m = ewci_block_read(device, b->m, i, n, first_moment);
        float *v = ewci_block_read(device, b->v, i, n, second_moment);
        const float *f = ewci_block_read(device, b->fisher, i, n, fisher);
        const float *a = ewci_block_read(device, b->anchor, i, n, anchor);
        device->kernels->update_block(n, w, m, v, ewci_block_read(device, b->gradient, i, n, gradient), f, a,
                                      &j->parameters, &sums);
        ewci_block_write(device, b->weight, i, n, w);
        ewci_block_write(device, b->m, i, n, m);
        ewci_block_write(device, b->v, i, n, v);
    }
    j->sums[index] = sums;
}

static void penalty_slice(void *argument, int index, int count)
{
    job *j = argument;
    const ewc_update_buffers *b = j->buffers;
    float weights[BLOCK], fisher[BLOCK], anchor[BLOCK];
    int64_t begin, end;
    ewci_update_sums sums = {0, 0, 0};
    ewci_slice(j->n, BLOCK, index, count, &begin, &end);
    for (int64_t i = begin; i < end; i += BLOCK) {
        int64_t n = end - i < BLOCK ? end - i : BLOCK;
        j->device->kernels->penalty_block(n, ewci_block_read(j->device, b->weight, i, n, weights),
                                          ewci_block_read(j->device, b->fisher, i, n, fisher),
                                          ewci_block_read(j->device, b->anchor, i, n, anchor), &sums);
    }
    j->sums[index] = sums;
}

/* The threads' sums in their order. */
static void report(const job *j, double lambda, ewc_update_statistics *stats)
{
    if (stats == NULL) return;
    ewc_update_statistics s = {0, 0, 0, 0};
    for (int i = 0; i < j->device->threads; i++) {
        s.distance_squared += j->sums[i].distance_squared;
        s.fisher_distance_squared += j->sums[i].fisher_distance_squared;
        s.nonfinite += j->sums[i].nonfinite;
    }
    s.penalty = 0.5 * lambda * s.fisher_distance_squared;
    *stats = s;
}

ewc_status ewci_cpu_update(ewci_device *device, int64_t n, const ewc_update_buffers *buffers,
                           const ewc_update_options *options, ewc_update_statistics *stats)
{
    bool penalty = buffers->fisher.data != NULL && options->form != EWC_PENALTY_NONE;
    job j = {.device = device, .n = n, .buffers = buffers, .parameters = prepare(options, penalty)};
    ewci_parallel(device->threads, update_slice, &j);
    report(&j, options->lambda, stats);
    return EWC_OK;
}

ewc_status ewci_cpu_penalty(ewci_device *device, int64_t n, const ewc_update_buffers *buffers, float lambda,
                            ewc_update_statistics *stats)
{
    job j = {.device = device, .n = n, .buffers = buffers};
    if (buffers->fisher.data != NULL) ewci_parallel(device->threads, penalty_slice, &j);
    report(&j, (double)lambda, stats);
    return EWC_OK;
}
