/* rmsnorm: y = x r (1 + w), r = 1 / sqrt(mean(x^2) + eps); formulas of the backward pass beside its kernel.
 *
 * The weight gradient is a sum over rows: threads own columns for it, so that its order is the rows' order for any number of threads
 * and no partial sums are stored. */
#include "cpu/device.h"
#include "cpu/operations.h"

typedef struct forward {
    ewci_device *device;
    float *y, *rstd;
    const float *x, *w;
    int64_t rows, hidden;
    float eps;
} forward;

static void forward_slice(void *argument, int index, int count)
{
    const forward *f = argument;
    int64_t begin, end;
    ewci_slice(f->rows, 1, index, count, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        const float *x = f->x + r * f->hidden;
        f->rstd[r] = f->device->kernels->rms_reciprocal(x, f->hidden, f->eps);
        f->device->kernels->rmsnorm_row(f->y + r * f->hidden, x, f->w, f->rstd[r], f->hidden);
    }
}

ewc_status ewci_cpu_rmsnorm_fwd(ewci_device *device, void *y, float *rstd, const void *x, const void *w, int64_t rows,
                                int64_t hidden, float eps)
{
    forward f = {device, y, rstd, x, w, rows, hidden, eps};
    ewci_parallel(device->pool, ewci_team(device, rows * hidden), forward_slice, &f);
    return EWC_OK;
}

typedef struct backward {
    ewci_device *device;
    float *dx, *dw;
    const float *dy, *x, *w, *rstd;
    int64_t rows, hidden;
    bool accumulate;
} backward;

static void input_slice(void *argument, int index, int count)
{
    const backward *b = argument;
    int64_t begin, end;
    ewci_slice(b->rows, 1, index, count, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        b->device->kernels->rmsnorm_bwd_row(b->dx + r * b->hidden, b->dy + r * b->hidden, b->x + r * b->hidden, b->w,
                                            b->rstd[r], b->hidden, b->accumulate);
}

static void weight_slice(void *argument, int index, int count)
{
    const backward *b = argument;
    int64_t begin, end;
    ewci_slice(b->hidden, 16, index, count, &begin, &end);
    for (int64_t r = 0; r < b->rows && begin < end; r++)
        b->device->kernels->rmsnorm_bwd_weight(b->dw + begin, b->dy + r * b->hidden + begin,
                                               b->x + r * b->hidden + begin, b->rstd[r], end - begin);
}

ewc_status ewci_cpu_rmsnorm_bwd(ewci_device *device, void *dx, float *dw, const void *dy, const void *x, const void *w,
                                const float *rstd, int64_t rows, int64_t hidden, bool accumulate)
{
    backward b = {device, dx, dw, dy, x, w, rstd, rows, hidden, accumulate};
    if (dw != NULL) ewci_parallel(device->pool, ewci_team(device, rows * hidden), weight_slice, &b);
    ewci_parallel(device->pool, ewci_team(device, rows * hidden), input_slice, &b);
    return EWC_OK;
}
