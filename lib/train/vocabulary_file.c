/* See vocabulary_file.h. */
#include "train/vocabulary_file.h"

#include <string.h>

#include "core/status.h"

int64_t ewci_vocabulary_pair(const ewc_model *model, ewci_vocabulary_text *text, int64_t count, ewci_pair *pairs)
{
    if (model->vocabulary == NULL) return count;
    *text = ewci_vocabulary_describe(model);
    pairs[count] = (ewci_pair){EWCI_VOCABULARY_KEY, text->text};
    return count + 1;
}

ewc_status ewci_vocabulary_check_file(const ewc_model *model, const ewci_safetensors *file)
{
    ewci_vocabulary_text expected = ewci_vocabulary_describe(model);
    const char *found = ewci_safetensors_metadata(file, EWCI_VOCABULARY_KEY);
    if (found == NULL ? model->vocabulary == NULL : strcmp(found, expected.text) == 0) return EWC_OK;
    return ewci_fail(model->ctx, EWC_ERROR_MISMATCH,
                     "%s: __metadata__: " EWCI_VOCABULARY_KEY
                     ": expected %s, as the model has, found %.100s: load the model with the list that the file was "
                     "made with (ewc-cpt: the same files in --vocab-from)",
                     ewci_safetensors_path(file), expected.text, found == NULL ? "all of them" : found);
}
