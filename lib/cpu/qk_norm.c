/* qk_norm: rmsnorm of each query and key head by itself, over head_dim, with one weight for all query heads and one for all key heads;
 * values pass unchanged. The kernels and their formulas are those of rmsnorm; the weight gradients sum over tokens, then heads. */
#include <string.h>

#include "cpu/device.h"
#include "cpu/operations.h"

typedef struct heads {
    ewci_device *device;
    int64_t count, heads, kv_heads, head_dim;
    float eps;
    float *y, *rstd_out;   /* forward */
    float *dx, *dw[2];     /* backward; of q and of k */
    const float *x, *w[2]; /* likewise */
    const float *rstd;
} heads;

static int64_t normed(const heads *h)
{
    return h->heads + h->kv_heads;
}

static int64_t width(const heads *h)
{
    return (normed(h) + h->kv_heads) * h->head_dim;
}

/* 0 for a query head, 1 for a key head. */
static int kind(const heads *h, int64_t head)
{
    return head >= h->heads;
}

static void forward_slice(void *argument, int index, int count)
{
    const heads *h = argument;
    const ewci_kernels *kernels = h->device->kernels;
    int64_t begin, end;
    ewci_slice(h->count, 1, index, count, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *x = h->x + t * width(h);
        float *y = h->y + t * width(h), *rstd = h->rstd_out + t * normed(h);
        for (int64_t i = 0; i < normed(h); i++, x += h->head_dim, y += h->head_dim) {
            rstd[i] = kernels->rms_reciprocal(x, h->head_dim, h->eps);
            kernels->rmsnorm_row(y, x, h->w[kind(h, i)], rstd[i], h->head_dim);
        }
        memcpy(y, x, (size_t)(h->kv_heads * h->head_dim) * sizeof *y);
    }
}

ewc_status ewci_cpu_qk_norm_fwd(ewci_device *device, void *y, float *rstd, const void *x, const void *w_q,
                                const void *w_k, int64_t count, int64_t query_heads, int64_t kv_heads, int64_t head_dim,
                                float eps)
{
    heads h = {.device = device,
               .count = count,
               .heads = query_heads,
               .kv_heads = kv_heads,
               .head_dim = head_dim,
               .eps = eps,
               .y = y,
               .rstd_out = rstd,
               .x = x,
               .w = {w_q, w_k}};
    ewci_parallel(device->pool, ewci_team(device, count * width(&h)), forward_slice, &h);
    return EWC_OK;
}

static void input_slice(void *argument, int index, int count)
{
    const heads *h = argument;
    int64_t begin, end;
    ewci_slice(h->count, 1, index, count, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        for (int64_t i = 0; i < normed(h); i++) {
            int64_t at = t * width(h) + i * h->head_dim;
            h->device->kernels->rmsnorm_bwd_row(h->dx + at, h->dx + at, h->x + at, h->w[kind(h, i)],
                                                h->rstd[t * normed(h) + i], h->head_dim, false);
        }
    }
}

/* Threads own columns of the weight gradients, as in rmsnorm. */
static void weight_slice(void *argument, int index, int count)
{
    const heads *h = argument;
    int64_t begin, end;
    ewci_slice(h->head_dim, 16, index, count, &begin, &end);
    for (int64_t t = 0; t < h->count && begin < end; t++) {
        for (int64_t i = 0; i < normed(h); i++) {
            int64_t at = t * width(h) + i * h->head_dim + begin;
            float *dw = h->dw[kind(h, i)];
            if (dw != NULL)
                h->device->kernels->rmsnorm_bwd_weight(dw + begin, h->dx + at, h->x + at, h->rstd[t * normed(h) + i],
                                                       end - begin);
        }
    }
}

ewc_status ewci_cpu_qk_norm_bwd(ewci_device *device, void *dx, float *dw_q, float *dw_k, const void *x, const void *w_q,
                                const void *w_k, const float *rstd, int64_t count, int64_t query_heads,
                                int64_t kv_heads, int64_t head_dim)
{
    heads h = {.device = device,
               .count = count,
               .heads = query_heads,
               .kv_heads = kv_heads,
               .head_dim = head_dim,
               .dx = dx,
               .dw = {dw_q, dw_k},
               .x = x,
               .w = {w_q, w_k},
               .rstd = rstd};
    int team = ewci_team(device, count * width(&h));
    if (dw_q != NULL || dw_k != NULL) ewci_parallel(device->pool, team, weight_slice, &h);
    ewci_parallel(device->pool, team, input_slice, &h);
    return EWC_OK;
}
