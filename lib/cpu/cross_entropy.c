/* cross_entropy: with c = softcap tanh(z / softcap), nll = log sum_j exp(c_j) - c_label, and
 * d nll / d z_j = (p_j - [j = label]) (1 - (c_j / softcap)^2), p = softmax(c).
 *
 * Rows are divided among the threads. A row is read twice: once in sections that stay in the nearest cache while they are capped and
 * summed, each against its own largest element unless a cap makes that needless, and once more for the gradient. A sampled label is
 * found by the sections' sums and looked up in one of them. */
#include <math.h>
#include <string.h>

#include "core/random.h"
#include "cpu/device.h"
#include "cpu/operations.h"

enum { MOST_SECTIONS = 64, SHORTEST_SECTION = 4096 }; /* 16 KiB */

typedef struct job {
    ewci_device *device;
    const ewci_cross_entropy *args;
    float *logits;
} job;

/* With a cap up to here exp(c) and sums of it are normal numbers as they are. */
#define LARGEST_BOUND 40.0F

/* sum_j exp(c_j - largest) of a row, and of its sections each against its own largest; with a small cap these are all 0. */
typedef struct row_sum {
    int64_t length, count; /* of a section; sections */
    float largest, section_largest[MOST_SECTIONS];
    double sum, section_sum[MOST_SECTIONS];
} row_sum;

static int64_t section_length(int64_t vocab)
{
    int64_t length = (vocab + MOST_SECTIONS - 1) / MOST_SECTIONS;
    return length > SHORTEST_SECTION ? length : SHORTEST_SECTION;
}

static double section_share(const row_sum *s, int64_t section)
{
    return exp((double)s->section_largest[section] - (double)s->largest);
}

static void sum_row(const job *j, float *z, row_sum *s)
{
    const ewci_kernels *kernels = j->device->kernels;
    int64_t vocab = j->args->vocab;
    float softcap = j->args->softcap;
    bool bounded = softcap > 0 && softcap <= LARGEST_BOUND;
    *s = (row_sum){.length = section_length(vocab), .largest = -INFINITY};
    for (int64_t first = 0; first < vocab; first += s->length, s->count++) {
        int64_t n = vocab - first < s->length ? vocab - first : s->length;
        float largest = 0;
        if (bounded) {
            s->section_sum[s->count] = kernels->softcap_exp_sum(z + first, n, softcap);
        } else {
            largest = kernels->softcap_max(z + first, n, softcap);
            s->section_sum[s->count] = kernels->exp_sum(z + first, n, largest);
        }
        s->section_largest[s->count] = largest;
        if (largest > s->largest) s->largest = largest;
    }
    for (int64_t k = 0; k < s->count; k++) s->sum += s->section_sum[k] * section_share(s, k);
}

/* The first label at which the sum of the probabilities reaches u. */
static int64_t draw_label(const job *j, const float *c, const row_sum *s, double u)
{
    double goal = u * s->sum, below = 0;
    for (int64_t k = 0; k < s->count; k++) {
        double share = section_share(s, k), part = s->section_sum[k] * share;
        if (below + part >= goal) {
            int64_t first = k * s->length, rest = j->args->vocab - first;
            double inside = fmin((goal - below) / share, s->section_sum[k]);
            return first + j->device->kernels->exp_sum_reach(c + first, rest < s->length ? rest : s->length,
                                                             s->section_largest[k], inside);
        }
        below += part;
    }
    return 0; /* no sum reaches a goal that is not a number: the loss says so */
}

static void leave_out(const job *j, int64_t row, float *z)
{
    j->args->nll[row] = 0;
    if (j->args->labels != NULL) j->args->labels[row] = -1;
    if (j->args->mode != EWCI_CE_LOSS) memset(z, 0, (size_t)j->args->vocab * sizeof *z);
}

static void run_row(const job *j, int64_t row)
{
    const ewci_cross_entropy *a = j->args;
    float *z = j->logits + row * (a->stride > 0 ? a->stride : a->vocab);
    int64_t label = a->targets[row];
    row_sum s;
    if (label < 0) {
        leave_out(j, row, z);
        return;
    }
    sum_row(j, z, &s);
    if (a->mode == EWCI_CE_SAMPLE)
        label = draw_label(j, z, &s, ewci_uniform(a->seed, EWCI_STREAM_LABELS, 0, a->first_row + (uint64_t)row));
    double lse = (double)s.largest + log(s.sum), at_label = (double)z[label];
    a->nll[row] = (float)(lse - at_label);
    if (a->labels != NULL) a->labels[row] = (int32_t)label;
    if (a->mode == EWCI_CE_LOSS) return;
    double weight = (double)a->row_weight[row], t = a->softcap > 0 ? at_label / (double)a->softcap : 0.0;
    j->device->kernels->cross_entropy_gradient(z, a->vocab, s.largest, (float)(weight / s.sum), a->softcap);
    z[label] = (float)(weight * expm1(at_label - lse) * (1.0 - t * t)); /* p - 1 without cancellation */
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
    ewci_parallel(device->pool, device->threads, run_slice, &j);
    return EWC_OK;
}
