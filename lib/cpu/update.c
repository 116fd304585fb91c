/* update: the fused AdamW + EWC pass over the flat order, chunk by chunk. The mathematics is in kernels/update.c and docs/ops.md.
 *
 * f32 buffers are worked on where they lie, a chunk at a time. If any has another type, blocks of it pass through the first-level
 * cache: widened to f32, updated, rounded back to nearest even. */
#include <float.h>
#include <math.h>

#include "cpu/blocks.h"
#include "cpu/chunks.h"
#include "cpu/operations.h"
#include "cpu/penalty.h"

enum { BLOCK = EWCI_BLOCK };

typedef struct job {
    const ewci_device *device;
    const ewc_update_buffers *buffers;
    ewci_update_parameters parameters;
    bool direct;    /* all buffers are f32 and need no blocks */
    bool distances; /* asked for where the form itself does not need them */
    ewci_penalty_sums sums[EWCI_MOST_CHUNKS];
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

static bool all_f32(const ewc_update_buffers *b)
{
    const ewc_buffer buffers[] = {b->weight, b->m, b->v, b->gradient, b->fisher, b->anchor};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (buffers[i].data != NULL && buffers[i].dtype != EWC_F32) return false;
    return true;
}

static void update_chunk(void *argument, int chunk, int64_t first, int64_t count)
{
    job *j = argument;
    const ewci_device *device = j->device;
    const ewc_update_buffers *b = j->buffers;
    float weights[BLOCK], first_moment[BLOCK], second_moment[BLOCK], gradient[BLOCK], fisher[BLOCK], anchor[BLOCK];
    ewci_penalty_lanes lanes = {{0}, {0}, {0}}, before = {{0}, {0}, {0}};
    int64_t block = j->direct ? count : BLOCK;
    for (int64_t i = first; i < first + count; i += block) {
        int64_t n = first + count - i < block ? first + count - i : block;
        float *w = ewci_block_read(device, b->weight, i, n, weights);
        float *m = ewci_block_read(device, b->m, i, n, first_moment);
        float *v = ewci_block_read(device, b->v, i, n, second_moment);
        const float *g = ewci_block_read(device, b->gradient, i, n, gradient);
        const float *f = NULL, *a = NULL;
        if (j->distances || j->parameters.form != EWC_PENALTY_NONE) {
            f = ewci_block_read(device, b->fisher, i, n, fisher);
            a = ewci_block_read(device, b->anchor, i, n, anchor);
        }
        if (j->distances) device->kernels->penalty_block(n, w, f, a, &before);
        device->kernels->update_block(n, w, m, v, g, f, a, &j->parameters, &lanes);
        ewci_block_write(device, b->weight, i, n, w);
        ewci_block_write(device, b->m, i, n, m);
        ewci_block_write(device, b->v, i, n, v);
    }
    j->sums[chunk] = ewci_penalty_sum_lanes(j->distances ? &before : &lanes);
    j->sums[chunk].nonfinite = ewci_penalty_sum_lanes(&lanes).nonfinite; /* after the update */
}

ewc_status ewci_cpu_update(ewci_device *device, int64_t n, const ewc_update_buffers *buffers,
                           const ewc_update_options *options, ewc_update_statistics *stats)
{
    bool penalty = buffers->fisher.data != NULL && options->form != EWC_PENALTY_NONE;
    job j = {.device = device, .buffers = buffers, .parameters = prepare(options, penalty)};
    j.distances = !penalty && stats != NULL && buffers->anchor.data != NULL;
    j.direct = all_f32(buffers) && !j.distances;
    ewci_each_chunk(device, n, update_chunk, &j);
    if (stats != NULL) *stats = ewci_penalty_report(j.sums, ewci_chunk_count(n), options->lambda);
    return EWC_OK;
}
