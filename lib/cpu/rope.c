/* rope: rotary embedding by halves. Frequencies and angles are f32, as the reference model computes them; sine and cosine are those of
 * the f32 angle, correctly rounded up to the last bit. */
#include <math.h>

#include "cpu/device.h"
#include "cpu/operations.h"

enum { MOST_HALF = 2048 }; /* head_dim is at most 4096 */

typedef struct table_job {
    float *table;
    const int32_t *positions;
    int64_t count, head_dim;
    float frequency[MOST_HALF];
} table_job;

static void table_slice(void *argument, int index, int count)
{
    const table_job *j = argument;
    int64_t begin, end, half = j->head_dim / 2;
    ewci_slice(j->count, 1, index, count, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *row = j->table + t * j->head_dim;
        for (int64_t i = 0; i < half; i++) {
            float angle = (float)j->positions[t] * j->frequency[i];
            row[i] = (float)cos((double)angle);
            row[half + i] = (float)sin((double)angle);
        }
    }
}

ewc_status ewci_cpu_rope_table(ewci_device *device, float *table, const int32_t *positions, int64_t count,
                               int64_t head_dim, double theta, double linear_scale)
{
    table_job j = {.table = table, .positions = positions, .count = count, .head_dim = head_dim};
    for (int64_t i = 0; i < head_dim / 2; i++) {
        float power = powf((float)theta, (float)(2 * i) / (float)head_dim);
        j.frequency[i] = 1.0F / power / (float)linear_scale;
    }
    ewci_parallel(device->pool, ewci_team(device, 8 * count * head_dim), table_slice, &j);
    return EWC_OK;
}

typedef struct rotation {
    ewci_device *device;
    float *x;
    const float *table;
    int64_t count, heads, head_dim, stride;
    bool inverse;
} rotation;

static void rotate_slice(void *argument, int index, int count)
{
    const rotation *r = argument;
    const ewci_kernels *kernels = r->device->kernels;
    int64_t begin, end, half = r->head_dim / 2;
    ewci_slice(r->count, 1, index, count, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *cosine = r->table + t * r->head_dim;
        for (int64_t h = 0; h < r->heads; h++) {
            float *head = r->x + t * r->stride + h * r->head_dim;
            if (r->inverse)
                kernels->rope_head_back(head, cosine, cosine + half, half);
            else
                kernels->rope_head(head, cosine, cosine + half, half);
        }
    }
}

ewc_status ewci_cpu_rope(ewci_device *device, void *x, const float *table, int64_t count, int64_t heads,
                         int64_t head_dim, int64_t stride, bool inverse)
{
    rotation r = {device, x, table, count, heads, head_dim, stride, inverse};
    ewci_parallel(device->pool, ewci_team(device, count * heads * head_dim), rotate_slice, &r);
    return EWC_OK;
}
