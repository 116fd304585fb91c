/* Learning-rate schedules, step by step. Formulas: ewc_schedule in libewc.h. */
#ifndef EWCI_TRAIN_SCHEDULE_H
#define EWCI_TRAIN_SCHEDULE_H

#include "libewc.h"

/* Running areas: s1 = sum of rates; s2 = sum of m_i, m_i = 0.999 m_(i-1) + (rate_(i-1) - rate_i), m_1 = 0. Zero-initialised. */
typedef struct ewci_schedule_areas {
    double s1, s2;
    double momentum, previous_rate;
    int64_t steps;
} ewci_schedule_areas;

void ewci_schedule_areas_next(ewci_schedule_areas *areas, double rate);

#endif
