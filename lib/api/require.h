/* The first check of a public function: is the argument there? */
#ifndef EWCI_API_REQUIRE_H
#define EWCI_API_REQUIRE_H

#include "core/status.h"

/* Fails from the calling function when `argument` is NULL; the text names both. */
#define EWCI_REQUIRE(ctx, argument)                                                                                 \
    do {                                                                                                            \
        if ((argument) == NULL) return ewci_fail((ctx), EWC_ERROR_ARGUMENT, "%s: %s is NULL", __func__, #argument); \
    } while (0)

#endif
