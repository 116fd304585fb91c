/* The smallest whole program: a tiny model with random weights learns to count to eight. It compiles as C and as C++:
 *   cc minimal.c $(pkg-config --cflags --libs libewc) -o minimal */
#include <libewc.h>
#include <stdio.h>

int main(void)
{
    ewc_context *context = NULL;
    ewc_model *model = NULL;
    ewc_trainer *trainer = NULL;
    ewc_model_config config;
    ewc_trainer_options options;
    ewc_batch batch;
    ewc_step_statistics statistics;
    int32_t tokens[64], targets[64];
    ewc_status status;

    ewc_model_config_default(&config);
    config.vocab_size = 8, config.hidden_size = 32, config.intermediate_size = 64, config.layers = 2;
    config.heads = 2, config.kv_heads = 1, config.head_dim = 16;
    ewc_trainer_options_default(&options);
    options.max_sequences = 2, options.max_length = 32, options.schedule.peak = 1e-2;
    ewc_batch_default(&batch);
    batch.sequences = 2, batch.length = 32, batch.tokens = tokens, batch.targets = targets;
    statistics.struct_size = sizeof statistics;
    for (int i = 0; i < 64; i++) tokens[i] = i % 8, targets[i] = (i + 1) % 8;

    status = ewc_context_create(NULL, &context);
    if (status == EWC_OK) status = ewc_model_create(context, &config, 1, &model);
    if (status == EWC_OK) status = ewc_trainer_create(model, &options, &trainer);
    while (status == EWC_OK && ewc_trainer_steps(trainer) < 20) {
        status = ewc_trainer_step(trainer, 1, &batch, &statistics);
        if (status == EWC_OK) printf("step %2d  loss %.4f\n", (int)statistics.step, statistics.loss);
    }
    if (status != EWC_OK) fprintf(stderr, "%s: %s\n", ewc_status_name(status), ewc_last_error(context));
    ewc_trainer_destroy(trainer);
    ewc_model_destroy(model);
    ewc_context_destroy(context);
    return status == EWC_OK ? 0 : 1;
}
