/* ewc-cpt init: a model with random weights, the start of a pre-training run of one's own. */
#include <stdio.h>

#include "program.h"

static const char NAME[] = "init";

static int run(ewc_context *context, const char *config_path, int64_t seed, const char *out, bool force)
{
    ewc_model_config config;
    ewc_model *model = NULL;
    ewc_status status = ewc_model_config_read(context, config_path, &config);
    if (status == EWC_OK) status = ewc_model_create(context, &config, (uint64_t)seed, &model);
    if (status == EWC_OK) status = ewc_model_save(model, out, EWC_F32, force);
    int code = status == EWC_OK ? CPT_OK : program_fail(NAME, context, status);
    if (code == CPT_OK) printf("%s: %lld parameters\n", out, (long long)ewc_model_parameter_count(model));
    ewc_model_destroy(model);
    return code;
}

int command_init(int argc, char **argv)
{
    const char *config = NULL, *out = NULL;
    int64_t seed = 0;
    bool force = false;
    option options[] = {
        {"config", OPTION_TEXT, &config, "config.json", "shape of the model", NULL, 0, true, false},
        {"out", OPTION_TEXT, &out, "DIR", "directory to make (weights in float32)", NULL, 0, true, false},
        {"seed", OPTION_INTEGER, &seed, "S", "of the random weights (default 0)", NULL, 0, false, false},
        {"force", OPTION_FLAG, &force, NULL, "overwrite the model in DIR", NULL, 0, false, false},
    };
    command_line line = {NAME,
                         "--config config.json [--seed S] --out DIR",
                         "Makes a model with random weights.",
                         options,
                         sizeof options / sizeof *options,
                         NULL,
                         {0}};
    parse_result parsed = options_parse(&line, argc, argv);
    ewc_context *context = NULL;
    int code = parsed == PARSE_OK ? program_open(NAME, 0, EWC_PRODUCTS_F32, &context) : program_parse_exit(parsed);
    if (context != NULL) code = run(context, config, seed, out, force);
    ewc_context_destroy(context);
    return code;
}
