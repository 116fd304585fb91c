/* One-dimensional .npy files (NumPy's format, versions 1 to 3), little-endian, mapped. */
#ifndef EWCI_IO_NPY_H
#define EWCI_IO_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/file.h"
#include "libewc.h"

typedef enum ewci_npy_type { EWCI_NPY_U16 = 0, EWCI_NPY_U32 = 1, EWCI_NPY_I32 = 2, EWCI_NPY_F32 = 3 } ewci_npy_type;

/* "<u2" and so on; bytes of an element. */
const char *ewci_npy_descr(ewci_npy_type type);
size_t ewci_npy_bytes(ewci_npy_type type);

typedef struct ewci_npy {
    ewci_map map;
    ewci_npy_type type;
    int64_t count;
    const unsigned char *data; /* may be unaligned */
} ewci_npy;

/* Token ids: uint16, uint32 or int32. Anything else is refused by name. */
ewc_status ewci_npy_open(ewc_context *ctx, const char *path, ewci_npy *npy);
void ewci_npy_close(ewci_npy *npy);

/* Element `index` as it is in the file: up to 2^32 - 1, or negative. */
int64_t ewci_npy_id(const ewci_npy *npy, int64_t index);

/* Index of the first of the elements [first, first + count) that is not in [0, limit), or -1. */
int64_t ewci_npy_find_outside(const ewci_npy *npy, int64_t first, int64_t count, int64_t limit);

/* Elements [first, first + count), all of them in [0, 2^31). */
void ewci_npy_copy(const ewci_npy *npy, int64_t first, int64_t count, int32_t *ids);

/* Writes a file whole or not at all: float32. */
ewc_status ewci_npy_write_f32(ewc_context *ctx, const char *path, const float *values, int64_t count, bool overwrite);
/* Ids as uint16 when all are below 65536, else uint32; a negative one is refused with its position. */
ewc_status ewci_npy_write_ids(ewc_context *ctx, const char *path, const int32_t *ids, int64_t count, bool overwrite);

#endif
