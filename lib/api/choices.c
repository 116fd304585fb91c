/* ewc_model_score_choices: argument checks in front of lib/model/choices.c, and sums over choices. */
#include <string.h>

#include "api/require.h"
#include "core/memory.h"
#include "model/model.h"

ewc_status ewc_model_score_choices(ewc_model *model, int64_t count, const ewc_choice_item *items,
                                   double *log_likelihoods, float *log_probabilities)
{
    int64_t tokens;
    void *memory;
    EWCI_REQUIRE(NULL, model);
    EWCI_REQUIRE(model->ctx, items);
    EWCI_REQUIRE(model->ctx, log_likelihoods);
    if (count < 1)
        return ewci_fail(model->ctx, EWC_ERROR_ARGUMENT, "count: expected at least 1 item, found %lld",
                         (long long)count);
    EWCI_TRY(ewci_choices_check(model, count, items, &tokens));
    EWCI_TRY(ewci_alloc_array(model->ctx, tokens, sizeof(float), "the choices' log probabilities", &memory));
    float *found = memory, *next = found;
    ewc_status status = ewci_choices_score(model, count, items, found);
    for (int64_t i = 0; i < count && status == EWC_OK; i++) {
        for (int64_t k = 0; k < items[i].choices; k++) {
            double sum = 0;
            for (int64_t t = 0; t < items[i].lengths[k]; t++) sum += (double)*next++;
            *log_likelihoods++ = sum;
        }
    }
    if (status == EWC_OK && log_probabilities != NULL) memcpy(log_probabilities, found, (size_t)tokens * sizeof *found);
    ewci_free(model->ctx, found);
    return status;
}
