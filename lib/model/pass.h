/* One pass in progress: what forward, head and backward share. */
#ifndef EWCI_MODEL_PASS_H
#define EWCI_MODEL_PASS_H

#include "model/model.h"
#include "model/workspace.h"

typedef struct ewci_run {
    ewc_model *model;
    const ewci_pass *pass;
    struct ewci_workspace *w;
    const ewci_ops *ops;
    ewci_device *device;
    int64_t rows;              /* B*L */
    bool backward;             /* mode is not LOSS */
    bool squares;              /* per-sequence squares into sink.fisher */
    float *embedding_gradient; /* [vocab, hidden] device: the sink's, or scratch of the per-sequence mode */
} ewci_run;

/* Embedding and all layers: leaves the final norm's output in w->layers[L].input_normed. */
ewc_status ewci_forward(ewci_run *run);

/* One layer of it, also used to compute again what a layer dropped: `from` and `to` bound the stages that run. */
typedef enum ewci_stage {
    EWCI_STAGE_QKV,       /* projections of q, k and v */
    EWCI_STAGE_HEADS,     /* norms of q and k where the family has them, rotation */
    EWCI_STAGE_ATTENTION, /* attention, output projection, norms: x_middle, feedforward_normed */
    EWCI_STAGE_GATE_UP,   /* gate and up projections */
    EWCI_STAGE_ACTIVATE,  /* GEGLU */
    EWCI_STAGE_DOWN,      /* down projection */
} ewci_stage;
ewc_status ewci_layer_stages(ewci_run *run, int64_t layer, ewci_stage from, ewci_stage to);

/* Rotation angles of one layer: [T, head_dim]. */
const float *ewci_rope_table(const ewci_run *run, int64_t layer);

/* Attention of one layer over the pass's rows. */
ewci_attention ewci_attention_shape(const ewci_run *run, int64_t layer);

/* Loss over chunks of rows; with backward, the gradient of the final norm's output into w->dy and the head's share of the
 * embedding's gradient into the sink. */
ewc_status ewci_head(ewci_run *run);

ewc_status ewci_backward(ewci_run *run);

/* Weight of sequence b in the per-sequence squares. */
float ewci_sequence_weight(const ewci_run *run, int64_t b);

/* --- small helpers ------------------------------------------------------------------------------------------------- */

/* Element `index` of a tensor of the compute type. */
void *ewci_at(const ewci_run *run, const void *tensor, int64_t index);

static inline const float *ewci_weight(const ewci_run *run, int64_t offset)
{
    return run->model->weights + offset;
}

/* Seconds on a monotonic clock. */
double ewci_now(void);

/* Runs an operation, adds its time to the phase, returns its failure from the calling function. */
#define EWCI_PHASE(run, phase, call)                                                                             \
    do {                                                                                                         \
        double ewci_start_ = (run)->model->phase_seconds == NULL ? 0 : ewci_now();                               \
        ewc_status ewci_phase_status_ = (call);                                                                  \
        if ((run)->model->phase_seconds != NULL) (run)->model->phase_seconds[phase] += ewci_now() - ewci_start_; \
        if (ewci_phase_status_ != EWC_OK) return ewci_phase_status_;                                             \
    } while (0)

#endif
