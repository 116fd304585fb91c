/* A 64-bit fingerprint of a set of tensors: names, shapes and the bits of their f32 values.
 *
 * Eight independent lanes keep it at memory speed. -0.0 and 0.0 differ, as bits do. */
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "core/status.h"
#include "model/model.h"

enum { LANES = 8, BLOCK = 8192 };

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++) hash = ewci_hash_mix(hash, (unsigned char)*text);
    return ewci_hash_mix(hash, 0);
}

/* Lane i takes elements i, i + LANES, ...: callers hand over blocks that start at multiples of LANES. */
static void hash_values(uint64_t lane[LANES], const float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i += LANES) {
        int64_t n = count - i < LANES ? count - i : LANES;
        for (int64_t j = 0; j < n; j++) {
            uint32_t bits;
            memcpy(&bits, &values[i + j], sizeof bits);
            lane[j] = ewci_hash_mix(lane[j], bits);
        }
    }
}

ewc_status ewci_fingerprint(ewc_context *ctx, const ewci_layout *layout, ewci_values_callback values, void *user,
                            uint64_t *fingerprint)
{
    uint64_t hash = EWCI_HASH_START;
    void *memory;
    EWCI_TRY(ewci_alloc(ctx, BLOCK * sizeof(float), "a block for the fingerprint", &memory));
    float *block = memory;
    ewc_status status = EWC_OK;
    for (int64_t t = 0; t < layout->tensor_count && status == EWC_OK; t++) {
        const ewc_tensor_info *tensor = &layout->tensors[t];
        int64_t total = tensor->rows * tensor->columns;
        uint64_t lane[LANES] = {1, 2, 3, 4, 5, 6, 7, 8};
        hash = ewci_hash_mix(ewci_hash_mix(hash_text(hash, tensor->name), (uint64_t)tensor->rows),
                             (uint64_t)tensor->columns);
        for (int64_t first = 0; first < total && status == EWC_OK; first += BLOCK) {
            int64_t n = total - first < BLOCK ? total - first : BLOCK;
            status = values(user, t, first, n, block);
            if (status == EWC_OK) hash_values(lane, block, n);
        }
        for (int i = 0; i < LANES; i++) hash = ewci_hash_mix(hash, lane[i]);
    }
    ewci_free(ctx, block);
    if (status == EWC_OK) *fingerprint = hash;
    return status;
}
