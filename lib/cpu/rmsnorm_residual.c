/* rmsnorm_residual: Gemma's sandwich around a residual addition, out = x + norm(o; w_post), y = norm(out; w_pre), a row at a time while
 * it is in cache. Backward: dx += norm_bwd(dy; out, w_pre) is the gradient of the residual stream, d_o = norm_bwd(dx; o, w_post). */
#include "cpu/device.h"
#include "cpu/operations.h"

typedef struct forward {
    ewci_device *device;
    float *out, *y, *rstd_post, *rstd_pre;
    const float *x, *o, *w_post, *w_pre;
    int64_t rows, hidden;
    float eps;
} forward;

static void forward_slice(void *argument, int index, int count)
{
    const forward *f = argument;
    const ewci_kernels *kernels = f->device->kernels;
    int64_t begin, end, n = f->hidden;
    ewci_slice(f->rows, 1, index, count, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        float *out = f->out + r * n;
        const float *o = f->o + r * n;
        f->rstd_post[r] = kernels->rms_reciprocal(o, n, f->eps);
        kernels->rmsnorm_add_row(out, f->x + r * n, o, f->w_post, f->rstd_post[r], n);
        f->rstd_pre[r] = kernels->rms_reciprocal(out, n, f->eps);
        kernels->rmsnorm_row(f->y + r * n, out, f->w_pre, f->rstd_pre[r], n);
    }
}

ewc_status ewci_cpu_rmsnorm_residual_fwd(ewci_device *device, void *out, void *y, float *rstd_post, float *rstd_pre,
                                         const void *x, const void *o, const void *w_post, const void *w_pre,
                                         int64_t rows, int64_t hidden, float eps)
{
    forward f = {device, out, y, rstd_post, rstd_pre, x, o, w_post, w_pre, rows, hidden, eps};
    ewci_parallel(device->pool, ewci_team(device, rows * hidden), forward_slice, &f);
    return EWC_OK;
}

typedef struct backward {
    ewci_device *device;
    float *d_o, *dx, *dw_post, *dw_pre;
    const float *dy, *out, *o, *w_post, *w_pre, *rstd_post, *rstd_pre;
    int64_t rows, hidden;
} backward;

static void input_slice(void *argument, int index, int count)
{
    const backward *b = argument;
    const ewci_kernels *kernels = b->device->kernels;
    int64_t begin, end, n = b->hidden;
    ewci_slice(b->rows, 1, index, count, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        float *dx = b->dx + r * n;
        kernels->rmsnorm_bwd_row(dx, b->dy + r * n, b->out + r * n, b->w_pre, b->rstd_pre[r], n, true);
        kernels->rmsnorm_bwd_row(b->d_o + r * n, dx, b->o + r * n, b->w_post, b->rstd_post[r], n, false);
    }
}

/* dw += sum over rows of g x rstd, columns [begin, end). */
static void weight_columns(const ewci_kernels *kernels, float *dw, const float *g, const float *x, const float *rstd,
                           int64_t rows, int64_t hidden, int64_t begin, int64_t end)
{
    for (int64_t r = 0; r < rows && dw != NULL && begin < end; r++)
        kernels->rmsnorm_bwd_weight(dw + begin, g + r * hidden + begin, x + r * hidden + begin, rstd[r], end - begin);
}

static void pre_weight_slice(void *argument, int index, int count)
{
    const backward *b = argument;
    int64_t begin, end;
    ewci_slice(b->hidden, 16, index, count, &begin, &end);
    weight_columns(b->device->kernels, b->dw_pre, b->dy, b->out, b->rstd_pre, b->rows, b->hidden, begin, end);
}

static void post_weight_slice(void *argument, int index, int count)
{
    const backward *b = argument;
    int64_t begin, end;
    ewci_slice(b->hidden, 16, index, count, &begin, &end);
    weight_columns(b->device->kernels, b->dw_post, b->dx, b->o, b->rstd_post, b->rows, b->hidden, begin, end);
}

ewc_status ewci_cpu_rmsnorm_residual_bwd(ewci_device *device, void *d_o, void *dx, float *dw_post, float *dw_pre,
                                         const void *dy, const void *out, const void *o, const void *w_post,
                                         const void *w_pre, const float *rstd_post, const float *rstd_pre, int64_t rows,
                                         int64_t hidden)
{
    backward b = {device, d_o, dx, dw_post, dw_pre, dy, out, o, w_post, w_pre, rstd_post, rstd_pre, rows, hidden};
    ewci_parallel(device->pool, ewci_team(device, rows * hidden), pre_weight_slice,
                  &b); /* before dy is overwritten by d_o */
    ewci_parallel(device->pool, ewci_team(device, rows * hidden), input_slice, &b);
    ewci_parallel(device->pool, ewci_team(device, rows * hidden), post_weight_slice, &b); /* needs the finished dx */
    return EWC_OK;
}
