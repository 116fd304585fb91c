/* geglu: act = gelu_tanh(gate) * up over rows [gate | up] of 2F values; formulas beside the kernels. */
#include "cpu/device.h"
#include "cpu/operations.h"

typedef struct job {
    ewci_device *device;
    float *out;
    const float *dact, *gate_up;
    int64_t rows, intermediate;
} job;

static void forward_slice(void *argument, int index, int count)
{
    const job *j = argument;
    int64_t begin, end, f = j->intermediate;
    ewci_slice(j->rows, 1, index, count, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        const float *gate = j->gate_up + 2 * r * f;
        j->device->kernels->geglu_row(j->out + r * f, gate, gate + f, f);
    }
}

static void backward_slice(void *argument, int index, int count)
{
    const job *j = argument;
    int64_t begin, end, f = j->intermediate;
    ewci_slice(j->rows, 1, index, count, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        const float *gate = j->gate_up + 2 * r * f;
        float *d_gate = j->out + 2 * r * f;
        j->device->kernels->geglu_bwd_row(d_gate, d_gate + f, j->dact + r * f, gate, gate + f, f);
    }
}

ewc_status ewci_cpu_geglu_fwd(ewci_device *device, void *act, const void *gate_up, int64_t rows, int64_t intermediate)
{
    job j = {device, act, NULL, gate_up, rows, intermediate};
    ewci_parallel(device->pool, ewci_team(device, rows * intermediate), forward_slice, &j);
    return EWC_OK;
}

ewc_status ewci_cpu_geglu_bwd(ewci_device *device, void *d_gate_up, const void *dact, const void *gate_up, int64_t rows,
                              int64_t intermediate)
{
    job j = {device, d_gate_up, dact, gate_up, rows, intermediate};
    ewci_parallel(device->pool, ewci_team(device, rows * intermediate), backward_slice, &j);
    return EWC_OK;
}
