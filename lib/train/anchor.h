/* An anchor: the weights of an old task, copied or mapped. */
#ifndef EWCI_TRAIN_ANCHOR_H
#define EWCI_TRAIN_ANCHOR_H

#include "io/hf.h"
#include "train/views.h"

struct ewc_anchor {
    ewc_model *model; /* whose tensors it has */
    ewci_views views;
    ewci_hf *hf;            /* what the views are mapped from, or NULL */
    ewci_safetensors *file; /* or this */
    uint64_t fingerprint;   /* of the values before they were rounded by ewc_anchor_convert */
    bool rounded;           /* and that changed some */
    bool lent;              /* a trainer was given it: its values stay where they are */
};

/* A tensor's values for the update. */
ewc_buffer ewci_anchor_view(const ewc_anchor *anchor, int64_t tensor);

/* An anchor with a flat buffer to be filled by the caller, who then calls ewci_anchor_seal. */
ewc_status ewci_anchor_flat(ewc_model *model, ewc_anchor **out);
/* Computes the fingerprint of its present values. */
ewc_status ewci_anchor_seal(ewc_anchor *anchor);

#endif
