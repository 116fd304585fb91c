/* Writing config.json: a new one, or the original with what differs put right. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "io/config.h"
#include "io/config_fields.h"
#include "io/json.h"

/* Takes the item over. Like all functions that set fields it returns false when there is no memory. */
static bool set(cJSON *object, const char *field, cJSON *item)
{
    if (item == NULL) return false;
    if (ewci_json_find(object, field) == NULL) {
        if (cJSON_AddItemToObject(object, field, item)) return true;
    } else if (cJSON_ReplaceItemInObjectCaseSensitive(object, field, item)) {
        return item->string != NULL; /* cJSON does not notice when it has no memory for the name */
    }
    cJSON_Delete(item);
    return false;
}

static bool set_number(cJSON *object, const char *field, double value)
{
    return set(object, field, cJSON_CreateNumber(value));
}

static int64_t integer_at(const ewc_model_config *config, size_t offset)
{
    return *(const int64_t *)(const void *)((const char *)config + offset);
}

static double real_at(const ewc_model_config *config, size_t offset)
{
    return *(const double *)(const void *)((const char *)config + offset);
}

static cJSON *real_item(double value, bool whole)
{
    return whole && value == floor(value) ? cJSON_CreateNumber(value) : ewci_json_float(value);
}

/* `old` is what the object says already, or NULL: nothing yet. */
static bool set_plain(cJSON *object, const ewc_model_config *config, const ewc_model_config *old)
{
    bool good = true;
    for (const ewci_config_integer *f = ewci_config_integers; f->name != NULL && good; f++) {
        int64_t value = integer_at(config, f->offset);
        if (old == NULL || value != integer_at(old, f->offset)) good = set_number(object, f->name, (double)value);
    }
    for (const ewci_config_real *f = ewci_config_reals; f->name != NULL && good; f++) {
        double value = real_at(config, f->offset);
        bool null = f->kind == EWCI_NULL_IS_ZERO && value == 0.0;
        if (old == NULL || value != real_at(old, f->offset))
            good = set(object, f->name, null ? cJSON_CreateNull() : real_item(value, f->whole));
    }
    for (const ewci_config_token *f = ewci_config_tokens; f->name != NULL && good; f++) {
        int64_t value = integer_at(config, f->offset);
        if (old == NULL || value != integer_at(old, f->offset))
            good = value < 0 ? set(object, f->name, cJSON_CreateNull()) : set_number(object, f->name, (double)value);
    }
    return good;
}

static bool set_layer_types(cJSON *object, const ewc_model_config *config, const ewc_model_config *old)
{
    if (old != NULL && old->layers == config->layers &&
        memcmp(old->sliding, config->sliding, (size_t)config->layers) == 0)
        return true;
    cJSON *list = cJSON_CreateArray();
    for (int64_t i = 0; i < config->layers && list != NULL; i++) {
        cJSON *type = cJSON_CreateString(config->sliding[i] ? "sliding_attention" : "full_attention");
        if (type == NULL) {
            cJSON_Delete(list);
            return false;
        }
        cJSON_AddItemToArray(list, type);
    }
    return set(object, "layer_types", list);
}

static bool same_rope(const ewc_model_config *a, const ewc_model_config *b)
{
    return a->rope_theta == b->rope_theta && a->rope_local_theta == b->rope_local_theta &&
           a->rope_scale == b->rope_scale;
}

/* {rope_type, rope_theta (unless 0), factor} as the member `field`. */
static bool add_rope(cJSON *object, const char *field, double theta, double scale)
{
    cJSON *inner = cJSON_CreateObject();
    bool linear = scale != 0 && scale != 1;
    bool good = inner != NULL && cJSON_AddStringToObject(inner, "rope_type", linear ? "linear" : "default") != NULL &&
                (theta == 0 || set(inner, "rope_theta", ewci_json_float(theta))) &&
                (!linear || set(inner, "factor", ewci_json_float(scale)));
    if (good) return set(object, field, inner);
    cJSON_Delete(inner);
    return false;
}

/* In the spelling that the object has; in both where it is new. */
static bool set_rope(cJSON *object, const ewc_model_config *config, const ewc_model_config *old)
{
    if (old != NULL && same_rope(old, config)) return true;
    bool newer = old == NULL || ewci_json_find(object, "rope_parameters") != NULL;
    bool older = old == NULL || ewci_json_find(object, "rope_theta") != NULL || !newer, good = true;
    bool two = config->family == EWC_GEMMA3, linear = config->rope_scale != 0 && config->rope_scale != 1;
    double local = config->rope_local_theta == 0 ? config->rope_theta : config->rope_local_theta;
    if (newer && two) {
        cJSON *parameters = cJSON_CreateObject();
        good = parameters != NULL && add_rope(parameters, "full_attention", config->rope_theta, config->rope_scale) &&
               add_rope(parameters, "sliding_attention", local, 1);
        if (!good) cJSON_Delete(parameters);
        good = good && set(object, "rope_parameters", parameters);
    } else if (newer) {
        good = add_rope(object, "rope_parameters", config->rope_theta, 1);
    }
    if (older) good = good && set(object, "rope_theta", ewci_json_float(config->rope_theta));
    if (older && two)
        good = good && set(object, "rope_local_base_freq", ewci_json_float(local)) &&
               (linear ? add_rope(object, "rope_scaling", 0, config->rope_scale)
                       : set(object, "rope_scaling", cJSON_CreateNull()));
    return good;
}

static bool set_dtype(cJSON *object, ewc_dtype dtype, bool fresh)
{
    const char *name = dtype == EWC_F32 ? "float32" : dtype == EWC_BF16 ? "bfloat16" : "float16";
    bool older = fresh || ewci_json_find(object, "torch_dtype") != NULL;
    bool newer = fresh || ewci_json_find(object, "dtype") != NULL || !older;
    bool good = !newer || set(object, "dtype", cJSON_CreateString(name));
    return good && (!older || set(object, "torch_dtype", cJSON_CreateString(name)));
}

static bool set_all(cJSON *object, const ewc_model_config *config, const ewc_model_config *old, ewc_dtype dtype)
{
    bool window = old == NULL || old->sliding_window != config->sliding_window;
    return set_plain(object, config, old) && set_layer_types(object, config, old) && set_rope(object, config, old) &&
           (!window || set_number(object, "sliding_window", (double)config->sliding_window)) &&
           set_dtype(object, dtype, old == NULL);
}

static bool set_architecture(cJSON *object, const char *name)
{
    cJSON *list = cJSON_CreateArray(), *item = cJSON_CreateString(name);
    if (list != NULL && item != NULL && cJSON_AddItemToArray(list, item)) return set(object, "architectures", list);
    cJSON_Delete(list);
    cJSON_Delete(item);
    return false;
}

/* What a new config.json says beside the sizes: the fixed facts of the family. */
static bool set_family(cJSON *object, ewc_family family)
{
    bool third = family == EWC_GEMMA3;
    return set_architecture(object, third ? "Gemma3ForCausalLM" : "Gemma2ForCausalLM") &&
           cJSON_AddStringToObject(object, "model_type", third ? "gemma3_text" : "gemma2") != NULL &&
           cJSON_AddStringToObject(object, "hidden_activation", "gelu_pytorch_tanh") != NULL &&
           cJSON_AddStringToObject(object, "hidden_act", "gelu_pytorch_tanh") != NULL &&
           cJSON_AddFalseToObject(object, "attention_bias") != NULL &&
           set(object, "attention_dropout", ewci_json_float(0.0)) &&
           cJSON_AddTrueToObject(object, "tie_word_embeddings") != NULL &&
           cJSON_AddTrueToObject(object, "use_cache") != NULL;
}

static ewc_status print(ewc_context *ctx, cJSON *object, bool good, char **text)
{
    ewc_status status;
    if (good)
        status = ewci_json_print(ctx, object, text);
    else
        status = ewci_fail(ctx, EWC_ERROR_MEMORY, "no memory for config.json");
    cJSON_Delete(object);
    return status;
}

ewc_status ewci_config_format(ewc_context *ctx, const ewc_model_config *config, const char *original, ewc_dtype dtype,
                              char **text)
{
    cJSON *object;
    ewc_model_config old;
    ewc_model_config wanted = *config;
    if (wanted.query_scale == 0) wanted.query_scale = (double)wanted.head_dim;
    if (original == NULL) {
        object = cJSON_CreateObject();
        return print(ctx, object,
                     object != NULL && set_family(object, wanted.family) && set_all(object, &wanted, NULL, dtype),
                     text);
    }
    EWCI_TRY(ewci_config_parse(ctx, "config.json", original, &old));
    EWCI_TRY(ewci_json_parse(ctx, "config.json", original, strlen(original), &object));
    bool part = false;
    ewc_status status = ewci_json_keep_numbers(ctx, object, original);
    if (status == EWC_OK) status = ewci_config_take_text(ctx, "config.json", &object, &part);
    if (status == EWC_OK)
        return print(ctx, object,
                     (!part || set_architecture(object, "Gemma3ForCausalLM")) && set_all(object, &wanted, &old, dtype),
                     text);
    cJSON_Delete(object);
    return status;
}
