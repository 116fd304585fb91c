/* A context without a device, whose allocations are counted and can be made to fail: for tests of lib/io and
 * lib/core. */
#ifndef TESTS_SUPPORT_BARE_H
#define TESTS_SUPPORT_BARE_H

#include <stdint.h>

#include "core/context.h"

typedef struct bare {
    ewc_context ctx;
    int64_t live;    /* allocations not yet released */
    int64_t made;    /* allocations asked for */
    int64_t fail_at; /* the number, from 0, of the one that fails; -1: none */
    int warnings;    /* lines sent to the log */
} bare;

/* Fills *b, which must stay where it is; returns &b->ctx. */
ewc_context *bare_open(bare *b);

/* Fails the test unless everything was released. */
void bare_close(bare *b);

/* Runs call(ctx, argument) again and again, the first allocation failing, then the second, ... until none fails any
 * more. Every failure must be EWC_ERROR_MEMORY and leave nothing allocated. Returns how many allocations there were.
 * call releases what it got. */
typedef ewc_status (*bare_call)(ewc_context *ctx, void *argument);
int64_t bare_starve(bare_call call, void *argument);

#endif
