/* The plain fields of config.json and where they lie in ewc_model_config: what reading and writing share. */
#ifndef EWCI_IO_CONFIG_FIELDS_H
#define EWCI_IO_CONFIG_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libewc.h"

/* Integers from 1 to `largest`, all required. Tables end with a name of NULL. */
typedef struct ewci_config_integer {
    const char *name;
    size_t offset;
    int64_t largest;
} ewci_config_integer;
extern const ewci_config_integer ewci_config_integers[];

typedef enum ewci_real_kind { EWCI_POSITIVE, EWCI_NULL_IS_ZERO, EWCI_OPTIONAL } ewci_real_kind;
typedef struct ewci_config_real {
    const char *name;
    size_t offset;
    ewci_real_kind kind;
    bool whole; /* written as an integer where it is one: transformers declares it so */
} ewci_config_real;
extern const ewci_config_real ewci_config_reals[];

/* Token ids; `usual` where the field is missing, -1 where it is null. */
typedef struct ewci_config_token {
    const char *name;
    size_t offset;
    int64_t usual;
} ewci_config_token;
extern const ewci_config_token ewci_config_tokens[];

#endif
