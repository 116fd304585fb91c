/* safetensors files: 8 bytes of header length (little-endian), a JSON header, the tensors' bytes.
 *
 * Reading maps the file and checks everything before use: header length (at most 100 MB) within the file; strict
 * JSON; known element types; shapes whose product does not overflow; offsets in the file, of the size that type and
 * shape say, without overlap, hole or trailing bytes; no name twice; metadata of strings only. */
#ifndef EWCI_IO_SAFETENSORS_H
#define EWCI_IO_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libewc.h"

enum { EWCI_SAFETENSORS_RANK = 8 };

typedef struct ewci_tensor_entry {
    const char *name;
    const char *type; /* "BF16" */
    bool usable;      /* F32, BF16 or F16: has an ewc_dtype; all others are known by size alone */
    ewc_dtype dtype;  /* if usable */
    bool aligned;     /* data is aligned to its element; if not, only ewci_to_f32 may read it */
    int rank;
    int64_t shape[EWCI_SAFETENSORS_RANK];
    int64_t count;    /* elements */
    const void *data; /* in the mapped file; lives until close */
    size_t bytes;
} ewci_tensor_entry;

typedef struct ewci_safetensors ewci_safetensors;

ewc_status ewci_safetensors_open(ewc_context *ctx, const char *path, ewci_safetensors **file);
void ewci_safetensors_close(ewci_safetensors *file); /* NULL is fine */
const char *ewci_safetensors_path(const ewci_safetensors *file);

/* Entries in the order of their data. */
int64_t ewci_safetensors_count(const ewci_safetensors *file);
const ewci_tensor_entry *ewci_safetensors_entry(const ewci_safetensors *file, int64_t index);
/* NULL if there is none of that name. */
const ewci_tensor_entry *ewci_safetensors_find(const ewci_safetensors *file, const char *name);
/* NULL if there is no such key. */
const char *ewci_safetensors_metadata(const ewci_safetensors *file, const char *key);

/* The entry of that name with usable values and the shape [rows, columns], or [rows] for a vector (columns 1, either
 * is accepted). What is wrong is named: EWC_ERROR_MISMATCH for a missing tensor or another shape,
 * EWC_ERROR_UNSUPPORTED for an element type. */
ewc_status ewci_safetensors_tensor(const ewci_safetensors *file, const char *name, int64_t rows, int64_t columns,
                                   const ewci_tensor_entry **entry);
/* The same check for an entry found otherwise (NULL: missing); `place` is the file or directory named in the text. */
ewc_status ewci_tensor_check(ewc_context *ctx, const char *place, const char *name, const ewci_tensor_entry *entry,
                             int64_t rows, int64_t columns);

/* A tensor to be written. Its f32 values come from `values`, or, where that is NULL, from read(user, tensor, first,
 * count, out) in ascending blocks; they are rounded to nearest even into `dtype`. */
typedef struct ewci_tensor_output {
    const char *name;
    ewc_dtype dtype;
    int rank; /* 1 or 2 */
    int64_t shape[2];
    const float *values;
    ewc_status (*read)(void *user, int64_t tensor, int64_t first, int64_t count, float *values);
    void *user;
    int64_t tensor;
} ewci_tensor_output;

typedef struct ewci_pair {
    const char *key, *value;
} ewci_pair;

/* Writes a file, whole or not at all, tensors in the order given; memory for one block. The header is padded so that
 * the data is aligned to 8 bytes; 4-byte tensors before 2-byte ones keep every tensor aligned. */
ewc_status ewci_safetensors_write(ewc_context *ctx, const char *path, int64_t count, const ewci_tensor_output *tensors,
                                  int64_t pair_count, const ewci_pair *pairs, bool overwrite);

#endif
