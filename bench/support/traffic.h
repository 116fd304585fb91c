/* What the phases of a step that are not products read and write, beside plain loops with streams of the same kind. */
#ifndef BENCH_SUPPORT_TRAFFIC_H
#define BENCH_SUPPORT_TRAFFIC_H

#include "libewc.h"
#include "support/measure.h"
#include "support/plain.h"

enum { TRAFFIC_LOOPS = 5, TRAFFIC_ARRAYS = 6 };

/* Bytes that a phase moves in a step, each operand once, and the place in traffic_streams of the loop that is most like it; bytes
 * 0: the memory is not what bounds this phase. */
typedef struct traffic {
    double bytes;
    int loop;
} traffic;
extern const plain_streams traffic_streams[TRAFFIC_LOOPS];

/* Of all EWC_PHASE_COUNT phases; the update of a parameter, with AdamW and a penalty, moves `update_bytes`. */
void traffic_count(const ewc_model_config *config, int64_t tokens, int64_t parameters, double update_bytes,
                   ewc_recompute recompute, traffic *phases);

/* Runs every plain loop once over n elements and keeps the rates, bytes per second. */
typedef struct traffic_rates {
    double rate[TRAFFIC_LOOPS][MOST_REPETITIONS];
} traffic_rates;
void traffic_run(traffic_rates *rates, float *const *arrays, int64_t n, ewc_context *context, int64_t repetition);

#endif
