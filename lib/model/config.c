/* The model configuration: defaults of the families and the checks that everything behind it relies on. */
#include <math.h>
#include <string.h>

#include "core/status.h"
#include "model/layout.h"

/* Largest value of any size field: keeps products of three of them far below 2^63. */
#define SIZE_LIMIT ((int64_t)1 << 24)

void ewc_model_config_default(ewc_model_config *config)
{
    memset(config, 0, sizeof *config);
    config->struct_size = sizeof *config;
    config->family = EWC_GEMMA2;
    config->max_position = 8192;
    config->attention_softcap = 50.0;
    config->final_softcap = 30.0;
    config->rms_norm_eps = 1e-6;
    config->rope_theta = 10000.0;
    config->sliding_window = 4096;
    for (int layer = 0; layer < EWC_MAX_LAYERS; layer += 2) config->sliding[layer] = 1;
    config->bos_token = 2;
    config->eos_token = 1;
    config->pad_token = 0;
    config->initializer_range = 0.02;
}

void ewc_model_config_gemma3(ewc_model_config *config)
{
    ewc_model_config_default(config);
    config->family = EWC_GEMMA3;
    config->max_position = 32768;
    config->attention_softcap = config->final_softcap = 0.0;
    config->rope_theta = 1e6;
    config->rope_local_theta = 1e4;
    config->sliding_window = 512;
    for (int layer = 0; layer < EWC_MAX_LAYERS; layer++) config->sliding[layer] = layer % 6 != 5;
}

static ewc_status check_size(ewc_context *ctx, const char *name, int64_t value, int64_t largest)
{
    if (value >= 1 && value <= largest) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: expected 1 to %lld, found %lld", name, (long long)largest,
                     (long long)value);
}

static ewc_status check_real(ewc_context *ctx, const char *name, double value, double above)
{
    if (isfinite(value) && value > above) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: expected a finite number above %g, found %g", name, above, value);
}

static ewc_status check_cap(ewc_context *ctx, const char *name, double value)
{
    if (isfinite(value) && value >= 0) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "%s: expected a positive number, or 0 for none, found %g", name, value);
}

ewc_status ewci_config_check(ewc_context *ctx, const ewc_model_config *c)
{
    if (c == NULL || c->struct_size != sizeof *c)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "model configuration: struct_size is not that of this library's ewc_model_config; fill the "
                         "struct with ewc_model_config_default()");
    if (c->family != EWC_GEMMA2 && c->family != EWC_GEMMA3)
        return ewci_fail(ctx, EWC_ERROR_UNSUPPORTED, "family: expected EWC_GEMMA2 (2) or EWC_GEMMA3 (3), found %d",
                         (int)c->family);
    EWCI_TRY(check_size(ctx, "vocab_size", c->vocab_size, SIZE_LIMIT));
    EWCI_TRY(check_size(ctx, "hidden_size", c->hidden_size, SIZE_LIMIT));
    EWCI_TRY(check_size(ctx, "intermediate_size", c->intermediate_size, SIZE_LIMIT));
    EWCI_TRY(check_size(ctx, "num_hidden_layers", c->layers, EWC_MAX_LAYERS));
    EWCI_TRY(check_size(ctx, "num_attention_heads", c->heads, 4096));
    EWCI_TRY(check_size(ctx, "num_key_value_heads", c->kv_heads, c->heads));
    if (c->heads % c->kv_heads != 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "num_key_value_heads: expected a divisor of num_attention_heads (%lld), found %lld",
                         (long long)c->heads, (long long)c->kv_heads);
    EWCI_TRY(check_size(ctx, "head_dim", c->head_dim, 4096));
    if (c->head_dim % 2 != 0)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT,
                         "head_dim: expected an even number (rotary embedding turns halves), found %lld",
                         (long long)c->head_dim);
    EWCI_TRY(check_size(ctx, "max_position_embeddings", c->max_position, SIZE_LIMIT));
    EWCI_TRY(check_size(ctx, "sliding_window", c->sliding_window, (int64_t)1 << 31));
    EWCI_TRY(check_real(ctx, "rms_norm_eps", c->rms_norm_eps, 0.0));
    EWCI_TRY(check_real(ctx, "rope_theta", c->rope_theta, 0.0));
    EWCI_TRY(check_cap(ctx, "rope_local_theta", c->rope_local_theta));
    EWCI_TRY(check_cap(ctx, "rope_scale", c->rope_scale));
    if (c->query_scale != 0) EWCI_TRY(check_real(ctx, "query_pre_attn_scalar", c->query_scale, 0.0));
    EWCI_TRY(check_cap(ctx, "attn_logit_softcapping", c->attention_softcap));
    if (c->family == EWC_GEMMA2 && ewci_has_local_rope(c))
        return ewci_fail(
            ctx, EWC_ERROR_UNSUPPORTED,
            "rope_local_theta, rope_scale: expected 0 for Gemma 2, whose layers all turn alike, found %g, %g",
            c->rope_local_theta, c->rope_scale);
    if (c->family == EWC_GEMMA3 && c->attention_softcap != 0)
        return ewci_fail(ctx, EWC_ERROR_UNSUPPORTED,
                         "attn_logit_softcapping: expected 0 for Gemma 3, where transformers applies none, found %g",
                         c->attention_softcap);
    EWCI_TRY(check_cap(ctx, "final_logit_softcapping", c->final_softcap));
    return check_cap(ctx, "initializer_range", c->initializer_range);
}
