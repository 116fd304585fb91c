/* The fixtures made by transformers (tests/transformers/make_fixtures.py): a checkpoint and what it must compute.
 *
 * Read by a reader of its own (8 bytes of length, a JSON header, the data), so that an error of the library's reader
 * cannot hide in what it is compared with. Every call fails the test when something is not there. */
#ifndef TESTS_SUPPORT_FIXTURE_H
#define TESTS_SUPPORT_FIXTURE_H

#include <stdint.h>

#include "libewc.h"

typedef struct fixture fixture;

/* name: a directory of tests/fixtures. */
fixture *fixture_open(const char *name);
void fixture_close(fixture *f);

/* tests/fixtures/NAME, to load the model from. */
const char *fixture_directory(const fixture *f);

/* Values of an entry; *count may be NULL. They live as long as the fixture. */
const float *fixture_floats(const fixture *f, const char *entry, int64_t *count);
const int32_t *fixture_integers(const fixture *f, const char *entry, int64_t *count);
double fixture_number(const fixture *f, const char *entry);

/* The batch PREFIX/tokens, PREFIX/targets and, where present, PREFIX/document_start and PREFIX/weights. */
ewc_batch fixture_batch(const fixture *f, const char *prefix);

/* PREFIX/<tensor name> of every tensor of the model in its flat order; free() it. */
float *fixture_flat(const fixture *f, const ewc_model *model, const char *prefix);

/* Sets the model's weights to PREFIX/<tensor name>. */
void fixture_set_weights(const fixture *f, ewc_model *model, const char *prefix);

/* Fails when a value differs from PREFIX/<tensor name> by more than tolerance times that tensor's largest entry, naming
 * tensor and place. Returns the largest ratio seen. */
double fixture_compare(const fixture *f, const ewc_model *model, const char *prefix, const float *flat,
                       double tolerance);

/* The instruction sets of the portable build, AVX2 and AVX-512, one after the other; NULL when the processor lacks it. */
ewc_context *fixture_context(ewc_instruction_set set, int threads);

#endif
