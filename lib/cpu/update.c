/* update: the fused AdamW + EWC pass over the flat order, chunk by chunk. The mathematics is in kernels/update.c and docs/ops.md.
 *
 * f32 buffers have a kernel of their own. If any has another type, the kernel widens a few cache lines at a time to f32, updates them and
 * rounds back: to nearest even, or stochastically by numbers that depend on seed, step and the element's place in the flat order. */
#include <float.h>
#include <math.h>

#include "core/convert.h"
#include "core/random.h"
#include "cpu/blocks.h"
#include "cpu/chunks.h"
#include "cpu/operations.h"
#include "cpu/penalty.h"

enum { BLOCK = EWCI_BLOCK };

#define HALF (INT64_C(1) << 32)

typedef struct job {
    const ewci_device *device;
    const ewc_update_buffers *buffers;
    const ewc_update_options *options;
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

static ewc_buffer from(ewc_buffer buffer, int64_t first)
{
    if (buffer.data == NULL) return buffer;
    return (ewc_buffer){(char *)buffer.data + (size_t)first * ewci_dtype_bytes(buffer.dtype), buffer.dtype};
}

static ewc_update_buffers buffers_from(const ewc_update_buffers *b, int64_t first)
{
    return (ewc_update_buffers){from(b->weight, first),   from(b->m, first),      from(b->v, first),
                                from(b->gradient, first), from(b->fisher, first), from(b->anchor, first)};
}

/* Elements first .. first + n, whose numbers in the flat order share their upper half. */
static void update_typed(const job *j, int64_t first, int64_t n, ewci_penalty_lanes *lanes)
{
    ewc_update_buffers b = buffers_from(j->buffers, first);
    uint64_t number = (uint64_t)(j->options->first_element + first);
    ewci_rounding rounding = {.stochastic = j->options->stochastic_rounding != 0, .first = (uint32_t)number};
    if (rounding.stochastic)
        ewci_philox(j->options->seed, EWCI_STREAM_ROUNDING, (uint64_t)j->options->step, number >> 32, rounding.key);
    j->device->kernels->update_typed_block(n, &b, &j->parameters, &rounding, lanes);
}

/* The penalty's sums of a block, where the form itself does not give them. */
static void add_distances(const job *j, int64_t first, int64_t n, ewci_penalty_lanes *lanes)
{
    const ewc_update_buffers *b = j->buffers;
    float weight[BLOCK], fisher[BLOCK], anchor[BLOCK];
    j->device->kernels->penalty_block(n, ewci_block_read(j->device, b->weight, first, n, weight),
                                      ewci_block_read(j->device, b->fisher, first, n, fisher),
                                      ewci_block_read(j->device, b->anchor, first, n, anchor), lanes);
}

static void update_chunk(void *argument, int chunk, int64_t first, int64_t count)
{
    job *j = argument;
    ewci_penalty_lanes lanes = {{0}, {0}, {0}}, before = {{0}, {0}, {0}};
    if (j->direct) {
        ewc_update_buffers b = buffers_from(j->buffers, first);
        j->device->kernels->update_block(count, &b, &j->parameters, &lanes);
        j->sums[chunk] = ewci_penalty_sum_lanes(&lanes);
        return;
    }
    for (int64_t i = first, n; i < first + count; i += n) {
        int64_t upper_half_changes = HALF - (j->options->first_element + i) % HALF;
        n = ewci_smaller(first + count - i, upper_half_changes);
        if (j->distances) n = ewci_smaller(n, BLOCK);
        if (j->distances) add_distances(j, i, n, &before);
        update_typed(j, i, n, &lanes);
    }
    j->sums[chunk] = ewci_penalty_sum_lanes(j->distances ? &before : &lanes);
    j->sums[chunk].nonfinite = ewci_penalty_sum_lanes(&lanes).nonfinite; /* after the update */
}

ewc_status ewci_cpu_update(ewci_device *device, int64_t n, const ewc_update_buffers *buffers,
                           const ewc_update_options *options, ewc_update_statistics *stats)
{
    bool penalty = buffers->fisher.data != NULL && options->form != EWC_PENALTY_NONE;
    job j = {.device = device, .buffers = buffers, .options = options, .parameters = prepare(options, penalty)};
    j.distances = !penalty && stats != NULL && buffers->anchor.data != NULL;
    j.direct = all_f32(buffers) && !j.distances;
    ewci_each_chunk(device, n, update_chunk, &j);
    if (stats != NULL) *stats = ewci_penalty_report(j.sums, ewci_chunk_count(n), options->lambda);
    return EWC_OK;
}
