/* A checkpoint, a model of a part of its tokens, and the same model cut by hand: one whose token ids are numbers in the list. */
#ifndef TESTS_SUPPORT_LISTED_H
#define TESTS_SUPPORT_LISTED_H

#include "libewc.h"
#include "support/tiny.h"

enum { LISTED_WHOLE = 71 };
#define LISTED_TABLE "model.embed_tokens.weight"

typedef struct listed {
    ewc_context *ctx;
    char directory[512];       /* the checkpoint */
    ewc_model *whole;          /* all of it */
    ewc_model *listed, *cut;   /* the tokens of the list: by the library, and by hand */
    int32_t ids[LISTED_WHOLE]; /* ascending */
    int64_t count;
} listed;

/* The checkpoint is written in `dtype`. */
void listed_set_up(listed *l, ewc_dtype dtype);
void listed_tear_down(listed *l);

/* A model of the checkpoint's tokens without one of the list, and with one that is not in it. */
ewc_model *listed_other(listed *l);

/* A random batch for the model cut by hand, and the same for the other two, in ids of the checkpoint. */
typedef struct listed_batch {
    tiny_batch of_cut, of_listed;
} listed_batch;
void listed_batch_make(const listed *l, listed_batch *b, int64_t sequences, int64_t length, uint64_t seed);
void listed_batch_free(listed_batch *b);

/* Values of a tensor; from support/arrays. */
float *listed_tensor(ewc_context *ctx, ewc_model *model, const char *name, int64_t *count);

/* Fails the test unless the bits of `count` values are the same. */
void listed_same(const float *a, const float *b, int64_t count);

#endif
