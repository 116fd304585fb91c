/* config.json in both spellings: read, refused by name, and written back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "io/json.h"
#include "support/configs.h"
#include "support/files.h"

#define SIZES                                                                                                     \
    "\"vocab_size\": 73, \"hidden_size\": 9, \"intermediate_size\": 7, \"num_hidden_layers\": 3, "                \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 6, \"max_position_embeddings\": 128, " \
    "\"query_pre_attn_scalar\": 144, \"rms_norm_eps\": 1e-05, \"attn_logit_softcapping\": 6.0, "                  \
    "\"final_logit_softcapping\": 30.0, "

static const char older[] =
    "{\"model_type\": \"gemma2\", " SIZES
    "\"rope_theta\": 5000.0, \"torch_dtype\": \"bfloat16\", \"hidden_act\": \"gelu\", "
    "\"hidden_activation\": \"gelu_pytorch_tanh\", \"attention_bias\": false, \"attention_dropout\": 0.0, "
    "\"sliding_window\": 5, \"cache_implementation\": \"hybrid\", \"eos_token_id\": [1, 107]}";

static const char newer[] =
    "{\"model_type\": \"gemma2\", " SIZES "\"rope_parameters\": {\"rope_theta\": 5000.0, \"rope_type\": \"default\"}, "
    "\"dtype\": \"float32\", \"layer_types\": [\"full_attention\", \"sliding_attention\", \"sliding_attention\"], "
    "\"sliding_window\": 5, \"bos_token_id\": null, \"eos_token_id\": 3, \"pad_token_id\": 4, "
    "\"use_bidirectional_attention\": null, \"tie_word_embeddings\": true, \"remarks\": {\"numbers\": [1, 2.5, null]}}";

static void reads_the_older_spelling(void **state)
{
    (void)state;
    bare b;
    ewc_model_config c;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_config_parse(ctx, "F", older, &c), EWC_OK);
    assert_int_equal(c.struct_size, sizeof c);
    assert_int_equal(c.family, EWC_GEMMA2);
    assert_true(c.vocab_size == 73 && c.hidden_size == 9 && c.intermediate_size == 7 && c.layers == 3);
    assert_true(c.heads == 4 && c.kv_heads == 2 && c.head_dim == 6 && c.max_position == 128);
    assert_true(c.query_scale == 144 && c.rms_norm_eps == 1e-5 && c.attention_softcap == 6 && c.final_softcap == 30);
    assert_true(c.rope_theta == 5000 && c.sliding_window == 5 && c.initializer_range == 0.02);
    assert_true(c.sliding[0] == 1 && c.sliding[1] == 0 && c.sliding[2] == 1);
    assert_true(c.bos_token == 2 && c.eos_token == 1 && c.pad_token == 0);
    bare_close(&b);
}

static void reads_the_newer_spelling(void **state)
{
    (void)state;
    bare b;
    ewc_model_config c;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_config_parse(ctx, "F", newer, &c), EWC_OK);
    assert_true(c.rope_theta == 5000);
    assert_true(c.sliding[0] == 0 && c.sliding[1] == 1 && c.sliding[2] == 1);
    assert_true(c.bos_token == -1 && c.eos_token == 3 && c.pad_token == 4);
    bare_close(&b);
}

static void null_softcaps_and_windows_mean_none(void **state)
{
    (void)state;
    bare b;
    ewc_model_config c;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_config_parse(ctx, "F",
                                       config_changed(older, "\"attn_logit_softcapping\": 6.0",
                                                      "\"attn_logit_softcapping\": null"),
                                       &c),
                     EWC_OK);
    assert_true(c.attention_softcap == 0);
    assert_int_equal(ewci_config_parse(ctx, "F",
                                       config_changed(older, "\"sliding_window\": 5", "\"sliding_window\": null"), &c),
                     EWC_OK);
    assert_true(c.sliding[0] == 0 && c.sliding[1] == 0 && c.sliding[2] == 0 && c.sliding_window >= 1);
    REFUSED(ctx,
            ewci_config_parse(ctx, "F", config_changed(newer, "\"sliding_window\": 5", "\"sliding_window\": null"), &c),
            EWC_ERROR_FORMAT, "F: sliding_window", "null");
    bare_close(&b);
}

static void every_needed_field_is_asked_for(void **state)
{
    (void)state;
    static const char *const fields[] = {"vocab_size",
                                         "hidden_size",
                                         "intermediate_size",
                                         "num_hidden_layers",
                                         "num_attention_heads",
                                         "num_key_value_heads",
                                         "head_dim",
                                         "max_position_embeddings",
                                         "query_pre_attn_scalar",
                                         "rms_norm_eps",
                                         "attn_logit_softcapping",
                                         "final_logit_softcapping",
                                         "rope_theta",
                                         "sliding_window",
                                         "model_type"};
    static const char *const values[] = {"\"x\"", "-1", "true", "[]"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        bare b;
        ewc_model_config c;
        char quoted[64], other[64], text[4096];
        ewc_context *ctx = bare_open(&b);
        snprintf(quoted, sizeof quoted, "\"%s\"", fields[i]);
        snprintf(other, sizeof other, "\"not_%s\"", fields[i]);
        REFUSED(ctx, ewci_config_parse(ctx, "dir/config.json", config_changed(older, quoted, other), &c),
                EWC_ERROR_FORMAT, "dir/config.json: ", fields[i], "found nothing");
        for (size_t v = 0; v < 4 && i + 1 < sizeof fields / sizeof *fields; v++) {
            snprintf(text, sizeof text, "%s", older);
            char *begin = strstr(text, quoted) + strlen(quoted) + 2, *end = strchr(begin, ',');
            char rest[4096];
            files_set(rest, sizeof rest, end);
            *begin = '\0';
            files_append(text, sizeof text, values[v]);
            files_append(text, sizeof text, rest);
            REFUSED(ctx, ewci_config_parse(ctx, "F", text, &c), EWC_ERROR_FORMAT, "F: ", fields[i], "found");
        }
        bare_close(&b);
    }
}

static void refuses_values_out_of_range(void **state)
{
    (void)state;
    CHANGED_REFUSED(older, "\"vocab_size\": 73", "\"vocab_size\": 0", EWC_ERROR_FORMAT, "vocab_size", "from 1",
                    "found 0");
    CHANGED_REFUSED(older, "\"vocab_size\": 73", "\"vocab_size\": 99999999999", EWC_ERROR_FORMAT, "vocab_size",
                    "found 99999999999");
    CHANGED_REFUSED(older, "\"hidden_size\": 9", "\"hidden_size\": 9.5", EWC_ERROR_FORMAT, "hidden_size", "found 9.5");
    CHANGED_REFUSED(older, "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 257", EWC_ERROR_FORMAT,
                    "num_hidden_layers", "256");
    CHANGED_REFUSED(older, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", EWC_ERROR_FORMAT,
                    "num_key_value_heads", "divisor");
    CHANGED_REFUSED(older, "\"head_dim\": 6", "\"head_dim\": 7", EWC_ERROR_FORMAT, "head_dim", "even");
    CHANGED_REFUSED(older, "1e-05", "0", EWC_ERROR_FORMAT, "rms_norm_eps", "found 0");
    CHANGED_REFUSED(older, "5000.0", "1e400", EWC_ERROR_FORMAT, "rope_theta", "double");
    CHANGED_REFUSED(older, "[1, 107]", "73", EWC_ERROR_FORMAT, "eos_token_id", "found 73");
    CHANGED_REFUSED(older, "[1, 107]", "\"</s>\"", EWC_ERROR_FORMAT, "eos_token_id", "</s>");
    CHANGED_REFUSED(newer, "\"full_attention\", ", "", EWC_ERROR_FORMAT, "layer_types", "expected 3", "found 2");
    CHANGED_REFUSED(newer, "{\"rope_theta\": 5000.0, ", "{", EWC_ERROR_FORMAT, "rope_parameters: rope_theta",
                    "nothing");
    CHANGED_REFUSED(newer, "\"rope_theta\": 5000.0", "\"rope_theta\": \"x\"", EWC_ERROR_FORMAT,
                    "rope_parameters: rope_theta", "\"x\"");
    CHANGED_REFUSED(newer, "\"dtype\"", "\"rope_theta\": 10000, \"dtype\"", EWC_ERROR_FORMAT, "rope_theta",
                    "rope_parameters", "10000");
    CHANGED_REFUSED(newer, "\"dtype\"", "\"vocab_size\": 5, \"dtype\"", EWC_ERROR_FORMAT,
                    "\"vocab_size\" occurs twice");
    CHANGED_REFUSED(newer, "\"dtype\": ", "\"dtype\" ", EWC_ERROR_FORMAT, "not valid JSON");
}

static void refuses_by_name_what_is_not_implemented(void **state)
{
    (void)state;
    static const ewc_status no = EWC_ERROR_UNSUPPORTED;
    CHANGED_REFUSED(older, "\"gemma2\"", "\"llama\"", no, "model_type", "\"gemma2\"", "\"llama\"");
    CHANGED_REFUSED(older, "\"gemma2\"", "\"gemma3n_text\"", no, "model_type", "\"gemma3_text\"", "\"gemma3n_text\"");
    CHANGED_REFUSED(older, "\"attention_bias\": false", "\"attention_bias\": true", no, "attention_bias",
                    "expected false, found true");
    CHANGED_REFUSED(older, "\"attention_dropout\": 0.0", "\"attention_dropout\": 0.1", no, "attention_dropout", "0.1");
    CHANGED_REFUSED(older, "\"gelu_pytorch_tanh\"", "\"relu\"", no, "hidden_activation", "gelu_pytorch_tanh", "relu");
    CHANGED_REFUSED(older, "\"hidden_activation\": \"gelu_pytorch_tanh\"", "\"hidden_activation\": null", no,
                    "hidden_act:", "\"gelu\"");
    CHANGED_REFUSED(older, "\"rope_theta\"", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, \"rope_theta\"",
                    no, "rope_scaling", "linear");
    CHANGED_REFUSED(older, "\"rope_theta\"", "\"quantization_config\": {}, \"rope_theta\"", no, "quantization_config");
    CHANGED_REFUSED(newer, "\"rope_type\": \"default\"", "\"rope_type\": \"yarn\"", no, "rope_parameters", "yarn");
    CHANGED_REFUSED(newer, "\"rope_type\"", "\"partial_rotary_factor\": 0.5, \"rope_type\"", no,
                    "partial_rotary_factor", "0.5");
    CHANGED_REFUSED(newer, "\"full_attention\"", "\"linear_attention\"", no, "layer_types", "linear_attention");
    CHANGED_REFUSED(newer, "attention\": null", "attention\": true", no, "use_bidirectional_attention", "true");
    CHANGED_REFUSED(newer, "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", no, "tie_word_embeddings",
                    "found false");
}

static void accepts_the_other_names_of_the_same_thing(void **state)
{
    (void)state;
    bare b;
    ewc_model_config c;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_config_parse(ctx, "F", config_changed(older, "\"gelu_pytorch_tanh\"", "\"gelu_new\""), &c),
                     EWC_OK);
    assert_int_equal(ewci_config_parse(ctx, "F",
                                       config_changed(older, "\"rope_theta\"",
                                                      "\"rope_scaling\": null, \"rope_theta\""),
                                       &c),
                     EWC_OK);
    assert_int_equal(ewci_config_parse(ctx, "F",
                                       config_changed(older, "\"rope_theta\"",
                                                      "\"rope_scaling\": {\"rope_type\": \"default\"}, \"rope_theta\""),
                                       &c),
                     EWC_OK);
    bare_close(&b);
}

static void reads_a_file_or_its_directory(void **state)
{
    (void)state;
    bare b;
    ewc_model_config c;
    ewc_context *ctx = bare_open(&b);
    files_make_directory("d");
    files_text("d/config.json", older);
    assert_int_equal(ewci_config_read(ctx, files_path("d"), &c), EWC_OK);
    assert_int_equal(ewci_config_read(ctx, files_path("d/config.json"), &c), EWC_OK);
    files_text("d/config.json", "{\"model_type\": 1}");
    REFUSED(ctx, ewci_config_read(ctx, files_path("d"), &c), EWC_ERROR_FORMAT, "d/config.json: model_type");
    files_write("d/config.json", "{}\0", 3);
    REFUSED(ctx, ewci_config_read(ctx, files_path("d"), &c), EWC_ERROR_FORMAT, "d/config.json", "NUL at byte 3");
    REFUSED(ctx, ewci_config_read(ctx, files_path("e"), &c), EWC_ERROR_IO, "/e", "No such file");
    bare_close(&b);
}

static void writing_keeps_spelling_order_and_unknown_fields(void **state)
{
    (void)state;
    static const struct {
        const char *text, *from, *to;
    } cases[] = {{older, "\"torch_dtype\": \"bfloat16\"", "\"torch_dtype\": \"float16\""},
                 {newer, "\"dtype\": \"float32\"", "\"dtype\": \"float16\""}};
    for (int i = 0; i < 2; i++) {
        bare b;
        ewc_model_config c, again;
        char *text, *wanted;
        cJSON *root;
        ewc_context *ctx = bare_open(&b);
        const char *expected = config_changed(cases[i].text, cases[i].from, cases[i].to);
        assert_int_equal(ewci_config_parse(ctx, "F", cases[i].text, &c), EWC_OK);
        assert_int_equal(ewci_config_format(ctx, &c, cases[i].text, EWC_F16, &text), EWC_OK);
        assert_int_equal(ewci_json_parse(ctx, "F", expected, strlen(expected), &root), EWC_OK);
        assert_int_equal(ewci_json_keep_numbers(ctx, root, expected), EWC_OK);
        assert_int_equal(ewci_json_print(ctx, root, &wanted), EWC_OK);
        assert_non_null(strstr(wanted, "\"final_logit_softcapping\": 30.0"));
        assert_string_equal(text, wanted);
        assert_int_equal(ewci_config_parse(ctx, "F", text, &again), EWC_OK);
        assert_true(config_same(&c, &again));
        cJSON_Delete(root);
        ewci_free(ctx, text);
        ewci_free(ctx, wanted);
        bare_close(&b);
    }
}

static void writing_puts_right_what_differs(void **state)
{
    (void)state;
    const char *texts[] = {older, newer};
    for (int i = 0; i < 2; i++) {
        bare b;
        ewc_model_config c, again;
        char *text;
        ewc_context *ctx = bare_open(&b);
        assert_int_equal(ewci_config_parse(ctx, "F", texts[i], &c), EWC_OK);
        c.vocab_size = 99;
        c.rope_theta = 7;
        c.attention_softcap = 0;
        c.sliding_window = 11;
        c.layers = 2;
        c.sliding[0] = 0;
        c.sliding[1] = 0;
        c.eos_token = -1;
        assert_int_equal(ewci_config_format(ctx, &c, texts[i], EWC_F32, &text), EWC_OK);
        assert_int_equal(ewci_config_parse(ctx, "F", text, &again), EWC_OK);
        assert_true(config_same(&c, &again));
        assert_int_equal(strstr(text, "rope_parameters") != NULL, i == 1);
        ewci_free(ctx, text);
        bare_close(&b);
    }
}

static void a_new_file_has_both_spellings(void **state)
{
    (void)state;
    static const char *const words[] = {"\"Gemma2ForCausalLM\"",
                                        "\"dtype\": \"bfloat16\"",
                                        "\"torch_dtype\": \"bfloat16\"",
                                        "\"rope_theta\": 10000.0,",
                                        "\"rope_type\": \"default\"",
                                        "\"layer_types\"",
                                        "\"hidden_activation\": \"gelu_pytorch_tanh\"",
                                        "\"tie_word_embeddings\": true"};
    bare b;
    ewc_model_config c, again;
    char *text;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_config_parse(ctx, "F", newer, &c), EWC_OK);
    c.rope_theta = 10000;
    c.query_scale = 0; /* head_dim */
    c.rms_norm_eps = 1e-6;
    assert_int_equal(ewci_config_format(ctx, &c, NULL, EWC_BF16, &text), EWC_OK);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(text, words[i]) == NULL) fail_msg("no %s in %s", words[i], text);
    assert_int_equal(ewci_config_parse(ctx, "F", text, &again), EWC_OK);
    assert_true(again.query_scale == 6);
    again.query_scale = 0;
    assert_true(config_same(&c, &again));
    ewci_free(ctx, text);
    bare_close(&b);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    assert_in_range(bare_starve(config_parse_and_format, (void *)(uintptr_t)newer), 3, 100);
}

static int64_t json_calls, json_fail_at;
static void *json_allocate(size_t bytes)
{
    return json_calls++ == json_fail_at ? NULL : malloc(bytes);
}

static void survives_every_failed_allocation_of_json(void **state)
{
    (void)state;
    cJSON_Hooks hooks = {json_allocate, free};
    cJSON_InitHooks(&hooks);
    for (int fresh = 0; fresh < 2; fresh++) {
        bare b;
        ewc_context *ctx = bare_open(&b);
        ewc_status status = EWC_ERROR_MEMORY;
        for (json_fail_at = 0; status != EWC_OK && json_fail_at < 1000; json_fail_at++) {
            ewc_model_config c;
            char *text = NULL;
            json_calls = INT64_C(1) << 40; /* parsing is not what is starved here */
            assert_int_equal(ewci_config_parse(ctx, "F", newer, &c), EWC_OK);
            c.vocab_size++;
            c.sliding[0] ^= 1;
            c.attention_softcap = 0;
            c.rope_theta = 3;
            json_calls = 0;
            status = ewci_config_format(ctx, &c, fresh ? NULL : newer, EWC_F32, &text);
            if (status == EWC_OK)
                ewci_free(ctx, text);
            else
                REFUSED(ctx, status, EWC_ERROR_MEMORY, "no memory");
        }
        assert_int_equal(status, EWC_OK);
        assert_true(json_fail_at > 20);
        bare_close(&b);
    }
    cJSON_InitHooks(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES_TEST(reads_the_older_spelling),
        FILES_TEST(reads_the_newer_spelling),
        FILES_TEST(null_softcaps_and_windows_mean_none),
        FILES_TEST(every_needed_field_is_asked_for),
        FILES_TEST(refuses_values_out_of_range),
        FILES_TEST(refuses_by_name_what_is_not_implemented),
        FILES_TEST(accepts_the_other_names_of_the_same_thing),
        FILES_TEST(reads_a_file_or_its_directory),
        FILES_TEST(writing_keeps_spelling_order_and_unknown_fields),
        FILES_TEST(writing_puts_right_what_differs),
        FILES_TEST(a_new_file_has_both_spellings),
        FILES_TEST(survives_every_failed_allocation),
        FILES_TEST(survives_every_failed_allocation_of_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
