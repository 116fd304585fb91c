/* Hugging Face directories: argument checks in front of lib/model/checkpoint.c. */
#include "api/require.h"
#include "io/config.h"
#include "model/model.h"

ewc_status ewc_model_config_read(ewc_context *context, const char *path, ewc_model_config *config)
{
    EWCI_REQUIRE(NULL, context);
    EWCI_REQUIRE(context, path);
    EWCI_REQUIRE(context, config);
    return ewci_config_read(context, path, config);
}

ewc_status ewc_model_load(ewc_context *context, const char *directory, ewc_model **model)
{
    EWCI_REQUIRE(NULL, context);
    EWCI_REQUIRE(context, directory);
    EWCI_REQUIRE(context, model);
    return ewci_model_load(context, directory, model);
}

ewc_status ewc_model_load_vocabulary(ewc_context *context, const char *directory, int64_t count, const int32_t *ids,
                                     ewc_model **model)
{
    EWCI_REQUIRE(NULL, context);
    EWCI_REQUIRE(context, directory);
    EWCI_REQUIRE(context, ids);
    EWCI_REQUIRE(context, model);
    return ewci_model_load_listed(context, directory, count, ids, model);
}

ewc_status ewc_model_save(ewc_model *model, const char *directory, ewc_dtype dtype, int overwrite)
{
    EWCI_REQUIRE(NULL, model);
    EWCI_REQUIRE(model->ctx, directory);
    if (dtype != EWC_F32 && dtype != EWC_BF16 && dtype != EWC_F16)
        return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT, "dtype: expected EWC_F32, EWC_BF16 or EWC_F16, found %d",
                         (int)dtype);
    return ewci_model_save(model, directory, dtype, overwrite != 0);
}
