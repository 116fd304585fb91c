/* Which layers slide, and their window. */
#include <string.h>

#include "core/status.h"
#include "io/config_reader.h"

/* Without layer_types every n-th layer is full, the others slide: each second in Gemma 2, in Gemma 3 each sixth or as the file says. */
static ewc_status read_pattern(const ewci_config_reader *r)
{
    int64_t pattern = 2;
    if (r->config->family == EWC_GEMMA3) {
        pattern = 6;
        if (!ewci_config_absent(ewci_config_find(r, "sliding_window_pattern")))
            EWCI_TRY(
                ewci_json_integer(r->ctx, r->file, r->root, "sliding_window_pattern", 1, EWC_MAX_LAYERS, &pattern));
    }
    for (int64_t i = 0; i < EWC_MAX_LAYERS; i++) r->config->sliding[i] = (i + 1) % pattern != 0;
    return EWC_OK;
}

/* layer_types, or the pattern. */
static ewc_status read_layer_types(const ewci_config_reader *r, bool *given)
{
    const cJSON *list = ewci_config_find(r, "layer_types");
    int64_t layer = 0;
    *given = !ewci_config_absent(list);
    if (!*given) return read_pattern(r);
    if (!cJSON_IsArray(list)) return ewci_json_wrong(r->ctx, r->file, "layer_types", "an array", list);
    for (const cJSON *item = list->child; item != NULL; item = item->next, layer++) {
        const char *type = cJSON_IsString(item) ? item->valuestring : "";
        bool sliding = strcmp(type, "sliding_attention") == 0;
        if (!sliding && strcmp(type, "full_attention") != 0)
            return ewci_config_unsupported(r, "layer_types", "\"sliding_attention\" or \"full_attention\"", item);
        if (layer < EWC_MAX_LAYERS) r->config->sliding[layer] = sliding;
    }
    if (layer == r->config->layers) return EWC_OK;
    return ewci_fail(r->ctx, EWC_ERROR_FORMAT,
                     "%s: layer_types: expected %lld elements (num_hidden_layers), found %lld", r->file,
                     (long long)r->config->layers, (long long)layer);
}

/* A window of null means that no layer has one; it may then be anything, so that a layer that is declared sliding is
 * an error. */
ewc_status ewci_config_read_window(const ewci_config_reader *r)
{
    bool given, any = false;
    EWCI_TRY(read_layer_types(r, &given));
    if (r->config->family == EWC_GEMMA3 && ewci_config_find(r, "sliding_window") == NULL) return EWC_OK;
    if (!cJSON_IsNull(ewci_config_find(r, "sliding_window")))
        return ewci_json_integer(r->ctx, r->file, r->root, "sliding_window", 1, (int64_t)1 << 31,
                                 &r->config->sliding_window);
    for (int64_t i = 0; i < r->config->layers; i++) any = any || r->config->sliding[i];
    if (given && any)
        return ewci_json_wrong(r->ctx, r->file, "sliding_window", "an integer, as layer_types has sliding layers",
                               ewci_config_find(r, "sliding_window"));
    memset(r->config->sliding, 0, sizeof r->config->sliding);
    r->config->sliding_window = r->config->max_position;
    return EWC_OK;
}
