/* Adam's moments in bf16. Rounded stochastically, training is that with f32 moments; rounded to nearest, the control, it is not: there
 * the second moment stands still once its changes are below half of its last place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/tiny.h"

typedef enum moments { F32, STOCHASTIC, NEAREST } moments;

/* Buffers of our own for the public update, which alone can round moments to nearest. */
typedef struct adam {
    int64_t n;
    float *w, *g;
    ewc_update_buffers buffers;
    ewc_update_options options;
} adam;

static adam adam_make(float *w, int64_t n, moments kind, uint64_t seed)
{
    const ewc_dtype dtype = kind == F32 ? EWC_F32 : EWC_BF16;
    adam a = {.n = n, .w = w, .g = array_filled(n, 0)};
    a.buffers.weight = (ewc_buffer){w, EWC_F32};
    a.buffers.gradient = (ewc_buffer){a.g, EWC_F32};
    a.buffers.m = (ewc_buffer){array_filled(n, 0), dtype};
    a.buffers.v = (ewc_buffer){array_filled(n, 0), dtype};
    ewc_update_options_default(&a.options);
    a.options.stochastic_rounding = kind == STOCHASTIC;
    a.options.seed = seed;
    return a;
}

/* ---- A problem whose gradients fall ------------------------------------------------------------------------------------- */

enum { N = 1024, STEPS = 6000 };

/* Root mean square of the weights after minimising sum h |w|^3 by noisy gradients: the minimum is 0, and the gradient falls with
 * the square of the distance, so that only a second moment that falls with it keeps the steps large enough. */
static double distance_from_minimum(ewc_context *ctx, moments kind)
{
    double sum = 0;
    adam a = adam_make(array_random(N, 17, 0.5), N, kind, 3);
    for (int step = 1; step <= STEPS; step++) {
        a.options.step = step;
        a.options.learning_rate = 1e-3 * (1 - (step - 1.0) / STEPS);
        for (int64_t i = 0; i < N; i++) {
            double curvature = pow(10, -(double)(i % 4)), w = (double)a.w[i];
            double noise = 0.01 * (double)(i % 3) * tiny_number(18, (uint64_t)(step * N + i));
            a.g[i] = (float)(curvature * (4 * w * fabs(w) + noise));
        }
        OK(ctx, ewc_update(ctx, N, &a.buffers, &a.options, NULL));
    }
    for (int64_t i = 0; i < N; i++) sum += (double)a.w[i] * (double)a.w[i];
    arrays_free();
    return sqrt(sum / N);
}

static void stochastic_rounding_converges_as_f32_and_rounding_to_nearest_stalls(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    double f32 = distance_from_minimum(ctx, F32), stochastic = distance_from_minimum(ctx, STOCHASTIC),
           nearest = distance_from_minimum(ctx, NEAREST);
    print_message("# distance from the minimum: f32 %g, bf16 stochastic %g, bf16 to nearest %g\n", f32, stochastic,
                  nearest);
    assert_true(stochastic < 1.1 * f32);
    assert_true(nearest > 2 * f32);
    ewc_context_destroy(ctx);
}

/* ---- A model --------------------------------------------------------------------------------------------------------------- */

enum { VOCAB = 71, LENGTH = 12, SEQUENCES = 4, BATCHES = 3, SEEDS = 5, MODEL_STEPS = 240 };

static const double RATE = 3e-3;

typedef struct task {
    ewc_context *ctx;
    ewc_model *model;
    tiny_batch batches[BATCHES];
} task;

static task begin(uint64_t seed)
{
    task t = {.ctx = tiny_context(1)};
    t.model = tiny_model(t.ctx, seed);
    for (int i = 0; i < BATCHES; i++)
        tiny_batch_make(&t.batches[i], VOCAB, SEQUENCES, LENGTH, 1000 * seed + 10 * (uint64_t)i);
    return t;
}

static void end(task *t)
{
    for (int i = 0; i < BATCHES; i++) tiny_batch_free(&t->batches[i]);
    ewc_model_destroy(t->model);
    ewc_context_destroy(t->ctx);
}

static double loss_of(task *t)
{
    double nll = 0, tokens = 0;
    for (int i = 0; i < BATCHES; i++) {
        ewc_evaluation e = {.struct_size = sizeof e};
        OK(t->ctx, ewc_model_evaluate(t->model, &t->batches[i].batch, &e, NULL));
        nll += e.nll;
        tokens += (double)e.tokens;
    }
    return nll / tokens;
}

static void take_steps(task *t, ewc_dtype moments_dtype, uint64_t seed, ewc_schedule_kind schedule, int64_t steps)
{
    ewc_trainer *trainer = NULL;
    ewc_trainer_options o;
    ewc_trainer_options_default(&o);
    o.schedule.kind = schedule;
    o.schedule.steps = steps;
    o.schedule.peak = RATE;
    o.max_sequences = SEQUENCES;
    o.max_length = LENGTH;
    o.moments_dtype = moments_dtype;
    o.seed = seed;
    OK(t->ctx, ewc_trainer_create(t->model, &o, &trainer));
    for (int64_t s = 1; s <= steps; s++) OK(t->ctx, ewc_trainer_step(trainer, 1, &t->batches[s % BATCHES].batch, NULL));
    ewc_trainer_destroy(trainer);
}

static double trained(uint64_t seed, ewc_dtype moments_dtype)
{
    task t = begin(seed);
    take_steps(&t, moments_dtype, seed + 100, EWC_SCHEDULE_LINEAR, MODEL_STEPS);
    double loss = loss_of(&t);
    end(&t);
    return loss;
}

/* Over models and texts of different seeds the losses differ by their nature; by the moments' type they must differ by less. */
static void a_model_reaches_the_loss_of_f32_moments_within_the_spread_over_seeds(void **state)
{
    double sum = 0, squares = 0, difference = 0, largest = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        double f32 = trained(seed, EWC_F32), bf16 = trained(seed, EWC_BF16);
        print_message("# seed %d: f32 %.5f, bf16 %.5f\n", (int)seed, f32, bf16);
        sum += f32;
        squares += f32 * f32;
        difference += (bf16 - f32) / SEEDS;
        largest = fmax(largest, fabs(bf16 - f32));
    }
    double spread = sqrt((squares - sum * sum / SEEDS) / (SEEDS - 1));
    print_message("# spread %.5f, mean difference %.5f, largest %.5f\n", spread, difference, largest);
    assert_true(sum / SEEDS < 2); /* it learns: an untrained one is at log 71 = 4.3 */
    assert_true(fabs(difference) < spread / sqrt(SEEDS));
    assert_true(largest < spread);
}

/* The trainer calls the update for one segment after the other; the bits must be those of one call for all. */
static void the_trainer_is_the_update_on_the_whole_flat_order_bit_for_bit(void **state)
{
    enum { FEW = 7 };
    (void)state;
    for (moments kind = F32; kind <= STOCHASTIC; kind++) {
        task t = begin(9), reference = begin(9);
        const int64_t n = ewc_model_parameter_count(t.model);
        float *w = tiny_weights(reference.model);
        adam a = adam_make(w, n, kind, 77);
        a.options.learning_rate = RATE;
        take_steps(&t, kind == F32 ? EWC_F32 : EWC_BF16, 77, EWC_SCHEDULE_CONSTANT, FEW);
        for (int64_t s = 1; s <= FEW; s++) {
            OK(reference.ctx, ewc_model_gradient(reference.model, &reference.batches[s % BATCHES].batch, 0, NULL, a.g));
            a.options.step = s;
            OK(reference.ctx, ewc_update(reference.ctx, n, &a.buffers, &a.options, NULL));
            tiny_set_weights(reference.model, w);
        }
        float *found = tiny_weights(t.model);
        SAME(found, w, n);
        free(found);
        free(w);
        arrays_free();
        end(&reference);
        end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stochastic_rounding_converges_as_f32_and_rounding_to_nearest_stalls),
        cmocka_unit_test(a_model_reaches_the_loss_of_f32_moments_within_the_spread_over_seeds),
        cmocka_unit_test(the_trainer_is_the_update_on_the_whole_flat_order_bit_for_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
