/* The rotary embedding's bases and scaling, in the spellings that are in circulation.
 *   Gemma 2  older: rope_theta;  newer: rope_parameters {rope_theta, rope_type "default"}
 *   Gemma 3  older: rope_theta, rope_local_base_freq, rope_scaling null or {rope_type "linear", factor}
 *            newer: rope_parameters {full_attention {rope_theta, rope_type, factor}, sliding_attention {rope_theta, rope_type}}
 * Where a value stands in two places they must agree. Other kinds of scaling are refused by name. */
#include <stdio.h>

#include <string.h>

#include "core/status.h"
#include "io/config_reader.h"

/* An object of rope settings and its name in messages. */
typedef struct settings {
    const cJSON *object; /* NULL: none */
    char name[64];
} settings;

static ewc_status find_settings(const ewci_config_reader *r, const cJSON *parent, const char *path, const char *field,
                                settings *found)
{
    const cJSON *object = ewci_json_find(parent, field);
    found->object = ewci_config_absent(object) ? NULL : object;
    snprintf(found->name, sizeof found->name, "%s%s", path, field);
    if (found->object == NULL || cJSON_IsObject(object)) return EWC_OK;
    return ewci_json_wrong(r->ctx, r->file, found->name, "an object", object);
}

static ewc_status unsupported_in(const ewci_config_reader *r, const settings *s, const char *field,
                                 const char *expected, const cJSON *value)
{
    char place[128];
    snprintf(place, sizeof place, "%s: %s", s->name, field);
    return ewci_config_unsupported(r, place, expected, value);
}

/* The plain rotation; with `factor`, also linear scaling; *factor is then what it scales by, 1 for plain, and must be that already if it is not 0. */
static ewc_status check_type(const ewci_config_reader *r, const settings *s, double *factor)
{
    if (s->object == NULL) return EWC_OK;
    const cJSON *type = ewci_json_find(s->object, "rope_type");
    if (type == NULL) type = ewci_json_find(s->object, "type");
    const char *name = ewci_config_absent(type) ? "default" : cJSON_IsString(type) ? type->valuestring : "";
    bool linear = factor != NULL && strcmp(name, "linear") == 0;
    if (!linear && strcmp(name, "default") != 0)
        return unsupported_in(r, s, "rope_type", factor == NULL ? "\"default\"" : "\"default\" or \"linear\"", type);
    const cJSON *partial = ewci_json_find(s->object, "partial_rotary_factor");
    if (!ewci_config_absent(partial) && !(cJSON_IsNumber(partial) && partial->valuedouble == 1.0))
        return unsupported_in(r, s, "partial_rotary_factor", "1", partial);
    if (factor == NULL) return EWC_OK;
    double found = 1;
    char place[4200];
    snprintf(place, sizeof place, "%s: %s", r->file, s->name);
    if (linear) EWCI_TRY(ewci_json_real(r->ctx, place, s->object, "factor", 1e-300, 1e300, &found));
    if (*factor != 0 && *factor != found)
        return ewci_json_wrong(r->ctx, place, linear ? "factor" : "rope_type", "what rope_parameters has",
                               linear ? ewci_json_find(s->object, "factor") : type);
    *factor = found;
    return EWC_OK;
}

/* rope_theta of the settings or the field at the top. `usual` where it is in neither; 0: it must be in one. */
static ewc_status read_base(const ewci_config_reader *r, const settings *s, const char *field, double usual,
                            double *base)
{
    const cJSON *inner = s->object == NULL ? NULL : ewci_json_find(s->object, "rope_theta");
    const cJSON *top = ewci_config_find(r, field);
    char place[128];
    double theta;
    snprintf(place, sizeof place, "%s: rope_theta", s->name);
    *base = usual;
    if (inner == NULL && top == NULL && usual != 0) return EWC_OK;
    if (s->object != NULL && inner == NULL && top == NULL)
        return ewci_json_wrong(r->ctx, r->file, place, "a positive number", NULL);
    if (inner == NULL) return ewci_json_real(r->ctx, r->file, r->root, field, 1e-300, 1e300, base);
    if (ewci_json_real(r->ctx, r->file, s->object, "rope_theta", 1e-300, 1e300, &theta) != EWC_OK)
        return ewci_json_wrong(r->ctx, r->file, place, "a positive number", inner);
    if (top != NULL && !(cJSON_IsNumber(top) && top->valuedouble == theta))
        return ewci_json_wrong(r->ctx, r->file, field, "the number that rope_parameters has", top);
    *base = theta;
    return EWC_OK;
}

static ewc_status read_gemma2(const ewci_config_reader *r, const settings *scaling, const settings *parameters)
{
    EWCI_TRY(check_type(r, scaling, NULL));
    EWCI_TRY(check_type(r, parameters, NULL));
    return read_base(r, parameters, "rope_theta", 0, &r->config->rope_theta);
}

static ewc_status read_gemma3(const ewci_config_reader *r, const settings *scaling, const settings *parameters)
{
    settings full = {0}, sliding = {0};
    double factor = 0;
    EWCI_TRY(find_settings(r, parameters->object, "rope_parameters: ", "full_attention", &full));
    EWCI_TRY(find_settings(r, parameters->object, "rope_parameters: ", "sliding_attention", &sliding));
    if (parameters->object != NULL && (full.object == NULL || sliding.object == NULL))
        return ewci_json_wrong(r->ctx, r->file, full.object == NULL ? full.name : sliding.name, "an object", NULL);
    EWCI_TRY(check_type(r, &full, &factor));
    EWCI_TRY(check_type(r, scaling, &factor));
    EWCI_TRY(check_type(r, &sliding, NULL));
    r->config->rope_scale = factor == 1 ? 0 : factor;
    EWCI_TRY(read_base(r, &full, "rope_theta", 1e6, &r->config->rope_theta));
    return read_base(r, &sliding, "rope_local_base_freq", 1e4, &r->config->rope_local_theta);
}

ewc_status ewci_config_read_rope(const ewci_config_reader *r)
{
    settings scaling, parameters;
    EWCI_TRY(find_settings(r, r->root, "", "rope_scaling", &scaling));
    EWCI_TRY(find_settings(r, r->root, "", "rope_parameters", &parameters));
    if (r->config->family == EWC_GEMMA3) return read_gemma3(r, &scaling, &parameters);
    return read_gemma2(r, &scaling, &parameters);
}
