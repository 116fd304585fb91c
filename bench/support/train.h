/* A model that trains with EWC, made quickly: random weights, a Fisher of ones and an anchor, all f32 in memory. */
#ifndef BENCH_SUPPORT_TRAIN_H
#define BENCH_SUPPORT_TRAIN_H

#include <stdint.h>

#include "libewc.h"

typedef struct bench_training {
    int threads; /* 0: the processors this process may run on */
    ewc_model_config config;
    int64_t tokens; /* of a step */
    /* Made by training_open. */
    ewc_context *context;
    ewc_model *model;
    ewc_fisher *fisher;
    ewc_anchor *anchor;
    ewc_trainer *trainer;
} bench_training;

/* Bytes that a step of it takes by the library's own plan. */
double training_bytes(const bench_training *t);

/* threads, config and tokens are given. Ends the program with a message when it cannot be had. */
void training_open(bench_training *t);
void training_close(bench_training *t);

/* Random tokens in `sequences` packed sequences, all scored. documents: documents of a sequence, equally long; with 1 document_start is not
 * given. `ids` has room for three times the tokens. */
ewc_batch training_batch(const bench_training *t, int64_t sequences, int64_t documents, int32_t *ids);

/* Operations per second of one plain product, [rows,columns] = [rows,depth] [columns,depth]^T, on the training's threads: what the
 * machine gives at that moment. operands: REFERENCE_FLOATS floats. */
enum { REFERENCE_ROWS = 1024, REFERENCE_COLUMNS = 3072, REFERENCE_DEPTH = 768 };
enum {
    REFERENCE_FLOATS =
        REFERENCE_ROWS * REFERENCE_DEPTH + REFERENCE_COLUMNS * REFERENCE_DEPTH + REFERENCE_ROWS * REFERENCE_COLUMNS
};
double training_reference(const bench_training *t, float *operands);

#endif
