/* Documents of text files: .txt and .jsonl, each also .gz. Streams, one document in memory at a time. */
#ifndef EWCI_IO_TEXT_H
#define EWCI_IO_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "libewc.h"

/* A document, or a line of .jsonl, is at most 1 GiB, also after decompression. */
#define EWCI_TEXT_LIMIT ((size_t)1 << 30)

ewc_status ewci_text_open(ewc_context *ctx, const char *path, size_t limit, ewc_text **text);
/* As ewc_text_next. */
ewc_status ewci_text_next(ewc_text *text, const char **document, size_t *bytes);
void ewci_text_close(ewc_text *text); /* NULL is fine */
ewc_context *ewci_text_context(const ewc_text *text);

#endif
