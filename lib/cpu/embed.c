/* embed: x_t = scale E[token_t]; backward: dE[token_t] += scale dx_t.
 *
 * Backward divides the columns among the threads, so that the tokens' order, and with it every bit, is the same for any number. */
#include "cpu/device.h"
#include "cpu/operations.h"

typedef struct job {
    ewci_device *device;
    float *destination;
    const float *source;
    const int32_t *tokens;
    int64_t count, hidden;
    float scale;
} job;

static void forward_slice(void *argument, int index, int count)
{
    const job *j = argument;
    int64_t begin, end;
    ewci_slice(j->count, 1, index, count, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        j->device->kernels->scale_row(j->destination + t * j->hidden, j->source + j->tokens[t] * j->hidden, j->scale,
                                      j->hidden);
}

static void backward_slice(void *argument, int index, int count)
{
    const job *j = argument;
    int64_t begin, end;
    ewci_slice(j->hidden, 16, index, count, &begin, &end);
    for (int64_t t = 0; t < j->count && begin < end; t++)
        j->device->kernels->add_scaled(j->destination + j->tokens[t] * j->hidden + begin,
                                       j->source + t * j->hidden + begin, j->scale, end - begin);
}

ewc_status ewci_cpu_embed_fwd(ewci_device *device, void *x, const void *table, const int32_t *tokens, int64_t count,
                              int64_t hidden, float scale)
{
    job j = {device, x, table, tokens, count, hidden, scale};
    ewci_parallel(device->pool, ewci_team(device, count * hidden), forward_slice, &j);
    return EWC_OK;
}

ewc_status ewci_cpu_embed_bwd(ewci_device *device, float *dtable, const void *dx, const int32_t *tokens, int64_t count,
                              int64_t hidden, float scale)
{
    job j = {device, dtable, dx, tokens, count, hidden, scale};
    ewci_parallel(device->pool, ewci_team(device, count * hidden), backward_slice, &j);
    return EWC_OK;
}
