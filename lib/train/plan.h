/* Memory known before it is taken. */
#ifndef EWCI_TRAIN_PLAN_H
#define EWCI_TRAIN_PLAN_H

#include "model/model.h"

/* Fails with EWC_ERROR_MEMORY, naming the needed and the available bytes, when a trainer with these options cannot fit. What the
 * model already holds is not counted again. */
ewc_status ewci_plan_check_trainer(ewc_model *model, const ewc_trainer_options *options);

#endif
