/* The statistics of the penalty, shared by the operations update and penalty. */
#ifndef EWCI_CPU_PENALTY_H
#define EWCI_CPU_PENALTY_H

#include "cpu/device.h"

/* Of one chunk. */
typedef struct ewci_penalty_sums {
    double distance_squared, fisher_distance_squared;
    int64_t nonfinite;
} ewci_penalty_sums;

/* The lanes of a chunk, added in their order. */
ewci_penalty_sums ewci_penalty_sum_lanes(const ewci_penalty_lanes *lanes);

/* The chunks, added in theirs. */
ewc_update_statistics ewci_penalty_report(const ewci_penalty_sums *sums, int count, double lambda);

#endif
