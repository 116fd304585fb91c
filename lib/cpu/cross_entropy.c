/* cross_entropy: rows are divided among the threads; formulas in ops.h. */
#include <math.h>
#include <string.h>

#include "core/random.h"
#include "cpu/device.h"
#include "cpu/operations.h"

typedef struct job {
    ewci_device *device;
    const ewci_cross_entropy *args;
    float *logits;
} job;

static void leave_out(const job *j, int64_t row, float *z)
{
    j->args->nll[row] = 0;
    if (j->args->labels != NULL) j->args->labels[row] = -1;
    if (j->args->mode != EWCI_CE_LOSS) memset(z, 0, (size_t)j->args->vocab * sizeof *z);
}

static void run_row(const job *j, int64_t row)
{
    const ewci_cross_entropy *a = j->args;
    const ewci_kernels *kernels = j->device->kernels;
    float *z = j->logits + row * a->vocab;
    int64_t label = a->targets[row];
    if (label < 0) {
        leave_out(j, row, z);
        return;
    }
    float largest = kernels->softcap_max(z, a->vocab, a->softcap);
    double sum = kernels->exp_sum(z, a->vocab, largest);
    if (a->mode == EWCI_CE_SAMPLE) {
        double u = ewci_uniform(a->seed, EWCI_STREAM_LABELS, 0, a->first_row + (uint64_t)row);
        label = kernels->exp_sum_reach(z, a->vocab, largest, u * sum);
    }
    double lse = (double)largest + log(sum), at_label = (double)z[label];
    a->nll[row] = (float)(lse - at_label);
    if (a->labels != NULL) a->labels[row] = (int32_t)label;
    if (a->mode == EWCI_CE_LOSS) return;
    float weight = a->row_weight[row];
    double t = a->softcap > 0 ? at_label / (double)a->softcap : 0.0;
    kernels->cross_entropy_gradient(z, a->vocab, (float)lse, weight, a->softcap);
    z[label] = (float)((double)weight * expm1(at_label - lse) * (1.0 - t * t));
}

static void run_slice(void *argument, int index, int count)
{
    const job *j = argument;
    int64_t begin, end;
    ewci_slice(j->args->rows, 1, index, count, &begin, &end);
    for (int64_t row = begin; row < end; row++) run_row(j, row);
}

ewc_status ewci_cpu_cross_entropy(ewci_device *device, const ewci_cross_entropy *args, void *logits)
{
    job j = {device, args, logits};
    ewci_parallel(ewci_team(device, args->rows * args->vocab), run_slice, &j);
    return EWC_OK;
}
