/* See traffic.h. */
#include "support/traffic.h"

#include <string.h>

enum { SUM, IN_PLACE, TWO_TO_ONE, FOUR_TO_THREE, UPDATE };
const plain_streams traffic_streams[TRAFFIC_LOOPS] = {{1, 0}, {1, 1}, {2, 1}, {4, 3}, {6, 3}};

/* Streams of f32 per row and hidden element of a layer's norms: two junctions, each reading 2 and writing 2 forward, reading 4 and
 * writing 2 backward; what is computed again reads 1 and writes 1, once for each of the two inputs of products, and for a whole layer
 * there is a junction and an input norm besides. */
static double norm_streams(ewc_recompute recompute)
{
    double streams = 2 * (4 + 6);
    if (recompute >= EWC_RECOMPUTE_ELEMENTWISE) streams += 2 * 2;
    if (recompute >= EWC_RECOMPUTE_LAYER) streams += 4;
    return streams;
}

void traffic_count(const ewc_model_config *c, int64_t tokens, int64_t parameters, double update_bytes,
                   ewc_recompute recompute, traffic *phases)
{
    double t = (double)tokens, layers = (double)c->layers, hidden = t * (double)c->hidden_size;
    double intermediate = t * (double)c->intermediate_size, logits = t * (double)c->vocab_size;
    double rotated = t * (double)((c->heads + c->kv_heads) * c->head_dim);
    double forwards = recompute >= EWC_RECOMPUTE_LAYER ? 2 : 1,
           activations = recompute >= EWC_RECOMPUTE_ELEMENTWISE ? 2 : 1;
    memset(phases, 0, EWC_PHASE_COUNT * sizeof *phases);
    phases[EWC_PHASE_EMBED] = (traffic){4 * hidden * (2 + 3), TWO_TO_ONE};
    /* beside the layers: the first input norm, reading 1 and writing 1 forward, reading 3 and writing 1 backward */
    phases[EWC_PHASE_NORM] = (traffic){4 * hidden * (layers * norm_streams(recompute) + 2 + 4), FOUR_TO_THREE};
    phases[EWC_PHASE_ROPE] = (traffic){4 * rotated * layers * 2 * (forwards + 1), IN_PLACE};
    /* forward: gate and up to their product; backward: its gradient, gate and up to theirs */
    phases[EWC_PHASE_MLP_ACTIVATION] = (traffic){4 * intermediate * layers * (3 * activations + 5), TWO_TO_ONE};
    phases[EWC_PHASE_LOSS] = (traffic){4 * logits * 2, IN_PLACE};
    phases[EWC_PHASE_CLIP] = (traffic){4 * (double)parameters, SUM};
    phases[EWC_PHASE_UPDATE] = (traffic){update_bytes * (double)parameters, UPDATE};
}

void traffic_run(traffic_rates *rates, float *const *arrays, int64_t n, ewc_context *context, int64_t repetition)
{
    for (int i = 0; i < TRAFFIC_LOOPS; i++) {
        plain_streams s = traffic_streams[i];
        double start = bench_now();
        plain_in_place(s, arrays, n, context);
        rates->rate[i][repetition] = 4.0 * (s.read + s.written) * (double)n / (bench_now() - start);
    }
}
