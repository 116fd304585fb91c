/* A file's bytes from beginning to end, decompressed on the way if it is gzipped. */
#ifndef EWCI_IO_BYTES_H
#define EWCI_IO_BYTES_H

#include <stdbool.h>
#include <stddef.h>

#include "libewc.h"

typedef struct ewci_bytes ewci_bytes;

ewc_status ewci_bytes_open(ewc_context *ctx, const char *path, bool gzip, ewci_bytes **source);

/* The next bytes, valid until the next call; *bytes is 0 at the end. A gzip file may have several members; one that is
 * cut short or corrupt (its checksum included) is refused. */
ewc_status ewci_bytes_next(ewci_bytes *source, const char **data, size_t *bytes);

void ewci_bytes_close(ewci_bytes *source); /* NULL is fine */

#endif
