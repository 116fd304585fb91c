/* Reading config.json: see config.h. Rotary embedding: config_rope.c; layers and window: config_layers.c; writing: config_format.c. */
#include "io/config.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "io/config_fields.h"
#include "io/config_reader.h"
#include "io/file.h"

/* Largest value of a size: products of three stay far below 2^63. */
#define SIZE_LIMIT ((int64_t)1 << 24)

const ewci_config_integer ewci_config_integers[] = {
    {"vocab_size", offsetof(ewc_model_config, vocab_size), SIZE_LIMIT},
    {"hidden_size", offsetof(ewc_model_config, hidden_size), SIZE_LIMIT},
    {"intermediate_size", offsetof(ewc_model_config, intermediate_size), SIZE_LIMIT},
    {"num_hidden_layers", offsetof(ewc_model_config, layers), EWC_MAX_LAYERS},
    {"num_attention_heads", offsetof(ewc_model_config, heads), 4096},
    {"num_key_value_heads", offsetof(ewc_model_config, kv_heads), 4096},
    {"head_dim", offsetof(ewc_model_config, head_dim), 4096},
    {"max_position_embeddings", offsetof(ewc_model_config, max_position), SIZE_LIMIT},
    {NULL, 0, 0},
};

const ewci_config_real ewci_config_reals[] = {
    {"query_pre_attn_scalar", offsetof(ewc_model_config, query_scale), EWCI_POSITIVE, true},
    {"rms_norm_eps", offsetof(ewc_model_config, rms_norm_eps), EWCI_POSITIVE, false},
    {"attn_logit_softcapping", offsetof(ewc_model_config, attention_softcap), EWCI_NULL_IS_ZERO, false},
    {"final_logit_softcapping", offsetof(ewc_model_config, final_softcap), EWCI_NULL_IS_ZERO, false},
    {"initializer_range", offsetof(ewc_model_config, initializer_range), EWCI_OPTIONAL, false},
    {NULL, 0, EWCI_POSITIVE, false},
};

const ewci_config_token ewci_config_tokens[] = {
    {"bos_token_id", offsetof(ewc_model_config, bos_token), 2},
    {"eos_token_id", offsetof(ewc_model_config, eos_token), 1},
    {"pad_token_id", offsetof(ewc_model_config, pad_token), 0},
    {NULL, 0, 0},
};

typedef ewci_config_reader reader;

ewc_status ewci_config_unsupported(const reader *r, const char *field, const char *expected, const cJSON *found)
{
    ewci_json_record(r->ctx, r->file, field, expected, found);
    return EWC_ERROR_UNSUPPORTED;
}

/* Files of Gemma 3 may leave out what has transformers' default, which the config then holds already; those of Gemma 2 name everything. */
static bool left_out(const reader *r, const char *field)
{
    return r->config->family == EWC_GEMMA3 && ewci_config_find(r, field) == NULL;
}

static ewc_status read_integers(const reader *r)
{
    for (const ewci_config_integer *f = ewci_config_integers; f->name != NULL; f++)
        if (!left_out(r, f->name))
            EWCI_TRY(ewci_json_integer(r->ctx, r->file, r->root, f->name, 1, f->largest,
                                       (int64_t *)(void *)((char *)r->config + f->offset)));
    if (r->config->kv_heads < 1 || r->config->heads % r->config->kv_heads != 0)
        return ewci_json_wrong(r->ctx, r->file, "num_key_value_heads", "a divisor of num_attention_heads",
                               ewci_config_find(r, "num_key_value_heads"));
    if (r->config->head_dim % 2 != 0)
        return ewci_json_wrong(r->ctx, r->file, "head_dim", "an even number", ewci_config_find(r, "head_dim"));
    return EWC_OK;
}

static ewc_status read_reals(const reader *r)
{
    for (const ewci_config_real *f = ewci_config_reals; f->name != NULL; f++) {
        double *target = (double *)(void *)((char *)r->config + f->offset);
        const cJSON *value = ewci_config_find(r, f->name);
        double low = f->kind == EWCI_POSITIVE ? 1e-300 : 0.0;
        if (f->kind == EWCI_NULL_IS_ZERO && cJSON_IsNull(value))
            *target = 0.0;
        else if (f->kind == EWCI_OPTIONAL ? !ewci_config_absent(value) : !left_out(r, f->name))
            EWCI_TRY(ewci_json_real(r->ctx, r->file, r->root, f->name, low, 1e300, target));
    }
    return EWC_OK;
}

/* A token id, null for none, or, as for eos_token_id, a list of which the first counts. */
static ewc_status read_tokens(const reader *r)
{
    for (const ewci_config_token *f = ewci_config_tokens; f->name != NULL; f++) {
        int64_t *target = (int64_t *)(void *)((char *)r->config + f->offset);
        const cJSON *value = ewci_config_find(r, f->name), *first = cJSON_IsArray(value) ? value->child : value;
        *target = f->usual;
        if (value == NULL) continue;
        *target = -1;
        if (ewci_config_absent(first)) continue;
        if (!ewci_json_exact(first, -1, r->config->vocab_size - 1, target))
            return ewci_json_wrong(r->ctx, r->file, f->name, "a token id below vocab_size", first);
    }
    return EWC_OK;
}

static bool is_tanh_gelu(const cJSON *value)
{
    static const char *const names[] = {"gelu_pytorch_tanh", "gelu_new", "gelu_fast"};
    for (size_t i = 0; cJSON_IsString(value) && i < sizeof names / sizeof *names; i++)
        if (strcmp(value->valuestring, names[i]) == 0) return true;
    return false;
}

/* hidden_activation decides; hidden_act beside it is a remnant that readers ignore. */
static ewc_status check_activation(const reader *r)
{
    const char *field =
        ewci_config_absent(ewci_config_find(r, "hidden_activation")) ? "hidden_act" : "hidden_activation";
    const cJSON *value = ewci_config_find(r, field);
    if (ewci_config_absent(value) || is_tanh_gelu(value)) return EWC_OK;
    return ewci_config_unsupported(r, field, "\"gelu_pytorch_tanh\"", value);
}

static ewc_status check_flag(const reader *r, const char *field, bool wanted)
{
    const cJSON *value = ewci_config_find(r, field);
    if (ewci_config_absent(value) || (wanted ? cJSON_IsTrue(value) : cJSON_IsFalse(value))) return EWC_OK;
    return ewci_config_unsupported(r, field, wanted ? "true" : "false", value);
}

static ewc_status check_supported(const reader *r)
{
    const cJSON *dropout = ewci_config_find(r, "attention_dropout"),
                *quantization = ewci_config_find(r, "quantization_config");
    EWCI_TRY(check_activation(r));
    EWCI_TRY(check_flag(r, "attention_bias", false));
    EWCI_TRY(check_flag(r, "use_bidirectional_attention", false));
    EWCI_TRY(check_flag(r, "tie_word_embeddings", true));
    if (!ewci_config_absent(dropout) && !(cJSON_IsNumber(dropout) && dropout->valuedouble == 0.0))
        return ewci_config_unsupported(r, "attention_dropout", "0", dropout);
    if (r->config->family == EWC_GEMMA3 && !ewci_config_absent(ewci_config_find(r, "attn_logit_softcapping")))
        return ewci_config_unsupported(r, "attn_logit_softcapping", "null (transformers applies none in Gemma 3)",
                                       ewci_config_find(r, "attn_logit_softcapping"));
    if (!ewci_config_absent(quantization))
        return ewci_config_unsupported(r, "quantization_config", "weights in F32, BF16 or F16", quantization);
    return EWC_OK;
}

/* Where the file does not say (transformers 5.0.0, Gemma3TextConfig). */
static void gemma3_defaults(ewc_model_config *config)
{
    ewc_model_config_gemma3(config);
    config->vocab_size = 262208;
    config->hidden_size = 2304;
    config->intermediate_size = 9216;
    config->layers = 26;
    config->heads = 8;
    config->kv_heads = 4;
    config->head_dim = 256;
    config->max_position = 131072;
    config->query_scale = 256;
    config->sliding_window = 4096;
}

static ewc_status read_family(const reader *r)
{
    const char *type;
    EWCI_TRY(ewci_json_string(r->ctx, r->file, r->root, "model_type", &type));
    if (strcmp(type, "gemma2") == 0)
        *r->config =
            (ewc_model_config){.struct_size = sizeof *r->config, .family = EWC_GEMMA2, .initializer_range = 0.02};
    else if (strcmp(type, "gemma3_text") == 0)
        gemma3_defaults(r->config);
    else
        return ewci_config_unsupported(r, "model_type", "\"gemma2\", \"gemma3_text\" or \"gemma3\"",
                                       ewci_config_find(r, "model_type"));
    return EWC_OK;
}

/* Moves the member to `to` unless that has one. */
static bool move_member(cJSON *to, cJSON *from, const char *field)
{
    if (ewci_json_find(to, field) != NULL) return true;
    cJSON *item = cJSON_DetachItemFromObjectCaseSensitive(from, field);
    if (item == NULL || cJSON_AddItemToObject(to, field, item)) return true;
    cJSON_Delete(item);
    return false;
}

ewc_status ewci_config_take_text(ewc_context *ctx, const char *file, cJSON **root, bool *taken)
{
    static const char *const shared[] = {"bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings"};
    const cJSON *type = ewci_json_find(*root, "model_type");
    *taken = false;
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "gemma3") != 0) return EWC_OK;
    const cJSON *part = ewci_json_find(*root, "text_config");
    if (!cJSON_IsObject(part)) return ewci_json_wrong(ctx, file, "text_config", "an object", part);
    cJSON *text = cJSON_DetachItemFromObjectCaseSensitive(*root, "text_config");
    bool good = true;
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) good = good && move_member(text, *root, shared[i]);
    if (ewci_json_find(text, "model_type") == NULL)
        good = good && cJSON_AddStringToObject(text, "model_type", "gemma3_text") != NULL;
    cJSON_Delete(*root);
    *root = text;
    *taken = true;
    return good ? EWC_OK : ewci_fail(ctx, EWC_ERROR_MEMORY, "%s: no memory for its values", file);
}

ewc_status ewci_config_parse(ewc_context *ctx, const char *file, const char *text, ewc_model_config *config)
{
    ewc_model_config parsed;
    cJSON *root;
    bool part;
    char place[4096];
    ewc_status status;
    EWCI_TRY(ewci_json_parse(ctx, file, text, strlen(text), &root));
    EWCI_TRY_GOTO(status, done, ewci_config_take_text(ctx, file, &root, &part));
    snprintf(place, sizeof place, "%s%s", file, part ? ": text_config" : "");
    reader r = {ctx, place, root, &parsed};
    EWCI_TRY_GOTO(status, done, read_family(&r));
    EWCI_TRY_GOTO(status, done, check_supported(&r));
    EWCI_TRY_GOTO(status, done, read_integers(&r));
    EWCI_TRY_GOTO(status, done, read_reals(&r));
    EWCI_TRY_GOTO(status, done, read_tokens(&r));
    EWCI_TRY_GOTO(status, done, ewci_config_read_rope(&r));
    EWCI_TRY_GOTO(status, done, ewci_config_read_window(&r));
    *config = parsed;
done:
    cJSON_Delete(root);
    return status;
}

static ewc_status read_file(ewc_context *ctx, const char *path, ewc_model_config *config)
{
    char *text;
    size_t bytes;
    EWCI_TRY(ewci_file_read(ctx, path, EWCI_CONFIG_LIMIT, &text, &bytes));
    ewc_status status;
    if (strlen(text) == bytes)
        status = ewci_config_parse(ctx, path, text, config);
    else
        status = ewci_fail(ctx, EWC_ERROR_FORMAT, "%s: expected text, found a NUL at byte %zu", path, strlen(text) + 1);
    ewci_free(ctx, text);
    return status;
}

ewc_status ewci_config_read(ewc_context *ctx, const char *path, ewc_model_config *config)
{
    char *inside;
    if (!ewci_path_is_directory(path)) return read_file(ctx, path, config);
    EWCI_TRY(ewci_path_join(ctx, path, "config.json", &inside));
    ewc_status status = read_file(ctx, inside, config);
    ewci_free(ctx, inside);
    return status;
}
