/* See curve.h. A repetition at a point is several steps where one is short, and then a plain product: what the machine gives at
 * that moment. */
#include "support/curve.h"

#include <stdio.h>
#include <stdlib.h>

#define SHORT_SECONDS 0.25
enum { MOST_STEPS = 16 };

/* A point while it is measured. */
typedef struct running {
    bench_training *training;
    ewc_batch batch;
    int32_t *ids;
    int64_t steps;
} running;

static void *take(size_t bytes)
{
    void *memory = malloc(bytes);
    if (memory != NULL) return memory;
    fprintf(stderr, "no memory for %zu bytes\n", bytes);
    exit(1);
}

static void start(bench_point *points, running *all, int64_t k)
{
    running *r = &all[k];
    bench_training *t = k > 0 && points[k].like_before ? all[k - 1].training : &points[k].training;
    r->training = t;
    if (!points[k].like_before) training_open(t);
    r->ids = take(3 * (size_t)t->tokens * sizeof *r->ids);
    r->batch = training_batch(t, points[k].sequences, points[k].documents, r->ids);
    ewc_step_statistics s = {.struct_size = sizeof s};
    bench_check(t->context, ewc_trainer_step(t->trainer, 1, &r->batch, &s)); /* touches all memory */
    double steps = SHORT_SECONDS / s.seconds;
    r->steps = steps > MOST_STEPS ? MOST_STEPS : steps < 1 ? 1 : (int64_t)steps;
}

static void repeat(bench_point *p, const running *r, float *operands, int64_t repetition)
{
    p->step[repetition] = p->update[repetition] = p->clip[repetition] = 0;
    for (int64_t i = 0; i < r->steps; i++) {
        ewc_step_statistics s = {.struct_size = sizeof s};
        bench_check(r->training->context, ewc_trainer_step(r->training->trainer, 1, &r->batch, &s));
        p->step[repetition] += s.seconds / (double)r->steps;
        p->update[repetition] += s.phase_seconds[EWC_PHASE_UPDATE] / (double)r->steps;
        p->clip[repetition] += s.phase_seconds[EWC_PHASE_CLIP] / (double)r->steps;
    }
    p->reference[repetition] = training_reference(r->training, operands);
}

/* Points whose models are in memory at the same time. Returns how many repetitions there was time for. */
static int64_t measure_together(bench_point *points, int64_t count, int64_t repetitions, double seconds,
                                float *operands)
{
    running all[MOST_POINTS];
    int64_t done = 0;
    double begun = bench_now(), round = 0;
    for (int64_t k = 0; k < count; k++) start(points, all, k);
    while (done < repetitions && (done == 0 || bench_now() - begun + round < seconds)) {
        double round_begun = bench_now();
        for (int64_t k = 0; k < count; k++) repeat(&points[k], &all[k], operands, done);
        round = bench_now() - round_begun;
        done++;
    }
    for (int64_t k = 0; k < count; k++) {
        free(all[k].ids);
        if (!points[k].like_before) training_close(&points[k].training);
    }
    return done;
}

void curve_measure(bench_curve *curve, int64_t repetitions, double seconds, double bytes)
{
    int first[MOST_POINTS + 1] = {0}, groups = 1;
    double taken = 0;
    for (int k = 0; k < curve->count; k++) {
        double needed = curve->points[k].like_before ? 0 : training_bytes(&curve->points[k].training);
        if (k > 0 && taken + needed > bytes) {
            first[groups++] = k;
            taken = 0;
        }
        taken += needed;
    }
    first[groups] = curve->count;
    float *operands = take(REFERENCE_FLOATS * sizeof *operands);
    for (int i = 0; i < REFERENCE_FLOATS; i++) operands[i] = 0.5F;
    curve->repetitions = repetitions;
    curve->alone = curve->count - first[1];
    for (int g = 0; g < groups; g++) {
        int64_t done = measure_together(curve->points + first[g], first[g + 1] - first[g], repetitions,
                                        seconds / groups, operands);
        if (done < curve->repetitions) curve->repetitions = done;
    }
    free(operands);
}
