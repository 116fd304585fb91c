/* The vocabulary of a Fisher's or an anchor's file: a key of its metadata where the model has listed tokens alone. */
#ifndef EWCI_TRAIN_VOCABULARY_FILE_H
#define EWCI_TRAIN_VOCABULARY_FILE_H

#include "io/safetensors.h"
#include "model/vocabulary.h"

#define EWCI_VOCABULARY_KEY "vocabulary"

/* Adds the pair behind the `count` there are, if the model has listed tokens alone; `text` is its value, and must live as long. */
int64_t ewci_vocabulary_pair(const ewc_model *model, ewci_vocabulary_text *text, int64_t count, ewci_pair *pairs);

/* The file's tokens are the model's? Fails naming both. */
ewc_status ewci_vocabulary_check_file(const ewc_model *model, const ewci_safetensors *file);

#endif
