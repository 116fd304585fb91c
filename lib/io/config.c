/* Reading config.json: see config.h. Writing is in config_format.c. */
#include "io/config.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "io/config_fields.h"
#include "io/file.h"
#include "io/json.h"

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

/* What the parsing functions share. */
typedef struct reader {
    ewc_context *ctx;
    const char *file;
    const cJSON *root;
    ewc_model_config *config;
} reader;

static const cJSON *find(const reader *r, const char *field)
{
    return ewci_json_find(r->root, field);
}

static bool absent(const cJSON *value)
{
    return value == NULL || cJSON_IsNull(value);
}

/* The same words as for a wrong value, but EWC_ERROR_UNSUPPORTED: the file is right, the library cannot do it. */
static ewc_status unsupported(const reader *r, const char *field, const char *expected, const cJSON *found)
{
    ewci_json_record(r->ctx, r->file, field, expected, found);
    return EWC_ERROR_UNSUPPORTED;
}

static ewc_status read_integers(const reader *r)
{
    for (const ewci_config_integer *f = ewci_config_integers; f->name != NULL; f++)
        EWCI_TRY(ewci_json_integer(r->ctx, r->file, r->root, f->name, 1, f->largest,
                                   (int64_t *)(void *)((char *)r->config + f->offset)));
    if (r->config->kv_heads < 1 || r->config->heads % r->config->kv_heads != 0)
        return ewci_json_wrong(r->ctx, r->file, "num_key_value_heads", "a divisor of num_attention_heads",
                               find(r, "num_key_value_heads"));
    if (r->config->head_dim % 2 != 0)
        return ewci_json_wrong(r->ctx, r->file, "head_dim", "an even number", find(r, "head_dim"));
    return EWC_OK;
}

static ewc_status read_reals(const reader *r)
{
    for (const ewci_config_real *f = ewci_config_reals; f->name != NULL; f++) {
        double *target = (double *)(void *)((char *)r->config + f->offset);
        const cJSON *value = find(r, f->name);
        double low = f->kind == EWCI_POSITIVE ? 1e-300 : 0.0;
        if (f->kind == EWCI_NULL_IS_ZERO && cJSON_IsNull(value))
            *target = 0.0;
        else if (f->kind != EWCI_OPTIONAL || !absent(value))
            EWCI_TRY(ewci_json_real(r->ctx, r->file, r->root, f->name, low, 1e300, target));
    }
    return EWC_OK;
}

/* A token id, null for none, or, as for eos_token_id, a list of which the first counts. */
static ewc_status read_tokens(const reader *r)
{
    for (const ewci_config_token *f = ewci_config_tokens; f->name != NULL; f++) {
        int64_t *target = (int64_t *)(void *)((char *)r->config + f->offset);
        const cJSON *value = find(r, f->name), *first = cJSON_IsArray(value) ? value->child : value;
        *target = f->usual;
        if (value == NULL) continue;
        *target = -1;
        if (absent(first)) continue;
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
    const char *field = absent(find(r, "hidden_activation")) ? "hidden_act" : "hidden_activation";
    const cJSON *value = find(r, field);
    if (absent(value) || is_tanh_gelu(value)) return EWC_OK;
    return unsupported(r, field, "\"gelu_pytorch_tanh\"", value);
}

static ewc_status check_flag(const reader *r, const char *field, bool wanted)
{
    const cJSON *value = find(r, field);
    if (absent(value) || (wanted ? cJSON_IsTrue(value) : cJSON_IsFalse(value))) return EWC_OK;
    return unsupported(r, field, wanted ? "true" : "false", value);
}

static ewc_status check_supported(const reader *r)
{
    const cJSON *dropout = find(r, "attention_dropout"), *quantization = find(r, "quantization_config");
    EWCI_TRY(check_activation(r));
    EWCI_TRY(check_flag(r, "attention_bias", false));
    EWCI_TRY(check_flag(r, "use_bidirectional_attention", false));
    EWCI_TRY(check_flag(r, "tie_word_embeddings", true));
    if (!absent(dropout) && !(cJSON_IsNumber(dropout) && dropout->valuedouble == 0.0))
        return unsupported(r, "attention_dropout", "0", dropout);
    if (!absent(quantization))
        return unsupported(r, "quantization_config", "weights in F32, BF16 or F16", quantization);
    return EWC_OK;
}

static ewc_status check_model_type(const reader *r)
{
    const char *type;
    EWCI_TRY(ewci_json_string(r->ctx, r->file, r->root, "model_type", &type));
    if (strcmp(type, "gemma2") == 0) return EWC_OK;
    const char *expected =
        strncmp(type, "gemma3", 6) == 0 ? "\"gemma2\" (Gemma 3 is not implemented yet)" : "\"gemma2\"";
    return unsupported(r, "model_type", expected, find(r, "model_type"));
}

/* rope_scaling (older) and rope_parameters (newer): nothing but the plain rotation. */
static ewc_status check_rope_type(const reader *r, const char *field)
{
    const cJSON *object = find(r, field);
    char place[64];
    if (absent(object)) return EWC_OK;
    if (!cJSON_IsObject(object)) return ewci_json_wrong(r->ctx, r->file, field, "an object", object);
    const cJSON *type = ewci_json_find(object, "rope_type");
    if (type == NULL) type = ewci_json_find(object, "type");
    bool plain = absent(type) || (cJSON_IsString(type) && strcmp(type->valuestring, "default") == 0);
    snprintf(place, sizeof place, "%s: rope_type", field);
    if (!plain) return unsupported(r, place, "\"default\"", type);
    const cJSON *partial = ewci_json_find(object, "partial_rotary_factor");
    snprintf(place, sizeof place, "%s: partial_rotary_factor", field);
    if (!absent(partial) && !(cJSON_IsNumber(partial) && partial->valuedouble == 1.0))
        return unsupported(r, place, "1", partial);
    return EWC_OK;
}

/* rope_theta at the top or in rope_parameters; where it is in both they must agree. */
static ewc_status read_rope(const reader *r)
{
    const cJSON *parameters = find(r, "rope_parameters");
    const cJSON *inner = cJSON_IsObject(parameters) ? ewci_json_find(parameters, "rope_theta") : NULL;
    const cJSON *top = find(r, "rope_theta");
    double theta;
    EWCI_TRY(check_rope_type(r, "rope_scaling"));
    EWCI_TRY(check_rope_type(r, "rope_parameters"));
    if (cJSON_IsObject(parameters) && inner == NULL && top == NULL)
        return ewci_json_wrong(r->ctx, r->file, "rope_parameters: rope_theta", "a positive number", NULL);
    if (inner == NULL)
        return ewci_json_real(r->ctx, r->file, r->root, "rope_theta", 1e-300, 1e300, &r->config->rope_theta);
    if (ewci_json_real(r->ctx, r->file, parameters, "rope_theta", 1e-300, 1e300, &theta) != EWC_OK)
        return ewci_json_wrong(r->ctx, r->file, "rope_parameters: rope_theta", "a positive number", inner);
    if (top != NULL && !(cJSON_IsNumber(top) && top->valuedouble == theta))
        return ewci_json_wrong(r->ctx, r->file, "rope_theta", "the number that rope_parameters has", top);
    r->config->rope_theta = theta;
    return EWC_OK;
}

/* layer_types, or layers 0, 2, 4, ... sliding. */
static ewc_status read_layer_types(const reader *r, bool *given)
{
    const cJSON *list = find(r, "layer_types");
    int64_t layer = 0;
    *given = !absent(list);
    for (int64_t i = 0; i < EWC_MAX_LAYERS; i++) r->config->sliding[i] = i % 2 == 0;
    if (!*given) return EWC_OK;
    if (!cJSON_IsArray(list)) return ewci_json_wrong(r->ctx, r->file, "layer_types", "an array", list);
    for (const cJSON *item = list->child; item != NULL; item = item->next, layer++) {
        const char *type = cJSON_IsString(item) ? item->valuestring : "";
        bool sliding = strcmp(type, "sliding_attention") == 0;
        if (!sliding && strcmp(type, "full_attention") != 0)
            return unsupported(r, "layer_types", "\"sliding_attention\" or \"full_attention\"", item);
        if (layer < EWC_MAX_LAYERS) r->config->sliding[layer] = sliding;
    }
    if (layer == r->config->layers) return EWC_OK;
    return ewci_fail(r->ctx, EWC_ERROR_FORMAT,
                     "%s: layer_types: expected %lld elements (num_hidden_layers), found %lld", r->file,
                     (long long)r->config->layers, (long long)layer);
}

/* A window of null means that no layer has one; it may then be anything, so that a layer that is declared sliding is
 * an error. */
static ewc_status read_window(const reader *r)
{
    bool given, any = false;
    EWCI_TRY(read_layer_types(r, &given));
    if (!cJSON_IsNull(find(r, "sliding_window")))
        return ewci_json_integer(r->ctx, r->file, r->root, "sliding_window", 1, (int64_t)1 << 31,
                                 &r->config->sliding_window);
    for (int64_t i = 0; i < r->config->layers; i++) any = any || r->config->sliding[i];
    if (given && any)
        return ewci_json_wrong(r->ctx, r->file, "sliding_window", "an integer, as layer_types has sliding layers",
                               find(r, "sliding_window"));
    memset(r->config->sliding, 0, sizeof r->config->sliding);
    r->config->sliding_window = r->config->max_position;
    return EWC_OK;
}

ewc_status ewci_config_parse(ewc_context *ctx, const char *file, const char *text, ewc_model_config *config)
{
    ewc_model_config parsed = {.struct_size = sizeof parsed, .family = EWC_GEMMA2, .initializer_range = 0.02};
    cJSON *root;
    ewc_status status;
    EWCI_TRY(ewci_json_parse(ctx, file, text, strlen(text), &root));
    reader r = {ctx, file, root, &parsed};
    EWCI_TRY_GOTO(status, done, check_model_type(&r));
    EWCI_TRY_GOTO(status, done, check_supported(&r));
    EWCI_TRY_GOTO(status, done, read_integers(&r));
    EWCI_TRY_GOTO(status, done, read_reals(&r));
    EWCI_TRY_GOTO(status, done, read_tokens(&r));
    EWCI_TRY_GOTO(status, done, read_rope(&r));
    EWCI_TRY_GOTO(status, done, read_window(&r));
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
