/* See attention_reference.h. */
#include "support/attention_reference.h"

#include <math.h>
#include <string.h>

#include "support/arrays.h"

int attention_sees(const ewci_attention *shape, int64_t i, int64_t j)
{
    if (shape->prefix_start != NULL && j >= shape->prefix_start[i] && j < shape->prefix_end[i]) {
        int64_t from_the_end = shape->prefix_end[i] - j, into_the_document = i - shape->document_start[i];
        return shape->window == 0 || into_the_document + from_the_end < shape->window;
    }
    return j <= i && j >= shape->document_start[i] && (shape->window == 0 || j > i - shape->window);
}

int64_t attention_width(const ewci_attention *shape)
{
    return (shape->heads + 2 * shape->kv_heads) * shape->head_dim;
}

/* Offsets into a row of qkv. */
static int64_t query_of(const ewci_attention *a, int64_t head)
{
    return head * a->head_dim;
}

static int64_t key_of(const ewci_attention *a, int64_t head)
{
    return (a->heads + head / (a->heads / a->kv_heads)) * a->head_dim;
}

static int64_t value_of(const ewci_attention *a, int64_t head)
{
    return key_of(a, head) + a->kv_heads * a->head_dim;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* p[j] for the keys that query i of the head sees, 0 elsewhere; slope[j] = d capped score / d (q k). Returns the log-sum-exp. */
static double probabilities(const ewci_attention *a, const double *qkv, int64_t i, int64_t head, double *p,
                            double *slope)
{
    int64_t width = attention_width(a), d = a->head_dim;
    double scale = (double)a->scale, cap = (double)a->softcap, largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < a->tokens; j++) {
        p[j] = -INFINITY;
        slope[j] = 0;
        if (!attention_sees(a, i, j)) continue;
        p[j] = scale * dot(qkv + i * width + query_of(a, head), qkv + j * width + key_of(a, head), d);
        slope[j] = scale;
        if (cap > 0) {
            double t = tanh(p[j] / cap);
            p[j] = cap * t;
            slope[j] = scale * (1 - t * t);
        }
        largest = fmax(largest, p[j]);
    }
    for (int64_t j = 0; j < a->tokens; j++) sum += p[j] = exp(p[j] - largest);
    for (int64_t j = 0; j < a->tokens; j++) p[j] /= sum;
    return largest + log(sum);
}

void attention_reference(const ewci_attention *a, const double *qkv, double *o, double *lse)
{
    int64_t width = attention_width(a), d = a->head_dim;
    double *p = array_doubles(a->tokens), *slope = array_doubles(a->tokens);
    for (int64_t i = 0; i < a->tokens; i++) {
        for (int64_t head = 0; head < a->heads; head++) {
            double *out = o + (i * a->heads + head) * d;
            lse[i * a->heads + head] = probabilities(a, qkv, i, head, p, slope);
            for (int64_t c = 0; c < d; c++) out[c] = 0;
            for (int64_t j = 0; j <= i; j++)
                for (int64_t c = 0; c < d && p[j] != 0; c++) out[c] += p[j] * qkv[j * width + value_of(a, head) + c];
        }
    }
}

void attention_reference_backward(const ewci_attention *a, const double *qkv, const double *d_o, double *dqkv)
{
    int64_t width = attention_width(a), d = a->head_dim;
    double *p = array_doubles(a->tokens), *slope = array_doubles(a->tokens), *dp = array_doubles(a->tokens);
    memset(dqkv, 0, (size_t)(a->tokens * width) * sizeof *dqkv);
    for (int64_t i = 0; i < a->tokens; i++) {
        for (int64_t head = 0; head < a->heads; head++) {
            const double *out = d_o + (i * a->heads + head) * d;
            double mean = 0;
            probabilities(a, qkv, i, head, p, slope);
            for (int64_t j = 0; j <= i; j++) mean += p[j] * (dp[j] = dot(out, qkv + j * width + value_of(a, head), d));
            for (int64_t j = 0; j <= i; j++) {
                double ds = p[j] * (dp[j] - mean) * slope[j];
                for (int64_t c = 0; c < d && p[j] != 0; c++) {
                    dqkv[j * width + value_of(a, head) + c] += p[j] * out[c];
                    dqkv[i * width + query_of(a, head) + c] += ds * qkv[j * width + key_of(a, head) + c];
                    dqkv[j * width + key_of(a, head) + c] += ds * qkv[i * width + query_of(a, head) + c];
                }
            }
        }
    }
}
