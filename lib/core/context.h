/* The context behind the opaque handle: callbacks, error text, threads and the device that computes. */
#ifndef EWCI_CORE_CONTEXT_H
#define EWCI_CORE_CONTEXT_H

#include "libewc.h"

struct ewci_ops;
struct ewci_device;

struct ewc_context {
    ewc_context_options options; /* the caller's, with defaults filled in; callbacks may be NULL */
    int threads;
    char error[2048];
    const struct ewci_ops *ops; /* the backend's operation table */
    struct ewci_device *device; /* its state */
};

/* EWC_ERROR_CANCELLED (with text) when the host's cancel callback says so, else EWC_OK. */
ewc_status ewci_check_cancelled(ewc_context *ctx);

#endif
