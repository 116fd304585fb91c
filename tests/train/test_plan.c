/* The memory plan: what each option adds, in bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "support/tiny.h"

static ewc_plan plan_of(ewc_context *ctx, const ewc_plan_options *options)
{
    ewc_model_config config = tiny_config();
    ewc_plan plan = {.struct_size = sizeof plan};
    OK(ctx, ewc_plan_memory(ctx, &config, options, &plan));
    return plan;
}

static ewc_plan_options training(void)
{
    ewc_plan_options o;
    ewc_plan_options_default(&o);
    o.sequences = 2;
    o.length = 9;
    return o;
}

static void f32_state_by_default(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_plan_options o = training();
    o.fisher = 1;
    o.anchor = 1;
    ewc_plan plan = plan_of(ctx, &o);
    assert_int_equal(plan.weights_bytes, 4 * plan.parameters);
    assert_int_equal(plan.gradients_bytes, 4 * plan.parameters);
    assert_int_equal(plan.moments_bytes, 8 * plan.parameters);
    assert_int_equal(plan.fisher_bytes, 4 * plan.parameters);
    assert_int_equal(plan.anchor_bytes, 4 * plan.parameters);
    assert_int_equal(plan.mapped_bytes, 0);
    ewc_context_destroy(ctx);
}

static void bf16_moments_fisher_and_anchor_take_half(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_plan_options o = training();
    o.fisher = 1;
    o.anchor = 1;
    ewc_plan f32 = plan_of(ctx, &o);
    o.moments_dtype = EWC_BF16;
    o.fisher_dtype = EWC_BF16;
    o.anchor = 3;
    ewc_plan bf16 = plan_of(ctx, &o);
    assert_int_equal(bf16.moments_bytes, 4 * bf16.parameters);
    assert_int_equal(bf16.fisher_bytes, 2 * bf16.parameters);
    assert_int_equal(bf16.anchor_bytes, 2 * bf16.parameters);
    assert_int_equal(bf16.mapped_bytes, 0);
    assert_int_equal(f32.total_bytes - bf16.total_bytes, 8 * bf16.parameters);
    o.anchor = 2;
    o.fisher = 2;
    assert_int_equal(plan_of(ctx, &o).mapped_bytes, 4 * bf16.parameters);
    ewc_context_destroy(ctx);
}

/* The anchor's listed rows are copied: pages of its file are the rest. */
static void listed_tokens_are_all_the_table_has(void **state)
{
    (void)state;
    enum { LISTED = 40 };
    ewc_context *ctx = tiny_context(1);
    ewc_plan_options o = training();
    ewc_model_config config = tiny_config();
    ewc_plan fewer = {.struct_size = sizeof fewer};
    o.fisher = o.anchor = 2;
    ewc_plan whole = plan_of(ctx, &o);
    o.vocabulary = LISTED;
    ewc_plan listed = plan_of(ctx, &o);
    assert_int_equal(whole.parameters - listed.parameters, (config.vocab_size - LISTED) * config.hidden_size);
    assert_int_equal(listed.mapped_bytes, 6 * listed.parameters - 2 * LISTED * config.hidden_size);
    assert_int_equal(listed.library_bytes - whole.library_bytes, 4 * (config.vocab_size + LISTED));
    o.vocabulary = 0;
    config.vocab_size = LISTED;
    OK(ctx, ewc_plan_memory(ctx, &config, &o, &fewer));
    assert_int_equal(listed.total_bytes - listed.library_bytes, fewer.total_bytes - fewer.library_bytes);
    o.vocabulary = tiny_config().vocab_size;
    assert_int_equal(plan_of(ctx, &o).total_bytes, whole.total_bytes);
    ewc_context_destroy(ctx);
}

static void unknown_kinds_are_refused_by_name(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_model_config config = tiny_config();
    ewc_plan plan = {.struct_size = sizeof plan};
    ewc_plan_options o = training();
    o.moments_dtype = EWC_F16;
    assert_int_equal(ewc_plan_memory(ctx, &config, &o, &plan), EWC_ERROR_ARGUMENT);
    assert_non_null(strstr(ewc_last_error(ctx), "moments_dtype"));
    o = training();
    o.anchor = 4;
    assert_int_equal(ewc_plan_memory(ctx, &config, &o, &plan), EWC_ERROR_ARGUMENT);
    assert_non_null(strstr(ewc_last_error(ctx), "anchor"));
    o = training();
    o.vocabulary = config.vocab_size + 1;
    assert_int_equal(ewc_plan_memory(ctx, &config, &o, &plan), EWC_ERROR_ARGUMENT);
    assert_non_null(strstr(ewc_last_error(ctx), "vocabulary"));
    ewc_context_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_state_by_default),
        cmocka_unit_test(bf16_moments_fisher_and_anchor_take_half),
        cmocka_unit_test(listed_tokens_are_all_the_table_has),
        cmocka_unit_test(unknown_kinds_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
