/* Attention in double precision, straight from its definition: one query and one key at a time. */
#ifndef TESTS_SUPPORT_ATTENTION_REFERENCE_H
#define TESTS_SUPPORT_ATTENTION_REFERENCE_H

#include "ops.h"

/* Does query i see key j? */
int attention_sees(const ewci_attention *shape, int64_t i, int64_t j);

int64_t attention_width(const ewci_attention *shape); /* of a row of qkv */

/* o[T, heads*d], lse[T, heads]. */
void attention_reference(const ewci_attention *shape, const double *qkv, double *o, double *lse);

/* dqkv of sum d_o o. */
void attention_reference_backward(const ewci_attention *shape, const double *qkv, const double *d_o, double *dqkv);

#endif
