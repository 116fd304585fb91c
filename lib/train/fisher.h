/* A Fisher diagonal: an estimate in progress, or finished, or mapped from a file. */
#ifndef EWCI_TRAIN_FISHER_H
#define EWCI_TRAIN_FISHER_H

#include "train/views.h"

struct ewc_fisher {
    ewc_model *model;
    ewc_fisher_info info;
    uint64_t seed;
    ewci_views views;
    ewci_safetensors *file; /* what the views are mapped from, or NULL */
    double mean;            /* of a finished one, over all elements */
    bool broken;            /* an accumulation failed half-way */
    int64_t rows;           /* rows seen: keys of sampled labels */
    float *gradient;        /* device scratch while estimating: flat, or [vocab, hidden] for EMPIRICAL */
    int64_t gradient_count;
    bool lent; /* a trainer was given it: its values stay where they are */
};

ewc_buffer ewci_fisher_view(const ewc_fisher *fisher, int64_t tensor);
double ewci_fisher_mean(const ewc_fisher *fisher);
uint64_t ewci_fisher_model_fingerprint(const ewc_fisher *fisher);

/* EWC_ERROR_STATE unless finished. */
ewc_status ewci_fisher_check_ready(const ewc_fisher *fisher);

/* A Fisher with a flat buffer, zero, unfinished, for the model's present weights. */
ewc_status ewci_fisher_flat(ewc_model *model, ewc_estimator estimator, ewc_fisher_unit unit, ewc_fisher **out);

/* All ones: plain L2. */
ewc_status ewci_fisher_unit_values(ewc_model *model, ewc_fisher **out);

/* Sum, finiteness, sign and zeros of all values; then it is finished. Refuses by name. */
ewc_status ewci_fisher_seal(ewc_fisher *fisher);

/* values *= factor (device). */
ewc_status ewci_fisher_scale(ewc_fisher *fisher, double factor);

#endif
