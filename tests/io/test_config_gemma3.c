/* config.json of Gemma 3: both spellings, what may be left out, the text_config of models with vision, and writing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "support/configs.h"
#include "support/files.h"

#define SIZES                                                                                                     \
    "\"vocab_size\": 73, \"hidden_size\": 9, \"intermediate_size\": 7, \"num_hidden_layers\": 7, "                \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 6, \"max_position_embeddings\": 128, " \
    "\"query_pre_attn_scalar\": 144, \"rms_norm_eps\": 1e-05, \"attn_logit_softcapping\": null, "                 \
    "\"final_logit_softcapping\": null, \"sliding_window\": 5, "

static const char older[] =
    "{\"model_type\": \"gemma3_text\", " SIZES
    "\"sliding_window_pattern\": 3, \"rope_theta\": 5000.0, \"rope_local_base_freq\": 70.0, "
    "\"rope_scaling\": {\"factor\": 8.0, \"rope_type\": \"linear\"}, \"eos_token_id\": [1, 106]}";

static const char newer[] =
    "{\"model_type\": \"gemma3_text\", " SIZES
    "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"linear\", \"factor\": 8.0, \"rope_theta\": 5000.0}, "
    "\"sliding_attention\": {\"rope_type\": \"default\", \"rope_theta\": 70.0}}, \"dtype\": \"float32\"}";

/* The newer spelling without scaling. */
static const char plain[] =
    "{\"model_type\": \"gemma3_text\", \"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}, "
    "\"sliding_attention\": {\"rope_type\": \"default\"}}, \"dtype\": \"float32\"}";

/* As the published models with vision have it: what is as transformers' default is left out. */
static const char vision[] =
    "{\"model_type\": \"gemma3\", \"architectures\": [\"Gemma3ForConditionalGeneration\"], \"eos_token_id\": [3, 106], "
    "\"text_config\": {\"hidden_size\": 2560, \"intermediate_size\": 10240, \"model_type\": \"gemma3_text\", "
    "\"num_hidden_layers\": 34, \"rope_scaling\": {\"factor\": 8.0, \"rope_type\": \"linear\"}, "
    "\"sliding_window\": 1024}, \"vision_config\": {\"hidden_size\": 1152}, \"torch_dtype\": \"bfloat16\"}";

static ewc_model_config parsed(ewc_context *ctx, const char *text)
{
    ewc_model_config c;
    if (ewci_config_parse(ctx, "F", text, &c) != EWC_OK) fail_msg("%s", ewc_last_error(ctx));
    return c;
}

static void reads_both_spellings(void **state)
{
    (void)state;
    const char *texts[] = {older, newer};
    for (int i = 0; i < 2; i++) {
        bare b;
        ewc_model_config c = parsed(bare_open(&b), texts[i]);
        assert_int_equal(c.family, EWC_GEMMA3);
        assert_true(c.vocab_size == 73 && c.layers == 7 && c.head_dim == 6 && c.query_scale == 144);
        assert_true(c.attention_softcap == 0 && c.final_softcap == 0 && c.sliding_window == 5);
        assert_true(c.rope_theta == 5000 && c.rope_local_theta == 70 && c.rope_scale == 8);
        for (int layer = 0; layer < 7; layer++) assert_int_equal(c.sliding[layer], (layer + 1) % (i == 0 ? 3 : 6) != 0);
        bare_close(&b);
    }
}

static void what_is_left_out_has_the_default_of_transformers(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    ewc_model_config c = parsed(ctx, vision);
    assert_true(c.vocab_size == 262208 && c.hidden_size == 2560 && c.layers == 34 && c.heads == 8 && c.kv_heads == 4);
    assert_true(c.head_dim == 256 && c.max_position == 131072 && c.query_scale == 256 && c.rms_norm_eps == 1e-6);
    assert_true(c.rope_theta == 1e6 && c.rope_local_theta == 1e4 && c.rope_scale == 8 && c.sliding_window == 1024);
    assert_true(c.attention_softcap == 0 && c.final_softcap == 0);
    assert_true(c.sliding[4] == 1 && c.sliding[5] == 0 && c.sliding[6] == 1 && c.sliding[11] == 0);
    assert_true(c.bos_token == 2 && c.eos_token == 3 && c.pad_token == 0);
    c = parsed(ctx, "{\"model_type\": \"gemma3_text\"}");
    assert_true(c.hidden_size == 2304 && c.layers == 26 && c.rope_scale == 0 && c.sliding_window == 4096);
    bare_close(&b);
}

static void refuses_by_name(void **state)
{
    (void)state;
    static const ewc_status no = EWC_ERROR_UNSUPPORTED, wrong = EWC_ERROR_FORMAT;
    CHANGED_REFUSED(older, "capping\": null", "capping\": 50.0", no, "attn_logit_softcapping", "found 50");
    CHANGED_REFUSED(older, "\"linear\"", "\"yarn\"", no, "rope_scaling", "rope_type", "\"linear\"", "yarn");
    CHANGED_REFUSED(newer, "\"linear\"", "\"llama3\"", no, "rope_parameters: full_attention", "rope_type", "llama3");
    CHANGED_REFUSED(newer, "\"default\"", "\"linear\"", no, "rope_parameters: sliding_attention", "linear");
    CHANGED_REFUSED(older, "8.0", "0", wrong, "rope_scaling", "factor", "found 0");
    CHANGED_REFUSED(newer, "\"factor\": 8.0, ", "", wrong, "rope_parameters: full_attention", "factor", "nothing");
    CHANGED_REFUSED(newer, "\"sliding_attention\"", "\"other\"", wrong, "rope_parameters: sliding_attention",
                    "nothing");
    CHANGED_REFUSED(newer, "\"dtype\"", "\"rope_theta\": 1.0, \"dtype\"", wrong, "rope_theta", "found 1");
    CHANGED_REFUSED(newer, "\"dtype\"", "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2}, \"dtype\"",
                    wrong, "rope_scaling", "factor", "found 2");
    CHANGED_REFUSED(plain, "\"dtype\"", "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8}, \"dtype\"",
                    wrong, "rope_scaling", "factor", "found 8");
    CHANGED_REFUSED(older, "pattern\": 3", "pattern\": 0", wrong, "sliding_window_pattern", "found 0");
    CHANGED_REFUSED(older, "\"vocab_size\": 73", "\"vocab_size\": -1", wrong, "vocab_size", "found -1");
    CHANGED_REFUSED(vision, "2560", "\"wide\"", wrong, "text_config: hidden_size", "wide");
    CHANGED_REFUSED(vision, "\"text_config\": {", "\"text_config\": 1, \"other\": {", wrong, "text_config",
                    "an object");
}

/* Written back, as it was, changed, and anew, it reads as the same. */
static void what_is_written_reads_as_the_same(void **state)
{
    (void)state;
    const char *texts[] = {older, newer, vision};
    for (int i = 0; i < 9; i++) {
        bare b;
        char *text;
        const char *original = texts[i / 3];
        ewc_context *ctx = bare_open(&b);
        ewc_model_config c = parsed(ctx, original);
        if (i % 3 != 0) {
            c.rope_theta = 11;
            c.rope_local_theta = 12;
            c.rope_scale = i % 3 == 1 ? 2 : 0;
            c.sliding[0] = 0;
        }
        assert_int_equal(ewci_config_format(ctx, &c, i % 3 == 2 ? NULL : original, EWC_BF16, &text), EWC_OK);
        assert_non_null(strstr(text, "\"gemma3_text\""));
        if (original == vision || i % 3 == 2) assert_non_null(strstr(text, "\"Gemma3ForCausalLM\""));
        assert_null(strstr(text, "vision"));
        ewc_model_config again = parsed(ctx, text);
        if (!config_same(&c, &again)) fail_msg("case %d: %s", i, text);
        ewci_free(ctx, text);
        bare_close(&b);
    }
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    assert_in_range(bare_starve(config_parse_and_format, (void *)(uintptr_t)vision), 1, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_both_spellings),
        cmocka_unit_test(what_is_left_out_has_the_default_of_transformers),
        cmocka_unit_test(refuses_by_name),
        cmocka_unit_test(what_is_written_reads_as_the_same),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
