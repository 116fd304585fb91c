/* Wrong arguments: a status and a sentence that names the argument, out-parameters untouched, nothing crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "support/tiny.h"

static void refused(ewc_context *ctx, ewc_status status, ewc_status expected, const char *word)
{
    if (status == expected && strstr(ewc_last_error(ctx), word) != NULL) return;
    print_error("expected %s naming \"%s\", found %s: %s\n", ewc_status_name(expected), word, ewc_status_name(status),
                ewc_last_error(ctx));
    fail();
}

static void null_handles_are_fine_or_refused(void **state)
{
    (void)state;
    ewc_context_destroy(NULL);
    ewc_model_destroy(NULL);
    ewc_fisher_destroy(NULL);
    ewc_anchor_destroy(NULL);
    ewc_trainer_destroy(NULL);
    ewc_data_destroy(NULL);
    ewc_text_close(NULL);
    ewc_string_free(NULL, NULL);
    ewc_model *model = (ewc_model *)&state;
    refused(NULL, ewc_model_load(NULL, "x", &model), EWC_ERROR_ARGUMENT, "context");
    assert_ptr_equal(model, &state);
    refused(NULL, ewc_model_get_config(NULL, NULL), EWC_ERROR_ARGUMENT, "model");
    refused(NULL, ewc_trainer_step(NULL, 1, NULL, NULL), EWC_ERROR_ARGUMENT, "trainer");
    refused(NULL, ewc_fisher_accumulate(NULL, NULL), EWC_ERROR_ARGUMENT, "fisher");
    refused(NULL, ewc_anchor_from_model(NULL, NULL), EWC_ERROR_ARGUMENT, "model");
    assert_int_equal(ewc_model_parameter_count(NULL), 0);
    assert_int_equal(ewc_trainer_steps(NULL), 0);
}

/* The configuration with one field changed is refused by name. */
#define FIELD_REFUSED(config, field, value, status, name)                    \
    do {                                                                     \
        ewc_model_config c_ = config;                                        \
        c_.field = (value);                                                  \
        refused(ctx, ewc_model_create(ctx, &c_, 1, &model), (status), name); \
    } while (0)

static void each_field_of_a_configuration_is_named(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_model *model = NULL;
    FIELD_REFUSED(tiny_config(), heads, 5, EWC_ERROR_ARGUMENT, "num_key_value_heads");
    FIELD_REFUSED(tiny_config(), head_dim, 7, EWC_ERROR_ARGUMENT, "head_dim");
    FIELD_REFUSED(tiny_config(), vocab_size, 0, EWC_ERROR_ARGUMENT, "vocab_size");
    FIELD_REFUSED(tiny_config(), rms_norm_eps, NAN, EWC_ERROR_ARGUMENT, "rms_norm_eps");
    FIELD_REFUSED(tiny_config(), attention_softcap, -1, EWC_ERROR_ARGUMENT, "attn_logit_softcapping");
    FIELD_REFUSED(tiny_config(), layers, EWC_MAX_LAYERS + 1, EWC_ERROR_ARGUMENT, "num_hidden_layers");
    FIELD_REFUSED(tiny_config(), rope_local_theta, 50, EWC_ERROR_UNSUPPORTED, "rope_local_theta");
    FIELD_REFUSED(tiny_config(), rope_scale, 8, EWC_ERROR_UNSUPPORTED, "rope_scale");
    FIELD_REFUSED(tiny_gemma3_config(), attention_softcap, 2, EWC_ERROR_UNSUPPORTED, "attn_logit_softcapping");
    ewc_model_config c = tiny_config();
    c.struct_size = 1;
    refused(ctx, ewc_model_create(ctx, &c, 1, &model), EWC_ERROR_ARGUMENT, "struct_size");
    assert_null(model);
    ewc_context_destroy(ctx);
}

static void batches_are_checked_before_use(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_model *model = tiny_model(ctx, 1);
    tiny_batch b;
    ewc_evaluation e = {.struct_size = sizeof e, .nll = 7};
    tiny_batch_make(&b, 71, 2, 6, 3);
    b.tokens[8] = -3;
    refused(ctx, ewc_model_evaluate(model, &b.batch, &e, NULL), EWC_ERROR_ARGUMENT, "sequence 1, position 2");
    b.tokens[8] = 0;
    b.targets[0] = 71;
    refused(ctx, ewc_model_evaluate(model, &b.batch, &e, NULL), EWC_ERROR_ARGUMENT, "targets");
    b.targets[0] = 1;
    b.batch.document_start = b.document_start;
    b.document_start[3] = 2;
    refused(ctx, ewc_model_evaluate(model, &b.batch, &e, NULL), EWC_ERROR_ARGUMENT, "document_start");
    b.batch.document_start = NULL;
    b.batch.length = 0;
    refused(ctx, ewc_model_evaluate(model, &b.batch, &e, NULL), EWC_ERROR_ARGUMENT, "batch");
    b.batch.length = 6;
    b.batch.struct_size = 3;
    refused(ctx, ewc_model_evaluate(model, &b.batch, &e, NULL), EWC_ERROR_ARGUMENT, "struct_size");
    assert_true(e.nll == 7);
    tiny_batch_free(&b);
    tiny_batch_make(&b, 71, 1, 65, 3); /* max_position is 64 */
    refused(ctx, ewc_model_evaluate(model, &b.batch, &e, NULL), EWC_ERROR_ARGUMENT, "max_position_embeddings");
    for (int i = 0; i < 65; i++) b.document_start[i] = i < 30 ? 0 : 30; /* two documents fit */
    b.batch.document_start = b.document_start;
    OK(ctx, ewc_model_evaluate(model, &b.batch, &e, NULL));
    tiny_batch_free(&b);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

static void fisher_calls_out_of_order_are_refused(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_model *model = tiny_model(ctx, 1);
    ewc_fisher *fisher = NULL;
    ewc_anchor *anchor = NULL;
    ewc_trainer *trainer = NULL;
    ewc_trainer_options o;
    ewc_fisher_statistics s = {.struct_size = sizeof s};
    tiny_batch b;
    tiny_batch_make(&b, 71, 2, 6, 3);
    ewc_trainer_options_default(&o);
    o.max_sequences = 2;
    o.max_length = 6;
    OK(ctx, ewc_trainer_create(model, &o, &trainer));
    OK(ctx, ewc_anchor_from_model(model, &anchor));
    OK(ctx, ewc_fisher_create(model, NULL, &fisher));
    refused(ctx, ewc_fisher_finish(fisher), EWC_ERROR_STATE, "no sequence");
    refused(ctx, ewc_fisher_stats(fisher, -1, &s), EWC_ERROR_STATE, "finish");
    refused(ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 1, EWC_LAMBDA_ABSOLUTE, 0), EWC_ERROR_STATE, "finish");
    b.batch.weights = b.weights;
    refused(ctx, ewc_fisher_accumulate(fisher, &b.batch), EWC_ERROR_ARGUMENT, "weights");
    b.batch.weights = NULL;
    OK(ctx, ewc_fisher_accumulate(fisher, &b.batch));
    OK(ctx, ewc_fisher_finish(fisher));
    refused(ctx, ewc_fisher_finish(fisher), EWC_ERROR_STATE, "finished");
    refused(ctx, ewc_fisher_accumulate(fisher, &b.batch), EWC_ERROR_STATE, "finished");
    refused(ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, -1, EWC_LAMBDA_ABSOLUTE, 0), EWC_ERROR_ARGUMENT,
            "lambda");
    refused(ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, NAN, EWC_LAMBDA_ABSOLUTE, 0), EWC_ERROR_ARGUMENT,
            "lambda");
    OK(ctx, ewc_trainer_step(trainer, 1, &b.batch, NULL));
    refused(ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 1, EWC_LAMBDA_ABSOLUTE, 0), EWC_ERROR_STATE,
            "first step");
    tiny_batch_free(&b);
    ewc_trainer_destroy(trainer);
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

static void model_that_changed_under_its_fisher_is_noticed(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_model *model = tiny_model(ctx, 1);
    ewc_fisher *fisher = NULL;
    tiny_batch b;
    float norm[20];
    tiny_batch_make(&b, 71, 2, 6, 3);
    OK(ctx, ewc_fisher_create(model, NULL, &fisher));
    OK(ctx, ewc_fisher_accumulate(fisher, &b.batch));
    OK(ctx, ewc_model_get_tensor(model, "model.norm.weight", norm, 20));
    norm[0] += 1;
    OK(ctx, ewc_model_set_tensor(model, "model.norm.weight", norm, 20));
    refused(ctx, ewc_fisher_finish(fisher), EWC_ERROR_STATE, "changed");
    refused(ctx, ewc_model_get_tensor(model, "model.norm.weight", norm, 19), EWC_ERROR_ARGUMENT, "20");
    refused(ctx, ewc_model_get_tensor(model, "model.nonsense", norm, 20), EWC_ERROR_ARGUMENT, "model.nonsense");
    tiny_batch_free(&b);
    ewc_fisher_destroy(fisher);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

static void impossible_memory_is_refused_with_both_numbers(void **state)
{
    (void)state;
    ewc_context *ctx = tiny_context(1);
    ewc_model *model = tiny_model(ctx, 1);
    ewc_trainer *trainer = NULL;
    ewc_trainer_options o;
    ewc_trainer_options_default(&o);
    o.max_sequences = 1 << 15;
    o.max_length = 1 << 15;
    refused(ctx, ewc_trainer_create(model, &o, &trainer), EWC_ERROR_MEMORY, "available");
    assert_null(trainer);
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_handles_are_fine_or_refused),
        cmocka_unit_test(each_field_of_a_configuration_is_named),
        cmocka_unit_test(batches_are_checked_before_use),
        cmocka_unit_test(fisher_calls_out_of_order_are_refused),
        cmocka_unit_test(model_that_changed_under_its_fisher_is_noticed),
        cmocka_unit_test(impossible_memory_is_refused_with_both_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
